//! Why values cannot be calibrated.

use std::{error::Error, fmt};

/// What is wrong with a tensor's values.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CalibrationError {
    /// Nothing was observed.
    Empty,
    /// NaN or infinite values, and how many.
    NonFinite { count: u64 },
    /// `name` is no method.
    Method { name: String },
}

impl fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no values were observed"),
            Self::NonFinite { count } => write!(f, "{count} values are NaN or infinite"),
            Self::Method { name } => write!(
                f,
                "unknown observer `{name}`, expected minmax, moving-average, percentile[:P], \
                 entropy, mse or auto"
            ),
        }
    }
}

impl Error for CalibrationError {}
