//! Where heat maps lie beside what people drew.
//!
//! A map is judged three times: its highest place, by whether it lies in the region (the pointing game) and whether it
//! lies in it or near it, and what of it is above the middle between its least and its most, by IoU. Beside it stand two
//! answers that look at nothing: the image's centre, and a place by chance.

use super::{Line, lines::means_line};
use crate::passes::noise::Noise;
use graph::Placement;
use language::Space;
use metrics::{bootstrap::weighted_mean, overlap::Overlap};

/// How far from a region a place is near it, over the image's longer side: the 15 pixels of margin that the pointing game
/// allows (TorchRay's `PointingGame`) in the pictures of PASCAL VOC, which are 500 pixels long.
const MARGIN: f64 = 15.0 / 500.0;

/// Heat maps beside the region. Of each pair the first is float's, then int8's, then the centre's, then chance's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pointing: [f64; 4],
    near: [f64; 4],
    iou: [f64; 4],
}

impl Place {
    pub(super) fn of(
        heat: &[Vec<f32>; 2],
        mask: &[bool],
        space: &Space,
        placed: &Placement,
        noise: &mut Noise,
    ) -> Self {
        let [rows, columns] = placed.source;
        let share = |mask: &[bool]| {
            mask.iter().filter(|inside| **inside).count() as f64 / mask.len() as f64
        };
        let [float, int8] = heat.each_ref().map(|heat| peak(heat, space, placed));
        let places = [float, int8, Some([rows / 2, columns / 2])];
        let game = |mask: &[bool]| {
            let hit = |[y, x]: [usize; 2]| f64::from(u8::from(mask[y * columns + x]));
            let [float, int8, centre] = places.map(|at| at.map_or(0.0, hit));
            [float, int8, centre, share(mask)]
        };
        let [hot, int8] = heat.each_ref().map(|heat| hottest(heat, space, placed));
        let area = share(&int8);
        // A rectangle of the image's aspect, as large as the hot part of the map.
        let side =
            |length: usize| ((length as f64 * area.sqrt()).round() as usize).clamp(1, length);
        let (height, width) = (side(rows), side(columns));
        let mut draw = |room: usize| noise.below(room as u64 + 1) as usize;
        let centred = [(rows - height) / 2, (columns - width) / 2];
        let drawn = [draw(rows - height), draw(columns - width)];
        let rectangle = |[top, left]: [usize; 2]| {
            let inside = |at: usize| {
                let (y, x) = (at / columns, at % columns);
                (top..top + height).contains(&y) && (left..left + width).contains(&x)
            };
            (0..mask.len()).map(inside).collect::<Vec<bool>>()
        };
        let iou = |inside: &[bool]| Overlap::of(inside, mask).iou();
        Self {
            pointing: game(mask),
            near: game(&widened(mask, columns, MARGIN * rows.max(columns) as f64)),
            iou: [iou(&hot), iou(&int8), iou(&rectangle(centred)), iou(&rectangle(drawn))],
        }
    }
}

/// `mask` and every pixel at most `radius` from it.
fn widened(mask: &[bool], columns: usize, radius: f64) -> Vec<bool> {
    let rows = mask.len() / columns;
    let mut wide = vec![false; mask.len()];
    let edge = |at: usize| {
        let (y, x) = (at / columns, at % columns);
        let inner = y > 0 && x > 0 && y + 1 < rows && x + 1 < columns;
        mask[at]
            && !(inner && mask[at - 1] && mask[at + 1] && mask[at - columns] && mask[at + columns])
    };
    for at in (0..mask.len()).filter(|&at| edge(at)) {
        let (y, x, reach) = (at / columns, at % columns, radius as usize);
        for row in y.saturating_sub(reach)..=(y + reach).min(rows - 1) {
            let half = (radius * radius - (row.abs_diff(y) as f64).powi(2)).sqrt() as usize;
            let right = (x + half).min(columns - 1);
            wide[row * columns..][x.saturating_sub(half)..=right].fill(true);
        }
    }
    wide.iter().zip(mask).map(|(wide, inside)| *wide || *inside).collect()
}

/// Row and column, in pixels of the image, of the middle of the highest place; `None` where it lies beside the image. Of
/// equals the first.
fn peak(heat: &[f32], space: &Space, placed: &Placement) -> Option<[usize; 2]> {
    let [rows, columns] = space.grid.map(|side| side as usize);
    let best = (0..heat.len()).reduce(|best, at| if heat[at] > heat[best] { at } else { best })?;
    let middle =
        |at: usize, side: usize, pixels: usize| (at as f32 + 0.5) / side as f32 * pixels as f32;
    let y = middle(best / columns, rows, placed.input[0]);
    let x = middle(best % columns, columns, placed.input[1]);
    let [x, y, width, height] = placed.into_source([x - 0.5, y - 0.5, 1.0, 1.0])?;
    let within = |at: f32, side: usize| (at.max(0.0) as usize).min(side - 1);
    Some([within(y + height / 2.0, placed.source[0]), within(x + width / 2.0, placed.source[1])])
}

/// Where the map, drawn over the image bilinearly between the middles of its places, is above the middle between its least
/// and its most: `[source]`.
fn hottest(heat: &[f32], space: &Space, placed: &Placement) -> Vec<bool> {
    let [rows, columns] = space.grid.map(|side| side as usize);
    let least = heat.iter().copied().fold(f32::INFINITY, f32::min);
    let most = heat.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let level = least / 2.0 + most / 2.0;
    let [height, width] = placed.source;
    let along = |at: f64, side: usize| {
        let at = (at * side as f64 - 0.5).clamp(0.0, side as f64 - 1.0);
        let low = (at as usize).min(side.saturating_sub(2));
        (low, (low + 1).min(side - 1), (at - low as f64) as f32)
    };
    let share = |y: usize, x: usize| {
        let (y, x) = ((y as f64 + 0.5) / height as f64, (x as f64 + 0.5) / width as f64);
        placed.into_input([x, y, x, y])
    };
    let columns_at: Vec<_> = (0..width).map(|x| along(share(0, x)[0], columns)).collect();
    let mut inside = Vec::with_capacity(height * width);
    for y in 0..height {
        let (top, bottom, down) = along(share(y, 0)[1], rows);
        inside.extend(columns_at.iter().map(|&(left, right, across)| {
            let row = |y: usize| {
                let (a, b) = (heat[y * columns + left], heat[y * columns + right]);
                a + (b - a) * across
            };
            let (above, below) = (row(top), row(bottom));
            above + (below - above) * down > level
        }));
    }
    inside
}

/// The figures of a finding, from every patient and image with a region.
pub(super) fn places<'a>(
    task: &str,
    name: &str,
    drawn: impl Iterator<Item = (&'a str, Place)>,
) -> Vec<Line> {
    let (patients, places): (Vec<&str>, Vec<Place>) = drawn.unzip();
    let mut lines = Vec::new();
    for (metric, of) in [
        ("pointing", (|place| place.pointing) as fn(&Place) -> [f64; 4]),
        ("near", |place| place.near),
        ("iou", |place| place.iou),
    ] {
        let column = |at: usize| places.iter().map(|place| of(place)[at]).collect::<Vec<f64>>();
        let pairs = patients.iter().zip(&places);
        let pairs: Vec<(&str, [f64; 2])> = pairs
            .map(|(patient, place)| {
                let [float, int8, ..] = of(place);
                (*patient, [float, int8])
            })
            .collect();
        lines.extend(means_line(task, format!("{metric}/{name}"), &pairs));
        for (at, what) in [(1, "of-int8"), (2, "of-centre"), (3, "of-chance")] {
            let values = column(at);
            let mean = |weights: &[u32]| weighted_mean(&values, weights);
            let metric = format!("{metric}-{what}/{name}");
            lines.extend(Line::of_one(task, metric, &patients, mean));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::{Fit, Preprocess};

    fn space(rows: u32, columns: u32) -> Space {
        Space { id: [0; 32], width: 1, grid: [rows, columns] }
    }

    fn placed(fit: Fit, source: [usize; 2]) -> Placement {
        Preprocess { height: 64, width: 64, fit, ..Preprocess::PRIOR }.place(source)
    }

    #[test]
    fn the_highest_place_points_at_its_middle_in_the_image() {
        let heat = [0.1, 0.2, 0.9, 0.3];
        let place = |fit, source| peak(&heat, &space(2, 2), &placed(fit, source));
        assert_eq!(place(Fit::Stretch, [100, 40]), Some([75, 10]));
        // Half as wide as high: a padded image has black columns of 16 on both sides.
        assert_eq!(place(Fit::Pad, [128, 64]), Some([96, 0]));
        assert_eq!(peak(&[0.5; 4], &space(2, 2), &placed(Fit::Stretch, [8, 8])), Some([2, 2]));
    }

    #[test]
    fn the_hot_part_lies_around_the_highest_place() {
        let hot = hottest(&[0.0, 0.0, 0.0, 1.0], &space(2, 2), &placed(Fit::Stretch, [40, 80]));
        let at = |y: usize, x: usize| hot[y * 80 + x];
        assert!(at(39, 79) && at(30, 60) && !at(0, 0) && !at(39, 0) && !at(20, 40));
        // Between the middles the map rises evenly: half way down and three quarters across it is at 0.5 · 0.75.
        assert!(!at(20, 50) && at(29, 58));
    }

    #[test]
    fn what_is_near_a_region_is_within_the_margin_of_a_pixel_of_it() {
        let (rows, columns, radius) = (40, 50, 6.5);
        let inside = |at: usize| {
            let (y, x) = (at / columns, at % columns);
            (3..9).contains(&y) && x < 12 && !(y == 5 && x == 4) || (y, x) == (30, 44)
        };
        let mask: Vec<bool> = (0..rows * columns).map(inside).collect();
        let near = |at: usize| {
            let apart = |of: usize| {
                let across = (at % columns).abs_diff(of % columns);
                ((at / columns).abs_diff(of / columns).pow(2) + across.pow(2)) as f64
            };
            (0..mask.len()).any(|of| mask[of] && apart(of) <= radius * radius)
        };
        let every: Vec<bool> = (0..mask.len()).map(near).collect();
        assert_eq!(widened(&mask, columns, radius), every);
        assert_eq!(widened(&mask, columns, 0.0), mask);
    }

    #[test]
    fn a_perfect_map_beats_centre_and_chance() {
        let (rows, columns) = (56, 56);
        let inside = |at: usize| at / columns < 16 && at % columns < 16;
        let mask: Vec<bool> = (0..rows * columns).map(inside).collect();
        let mut heat = vec![0.1_f32; 49];
        for at in [0, 1, 7, 8] {
            heat[at] = 0.9;
        }
        let placed = placed(Fit::Stretch, [rows, columns]);
        let heats = [heat.clone(), heat];
        let place = Place::of(&heats, &mask, &space(7, 7), &placed, &mut Noise(3));
        assert_eq!(place.pointing[..3], [1.0, 1.0, 0.0]);
        assert!((place.pointing[3] - 256.0 / 3136.0).abs() < 1e-12);
        // 3 % of 56 pixels is one pixel more on the two sides within the image.
        assert_eq!(place.near[..3], [1.0, 1.0, 0.0]);
        assert!((place.near[3] - 289.0 / 3136.0).abs() < 1e-12, "{}", place.near[3] * 3136.0);
        assert!(place.iou[1] > 0.7 && place.iou[2] < 0.1, "{:?}", place.iou);
        assert_eq!(place.iou[0], place.iou[1]);
    }
}
