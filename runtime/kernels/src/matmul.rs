//! Products of two activations: questions by tokens, shares by tokens.
//!
//! One body in plain Rust (`arch/generic/matmul.rs`), compiled once per vector width. Both operands are bytes
//! with zero points, so they become `i16` and are multiplied as such: exact in any order. The matrices of an
//! attention pool take less time than its weights take to be read; what a transformer needs has room for
//! more.

use std::fmt;

use crate::arch::generic::matmul::{MatMulRow, RowOutput};
use crate::isa::Isa;
use crate::memory::Pool;
use crate::spec::{MatMulSpec, SpecError, ratio};

/// `y = rte(Σ (a − a_zero)·(b − b_zero) · ratio) + y_zero`; see [`crate::scalar::matmul`].
#[derive(Clone)]
pub struct MatMul {
    spec: MatMulSpec,
    ratio: f32,
    zeros: [u8; 3],
    row: unsafe fn(&mut MatMulRow<'_>),
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
        Ok(Self { spec, ratio: product_ratio, zeros, row: isa.matmul_row() })
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
                self.row(row, a, b, RowOutput::Bytes(y));
            }
        });
    }

    /// As [`Self::run`] without requantization.
    pub(crate) fn sums(&self, a: &[u8], b: &[u8], sums: &mut [[u8; 4]], pool: &Pool) {
        let MatMulSpec { rows, columns, .. } = self.spec;
        pool.split_rows(&mut sums[..rows * columns], rows, columns, |part, sums| {
            for (row, sums) in part.zip(sums.chunks_exact_mut(columns)) {
                self.row(row, a, b, RowOutput::Sums(sums));
            }
        });
    }

    fn row(&self, row: usize, a: &[u8], b: &[u8], to: RowOutput<'_>) {
        let MatMulSpec { depth, columns, .. } = self.spec;
        let (a, b) = (&a[row * depth..(row + 1) * depth], &b[..depth * columns]);
        let (spec, ratio, zeros) = (self.spec, self.ratio, self.zeros);
        let mut row = MatMulRow { spec, ratio, zeros, a, b, to };
        // SAFETY: the function came from an `Isa`, which proves the CPU has it, and asks for nothing else.
        unsafe { (self.row)(&mut row) }
    }
}

impl fmt::Debug for MatMul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MatMul").field(&self.spec).finish()
    }
}
