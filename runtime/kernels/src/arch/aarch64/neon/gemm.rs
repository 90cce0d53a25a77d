//! The micro-kernel: `smull`, `smlal`, `sadalp`.
//!
//! Two byte products fit 16 bits if weights are not −128: `smull` of one pair of channels, `smlal` of the next, then
//! `sadalp` adds neighbours into 32 bits: 16 multiplications in three instructions. Tile: 4 pixels by 16 channels.

use std::arch::aarch64::*;
use std::arch::asm;

use super::epilogue::{finish, kept};
use super::{CHANNELS, bias};
use crate::gemm::tile::{Activations, MicroKernel, Tile};

const PIXELS: usize = 4;

pub(crate) const KERNEL: MicroKernel = MicroKernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: 2,
    depthwise: None,
    activations: Activations::Signed,
    no_lowest_weight: true,
    arrange: None,
    tile,
    peak,
};

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has NEON, as every one of this architecture.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: `STEPS` divides `t.steps` in either case; the rest is the caller's promise.
    unsafe { if t.steps.is_multiple_of(8) { pixels::<8>(t) } else { pixels::<1>(t) } }
}

/// # Safety
/// As [`tile`], and `t.steps` is a multiple of `STEPS`.
unsafe fn pixels<const STEPS: usize>(t: &Tile<'_>) {
    // SAFETY: the match picks the `P` that equals `t.pixels`; the rest is the caller's promise.
    unsafe {
        match t.pixels {
            1 => rows::<1, STEPS>(t),
            2 => rows::<2, STEPS>(t),
            3 => rows::<3, STEPS>(t),
            _ => rows::<4, STEPS>(t),
        }
    }
}

/// One loop, of one or eight steps a turn, as in `dotprod.rs`.
///
/// # Safety
/// As [`pixels`], and `t.pixels == P`.
#[target_feature(enable = "neon")]
unsafe fn rows<const P: usize, const STEPS: usize>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations (up to 15 bytes past their end) are read within the ranges that
    // `Tile` documents.
    unsafe {
        let mut acc = [bias(t); P];
        let mut weights = t.weights.cast::<i8>();
        for tap in 0..t.taps {
            let rows = t.rows.add(tap * PIXELS);
            let mut from = [std::ptr::null(); P];
            for r in 0..P {
                from[r] = *rows.add(r);
            }
            for _ in 0..t.steps / STEPS {
                let x = load_pairs(&mut from, 2 * STEPS);
                if STEPS == 8 {
                    two_steps::<P, 0, 1>(&mut acc, &x, weights);
                    two_steps::<P, 2, 3>(&mut acc, &x, weights.add(64));
                    two_steps::<P, 4, 5>(&mut acc, &x, weights.add(128));
                    two_steps::<P, 6, 7>(&mut acc, &x, weights.add(192));
                } else {
                    one_step(&mut acc, &x, weights);
                }
                weights = weights.add(32 * STEPS);
            }
        }
        finish(t, &kept(&acc));
    }
}

/// 16 activations of each pixel, seen as pairs; then each row moves on by `next` bytes.
///
/// # Safety
/// 16 bytes can be read at each row.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_pairs<const P: usize>(rows: &mut [*const u8; P], next: usize) -> [int16x8_t; P] {
    let mut x = [vdupq_n_s16(0); P];
    for r in 0..P {
        // SAFETY: the caller vouches for 16 bytes at each row.
        x[r] = vreinterpretq_s16_u8(unsafe { vld1q_u8(rows[r]) });
        rows[r] = rows[r].wrapping_add(next);
    }
    x
}

/// Steps `A` and `B` (of eight in `x`): weights are `[step][channel][2]`, so 16 bytes hold 8 channels.
///
/// # Safety
/// 64 bytes can be read at `weights`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn two_steps<const P: usize, const A: i32, const B: i32>(
    acc: &mut [[int32x4_t; 4]; P],
    x: &[int16x8_t; P],
    weights: *const i8,
) {
    // SAFETY: `i < 4`: the caller vouches for these 64 bytes.
    let w = |i: usize| unsafe { vld1q_s8(weights.add(16 * i)) };
    let w = [w(0), w(1), w(2), w(3)];
    for r in 0..P {
        let a = vreinterpretq_s8_s16(vdupq_laneq_s16::<A>(x[r]));
        let b = vreinterpretq_s8_s16(vdupq_laneq_s16::<B>(x[r]));
        for half in 0..2 {
            let low = vmull_s8(vget_low_s8(a), vget_low_s8(w[half]));
            let low = vmlal_s8(low, vget_low_s8(b), vget_low_s8(w[2 + half]));
            let high = vmull_high_s8(a, w[half]);
            let high = vmlal_high_s8(high, b, w[2 + half]);
            acc[r][2 * half] = vpadalq_s16(acc[r][2 * half], low);
            acc[r][2 * half + 1] = vpadalq_s16(acc[r][2 * half + 1], high);
        }
    }
}

/// The first step in `x`.
///
/// # Safety
/// 32 bytes can be read at `weights`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn one_step<const P: usize>(
    acc: &mut [[int32x4_t; 4]; P],
    x: &[int16x8_t; P],
    weights: *const i8,
) {
    // SAFETY: `i < 2`: the caller vouches for these 32 bytes.
    let w = |i: usize| unsafe { vld1q_s8(weights.add(16 * i)) };
    let w = [w(0), w(1)];
    for r in 0..P {
        let a = vreinterpretq_s8_s16(vdupq_laneq_s16::<0>(x[r]));
        for half in 0..2 {
            let low = vmull_s8(vget_low_s8(a), vget_low_s8(w[half]));
            acc[r][2 * half] = vpadalq_s16(acc[r][2 * half], low);
            acc[r][2 * half + 1] = vpadalq_s16(acc[r][2 * half + 1], vmull_high_s8(a, w[half]));
        }
    }
}

/// See [`MicroKernel::peak`].
///
/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
unsafe fn peak(rounds: usize) -> u64 {
    let (x, w) = (vdupq_n_s8(3), vdupq_n_s8(5));
    let mut acc = [vdupq_n_s32(0); 16];
    for _ in 0..rounds {
        for acc in &mut acc {
            // SAFETY: three instructions of the base set, on registers only. As assembly, because a compiler would
            // compute the equal products once.
            unsafe {
                asm!(
                    "smull {t:v}.8h, {x:v}.8b, {w:v}.8b",
                    "smlal2 {t:v}.8h, {x:v}.16b, {w:v}.16b",
                    "sadalp {acc:v}.4s, {t:v}.8h",
                    x = in(vreg) x, w = in(vreg) w, acc = inout(vreg) *acc, t = out(vreg) _,
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
    std::hint::black_box(acc);
    rounds as u64 * 16 * 16
}
