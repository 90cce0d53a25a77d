//! The two passes that refine a block by one bit-plane (T.814 7.4 and 7.5).
//!
//! Both share a stream. One reads it forwards: samples beside significant ones, which may be significant in
//! the plane below. The other reads it backwards: one more bit of each sample that was significant before.

use super::{
    bits::{Backward, Forward},
    coded::{Coded, SIGN},
};

/// Rows of a stripe, and columns whose signs come together.
const STRIPE: usize = 4;

/// Adds to `samples` what is known down to `plane`, which is not the lowest.
pub(super) fn refine(block: &Coded<'_>, plane: u32, samples: &mut [u32]) {
    let mut near = Map::of_significant(block, samples);
    if block.passes == 3 {
        let mut bits = Backward::new(block.refinement);
        each_stripe(block, block.width, |columns, rows| {
            for (column, row) in
                columns.flat_map(|column| rows.clone().map(move |row| (column, row)))
            {
                let sample = &mut samples[row * block.stride() + column];
                if *sample != 0 {
                    // The half that stood for what was unknown moves one place down.
                    let bit = bits.take(1) << plane;
                    *sample = *sample & !(1 << plane) | bit | 1 << (plane - 1);
                }
            }
        });
    }
    let mut bits = Forward::new(block.refinement, 0);
    each_stripe(block, STRIPE, |columns, rows| {
        let mut found = [0; STRIPE * STRIPE];
        let mut count = 0;
        for (column, row) in columns.flat_map(|column| rows.clone().map(move |row| (column, row))) {
            let at = row * block.stride() + column;
            let looks_below = !block.is_causal || row % STRIPE != STRIPE - 1;
            if samples[at] == 0 && near.has_neighbour(column, row, looks_below) && bits.take(1) == 1
            {
                near.mark(column, row);
                samples[at] = 3 << (plane - 1);
                (found[count], count) = (at, count + 1);
            }
        }
        for at in &found[..count] {
            samples[*at] |= SIGN & bits.take(1) << 31;
        }
    });
}

/// Calls `visit` with the columns and rows of every part of every stripe, in order.
fn each_stripe(
    block: &Coded<'_>,
    columns: usize,
    mut visit: impl FnMut(std::ops::Range<usize>, std::ops::Range<usize>),
) {
    for row in (0..block.height).step_by(STRIPE) {
        for column in (0..block.width).step_by(columns) {
            let end = (column + columns).min(block.width);
            visit(column..end, row..(row + STRIPE).min(block.height));
        }
    }
}

/// Which samples are significant, with a border of others.
struct Map {
    places: Vec<bool>,
    stride: usize,
}

impl Map {
    fn of_significant(block: &Coded<'_>, samples: &[u32]) -> Self {
        let stride = block.width + 2;
        let mut map = Self { places: vec![false; stride * (block.height + 2)], stride };
        for (row, samples) in samples.chunks(block.stride()).take(block.height).enumerate() {
            for column in (0..block.width).filter(|column| samples[*column] != 0) {
                map.mark(column, row);
            }
        }
        map
    }

    fn mark(&mut self, column: usize, row: usize) {
        self.places[(row + 1) * self.stride + column + 1] = true;
    }

    fn has_neighbour(&self, column: usize, row: usize, looks_below: bool) -> bool {
        let rows = if looks_below { 3 } else { 2 };
        (row..row + rows).any(|row| {
            let start = row * self.stride + column;
            self.places[start..start + 3].contains(&true)
        })
    }
}
