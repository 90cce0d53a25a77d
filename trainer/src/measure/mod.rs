//! A checkpoint that answers, and what becomes of its answers: figures, pages, predictions.
//!
//! ```text
//! network      a checkpoint that answers
//! run          its images, what is said and written
//! page, sheet  what every page shares; the best, median and worst cases drawn
//! predictions  what was said of each image, for other programs
//! ```

mod network;
pub(crate) mod page;
pub mod predictions;
mod run;
pub(crate) mod sheet;

pub use network::Evaluated;
pub use run::{BATCH, REPLICATES, Settings};
pub(crate) use run::{Measured, Run, figures, write_lines};

use crate::metrics::Estimate;

/// An estimate for people, a dash where there is none.
pub(crate) fn shown(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(|| "-".into(), |estimate| estimate.to_string())
}
