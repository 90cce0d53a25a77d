//! Matrices as the micro-kernel reads them: centred, 16 bits, depth padded by zeros.

use std::ops::Range;

use super::{MatMulSpec, MatrixPlace};
use crate::gemm::tile::MicroKernel;

/// Rows of the left matrix, `[row][depth]`.
pub(super) fn left(
    spec: &MatMulSpec,
    zero: u8,
    a: &[u8],
    batch: [usize; 2],
    rows: Range<usize>,
    depth: usize,
    to: &mut [i16],
) {
    for (row, to) in rows.zip(to.chunks_exact_mut(depth)) {
        let (to, padding) = to.split_at_mut(spec.depth);
        padding.fill(0);
        let a = &a[spec.a.at(batch, row, 0)..];
        if spec.a.column == 1 {
            to.iter_mut().zip(a).for_each(|(to, a)| *to = centred(*a, zero));
        } else {
            let a = a.iter().step_by(spec.a.column.max(1));
            to.iter_mut().zip(a).for_each(|(to, a)| *to = centred(*a, zero));
        }
    }
}

/// Columns of the right matrix, `[block][step][lane][kernel.depth]`.
pub(super) fn right(
    spec: &MatMulSpec,
    zero: u8,
    b: &[u8],
    batch: [usize; 2],
    kernel: &MicroKernel,
    depth: usize,
    to: &mut [i16],
) {
    let (lanes, pair) = (kernel.channels, kernel.depth);
    for (block, to) in to.chunks_exact_mut(lanes * depth).enumerate() {
        let first = block * lanes;
        let columns = (spec.columns - first).min(lanes);
        if columns < lanes || spec.depth < depth {
            to.fill(0);
        }
        let MatrixPlace { row, column, .. } = spec.b;
        let b = &b[spec.b.at(batch, 0, first)..];
        if row == 1 {
            for lane in 0..columns {
                let b = &b[lane * column..][..spec.depth];
                let to = &mut to[lane * pair..];
                for (to, b) in to.chunks_mut(lanes * pair).zip(b.chunks(pair)) {
                    to.iter_mut().zip(b).for_each(|(to, b)| *to = centred(*b, zero));
                }
            }
            continue;
        }
        for k in 0..spec.depth {
            let to = &mut to[k / pair * lanes * pair + k % pair..];
            let b = b[k * row..].iter().step_by(column.max(1)).take(columns);
            to.iter_mut().step_by(pair).zip(b).for_each(|(to, b)| *to = centred(*b, zero));
        }
    }
}

fn centred(q: u8, zero: u8) -> i16 {
    i16::from(q) - i16::from(zero)
}
