//! What a micro-kernel computes: one tile, a few output pixels by a few output channels.
//!
//! ```text
//!            rows[tap][pixel] ──▶ channels of one input pixel, `steps · depth` bytes
//! weights: [tap][step][channel][depth]          sums: [pixel][channel], in registers
//! ```
//!
//! Convolution is a matrix product whose left rows are found through pointers instead of being copied together: row
//! `(tap, pixel)` is the input pixel under that tap, or a row of zero points where the tap lies on padding.

use crate::scalar;
use crate::spec::Residual;

/// The micro-kernel of one instruction set.
#[derive(Debug)]
pub(crate) struct MicroKernel {
    /// Pixels in a full tile.
    pub(crate) pixels: usize,
    /// Channels in a tile; weights, biases and scales are padded to a multiple.
    pub(crate) channels: usize,
    /// Input channels that one step consumes.
    pub(crate) depth: usize,
    /// The kernel is one for depthwise convolutions, and how it wants their weights: see `arch/generic/depthwise.rs`
    /// for what differs.
    pub(crate) depthwise: Option<DepthwiseWeights>,
    pub(crate) activations: Activations,
    /// The kernel is right only if no weight is −128; convolutions that have one run on the portable kernel. (Our
    /// exporter quantizes weights to −127..=127; the file format allows −128.)
    pub(crate) no_lowest_weight: bool,
    /// An order of the kernel's own for the weights of a tap.
    pub(crate) arrange: Option<Arrange>,
    /// Computes one tile.
    ///
    /// # Safety
    /// The CPU has the instruction set, and every pointer of the tile is as its documentation says.
    pub(crate) tile: unsafe fn(&Tile<'_>),
    /// Multiplies bytes at the highest rate the instruction set has, `rounds` times; returns the
    /// multiplications done.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    pub(crate) peak: unsafe fn(rounds: usize) -> u64,
}

/// Weights of a block of depthwise convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DepthwiseWeights {
    /// `[tap][channel]` of `i16`
    Words,
    /// `[tap / 4][j][lane][i][tap % 4]` of `i8`, for channel `16·lane + 4·j + i`
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for kernels of x86-64"))]
    FourTaps,
    /// Eight channels' of these after the other as `i16`: first those of even taps.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for kernels of x86-64"))]
    FourTapsWide,
}

/// An order of weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrange {
    /// How many bytes a tap of so many takes at most.
    pub(crate) most: fn(usize) -> usize,
    /// Writes the weights of a tap, `[step][channel][depth]`, in that order, and says how many bytes that
    /// took, a multiple of 64.
    pub(crate) arrange: fn(&[u8], &mut [u8]) -> usize,
}

/// What a kernel multiplies weights by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activations {
    /// The bytes as they are.
    Bytes,
    /// `x − 128` as a signed byte, for CPUs that cannot multiply unsigned by signed; the bias makes up for it.
    Signed,
}

impl Activations {
    /// `x` everywhere in `to`, which has room for whole ones.
    pub(crate) fn fill(self, x: u8, to: &mut [u8]) {
        match self {
            Self::Bytes => to.fill(x),
            Self::Signed => to.fill(x ^ 0x80),
        }
    }

    /// `x` as a kernel wants it, written to `to`, which has room for just that.
    pub(crate) fn convert(self, x: &[u8], to: &mut [u8]) {
        match self {
            Self::Bytes => to.copy_from_slice(x),
            Self::Signed => to.iter_mut().zip(x).for_each(|(to, x)| *to = x ^ 0x80),
        }
    }
}

/// One tile: all a kernel needs.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// `[taps][kernel.pixels]` pointers; the first `pixels` of each tap can be read for `steps · depth` activations
    /// (and up to 63 bytes more, whose values do not matter: [`crate::SLACK`]).
    pub(crate) rows: *const *const u8,
    /// Depthwise only: the first channel of the tile in each row.
    pub(crate) offset: usize,
    pub(crate) taps: usize,
    pub(crate) steps: usize,
    /// `[taps][steps][kernel.channels][depth]` of `i8`, or what [`MicroKernel::arrange`] made of it; aligned to 64.
    pub(crate) weights: *const u8,
    /// `[kernel.channels]`: what the sums start from.
    pub(crate) bias: *const i32,
    /// `[kernel.channels]`
    pub(crate) scale: *const f32,
    /// Pixels to compute, `1..=kernel.pixels`.
    pub(crate) pixels: usize,
    /// Channels to write, `1..=kernel.channels`.
    pub(crate) channels: usize,
    pub(crate) output: Output<'a>,
    /// An address worth fetching into the second-level cache at the first step, and how far to move it at
    /// each: the share of the next block's weights that falls to this tile. It may lie anywhere; it is for
    /// prefetching only, which so far only AVX-512 does.
    pub(crate) prefetch: (*const u8, usize),
}

/// Where a tile goes.
#[derive(Debug)]
pub(crate) enum Output<'a> {
    /// Writable `[kernel.pixels][kernel.channels]` sums, not requantized.
    Sums(*mut i32),
    /// Writable bytes `pixel · stride + channel`; `residual` can be read at `pixel · add.stride + channel`. The two
    /// may be the same memory: a kernel reads a pixel's residual before it writes the pixel, and writes each once.
    Bytes {
        y: *mut u8,
        stride: usize,
        requant: &'a Requant,
        residual: Option<(*const u8, &'a Residual)>,
    },
}

/// `clamp(rte(sum · scale) + zero, lo, hi)`; all products are known to fit `i32`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requant {
    pub(crate) zero: u8,
    pub(crate) lo: u8,
    pub(crate) hi: u8,
}

impl Tile<'_> {
    /// Writes one row of sums by the scalar definition: for kernels without a faster way, and for odd ends.
    ///
    /// # Safety
    /// `pixel < self.pixels`, `N` is the kernel's `channels`, and the tile's pointers are as documented.
    pub(crate) unsafe fn finish_row<const N: usize>(&self, pixel: usize, sums: &[i32; N]) {
        debug_assert!(pixel < self.pixels && self.channels <= N);
        match &self.output {
            Output::Sums(all) => {
                // SAFETY: `all` is `[kernel.pixels][N]`, and `pixel` is one of its rows.
                unsafe { all.add(pixel * N).cast::<[i32; N]>().write(*sums) }
            }
            Output::Bytes { y, stride, requant, residual } => {
                for (n, sum) in sums.iter().enumerate().take(self.channels) {
                    // SAFETY: `n < self.channels` and `pixel < self.pixels`: inside what the tile grants.
                    unsafe {
                        let v = *sum as f32 * *self.scale.add(n);
                        let c = scalar::requantize(v, requant.zero, requant.lo, requant.hi);
                        let q = residual.map_or(c, |(r, add)| {
                            scalar::add_one(add, requant.zero, c, *r.add(pixel * add.stride + n))
                        });
                        *y.add(pixel * stride + n) = q;
                    }
                }
            }
        }
    }
}
