//! AVX-VNNI: `vpdpbusd` on 256 bits, for CPUs without AVX-512 (Alder Lake and later client processors).
//!
//! Tile: 6 pixels by 16 channels, 12 accumulators of 16 registers; the epilogue is AVX2's.

pub(crate) mod depthwise;
pub(crate) mod overlapped;

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx2::epilogue::{fetch_output, finish};
use super::avx2::{self, CHANNELS, PIXELS};
use crate::gemm::tile::{Activations, MicroKernel, Tile};
use crate::winograd::WinogradKernels;

pub(crate) const KERNEL: MicroKernel = MicroKernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: 4,
    depthwise: None,
    activations: Activations::Bytes,
    no_lowest_weight: false,
    arrange: None,
    tile,
    peak,
};

/// `vpdpwssd` on activations and weights of 16 bits: half as many multiplications an instruction.
pub(crate) const WIDE: MicroKernel = MicroKernel { depth: 2, tile: wide_tile, ..KERNEL };

/// Winograd's form, with AVX2's transforms: `vpdpwssd` multiplies half as many 16-bit numbers as `vpdpbusd` bytes,
/// of which there are four times fewer.
pub(crate) const WINOGRAD: WinogradKernels =
    WinogradKernels { product: &WIDE, plain: 2, ..avx2::winograd::WINOGRAD };

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has AVX2 and AVX-VNNI.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: `any_rows` asks the same of CPU and tile.
    unsafe { any_rows::<false>(t) }
}

/// # Safety
/// As [`tile`].
unsafe fn wide_tile(t: &Tile<'_>) {
    // SAFETY: `any_rows` asks the same of CPU and tile.
    unsafe { any_rows::<true>(t) }
}

/// # Safety
/// As [`tile`].
#[inline]
unsafe fn any_rows<const WIDE: bool>(t: &Tile<'_>) {
    // SAFETY: the caller vouches for CPU and tile; the match picks the `P` that equals `t.pixels`.
    unsafe {
        match t.pixels {
            1 => rows::<1, WIDE>(t),
            2 => rows::<2, WIDE>(t),
            3 => rows::<3, WIDE>(t),
            4 => rows::<4, WIDE>(t),
            5 => rows::<5, WIDE>(t),
            _ => rows::<6, WIDE>(t),
        }
    }
}

/// # Safety
/// As [`tile`], and `t.pixels == P`.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn rows<const P: usize, const WIDE: bool>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations are read within the ranges that `Tile` documents.
    unsafe {
        let bias = [_mm256_loadu_si256(t.bias.cast()), _mm256_loadu_si256(t.bias.add(8).cast())];
        let mut acc = [bias; P];
        fetch_output(t);
        let (mut weights, (mut ahead, further)) = (t.weights, t.prefetch);
        for tap in 0..t.taps {
            let x: [*const u8; P] = std::array::from_fn(|r| *t.rows.add(tap * PIXELS + r));
            for step in 0..t.steps {
                let w =
                    [_mm256_load_si256(weights.cast()), _mm256_load_si256(weights.add(32).cast())];
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                (weights, ahead) = (weights.add(64), ahead.wrapping_add(further));
                for r in 0..P {
                    let a = _mm256_set1_epi32(x[r].add(step * 4).cast::<i32>().read_unaligned());
                    for v in 0..2 {
                        acc[r][v] = if WIDE {
                            _mm256_dpwssd_avx_epi32(acc[r][v], a, w[v])
                        } else {
                            _mm256_dpbusd_avx_epi32(acc[r][v], a, w[v])
                        };
                    }
                }
            }
        }
        let mut sums = [[_mm256_setzero_si256(); 2]; PIXELS];
        sums[..P].copy_from_slice(&acc);
        finish(t, &sums);
    }
}

/// See [`MicroKernel::peak`].
///
/// # Safety
/// The CPU has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn peak(rounds: usize) -> u64 {
    let (a, w) = (_mm256_set1_epi8(3), _mm256_set1_epi8(5));
    let mut acc = [_mm256_setzero_si256(); 12];
    for _ in 0..rounds {
        for acc in &mut acc {
            // SAFETY: one instruction of the enabled features, on registers only.
            unsafe {
                asm!(
                    "{{vex}} vpdpbusd {0}, {1}, {2}",
                    inout(ymm_reg) *acc, in(ymm_reg) a, in(ymm_reg) w,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
    }
    std::hint::black_box(acc);
    rounds as u64 * 12 * 32
}
