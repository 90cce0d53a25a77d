//! What the packets have of a code-block, and how its samples are told.

/// The largest width or height of a block.
pub(super) const LARGEST: usize = 1024;

/// What the packets have of a block.
pub(super) struct Coded<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Bit-planes of the band, at most [`PLANES`].
    pub(super) planes: u32,
    /// Those above the ones that the cleanup pass has, less one.
    pub(super) missing: u32,
    pub(super) passes: u32,
    pub(super) cleanup: &'a [u8],
    pub(super) refinement: &'a [u8],
    /// Whether the refinement of four rows looks at none below them.
    pub(super) is_causal: bool,
}

/// What a sample can hold.
pub(super) const PLANES: u32 = 29;

/// The sign of a sample; the other bits are its magnitude in halves: of what is not known, half is added.
pub(super) const SIGN: u32 = 1 << 31;

impl Coded<'_> {
    /// From a row of samples to the next: whole pairs of quads.
    pub(super) fn stride(&self) -> usize {
        self.width.next_multiple_of(4)
    }
}
