//! One image of the test: what is true of it, what the daemon said, and what it said of the same image again.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image, with what a header says of it. Its row in the report has none of that.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its number in the report.
    pub number: u32,
    /// Images of one patient are no independent evidence.
    pub patient: u32,
    /// By the bundle's names; `None`: somebody looked and was not certain.
    pub truths: BTreeMap<String, Option<bool>>,
    pub groups: Vec<Group>,
    pub answer: Answer,
    /// Digest of what the network says of the file without the daemon.
    pub direct: String,
    /// What was said of the same pixels, sent again.
    pub again: Vec<Answer>,
    /// With other window settings, by the setting's name; empty of images that were not tried.
    pub windows: Vec<(String, Answer)>,
}

/// Images that have something in common: `sex` `F`, `machine` `ACME Thorax 3, ROOM2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    pub axis: String,
    pub value: String,
}

/// What the daemon said of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// One word, of an image that was not analysed.
    pub refused: Option<String>,
    pub findings: BTreeMap<String, Said>,
    /// SHA-256 of all that was said, masks and boxes included.
    pub digest: String,
    /// From the announcement of the C-STORE to the result on disk.
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// In `[0, 1]`.
    pub probability: f32,
    pub threshold: f32,
    pub positive: bool,
}

impl Case {
    /// What was said of a finding, and what is true: of an image that counts.
    pub(crate) fn judged(&self, finding: &str) -> Option<(Said, bool)> {
        let truth = (*self.truths.get(finding)?)?;
        Some((*self.answer.findings.get(finding)?, truth))
    }

    pub(crate) fn patient_name(&self) -> String {
        self.patient.to_string()
    }
}
