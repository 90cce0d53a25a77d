//! A window of images beside the reference: Kolmogorov–Smirnov and the population stability index.

use crate::{
    pixels::GREYS,
    table::{BINS, Table, bin},
};
use serde::Serialize;

/// What was counted in a window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) images: u32,
    cells: Vec<Vec<u32>>,
    bins: Vec<[u32; BINS]>,
    greys: [f64; GREYS],
}

/// How far a feature of a window is from the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Distance {
    /// Largest difference of the two distribution functions, 0 to 1.
    pub ks: f64,
    /// Population stability index over the tenths of the reference.
    pub psi: f64,
}

impl Window {
    pub(crate) fn new(table: &Table) -> Self {
        Self {
            images: 0,
            cells: table.cells.iter().map(|cells| vec![0; cells.len()]).collect(),
            bins: vec![[0; BINS]; table.features()],
            greys: [0.0; GREYS],
        }
    }

    pub(crate) fn clear(&mut self) {
        self.images = 0;
        self.cells.iter_mut().for_each(|cells| cells.fill(0));
        self.bins.fill([0; BINS]);
        self.greys = [0.0; GREYS];
    }

    pub(crate) fn add(&mut self, table: &Table, ranks: &[u16], greys: &[f32; GREYS]) {
        self.images += 1;
        for ((cells, bins), rank) in self.cells.iter_mut().zip(&mut self.bins).zip(ranks) {
            cells[usize::from(*rank)] += 1;
            bins[bin(*rank, table.images as usize)] += 1;
        }
        self.greys.iter_mut().zip(greys).for_each(|(sum, grey)| *sum += f64::from(*grey));
    }

    /// For each feature; of an empty window nothing.
    pub(crate) fn distances(&self, table: &Table) -> Vec<Distance> {
        if self.images == 0 {
            return vec![Distance::default(); table.features()];
        }
        (0..table.features())
            .map(|at| Distance {
                ks: ks(&table.cells[at], table.images, &self.cells[at], self.images),
                psi: psi(&table.bins[at], table.images, &self.bins[at], self.images),
            })
            .collect()
    }

    /// Population stability index of all pixels' grey levels together.
    pub(crate) fn greys(&self, table: &Table) -> f64 {
        if self.images == 0 {
            return 0.0;
        }
        let share =
            |sum: f64, images: u32| (sum / f64::from(images) + RARE) / (1.0 + GREYS as f64 * RARE);
        let pairs = table.greys.iter().zip(&self.greys);
        pairs.map(|(before, now)| stability(share(*before, 1), share(*now, self.images))).sum()
    }

    /// What a distance is multiplied with so that it hardly depends on the numbers of images: nN / (n + N).
    pub(crate) fn weight(&self, table: &Table) -> f64 {
        let (n, m) = (f64::from(table.images), f64::from(self.images));
        n * m / (n + m)
    }
}

/// Added to shares of pixels, so that an empty bin has a logarithm.
const RARE: f64 = 1e-3;

fn ks(before: &[u32], n: u32, now: &[u32], m: u32) -> f64 {
    let (mut below, mut below_now, mut most) = (0_u64, 0_u64, 0_u64);
    for (a, b) in before.iter().zip(now) {
        below += u64::from(*a);
        below_now += u64::from(*b);
        most = most.max((below * u64::from(m)).abs_diff(below_now * u64::from(n)));
    }
    most as f64 / (f64::from(n) * f64::from(m))
}

fn psi(before: &[u32; BINS], n: u32, now: &[u32; BINS], m: u32) -> f64 {
    // Half an image in every bin, so that an empty one has a logarithm.
    let share = |count: u32, images: u32| {
        (f64::from(count) + 0.5) / (f64::from(images) + 0.5 * BINS as f64)
    };
    before.iter().zip(now).map(|(a, b)| stability(share(*a, n), share(*b, m))).sum()
}

fn stability(before: f64, now: f64) -> f64 {
    (now - before) * libm::log(now / before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::rank;
    use proptest::prelude::*;

    fn sorted(values: &[u8]) -> Vec<f32> {
        let mut sorted: Vec<f32> = values.iter().map(|x| f32::from(*x)).collect();
        sorted.sort_unstable_by(f32::total_cmp);
        sorted
    }

    fn distances(before: &[u8], now: &[u8]) -> Distance {
        let before = sorted(before);
        let ranks = |_| before.iter().map(|x| rank(*x, &before)).collect();
        let greys = vec![[0.1; GREYS]; before.len()];
        let table = Table::new(before.len(), 1, ranks, greys.iter());
        let mut window = Window::new(&table);
        for x in now {
            window.add(&table, &[rank(f32::from(*x), &before)], &[0.1; GREYS]);
        }
        assert!(window.greys(&table).abs() < 1e-9);
        window.distances(&table)[0]
    }

    proptest! {
        /// By definition: at every number that occurs, how far the shares up to it differ.
        #[test]
        fn ks_is_the_largest_difference_of_the_distribution_functions(
            before in prop::collection::vec(0..50_u8, 1..60),
            now in prop::collection::vec(0..50_u8, 1..60),
        ) {
            let share = |of: &[u8], x: u8| {
                of.iter().filter(|y| **y <= x).count() as f64 / of.len() as f64
            };
            let differences = (0..50).map(|x| (share(&before, x) - share(&now, x)).abs());
            let expected = differences.fold(0.0, f64::max);
            prop_assert!((distances(&before, &now).ks - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn the_stability_index_is_what_a_hand_calculates() {
        let before: Vec<u8> = (0..100).collect();
        let now: Vec<u8> = (0..100).map(|x| if x < 50 { x } else { 99 }).collect();
        // Five bins of 10 each as before, four empty, one with 50.
        let share = |count: f64| (count + 0.5) / 105.0;
        let term = |p: f64, q: f64| (q - p) * (q / p).ln();
        let expected = 4.0 * term(share(10.0), share(0.0)) + term(share(10.0), share(50.0));
        assert!((distances(&before, &now).psi - expected).abs() < 1e-12);
        assert!(distances(&before, &before).psi < 1e-12);
    }
}
