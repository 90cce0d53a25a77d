//! Where the phrases of a finding look, and sentences that an image is near to.

use crate::ResultsError;
use serde::{Deserialize, Serialize};

/// How much the phrases for a finding attend to each place of a grid over the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeatMap {
    /// Of the finding.
    pub name: String,
    /// Of the grid.
    pub rows: u32,
    pub columns: u32,
    /// The place of most attention, in pixels of the source image as displayed.
    pub x: f32,
    pub y: f32,
    /// How much that is, 0 to 1.
    pub most: f32,
    /// `x, y, width, height` of the grid, in such pixels. It may reach beyond the image.
    pub area: [f32; 4],
    /// `[rows, columns]`, 0 to 1. Not shown: see [`crate::Record::shown`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f32>,
}

/// A sentence of the training reports that the image is near to: an explanation to read, not a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NearSentence {
    pub sentence: String,
    /// Cosine, −1 to 1.
    pub similarity: f32,
    /// The place it looks at most, in pixels of the source image as displayed.
    pub x: f32,
    pub y: f32,
}

/// Rows or columns of a grid: a network's last feature map has a few.
const MAX_SIDE: u32 = 64;

impl HeatMap {
    /// Whether all of it is there and can be drawn.
    pub fn check(&self) -> Result<(), ResultsError> {
        let damaged = |reason: String| {
            Err(ResultsError::HeatMap { name: self.name.chars().take(80).collect(), reason })
        };
        let Self { rows, columns, .. } = *self;
        if !(1..=MAX_SIDE).contains(&rows) || !(1..=MAX_SIDE).contains(&columns) {
            return damaged(format!("{rows}x{columns} places, expected 1 to {MAX_SIDE} a side"));
        }
        if self.values.len() != (rows * columns) as usize {
            let found = self.values.len();
            return damaged(format!("{found} values, expected {rows}x{columns}"));
        }
        if let Some(value) = self.values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
            return damaged(format!("{value} somewhere, expected 0 to 1"));
        }
        let [x, y, width, height] = self.area;
        let place = [x, y, width, height, self.x, self.y];
        if place.iter().any(|side| side.abs() > 1e6 || side.is_nan())
            || width <= 0.0
            || height <= 0.0
        {
            return damaged(format!("it lies at {:?}, expected a rectangle", self.area));
        }
        Ok(())
    }

    /// `[size]`: the whole of a source image of `source` rows and columns, drawn in `size` rows and columns; between the
    /// middles of places in proportion, 0 outside the grid.
    ///
    /// # Panics
    /// If it does not pass [`HeatMap::check`].
    pub fn drawn(&self, source: [usize; 2], size: [usize; 2]) -> Vec<f32> {
        let along = |axis: usize| -> Vec<Option<Between>> {
            let (first, length) = (self.area[1 - axis], self.area[3 - axis]);
            let cells = [self.rows, self.columns][axis];
            let pixels = source[axis] as f32 / size[axis] as f32;
            let between = |at: usize| {
                let share = ((at as f32 + 0.5) * pixels - first) / length;
                (0.0..=1.0).contains(&share).then(|| {
                    let last = cells as usize - 1;
                    let at = (share * cells as f32 - 0.5).clamp(0.0, last as f32);
                    let from = (at as usize).min(last);
                    Between { from, to: (from + 1).min(last), share: at - from as f32 }
                })
            };
            (0..size[axis]).map(between).collect()
        };
        let (down, across) = (along(0), along(1));
        let row = |at: usize| &self.values[at * self.columns as usize..][..self.columns as usize];
        let mut drawn = vec![0.0; size[0] * size[1]];
        for (to, down) in drawn.chunks_exact_mut(size[1]).zip(&down) {
            let Some(down) = down else { continue };
            let (upper, lower) = (row(down.from), row(down.to));
            for (to, across) in to.iter_mut().zip(&across) {
                if let Some(across) = across {
                    *to = down.mix(across.of(upper), across.of(lower));
                }
            }
        }
        drawn
    }
}

/// Between the middles of two neighbouring cells.
struct Between {
    from: usize,
    to: usize,
    /// How far from the first, 0 to 1.
    share: f32,
}

impl Between {
    fn of(&self, row: &[f32]) -> f32 {
        self.mix(row[self.from], row[self.to])
    }

    fn mix(&self, from: f32, to: f32) -> f32 {
        from * (1.0 - self.share) + to * self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heat_map() -> HeatMap {
        HeatMap {
            name: "x".into(),
            rows: 1,
            columns: 2,
            x: 7.5,
            y: 5.0,
            most: 0.8,
            area: [0.0, 0.0, 10.0, 10.0],
            values: vec![0.2, 0.8],
        }
    }

    #[test]
    fn it_is_drawn_in_proportion_between_the_middles_of_places() {
        let drawn = heat_map().drawn([10, 10], [1, 10]);
        let expected = [0.2, 0.2, 0.2, 0.32, 0.44, 0.56, 0.68, 0.8, 0.8, 0.8];
        for (found, expected) in drawn.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{drawn:?}");
        }
    }

    #[test]
    fn outside_the_grid_there_is_none_and_beyond_the_image_it_goes_on() {
        // What a network sees of a picture that was cropped: its middle.
        let cropped = HeatMap { area: [4.0, 0.0, 2.0, 10.0], ..heat_map() };
        let drawn = cropped.drawn([10, 10], [1, 10]);
        assert_eq!(drawn.iter().filter(|x| **x > 0.0).count(), 2, "{drawn:?}");
        // Of a padded one, the picture is the middle of the grid.
        let padded = HeatMap { area: [-10.0, 0.0, 30.0, 10.0], ..heat_map() };
        let drawn = padded.drawn([10, 10], [1, 10]);
        assert!(drawn[0] > 0.2 && drawn[9] < 0.8 && drawn[0] < drawn[9], "{drawn:?}");
    }

    #[test]
    fn what_cannot_be_drawn_is_refused_by_name() {
        type Change = fn(&mut HeatMap);
        let changes: [(Change, &str); 5] = [
            (|it| it.rows = 0, "0x2 places"),
            (|it| it.columns = 3, "2 values, expected 1x3"),
            (|it| it.values[1] = 1.5, "1.5 somewhere"),
            (|it| it.values[0] = f32::NAN, "NaN somewhere"),
            (|it| it.area[2] = 0.0, "expected a rectangle"),
        ];
        for (change, expected) in changes {
            let mut changed = heat_map();
            change(&mut changed);
            let error = changed.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        heat_map().check().unwrap();
    }

    proptest! {
        #[test]
        fn what_passes_can_be_drawn(
            rows in 0_u32..9, columns in 0_u32..9, area: [f32; 4], values in prop::collection::vec(-0.1_f32..1.1, 0..20),
            source in (1_usize..50, 1_usize..50), size in (1_usize..20, 1_usize..20),
        ) {
            let heat = HeatMap { rows, columns, area, values, ..heat_map() };
            if heat.check().is_ok() {
                let drawn = heat.drawn([source.0, source.1], [size.0, size.1]);
                prop_assert!(drawn.iter().all(|x| (0.0..=1.0).contains(x)), "{drawn:?}");
            }
        }
    }
}
