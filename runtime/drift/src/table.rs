//! Where numbers stand among those of a reference. Everything that is judged is a function of these ranks, so no
//! feature needs a scale, and under no change all features behave alike.
//!
//! The rank of x among n images is (images below x) + (images not above x): 0 below all, 2n above all, even between two.

use crate::pixels::GREYS;

/// Bins of the population stability index: tenths of the reference.
pub(crate) const BINS: usize = 10;

/// What charts and windows need to know of a reference.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// Images of the reference.
    pub(crate) images: u32,
    /// For each feature and rank, how many of the reference's images have it.
    pub(crate) cells: Vec<Vec<u32>>,
    /// Mean distance of a rank from the middle, 0 to 1, for each feature. One half unless values are tied.
    pub(crate) spread: Vec<f32>,
    /// Images of the reference in each bin, for each feature.
    pub(crate) bins: Vec<[u32; BINS]>,
    /// Mean histogram of grey levels.
    pub(crate) greys: [f64; GREYS],
}

impl Table {
    /// Of the ranks of the reference's own images; `of(feature)` gives those of one feature.
    pub(crate) fn new<'a>(
        images: usize,
        features: usize,
        of: impl Fn(usize) -> Vec<u16>,
        greys: impl Iterator<Item = &'a [f32; GREYS]>,
    ) -> Self {
        let mut table = Self {
            images: images as u32,
            cells: Vec::with_capacity(features),
            spread: Vec::with_capacity(features),
            bins: Vec::with_capacity(features),
            greys: [0.0; GREYS],
        };
        for feature in 0..features {
            let (mut cells, mut bins) = (vec![0; 2 * images + 1], [0; BINS]);
            let mut spread = 0.0_f64;
            for rank in of(feature) {
                cells[usize::from(rank)] += 1;
                bins[bin(rank, images)] += 1;
                spread += f64::from(standing(rank, images).abs());
            }
            table.cells.push(cells);
            table.bins.push(bins);
            table.spread.push((spread / images as f64) as f32);
        }
        for one in greys {
            table.greys.iter_mut().zip(one).for_each(|(sum, grey)| *sum += f64::from(*grey));
        }
        table.greys.iter_mut().for_each(|sum| *sum /= images as f64);
        table
    }

    pub(crate) fn features(&self) -> usize {
        self.cells.len()
    }
}

/// −1 below all images of the reference, 0 in their middle, 1 above all.
pub(crate) fn standing(rank: u16, images: usize) -> f32 {
    f32::from(rank) / images as f32 - 1.0
}

pub(crate) fn bin(rank: u16, images: usize) -> usize {
    (usize::from(rank) * BINS / (2 * images)).min(BINS - 1)
}

/// The rank of `x` among `sorted`, of which there are at most [`MOST_IMAGES`].
pub(crate) fn rank(x: f32, sorted: &[f32]) -> u16 {
    let below = sorted.partition_point(|other| *other < x);
    let not_above = sorted.partition_point(|other| *other <= x);
    (below + not_above) as u16
}

/// So that a rank fits into 16 bits, and a section stays small.
pub(crate) const MOST_IMAGES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_ranks_of_a_reference_in_itself_balance(values in prop::collection::vec(0..20_u8, 1..200)) {
            let mut sorted: Vec<f32> = values.iter().map(|x| f32::from(*x)).collect();
            sorted.sort_unstable_by(f32::total_cmp);
            let n = sorted.len();
            let sum: usize = sorted.iter().map(|x| usize::from(rank(*x, &sorted))).sum();
            prop_assert_eq!(sum, n * n); // a mean standing of 0, ties or not
            prop_assert_eq!(rank(-1.0, &sorted), 0);
            prop_assert_eq!(usize::from(rank(99.0, &sorted)), 2 * n);
        }
    }

    #[test]
    fn bins_are_tenths() {
        let sorted: Vec<f32> = (0..100).map(|x| x as f32).collect();
        let ranks = || sorted.iter().map(|x| rank(*x, &sorted)).collect();
        let table = Table::new(100, 1, |_| ranks(), [[0.1; GREYS]; 100].iter());
        assert_eq!(table.bins, [[10; BINS]]);
        assert!((table.spread[0] - 0.5).abs() < 1e-3);
        assert!(table.greys.iter().all(|grey| (grey - 0.1).abs() < 1e-6));
    }
}
