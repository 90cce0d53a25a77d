//! Int8 kernels; all unsafe code of what ships.
//!
//! Start at [`scalar`]: it is the definition of every operation, in plain loops. Everything else computes the same
//! bits faster: [`Conv::pack`] lays weights out for one instruction set ([`Isa`], chosen in `isa.rs`), `run` splits
//! the work over a [`Pool`].
//!
//! ```text
//! isa.rs        which instruction sets this CPU has, and the table of their kernels: the only dispatcher
//! conv/         packing, tiling and threading of convolutions; the same for every instruction set
//! tile.rs       what a kernel computes and what it may assume
//! avx512.rs …   one file per instruction set: a tile of accumulators, and its requantization
//! matrix.rs     products that overlap with the last step of others (amx.rs, pointwise/)
//! winograd/     3x3 convolutions with fewer multiplications, to the same bits
//! depthwise.rs  the one shape that is no matrix product
//! eltwise.rs    add, tables, copies        pooling.rs   max, average        resample.rs   nearest, bilinear
//! matmul.rs     products of two activations           softmax.rs   shares of a row
//! buffer.rs     memory of tensors and weights, in large pages (pages.rs)
//! convert.rs    f32 ⇄ u8                   pool.rs      threads             peak.rs       what the machine could do
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

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bytes;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod buffer;
mod conv;
mod convert;
mod depthwise;
#[cfg(target_arch = "aarch64")]
mod dotprod;
mod eltwise;
#[cfg(target_arch = "aarch64")]
mod i8mm;
mod isa;
mod lookup;
mod matmul;
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "only x86-64 has sets that gain by it")
)]
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pages;
mod peak;
#[cfg(target_arch = "x86_64")]
mod pointwise;
mod pool;
mod pooling;
mod portable;
mod resample;
mod softmax;
mod spec;
mod tile;
mod winograd;
mod zip;

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

pub use buffer::{Buffer, SLACK, release_freed_memory};
pub use conv::{Conv, Scratch};
pub use convert::{dequantize, dequantize_to_nchw, quantize, quantize_from_nchw};
pub use eltwise::{Add, Rows, copy, requant_table, table_of};
pub use isa::{Isa, UnknownIsa};
pub use lookup::Lookup;
pub use matmul::MatMul;
pub use peak::peak_macs_per_second;
pub use pool::Pool;
pub use pooling::{AvgPool, MaxPool};
pub use resample::{Bilinear, Nearest};
pub use softmax::Softmax;
pub use spec::{ConvSpec, ConvWeights, MatMulSpec, PoolSpec, Residual, SpecError, absolute_sum};
