//! Winograd's F(4x4, 3x3) in integers, to the same bits as the plain convolution: 36 products of transformed
//! inputs and weights.
//!
//! ```text
//! 6x6 inputs d ──▶ V = Bᵀ d B        36 numbers                                      |V| ≤ 22,950
//! 3x3 weights g ─▶ U = S G g (S G)ᵀ  36 numbers, S = diag(4, −6, −6, 24, 24, 1)      |U| ≤ 6,223
//! M[ξ] = Σ over channels V[ξ]·U[ξ]                                                   modulo 2³²
//! 4x4 outputs  ──▶ Aᵀ (24/S) M (24/S) A = 576 · (the convolution's sums)             modulo 2³²
//! ```
//!
//! 36 multiplications replace 144. Engines that round the transforms lose accuracy here; nothing is rounded
//! in this one. `S` clears the fractions of Winograd's `G` row by row, so that `V` and `U` are whole and fit
//! 16 bits. Sums may overflow: arithmetic modulo 2³² does not mind. At the end 576 = 9 · 2⁶ has to be divided
//! out: 9 is odd and has an inverse modulo 2³², and the factor of two left over (up to 64) goes by a shift,
//! which is exact if 64 times the sum fits 32 bits. `plan.rs` asks that of the weights before it chooses this
//! form.
//!
//! Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016, §4.3, for the matrices.
//!
//! ```text
//! plan.rs         when a convolution runs so, and its packed weights      run.rs           the loops around the products
//! tile_order.rs   tiles at the edges that are short                        tile_groups.rs   tiles multiplied together
//! transform.rs    the three transforms over any registers (vector.rs), by the columns of matrices.rs
//! fused.rs        products that transform the weights on the way
//! ```

pub(crate) mod fused;
mod matrices;
pub(crate) mod plan;
mod run;
#[cfg(test)]
mod tests;
mod tile_groups;
mod tile_order;
pub(crate) mod transform;
pub(crate) mod vector;

use crate::gemm::tile::{MicroKernel, Tile};
use fused::FusedProducts;

/// Outputs of a tile, in each direction.
pub(crate) const SIDE: usize = 4;
/// Inputs of a tile, in each direction.
pub(crate) const PATCH: usize = 6;
/// Products of one tile.
pub(crate) const POINTS: usize = PATCH * PATCH;
/// The point where a constant `c` added to all inputs adds `36c` (the others' rows of B sum to zero), and
/// whose product adds a 36th of itself to all outputs: what the zero point and the bias fold into.
pub(crate) const CENTRE: usize = PATCH + 1;
/// What a bias is multiplied by at [`CENTRE`].
pub(crate) const CENTRE_FACTOR: i32 = 36;
/// The least outputs of a tile in a direction. Tiles of two or three outputs are those of F(2, 3) and F(3,
/// 3), with factors that let them use the weights of F(4, 3), and the same fold of zero point and bias.
pub(crate) const LEAST: usize = 2;
/// What is left of 576 when 9 is divided out.
pub(crate) const POWER_OF_TWO: i64 = 64;
/// Winograd's convolution with one instruction set.
#[derive(Debug)]
pub(crate) struct WinogradKernels {
    /// Multiplies 16-bit numbers.
    pub(crate) product: &'static MicroKernel,
    /// How many times as fast the set multiplies bytes in the plain convolution.
    pub(crate) plain: usize,
    /// Channels that `input` transforms at a time.
    pub(crate) chunk: usize,
    pub(crate) weights: unsafe fn(&WeightTransform),
    /// Where products are faster that transform the weights themselves.
    pub(crate) fused: Option<&'static FusedProducts>,
    pub(crate) input: unsafe fn(&InputTransform),
    pub(crate) output: unsafe fn(&OutputTransform),
    /// Writes `[pixel][product.channels]` sums as the tile's output asks; rows and weights of the tile are not used.
    ///
    /// # Safety
    /// The CPU has the instruction set; the pointers of the tile are as documented there; there are sums for
    /// its pixels, rounded up to an even number, aligned to 64 bytes.
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
pub(crate) struct WeightTransform {
    /// `[step][tap][product.channels][product.depth]`, as small as the network has them: transformed again at
    /// each run, they cost less than what they would grow to costs to fetch.
    pub(crate) g: *const i8,
    pub(crate) steps: usize,
    /// Which of [`PAIRS`].
    pub(crate) pair: usize,
    /// Where the first row's first point goes, `[step][product.channels][product.depth]`, and entries from
    /// there to the next, also from the first row's last point to the second row's first.
    pub(crate) u: *mut i16,
    pub(crate) plane: usize,
}

/// The pixels of a tile to transform.
#[derive(Debug)]
pub(crate) struct InputTransform {
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
pub(crate) struct OutputTransform {
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
