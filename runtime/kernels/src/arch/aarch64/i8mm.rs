//! NEON with matrix multiplication (FEAT_I8MM; Neoverse V1 and N2, Cortex-A510, A710 and later): `usmmla`.
//!
//! One instruction multiplies 2 pixels by 2 channels over 8 input channels, unsigned by signed: 32
//! multiplications. Tile: 6 pixels by 16 channels in 24 accumulators `[pixel pair][channel pair]`, each
//! `[p0 c0, p0 c1, p1 c0, p1 c1]`.
//!
//! The intrinsics are not stable in Rust; inline assembly is. Loops rather than `map` and `from_fn`: those
//! are calls in functions with features of their own.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon::CHANNELS;
use super::neon::epilogue::finish;
use crate::gemm::tile::{Activations, MicroKernel, Tile};

const PIXELS: usize = 6;

pub(crate) const KERNEL: MicroKernel = MicroKernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: 8,
    depthwise: None,
    activations: Activations::Bytes,
    no_lowest_weight: false,
    arrange: None,
    tile,
    peak,
};

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has NEON and I8MM.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: the match picks the `P` of which `t.pixels` is the double or one less; the rest is the caller's
    // promise.
    unsafe {
        match t.pixels {
            1 | 2 => pairs::<1>(t),
            3 | 4 => pairs::<2>(t),
            _ => pairs::<3>(t),
        }
    }
}

/// # Safety
/// As [`tile`], and `t.pixels` is `2 · P` or one less.
#[target_feature(enable = "neon,i8mm")]
unsafe fn pairs<const P: usize>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations (up to 15 bytes past their end) are read within the ranges that
    // `Tile` documents.
    unsafe {
        let mut bias = [vdupq_n_s32(0); 8];
        for c in 0..8 {
            let two = vld1_s32(t.bias.add(2 * c));
            bias[c] = vcombine_s32(two, two);
        }
        let mut acc = [bias; P];
        let mut weights = t.weights.cast::<i8>();
        for tap in 0..t.taps {
            // An odd last pixel has no partner: it stands in for it, and is left out at the end.
            let rows = t.rows.add(tap * PIXELS);
            let mut from = [[std::ptr::null::<u8>(); 2]; P];
            for p in 0..P {
                from[p] = [*rows.add(2 * p), *rows.add((2 * p + 1).min(t.pixels - 1))];
            }
            for step in 0..t.steps {
                let mut x = [vdupq_n_u8(0); P];
                for p in 0..P {
                    x[p] = pair(from[p][0].add(step * 8), from[p][1].add(step * 8));
                }
                one_step(&mut acc, &x, weights);
                weights = weights.add(128);
            }
        }
        let mut sums = [[vdupq_n_s32(0); 4]; PIXELS];
        for (p, acc) in acc.iter().enumerate() {
            for v in 0..4 {
                let (a, b) =
                    (vreinterpretq_s64_s32(acc[2 * v]), vreinterpretq_s64_s32(acc[2 * v + 1]));
                sums[2 * p][v] = vreinterpretq_s32_s64(vzip1q_s64(a, b));
                sums[2 * p + 1][v] = vreinterpretq_s32_s64(vzip2q_s64(a, b));
            }
        }
        finish(t, &sums[..t.pixels]);
    }
}

/// Weights are `[channel][8]`, so 16 bytes hold two channels.
///
/// # Safety
/// 128 bytes can be read at `weights`.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn one_step<const P: usize>(
    acc: &mut [[int32x4_t; 8]; P],
    x: &[uint8x16_t; P],
    weights: *const i8,
) {
    for c in 0..8 {
        // SAFETY: `c < 8`: the caller vouches for these 128 bytes.
        let w = unsafe { vld1q_s8(weights.add(16 * c)) };
        for p in 0..P {
            acc[p][c] = usmmla(acc[p][c], x[p], w);
        }
    }
}

/// `acc[2 i + j] += Σ_k x[8 i + k] · w[8 j + k]`
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn usmmla(mut acc: int32x4_t, x: uint8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction of the enabled feature, on registers only.
    unsafe {
        asm!(
            "usmmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) acc, in(vreg) x, in(vreg) w,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// Eight activations of one pixel and eight of another. (Sixteen of each, zipped, would take as many
/// instructions, and more registers than there are beside the accumulators.)
///
/// # Safety
/// 8 bytes can be read at each.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn pair(a: *const u8, b: *const u8) -> uint8x16_t {
    // SAFETY: the caller vouches for 8 bytes at each.
    let both =
        unsafe { vld1q_lane_u64::<1>(b.cast(), vcombine_u64(vld1_u64(a.cast()), vdup_n_u64(0))) };
    vreinterpretq_u8_u64(both)
}

/// See [`MicroKernel::peak`].
///
/// # Safety
/// The CPU has NEON and I8MM.
#[target_feature(enable = "neon,i8mm")]
unsafe fn peak(rounds: usize) -> u64 {
    let (x, w) = (vdupq_n_u8(3), vdupq_n_s8(5));
    let mut acc = [vdupq_n_s32(0); 24];
    for _ in 0..rounds {
        for acc in &mut acc {
            *acc = usmmla(*acc, x, w);
        }
    }
    std::hint::black_box(acc);
    rounds as u64 * 24 * 32
}
