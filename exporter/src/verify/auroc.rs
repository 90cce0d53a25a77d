//! Area under the ROC curve, and how much quantization moved it.

use crate::noise::Noise;

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

/// 95 % interval of `statistic(b) − statistic(a)` when both see the same resampled images.
pub(crate) fn paired_interval(
    n: usize,
    difference: impl Fn(&[usize]) -> Option<f64>,
) -> Option<[f64; 2]> {
    let mut noise = Noise(SEED);
    let mut differences: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let sample: Vec<usize> = (0..n).map(|_| noise.below(n as u64) as usize).collect();
            difference(&sample)
        })
        .collect();
    differences.sort_by(f64::total_cmp);
    let at = |share: f64| {
        differences.get((share * differences.len().saturating_sub(1) as f64).round() as usize)
    };
    Some([*at(0.025)?, *at(0.975)?])
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
    fn equal_scores_differ_by_nothing() {
        let scores: Vec<f32> = (0..40).map(|i| (i as f32).sin()).collect();
        let truth: Vec<bool> = (0..40).map(|i| i % 3 == 0).collect();
        let difference = |sample: &[usize]| {
            let scores: Vec<f32> = sample.iter().map(|&at| scores[at]).collect();
            let truth: Vec<bool> = sample.iter().map(|&at| truth[at]).collect();
            Some(auroc(&scores, &truth)? - auroc(&scores, &truth)?)
        };
        assert_eq!(paired_interval(40, difference), Some([0.0, 0.0]));
    }
}
