//! The micro-kernel. Tile: 6 pixels by 16 channels, 12 accumulators of 16 registers.

use std::arch::asm;
use std::arch::x86_64::*;

use super::epilogue::finish;
use super::safe_pairs;
use super::shuffled_steps::{ShuffledActivations, ShuffledSteps};
use super::{CHANNELS, DEPTH, PIXELS};
use crate::gemm::tile::{Activations, MicroKernel, Tile};

pub(crate) const KERNEL: MicroKernel = MicroKernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: DEPTH,
    depthwise: None,
    activations: Activations::Bytes,
    no_lowest_weight: false,
    arrange: Some(safe_pairs::ARRANGE),
    tile,
    peak,
};

/// `vpmaddwd` on activations and weights of 16 bits.
pub(crate) const WIDE: MicroKernel =
    MicroKernel { depth: 2, arrange: None, tile: wide_tile, ..KERNEL };

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has AVX2, and `safe_pairs.rs` made the weights.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: `any_rows` asks the same of CPU, tile and weights.
    unsafe { any_rows::<false>(t) }
}

/// As [`tile`], with one tap and weights of 16 bits, as they are.
///
/// # Safety
/// See [`MicroKernel::tile`]; the CPU has AVX2.
unsafe fn wide_tile(t: &Tile<'_>) {
    // SAFETY: `any_rows` asks the same of CPU, tile and weights.
    unsafe { any_rows::<true>(t) }
}

/// # Safety
/// As [`tile`].
#[inline]
unsafe fn any_rows<const WIDE: bool>(t: &Tile<'_>) {
    // SAFETY: the match picks the `P` that equals `t.pixels`; the rest is the caller's promise.
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
#[target_feature(enable = "avx2")]
unsafe fn rows<const P: usize, const WIDE: bool>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations are read, and sums written, within the ranges that `Tile` and
    // `safe_pairs.rs` document.
    unsafe {
        let bias = [_mm256_loadu_si256(t.bias.cast()), _mm256_loadu_si256(t.bias.add(8).cast())];
        let mut acc = [bias; P];
        if WIDE {
            multiply_wide(&mut acc, t);
        } else {
            let (mut weights, (mut ahead, further)) = (t.weights, t.prefetch);
            let mut windows = ShuffledActivations::new();
            for tap in 0..t.taps {
                let x: [_; P] = std::array::from_fn(|r| *t.rows.add(tap * PIXELS + r));
                let mut steps = ShuffledSteps::of(weights);
                while steps.are_left() {
                    let (x, count) = steps.order(x, &mut windows);
                    steps.multiply(&mut acc, x, count, (&mut ahead, further));
                }
                weights = steps.end();
            }
        }
        let mut sums = [[_mm256_setzero_si256(); 2]; PIXELS];
        sums[..P].copy_from_slice(&acc);
        finish(t, &sums);
    }
}

/// # Safety
/// As [`wide_tile`], and `t.pixels == P`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn multiply_wide<const P: usize>(acc: &mut [[__m256i; 2]; P], t: &Tile<'_>) {
    // SAFETY: rows, weights and activations are read within the ranges that `Tile` documents.
    unsafe {
        let x: [*const u8; P] = std::array::from_fn(|r| *t.rows.add(r));
        for step in 0..t.steps {
            let weights = t.weights.add(64 * step);
            let w = [_mm256_load_si256(weights.cast()), _mm256_load_si256(weights.add(32).cast())];
            for r in 0..P {
                let a = _mm256_set1_epi32(x[r].add(step * 4).cast::<i32>().read_unaligned());
                acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(a, w[0]));
                acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(a, w[1]));
            }
        }
    }
}

/// See [`MicroKernel::peak`].
///
/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn peak(rounds: usize) -> u64 {
    let (a, w) = (_mm256_set1_epi8(3), _mm256_set1_epi8(5));
    let (ones, mut acc) = (_mm256_set1_epi16(1), [_mm256_setzero_si256(); 12]);
    for _ in 0..rounds {
        for acc in &mut acc {
            // SAFETY: three instructions of the enabled feature, on registers only. As assembly, because a compiler
            // would compute the twelve equal products once.
            unsafe {
                asm!(
                    "vpmaddubsw {t}, {a}, {w}",
                    "vpmaddwd {t}, {t}, {ones}",
                    "vpaddd {acc}, {acc}, {t}",
                    a = in(ymm_reg) a, w = in(ymm_reg) w, ones = in(ymm_reg) ones, acc = inout(ymm_reg) *acc,
                    t = out(ymm_reg) _, options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
    std::hint::black_box(acc);
    rounds as u64 * 12 * 32
}
