//! The tiles of an output whose sides are no multiples of a tile's: the last ones down and across may be short.
//!
//! ```text
//! F F F s     F full, s short across, S short down, c both. In the order s F S c, the tiles that have a
//! F F F s     point are always neighbours: all; F S where short tiles across lack it; s F where those down do;
//! S S S c     F where both do.
//! ```

use std::ops::Range;

use super::{LEAST, PATCH, SIDE, has};

#[derive(Debug)]
pub(super) struct TileOrder {
    /// Full tiles, `[down, across]`.
    full: [usize; 2],
    /// Outputs of the short ones that follow, or none.
    short: [usize; 2],
    /// Row and column of each.
    places: Vec<[usize; 2]>,
}

impl TileOrder {
    /// For outputs of `[height, width]`.
    pub(super) fn new(outputs: [usize; 2]) -> Self {
        // A single output that is left over takes a tile that hangs over the edge.
        let short = outputs.map(|n| if n % SIDE == 0 { 0 } else { LEAST.max(n % SIDE) });
        let mut order = Self { full: outputs.map(|n| n / SIDE), short, places: Vec::new() };
        let ([c, f, s, b], [down, across]) = (order.kinds(), order.full);
        let full = (0..f).map(|at| [at / across, at % across]);
        order.places.extend((0..c).map(|row| [row, across]).chain(full));
        order.places.extend((0..s).map(|column| [down, column]).chain((0..b).map(|_| order.full)));
        order
    }

    /// Tiles that are short across only, full, short down only, both.
    fn kinds(&self) -> [usize; 4] {
        let [[down, across], [s, c]] = [self.full, self.short.map(|short| usize::from(short > 0))];
        [down * c, down * across, s * across, s * c]
    }

    pub(super) fn count(&self) -> usize {
        self.places.len()
    }

    /// Products of all tiles.
    pub(super) fn products(&self) -> usize {
        let points = |full: usize, short: usize| {
            full * PATCH
                + if short > 0 { (0..PATCH).filter(|point| has(short, *point)).count() } else { 0 }
        };
        points(self.full[0], self.short[0]) * points(self.full[1], self.short[1])
    }

    /// Row and column of a tile, and its outputs, `[down, across]`.
    pub(super) fn tile(&self, at: usize) -> ([usize; 2], [usize; 2]) {
        let outputs =
            |i: usize| if self.places[at][i] == self.full[i] { self.short[i] } else { SIDE };
        (self.places[at], [outputs(0), outputs(1)])
    }

    /// How many tiles from this on are of its kind and follow each other in its row.
    pub(super) fn neighbours(&self, at: usize) -> usize {
        let ([_, column], _) = self.tile(at);
        if column == self.full[1] { 1 } else { self.full[1] - column }
    }

    /// The tiles of a strip that have a point.
    pub(super) fn having(&self, point: usize, strip: &Range<usize>) -> Range<usize> {
        let [c, f, s, b] = self.kinds();
        let [down, across] = [0, 1].map(|i| !has(self.short[i], [point / PATCH, point % PATCH][i]));
        let first = if across { c } else { 0 };
        let end = c + f + if down { 0 } else { s + if across { 0 } else { b } };
        first.max(strip.start)..end.min(strip.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::winograd::POINTS;

    #[test]
    fn every_output_is_in_one_tile_and_every_point_of_a_tile_is_multiplied() {
        for height in 1..20 {
            for width in 1..20 {
                let order = TileOrder::new([height, width]);
                let mut seen = vec![0; height * width];
                let mut products = 0;
                for at in 0..order.count() {
                    let ([row, column], [down, across]) = order.tile(at);
                    for y in (SIDE * row..SIDE * row + down).filter(|y| *y < height) {
                        for x in (SIDE * column..SIDE * column + across).filter(|x| *x < width) {
                            seen[y * width + x] += 1;
                        }
                    }
                    for point in 0..POINTS {
                        let has = has(down, point / PATCH) && has(across, point % PATCH);
                        assert_eq!(order.having(point, &(0..order.count())).contains(&at), has);
                        products += usize::from(has);
                    }
                }
                assert!(seen.iter().all(|n| *n == 1), "{height} x {width}");
                assert_eq!(products, order.products(), "{height} x {width}");
            }
        }
    }
}
