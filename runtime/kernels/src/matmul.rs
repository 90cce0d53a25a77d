//! Products of two activations: questions by tokens, shares by tokens.
//!
//! One body in plain Rust, compiled once per vector width. Both operands are bytes with zero points, so they become `i16` and
//! are multiplied as such: exact in any order. The matrices of an attention pool take less time than its weights take to
//! be read; what a transformer needs has room for more.

use std::fmt;

use crate::isa::Isa;
use crate::pool::Pool;
use crate::scalar::requantize;
use crate::spec::{MatMulSpec, SpecError, ratio};

/// `y = rte(Σ (a − a_zero)·(b − b_zero) · ratio) + y_zero`; see [`crate::scalar::matmul`].
#[derive(Clone)]
pub struct MatMul {
    spec: MatMulSpec,
    ratio: f32,
    zeros: [u8; 3],
    row: unsafe fn(&mut Row<'_>),
}

/// One row of the result.
pub(crate) struct Row<'a> {
    spec: MatMulSpec,
    ratio: f32,
    zeros: [u8; 3],
    /// `[depth]`
    a: &'a [u8],
    /// `[columns, depth]`, or `[depth, columns]`
    b: &'a [u8],
    /// `[columns]`
    y: &'a mut [u8],
}

impl MatMul {
    /// `ratio = s_a · s_b / s_y`; zero points of `a`, `b` and `y`.
    pub fn new(
        isa: Isa,
        spec: MatMulSpec,
        product_ratio: f32,
        zeros: [u8; 3],
    ) -> Result<Self, SpecError> {
        spec.check()?;
        ratio("scale of the product", 0, product_ratio)?;
        Ok(Self { spec, ratio: product_ratio, zeros, row: isa.row() })
    }

    /// Rows are split over the threads.
    ///
    /// # Panics
    /// If a slice is shorter than its matrix.
    pub fn run(&self, a: &[u8], b: &[u8], y: &mut [u8], pool: &Pool) {
        let MatMulSpec { rows, depth, columns, .. } = self.spec;
        let (a, b) = (&a[..rows * depth], &b[..depth * columns]);
        pool.split_rows(&mut y[..rows * columns], rows, columns, |part, y| {
            for (row, y) in part.zip(y.chunks_exact_mut(columns)) {
                let a = &a[row * depth..(row + 1) * depth];
                let (spec, ratio, zeros) = (self.spec, self.ratio, self.zeros);
                let mut row = Row { spec, ratio, zeros, a, b, y };
                // SAFETY: the function came from an `Isa`, which proves the CPU has it; it has no other demand.
                unsafe { (self.row)(&mut row) }
            }
        });
    }
}

impl fmt::Debug for MatMul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MatMul").field(&self.spec).finish()
    }
}

/// For any CPU.
pub(crate) fn portable(row: &mut Row<'_>) {
    row.compute();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
pub(crate) fn avx2(row: &mut Row<'_>) {
    row.compute();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) fn avx512(row: &mut Row<'_>) {
    row.compute();
}

/// Columns whose sums are kept in registers.
const BLOCK: usize = 64;

impl Row<'_> {
    #[inline(always)]
    fn compute(&mut self) {
        if self.spec.columns_in_rows { self.of_rows() } else { self.of_columns() }
    }

    /// Each sum is one of products along two pieces of memory.
    #[inline(always)]
    fn of_rows(&mut self) {
        let [a_zero, b_zero, y_zero] = self.zeros;
        for (y, b) in self.y.iter_mut().zip(self.b.chunks_exact(self.spec.depth)) {
            let products = self.a.iter().zip(b).map(|(a, b)| {
                i32::from(i16::from(*a) - i16::from(a_zero))
                    * i32::from(i16::from(*b) - i16::from(b_zero))
            });
            *y = requantize(products.sum::<i32>() as f32 * self.ratio, y_zero, 0, 255);
        }
    }

    /// Sums of neighbouring columns grow together, one row of `b` after the other.
    #[inline(always)]
    fn of_columns(&mut self) {
        let [a_zero, b_zero, y_zero] = self.zeros;
        let columns = self.spec.columns;
        for (block, y) in self.y.chunks_mut(BLOCK).enumerate() {
            let mut sums = [0_i32; BLOCK];
            let b_rows = self.b.chunks_exact(columns);
            for (a, b) in self.a.iter().zip(b_rows) {
                let a = i16::from(*a) - i16::from(a_zero);
                let b = &b[block * BLOCK..][..y.len()];
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum += i32::from(a) * i32::from(i16::from(*b) - i16::from(b_zero));
                }
            }
            for (y, sum) in y.iter_mut().zip(sums) {
                *y = requantize(sum as f32 * self.ratio, y_zero, 0, 255);
            }
        }
    }
}
