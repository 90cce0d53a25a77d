//! A histogram that grows without looking back, in bounded memory.
//!
//! Bins are `[i·2^k, (i+1)·2^k)` for `−HALF ≤ i < HALF`. When a value does not fit, `k` grows and
//! neighbours merge: bin `i` becomes bin `i >> 1`, exactly, because `⌊⌊x/w⌋/2⌋ = ⌊x/2w⌋`. The final
//! `k` depends on the largest magnitude alone, so the counts are the same in whatever order the
//! values came, and histograms filled apart can be merged without loss.

use serde::{Deserialize, Serialize};

/// Bins on each side of zero: at least half of them lie below the largest magnitude.
const HALF: i32 = 4096;
/// Narrowest bins: 2^-60, below any activation that matters.
const FINEST: i32 = -60;

/// Counts of finite values around zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Bins are `2^exponent` wide.
    exponent: i32,
    /// `2 · HALF` counts; bin `i` is at `i + HALF`.
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { exponent: FINEST, counts: vec![0; 2 * HALF as usize] }
    }
}

impl Histogram {
    /// Counts finite `values`; `reach` is the largest magnitude among them.
    pub(crate) fn add(&mut self, values: &[f32], reach: f32) {
        while f64::from(reach) >= f64::from(HALF) * exp2(self.exponent) {
            let mut counts = vec![0; self.counts.len()];
            for (at, count) in self.counts.iter().enumerate() {
                let bin = (at as i32 - HALF) >> 1;
                counts[(bin + HALF) as usize] += count;
            }
            self.counts = counts;
            self.exponent += 1;
        }
        let inverse = exp2(-self.exponent);
        for &x in values {
            let bin = (f64::from(x) * inverse).floor() as i32;
            self.counts[(bin + HALF) as usize] += 1;
        }
    }

    /// Width of a bin.
    pub fn width(&self) -> f64 {
        exp2(self.exponent)
    }

    /// Number of values counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// `(lower edge, count)` of the bins that are not empty, ascending.
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> {
        let width = self.width();
        self.counts
            .iter()
            .enumerate()
            .filter(|&(_, &count)| count > 0)
            .map(move |(at, &count)| (f64::from(at as i32 - HALF) * width, count))
    }

    /// Counts gathered into `n` equal bins over `[lo, hi]`, what lies outside in the first and last.
    ///
    /// A bin is counted where its middle falls, so the result is a picture, not an exact count.
    pub fn resample(&self, lo: f32, hi: f32, n: usize) -> Vec<u64> {
        let mut counts = vec![0; n];
        let (lo, hi) = (f64::from(lo), f64::from(hi));
        let last = n.saturating_sub(1) as f64;
        for (edge, count) in self.bins() {
            let middle = edge + self.width() / 2.0;
            let position = if hi > lo { (middle - lo) / (hi - lo) * n as f64 } else { 0.0 };
            if let Some(bin) = counts.get_mut(position.clamp(0.0, last) as usize) {
                *bin += count;
            }
        }
        counts
    }
}

fn exp2(exponent: i32) -> f64 {
    2.0_f64.powi(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, gain: f32) -> Vec<f32> {
        let mut state = 1_u32;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 8) as f32 / 16_777_216.0 - 0.3) * gain
            })
            .collect()
    }

    fn filled(parts: &[&[f32]]) -> Histogram {
        let mut histogram = Histogram::default();
        for part in parts {
            histogram.add(part, part.iter().fold(0.0, |reach, x| reach.max(x.abs())));
        }
        histogram
    }

    #[test]
    fn counts_do_not_depend_on_the_order_of_the_values() {
        let (small, large) = (values(500, 0.01), values(500, 900.0));
        assert_eq!(filled(&[&small, &large]), filled(&[&large, &small]));
    }

    #[test]
    fn every_value_is_counted_once_in_the_bin_that_holds_it() {
        let values = values(1000, 3.0);
        let histogram = filled(&[&values]);
        assert_eq!(histogram.total(), 1000);
        for (edge, count) in histogram.bins() {
            let inside = values
                .iter()
                .filter(|&&x| f64::from(x) >= edge && f64::from(x) < edge + histogram.width())
                .count();
            assert_eq!(inside as u64, count);
        }
    }

    #[test]
    fn extreme_values_neither_panic_nor_lose_counts() {
        let values = [f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0, 0.0];
        assert_eq!(filled(&[&values]).total(), 5);
    }

    #[test]
    fn resampling_keeps_the_total() {
        let histogram = filled(&[&values(1000, 5.0)]);
        let coarse = histogram.resample(-1.0, 2.0, 64);
        assert_eq!(coarse.iter().sum::<u64>(), 1000);
        assert_eq!(coarse.len(), 64);
    }
}
