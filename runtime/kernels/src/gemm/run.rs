//! One run of a packed convolution: what its parts have in common.

use super::packed::PackedConv;
use crate::spec::Residual;

/// Pointers for one run; parts write disjoint tiles.
pub(crate) struct ConvRun<'a> {
    pub(crate) conv: &'a PackedConv,
    /// First activation, and bytes from one pixel to the next.
    pub(crate) x: *const u8,
    pub(crate) pitch: usize,
    /// Whether padding is written out in what `x` points to.
    pub(crate) padded: bool,
    pub(crate) target: OutputTarget<'a>,
    pub(crate) threads: *mut u8,
}

// SAFETY: the threads of a pool read `x` and the convolution, write disjoint tiles of the target (a tile is one block
// of channels by a range of pixels, and `drive` gives each to one part), and use the scratch of their own thread.
unsafe impl Sync for ConvRun<'_> {}

/// Where the outputs of a run go.
#[derive(Clone, Copy)]
pub(crate) enum OutputTarget<'a> {
    Bytes { y: *mut u8, residual: Option<(*const u8, &'a Residual)> },
    Floats { y: *mut f32, order: FloatOrder },
}

/// How floats lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatOrder {
    /// `[channels, pixels]`
    ByChannel,
    /// `[pixels, channels]`
    ByPixel,
}
