//! Winograd's F(2x2, 3x3) in integers: the transforms around its sixteen products.
//!
//! ```text
//! 4x4 inputs d ──▶ V = Bᵀ d B      16 numbers, each a sum of at most four bytes          |V| ≤ 1020
//! 3x3 weights g ─▶ U = 2G g (2G)ᵀ  16 numbers, the usual G doubled so that it is whole   |U| ≤ 1152
//! M[ξ] = Σ over channels V[ξ]·U[ξ]                                                       i32
//! 2x2 outputs  ──▶ Aᵀ M A = 4 · (the convolution's sums)
//! ```
//!
//! 16 multiplications replace 36, and nothing is rounded: `V` and `U` fit 16 bits, sums are taken modulo 2³² and end at four
//! times the exact sum, which must fit (`conv/winograd.rs` asks). A factor of four is exact in `f32` too, so a quarter
//! of the scale gives the same bits as the plain convolution. Worth it where the CPU multiplies 16-bit numbers anyway.
//!
//! Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016, §4.1.

use crate::tile::{Kernel, Tile};

/// Products of one 4x4 tile.
pub(crate) const POINTS: usize = 16;
/// The point where a constant `c` added to all inputs adds `4c` (the others' rows of B sum to zero), and whose product adds to
/// all four outputs: what the zero point and the bias fold into.
pub(crate) const CENTRE: usize = 5;
/// Channels that [`Winograd::input`] transforms at a time.
pub(crate) const CHUNK: usize = 16;

/// Winograd's convolution with one instruction set.
#[derive(Debug)]
pub(crate) struct Winograd {
    /// Multiplies 16-bit numbers.
    pub(crate) product: &'static Kernel,
    pub(crate) weights: unsafe fn(&Weights),
    pub(crate) input: unsafe fn(&Input),
    pub(crate) output: unsafe fn(&Sums),
    /// Writes `[pixel][product.channels]` sums as the tile's output asks; rows and weights of the tile are not used.
    ///
    /// # Safety
    /// The CPU has the instruction set; the pointers of the tile are as documented there; there are sums for its pixels.
    pub(crate) finish: unsafe fn(&Tile<'_>, *const i32),
}

/// A block of 3x3 weights to transform.
#[derive(Debug)]
pub(crate) struct Weights {
    /// `[step][tap][product.channels][2]`, as small as the network has them: transformed again at each run, they cost less
    /// than what they would grow to costs to fetch.
    pub(crate) g: *const i8,
    pub(crate) steps: usize,
    /// Where `U[0]` goes, `[step][product.channels][2]`, and entries from there to `U[1]` and so on.
    pub(crate) u: *mut i16,
    pub(crate) plane: usize,
}

/// Sixteen pixels to transform.
#[derive(Debug)]
pub(crate) struct Input {
    /// Row by row; each can be read for `chunks · CHUNK` bytes.
    pub(crate) pixels: [*const u8; POINTS],
    pub(crate) chunks: usize,
    /// Where `V[0]` goes, and entries from there to `V[1]` and so on; `chunks · CHUNK` of each are written.
    pub(crate) v: *mut i16,
    pub(crate) plane: usize,
}

/// Sums of neighbouring tiles to turn into two rows of outputs.
#[derive(Debug)]
pub(crate) struct Sums {
    /// `M[0]`, `[tile][product.channels]`, and entries from there to `M[1]` and so on.
    pub(crate) m: *const i32,
    pub(crate) plane: usize,
    pub(crate) tiles: usize,
    /// Writable `[2 · tiles][product.channels]`: four times the sums of the upper and of the lower row.
    pub(crate) rows: [*mut i32; 2],
}

type Lanes = [i16; CHUNK];

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|i| a[i].wrapping_add(b[i]))
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|i| a[i].wrapping_sub(b[i]))
}

// No `map` over arrays of vectors below: it is not inlined into functions with features of their own.

/// `N` is `2 · product.channels`.
///
/// # Safety
/// The pointers are as [`Weights`] documents.
#[inline(always)]
pub(crate) unsafe fn weights<const N: usize>(t: &Weights) {
    let one = |[a, b, c]: [Lanes; 3]| {
        let ends = add(a, c);
        [add(a, a), add(ends, b), sub(ends, b), add(c, c)]
    };
    for step in 0..t.steps {
        for first in (0..N).step_by(CHUNK) {
            let load = |tap: usize| -> Lanes {
                // SAFETY: there are nine taps of `N` weights for each step.
                let g = unsafe {
                    t.g.add((step * 9 + tap) * N + first).cast::<[i8; CHUNK]>().read_unaligned()
                };
                std::array::from_fn(|i| i16::from(g[i]))
            };
            let column = |j: usize| one([load(j), load(3 + j), load(6 + j)]);
            let [a, b, c] = [column(0), column(1), column(2)];
            for (i, ((a, b), c)) in a.into_iter().zip(b).zip(c).enumerate() {
                for (j, u) in one([a, b, c]).into_iter().enumerate() {
                    // SAFETY: there is room for `N` at each step of each point.
                    unsafe {
                        t.u.add((4 * i + j) * t.plane + step * N + first)
                            .cast::<Lanes>()
                            .write_unaligned(u);
                    }
                }
            }
        }
    }
}

/// # Safety
/// The pointers are as [`Input`] documents.
#[inline(always)]
pub(crate) unsafe fn input(t: &Input) {
    let one = |[a, b, c, d]: [Lanes; 4]| [sub(a, c), add(b, c), sub(c, b), sub(b, d)];
    for chunk in 0..t.chunks {
        let load = |pixel: usize| -> Lanes {
            // SAFETY: the pixel can be read for all chunks.
            let x = unsafe {
                t.pixels[pixel].add(chunk * CHUNK).cast::<[u8; CHUNK]>().read_unaligned()
            };
            std::array::from_fn(|i| i16::from(x[i]))
        };
        let column = |j: usize| one([load(j), load(4 + j), load(8 + j), load(12 + j)]);
        let [a, b, c, d] = [column(0), column(1), column(2), column(3)];
        for (i, (((a, b), c), d)) in a.into_iter().zip(b).zip(c).zip(d).enumerate() {
            let row = one([a, b, c, d]);
            for (j, v) in row.into_iter().enumerate() {
                // SAFETY: plane `4i + j` has room for all chunks.
                unsafe {
                    t.v.add((4 * i + j) * t.plane + chunk * CHUNK)
                        .cast::<Lanes>()
                        .write_unaligned(v);
                }
            }
        }
    }
}

/// `N` is `product.channels`.
///
/// # Safety
/// The pointers are as [`Sums`] documents.
#[inline(always)]
pub(crate) unsafe fn output<const N: usize>(t: &Sums) {
    const LANES: usize = 8;
    type Lanes = [i32; LANES];
    let (add, sub) = (
        |a: Lanes, b: Lanes| -> Lanes { std::array::from_fn(|i| a[i].wrapping_add(b[i])) },
        |a: Lanes, b: Lanes| -> Lanes { std::array::from_fn(|i| a[i].wrapping_sub(b[i])) },
    );
    let one = |[a, b, c, d]: [Lanes; 4]| [add(add(a, b), c), sub(sub(b, c), d)];
    for tile in 0..t.tiles {
        for first in (0..N).step_by(LANES) {
            let load = |xi: usize| -> Lanes {
                // SAFETY: plane `xi` has sums for each tile.
                unsafe { t.m.add(xi * t.plane + tile * N + first).cast::<Lanes>().read_unaligned() }
            };
            let column = |j: usize| one([load(j), load(4 + j), load(8 + j), load(12 + j)]);
            let columns = [column(0), column(1), column(2), column(3)];
            for (i, to) in t.rows.into_iter().enumerate() {
                let row = one([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                for (j, y) in row.into_iter().enumerate() {
                    // SAFETY: both rows have room for two pixels of each tile.
                    unsafe {
                        to.add((2 * tile + j) * N + first).cast::<Lanes>().write_unaligned(y);
                    }
                }
            }
        }
    }
}
