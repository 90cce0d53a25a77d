//! Histograms of images sorted by their energy, so that an image can count by its own measure.
//!
//! Mean squares of a tensor differ by a factor of 100 between ordinary radiographs and by 10,000 where a network
//! has never seen the like. Pooled, the values of a few such images decide a range alone.

use crate::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Images this many classes below the median count no more than those there: nothing in them but remains.
const DEPTH: i32 = 5;

/// One histogram for the images of each class `k`, whose mean square lies in `[4^k, 4^(k+1))`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EnergyClasses {
    classes: BTreeMap<i32, Class>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Class {
    histogram: Histogram,
    images: u64,
}

impl EnergyClasses {
    /// Adds the finite `values` of one image; `reach` is the largest magnitude among them.
    ///
    /// An image of zeros is held exactly by every range, so it has no say.
    pub(crate) fn add(&mut self, values: &[f32], reach: f32) {
        let energy = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        if energy == 0.0 {
            return;
        }
        let class = self.classes.entry(quarter_log(energy / values.len() as f64)).or_default();
        class.histogram.add(values, reach);
        class.images += 1;
    }

    /// `(middle of a bin, weight)`: counts over the mean square of the class.
    pub(crate) fn bins(&self) -> Vec<(f64, f64)> {
        let images: u64 = self.classes.values().map(|class| class.images).sum();
        let mut passed = 0;
        let median = self.classes.iter().find(|(_, class)| {
            passed += class.images;
            2 * passed >= images
        });
        let floor = median.map_or(0, |(&k, _)| k) - DEPTH;
        let of_class = |(&k, class): (&i32, &Class)| {
            // 2 · 4^k lies in the middle, as a factor.
            let weight = 0.5 * 4.0_f64.powi(-k.max(floor));
            let half = class.histogram.width() / 2.0;
            let bins: Vec<(f64, f64)> = class
                .histogram
                .bins()
                .map(|(edge, count)| (edge + half, count as f64 * weight))
                .collect();
            bins
        };
        self.classes.iter().flat_map(of_class).collect()
    }
}

/// `⌊log4 x⌋` of a positive number, from its exponent.
fn quarter_log(x: f64) -> i32 {
    let exponent = (x.to_bits() >> 52) as i32 - 1023;
    exponent.div_euclid(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_power_of_four() {
        for (x, class) in [(1.0, 0), (3.99, 0), (4.0, 1), (0.25, -1), (0.2499, -2), (1e6, 9)] {
            assert_eq!(quarter_log(x), class, "{x}");
        }
    }

    #[test]
    fn every_image_counts_alike_whatever_its_energy() {
        let mut classes = EnergyClasses::default();
        for gain in [1.0, 64.0] {
            let values: Vec<f32> = (1..=100).map(|i| i as f32 / 100.0 * gain).collect();
            classes.add(&values, gain);
        }
        classes.add(&[0.0; 100], 0.0);
        let relative = |of: std::ops::Range<f64>| -> f64 {
            let bins = classes.bins();
            bins.iter().filter(|(x, _)| of.contains(x)).map(|(x, weight)| x * x * weight).sum()
        };
        let (small, large) = (relative(0.0..1.01), relative(1.01..65.0));
        // Within the width of a class, and the few small values of the bright image.
        assert!((0.4..2.5).contains(&(small / large)), "{small} {large}");
    }

    #[test]
    fn what_is_nearly_nothing_does_not_outweigh_the_rest() {
        let mut classes = EnergyClasses::default();
        (0..9).for_each(|_| classes.add(&[1.0; 10], 1.0));
        classes.add(&[1e-6; 10], 1e-6);
        let weight: f64 =
            classes.bins().iter().filter(|(x, _)| *x < 1e-3).map(|(_, weight)| weight).sum();
        assert!(weight * 1e-12 < 1e-3, "{weight}");
    }
}
