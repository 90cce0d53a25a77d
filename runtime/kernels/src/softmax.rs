//! Softmax along rows: of bytes, and of the sums of a product, which keep all their bits on the way.
//!
//! Sums are of whole numbers and every exponential comes from the function given, so there is nothing that
//! could differ between processors but conversions and divisions, which IEEE 754 fixes.

use crate::matmul::MatMul;
use crate::memory::Pool;
use crate::memory::Scratch;
use crate::scalar::{Exp, requantize, worth};
use crate::spec::{SpecError, ratio, sizes};

/// Shares of bytes or sums.
#[derive(Debug, Clone)]
pub struct Softmax {
    columns: usize,
    scale: f32,
    exp: Exp,
    y_scale: f32,
    y_zero: u8,
    /// Of the sums, if what is shared is a product.
    product: Option<MatMul>,
}

impl Softmax {
    /// Of rows of bytes that are worth `scale` a step, or with `product` of the rows of `a · b` that are
    /// worth `scale = s_a · s_b` each (its own ratio and last zero point do not matter). `exp` gives the same
    /// bits everywhere.
    pub fn new(
        columns: usize,
        scale: f32,
        exp: Exp,
        y_scale: f32,
        y_zero: u8,
        product: Option<MatMul>,
    ) -> Result<Self, SpecError> {
        sizes("softmax", &[columns])?;
        for (what, scale) in [("scale of the scores", scale), ("scale of the shares", y_scale)] {
            ratio(what, 0, scale)?;
            if scale == 0.0 {
                return Err(SpecError::Zero { what });
            }
        }
        if let Some(found) = product.as_ref().map(MatMul::columns).filter(|found| *found != columns)
        {
            return Err(SpecError::Length { what: "columns", found, expected: columns });
        }
        Ok(Self { columns, scale, exp, y_scale, y_zero, product })
    }

    /// Bytes that [`Self::run_product`] works in.
    pub fn scratch_bytes(&self) -> usize {
        self.product.as_ref().map_or(0, |product| product.len() * size_of::<i32>())
    }

    /// Every row of `x`.
    ///
    /// # Panics
    /// If the slices differ in length or hold no whole rows.
    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let columns = self.columns;
        assert!(x.len() == y.len() && x.len().is_multiple_of(columns), "{} {}", x.len(), y.len());
        // One exponential a code and not one a value.
        let table: [u32; 256] = std::array::from_fn(|d| worth(d as i32, 0, self.scale, self.exp));
        pool.split_rows(y, x.len() / columns, columns, |rows, y| {
            let x = &x[rows.start * columns..rows.end * columns];
            for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
                let largest = x.iter().fold(0, |largest, q| largest.max(*q));
                let e = |q: &u8| table[usize::from(largest - q)];
                let sum: u64 = x.iter().map(|q| u64::from(e(q))).sum();
                y.iter_mut().zip(x).for_each(|(y, q)| *y = self.share(e(q), sum));
            }
        });
    }

    /// Every row of `a · b`.
    ///
    /// # Panics
    /// If there is no product, or a slice is shorter than its matrix or [`Self::scratch_bytes`].
    pub fn run_product(
        &self,
        a: &[u8],
        b: &[u8],
        y: &mut [u8],
        pool: &Pool,
        scratch: &mut Scratch,
    ) {
        let product = self.product.as_ref().expect("`new` was given a product");
        let (sums, _) = scratch.bytes(self.scratch_bytes()).as_chunks_mut::<4>();
        product.sums(a, b, sums, pool);
        for (sums, y) in sums.chunks_exact_mut(self.columns).zip(y.chunks_exact_mut(self.columns)) {
            let of = |sum: &[u8; 4]| i32::from_ne_bytes(*sum);
            let largest = sums.iter().map(of).max().expect("rows have columns");
            let mut all = 0;
            for sum in sums.iter_mut() {
                let e = worth(largest, of(sum), self.scale, self.exp);
                all += u64::from(e);
                *sum = e.to_ne_bytes();
            }
            for (y, e) in y.iter_mut().zip(sums) {
                *y = self.share(u32::from_ne_bytes(*e), all);
            }
        }
    }

    fn share(&self, e: u32, sum: u64) -> u8 {
        requantize(e as f32 / sum as f32 / self.y_scale, self.y_zero, 0, 255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar;

    #[test]
    fn bytes_and_sums_share_as_the_definition_says() {
        let x = [3, 200, 7, 9, 9, 255, 0, 9];
        let softmax = Softmax::new(4, 0.07, f64::exp, 1.0 / 255.0, 3, None).unwrap();
        let mut found = [0; 8];
        softmax.run(&x, &mut found, &Pool::new(1));
        for (x, found) in x.chunks(4).zip(found.chunks(4)) {
            let sums: Vec<i32> = x.iter().map(|&q| i32::from(q)).collect();
            let mut expected = [0; 4];
            scalar::softmax(&sums, 0.07, f64::exp, 1.0 / 255.0, 3, &mut expected);
            assert_eq!(found, expected);
        }
    }
}
