//! Cumulative sums (Page's CUSUM) of where images stand: what notices a change soonest.
//!
//! Each feature has four sums: it stands higher, lower, nearer the ends, nearer the middle. A step is of variance 1
//! where nothing has changed and nothing is tied. A sum loses its slack with every image and never falls below 0.

use crate::table::{Table, standing};
use serde::{Deserialize, Serialize};

/// Sums of each kind, that differ in their slack. The larger is quick for large changes, the smaller sees small ones.
pub(crate) const PAIR: usize = 2;

/// What a sum loses with every image. A few hundred images of reference cannot tell a mean of less than the smaller from
/// chance, and a smaller slack needs a higher limit.
pub(crate) const SLACKS: [f32; PAIR] = [0.35, 0.75];

/// What a sum adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Higher,
    Lower,
    /// Further from the middle of the reference, to either side.
    Wider,
    /// Closer to it: images vary less than they should.
    Narrower,
}

const CHANGES: [Change; 4] = [Change::Higher, Change::Lower, Change::Wider, Change::Narrower];

/// √3 and √12: a number spread evenly over −1 … 1, or over −½ … ½, has variance 1 times these.
const PLACE: f32 = 1.732_050_8;
const SPREAD: f32 = 3.464_101_6;

/// The sums of one stream of images.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Charts {
    slacks: [f32; PAIR],
    /// `[slack][feature × change]`
    sums: [Vec<f32>; PAIR],
}

/// The sum that stands closest to its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Peak {
    pub(crate) feature: usize,
    pub(crate) change: Change,
    /// 1 is the limit.
    pub(crate) of_limit: f32,
}

impl Charts {
    pub(crate) fn new(features: usize, slacks: [f32; PAIR]) -> Self {
        Self { slacks, sums: slacks.map(|_| vec![0.0; 4 * features]) }
    }

    pub(crate) fn reset(&mut self) {
        self.sums.iter_mut().for_each(|sums| sums.fill(0.0));
    }

    /// Adds an image; `ranks` are its features'.
    pub(crate) fn add(&mut self, table: &Table, ranks: &[u16]) {
        let images = table.images as usize;
        for (slack, sums) in self.slacks.iter().zip(&mut self.sums) {
            let steps = ranks.iter().zip(&table.spread).map(|(rank, spread)| {
                let place = standing(*rank, images);
                (PLACE * place, SPREAD * (place.abs() - spread))
            });
            for (four, (place, spread)) in sums.chunks_exact_mut(4).zip(steps) {
                four[0] = (four[0] + place - slack).max(0.0);
                four[1] = (four[1] - place - slack).max(0.0);
                four[2] = (four[2] + spread - slack).max(0.0);
                four[3] = (four[3] - spread - slack).max(0.0);
            }
        }
    }

    /// The largest sum for each slack.
    pub(crate) fn largest(&self) -> [f32; PAIR] {
        self.sums.each_ref().map(|sums| sums.iter().copied().fold(0.0, f32::max))
    }

    /// For each feature its sum that stands closest to the limit.
    pub(crate) fn peaks(&self, limits: &[f32; PAIR]) -> Vec<Peak> {
        let none = |feature| Peak { feature, change: Change::Higher, of_limit: 0.0 };
        let mut peaks: Vec<Peak> = (0..self.sums[0].len() / 4).map(none).collect();
        for (limit, sums) in limits.iter().zip(&self.sums) {
            for (at, sum) in sums.iter().enumerate() {
                let (peak, of_limit) = (&mut peaks[at / 4], sum / limit);
                // What stands higher than everything also varies more; "higher" says more.
                if at % 4 < 2 || of_limit > 1.05 * peak.of_limit {
                    peak.change =
                        if of_limit > peak.of_limit { CHANGES[at % 4] } else { peak.change };
                }
                peak.of_limit = peak.of_limit.max(of_limit);
            }
        }
        peaks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A feature whose 100 values differ.
    fn table() -> Table {
        let greys = [[0.1; 10]; 100];
        Table::new(100, 1, |_| (0..100).map(|at| 2 * at + 1).collect(), greys.iter())
    }

    fn after(ranks: &[u16]) -> Peak {
        let (table, mut charts) = (table(), Charts::new(1, SLACKS));
        ranks.iter().cycle().take(60).for_each(|rank| charts.add(&table, &[*rank]));
        charts.peaks(&[20.0, 10.0])[0]
    }

    #[test]
    fn each_change_has_its_sum() {
        let found = [
            (&[160, 180, 190][..], Change::Higher),
            (&[40, 20, 10], Change::Lower),
            (&[2, 198, 5, 195], Change::Wider),
            (&[99, 101, 105, 95], Change::Narrower),
        ];
        for (ranks, change) in found {
            let peak = after(ranks);
            assert!(peak.change == change && peak.of_limit > 1.0, "{peak:?} {change:?}");
        }
        let even: Vec<u16> = (0..100).map(|at| (at * 37 % 100) * 2 + 1).collect();
        assert!(after(&even).of_limit < 0.5);
    }

    /// The textbook's recursion, in exact arithmetic of a few steps.
    #[test]
    fn a_sum_is_pages() {
        let (table, mut charts) = (table(), Charts::new(1, SLACKS));
        let mut expected = [0.0_f64; 2];
        for rank in [150_u16, 190, 30, 199, 180] {
            charts.add(&table, &[rank]);
            let place = 3_f64.sqrt() * (f64::from(rank) / 100.0 - 1.0);
            for (sum, slack) in expected.iter_mut().zip(SLACKS) {
                *sum = (*sum + place - f64::from(slack)).max(0.0);
            }
        }
        for (sums, expected) in charts.sums.iter().zip(expected) {
            assert!((f64::from(sums[0]) - expected).abs() < 1e-5, "{sums:?} {expected}");
        }
    }
}
