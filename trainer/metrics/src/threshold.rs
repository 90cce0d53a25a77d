//! What happens at one threshold: score ≥ threshold is a positive call.

use super::ranking::Ranking;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Counts of a two-by-two table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Confusion {
    pub true_positive: u64,
    pub false_positive: u64,
    pub true_negative: u64,
    pub false_negative: u64,
}

impl Confusion {
    pub fn at(threshold: f32, scores: &[f32], truth: &[bool]) -> Self {
        Self::weighted(threshold, scores, truth, &vec![1; scores.len()])
    }

    /// Each sample counted `weights[i]` times.
    pub fn weighted(threshold: f32, scores: &[f32], truth: &[bool], weights: &[u32]) -> Self {
        let mut table = Self::default();
        for ((&score, &truth), &weight) in scores.iter().zip(truth).zip(weights) {
            let cell = match (score >= threshold, truth) {
                (true, true) => &mut table.true_positive,
                (true, false) => &mut table.false_positive,
                (false, false) => &mut table.true_negative,
                (false, true) => &mut table.false_negative,
            };
            *cell += u64::from(weight);
        }
        table
    }

    pub fn total(&self) -> u64 {
        self.true_positive + self.false_positive + self.true_negative + self.false_negative
    }

    pub fn sensitivity(&self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_negative)
    }

    pub fn specificity(&self) -> Option<f64> {
        ratio(self.true_negative, self.true_negative + self.false_positive)
    }

    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_positive)
    }

    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.true_positive + self.true_negative, self.total())
    }

    /// Harmonic mean of precision and sensitivity; `None` when nothing is positive and nothing is called so.
    pub fn f1(&self) -> Option<f64> {
        let errors = self.false_positive + self.false_negative;
        ratio(2 * self.true_positive, 2 * self.true_positive + errors)
    }

    /// Cohen's κ; `None` when both sides always say the same one thing.
    pub fn kappa(&self) -> Option<f64> {
        let total = self.total() as f64;
        let called = (self.true_positive + self.false_positive) as f64;
        let positive = (self.true_positive + self.false_negative) as f64;
        let chance = (called * positive + (total - called) * (total - positive)) / (total * total);
        let observed = self.accuracy()?;
        (chance < 1.0).then(|| (observed - chance) / (1.0 - chance))
    }
}

/// By what an operating point is chosen, on validation data; in `config.toml` `criterion = "youden"`, `"dice"`,
/// `"f1"` or `{ sensitivity = 0.9 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Findings: sensitivity + specificity greatest (Youden's J).
    Youden,
    /// Findings: the highest threshold that finds at least this share of the positives.
    Sensitivity(f64),
    /// Regions: the highest mean Dice.
    Dice,
    /// Boxes: the highest F1 at IoU ½.
    F1,
}

impl Criterion {
    /// The threshold of a finding that meets the criterion on these samples; `None` unless both classes are there.
    pub fn threshold(self, scores: &[f32], truth: &[bool]) -> Option<f32> {
        self.weighted_threshold(&Ranking::new(scores, truth), &vec![1; scores.len()])
    }

    /// The same with each sample counted `weights[i]` times. `None` for the criteria of regions and boxes too.
    ///
    /// It lies half way to the next lower score, so that rounding in int8 does not flip a sample that sits on it.
    pub fn weighted_threshold(self, ranking: &Ranking, weights: &[u32]) -> Option<f32> {
        let roc = ranking.weighted_roc(weights);
        let best = match self {
            // The first of equals has the fewest false positives.
            Self::Youden => roc.iter().enumerate().reduce(|best, next| {
                if next.1.y - next.1.x > best.1.y - best.1.x + 1e-12 { next } else { best }
            }),
            Self::Sensitivity(wanted) => {
                roc.iter().enumerate().find(|(_, point)| point.y >= wanted - 1e-12)
            }
            Self::Dice | Self::F1 => None,
        };
        let (at, point) = best?;
        let below = roc.get(at + 1).map(|next| next.threshold);
        let above = if point.threshold.is_finite() { point.threshold } else { 1.0 };
        Some(below.map_or(above, |below| above / 2.0 + below / 2.0))
    }
}

/// For people: `Youden's J`, `sensitivity 0.9`.
impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Youden => f.write_str("Youden's J"),
            Self::Sensitivity(wanted) => write!(f, "sensitivity {wanted}"),
            Self::Dice => f.write_str("highest mean Dice"),
            Self::F1 => f.write_str("highest F1 at IoU 0.5"),
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 6] = [0.9, 0.8, 0.6, 0.5, 0.3, 0.1];
    const TRUTH: [bool; 6] = [true, true, false, true, false, false];

    #[test]
    fn the_table_at_a_threshold_is_counted_by_hand() {
        let table = Confusion::at(0.55, &SCORES, &TRUTH);
        let expected =
            Confusion { true_positive: 2, false_positive: 1, true_negative: 2, false_negative: 1 };
        assert_eq!(table, expected);
        assert_eq!(table.sensitivity(), Some(2.0 / 3.0));
        assert_eq!(table.specificity(), Some(2.0 / 3.0));
        assert_eq!(table.f1(), Some(2.0 / 3.0));
        assert_eq!(table.accuracy(), Some(4.0 / 6.0));
        assert!((table.kappa().unwrap() - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn youden_takes_the_corner_of_the_curve_with_a_margin() {
        // at 0.8: sens 2/3, spec 1; at 0.5: sens 1, spec 2/3. Equal: the one with fewer false positives.
        let threshold = Criterion::Youden.threshold(&SCORES, &TRUTH).unwrap();
        assert!((threshold - 0.7).abs() < 1e-6, "{threshold}");
    }

    #[test]
    fn a_wanted_sensitivity_is_reached_with_the_highest_threshold() {
        let threshold = Criterion::Sensitivity(0.95).threshold(&SCORES, &TRUTH).unwrap();
        assert_eq!(Confusion::at(threshold, &SCORES, &TRUTH).sensitivity(), Some(1.0));
        assert!((threshold - 0.4).abs() < 1e-6);
    }

    #[test]
    fn criteria_of_regions_and_boxes_choose_no_threshold_of_a_finding() {
        assert_eq!(Criterion::Dice.threshold(&SCORES, &TRUTH), None);
        assert_eq!(Criterion::F1.threshold(&SCORES, &TRUTH), None);
    }

    #[test]
    fn a_weighted_threshold_is_that_of_so_many_copies() {
        let weights = [2u32, 1, 3, 0, 2, 1];
        let copy = |at: usize| std::iter::repeat_n(at, weights[at] as usize);
        let copies: Vec<usize> = (0..6).flat_map(copy).collect();
        let scores: Vec<f32> = copies.iter().map(|&at| SCORES[at]).collect();
        let truth: Vec<bool> = copies.iter().map(|&at| TRUTH[at]).collect();
        let ranking = Ranking::new(&SCORES, &TRUTH);
        for criterion in [Criterion::Youden, Criterion::Sensitivity(0.6)] {
            let weighted = criterion.weighted_threshold(&ranking, &weights);
            assert_eq!(weighted, criterion.threshold(&scores, &truth));
        }
    }

    #[test]
    fn what_has_no_value_is_none() {
        let empty = Confusion::default();
        assert_eq!((empty.sensitivity(), empty.f1(), empty.accuracy()), (None, None, None));
        assert_eq!(Confusion::at(0.5, &[0.9, 0.9], &[true, true]).specificity(), None);
        assert_eq!(Confusion::at(0.5, &[0.9, 0.9], &[true, true]).kappa(), None);
        assert_eq!(Criterion::Youden.threshold(&[0.9, 0.9], &[true, true]), None);
    }
}
