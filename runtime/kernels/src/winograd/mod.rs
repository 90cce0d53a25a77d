//! Winograd's F(4x4, 3x3) in integers, to the same bits as the plain convolution: the transforms around its 36 products.
//!
//! ```text
//! 6x6 inputs d ──▶ V = Bᵀ d B        36 numbers                                      |V| ≤ 22,950
//! 3x3 weights g ─▶ U = S G g (S G)ᵀ  36 numbers, S = diag(4, −6, −6, 24, 24, 1)      |U| ≤ 6,223
//! M[ξ] = Σ over channels V[ξ]·U[ξ]                                                   modulo 2³²
//! 4x4 outputs  ──▶ Aᵀ (24/S) M (24/S) A = 576 · (the convolution's sums)             modulo 2³²
//! ```
//!
//! 36 multiplications replace 144. Engines that round the transforms lose accuracy here; nothing is rounded in this one.
//! `S` clears the fractions of Winograd's `G` row by row, so that `V` and `U` are whole and fit 16 bits. Sums may overflow:
//! arithmetic modulo 2³² does not mind. At the end 576 = 9 · 2⁶ has to be divided out: 9 is odd and has an inverse modulo
//! 2³², and the factor of two left over (up to 64) goes by a shift, which is exact if 64 times the sum fits 32 bits.
//! `conv/winograd/mod.rs` asks that of the weights before it chooses this form.
//!
//! Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016, §4.3, for the matrices.

#![expect(
    clippy::needless_range_loop,
    reason = "adaptors of iterators are not inlined here, see below"
)]

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_rows;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

mod columns;
mod rows;

pub(crate) use rows::{GROUP, Group, LEFT, Row, Rows, SHAPES};

use crate::tile::{Kernel, Tile};
use columns::{input_column, output_column, power, weight_column};

/// Outputs of a tile, in each direction.
pub(crate) const SIDE: usize = 4;
/// Inputs of a tile, in each direction.
pub(crate) const PATCH: usize = 6;
/// Products of one tile.
pub(crate) const POINTS: usize = PATCH * PATCH;
/// The point where a constant `c` added to all inputs adds `36c` (the others' rows of B sum to zero), and whose product adds a
/// 36th of itself to all outputs: what the zero point and the bias fold into.
pub(crate) const CENTRE: usize = PATCH + 1;
/// What a bias is multiplied by at [`CENTRE`].
pub(crate) const CENTRE_FACTOR: i32 = 36;
/// The least outputs of a tile in a direction. Tiles of two or three outputs are those of F(2, 3) and F(3, 3), with factors
/// that let them use the weights of F(4, 3), and the same fold of zero point and bias.
pub(crate) const LEAST: usize = 2;
/// What is left of 576 when 9 is divided out.
pub(crate) const POWER_OF_TWO: i64 = 64;
/// Modulo 2³².
const NINTH: i32 = 0x38e3_8e39;

/// Winograd's convolution with one instruction set.
#[derive(Debug)]
pub(crate) struct Winograd {
    /// Multiplies 16-bit numbers.
    pub(crate) product: &'static Kernel,
    /// How many times as fast the set multiplies bytes in the plain convolution.
    pub(crate) plain: usize,
    /// Channels that `input` transforms at a time.
    pub(crate) chunk: usize,
    pub(crate) weights: unsafe fn(&Weights),
    /// Where products are faster that transform the weights themselves.
    pub(crate) rows: Option<&'static Rows>,
    pub(crate) input: unsafe fn(&Input),
    pub(crate) output: unsafe fn(&Sums),
    /// Writes `[pixel][product.channels]` sums as the tile's output asks; rows and weights of the tile are not used.
    ///
    /// # Safety
    /// The CPU has the instruction set; the pointers of the tile are as documented there; there are sums for its pixels,
    /// rounded up to an even number, aligned to 64 bytes.
    pub(crate) finish: unsafe fn(&Tile<'_>, *const i32),
}

/// Rows of points that are computed together, as they have most in common.
pub(crate) const PAIRS: [[usize; 2]; 3] = [[0, 5], [1, 2], [3, 4]];

/// Whether a tile of so many outputs has a point, in a direction.
pub(crate) const fn has(outputs: usize, point: usize) -> bool {
    match outputs {
        2 => point != 3 && point != 4,
        3 => point != 4,
        _ => true,
    }
}

/// A block of 3x3 weights to transform, two rows of points at a time: twelve of the 36 stay near until they are used.
#[derive(Debug)]
pub(crate) struct Weights {
    /// `[step][tap][product.channels][product.depth]`, as small as the network has them: transformed again at each run,
    /// they cost less than what they would grow to costs to fetch.
    pub(crate) g: *const i8,
    pub(crate) steps: usize,
    /// Which of [`PAIRS`].
    pub(crate) pair: usize,
    /// Where the first row's first point goes, `[step][product.channels][product.depth]`, and entries from there to the
    /// next, also from the first row's last point to the second row's first.
    pub(crate) u: *mut i16,
    pub(crate) plane: usize,
}

/// The pixels of a tile to transform.
#[derive(Debug)]
pub(crate) struct Input {
    /// Row by row; each can be read for `chunks` chunks.
    pub(crate) pixels: [*const u8; POINTS],
    /// Outputs of the tile, `[down, across]`: points that it does not have are not written.
    pub(crate) outputs: [usize; 2],
    pub(crate) chunks: usize,
    /// Where `V[0]` goes, and entries from there to `V[1]` and so on; all chunks of each are written.
    pub(crate) v: *mut i16,
    pub(crate) plane: usize,
}

/// Sums of neighbouring tiles to turn into four rows of outputs.
#[derive(Debug)]
pub(crate) struct Sums {
    /// `M[0]` of the first tile, entries from there to `M[1]` and so on, and to the next tile's.
    pub(crate) m: *const i32,
    pub(crate) plane: usize,
    pub(crate) next: usize,
    pub(crate) tiles: usize,
    /// Outputs of each tile, `[down, across]`: no others are written.
    pub(crate) outputs: [usize; 2],
    /// Channels that are wanted, at most `product.channels`.
    pub(crate) channels: usize,
    /// Writable `[4 · tiles][product.channels]`: the sums of each row of outputs.
    pub(crate) rows: [*mut i32; SIDE],
}

/// A register of 16-bit or 32-bit numbers; arithmetic wraps.
///
/// # Safety
/// Of all functions: the CPU has the implementing set's instructions, and the pointer can be read or written for a register.
pub(crate) trait Vector: Copy {
    /// 16-bit numbers in a register.
    const WORDS: usize;
    unsafe fn zero() -> Self;
    /// Bytes to 16 bits: half a register's worth is read.
    unsafe fn from_u8(from: *const u8) -> Self;
    unsafe fn from_i8(from: *const i8) -> Self;
    unsafe fn load(from: *const i32) -> Self;
    unsafe fn store(self, to: *mut i32);
    unsafe fn add16(self, other: Self) -> Self;
    unsafe fn sub16(self, other: Self) -> Self;
    unsafe fn double16(self) -> Self;
    unsafe fn quadruple16(self) -> Self;
    unsafe fn add32(self, other: Self) -> Self;
    unsafe fn sub32(self, other: Self) -> Self;
    unsafe fn double32(self) -> Self;
    unsafe fn times32(self, factor: i32) -> Self;
    /// Arithmetic shift.
    unsafe fn shift_right32<const BITS: i32>(self) -> Self;
}

// No closures and no iterators below: they are not inlined into functions with features of their own, and then the
// intrinsics in them are calls.

/// `N` is `product.channels · product.depth`.
///
/// # Safety
/// The pointers are as [`Weights`] documents; see [`Vector`].
#[inline(always)]
pub(crate) unsafe fn weights<V: Vector, const N: usize>(t: &Weights) {
    // SAFETY: as this function demands.
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
unsafe fn weights_of_pair<V: Vector, const N: usize, const PAIR: usize>(t: &Weights) {
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
/// The pointers are as [`Input`] documents; see [`Vector`].
#[inline(always)]
pub(crate) unsafe fn input<V: Vector>(t: &Input) {
    // SAFETY: as this function demands.
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
unsafe fn input_across<V: Vector, const DOWN: usize>(t: &Input) {
    // SAFETY: as this function demands.
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
unsafe fn input_of<V: Vector, const DOWN: usize, const ACROSS: usize>(t: &Input) {
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
/// The pointers are as [`Sums`] documents; see [`Vector`].
#[inline(always)]
pub(crate) unsafe fn output<V: Vector, const N: usize>(t: &Sums) {
    // SAFETY: as this function demands.
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
unsafe fn output_across<V: Vector, const N: usize, const DOWN: usize>(t: &Sums) {
    // SAFETY: as this function demands.
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
unsafe fn output_of<V: Vector, const N: usize, const DOWN: usize, const ACROSS: usize>(t: &Sums) {
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
                        let power = power(DOWN, i) + power(ACROSS, j);
                        let sum = shifted(row[j].times32(NINTH), power);
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

/// `bits` is known when this is compiled into the loops above.
///
/// # Safety
/// See [`Vector`].
#[inline(always)]
unsafe fn shifted<V: Vector>(v: V, bits: i32) -> V {
    // SAFETY: as this function demands.
    unsafe {
        match bits {
            2 => v.shift_right32::<2>(),
            3 => v.shift_right32::<3>(),
            4 => v.shift_right32::<4>(),
            5 => v.shift_right32::<5>(),
            _ => v.shift_right32::<6>(),
        }
    }
}
