//! Operating points and figures of the network that ships: int8, on the validation split.
//!
//! ```text
//! index ─ val, the checkpoint's selection ─▶ case ─▶ evidence ─▶ decide ─▶ threshold moves, or stays and why
//! ```
//!
//! By the criteria the float ones were chosen with, on the images they were chosen on: `source` and `having` of the
//! checkpoint's `[training]`, unless the user names others.

mod case;
mod decide;

pub(crate) use decide::Refit;

use crate::verify::{Network, Truth};
use anyhow::{Context, Result};
use bundle::{Manifest, Metric};
use case::{Case, Drawn};
use decide::{Evidence, decide};
use engine::decode::MASK_THRESHOLDS;
use graph::{Head, Task};
use indicatif::ProgressBar;
use metrics::{
    bootstrap::{Patients, Resampling, weighted_mean},
    detection::{Counting, ImageBoxes, Matched, RSNA_THRESHOLDS},
    figure,
    operating::OperatingPoint,
    overlap::{Overlap, best_threshold},
    ranking::Ranking,
    threshold::Criterion,
};
use records::{Record, Selection, Split};
use std::collections::BTreeSet;

/// Where boxes count as found when their threshold is chosen.
const HALF: f64 = 0.5;

/// What thresholds are fitted on, and what they were.
pub(crate) struct Refitting<'a> {
    pub(crate) network: &'a Network,
    /// The checkpoint's, of the float network.
    pub(crate) fitted: &'a [OperatingPoint],
    pub(crate) records: Vec<Record>,
    pub(crate) selection: &'a Selection,
    /// Part of the records that counts.
    pub(crate) split: Split,
    /// Whether thresholds move, or figures alone are measured.
    pub(crate) moves: bool,
}

impl Refitting<'_> {
    /// Fits the thresholds anew on what the int8 network says of the images, where those say enough, and adds its figures
    /// to the metrics.
    pub(crate) fn run(
        &self,
        manifest: &mut Manifest,
        progress: &ProgressBar,
    ) -> Result<Vec<Refit>> {
        let judges = |record: &&Record| {
            record.part() == self.split
                && self.selection.takes(record)
                && Truth::is_known(record, &manifest.model)
        };
        let records: Vec<&Record> = self.records.iter().filter(judges).collect();
        progress.set_length(records.len() as u64);
        let mut cases = Vec::new();
        for record in records {
            let case = Case::of(record, manifest, self.network);
            cases.push(case.with_context(|| format!("image `{}`", record.id))?);
            progress.inc(1);
        }
        progress.finish_and_clear();
        let mut refits = Vec::new();
        for head in manifest.model.heads.clone() {
            let (refitting, cases, refits) = (self, cases.as_slice(), &mut refits);
            let mut judge = Judge { refitting, manifest, refits, head: &head, cases };
            match head.task {
                Task::Classification => judge.findings(),
                Task::Segmentation => judge.regions(),
                Task::Detection | Task::Yolov3 | Task::Yolov3Relu => judge.boxes(),
                // What it finds stands in a section of its own, fitted there.
                Task::Language => {}
            }
        }
        Ok(refits)
    }
}

/// One head's thresholds and figures.
struct Judge<'a> {
    refitting: &'a Refitting<'a>,
    manifest: &'a mut Manifest,
    refits: &'a mut Vec<Refit>,
    head: &'a Head,
    cases: &'a [Case],
}

impl Judge<'_> {
    fn findings(&mut self) {
        for (at, label) in self.head.labels.iter().enumerate() {
            let known = self.cases.iter().filter_map(|case| Some((case, case.findings[at]?)));
            let (cases, truth): (Vec<&Case>, Vec<bool>) = known.unzip();
            let scores: Vec<f32> = cases.iter().map(|case| case.scores[at]).collect();
            let of_kind = |kind| {
                let own = cases.iter().zip(&truth).filter(|(_, truth)| **truth == kind);
                distinct(own.map(|(case, _)| *case))
            };
            let ranking = Ranking::new(&scores, &truth);
            let evidence = Evidence {
                patients: patients(&cases),
                kinds: vec![(of_kind(true), "with it"), (of_kind(false), "without")],
                fit: Box::new(|criterion, weights| criterion.weighted_threshold(&ranking, weights)),
                undecided: Box::new(|[low, high]| {
                    let between = scores.iter().filter(|&&score| (low..high).contains(&score));
                    between.count() as f64 / scores.len() as f64
                }),
                cases: "images",
            };
            self.decide(label, Criterion::Youden, &evidence);
            let auroc = |weights: &[u32]| ranking.weighted_auroc(weights);
            self.measure(figure::auroc(label), &cases, auroc);
        }
    }

    fn regions(&mut self) {
        for (at, label) in self.head.labels.iter().enumerate() {
            let known = self.cases.iter();
            let known = known.filter_map(|case| Some((case, case.regions.get(at)?.as_ref()?)));
            let (cases, drawn): (Vec<&Case>, Vec<&Drawn>) = known.unzip();
            let curves: Vec<[f64; MASK_THRESHOLDS.len()]> =
                drawn.iter().map(|own| own.at.each_ref().map(Overlap::dice)).collect();
            let there = cases.iter().zip(&drawn).filter(|(_, own)| own.at_old.truth > 0);
            let evidence = Evidence {
                patients: patients(&cases),
                kinds: vec![(distinct(there.map(|(case, _)| *case)), "with it drawn")],
                fit: Box::new(|criterion, weights| match criterion {
                    Criterion::Dice => {
                        best_threshold(&curves, weights).map(|at| MASK_THRESHOLDS[at])
                    }
                    _ => None,
                }),
                undecided: Box::new(|[low, high]| {
                    let first = MASK_THRESHOLDS.iter().rposition(|&t| t <= low).unwrap_or(0);
                    let last = MASK_THRESHOLDS.iter().position(|&t| t >= high);
                    let last = last.unwrap_or(MASK_THRESHOLDS.len() - 1);
                    let area =
                        |at: usize| drawn.iter().map(|own| own.at[at].predicted).sum::<u64>();
                    1.0 - area(last) as f64 / area(first).max(1) as f64
                }),
                cases: "pixels inside",
            };
            let threshold = self.decide(label, Criterion::Dice, &evidence);
            // The figure is of the bundle as it is: at the threshold it has now.
            let moved = MASK_THRESHOLDS.iter().position(|&t| t == threshold);
            let now = |own: &&Drawn| moved.map_or(own.at_old, |at| own.at[at]).dice();
            let dice: Vec<f64> = drawn.iter().map(now).collect();
            self.measure(figure::dice(label), &cases, |weights| weighted_mean(&dice, weights));
        }
    }

    fn boxes(&mut self) {
        let known = self.cases.iter().filter_map(|case| Some((case, case.boxes.as_ref()?)));
        let (cases, images): (Vec<&Case>, Vec<&ImageBoxes>) = known.unzip();
        let matched = Matched::new(&images, 0..self.head.labels.len(), &RSNA_THRESHOLDS);
        for (class, label) in self.head.labels.iter().enumerate() {
            let there = cases.iter().zip(matched.truth(class)).filter(|(_, boxes)| **boxes > 0);
            let evidence = Evidence {
                patients: patients(&cases),
                kinds: vec![(distinct(there.map(|(case, _)| *case)), "with a box")],
                fit: Box::new(|criterion, weights| match criterion {
                    Criterion::F1 => matched.best_score(class, HALF, weights),
                    _ => None,
                }),
                undecided: Box::new(|[low, high]| {
                    let called = |score| matched.called(class, score) as f64;
                    1.0 - called(high) / called(low).max(1.0)
                }),
                cases: "boxes",
            };
            self.decide(label, Criterion::F1, &evidence);
        }
        let map = |weights: &[u32]| matched.mean_average_precision(weights, Counting::All);
        self.measure(figure::MAP.into(), &cases, map);
    }

    /// The label's threshold from now on. A name that two heads share has one, chosen for the first.
    fn decide(&mut self, label: &str, usual: Criterion, evidence: &Evidence<'_>) -> f32 {
        if let Some(before) = self.refits.iter().find(|refit| refit.name == label) {
            return before.new;
        }
        if !self.refitting.moves {
            return self.manifest.threshold(label);
        }
        let fitted = self.refitting.fitted.iter().find(|point| point.name == label);
        let refit = decide(self.manifest, fitted, label, usual, evidence);
        let threshold = refit.new;
        self.refits.push(refit);
        threshold
    }

    /// Adds a figure of these images with its interval; none where it does not exist.
    fn measure(&mut self, metric: String, cases: &[&Case], of: impl Fn(&[u32]) -> Option<f64>) {
        if let Some(estimate) = patients(cases).estimate(Resampling::STANDARD, of) {
            self.manifest.metrics.push(Metric {
                task: self.head.task.to_string(),
                metric,
                data: format!("the calibration index, {}", self.refitting.selection),
                split: self.refitting.split.to_string(),
                value: estimate.value,
                interval: [estimate.low, estimate.high],
                n: cases.len() as u32,
                arithmetic: "int8".into(),
            });
        }
    }
}

fn patients(cases: &[&Case]) -> Patients {
    Patients::new(cases.iter().map(|case| case.patient.as_str()))
}

/// How many patients they are.
fn distinct<'a>(cases: impl Iterator<Item = &'a Case>) -> usize {
    cases.map(|case| case.patient.as_str()).collect::<BTreeSet<_>>().len()
}
