//! How much one file may claim: checked before anything is allocated.

use crate::RadiographError;

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

/// Refuses a file that is too long to be read.
pub(crate) fn check_file(length: u64) -> Result<(), RadiographError> {
    if length > FILE_BYTES { Err(RadiographError::FileTooLarge { found: length }) } else { Ok(()) }
}

/// Refuses a frame without samples or with too many.
pub(crate) fn check(height: u64, width: u64, samples: u64) -> Result<(), RadiographError> {
    for (name, found) in [("Rows", height), ("Columns", width)] {
        if found == 0 {
            let (found, expected) = ("0".into(), "at least 1");
            return Err(RadiographError::Value { name, found, expected });
        }
    }
    match height.checked_mul(width).and_then(|n| n.checked_mul(samples)) {
        Some(n) if n <= FRAME => Ok(()),
        _ => Err(RadiographError::TooLarge { height, width }),
    }
}
