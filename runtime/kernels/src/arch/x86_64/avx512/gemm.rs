//! The micro-kernel.
//!
//! A tile is 12 pixels by 32 channels: 24 accumulators, 2 vectors of weights, 1 of activations, of 32
//! registers; and 12 row pointers fit the general registers. A step loads 2 vectors and broadcasts 12 times
//! for 24 `vpdpbusd`.

use std::arch::asm;
use std::arch::x86_64::*;

use super::CHANNELS;
use super::epilogue::{RequantWriter, ResidualWriter, fetch_output};
use crate::gemm::tile::{Activations, MicroKernel, Output, Tile};

const PIXELS: usize = 12;

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

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has AVX-512 F, BW, VL and VNNI.
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
    // SAFETY: the tile's channels fit the number of vectors chosen for them; the rest is the caller's promise.
    unsafe {
        // A last block of few channels needs no second vector.
        if t.channels <= CHANNELS / 2 { vectors::<1, WIDE>(t) } else { vectors::<2, WIDE>(t) }
    }
}

/// # Safety
/// As [`tile`], and the tile's channels fit `V` vectors.
#[inline]
unsafe fn vectors<const V: usize, const WIDE: bool>(t: &Tile<'_>) {
    // SAFETY: the match picks the `P` that equals `t.pixels`; the rest is the caller's promise.
    unsafe {
        match t.pixels {
            1 => rows::<1, V, WIDE>(t),
            2 => rows::<2, V, WIDE>(t),
            3 => rows::<3, V, WIDE>(t),
            4 => rows::<4, V, WIDE>(t),
            5 => rows::<5, V, WIDE>(t),
            6 => rows::<6, V, WIDE>(t),
            7 => rows::<7, V, WIDE>(t),
            8 => rows::<8, V, WIDE>(t),
            9 => rows::<9, V, WIDE>(t),
            10 => rows::<10, V, WIDE>(t),
            11 => rows::<11, V, WIDE>(t),
            _ => rows::<12, V, WIDE>(t),
        }
    }
}

/// Writes pixels in pairs. Without a loop, which would drag the accumulators out of their registers.
macro_rules! write_pairs {
    ($acc:ident, $to:ident, [$($pixel:literal)*]) => {
        $(if $pixel < P {
            // An odd last pixel has no partner: it stands in for it.
            $to.write([$acc[$pixel], $acc[($pixel + 1).min(P - 1)]], $pixel, P);
        })*
    };
}

/// # Safety
/// As [`vectors`], and `t.pixels == P`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<const P: usize, const V: usize, const WIDE: bool>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations are read, and outputs written, within the ranges that `Tile`
    // documents.
    unsafe {
        let bias = [_mm512_loadu_si512(t.bias.cast()), _mm512_loadu_si512(t.bias.add(16).cast())];
        let mut acc = [bias; P];
        fetch_output(t);
        let (mut weights, (mut ahead, ahead_step)) = (t.weights, t.prefetch);
        for tap in 0..t.taps {
            let x: [*const u8; P] = std::array::from_fn(|r| *t.rows.add(tap * PIXELS + r));
            for step in 0..t.steps {
                let w =
                    [_mm512_load_si512(weights.cast()), _mm512_load_si512(weights.add(64).cast())];
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                (weights, ahead) = (weights.add(128), ahead.wrapping_add(ahead_step));
                for r in 0..P {
                    let a = _mm512_set1_epi32(x[r].add(step * 4).cast::<i32>().read_unaligned());
                    for v in 0..V {
                        acc[r][v] = if WIDE {
                            _mm512_dpwssd_epi32(acc[r][v], a, w[v])
                        } else {
                            _mm512_dpbusd_epi32(acc[r][v], a, w[v])
                        };
                    }
                }
            }
        }
        match &t.output {
            Output::Sums(all) => {
                for (r, row) in acc.iter().enumerate() {
                    _mm512_storeu_si512(all.add(r * CHANNELS).cast(), row[0]);
                    _mm512_storeu_si512(all.add(r * CHANNELS + 16).cast(), row[1]);
                }
            }
            Output::Bytes { y, stride, requant, residual: None } => {
                let to = RequantWriter::new(t, *y, *stride, requant);
                write_pairs!(acc, to, [0 2 4 6 8 10]);
            }
            Output::Bytes { y, stride, requant, residual: Some((r, add)) } => {
                let to = ResidualWriter::new(t, *y, *stride, requant, *r, add);
                write_pairs!(acc, to, [0 2 4 6 8 10]);
            }
        }
    }
}

/// See [`MicroKernel::peak`].
///
/// # Safety
/// The CPU has AVX-512 F and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn peak(rounds: usize) -> u64 {
    let (a, w) = (_mm512_set1_epi8(3), _mm512_set1_epi8(5));
    let mut acc = [_mm512_setzero_si512(); 24];
    for _ in 0..rounds {
        for acc in &mut acc {
            // SAFETY: one instruction of the enabled features, on registers only. As assembly, so that nothing else
            // is in the loop.
            unsafe {
                asm!(
                    "vpdpbusd {0}, {1}, {2}",
                    inout(zmm_reg) *acc, in(zmm_reg) a, in(zmm_reg) w,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
    }
    std::hint::black_box(acc);
    rounds as u64 * 24 * 64
}
