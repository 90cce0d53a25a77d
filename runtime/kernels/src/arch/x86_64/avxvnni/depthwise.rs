//! Depthwise convolutions with `vpdpbusd`: see `avx2/depthwise.rs`.

use std::arch::x86_64::*;

use crate::arch::generic::depthwise as generic;
use crate::arch::x86_64::avx2::depthwise::{FourTaps, PIXELS, channels};
use crate::gemm::tile::{DepthwiseWeights, MicroKernel, Tile};

pub(crate) const KERNEL: MicroKernel = MicroKernel {
    pixels: PIXELS,
    depthwise: Some(DepthwiseWeights::FourTaps),
    ..generic::kernel(tile)
};

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: `channels` asks the same of the tile; the attribute enables what `Bytes` needs.
    unsafe { channels::<Bytes>(t) }
}

struct Bytes;

impl FourTaps for Bytes {
    const HALF: usize = 32;

    #[inline(always)]
    unsafe fn add(sums: __m256i, x: __m256i, w: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the CPU and for a register of weights.
        unsafe { _mm256_dpbusd_avx_epi32(sums, x, _mm256_load_si256(w.cast())) }
    }
}
