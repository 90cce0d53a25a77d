//! The input as the taps want it.

use super::{COLUMN, ImplicitGemm, InputLayout};
use crate::gemm::interleave::{LEN, interleave};
use crate::gemm::packed::PackedConv;
use crate::memory::Pool;

impl ImplicitGemm {
    /// Fills the copy. What lies behind its last row does not matter.
    pub(crate) fn copy_input(&self, conv: &PackedConv, x: &[u8], copy: &mut [u8], pool: &Pool) {
        match &self.input {
            InputLayout::Direct => {}
            InputLayout::Planes { starts, size: [height, width] } => {
                let (rows, pitch) = (starts.len() * height, width * conv.spec.in_channels);
                pool.split_rows(&mut copy[..rows * pitch], rows, pitch, |rows, copy| {
                    for (copy, row) in copy.chunks_exact_mut(pitch).zip(rows) {
                        plane_row(conv, x, starts[row / height], row % height, copy);
                    }
                });
            }
            InputLayout::Columns { width } => {
                let (rows, pitch) = (conv.spec.out_h(), width * COLUMN);
                pool.split_rows(&mut copy[..rows * pitch], rows, pitch, |rows, copy| {
                    for (copy, row) in copy.chunks_exact_mut(pitch).zip(rows) {
                        columns(conv, x, row, copy);
                    }
                });
            }
        }
    }
}

/// The pixels of one row of the input, if it has it.
fn input_row<'a>(conv: &PackedConv, x: &'a [u8], row: usize) -> Option<&'a [u8]> {
    let row = row.checked_sub(conv.spec.padding[0]).filter(|row| *row < conv.spec.in_h)?;
    Some(&x[row * conv.spec.in_w * conv.spec.in_stride..])
}

/// Row `row` of the plane that begins at `start`.
fn plane_row(conv: &PackedConv, x: &[u8], start: [usize; 2], row: usize, copy: &mut [u8]) {
    let spec = &conv.spec;
    let (channels, right, left) = (spec.in_channels, spec.stride[1], spec.padding[1]);
    let Some(x) = input_row(conv, x, row * spec.stride[0] + start[0]) else {
        return copy.fill(conv.x_zero);
    };
    // Pixels of the plane that lie on the input: from the first at or behind its left edge to the last before
    // its right.
    let width = copy.len() / channels;
    let before = left.saturating_sub(start[1]).div_ceil(right).min(width);
    let inside = (left + spec.in_w).saturating_sub(start[1]).div_ceil(right).min(width).max(before);
    copy[..before * channels].fill(conv.x_zero);
    copy[inside * channels..].fill(conv.x_zero);
    let copy = &mut copy[before * channels..inside * channels];
    if copy.is_empty() {
        return;
    }
    let x = &x[(before * right + start[1] - left) * spec.in_stride..];
    let step = right * spec.in_stride;
    if step == channels {
        return copy.copy_from_slice(&x[..copy.len()]);
    }
    for (copy, x) in copy.chunks_exact_mut(channels).zip(x.chunks(step)) {
        copy.copy_from_slice(&x[..channels]);
    }
}

/// The columns for row `row` of the outputs.
fn columns(conv: &PackedConv, x: &[u8], row: usize, copy: &mut [u8]) {
    let spec = &conv.spec;
    let (left, width) = (spec.padding[1], copy.len() / COLUMN);
    let inside = left.min(width)..(left + spec.in_w).min(width);
    copy[..inside.start * COLUMN].fill(conv.x_zero);
    copy[inside.end * COLUMN..].fill(conv.x_zero);
    let copy = &mut copy[inside.start * COLUMN..inside.end * COLUMN];
    let first = row * spec.stride[0];
    let rows: [Option<&[u8]>; COLUMN] = std::array::from_fn(|y| input_row(conv, x, first + y));
    if spec.in_stride != 1 {
        return one_by_one(conv, &rows, 0, copy);
    }
    let (whole, rest) = copy.as_chunks_mut::<{ COLUMN * TURNED }>();
    let turned = whole.len() * TURNED;
    for (at, copy) in whole.iter_mut().enumerate() {
        let side_by_side = rows.map(|row| match row {
            Some(row) => row[at * TURNED..][..TURNED].try_into().expect("so many bytes"),
            None => [conv.x_zero; TURNED],
        });
        copy.copy_from_slice(turn(side_by_side).as_flattened());
    }
    one_by_one(conv, &rows, turned, rest);
}

/// Columns from the input's column `first` on.
fn one_by_one(conv: &PackedConv, rows: &[Option<&[u8]>; COLUMN], first: usize, copy: &mut [u8]) {
    for (at, column) in copy.chunks_exact_mut(COLUMN).enumerate() {
        for (to, row) in column.iter_mut().zip(rows) {
            *to = row.map_or(conv.x_zero, |row| row[(first + at) * conv.spec.in_stride]);
        }
    }
}

/// Columns that are turned together.
const TURNED: usize = LEN;

/// Rows side by side → their columns, one behind the other: three times, the first half of the rows is interleaved
/// with the second.
fn turn(mut rows: [[u8; TURNED]; COLUMN]) -> [[u8; TURNED]; COLUMN] {
    for _ in 0..COLUMN.ilog2() {
        let mut pairs = [[0; TURNED]; COLUMN];
        for i in 0..COLUMN / 2 {
            [pairs[2 * i], pairs[2 * i + 1]] = interleave(rows[i], rows[i + COLUMN / 2]);
        }
        rows = pairs;
    }
    rows
}
