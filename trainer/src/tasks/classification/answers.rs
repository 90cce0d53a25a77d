//! A classifier's answers to many images beside the truth.

use super::{Targets, figures::ClassificationResult};
use crate::{
    index::{Record, Split},
    measure::predictions::{Answer, Finding, ImageAnswer},
    metrics::bootstrap::Resampling,
};
use std::collections::BTreeMap;

/// Scores of every label and image.
pub(crate) struct Classified {
    pub(crate) records: Vec<Record>,
    pub(crate) targets: Targets,
    /// `[label][image]`
    pub(crate) scores: Vec<Vec<f32>>,
    /// Fitted ones, by label; ½ elsewhere.
    pub(crate) thresholds: BTreeMap<String, f32>,
}

impl Classified {
    pub(crate) fn result(&self, resampling: Resampling, split: Split) -> ClassificationResult {
        let Self { records, targets, scores, thresholds } = self;
        let groups: Vec<&str> = records.iter().map(|record| record.group()).collect();
        ClassificationResult::of(targets, scores, &groups, thresholds, resampling, split)
    }

    /// One for each image, as `task` says them.
    pub(crate) fn answers(&self, task: impl Fn(Vec<Finding>) -> Answer) -> Vec<ImageAnswer> {
        let finding = |at: usize, label: usize| {
            let name = self.targets.labels[label].clone();
            Finding {
                probability: self.scores[label][at],
                threshold: self.thresholds.get(&name).copied().unwrap_or(0.5),
                truth: self.targets.truth[at][label],
                name,
            }
        };
        let labels = self.targets.labels.len();
        let findings = |at: usize| (0..labels).map(|label| finding(at, label)).collect();
        let images = self.records.iter().enumerate();
        images.map(|(at, record)| ImageAnswer::of(record, task(findings(at)))).collect()
    }
}
