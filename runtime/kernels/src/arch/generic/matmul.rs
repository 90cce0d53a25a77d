//! A row of a product of two activations, in plain Rust: compiled once per vector width.

use crate::scalar::requantize;
use crate::spec::MatMulSpec;

/// One row of the result.
pub(crate) struct MatMulRow<'a> {
    pub(crate) spec: MatMulSpec,
    pub(crate) ratio: f32,
    pub(crate) zeros: [u8; 3],
    /// `[depth]`
    pub(crate) a: &'a [u8],
    /// `[columns, depth]`, or `[depth, columns]`
    pub(crate) b: &'a [u8],
    pub(crate) to: RowOutput<'a>,
}

/// Where a row goes, `[columns]`.
pub(crate) enum RowOutput<'a> {
    Bytes(&'a mut [u8]),
    /// `i32` of the machine.
    Sums(&'a mut [[u8; 4]]),
}

/// For any CPU.
pub(crate) fn row(row: &mut MatMulRow<'_>) {
    row.compute();
}

/// Columns whose sums are kept in registers.
const BLOCK: usize = 64;

impl MatMulRow<'_> {
    #[inline(always)]
    pub(crate) fn compute(&mut self) {
        let Self { spec, ratio, zeros, a, b, to } = self;
        let [a_zero, b_zero, y_zero] = *zeros;
        match to {
            RowOutput::Bytes(y) => sums(spec, [a_zero, b_zero], a, b, |column, sum| {
                y[column] = requantize(sum as f32 * *ratio, y_zero, 0, 255);
            }),
            RowOutput::Sums(y) => sums(spec, [a_zero, b_zero], a, b, |column, sum| {
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
