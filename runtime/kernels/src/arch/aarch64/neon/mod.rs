//! NEON without dot products (Cortex-A53, A57, A72; Raspberry Pi 4, Jetson Nano).

pub(crate) mod epilogue;
pub(crate) mod gemm;
pub(crate) mod winograd;

use std::arch::aarch64::*;

use crate::gemm::tile::Tile;

/// Channels of a tile.
pub(crate) const CHANNELS: usize = 16;

/// What each pixel's sums start from.
///
/// # Safety
/// See [`Tile::bias`].
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn bias(t: &Tile<'_>) -> [int32x4_t; 4] {
    // SAFETY: `Tile::bias` has `CHANNELS` entries.
    let at = |v: usize| unsafe { vld1q_s32(t.bias.add(4 * v)) };
    [at(0), at(1), at(2), at(3)]
}
