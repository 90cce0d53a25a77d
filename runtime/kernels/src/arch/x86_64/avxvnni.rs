//! AVX-VNNI: `vpdpbusd` on 256 bits, for CPUs without AVX-512 (Alder Lake and later client processors).
//!
//! Tile: 6 pixels by 16 channels, 12 accumulators of 16 registers; the epilogue is AVX2's.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx2::epilogue::finish;
use super::avx2::{CHANNELS, PIXELS};
use crate::gemm::tile::{Activations, MicroKernel, Tile};

pub(crate) const KERNEL: MicroKernel = MicroKernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: 4,
    depthwise: false,
    activations: Activations::Bytes,
    no_lowest_weight: false,
    arrange: None,
    tile,
    peak,
};

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has AVX2 and AVX-VNNI.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: the caller vouches for CPU and tile; the match picks the `P` that equals `t.pixels`.
    unsafe {
        match t.pixels {
            1 => rows::<1>(t),
            2 => rows::<2>(t),
            3 => rows::<3>(t),
            4 => rows::<4>(t),
            5 => rows::<5>(t),
            _ => rows::<6>(t),
        }
    }
}

/// # Safety
/// As [`tile`], and `t.pixels == P`.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn rows<const P: usize>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations are read within the ranges that `Tile` documents.
    unsafe {
        let bias = [_mm256_loadu_si256(t.bias.cast()), _mm256_loadu_si256(t.bias.add(8).cast())];
        let mut acc = [bias; P];
        let mut weights = t.weights;
        for tap in 0..t.taps {
            let x: [*const u8; P] = std::array::from_fn(|r| *t.rows.add(tap * PIXELS + r));
            for step in 0..t.steps {
                let w =
                    [_mm256_load_si256(weights.cast()), _mm256_load_si256(weights.add(32).cast())];
                weights = weights.add(64);
                for r in 0..P {
                    let a = _mm256_set1_epi32(x[r].add(step * 4).cast::<i32>().read_unaligned());
                    acc[r][0] = _mm256_dpbusd_avx_epi32(acc[r][0], a, w[0]);
                    acc[r][1] = _mm256_dpbusd_avx_epi32(acc[r][1], a, w[1]);
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
