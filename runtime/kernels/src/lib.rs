//! Int8 kernels; all unsafe code of what ships.
//!
//! Start at [`scalar`]: it is the definition of every operation, in plain loops. Everything else computes the same
//! bits faster: [`Conv::pack`] lays weights out for one instruction set ([`Isa`], chosen in `isa.rs`), `run` splits
//! the work over a [`Pool`].
//!
//! ```text
//! scalar.rs     the definition of every operation          spec.rs       shapes and parameters, checked
//!                                                       matrices.rs   those of products and rows
//! conv.rs       a convolution in the form that suits it best
//! gemm/         as a matrix product: micro-kernels' contract, packing, implicit GEMM, the loops around a tile
//! winograd/     3x3 convolutions with fewer multiplications, to the same bits
//! arch/         one folder per instruction set: micro-kernels and epilogues (generic, x86_64, aarch64)
//! isa.rs        which instruction sets this CPU has, and the table of their kernels: the only dispatcher
//! matmul/       products of two activations           softmax.rs   shares of a row         lookup.rs   tables
//! rearrange.rs  other orders of axes                  layer_norm.rs  rows to mean 0 and variance 1
//! binary.rs     add, subtract, multiply    pooling.rs   max, average        resample.rs   nearest, bilinear
//! affine.rs     normalisations             gather.rs    slices, padding     eltwise.rs    tables, copies
//! conv_transpose.rs  transposed convolutions, as convolutions
//! memory/       tensors and weights in huge pages, scratch, threads
//! convert.rs    f32 ⇄ u8                   peak.rs       what the machine could do
//! ```
//!
//! ```
//! use kernels::{Buffer, Conv, ConvSpec, ConvWeights, Isa, Pool, Scratch, scalar};
//!
//! let spec = ConvSpec {
//!     in_channels: 2, out_channels: 2, groups: 1, in_h: 1, in_w: 2, in_stride: 2, out_stride: 2,
//!     kernel: [1; 2], stride: [1; 2], padding: [0; 4], dilation: [1; 2],
//! };
//! let (weight, bias, scale) = (&[1, 2, 3, -4], &[0, 5], &[0.5, 0.25]);
//! let weights = ConvWeights { weight, bias, scale, x_zero: 0, y_zero: 10, lo: 0, hi: 255 };
//! let conv = Conv::pack(Isa::best(), &spec, weights, None)?;
//!
//! let mut x = Buffer::zeroed(4);
//! x[..4].copy_from_slice(&[1, 2, 3, 4]);
//! let (mut y, mut expected) = ([0; 4], [0; 4]);
//! conv.run(&x, None, &mut y, &Pool::new(1), &mut Scratch::with_bytes(conv.scratch_bytes(1)));
//! scalar::conv(&spec, &weights, &x, None, &mut expected);
//! assert_eq!(y, expected);
//! # Ok::<(), kernels::SpecError>(())
//! ```
//!
//! # Conventions
//!
//! Activations are `u8` with a zero point, NHWC, one image: pixel `p`, channel `c` lies at `p * stride + c`, where
//! `stride` ≥ channels is given with the shape. So a slice of channels of a wider tensor is a tensor too: pass
//! `&mut buffer[offset..]` and the wide stride, and concatenation costs nothing. Bytes between the channels and the
//! stride are neither used nor written.
//!
//! Slices reach to the last channel of the last pixel: `(pixels − 1) · stride + channels` bytes. **The input of a
//! convolution must have [`SLACK`] more bytes**, which are read but never matter; [`Buffer::zeroed`] adds them.
//!
//! # Arithmetic
//!
//! Convolution: exact `i32` sum of `(x − x_zero) · w` plus bias; one `f32` multiplication; round to nearest, ties to
//! even; plus zero point; clamp to `lo..=hi`. Padding counts as `x_zero`. No fused multiply-add anywhere.

mod affine;
mod arch;
mod binary;
mod conv;
mod conv_transpose;
mod convert;
mod eltwise;
mod gather;
mod gemm;
mod isa;
mod layer_norm;
mod lookup;
mod matmul;
mod matrices;
mod memory;
mod peak;
mod pooling;
mod rearrange;
mod resample;
mod softmax;
mod spec;
mod winograd;

pub mod scalar;

// The integration tests' random convolutions, for tests of what is not public.
#[cfg(test)]
extern crate self as kernels;
#[cfg(test)]
#[path = "../tests/support/case.rs"]
#[expect(dead_code, reason = "the integration tests use the rest")]
mod case;
#[cfg(test)]
#[path = "../tests/support/random.rs"]
mod random;

pub use affine::{Affine, GroupNorm};
pub use arch::generic::Loop;
pub use binary::{Add, Beside, Mul};
pub use conv::Conv;
pub use conv_transpose::ConvTranspose;
pub use convert::{dequantize, dequantize_to_nchw, quantize, quantize_from_nchw};
pub use eltwise::{Rows, copy, requant_table, table_of};
pub use gather::Gather;
pub use isa::{Isa, UnknownIsa};
pub use layer_norm::LayerNorm;
pub use lookup::Lookup;
pub use matmul::MatMul;
pub use matrices::{LayerNormSpec, MatMulSpec, MatrixPlace};
pub use memory::{Buffer, Pool, SLACK, Scratch, release_freed_memory};
pub use peak::peak_macs_per_second;
pub use pooling::{AvgPool, MaxPool};
pub use rearrange::{CopyAxis, Rearrange};
pub use resample::{Between, Bilinear, Nearest};
pub use softmax::Softmax;
pub use spec::{
    ConvSpec, ConvTransposeSpec, ConvWeights, PoolSpec, Product, Residual, SpecError, absolute_sum,
};
