//! The three transforms, over any registers: weights, inputs, and sums back to outputs.

#![expect(
    clippy::needless_range_loop,
    reason = "adaptors of iterators are not inlined here, see below"
)]

use super::matrices::{input_column, output_column, power, weight_column};
use super::vector::Vector;
use super::{InputTransform, OutputTransform, PAIRS, PATCH, SIDE, WeightTransform, has};

/// Modulo 2³².
const NINTH: i32 = 0x38e3_8e39;

// No closures and no iterators below: they are not inlined into functions with features of their own, and then the
// intrinsics in them are calls.

/// `N` is `product.channels · product.depth`.
///
/// # Safety
/// The pointers are as [`WeightTransform`] documents; see [`Vector`].
#[inline(always)]
pub(crate) unsafe fn weights<V: Vector, const N: usize>(t: &WeightTransform) {
    // SAFETY: `weights_of_pair` asks the same.
    unsafe {
        match t.pair {
            0 => weights_of_pair::<V, N, 0>(t),
            1 => weights_of_pair::<V, N, 1>(t),
            _ => weights_of_pair::<V, N, 2>(t),
        }
    }
}

/// # Safety
/// As [`weights`].
#[inline(always)]
unsafe fn weights_of_pair<V: Vector, const N: usize, const PAIR: usize>(t: &WeightTransform) {
    for step in 0..t.steps {
        for first in (0..N).step_by(V::WORDS) {
            // SAFETY: there are nine taps of `N` weights for each step, and room for `N` at each step of each point.
            unsafe {
                let g = t.g.add(step * 9 * N + first);
                let mut entries = [[V::zero(); 3]; 2];
                for j in 0..3 {
                    let g = g.add(j * N);
                    let (a, b, c) = (g, g.add(3 * N), g.add(6 * N));
                    // Only the entries of these rows are computed.
                    let all = weight_column([V::from_i8(a), V::from_i8(b), V::from_i8(c)]);
                    entries[0][j] = all[PAIRS[PAIR][0]];
                    entries[1][j] = all[PAIRS[PAIR][1]];
                }
                for i in 0..2 {
                    let row = weight_column(entries[i]);
                    for j in 0..PATCH {
                        row[j].store(t.u.add((PATCH * i + j) * t.plane + step * N + first).cast());
                    }
                }
            }
        }
    }
}

/// # Safety
/// The pointers are as [`InputTransform`] documents; see [`Vector`].
#[inline(always)]
pub(crate) unsafe fn input<V: Vector>(t: &InputTransform) {
    // SAFETY: `input_across` asks the same.
    unsafe {
        match t.outputs[0] {
            2 => input_across::<V, 2>(t),
            3 => input_across::<V, 3>(t),
            _ => input_across::<V, 4>(t),
        }
    }
}

/// # Safety
/// As [`input`].
#[inline(always)]
unsafe fn input_across<V: Vector, const DOWN: usize>(t: &InputTransform) {
    // SAFETY: `input_of` asks the same.
    unsafe {
        match t.outputs[1] {
            2 => input_of::<V, DOWN, 2>(t),
            3 => input_of::<V, DOWN, 3>(t),
            _ => input_of::<V, DOWN, 4>(t),
        }
    }
}

/// # Safety
/// As [`input`].
#[inline(always)]
unsafe fn input_of<V: Vector, const DOWN: usize, const ACROSS: usize>(t: &InputTransform) {
    for chunk in 0..t.chunks {
        let first = chunk * V::WORDS;
        // SAFETY: each pixel can be read, and each plane has room, for all chunks.
        unsafe {
            let mut columns = [[V::zero(); PATCH]; PATCH];
            for j in 0..ACROSS + 2 {
                let mut d = [V::zero(); PATCH];
                for i in 0..DOWN + 2 {
                    d[i] = V::from_u8(t.pixels[PATCH * i + j].add(first));
                }
                columns[j] = input_column::<V, DOWN>(d);
            }
            for i in 0..PATCH {
                if !has(DOWN, i) {
                    continue;
                }
                let row = input_column::<V, ACROSS>(across(&columns, i));
                for j in 0..PATCH {
                    if has(ACROSS, j) {
                        row[j].store(t.v.add((PATCH * i + j) * t.plane + first).cast());
                    }
                }
            }
        }
    }
}

/// `N` is `product.channels`.
///
/// # Safety
/// The pointers are as [`OutputTransform`] documents; see [`Vector`].
#[inline(always)]
pub(crate) unsafe fn output<V: Vector, const N: usize>(t: &OutputTransform) {
    // SAFETY: `output_across` asks the same.
    unsafe {
        match t.outputs[0] {
            2 => output_across::<V, N, 2>(t),
            3 => output_across::<V, N, 3>(t),
            _ => output_across::<V, N, 4>(t),
        }
    }
}

/// # Safety
/// As [`output`].
#[inline(always)]
unsafe fn output_across<V: Vector, const N: usize, const DOWN: usize>(t: &OutputTransform) {
    // SAFETY: `output_of` asks the same.
    unsafe {
        match t.outputs[1] {
            2 => output_of::<V, N, DOWN, 2>(t),
            3 => output_of::<V, N, DOWN, 3>(t),
            _ => output_of::<V, N, DOWN, 4>(t),
        }
    }
}

/// # Safety
/// As [`output`].
#[inline(always)]
unsafe fn output_of<V: Vector, const N: usize, const DOWN: usize, const ACROSS: usize>(
    t: &OutputTransform,
) {
    for tile in 0..t.tiles {
        for first in (0..t.channels).step_by(V::WORDS / 2) {
            // SAFETY: each plane has sums for each tile, and each row room for four pixels of each tile.
            unsafe {
                let mut columns = [[V::zero(); SIDE]; PATCH];
                for j in 0..PATCH {
                    if !has(ACROSS, j) {
                        continue;
                    }
                    let mut m = [V::zero(); PATCH];
                    for i in 0..PATCH {
                        if has(DOWN, i) {
                            let at = (PATCH * i + j) * t.plane + tile * t.next + first;
                            m[i] = V::load(t.m.add(at));
                        }
                    }
                    columns[j] = output_column::<V, DOWN>(m);
                }
                for i in 0..DOWN {
                    let row = output_column::<V, ACROSS>(across(&columns, i));
                    for j in 0..ACROSS {
                        let sum = row[j].times32(NINTH);
                        // Known when this is compiled.
                        let sum = match power(DOWN, i) + power(ACROSS, j) {
                            2 => sum.shift_right32::<2>(),
                            3 => sum.shift_right32::<3>(),
                            4 => sum.shift_right32::<4>(),
                            5 => sum.shift_right32::<5>(),
                            _ => sum.shift_right32::<6>(),
                        };
                        sum.store(t.rows[i].add((SIDE * tile + j) * N + first));
                    }
                }
            }
        }
    }
}

/// Row `i` of a matrix of columns.
#[inline(always)]
fn across<V: Copy, const N: usize>(c: &[[V; N]; PATCH], i: usize) -> [V; PATCH] {
    [c[0][i], c[1][i], c[2][i], c[3][i], c[4][i], c[5][i]]
}
