//! Area under the ROC curve, and how much quantization moved it.

use crate::noise::Noise;
use std::collections::BTreeMap;

const RESAMPLES: usize = 1000;
const SEED: u64 = 6;

/// Chance that a positive scores above a negative, ties counting half; `None` without both kinds.
pub(crate) fn auroc(scores: &[f32], truth: &[bool]) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut below, mut wins) = (0.0, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let positive = tied.iter().filter(|&&at| truth[at]).count() as f64;
        let negative = tied.len() as f64 - positive;
        wins += positive * (below + negative / 2.0);
        below += negative;
    }
    let positives = truth.iter().filter(|&&positive| positive).count() as f64;
    (positives > 0.0 && below > 0.0).then(|| wins / (positives * below))
}

/// The threshold with the greatest sensitivity + specificity (Youden's J), half way to the next lower
/// score; `None` without both kinds.
pub(crate) fn youden(scores: &[f32], truth: &[bool]) -> Option<f32> {
    let positives = truth.iter().filter(|&&positive| positive).count() as f64;
    let negatives = truth.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut hits, mut alarms) = (0.0, 0.0);
    let mut best: Option<(f64, f32)> = None;
    let tied: Vec<&[usize]> = order.chunk_by(|&a, &b| scores[a] == scores[b]).collect();
    for (at, group) in tied.iter().enumerate() {
        let positive = group.iter().filter(|&&at| truth[at]).count() as f64;
        hits += positive;
        alarms += group.len() as f64 - positive;
        let j = hits / positives - alarms / negatives;
        // The first of equals has the fewest false alarms.
        if best.is_none_or(|(most, _)| j > most + 1e-12) {
            let above = scores[group[0]];
            let below = tied.get(at + 1).map_or(above, |next| scores[next[0]]);
            best = Some((j, above / 2.0 + below / 2.0));
        }
    }
    best.map(|(_, threshold)| threshold)
}

/// The highest threshold that finds at least `wanted` of the positives; `None` without both kinds.
pub(crate) fn at_sensitivity(scores: &[f32], truth: &[bool], wanted: f64) -> Option<f32> {
    let mut positive: Vec<f32> =
        scores.iter().zip(truth).filter(|(_, truth)| **truth).map(|(score, _)| *score).collect();
    if positive.is_empty() || positive.len() == truth.len() {
        return None;
    }
    positive.sort_by(|a, b| b.total_cmp(a));
    let count = (wanted * positive.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    let above = positive[count.min(positive.len()) - 1];
    let lower = scores.iter().copied().filter(|&score| score < above).fold(f32::MIN, f32::max);
    Some(if lower == f32::MIN { above } else { above / 2.0 + lower / 2.0 })
}

/// Places of each patient's images: whoever is drawn brings all of them, because they are alike.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patients(Vec<Vec<usize>>);

impl Patients {
    /// From the patient of each image, in the images' order.
    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, name) in names.into_iter().enumerate() {
            places.entry(name).or_default().push(at);
        }
        Self(places.into_values().collect())
    }

    /// 95 % interval of a statistic over resampled patients; of a difference, where both sides see the same ones.
    pub(crate) fn interval(&self, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<[f64; 2]> {
        let mut noise = Noise(SEED);
        let mut values: Vec<f64> = (0..RESAMPLES)
            .filter_map(|_| {
                let draw = |_| &self.0[noise.below(self.0.len() as u64) as usize];
                let sample: Vec<usize> = (0..self.0.len()).flat_map(draw).copied().collect();
                statistic(&sample)
            })
            .collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1) as f64;
        let at = |share: f64| values.get((share * last).round() as usize);
        Some([*at(0.025)?, *at(0.975)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_equals_counting_pairs() {
        let scores = [0.1, 0.4, 0.35, 0.8, 0.4, 0.2];
        let truth = [false, false, true, true, true, false];
        // 9 pairs: 0.35 beats 2 of 3, 0.8 all 3, 0.4 beats 2 and ties 1.
        assert_eq!(auroc(&scores, &truth), Some((2.0 + 3.0 + 2.5) / 9.0));
        assert_eq!(auroc(&scores[..2], &truth[..2]), None);
    }

    #[test]
    fn youdens_threshold_lies_between_the_kinds_it_parts() {
        let truth = [false, false, true, true];
        assert_eq!(youden(&[0.1, 0.2, 0.6, 0.9], &truth), Some(0.4));
        assert_eq!(youden(&[0.1, 0.2, 0.6, 0.9], &[true; 4]), None);
    }

    #[test]
    fn equal_scores_differ_by_nothing() {
        let scores: Vec<f32> = (0..40).map(|i| (i as f32).sin()).collect();
        let truth: Vec<bool> = (0..40).map(|i| i % 3 == 0).collect();
        let difference = |sample: &[usize]| {
            let scores: Vec<f32> = sample.iter().map(|&at| scores[at]).collect();
            let truth: Vec<bool> = sample.iter().map(|&at| truth[at]).collect();
            Some(auroc(&scores, &truth)? - auroc(&scores, &truth)?)
        };
        let names: Vec<String> = (0..40).map(|i| format!("{}", i / 2)).collect();
        let patients = Patients::of(names.iter().map(String::as_str));
        assert_eq!(patients.interval(difference), Some([0.0, 0.0]));
    }

    #[test]
    fn ten_images_of_one_patient_say_no_more_than_one() {
        // Each patient's images have one value, so the mean's interval is that of three images, not of thirty.
        let values: Vec<f64> = (0..30).map(|i| f64::from(i / 10)).collect();
        let mean = |sample: &[usize]| {
            Some(sample.iter().map(|&at| values[at]).sum::<f64>() / sample.len() as f64)
        };
        let names: Vec<String> = (0..30).map(|i| format!("{}", i / 10)).collect();
        let grouped = Patients::of(names.iter().map(String::as_str)).interval(mean).unwrap();
        assert_eq!(grouped, [0.0, 2.0]);
        let ids: Vec<String> = (0..30).map(|i| format!("{i:02}")).collect();
        let single = Patients::of(ids.iter().map(String::as_str)).interval(mean).unwrap();
        assert!(single[0] > 0.5 && single[1] < 1.5, "{single:?}");
    }
}
