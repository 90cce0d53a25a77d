//! Learning rate of each step: linear warm-up, then half a cosine down to nothing.

/// A run's length, in optimizer steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) peak: f64,
    pub(crate) warmup: usize,
    pub(crate) steps: usize,
}

impl Schedule {
    pub(crate) fn at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup).max(1);
        let done = ((step - self.warmup) as f64 / rest as f64).min(1.0);
        self.peak * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_peak_and_ends_at_nothing() {
        let schedule = Schedule { peak: 1.0, warmup: 4, steps: 12 };
        let rates: Vec<f64> = (0..=12).map(|step| schedule.at(step)).collect();
        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!((rates[8] - 0.5).abs() < 1e-12);
        assert!(rates[12].abs() < 1e-12);
        assert!(rates[4..].windows(2).all(|pair| pair[1] <= pair[0]));
    }

    #[test]
    fn a_run_shorter_than_its_warmup_is_no_division_by_zero() {
        let schedule = Schedule { peak: 1.0, warmup: 5, steps: 2 };
        assert!((0..10).all(|step| schedule.at(step).is_finite()));
    }
}
