//! The one place where other people's decoders meet bytes from outside.

use crate::RadiographError;
use std::{
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs a decoder we did not write: whatever it does, we go on.
///
/// The decoder must not be given state that outlives it: after a panic its inside is unknown.
pub(crate) fn contain<T, E: Display>(
    format: &'static str,
    decode: impl FnOnce() -> Result<T, E>,
) -> Result<T, RadiographError> {
    let failed = |reason: String| RadiographError::Decode { format, reason };
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(result) => result.map_err(|e| failed(e.to_string())),
        Err(_) => Err(failed("its decoder gave up on it".into())),
    }
}
