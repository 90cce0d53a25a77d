//! Where the greys of a picture come from, row by row.

use crate::cells::{Cells, Histogram, Table};

#[derive(Clone, Debug)]
pub(crate) enum Source<'a> {
    /// Made before.
    Greys(Vec<f32>),
    /// Cells as they were stored, each shown as the table says.
    Cells { cells: Cells<'a>, table: Table },
}

impl Source<'_> {
    /// How many pixels are in each of `bins`, of rows of `width` that begin at the pixels `rows`.
    pub(crate) fn histogram(
        &self,
        rows: impl Iterator<Item = usize>,
        width: usize,
        bins: usize,
        bin: impl Fn(f32) -> usize,
    ) -> Vec<usize> {
        match self {
            Self::Greys(pixels) => {
                let mut histogram = vec![0; bins];
                rows.flat_map(|first| &pixels[first..][..width])
                    .for_each(|x| histogram[bin(*x)] += 1);
                histogram
            }
            Self::Cells { cells, table } => {
                let (mut histogram, mut row) = (Histogram::new(table, bins, bin), vec![0; width]);
                for first in rows {
                    cells.copy(first, &mut row);
                    histogram.add(&row);
                }
                histogram.totals()
            }
        }
    }

    /// Without the bytes it was read from.
    pub(crate) fn into_owned(self) -> Source<'static> {
        match self {
            Self::Greys(pixels) => Source::Greys(pixels),
            Self::Cells { cells, table } => Source::Cells { cells: cells.into_owned(), table },
        }
    }
}

/// Reads a picture row by row.
pub(crate) struct Rows<'a> {
    source: &'a Source<'a>,
    /// Of the picture.
    width: usize,
    /// Of one row.
    cells: Vec<u16>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(source: &'a Source<'a>, width: usize) -> Self {
        Self { source, width, cells: vec![0; width] }
    }

    /// The greys of row `y` from column `x` on.
    pub(crate) fn read(&mut self, y: usize, x: usize, greys: &mut [f32]) {
        let first = y * self.width + x;
        match self.source {
            Source::Greys(pixels) => greys.copy_from_slice(&pixels[first..][..greys.len()]),
            Source::Cells { cells, table } => {
                let row = &mut self.cells[..greys.len()];
                cells.copy(first, row);
                table.look_up(row, greys);
            }
        }
    }
}
