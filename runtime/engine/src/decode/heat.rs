//! Where a phrase looks, in pixels of the source image.

use graph::Placement;

/// How much something attends to each place of a grid over the network's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    pub name: String,
    pub rows: usize,
    pub columns: usize,
    /// `[rows, columns]`, in `[0, 1]`.
    pub values: Vec<f32>,
    /// `x, y, width, height` of the grid in pixels of the source image; reaches beyond a picture that was padded.
    pub area: [f32; 4],
    /// `x, y` in pixels of the source image: the middle of what the picture has of the place of most attention.
    pub peak: [f32; 2],
}

impl Heat {
    /// Of an image that lies in the input as `placed`.
    ///
    /// # Panics
    /// If `values` is not `[rows, columns]`, or a side is zero.
    pub fn new(
        name: &str,
        values: Vec<f32>,
        [rows, columns]: [usize; 2],
        placed: &Placement,
    ) -> Self {
        assert!(values.len() == rows * columns && rows * columns > 0, "values");
        let area = area(placed);
        let mut best: Option<(f32, [f32; 2])> = None;
        for (at, &value) in values.iter().enumerate() {
            // Places beside the picture show nothing of it.
            let Some(middle) = middle(at / columns, at % columns, [rows, columns], placed) else {
                continue;
            };
            if best.is_none_or(|(most, _)| value > most) {
                best = Some((value, middle));
            }
        }
        let peak = best.map_or([0.0; 2], |(_, middle)| middle);
        Self { name: name.to_owned(), rows, columns, values, area, peak }
    }
}

/// The input's rectangle in pixels of the source.
fn area(placed: &Placement) -> [f32; 4] {
    let along = |axis: usize| {
        let pixels = placed.seen[axis] as f32 / placed.size[axis] as f32;
        let first = placed.cut[axis] as f32 - placed.offset[axis] as f32 * pixels;
        (first, placed.input[axis] as f32 * pixels)
    };
    let ((y, height), (x, width)) = (along(0), along(1));
    [x, y, width, height]
}

/// Of the part of a cell that the picture takes; `None` where it takes none.
fn middle(
    row: usize,
    column: usize,
    [rows, columns]: [usize; 2],
    placed: &Placement,
) -> Option<[f32; 2]> {
    let [height, width] = placed.input.map(|side| side as f32);
    let (height, width) = (height / rows as f32, width / columns as f32);
    let cell = [column as f32 * width, row as f32 * height, width, height];
    let [x, y, width, height] = placed.into_source(cell)?;
    Some([x + width / 2.0, y + height / 2.0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::{Fit, Preprocess};

    fn heat(fit: Fit, source: [usize; 2], values: Vec<f32>, cells: [usize; 2]) -> Heat {
        let placed = Preprocess { height: 8, width: 12, fit, ..Preprocess::PRIOR }.place(source);
        Heat::new("x", values, cells, &placed)
    }

    #[test]
    fn a_stretched_grid_is_the_whole_picture_and_its_peak_the_middle_of_a_cell() {
        let found = heat(Fit::Stretch, [80, 30], vec![0.1, 0.2, 0.9, 0.3, 0.9, 0.0], [2, 3]);
        assert_eq!(found.area, [0.0, 0.0, 30.0, 80.0]);
        assert_eq!(found.peak, [25.0, 20.0], "of two alike the first");
    }

    #[test]
    fn a_padded_grid_reaches_beyond_the_picture_and_its_peak_does_not() {
        // Columns 2 to 10 of 12: of six cells along, the first and the last are beside the picture.
        let values = vec![0.9, 0.1, 0.2, 0.8, 0.3, 1.0];
        let found = heat(Fit::Pad, [400, 400], values, [1, 6]);
        assert_eq!(found.area, [-100.0, 0.0, 600.0, 400.0]);
        assert_eq!(found.peak, [250.0, 200.0]);
    }

    #[test]
    fn a_cropped_grid_covers_what_the_network_sees() {
        let found = heat(Fit::CentreCrop, [8, 100], vec![0.0, 1.0], [1, 2]);
        assert_eq!(found.area, [44.0, 0.0, 12.0, 8.0]);
        assert_eq!(found.peak, [53.0, 4.0]);
    }
}
