//! How much a drawn region covers the true one.

use serde::Serialize;

/// Pixels of a predicted and a true region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overlap {
    pub both: u64,
    pub predicted: u64,
    pub truth: u64,
}

impl Overlap {
    /// Panics unless both masks have as many pixels.
    pub fn of(predicted: &[bool], truth: &[bool]) -> Self {
        assert_eq!(predicted.len(), truth.len(), "masks of one size");
        let mut overlap = Self::default();
        for (&p, &t) in predicted.iter().zip(truth) {
            overlap.both += u64::from(p && t);
            overlap.predicted += u64::from(p);
            overlap.truth += u64::from(t);
        }
        overlap
    }

    /// Nothing there and nothing drawn.
    pub fn empty(&self) -> bool {
        self.predicted + self.truth == 0
    }

    /// `2·|A∩B| / (|A|+|B|)`; 1 where both are empty, as SIIM counts it.
    pub fn dice(&self) -> f64 {
        if self.empty() {
            return 1.0;
        }
        2.0 * self.both as f64 / (self.predicted + self.truth) as f64
    }

    /// `|A∩B| / |A∪B|`; 1 where both are empty.
    pub fn iou(&self) -> f64 {
        if self.empty() {
            return 1.0;
        }
        self.both as f64 / (self.predicted + self.truth - self.both) as f64
    }
}

/// Which threshold has the highest mean, `curves[image][threshold]` being the Dice of an image that counts
/// `weights[image]` times; of equals the last. `None` without weight.
pub fn best_threshold<const N: usize>(curves: &[[f64; N]], weights: &[u32]) -> Option<usize> {
    let total = |at: usize| -> f64 {
        curves.iter().zip(weights).map(|(curve, &weight)| curve[at] * f64::from(weight)).sum()
    };
    let counts = weights.iter().any(|&weight| weight > 0);
    (0..N).filter(|_| counts).max_by(|&a, &b| total(a).total_cmp(&total(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_threshold_has_the_highest_mean_of_what_counts() {
        let curves = [[0.2, 0.9, 0.4], [0.8, 0.1, 0.4]];
        assert_eq!(best_threshold(&curves, &[1, 1]), Some(1)); // 0.5, 0.5, 0.4: the last of equals
        assert_eq!(best_threshold(&curves, &[1, 3]), Some(0));
        assert_eq!(best_threshold(&curves, &[0, 0]), None);
    }

    #[test]
    fn overlap_is_counted_by_hand() {
        let overlap = Overlap::of(&[true, true, false, false], &[true, false, true, false]);
        assert_eq!(overlap, Overlap { both: 1, predicted: 2, truth: 2 });
        assert_eq!((overlap.dice(), overlap.iou()), (0.5, 1.0 / 3.0));
    }

    #[test]
    fn an_empty_image_left_empty_is_right_and_a_false_region_is_wrong() {
        assert_eq!(Overlap::of(&[false; 4], &[false; 4]).dice(), 1.0);
        assert_eq!(Overlap::of(&[true, false], &[false; 2]).dice(), 0.0);
        assert_eq!(Overlap::of(&[false; 2], &[true, false]).iou(), 0.0);
    }
}
