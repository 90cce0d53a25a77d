//! Matrices as the micro-kernel reads them: centred, 16 bits, depth padded by zeros.

use std::ops::Range;

use crate::gemm::tile::MicroKernel;
use crate::matrices::{MatMulSpec, MatrixPlace};

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
        match (row, column, pair) {
            (1, _, 2) => columns_in_pairs(b, column.max(1), zero, columns, lanes, spec.depth, to),
            (_, 1, 2) => rows_in_pairs(b, row, zero, columns, lanes, spec.depth, to),
            _ => {
                for k in 0..spec.depth {
                    let to = &mut to[k / pair * lanes * pair + k % pair..];
                    let b = b[k * row..].iter().step_by(column.max(1)).take(columns);
                    to.iter_mut().step_by(pair).zip(b).for_each(|(to, b)| *to = centred(*b, zero));
                }
            }
        }
    }
}

/// Columns whose values lie together, by pairs.
fn columns_in_pairs(
    b: &[u8],
    column: usize,
    zero: u8,
    columns: usize,
    lanes: usize,
    depth: usize,
    to: &mut [i16],
) {
    let (pairs, _) = to.as_chunks_mut::<2>();
    for lane in 0..columns {
        let (eights, rest) = b[lane * column..][..depth].as_chunks::<8>();
        for (at, eight) in eights.iter().enumerate() {
            let eight = eight.map(|b| centred(b, zero));
            let to = &mut pairs[4 * at * lanes + lane..];
            for (pair, to) in eight.as_chunks::<2>().0.iter().zip(to.iter_mut().step_by(lanes)) {
                *to = *pair;
            }
        }
        for (at, pair) in rest.chunks(2).enumerate() {
            let second = pair.get(1).map_or(0, |b| centred(*b, zero));
            pairs[(4 * eights.len() + at) * lanes + lane] = [centred(pair[0], zero), second];
        }
    }
}

/// Rows whose values lie together, two by two.
fn rows_in_pairs(
    b: &[u8],
    row: usize,
    zero: u8,
    columns: usize,
    lanes: usize,
    depth: usize,
    to: &mut [i16],
) {
    let (pairs, _) = to.as_chunks_mut::<2>();
    for (step, to) in pairs.chunks_exact_mut(lanes).take(depth.div_ceil(2)).enumerate() {
        let first = &b[2 * step * row..][..columns];
        if 2 * step + 1 == depth {
            to.iter_mut().zip(first).for_each(|(to, a)| *to = [centred(*a, zero), 0]);
            continue;
        }
        let second = &b[(2 * step + 1) * row..][..columns];
        for ((to, a), b) in to.iter_mut().zip(first).zip(second) {
            *to = [centred(*a, zero), centred(*b, zero)];
        }
    }
}

fn centred(q: u8, zero: u8) -> i16 {
    i16::from(q) - i16::from(zero)
}
