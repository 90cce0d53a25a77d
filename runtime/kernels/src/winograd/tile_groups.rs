//! Which tiles are multiplied together where a row of points at a time is.

use std::ops::Range;

use super::PATCH;
use super::fused::{FusedProducts, GROUP, SHAPES, TileGroup};
use super::tile_order::TileOrder;

/// TileGroups of one of [`FusedProducts::shapes`].
#[derive(Debug)]
pub(super) struct TileGroups {
    pub(super) shape: usize,
    pub(super) groups: Vec<TileGroup>,
}

/// For each row of points of a strip, the groups of tiles that have it. `pitches` are bytes from a tile's
/// inputs to the next tile's, and so of sums.
pub(super) fn of_strip(
    fused: &FusedProducts,
    order: &TileOrder,
    strip: &Range<usize>,
    pitches: [usize; 2],
) -> [Vec<TileGroups>; PATCH] {
    std::array::from_fn(|row| {
        let has =
            |tile: usize, across: usize| order.having(row * PATCH + across, strip).contains(&tile);
        let points = |tile: usize| (0..PATCH).filter(|across| has(tile, *across)).count();
        let mut tiles: Vec<usize> = strip.clone().filter(|tile| has(*tile, 0)).collect();
        // As they lie in the picture: then each group gets its share of short ones.
        tiles.sort_by_key(|tile| order.tile(*tile).0);
        let mut all: Vec<TileGroups> = Vec::new();
        for tiles in tiles.chunks(GROUP) {
            let mut tiles = tiles.to_vec();
            tiles.sort_by_key(|tile| PATCH - points(*tile));
            let count = |across: usize| tiles.iter().filter(|tile| has(**tile, across)).count();
            let shape = smallest(&fused.shapes, [0, 3, 4].map(count));
            let [v, m] = pitches.map(|pitch| {
                std::array::from_fn(|i| (tiles[i.min(tiles.len() - 1)] - strip.start) * pitch)
            });
            match all.iter_mut().find(|groups| groups.shape == shape) {
                Some(groups) => groups.groups.push(TileGroup { v, m }),
                None => all.push(TileGroups { shape, groups: vec![TileGroup { v, m }] }),
            }
        }
        all
    })
}

/// What the groups cost, in products. An addition takes half as long as a product, and runs beside the
/// products; where there are fewer of these, both share all units.
pub(super) fn cost(fused: &FusedProducts, strip: &[Vec<TileGroups>; PATCH]) -> f64 {
    const ADDITIONS: [usize; PATCH] = [12, 15, 15, 18, 18, 12];
    let of_one = |shape: usize, additions: usize| {
        let [all, three, four] = fused.shapes[shape];
        let products = 4 * all + three + four;
        products.max((products + additions) / 2)
    };
    let of_row = |(row, additions): (&Vec<TileGroups>, usize)| -> usize {
        row.iter().map(|groups| groups.groups.len() * of_one(groups.shape, additions)).sum()
    };
    strip.iter().zip(ADDITIONS).map(of_row).sum::<usize>() as f64
}

/// The first shape that has room: products that no tile asked for are not looked at.
fn smallest(shapes: &[[usize; 3]; SHAPES], counts: [usize; 3]) -> usize {
    let fits = |shape: &[usize; 3]| {
        shape[0] == counts[0] && shape.iter().zip(counts).all(|(room, count)| *room >= count)
    };
    shapes.iter().position(fits).expect("a shape with all points for each number of tiles")
}
