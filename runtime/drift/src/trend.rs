//! Day by day: how close a stream came to its limits, and where its images stood.

use crate::charts::Peak;
use std::collections::BTreeMap;

/// Days that are kept.
const MOST_DAYS: usize = 90;

/// The last days on which images came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trend {
    /// By the day since 1970.
    days: BTreeMap<u32, Sums>,
}

/// One day of one stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sums {
    pub(crate) images: u32,
    /// The highest of the day for each feature, 1 is the limit.
    pub(crate) peaks: Vec<f32>,
    standings: Vec<f64>,
}

impl Trend {
    pub(crate) fn add(&mut self, day: u32, peaks: &[Peak], standings: impl Iterator<Item = f32>) {
        let none =
            || Sums { images: 0, peaks: vec![0.0; peaks.len()], standings: vec![0.0; peaks.len()] };
        let sums = self.days.entry(day).or_insert_with(none);
        sums.images += 1;
        sums.peaks.iter_mut().zip(peaks).for_each(|(most, peak)| *most = most.max(peak.of_limit));
        sums.standings.iter_mut().zip(standings).for_each(|(sum, x)| *sum += f64::from(x));
        while self.days.len() > MOST_DAYS {
            self.days.pop_first();
        }
    }

    pub(crate) fn days(&self) -> impl Iterator<Item = (u32, &Sums)> {
        self.days.iter().map(|(day, sums)| (*day, sums))
    }
}

impl Sums {
    /// Mean place of the day's images among the reference's, −1 to 1, for each feature.
    pub(crate) fn standings(&self) -> Vec<f32> {
        self.standings.iter().map(|sum| (sum / f64::from(self.images)) as f32).collect()
    }
}
