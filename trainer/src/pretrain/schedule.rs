//! How fast to learn at each step of a stage.

use super::LearningRate;
use std::f64::consts::PI;

/// A learning rate over the steps of one stage.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    rate: LearningRate,
    warm_up: u64,
    /// Steps from `start` to `peak`.
    climb: u64,
    total: u64,
}

impl Schedule {
    /// For a stage of `epochs` epochs with this many steps each.
    pub fn new(rate: LearningRate, epochs: u64, steps_per_epoch: u64) -> Self {
        let total = epochs * steps_per_epoch;
        let warm_up = (rate.warm_up_epochs * steps_per_epoch).min(total);
        Self { rate, warm_up, climb: warm_up, total }
    }

    /// At its peak a step before the warm-up ends, and again when it ends, as the released code's scheduler.
    pub fn early(self) -> Self {
        Self { climb: self.warm_up.saturating_sub(1).max(1), ..self }
    }

    /// For step `step`, counted from 0 within the stage.
    pub fn at(&self, step: u64) -> f64 {
        let LearningRate { start, peak, end, .. } = self.rate;
        if step < self.warm_up {
            return start + (peak - start) * step as f64 / self.climb as f64;
        }
        let left = (self.total - self.warm_up).max(1);
        let progress = ((step - self.warm_up) as f64 / left as f64).min(1.0);
        end + (peak - end) * 0.5 * (1.0 + (PI * progress).cos())
    }

    /// Share of the stage done before step `step`.
    pub fn progress(&self, step: u64) -> f64 {
        step as f64 / self.total.max(1) as f64
    }

    /// Steps of the whole stage.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_warms_up_peaks_and_ends_where_it_should() {
        let rate = LearningRate { start: 1e-7, peak: 1e-5, end: 0.0, warm_up_epochs: 1 };
        let schedule = Schedule::new(rate, 20, 100);
        assert_eq!(schedule.at(0), 1e-7);
        assert!((schedule.at(50) - 5.05e-6).abs() < 1e-12);
        assert_eq!(schedule.at(100), 1e-5);
        assert!((schedule.at(1050) - 5e-6).abs() < 1e-12);
        assert!(schedule.at(2000) < 1e-18);
        assert!((0..2000).all(|step| schedule.at(step).is_finite()));
    }

    #[test]
    fn the_released_warm_up_peaks_a_step_early_and_stays_there() {
        let rate = LearningRate { start: 1e-7, peak: 1e-5, end: 0.0, warm_up_epochs: 1 };
        let (ours, released) = (Schedule::new(rate, 20, 100), Schedule::new(rate, 20, 100).early());
        assert_eq!([0, 99, 100].map(|step| released.at(step)), [1e-7, 1e-5, 1e-5]);
        assert!(ours.at(99) < 1e-5);
        // pl_bolts 0.4.0: rate += (peak - start) / (warm-up - 1) at each step.
        assert!((released.at(50) - (1e-7 + 50.0 * (1e-5 - 1e-7) / 99.0)).abs() < 1e-15);
        assert!((101..2000).all(|step| ours.at(step) == released.at(step)));
        let one = Schedule::new(rate, 2, 1).early();
        assert_eq!((one.at(0), one.at(1)), (1e-7, 1e-5));
    }

    #[test]
    fn a_stage_shorter_than_its_warm_up_is_all_warm_up() {
        let rate = LearningRate { start: 0.0, peak: 1.0, end: 0.0, warm_up_epochs: 5 };
        let schedule = Schedule::new(rate, 1, 4);
        assert_eq!((schedule.at(0), schedule.at(2), schedule.total()), (0.0, 0.5, 4));
    }
}
