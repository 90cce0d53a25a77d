//! What a micro-kernel over strided rows computes: the product of a matrix whose rows lie at equal distances,
//! while the epilogue of an earlier product runs. AMX wants it, which has registers for whole matrices; AVX2
//! and AVX-512 gain by it in pointwise convolutions.
//!
//! ```text
//!   tap 0        tap 1                           sums: [row][channel]
//! x ──▶ row 0    x + taps[1] ──▶ row 0    …      row r of a tap begins `r · pitch` bytes behind row 0
//! ```

use super::tile::{Arrange, Requant, Tile};
use crate::spec::{ConvSpec, Residual};

/// A micro-kernel over strided rows, of one instruction set.
#[derive(Debug)]
pub(crate) struct StridedKernel {
    /// Rows of a whole product; half as many are one, too.
    pub(crate) rows: usize,
    /// Columns of a product.
    pub(crate) channels: usize,
    /// Bytes of a row that a step multiplies.
    pub(crate) depth: usize,
    /// Steps of a tap at least.
    pub(crate) least_steps: usize,
    /// As [`MicroKernel::arrange`](super::tile::MicroKernel::arrange).
    pub(crate) arrange: Option<Arrange>,
    /// Called by a thread before its first product, and after its last.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    pub(crate) enter: unsafe fn(),
    pub(crate) leave: unsafe fn(),
    /// Whether a convolution gains by it.
    pub(crate) pays: fn(&ConvSpec) -> bool,
    /// Whether whole products that follow each other are multiplied by one call.
    pub(crate) runs: bool,
    /// What `multiply` wants to know of the epilogue, once for a whole convolution.
    pub(crate) constants: fn(&Requant, Option<&Residual>) -> EpilogueConstants,
    /// Multiplies, and meanwhile brings earlier sums to bytes as `finish` does: those of `done`, and in a run
    /// those of the products before the last, whose first outputs are `own`. The last sums are in memory
    /// after [`StridedKernel::store`].
    ///
    /// # Safety
    /// The CPU has the instruction set, `enter` was called, and the pointers are as [`Product`] documents; as
    /// `finish`.
    pub(crate) multiply: unsafe fn(
        &Product<'_>,
        done: Option<(&Tile<'_>, *const i32)>,
        own: &Tile<'_>,
        constants: &EpilogueConstants,
    ),
    /// Writes what sums of the product are still in registers.
    ///
    /// # Safety
    /// As `multiply`, and it was the last to be called.
    pub(crate) store: unsafe fn(&Product<'_>),
    /// Writes sums as a tile's output asks; rows and weights of the tile are not used.
    ///
    /// # Safety
    /// The CPU has the instruction set; the pointers of the tile are as documented there; there are sums for
    /// its pixels, rounded up to an even number.
    pub(crate) finish: unsafe fn(&Tile<'_>, *const i32),
}

/// What an overlapped epilogue needs of a convolution: registers' worth of numbers, of whatever kind an
/// instruction set likes.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct EpilogueConstants(pub(crate) [[u32; 16]; 12]);

impl EpilogueConstants {
    pub(crate) const NONE: Self = Self([[0; 16]; 12]);
}

/// A product, or a run of them: each begins where the rows of the one before end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) count: usize,
    /// The first row under the first tap. `steps · depth` bytes of every row of every tap can be read.
    pub(crate) x: *const u8,
    pub(crate) pitch: usize,
    /// Bytes from the first tap's rows to each tap's.
    pub(crate) taps: &'a [usize],
    /// Steps of a tap.
    pub(crate) steps: usize,
    /// `[taps][steps][depth / 4][channels][4]` of `i8`, or what [`StridedKernel::arrange`] made of it; aligned to 64.
    pub(crate) weights: *const u8,
    /// `[rows / 2][channels]`: what sums start from, the same in each row.
    pub(crate) bias: *const i32,
    /// Only the first half of the rows. Never in a run.
    pub(crate) half: bool,
    /// `[rows][channels]`, aligned to 64: where the sums of the first, third, … product go, and those of the
    /// second, fourth, …
    pub(crate) sums: [*mut i32; 2],
    /// An address worth fetching into the second-level cache, and how many bytes at each step. It may lie anywhere.
    pub(crate) ahead: (*const u8, usize),
}
