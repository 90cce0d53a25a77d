//! Products fused with the transform of the weights: a row of points at a time, by weights as the network has them.
//!
//! A row of `S G` times a column of weights makes three numbers of nine, and their combinations across the
//! six points of a row: few enough to be made where they are needed. What two rows need alike, one of them
//! leaves behind.

use super::PATCH;

/// Tiles that a [`FusedRow`] has at most.
pub(crate) const GROUP: usize = 4;

/// Of 16 output and 2 input channels: three entries each of two rows.
pub(crate) const SAVED: usize = 6 * 32;

/// How many kinds of groups there are: see [`FusedProducts::shapes`].
pub(crate) const SHAPES: usize = 7;

/// The products of an instruction set that transforms weights while it multiplies.
#[derive(Debug)]
pub(crate) struct FusedProducts {
    /// How many tiles of a group have points 0, 1, 2 and 5 of the row, point 3, and point 4: the first ones.
    pub(crate) shapes: [[usize; 3]; SHAPES],
    /// The first and the last row of points, where no other group has had it before with these weights, for
    /// each shape: they leave something behind for the rows [`FusedProducts::ORDER`] has behind them.
    ///
    /// # Safety
    /// Of all functions: the CPU has the instruction set, and `FusedRow` is as documented.
    pub(crate) first: [[unsafe fn(&FusedRow); SHAPES]; 2],
    /// For each row of points and each shape.
    pub(crate) rows: [[unsafe fn(&FusedRow); SHAPES]; PATCH],
}

impl FusedProducts {
    /// Of rows of points.
    pub(crate) const ORDER: [usize; PATCH] = [0, 1, 2, 5, 3, 4];
}

/// A row of points of groups of tiles, by 16 output channels.
#[derive(Debug)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only AVX-512 multiplies so"))]
pub(crate) struct FusedRow {
    /// The groups, all of one shape: at least one.
    pub(crate) groups: *const TileGroup,
    pub(crate) end: *const TileGroup,
    /// The first tile's inputs at the row's first point, and bytes from there to the next point.
    pub(crate) v: *const i16,
    pub(crate) plane: usize,
    /// `[step][tap][16 channels][product.depth]`
    pub(crate) g: *const i8,
    /// What rows leave behind: [`SAVED`] numbers a step; aligned to 64.
    pub(crate) u: *mut i16,
    /// At least 2.
    pub(crate) steps: usize,
    /// What the sums of point 1 start from.
    pub(crate) bias: *const i32,
    /// Where the first tile's 16 sums of the row's first point go, `[point][product.channels]`; aligned to 64.
    pub(crate) m: *mut i32,
    /// An address worth fetching, and how far to move it at each step.
    pub(crate) ahead: *const u8,
    pub(crate) further: usize,
}

/// Where the tiles of a group lie, those with most points first. Places that are not used repeat another's.
#[derive(Debug, Clone)]
#[repr(C)]
pub(crate) struct TileGroup {
    /// Bytes from the first tile's inputs.
    pub(crate) v: [usize; GROUP],
    /// Bytes from the first tile's sums.
    pub(crate) m: [usize; GROUP],
}
