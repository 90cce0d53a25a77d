//! 95 % intervals by resampling patients, not images: images of one patient are no independent evidence.

use super::Estimate;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;

/// Samples, by the patient each belongs to.
#[derive(Clone, Debug)]
pub struct Patients {
    /// For each sample, the number of its patient.
    of_sample: Vec<usize>,
    count: usize,
}

/// How many resamples, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    pub replicates: usize,
    pub seed: u64,
}

impl Resampling {
    /// Of every interval in checkpoints, bundles and `exporter verify`.
    pub const STANDARD: Self = Self { replicates: 1000, seed: 0 };
}

impl Patients {
    pub fn new<'a>(groups: impl IntoIterator<Item = &'a str>) -> Self {
        let mut numbers = HashMap::new();
        let of_sample = groups
            .into_iter()
            .map(|group| {
                let next = numbers.len();
                *numbers.entry(group).or_insert(next)
            })
            .collect();
        Self { of_sample, count: numbers.len() }
    }

    /// `value` of all samples, with the 2.5th to 97.5th percentile of its value over resampled patients.
    ///
    /// `value` gets how often each sample counts. Resamples in which it does not exist are left out;
    /// `None` if it does not exist for all samples once, or for fewer than half of the resamples.
    pub fn estimate(
        &self,
        resampling: Resampling,
        value: impl Fn(&[u32]) -> Option<f64>,
    ) -> Option<Estimate> {
        let all = value(&vec![1; self.of_sample.len()])?;
        let resamples = self.resamples(resampling);
        let mut values: Vec<f64> = resamples.filter_map(|weights| value(&weights)).collect();
        if values.is_empty() || values.len() * 2 < resampling.replicates {
            return None;
        }
        values.sort_by(f64::total_cmp);
        Some(Estimate { value: all, low: quantile(&values, 0.025), high: quantile(&values, 0.975) })
    }

    /// How often each sample counts, once for each resample: for who wants more of them than one value.
    pub fn resamples(&self, resampling: Resampling) -> impl Iterator<Item = Vec<u32>> {
        let mut random = ChaCha8Rng::seed_from_u64(resampling.seed);
        (0..resampling.replicates).map(move |_| {
            // How often each sample counts when as many patients as there are are drawn with replacement.
            let mut drawn = vec![0u32; self.count];
            (0..self.count).for_each(|_| drawn[random.random_range(0..self.count)] += 1);
            self.of_sample.iter().map(|&patient| drawn[patient]).collect()
        })
    }

    /// The mean of one value a sample, with its interval.
    pub fn mean(&self, resampling: Resampling, values: &[f64]) -> Option<Estimate> {
        self.estimate(resampling, |weights| weighted_mean(values, weights))
    }

    pub fn samples(&self) -> usize {
        self.of_sample.len()
    }

    pub fn count(&self) -> usize {
        self.count
    }
}

/// `Σ w·x / Σ w`; `None` without weight.
pub fn weighted_mean(values: &[f64], weights: &[u32]) -> Option<f64> {
    let total: u32 = weights.iter().sum();
    let sum: f64 = values.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum();
    (total > 0).then(|| sum / f64::from(total))
}

/// Linear interpolation between the two nearest of `sorted` (numpy's default). Panics if empty.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESAMPLING: Resampling = Resampling { replicates: 2000, seed: 7 };

    #[test]
    fn the_interval_of_a_mean_has_the_width_theory_gives() {
        let names: Vec<String> = (0..200).map(|at| at.to_string()).collect();
        let values: Vec<f64> = (0..200).map(|at| f64::from(at % 2)).collect();
        let patients = Patients::new(names.iter().map(String::as_str));
        let estimate = patients.mean(RESAMPLING, &values).unwrap();
        // standard error of a share of one half in 200: 0.0354; ±1.96 of it
        assert_eq!(estimate.value, 0.5);
        assert!((estimate.high - estimate.low - 0.1386).abs() < 0.015, "{estimate:?}");
    }

    #[test]
    fn images_of_one_patient_widen_the_interval() {
        let values: Vec<f64> = (0..200).map(|at| f64::from(u8::from(at % 20 < 10))).collect();
        let ten_each: Vec<String> = (0..200).map(|at| (at / 10).to_string()).collect();
        let alone: Vec<String> = (0..200).map(|at| at.to_string()).collect();
        let width = |names: &[String]| {
            let patients = Patients::new(names.iter().map(String::as_str));
            let estimate = patients.mean(RESAMPLING, &values).unwrap();
            estimate.high - estimate.low
        };
        assert!(width(&ten_each) > 2.5 * width(&alone));
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let patients = Patients::new(["a", "b", "b", "c"]);
        let values = [1.0, 2.0, 3.0, 7.0];
        let once = patients.mean(RESAMPLING, &values);
        assert_eq!(once, patients.mean(RESAMPLING, &values));
    }

    #[test]
    fn a_value_that_does_not_exist_has_no_interval() {
        assert_eq!(Patients::new(["a", "b"]).estimate(RESAMPLING, |_| None), None);
        assert_eq!(
            Patients::new([]).estimate(RESAMPLING, |w| (!w.is_empty()).then_some(1.0)),
            None
        );
    }

    #[test]
    fn quantiles_are_numpys() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        assert_eq!(quantile(&[5.0], 0.975), 5.0);
    }
}
