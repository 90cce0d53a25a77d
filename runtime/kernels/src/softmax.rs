//! Shares of a row: softmax from bytes to bytes, through a table of exponentials.

use crate::pool::Pool;
use crate::scalar;
use crate::spec::{SpecError, ratio, sizes};

/// Softmax along rows of bytes; see [`scalar::softmax`], which it calls on each thread's rows.
///
/// Sums are of integers and every exponential is an entry of the table, so there is nothing that could differ between
/// processors but one conversion and two divisions of f32, which IEEE 754 fixes.
#[derive(Debug, Clone)]
pub struct Softmax {
    columns: usize,
    table: Box<[u32; 256]>,
    y_scale: f32,
    y_zero: u8,
}

impl Softmax {
    /// `table[d]` is what an `x` that is `d` below the largest of its row is worth; `table[0]` must not be 0.
    pub fn new(
        columns: usize,
        table: [u32; 256],
        y_scale: f32,
        y_zero: u8,
    ) -> Result<Self, SpecError> {
        sizes("softmax", &[columns])?;
        ratio("scale of the shares", 0, y_scale)?;
        if table[0] == 0 || y_scale == 0.0 {
            return Err(SpecError::Zero {
                what: "the largest exponential, or the scale of the shares",
            });
        }
        Ok(Self { columns, table: Box::new(table), y_scale, y_zero })
    }

    /// Every row of `x`; both slices hold whole rows.
    ///
    /// # Panics
    /// If the slices differ in length or hold no whole rows.
    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let columns = self.columns;
        assert!(x.len() == y.len() && x.len().is_multiple_of(columns), "{} {}", x.len(), y.len());
        pool.split_rows(y, x.len() / columns, columns, |rows, y| {
            let x = &x[rows.start * columns..rows.end * columns];
            scalar::softmax(columns, &self.table, self.y_scale, self.y_zero, x, y);
        });
    }
}
