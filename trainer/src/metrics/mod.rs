//! The metrics of [`metrics`], and the verb that computes them of numbers in a file.

mod command;

pub use ::metrics::*;
pub use command::MetricsArgs;
