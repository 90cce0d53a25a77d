//! How much one file may claim: checked before anything is allocated.

use crate::RadiographError;
/// Largest file read from disk. The largest radiographs are 50 MB.
pub(crate) const FILE_BYTES: u64 = 512 << 20;

/// Samples of all frames together; the largest detectors have 20 million pixels.
pub(crate) const SAMPLES: u64 = 64 << 20;

/// What a deflated data set may grow to.
pub(crate) const INFLATED_BYTES: usize = 160 << 20;

/// Sequences inside sequences. Real radiographs stay below 8.
pub(crate) const DEPTH: usize = 32;

/// Data elements and items before the pixel data, nested ones included.
pub(crate) const ELEMENTS: usize = 100_000;

/// Bytes before the pixel data.
pub(crate) const HEADER_BYTES: usize = 32 << 20;

/// Refuses a picture without pixels or with too many.
pub(crate) fn check(height: u64, width: u64, frames: u64) -> Result<(), RadiographError> {
    for (name, found) in [("Rows", height), ("Columns", width), ("NumberOfFrames", frames)] {
        if found == 0 {
            return Err(RadiographError::Value {
                name,
                found: found.to_string(),
                expected: "at least 1",
            });
        }
    }
    match height.checked_mul(width).and_then(|n| n.checked_mul(frames)) {
        Some(n) if n <= SAMPLES => Ok(()),
        _ => Err(RadiographError::TooLarge { height, width, frames }),
    }
}
