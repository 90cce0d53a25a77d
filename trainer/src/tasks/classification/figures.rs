//! Every number of a multi-label classifier, with intervals by patient.

use super::Targets;
use crate::{
    index::{Record, Split},
    measure::{
        sheet::{Case, pick},
        shown,
    },
    metrics::{
        Estimate,
        bootstrap::{Patients, Resampling, weighted_mean},
        ranking::Ranking,
        reliability,
        threshold::Confusion,
    },
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// What `trainer evaluate --task classification --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct ClassificationResult {
    pub task: &'static str,
    pub split: Split,
    pub images: usize,
    pub patients: usize,
    /// Mean over the findings that have one.
    pub macro_auroc: Option<Estimate>,
    /// All findings' scores in one ranking.
    pub micro_auroc: Option<Estimate>,
    /// Share of the images whose highest score is the true class; only where the labels are `covidx.*`, which exclude
    /// each other.
    pub top_class_accuracy: Option<Estimate>,
    pub findings: Vec<FindingResult>,
}

/// `None` where a number does not exist, such as the AUROC of one class.
#[derive(Clone, Debug, Serialize)]
pub struct FindingResult {
    pub name: String,
    pub positive: usize,
    pub negative: usize,
    pub auroc: Option<Estimate>,
    pub auprc: Option<Estimate>,
    /// Fitted on the validation split; ½ where none was.
    pub threshold: f32,
    pub threshold_fitted: bool,
    pub sensitivity: Option<Estimate>,
    pub specificity: Option<Estimate>,
    pub accuracy: Option<Estimate>,
    pub f1: Option<Estimate>,
    pub kappa: Option<Estimate>,
    pub brier: Option<f64>,
    pub calibration_error: Option<f64>,
}

impl ClassificationResult {
    /// `scores[label][image]`, `groups[image]`.
    pub fn of(
        targets: &Targets,
        scores: &[Vec<f32>],
        groups: &[&str],
        thresholds: &BTreeMap<String, f32>,
        resampling: Resampling,
        split: Split,
    ) -> Self {
        let areas = Areas::of(targets, scores);
        let all = Patients::new(groups.iter().copied());
        let macro_auroc = all.estimate(resampling, |weights| areas.of_means(weights));
        let micro_auroc = all.estimate(resampling, |weights| areas.of_all(weights));
        let exclusive = targets.labels.iter().all(|label| label.starts_with("covidx."));
        // 1 for every image whose highest score is a true label, 0 for the others.
        let right = |(at, row): (usize, &Vec<Option<bool>>)| {
            let best = (0..row.len()).max_by(|&a, &b| scores[a][at].total_cmp(&scores[b][at]));
            f64::from(u8::from(best.is_some_and(|best| row[best] == Some(true))))
        };
        let right =
            exclusive.then(|| targets.truth.iter().enumerate().map(right).collect::<Vec<_>>());
        let top_class_accuracy = right
            .and_then(|right| all.estimate(resampling, |weights| weighted_mean(&right, weights)));
        let results = areas.findings.iter().enumerate().map(|(label, finding)| {
            let name = &targets.labels[label];
            finding.result(name, groups, thresholds.get(name).copied(), resampling)
        });
        let patients: std::collections::BTreeSet<&str> = groups.iter().copied().collect();
        Self {
            task: "classification",
            split,
            images: groups.len(),
            patients: patients.len(),
            macro_auroc,
            micro_auroc,
            top_class_accuracy,
            findings: results.collect(),
        }
    }
}

/// Scores nearest to the truth, in the middle, and farthest from it.
pub(crate) fn cases(
    targets: &Targets,
    scores: &[Vec<f32>],
    records: &[Record],
    thresholds: &BTreeMap<String, f32>,
) -> Vec<Case> {
    let labels = 0..targets.labels.len();
    let known = labels.flat_map(|label| {
        let (at, truth) = targets.known(label);
        at.into_iter().zip(truth).map(move |(at, truth)| (label, at, truth))
    });
    let known: Vec<(usize, usize, bool)> = known.collect();
    let nearness = |&(label, at, truth): &(usize, usize, bool)| {
        let score = f64::from(scores[label][at]);
        if truth { score } else { 1.0 - score }
    };
    let case = |(rank, &(label, at, truth)): (&'static str, &(usize, usize, bool))| {
        let (name, record) = (&targets.labels[label], &records[at]);
        let (truth, score) = (if truth { "yes" } else { "no" }, scores[label][at]);
        let threshold = thresholds.get(name).copied().unwrap_or(0.5);
        Case {
            image: record.image.clone(),
            caption: format!(
                "{rank}: {}, {name} {truth}, score {score:.3}, called from {threshold:.3}",
                record.id
            ),
            truth: Vec::new(),
            ours: Vec::new(),
        }
    };
    pick(&known, nearness).into_iter().map(case).collect()
}

/// Areas under the ROC curves of several findings together; unknown truth is left out.
pub struct Areas {
    findings: Vec<Known>,
    pooled: Known,
}

impl Areas {
    /// `scores[label][image]`
    pub fn of(targets: &Targets, scores: &[Vec<f32>]) -> Self {
        let labels = 0..targets.labels.len();
        let findings: Vec<Known> = labels.map(|label| Known::of(targets, scores, label)).collect();
        let pooled = Known::pooled(&findings);
        Self { findings, pooled }
    }

    /// Macro: the mean over the findings that have one; `weights` of the images.
    pub fn of_means(&self, weights: &[u32]) -> Option<f64> {
        let area = |finding: &Known| finding.ranking.weighted_auroc(&finding.own(weights));
        let areas: Vec<f64> = self.findings.iter().filter_map(area).collect();
        (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
    }

    /// Micro: all findings' scores in one ranking.
    pub fn of_all(&self, weights: &[u32]) -> Option<f64> {
        self.pooled.ranking.weighted_auroc(&self.pooled.own(weights))
    }
}

/// Scores of one finding where its truth is known.
struct Known {
    /// Number of the image of each sample.
    at: Vec<usize>,
    scores: Vec<f32>,
    truth: Vec<bool>,
    ranking: Ranking,
}

impl Known {
    fn of(targets: &Targets, scores: &[Vec<f32>], label: usize) -> Self {
        let (at, truth) = targets.known(label);
        let scores: Vec<f32> = at.iter().map(|&at| scores[label][at]).collect();
        let ranking = Ranking::new(&scores, &truth);
        Self { at, scores, truth, ranking }
    }

    fn pooled(findings: &[Self]) -> Self {
        let at = findings.iter().flat_map(|f| f.at.clone()).collect();
        let scores: Vec<f32> = findings.iter().flat_map(|f| f.scores.clone()).collect();
        let truth: Vec<bool> = findings.iter().flat_map(|f| f.truth.clone()).collect();
        let ranking = Ranking::new(&scores, &truth);
        Self { at, scores, truth, ranking }
    }

    /// Weights of the samples, from those of the images.
    fn own(&self, weights: &[u32]) -> Vec<u32> {
        self.at.iter().map(|&at| weights[at]).collect()
    }

    fn result(
        &self,
        name: &str,
        groups: &[&str],
        fitted: Option<f32>,
        resampling: Resampling,
    ) -> FindingResult {
        let patients = Patients::new(self.at.iter().map(|&at| groups[at]));
        let threshold = fitted.unwrap_or(0.5);
        let at_threshold = |value: fn(&Confusion) -> Option<f64>| {
            patients.estimate(resampling, |weights| {
                value(&Confusion::weighted(threshold, &self.scores, &self.truth, weights))
            })
        };
        let positive = self.truth.iter().filter(|&&truth| truth).count();
        let curve = reliability::curve(&self.scores, &self.truth, 10);
        FindingResult {
            name: name.to_owned(),
            positive,
            negative: self.truth.len() - positive,
            auroc: patients.estimate(resampling, |w| self.ranking.weighted_auroc(w)),
            auprc: patients.estimate(resampling, |w| self.ranking.weighted_average_precision(w)),
            threshold,
            threshold_fitted: fitted.is_some(),
            sensitivity: at_threshold(Confusion::sensitivity),
            specificity: at_threshold(Confusion::specificity),
            accuracy: at_threshold(Confusion::accuracy),
            f1: at_threshold(Confusion::f1),
            kappa: at_threshold(Confusion::kappa),
            brier: reliability::brier(&self.scores, &self.truth),
            calibration_error: reliability::expected_error(&curve),
        }
    }
}

impl fmt::Display for ClassificationResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} split: {} images of {} patients, 95 % intervals by patient",
            self.split, self.images, self.patients
        )?;
        for finding in &self.findings {
            let FindingResult { name, positive, negative, threshold, .. } = finding;
            write!(
                f,
                "\n{name} ({positive} yes, {negative} no): AUROC {}, AUPRC {}",
                shown(finding.auroc),
                shown(finding.auprc)
            )?;
            write!(
                f,
                "\n  at {threshold:.3}: sensitivity {}, specificity {}, accuracy {}, F1 {}",
                shown(finding.sensitivity),
                shown(finding.specificity),
                shown(finding.accuracy),
                shown(finding.f1)
            )?;
        }
        if self.findings.len() > 1 {
            let (all, pooled) = (shown(self.macro_auroc), shown(self.micro_auroc));
            write!(f, "\nmacro AUROC {all}, micro AUROC {pooled}")?;
        }
        if let Some(accuracy) = self.top_class_accuracy {
            write!(f, "\naccuracy of the highest score {accuracy}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_exclude_each_other_have_an_accuracy() {
        let targets = |prefix: &str| Targets {
            labels: ["normal", "pneumonia", "covid19"].map(|l| format!("{prefix}{l}")).to_vec(),
            truth: (0..4).map(|at| (0..3).map(|l| Some(l == at % 3)).collect()).collect(),
        };
        let scores = [vec![0.9, 0.5, 0.1, 0.2], vec![0.1, 0.4, 0.2, 0.6], vec![0.2, 0.3, 0.7, 0.1]];
        let accuracy = |prefix| {
            let (groups, thresholds) = (["a", "b", "c", "d"], BTreeMap::new());
            let resampling = Resampling { replicates: 50, seed: 1 };
            let targets = targets(prefix);
            ClassificationResult::of(
                &targets,
                &scores,
                &groups,
                &thresholds,
                resampling,
                Split::Test,
            )
            .top_class_accuracy
        };
        assert_eq!(accuracy("covidx.").unwrap().value, 0.5);
        assert_eq!(accuracy(""), None);
    }

    #[test]
    fn cases_are_those_nearest_to_and_farthest_from_the_truth() {
        let n = 12;
        let targets = Targets {
            labels: vec!["Mass".into()],
            truth: (0..n).map(|at| vec![Some(at % 2 == 0)]).collect(),
        };
        // Ever less right: 0 yes with 0.99, 1 no with 0.09, …
        let score = |at: usize| 0.99 - 0.08 * at as f32;
        let scores =
            vec![(0..n).map(|at| if at % 2 == 0 { score(at) } else { 1.0 - score(at) }).collect()];
        let record = |at: usize| Record { id: at.to_string(), ..Record::default() };
        let records: Vec<Record> = (0..n).map(record).collect();
        let cases = cases(&targets, &scores, &records, &BTreeMap::new());
        let captions: Vec<&str> = cases.iter().map(|case| case.caption.as_str()).collect();
        assert_eq!(captions[0], "best: 0, Mass yes, score 0.990, called from 0.500");
        assert_eq!(captions[8], "worst: 11, Mass no, score 0.890, called from 0.500");
        assert_eq!(captions.len(), 9);
    }

    #[test]
    fn a_finding_of_one_class_is_clear_and_spoils_no_other() {
        let targets = Targets {
            labels: vec!["Mass".into(), "Hernia".into()],
            truth: vec![
                vec![Some(true), Some(false)],
                vec![Some(false), Some(false)],
                vec![Some(true), None],
                vec![Some(false), Some(false)],
            ],
        };
        let scores = [vec![0.9, 0.2, 0.8, 0.3], vec![0.1, 0.2, 0.3, 0.4]];
        let groups = ["a", "b", "c", "d"];
        let resampling = Resampling { replicates: 200, seed: 1 };
        let thresholds = BTreeMap::from([("Mass".to_owned(), 0.85)]);
        let result = ClassificationResult::of(
            &targets,
            &scores,
            &groups,
            &thresholds,
            resampling,
            Split::Test,
        );
        let [mass, hernia] = &result.findings[..] else { panic!("two findings") };
        assert_eq!(mass.auroc.unwrap().value, 1.0);
        assert_eq!(mass.sensitivity.unwrap().value, 0.5);
        assert!(hernia.auroc.is_none() && hernia.sensitivity.is_none());
        assert_eq!((hernia.positive, hernia.negative), (0, 3));
        assert_eq!(hernia.specificity.unwrap().value, 1.0);
        assert_eq!(result.macro_auroc.unwrap().value, 1.0);
        assert!(!hernia.threshold_fitted);
    }
}
