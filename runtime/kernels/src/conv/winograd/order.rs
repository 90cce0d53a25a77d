//! The tiles of an output whose sides are no multiples of a tile's: the last ones down and across may be short.
//!
//! ```text
//! F F F s     F full, s short across, S short down, c both. In the order s F S c, the tiles that have a
//! F F F s     point are always neighbours: all; F S where short tiles across lack it; s F where those down do;
//! S S S c     F where both do.
//! ```

use std::ops::Range;

use crate::winograd::{LONG_ONLY, PATCH, SHORT, SIDE};

#[derive(Debug)]
pub(super) struct Order {
    /// Full tiles, `[down, across]`.
    full: [usize; 2],
    /// Whether short ones follow.
    short: [bool; 2],
}

impl Order {
    /// For outputs of `[height, width]`.
    pub(super) fn new(outputs: [usize; 2]) -> Self {
        // What is left over may be too much for a short tile: then a full one hangs over the edge.
        let short = outputs.map(|n| (1..=SHORT).contains(&(n % SIDE)));
        let full = outputs.map(|n| if n % SIDE > SHORT { n.div_ceil(SIDE) } else { n / SIDE });
        Self { full, short }
    }

    /// Tiles that are short across only, full, short down only, both.
    fn kinds(&self) -> [usize; 4] {
        let [[down, across], [s, c]] = [self.full, self.short.map(usize::from)];
        [down * c, down * across, s * across, s * c]
    }

    pub(super) fn count(&self) -> usize {
        self.kinds().iter().sum()
    }

    /// Products of all tiles.
    pub(super) fn products(&self) -> usize {
        let points = |full: usize, short: bool| {
            full * PATCH + usize::from(short) * (PATCH - LONG_ONLY.len())
        };
        points(self.full[0], self.short[0]) * points(self.full[1], self.short[1])
    }

    /// Row and column of a tile, and whether it is short, `[down, across]`.
    pub(super) fn tile(&self, at: usize) -> ([usize; 2], [bool; 2]) {
        let ([c, f, s, _], [down, across]) = (self.kinds(), self.full);
        if at < c {
            ([at, across], [false, true])
        } else if at < c + f {
            ([(at - c) / across, (at - c) % across], [false, false])
        } else if at < c + f + s {
            ([down, at - c - f], [true, false])
        } else {
            ([down, across], [true, true])
        }
    }

    /// How many tiles from this on are of its kind and follow each other in its row.
    pub(super) fn neighbours(&self, at: usize) -> usize {
        let ([_, column], [_, short]) = self.tile(at);
        if short { 1 } else { self.full[1] - column }
    }

    /// The tiles of a strip that have a point.
    pub(super) fn having(&self, point: usize, strip: &Range<usize>) -> Range<usize> {
        let ([c, f, s, b], [down, across]) =
            (self.kinds(), [point / PATCH, point % PATCH].map(|p| LONG_ONLY.contains(&p)));
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
                let order = Order::new([height, width]);
                let mut seen = vec![0; height * width];
                let mut products = 0;
                for at in 0..order.count() {
                    let ([row, column], short) = order.tile(at);
                    let [down, across] = short.map(|short| if short { SHORT } else { SIDE });
                    for y in (SIDE * row..SIDE * row + down).filter(|y| *y < height) {
                        for x in (SIDE * column..SIDE * column + across).filter(|x| *x < width) {
                            seen[y * width + x] += 1;
                        }
                    }
                    for point in 0..POINTS {
                        let lacks = |short: bool, p: usize| short && LONG_ONLY.contains(&p);
                        let has =
                            !lacks(short[0], point / PATCH) && !lacks(short[1], point % PATCH);
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
