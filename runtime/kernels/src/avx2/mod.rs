//! AVX2: `vpmaddubsw` on bytes, two products added in 16 bits where they cannot overflow, then `vpmaddwd` and `vpaddd`.
//!
//! `pairs.rs` brings the weights into an order in which nothing overflows. Tile: 6 pixels by 16 channels, 12 accumulators
//! of 16 registers. The last step to bytes (`bytes.rs`) is shared with AVX-VNNI.

mod bytes;
mod pairs;

use std::arch::asm;
use std::arch::x86_64::*;

use crate::tile::{Activations, Kernel, Tile};
pub(crate) use bytes::finish;

pub(crate) const PIXELS: usize = 6;
pub(crate) const CHANNELS: usize = 16;

/// Input channels of a step.
const DEPTH: usize = 4;

pub(crate) const KERNEL: Kernel = Kernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: DEPTH,
    depthwise: false,
    activations: Activations::Bytes,
    no_lowest_weight: false,
    arrange: Some(pairs::arrange),
    tile,
    peak,
};

/// `vpmaddwd` on activations and weights of 16 bits.
pub(crate) const WIDE: Kernel = Kernel { depth: 2, arrange: None, tile: wide_tile, ..KERNEL };

/// # Safety
/// See [`Kernel::tile`]; the CPU has AVX2, and `pairs::arrange` made the weights.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: as this function demands.
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

/// A pixel's four activations, brought to every lane by the given instructions, times the weights of a step. As assembly,
/// because compilers prefer to hold weights in registers, of which none is left, and put sums into memory instead.
macro_rules! multiply {
    ($acc:expr, $ones:ident, $weights:ident, $x:expr, $($fetch:literal),+ $(, $name:ident = in(ymm_reg) $operand:ident)?) => {
        asm!(
            $($fetch,)+
            "vpmaddubsw {t}, {a}, ymmword ptr [{w}]",
            "vpmaddwd {t}, {t}, {ones}",
            "vpaddd {c0}, {c0}, {t}",
            "vpmaddubsw {a}, {a}, ymmword ptr [{w} + 32]",
            "vpmaddwd {a}, {a}, {ones}",
            "vpaddd {c1}, {c1}, {a}",
            x = in(reg) $x, w = in(reg) $weights, ones = in(ymm_reg) $ones, a = out(ymm_reg) _, t = out(ymm_reg) _,
            c0 = inout(ymm_reg) $acc[0], c1 = inout(ymm_reg) $acc[1], $($name = in(ymm_reg) $operand,)?
            options(readonly, nostack, preserves_flags)
        )
    };
}

/// # Safety
/// As [`tile`], and `t.pixels == P`.
#[target_feature(enable = "avx2")]
unsafe fn rows<const P: usize>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations are read within the ranges that `Tile` and `pairs.rs` document.
    unsafe {
        let bias = [_mm256_loadu_si256(t.bias.cast()), _mm256_loadu_si256(t.bias.add(8).cast())];
        let (mut acc, ones) = ([bias; P], _mm256_set1_epi16(1));
        let (mut packed, (mut ahead, further)) = (t.weights, t.prefetch);
        for tap in 0..t.taps {
            let x: [*const u8; P] = std::array::from_fn(|r| *t.rows.add(tap * PIXELS + r));
            let [straight, shuffled] = packed.cast::<[u32; 2]>().read().map(|n| n as usize);
            let mut entry = packed.add(8).cast::<u32>();
            packed = packed.add(pairs::head(straight, shuffled));
            for _ in 0..straight {
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                ahead = ahead.wrapping_add(further);
                let offset = entry.read() as usize;
                for r in 0..P {
                    multiply!(
                        acc[r],
                        ones,
                        packed,
                        x[r].add(offset),
                        "vpbroadcastd {a}, dword ptr [{x}]"
                    );
                }
                (entry, packed) = (entry.add(1), packed.add(CHANNELS * DEPTH));
            }
            for _ in 0..shuffled {
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                ahead = ahead.wrapping_add(further);
                let offset = entry.read() as usize;
                let pattern = _mm256_set1_epi32(entry.add(1).cast::<i32>().read());
                for r in 0..P {
                    multiply!(
                        acc[r], ones, packed, x[r].add(offset),
                        "vbroadcasti128 {a}, xmmword ptr [{x}]", "vpshufb {a}, {a}, {pattern}",
                        pattern = in(ymm_reg) pattern
                    );
                }
                (entry, packed) = (entry.add(2), packed.add(CHANNELS * DEPTH));
            }
        }
        let mut sums = [[_mm256_setzero_si256(); 2]; PIXELS];
        sums[..P].copy_from_slice(&acc);
        finish(t, &sums);
    }
}

/// As [`tile`], with weights of 16 bits, as they are.
///
/// # Safety
/// See [`Kernel::tile`]; the CPU has AVX2.
unsafe fn wide_tile(t: &Tile<'_>) {
    // SAFETY: as this function demands.
    unsafe {
        match t.pixels {
            1 => wide_rows::<1>(t),
            2 => wide_rows::<2>(t),
            3 => wide_rows::<3>(t),
            4 => wide_rows::<4>(t),
            5 => wide_rows::<5>(t),
            _ => wide_rows::<6>(t),
        }
    }
}

/// # Safety
/// As [`wide_tile`], and `t.pixels == P`.
#[target_feature(enable = "avx2")]
unsafe fn wide_rows<const P: usize>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations are read, and sums written, within the ranges that `Tile` documents.
    unsafe {
        let bias = [_mm256_loadu_si256(t.bias.cast()), _mm256_loadu_si256(t.bias.add(8).cast())];
        let mut acc = [bias; P];
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
        let mut sums = [[_mm256_setzero_si256(); 2]; PIXELS];
        sums[..P].copy_from_slice(&acc);
        finish(t, &sums);
    }
}

/// See [`Kernel::peak`].
///
/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn peak(rounds: usize) -> u64 {
    let (a, w) = (_mm256_set1_epi8(3), _mm256_set1_epi8(5));
    let (ones, mut acc) = (_mm256_set1_epi16(1), [_mm256_setzero_si256(); 12]);
    for _ in 0..rounds {
        for acc in &mut acc {
            // SAFETY: three instructions of the enabled feature, on registers only. As assembly, because a compiler would
            // compute the twelve equal products once.
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
