//! How each data set lies on disk.

mod cxr_mini;
mod mimic_cxr;

use super::{IndexError, Record};
use std::path::Path;

/// A data set's arrangement of files, by the name its users know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// `manifest.jsonl` beside `images/` and `masks/`; also what `trainer phantom` writes
    CxrMini,
    /// MIMIC-CXR-JPG 2.0.0 with MIMIC-CXR's reports: frontal images
    MimicCxr,
}

impl Layout {
    /// Every image of the data set under `root`, paths absolute, splits where the data set has them.
    pub fn records(self, root: &Path) -> Result<Vec<Record>, IndexError> {
        match self {
            Self::CxrMini => cxr_mini::records(root),
            Self::MimicCxr => mimic_cxr::records(root),
        }
    }
}
