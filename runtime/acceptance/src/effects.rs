//! What does not depend on any truth: the same image again, other window settings, time.

use crate::Case;
use metrics::bootstrap::quantile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Whether the same pixels had the same answer, to the bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeatability {
    /// Images that were sent again.
    pub images: u64,
    /// How often, in all.
    pub repeats: u64,
    /// Numbers of images that had another answer at least once.
    pub different: Vec<u32>,
}

impl Repeatability {
    pub(crate) fn of(cases: &[Case]) -> Self {
        let again = |case: &&Case| !case.again.is_empty();
        let differs = |case: &&Case| case.again.iter().any(|one| one.digest != case.answer.digest);
        Self {
            images: cases.iter().filter(again).count() as u64,
            repeats: cases.iter().map(|case| case.again.len() as u64).sum(),
            different: cases.iter().filter(differs).map(|case| case.number).collect(),
        }
    }

    /// Whether every answer was the same; not of nothing.
    pub fn is_exact(&self) -> bool {
        self.repeats > 0 && self.different.is_empty()
    }
}

/// Whether the daemon says what its network says of the same file when it is asked directly: no socket, no spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direct {
    pub images: u64,
    /// Numbers of images that had another answer.
    pub different: Vec<u32>,
}

impl Direct {
    pub(crate) fn of(cases: &[Case]) -> Self {
        let differs = |case: &&Case| case.direct != case.answer.digest;
        let different = cases.iter().filter(differs).map(|case| case.number).collect();
        Self { images: cases.len() as u64, different }
    }

    pub fn is_exact(&self) -> bool {
        self.different.is_empty()
    }
}

/// One window setting and what it does to the findings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowEffect {
    /// `width +10 %`, `inverted`
    pub setting: String,
    pub images: u64,
    /// Analysed as they came and not with this setting, or the other way round.
    pub refused: u64,
    pub findings: Vec<Change>,
}

/// Of one finding, with one setting, over the images that were analysed both ways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub name: String,
    /// Of the probability.
    pub mean: f64,
    /// The largest, whichever way.
    pub largest: f64,
    pub to_positive: u64,
    pub to_negative: u64,
    /// Of each image.
    pub changes: Vec<f32>,
}

pub(crate) fn windows(findings: &[String], cases: &[Case]) -> Vec<WindowEffect> {
    let mut settings: Vec<&str> = Vec::new();
    for (setting, _) in cases.iter().flat_map(|case| &case.windows) {
        if !settings.contains(&&**setting) {
            settings.push(setting);
        }
    }
    settings.into_iter().map(|setting| effect(setting, findings, cases)).collect()
}

fn effect(setting: &str, findings: &[String], cases: &[Case]) -> WindowEffect {
    let pairs: Vec<_> = cases
        .iter()
        .flat_map(|case| case.windows.iter().map(move |(own, answer)| (own, &case.answer, answer)))
        .filter(|(own, ..)| *own == setting)
        .map(|(_, before, after)| (before, after))
        .collect();
    let refused = pairs.iter().filter(|(a, b)| a.refused.is_some() != b.refused.is_some());
    let change = |name: &String| {
        let both: Vec<_> = pairs
            .iter()
            .filter_map(|(a, b)| Some((*a.findings.get(name)?, *b.findings.get(name)?)))
            .collect();
        let changes: Vec<f32> = both.iter().map(|(a, b)| b.probability - a.probability).collect();
        let flips =
            |to: bool| both.iter().filter(move |(a, b)| a.positive != to && b.positive == to);
        let sum: f64 = changes.iter().copied().map(f64::from).sum();
        Change {
            name: name.clone(),
            mean: if changes.is_empty() { 0.0 } else { sum / changes.len() as f64 },
            largest: changes.iter().map(|change| f64::from(change.abs())).fold(0.0, f64::max),
            to_positive: flips(true).count() as u64,
            to_negative: flips(false).count() as u64,
            changes,
        }
    };
    WindowEffect {
        setting: setting.to_owned(),
        images: pairs.len() as u64,
        refused: refused.count() as u64,
        findings: findings.iter().map(change).collect(),
    }
}

/// From the announcement of a C-STORE to the result on disk, seconds. One image at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Images and their repetitions that were analysed.
    pub count: u64,
    pub median: f64,
    pub p95: f64,
    pub longest: f64,
    pub all: Vec<f32>,
}

impl Times {
    pub(crate) fn of(cases: &[Case]) -> Option<Self> {
        let answers =
            cases.iter().flat_map(|case| std::iter::once(&case.answer).chain(&case.again));
        let analysed = answers.filter(|answer| answer.refused.is_none());
        let mut all: Vec<f64> = analysed.map(|answer| answer.seconds).collect();
        all.sort_by(f64::total_cmp);
        let longest = *all.last()?;
        Some(Self {
            count: all.len() as u64,
            median: quantile(&all, 0.5),
            p95: quantile(&all, 0.95),
            longest,
            all: all.iter().map(|seconds| *seconds as f32).collect(),
        })
    }
}

/// How many patients there are.
pub(crate) fn patients(cases: &[Case]) -> u64 {
    cases.iter().map(|case| case.patient).collect::<BTreeSet<_>>().len() as u64
}
