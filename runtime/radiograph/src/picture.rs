//! A displayed picture.

use crate::{
    RadiographError,
    cells::{Cells, Table},
    resize::{self, Window},
    rows::{Rows, Source},
    size,
};
use std::borrow::Cow;

/// A grey picture: `[height, width]`, row by row, 0 = black … 1 = white.
///
/// Greys are made when they are asked for; until then a picture may be the bytes it was read from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Image<'a> {
    pub height: usize,
    pub width: usize,
    source: Source<'a>,
}

impl<'a> Image<'a> {
    /// A picture of `height * width > 0` pixels.
    pub fn new(height: usize, width: usize, pixels: Vec<f32>) -> Result<Self, RadiographError> {
        Self::checked(height, width, pixels.len(), Source::Greys(pixels))
    }

    /// A picture of cells, each shown as the table says.
    pub(crate) fn tabulated(
        height: usize,
        width: usize,
        cells: Cells<'a>,
        table: Table,
    ) -> Result<Self, RadiographError> {
        Self::checked(height, width, cells.len(), Source::Cells { cells, table })
    }

    fn checked(
        height: usize,
        width: usize,
        pixels: usize,
        source: Source<'a>,
    ) -> Result<Self, RadiographError> {
        size::check_frame(height as u64, width as u64, 1)?;
        if pixels != height * width {
            return Err(RadiographError::ImageSize { height, width, pixels });
        }
        Ok(Self { height, width, source })
    }

    /// Without the bytes it was read from.
    pub fn into_owned(self) -> Image<'static> {
        Image { height: self.height, width: self.width, source: self.source.into_owned() }
    }

    /// All of it, `[height, width]`.
    pub fn pixels(&self) -> Cow<'_, [f32]> {
        if let Source::Greys(pixels) = &self.source {
            return Cow::Borrowed(pixels);
        }
        let mut pixels = vec![0.0; self.height * self.width];
        let mut rows = self.rows();
        for (y, row) in pixels.chunks_exact_mut(self.width).enumerate() {
            rows.read(y, 0, row);
        }
        Cow::Owned(pixels)
    }

    /// The grey of all its pixels, if they are all alike.
    pub fn only_grey(&self) -> Option<f32> {
        let (mut rows, mut row) = (self.rows(), vec![0.0; self.width]);
        rows.read(0, 0, &mut row);
        let first = row[0];
        let alike = |y| {
            rows.read(y, 0, &mut row);
            row.iter().all(|x| *x == first)
        };
        (0..self.height).all(alike).then_some(first)
    }

    /// Reads rows one at a time.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows::new(&self.source, self.width)
    }

    /// How many pixels of every `step`th row are in each of `bins`.
    pub(crate) fn histogram(
        &self,
        step: usize,
        bins: usize,
        bin: impl Fn(f32) -> usize,
    ) -> Vec<usize> {
        let rows = (0..self.height).step_by(step).map(|y| y * self.width);
        self.source.histogram(rows, self.width, bins, bin)
    }

    /// This picture at another size, antialiased.
    ///
    /// Triangle filter as in Pillow's `BILINEAR` and torchvision's `antialias=True`; the aspect is
    /// not kept.
    ///
    /// # Panics
    /// If `height` or `width` is 0.
    pub fn resize(&self, height: usize, width: usize) -> Image<'static> {
        assert!(height > 0 && width > 0, "a picture has at least one pixel");
        let all = Window { first: [0, 0], size: [self.height, self.width] };
        let to = [height, width];
        let pixels = resize::triangle(self.rows(), all, to, Window { first: [0, 0], size: to });
        Image { height, width, source: Source::Greys(pixels) }
    }

    /// 8-bit grey for writing pictures: 0 = black … 255 = white.
    pub fn to_gray8(&self) -> Vec<u8> {
        let grey = |x: &f32| (x.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
        self.pixels().iter().map(grey).collect()
    }
}

/// Two pictures are equal if all their pixels are, wherever they come from.
impl PartialEq for Image<'_> {
    fn eq(&self, other: &Image<'_>) -> bool {
        [self.height, self.width] == [other.height, other.width] && self.pixels() == other.pixels()
    }
}
