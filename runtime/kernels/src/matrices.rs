//! Which matrices are multiplied and where they lie, and what rows are brought to.

use crate::spec::{SpecError, sizes};

/// Products of matrices of bytes, `[rows, depth] · [depth, columns]`, `batch[0] · batch[1]` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatMulSpec {
    pub batch: [usize; 2],
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
    pub a: MatrixPlace,
    pub b: MatrixPlace,
    /// Of the results; no two have one place.
    pub y: MatrixPlace,
}

/// Where a stack of matrices lies: the first value of the first one, and bytes from one to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixPlace {
    pub first: usize,
    pub batch: [usize; 2],
    pub row: usize,
    pub column: usize,
}

impl MatrixPlace {
    /// One matrix after the other, rows of so many values.
    pub fn dense(rows: usize, columns: usize) -> Self {
        Self { first: 0, batch: [0, rows * columns], row: columns, column: 1 }
    }

    /// Where a value lies.
    pub fn at(&self, [outer, inner]: [usize; 2], row: usize, column: usize) -> usize {
        self.first
            + outer * self.batch[0]
            + inner * self.batch[1]
            + row * self.row
            + column * self.column
    }
}

impl MatMulSpec {
    /// So many products of bytes fit in i32, whatever they are.
    pub const MAX_DEPTH: usize = i32::MAX as usize / (255 * 255);

    /// One product of matrices without gaps; `columns_in_rows` if the right one lies as `[columns, depth]`.
    pub fn one(rows: usize, depth: usize, columns: usize, columns_in_rows: bool) -> Self {
        let turned = MatrixPlace { row: 1, column: depth, ..MatrixPlace::dense(columns, depth) };
        Self {
            batch: [1, 1],
            rows,
            depth,
            columns,
            a: MatrixPlace::dense(rows, depth),
            b: if columns_in_rows { turned } else { MatrixPlace::dense(depth, columns) },
            y: MatrixPlace::dense(rows, columns),
        }
    }

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        sizes("matrix", &[self.rows, self.depth, self.columns])?;
        sizes("stack of matrices", &self.batch)?;
        if self.depth > Self::MAX_DEPTH {
            return Err(SpecError::Depth { depth: self.depth, most: Self::MAX_DEPTH });
        }
        for (place, [rows, columns]) in self.places() {
            let axes = self.axes(place, rows, columns);
            let reach = axes.iter().try_fold(place.first, |reach, (count, step)| {
                (count - 1).checked_mul(*step)?.checked_add(reach)
            });
            if reach.is_none_or(|reach| reach > isize::MAX as usize) {
                return Err(SpecError::TooLarge { what: "matrix" });
            }
        }
        let mut axes = self.axes(&self.y, self.rows, self.columns);
        axes.sort_unstable_by_key(|(_, step)| *step);
        let mut reach = 0;
        for (count, step) in axes.into_iter().filter(|(count, _)| *count > 1) {
            if step <= reach {
                return Err(SpecError::Overlap { what: "products" });
            }
            reach += (count - 1) * step;
        }
        Ok(())
    }

    /// Bytes that slices of `a`, `b` and `y` must have.
    pub(crate) fn bytes(&self) -> [usize; 3] {
        self.places().map(|(place, [rows, columns])| {
            let [outer, inner] = self.batch;
            place.at([outer - 1, inner - 1], rows - 1, columns - 1) + 1
        })
    }

    fn places(&self) -> [(&MatrixPlace, [usize; 2]); 3] {
        [
            (&self.a, [self.rows, self.depth]),
            (&self.b, [self.depth, self.columns]),
            (&self.y, [self.rows, self.columns]),
        ]
    }

    fn axes(&self, place: &MatrixPlace, rows: usize, columns: usize) -> [(usize, usize); 4] {
        let [outer, inner] = self.batch;
        [
            (outer, place.batch[0]),
            (inner, place.batch[1]),
            (rows, place.row),
            (columns, place.column),
        ]
    }

    /// How many products.
    pub(crate) fn count(&self) -> usize {
        self.batch[0] * self.batch[1]
    }
}

/// What [`crate::LayerNorm`] makes of a row. Gain and bias are divided by the scale of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormSpec {
    pub gain: Vec<f32>,
    pub bias: Vec<f32>,
    /// `epsilon · n² / s_x²` for rows of `n` values.
    pub epsilon: f64,
    pub y_zero: u8,
    pub clamp: [u8; 2],
}
