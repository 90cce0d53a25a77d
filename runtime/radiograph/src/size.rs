//! Refuses files and frames whose size is beyond the limits, before anything is allocated.

use crate::RadiographError;
use crate::limits::{FILE_BYTES, FRAME};

/// Refuses a file that is too long to be read.
pub(crate) fn check_file(length: u64) -> Result<(), RadiographError> {
    if length > FILE_BYTES { Err(RadiographError::FileTooLarge { found: length }) } else { Ok(()) }
}

/// Refuses a frame without samples or with too many.
pub(crate) fn check_frame(height: u64, width: u64, samples: u64) -> Result<(), RadiographError> {
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
