//! What became of the studies that an archive was asked for. In our words: what an archive says may name a patient.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// `C-FIND and C-MOVE`
    pub by: String,
    /// That were asked for.
    pub studies: u64,
    /// Those that did not come whole, in the order of their lines.
    pub missing: Vec<Missing>,
    /// Images that came.
    pub images: u64,
    /// Series that were not asked for, by their modality.
    pub left_out: BTreeMap<String, u64>,
    /// Objects that came unasked, and were dropped.
    pub unasked: u64,
}

/// A study that did not come, or of which something did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Of the labels: the first that names it. Which study that is, the site's table says.
    pub line: u64,
    /// Images that came.
    pub came: u64,
    /// Images that the archive says it has; none: it did not get to say so.
    pub of: Option<u64>,
    pub why: String,
}

impl Pulled {
    pub(crate) fn share_missing(&self) -> f64 {
        if self.studies == 0 { 0.0 } else { self.missing.len() as f64 / self.studies as f64 }
    }
}
