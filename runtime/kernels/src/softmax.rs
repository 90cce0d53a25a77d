//! Softmax along rows: of bytes, and of the sums of a product, which keep all their bits on the way.
//!
//! Sums are of whole numbers and every exponential comes from the function given, so there is nothing that
//! could differ between processors but conversions and divisions, which IEEE 754 fixes.

use crate::arch::generic::rows::{RowKernels, ShareQuant};
use crate::isa::Isa;
use crate::memory::Pool;
use crate::scalar::{Exp, worth};
use crate::spec::{SpecError, ratio, sizes};

/// Shares of bytes.
#[derive(Debug, Clone)]
pub struct Softmax {
    columns: usize,
    /// What a byte so far below the largest is worth.
    table: Box<[u32; 256]>,
    quant: ShareQuant,
    rows: RowKernels,
}

impl Softmax {
    /// Of rows of bytes that are worth `scale` a step. `exp` gives the same bits everywhere.
    pub fn new(
        isa: Isa,
        columns: usize,
        scale: f32,
        exp: Exp,
        y_scale: f32,
        y_zero: u8,
    ) -> Result<Self, SpecError> {
        sizes("softmax", &[columns])?;
        check(scale, y_scale)?;
        Ok(Self {
            columns,
            // One exponential a code and not one a value.
            table: Box::new(std::array::from_fn(|d| worth(d as i32, 0, scale, exp))),
            quant: ShareQuant { scale: y_scale, zero: y_zero },
            rows: isa.row_kernels(),
        })
    }

    /// Every row of `x`.
    ///
    /// # Panics
    /// If the slices differ in length or hold no whole rows.
    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let columns = self.columns;
        assert!(x.len() == y.len() && x.len().is_multiple_of(columns), "{} {}", x.len(), y.len());
        pool.split_rows(y, x.len() / columns, columns, |rows, y| {
            let x = &x[rows.start * columns..rows.end * columns];
            for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
                self.row(x, y);
            }
        });
    }

    fn row(&self, x: &[u8], y: &mut [u8]) {
        let largest = x.iter().fold(0, |largest, q| largest.max(*q));
        let e = |q: &u8| self.table[usize::from(largest - q)];
        let mut numbers = [0; PIECE];
        if x.len() <= PIECE {
            let mut sum = 0;
            for (number, q) in numbers.iter_mut().zip(x) {
                *number = e(q);
                sum += u64::from(*number);
            }
            return self.shares(&numbers[..x.len()], sum, y);
        }
        let sum = x.iter().map(|q| u64::from(e(q))).sum();
        for (x, y) in x.chunks(PIECE).zip(y.chunks_mut(PIECE)) {
            let numbers = &mut numbers[..x.len()];
            numbers.iter_mut().zip(x).for_each(|(number, q)| *number = e(q));
            self.shares(numbers, sum, y);
        }
    }

    fn shares(&self, numbers: &[u32], sum: u64, y: &mut [u8]) {
        // SAFETY: the function came from an `Isa`, which proves the CPU has it, and asks for nothing else.
        unsafe { (self.rows.share)(numbers, sum as f32, self.quant, y) };
    }
}

/// Values that are made together.
const PIECE: usize = 256;

/// Refuses what a softmax cannot divide by.
pub(crate) fn check(scale: f32, y_scale: f32) -> Result<(), SpecError> {
    for (what, scale) in [("scale of the scores", scale), ("scale of the shares", y_scale)] {
        ratio(what, 0, scale)?;
        if scale == 0.0 {
            return Err(SpecError::Zero { what });
        }
    }
    Ok(())
}

/// `round(2^30 · exp(−below · scale))` of whole numbers, to the bit what [`worth`] says and many times as fast.
///
/// With `below = high · 2^shift + low`, the exponential is the product of two from tables. Its relative error is a few
/// units of 2^-53, so where the product is not within 2^-12 of a tie, it rounds as the exponential itself does. The
/// few others are computed.
#[derive(Debug)]
pub(crate) struct Exponentials {
    scale: f32,
    exp: Exp,
    shift: u32,
    /// `exp(−(at << shift) · scale)`, up to where nothing is left but zeros.
    high: Vec<f64>,
    /// `2^30 · exp(−at · scale)`
    low: Vec<f64>,
}

/// Steps from the largest sum to where nothing is left, in tables of a thousand entries; where there are more, each
/// exponential is computed.
const MOST_STEPS: f64 = (1 << 20) as f64;

/// Adding and subtracting 1.5 · 2^52 leaves the nearest integer, ties to even.
const MAGIC: f64 = 6_755_399_441_055_744.0;

impl Exponentials {
    pub(crate) fn new(scale: f32, exp: Exp) -> Self {
        /// `2^30 · exp(−x)` is below a half from here on, and by far.
        const NOTHING_LEFT: f64 = 22.0;
        let needed = (NOTHING_LEFT / f64::from(scale)).ceil() + 1.0;
        if needed > MOST_STEPS {
            return Self { scale, exp, shift: 0, high: Vec::new(), low: Vec::new() };
        }
        let needed = needed as u64;
        let shift = (needed.ilog2() / 2).max(4);
        let of = |at: u64| exp(-(at as f64) * f64::from(scale));
        let high = (0..=needed >> shift).map(|at| of(at << shift)).collect();
        let low = (0..1 << shift).map(|at| of(at) * (1_u64 << 30) as f64).collect();
        Self { scale, exp, shift, high, low }
    }

    /// What each sum is worth beside the largest, and all together.
    pub(crate) fn of_row(&self, sums: &[i32], numbers: &mut [u32]) -> u64 {
        let largest = sums.iter().copied().max().unwrap_or(0);
        let mut total = 0;
        for (number, sum) in numbers.iter_mut().zip(sums) {
            *number = self.of(largest, *sum);
            total += u64::from(*number);
        }
        total
    }

    #[inline(always)]
    fn of(&self, largest: i32, sum: i32) -> u32 {
        if self.low.is_empty() {
            return worth(largest, sum, self.scale, self.exp);
        }
        let below = largest.wrapping_sub(sum) as u32;
        let Some(high) = self.high.get((below >> self.shift) as usize) else { return 0 };
        let e = high * self.low[below as usize & ((1 << self.shift) - 1)];
        let rounded = (e + MAGIC) - MAGIC;
        if (e - rounded).abs() > 0.5 - 1.0 / 4096.0 {
            return worth(largest, sum, self.scale, self.exp);
        }
        rounded as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar;

    #[test]
    fn bytes_and_sums_share_as_the_definition_says() {
        let x = [3, 200, 7, 9, 9, 255, 0, 9];
        let softmax = Softmax::new(Isa::best(), 4, 0.07, f64::exp, 1.0 / 255.0, 3).unwrap();
        let mut found = [0; 8];
        softmax.run(&x, &mut found, &Pool::new(1));
        for (x, found) in x.chunks(4).zip(found.chunks(4)) {
            let sums: Vec<i32> = x.iter().map(|&q| i32::from(q)).collect();
            let mut expected = [0; 4];
            scalar::softmax(&sums, 0.07, f64::exp, 1.0 / 255.0, 3, &mut expected);
            assert_eq!(found, expected);
        }
    }

    /// Every number below the largest up to a hundred thousand, then ever larger ones to the end of 32 bits.
    #[test]
    fn exponentials_by_tables_have_the_bits_of_the_exponential() {
        let mut computed = 0;
        for scale in [1e-9_f32, 1e-6, 3.7e-5, 0.000_3, 0.01, 0.7, 90.0] {
            let tables = Exponentials::new(scale, f64::exp);
            let every = if cfg!(miri) { 997 } else { 1 };
            let small = (0..100_000_u32).step_by(every);
            let large = (0..20_000_u32).map(|at| 100_000 + at * (u32::MAX / 20_001));
            for below in small.chain(large) {
                let sum = i32::MAX.wrapping_sub(below as i32);
                let expected = worth(i32::MAX, sum, scale, f64::exp);
                assert_eq!(tables.of(i32::MAX, sum), expected, "{below} · {scale}");
                computed += u32::from(expected > 0);
            }
        }
        assert!(computed > 100, "{computed}");
    }
}
