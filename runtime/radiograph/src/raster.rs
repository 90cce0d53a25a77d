//! Samples of pictures that are already displayed → grey in [0, 1].

use crate::{
    Image, RadiographError,
    cells::{Cells, Table},
};

/// A picture of which each cell is its grey, `white` being 1.
pub(crate) fn cells(
    height: usize,
    width: usize,
    cells: Cells<'static>,
    white: f64,
) -> Result<Image<'static>, RadiographError> {
    let table = Table::of(&cells, |value| (value as f64 / white) as f32);
    Image::tabulated(height, width, cells, table)
}

/// The first of every `samples` values, `white` being 1.
pub(crate) fn grey<T: Copy + Into<f64>>(values: &[T], samples: usize, white: f64) -> Vec<f32> {
    values.chunks_exact(samples).map(|pixel| (pixel[0].into() / white) as f32).collect()
}

/// Luma of the first three of every `samples` values, `white` being 1.
pub(crate) fn colour<T: Copy + Into<f64>>(values: &[T], samples: usize, white: f64) -> Vec<f32> {
    let luma = |p: &[T]| luma([p[0].into(), p[1].into(), p[2].into()]);
    values.chunks_exact(samples).map(|pixel| (luma(pixel) / white) as f32).collect()
}

/// ITU-R 601 luma, as Pillow's `convert("L")`; equal samples give exactly their value.
pub(crate) fn luma([red, green, blue]: [f64; 3]) -> f64 {
    (299.0 * red + 587.0 * green + 114.0 * blue) / 1000.0
}
