//! What the daemon is worth on a site's images, finding by finding.

use crate::{
    Case, Claim, Criterion, Group, claims,
    plan::{self, Plan},
};
use metrics::{
    Estimate,
    bootstrap::{Patients, Resampling, quantile},
    proportion::{Proportion, difference, predictive_values},
    ranking::{CurvePoint, Ranking},
    threshold::Confusion,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// All that is known of one finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub name: String,
    /// From this probability on it is positive.
    pub threshold: Option<f32>,
    /// How the threshold was chosen, as the bundle says.
    pub chosen: Option<String>,
    /// Images whose truth is known and that were analysed, and all others.
    pub counts: Counts,
    pub sensitivity: Option<Proportion>,
    pub specificity: Option<Proportion>,
    /// The same if an image that was not analysed counts as wrong.
    pub sensitivity_of_all: Option<Proportion>,
    pub specificity_of_all: Option<Proportion>,
    /// Interval by bootstrap over patients.
    pub auroc: Option<Estimate>,
    pub prevalence: Prevalence,
    pub ppv: Option<Estimate>,
    pub npv: Option<Estimate>,
    /// False-positive rate and sensitivity, from (0, 0) to (1, 1).
    pub roc: Vec<[f64; 2]>,
    /// False-positive rate, and the lower and upper end of the sensitivity there.
    pub roc_band: Vec<[f64; 3]>,
    pub claims: Vec<Claim>,
    pub criteria: Vec<Criterion>,
    pub groups: Vec<Subgroup>,
    /// Numbers of images with the finding that were called negative, and of those without that were called positive.
    pub missed: Vec<u32>,
    pub false_alarms: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub true_positive: u64,
    pub false_negative: u64,
    pub true_negative: u64,
    pub false_positive: u64,
    pub patients: u64,
    /// Nobody was certain.
    pub uncertain: u64,
    /// Truth is known, and the daemon declined.
    pub not_analysed: u64,
}

/// Share of patients who have the finding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prevalence {
    pub value: Option<f64>,
    /// Counted among the studies instead of told by the site.
    pub estimated: bool,
}

/// Images that have something in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subgroup {
    pub group: Group,
    pub sensitivity: Option<Proportion>,
    pub specificity: Option<Proportion>,
    pub auroc: Option<f64>,
    /// Both intervals are as narrow as the plan wants them.
    pub enough: bool,
    /// Which of the two differs from that of all other images: the interval of the difference leaves out 0.
    pub differs: Vec<String>,
}

/// Where the sensitivity's band is drawn.
const GRID: usize = 50;

impl Figures {
    pub(crate) fn of(
        finding: &plan::Finding,
        plan: &Plan,
        cases: &[Case],
        bundle: &claims::Bundle,
    ) -> Self {
        let judged = Judged::of(&finding.name, cases.iter());
        let width = plan.test.interval_width;
        let (sensitivity, specificity) = (judged.sensitivity(), judged.specificity());
        let minima = [
            ("sensitivity", &sensitivity, finding.minimum_sensitivity),
            ("specificity", &specificity, finding.minimum_specificity),
        ];
        let criteria = minima.into_iter().filter_map(|(what, found, minimum)| {
            let what = format!("{what} of {}", finding.name);
            Some(Criterion::share(what, found.as_ref(), minimum?, width))
        });
        let auroc = judged.auroc();
        let (prevalence, [ppv, npv]) = judged.predictive(finding.prevalence);
        let all = Judged::of_all(&finding.name, cases);
        let point = bundle.operating_points.iter().find(|point| point.name == finding.name);
        let measured = claims::Measured {
            auroc,
            sensitivity: sensitivity.map(|found| found.estimate),
            specificity: specificity.map(|found| found.estimate),
        };
        Self {
            name: finding.name.clone(),
            threshold: judged.threshold(),
            chosen: point.map(|point| point.chosen.clone()),
            counts: judged.counts(&finding.name, cases),
            sensitivity,
            specificity,
            sensitivity_of_all: all.sensitivity(),
            specificity_of_all: all.specificity(),
            auroc,
            prevalence,
            ppv,
            npv,
            roc: judged.roc(),
            roc_band: judged.roc_band(),
            claims: claims::compare(&finding.name, &bundle.metrics, &measured),
            criteria: criteria.collect(),
            groups: subgroups(&finding.name, cases, width),
            missed: judged.wrong(true),
            false_alarms: judged.wrong(false),
        }
    }
}

/// Images whose truth is known, with what was said.
#[derive(Default)]
struct Judged {
    numbers: Vec<u32>,
    patients: Vec<String>,
    scores: Vec<f32>,
    called: Vec<bool>,
    truth: Vec<bool>,
    thresholds: Vec<f32>,
}

impl Judged {
    fn of<'a>(finding: &str, cases: impl IntoIterator<Item = &'a Case>) -> Self {
        let mut judged = Self::default();
        for case in cases {
            if let Some((said, truth)) = case.judged(finding) {
                judged.push(case, said.probability, said.positive, truth);
                judged.thresholds.push(said.threshold);
            }
        }
        judged
    }

    /// An image that was not analysed counts as wrong.
    fn of_all(finding: &str, cases: &[Case]) -> Self {
        let mut judged = Self::default();
        for case in cases {
            let truth = case.truths.get(finding).copied().flatten();
            match (case.judged(finding), truth) {
                (Some((said, truth)), _) => {
                    judged.push(case, said.probability, said.positive, truth);
                }
                (None, Some(truth)) => judged.push(case, 0.0, !truth, truth),
                (None, None) => {}
            }
        }
        judged
    }

    fn push(&mut self, case: &Case, score: f32, called: bool, truth: bool) {
        self.numbers.push(case.number);
        self.patients.push(case.patient_name());
        self.scores.push(score);
        self.called.push(called);
        self.truth.push(truth);
    }

    fn share(&self, of: bool) -> Option<Proportion> {
        let right = |at: usize| (self.patients[at].as_str(), self.called[at] == of);
        let those = (0..self.truth.len()).filter(|&at| self.truth[at] == of);
        Proportion::by_patient(those.map(right))
    }

    fn sensitivity(&self) -> Option<Proportion> {
        self.share(true)
    }

    fn specificity(&self) -> Option<Proportion> {
        self.share(false)
    }

    fn threshold(&self) -> Option<f32> {
        self.thresholds.first().copied()
    }

    fn groups(&self) -> Patients {
        Patients::new(self.patients.iter().map(String::as_str))
    }

    fn ranking(&self) -> Ranking {
        Ranking::new(&self.scores, &self.truth)
    }

    fn auroc(&self) -> Option<Estimate> {
        let ranking = self.ranking();
        self.groups().estimate(Resampling::STANDARD, |weights| ranking.weighted_auroc(weights))
    }

    fn roc(&self) -> Vec<[f64; 2]> {
        self.ranking().roc().iter().map(|point| [point.x, point.y]).collect()
    }

    fn roc_band(&self) -> Vec<[f64; 3]> {
        let ranking = self.ranking();
        if ranking.roc().is_empty() {
            return Vec::new();
        }
        // On the way from one point of the curve to the next.
        let sensitivity = |curve: &[CurvePoint], rate: f64| {
            let after = curve.partition_point(|point| point.x <= rate);
            let Some(before) = after.checked_sub(1).and_then(|at| curve.get(at)) else {
                return 0.0;
            };
            curve.get(after).map_or(before.y, |next| {
                before.y + (next.y - before.y) * (rate - before.x) / (next.x - before.x)
            })
        };
        let mut at_rate = vec![Vec::new(); GRID + 1];
        for weights in self.groups().resamples(Resampling::STANDARD) {
            let curve = ranking.weighted_roc(&weights);
            if !curve.is_empty() {
                let rates = at_rate.iter_mut().enumerate();
                rates.for_each(|(at, values)| values.push(sensitivity(&curve, rate(at))));
            }
        }
        let band = at_rate.into_iter().enumerate().filter(|(_, values)| !values.is_empty());
        band.map(|(at, mut values)| {
            values.sort_by(f64::total_cmp);
            [rate(at), quantile(&values, 0.025), quantile(&values, 0.975)]
        })
        .collect()
    }

    /// PPV and NPV at the site's prevalence; without one, as they are among the studies.
    fn predictive(&self, told: Option<f64>) -> (Prevalence, [Option<Estimate>; 2]) {
        if let Some(value) = told {
            let prevalence = Prevalence { value: Some(value), estimated: false };
            let both = self.sensitivity().zip(self.specificity());
            let values = both.map(|(se, sp)| predictive_values(&se, &sp, value));
            return (prevalence, values.unwrap_or_default());
        }
        let right = |at: usize| (self.patients[at].as_str(), self.called[at] == self.truth[at]);
        let of = |call: bool| {
            let those = (0..self.truth.len()).filter(|&at| self.called[at] == call);
            Proportion::by_patient(those.map(right)).map(|found| found.estimate)
        };
        let positive = (0..self.truth.len()).map(|at| (self.patients[at].as_str(), self.truth[at]));
        let value = Proportion::by_patient(positive).map(|found| found.estimate.value);
        (Prevalence { value, estimated: true }, [of(true), of(false)])
    }

    fn counts(&self, finding: &str, cases: &[Case]) -> Counts {
        let called: Vec<f32> =
            self.called.iter().map(|called| f32::from(u8::from(*called))).collect();
        let table = Confusion::at(0.5, &called, &self.truth);
        let truth = |case: &&Case| case.truths.get(finding).copied();
        let refused = |case: &&Case| {
            truth(case).flatten().is_some() && !case.answer.findings.contains_key(finding)
        };
        Counts {
            true_positive: table.true_positive,
            false_negative: table.false_negative,
            true_negative: table.true_negative,
            false_positive: table.false_positive,
            patients: self.patients.iter().collect::<BTreeSet<_>>().len() as u64,
            uncertain: cases.iter().filter(|case| truth(case) == Some(None)).count() as u64,
            not_analysed: cases.iter().filter(refused).count() as u64,
        }
    }

    /// Images whose truth is this and that were called otherwise.
    fn wrong(&self, truth: bool) -> Vec<u32> {
        let wrong = |&at: &usize| self.truth[at] == truth && self.called[at] != truth;
        (0..self.truth.len()).filter(wrong).map(|at| self.numbers[at]).collect()
    }
}

fn rate(at: usize) -> f64 {
    at as f64 / GRID as f64
}

fn subgroups(finding: &str, cases: &[Case], width: f64) -> Vec<Subgroup> {
    let all: BTreeSet<&Group> = cases.iter().flat_map(|case| &case.groups).collect();
    let one = |group: &Group| {
        let within = |case: &&Case| case.groups.contains(group);
        let axis = |case: &&Case| case.groups.iter().any(|own| own.axis == group.axis);
        let inside = Judged::of(finding, cases.iter().filter(within));
        let outside = Judged::of(finding, cases.iter().filter(|c| axis(c) && !within(c)));
        let (sensitivity, specificity) = (inside.sensitivity(), inside.specificity());
        let narrow = |found: &Option<Proportion>| {
            found.is_some_and(|found| found.estimate.high - found.estimate.low <= width)
        };
        let pairs = [
            ("sensitivity", sensitivity, outside.sensitivity()),
            ("specificity", specificity, outside.specificity()),
        ];
        let differs = pairs.into_iter().filter_map(|(what, one, other)| {
            let apart = difference(&one?.estimate, &other?.estimate);
            (apart.low > 0.0 || apart.high < 0.0).then(|| what.to_owned())
        });
        let differs = differs.collect();
        let enough = narrow(&sensitivity) && narrow(&specificity);
        let auroc = inside.ranking().auroc();
        Subgroup { group: group.clone(), sensitivity, specificity, auroc, enough, differs }
    };
    all.into_iter().map(one).collect()
}
