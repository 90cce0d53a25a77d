//! Frozen embeddings → a classifier for each finding: linear asks and chooses, logistic fits.

mod linear;
mod logistic;

pub(crate) use linear::probe;
pub use linear::{EmbeddingLine, LinearResult, LinearSettings, Probe, strengths};
