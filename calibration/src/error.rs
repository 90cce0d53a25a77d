//! Why values cannot be calibrated.

use thiserror::Error;

/// What is wrong with a tensor's values.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum CalibrationError {
    #[error("no values were observed")]
    Empty,

    #[error("{count} values are NaN or infinite")]
    NonFinite { count: u64 },

    #[error(
        "unknown observer `{name}`, expected minmax, moving-average, percentile[:P], entropy, mse, \
         image-mse or auto"
    )]
    Method { name: String },
}
