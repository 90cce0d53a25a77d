//! A checkpoint on a split, in numbers with intervals, as a page to look at, and image by image.
//!
//! ```text
//! run             one task after the other: images → what the network says → figures, page, predictions
//! network         a checkpoint that answers
//! classification  probabilities + truth → AUROC, AUPRC, what happens at the operating points
//! linear          frozen embeddings → a classifier for each finding; logistic: how it is fitted
//! classified      a classifier's answers beside the truth
//! segmentation    masks + truth → Dice and IoU, with and without empty images
//! detection       boxes + truth → mAP, FROC
//! text            what a PRIOR checkpoint says without training (`evaluate_text`): pages and predictions
//! report, page    the same as HTML with curves; sheet: the best, median and worst cases drawn
//! predictions     what was said of each image, for other programs
//! ```
//!
//! Masks and boxes are decoded by `engine`, so what is measured is what the box shows.

mod classification;
mod classified;
mod detection;
mod linear;
mod logistic;
mod network;
mod page;
pub mod predictions;
mod report;
mod run;
mod segmentation;
mod sheet;
mod text;

pub use classification::{Areas, ClassificationResult, FindingResult};
pub use detection::{ClassResult, DetectionResult};
pub use linear::{EmbeddingLine, LinearResult, LinearSettings, Probe, strengths};
pub use network::Evaluated;
pub use run::{BATCH, Evaluation, REPLICATES, What};
pub(crate) use segmentation::Judged;
pub use segmentation::{RegionResult, SegmentationResult};

use crate::metrics::Estimate;

/// An estimate for people, a dash where there is none.
fn shown(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(|| "-".into(), |estimate| estimate.to_string())
}
