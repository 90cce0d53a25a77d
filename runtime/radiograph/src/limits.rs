//! How much one file may claim: checked before anything is allocated (`size.rs` and the readers).

/// Largest file read from disk. The largest radiographs are 50 MB.
pub(crate) const FILE_BYTES: u64 = 512 << 20;

/// Samples of one frame. The largest detectors have 28 million pixels.
pub(crate) const FRAME: u64 = 40 << 20;

/// Samples of all frames together, where all are wanted.
pub(crate) const SAMPLES: u64 = 64 << 20;

/// What a deflated data set may grow to.
pub(crate) const INFLATED_BYTES: usize = 160 << 20;

/// Sequences inside sequences. Real radiographs stay below 8.
pub(crate) const DEPTH: usize = 32;

/// Data elements and items before the pixel data, nested ones included.
pub(crate) const ELEMENTS: usize = 100_000;

/// Bytes before the pixel data.
pub(crate) const HEADER_BYTES: usize = 32 << 20;
