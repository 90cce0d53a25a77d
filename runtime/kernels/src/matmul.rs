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
    to: To<'a>,
}

/// Where a row goes, `[columns]`.
enum To<'a> {
    Bytes(&'a mut [u8]),
    /// `i32` of the machine.
    Sums(&'a mut [[u8; 4]]),
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

    pub(crate) fn columns(&self) -> usize {
        self.spec.columns
    }

    /// Values of the result.
    pub(crate) fn len(&self) -> usize {
        self.spec.rows * self.spec.columns
    }

    /// Rows are split over the threads.
    ///
    /// # Panics
    /// If a slice is shorter than its matrix.
    pub fn run(&self, a: &[u8], b: &[u8], y: &mut [u8], pool: &Pool) {
        let MatMulSpec { rows, columns, .. } = self.spec;
        pool.split_rows(&mut y[..rows * columns], rows, columns, |part, y| {
            for (row, y) in part.zip(y.chunks_exact_mut(columns)) {
                self.row(row, a, b, To::Bytes(y));
            }
        });
    }

    /// As [`Self::run`] without requantization.
    pub(crate) fn sums(&self, a: &[u8], b: &[u8], sums: &mut [[u8; 4]], pool: &Pool) {
        let MatMulSpec { rows, columns, .. } = self.spec;
        pool.split_rows(&mut sums[..rows * columns], rows, columns, |part, sums| {
            for (row, sums) in part.zip(sums.chunks_exact_mut(columns)) {
                self.row(row, a, b, To::Sums(sums));
            }
        });
    }

    fn row(&self, row: usize, a: &[u8], b: &[u8], to: To<'_>) {
        let MatMulSpec { depth, columns, .. } = self.spec;
        let (a, b) = (&a[row * depth..(row + 1) * depth], &b[..depth * columns]);
        let (spec, ratio, zeros) = (self.spec, self.ratio, self.zeros);
        let mut row = Row { spec, ratio, zeros, a, b, to };
        // SAFETY: the function came from an `Isa`, which proves the CPU has it; it has no other demand.
        unsafe { (self.row)(&mut row) }
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
        let Self { spec, ratio, zeros, a, b, to } = self;
        let [a_zero, b_zero, y_zero] = *zeros;
        match to {
            To::Bytes(y) => sums(spec, [a_zero, b_zero], a, b, |column, sum| {
                y[column] = requantize(sum as f32 * *ratio, y_zero, 0, 255);
            }),
            To::Sums(y) => sums(spec, [a_zero, b_zero], a, b, |column, sum| {
                y[column] = sum.to_ne_bytes();
            }),
        }
    }
}

/// `put(column, sum)` for every column of a row.
#[inline(always)]
fn sums(
    spec: &MatMulSpec,
    [a_zero, b_zero]: [u8; 2],
    a: &[u8],
    b: &[u8],
    mut put: impl FnMut(usize, i32),
) {
    let centred = |q: u8, zero: u8| i16::from(q) - i16::from(zero);
    if spec.columns_in_rows {
        // Each sum is one of products along two pieces of memory.
        for (column, b) in b.chunks_exact(spec.depth).enumerate() {
            let products = a
                .iter()
                .zip(b)
                .map(|(a, b)| i32::from(centred(*a, a_zero)) * i32::from(centred(*b, b_zero)));
            put(column, products.sum());
        }
        return;
    }
    // Sums of neighbouring columns grow together, one row of `b` after the other.
    for first in (0..spec.columns).step_by(BLOCK) {
        let count = BLOCK.min(spec.columns - first);
        let mut sums = [0_i32; BLOCK];
        for (a, b) in a.iter().zip(b.chunks_exact(spec.columns)) {
            let a = i32::from(centred(*a, a_zero));
            for (sum, b) in sums.iter_mut().zip(&b[first..first + count]) {
                *sum += a * i32::from(centred(*b, b_zero));
            }
        }
        sums[..count].iter().enumerate().for_each(|(at, sum)| put(first + at, *sum));
    }
}
