//! NEON with dot products (Cortex-A55, A76, A78AE; Raspberry Pi 5, Jetson Orin): `sdot`, 16 multiplications.
//!
//! `sdot` cannot mix signs, so activations come as signed bytes. Tile: 6 pixels by 16 channels, 24 accumulators of 32
//! registers; a 16-byte load of a pixel serves four steps by lane, and weights are loaded in pairs.
//!
//! The intrinsics are not stable in Rust; inline assembly is. Loops rather than `map` and `from_fn`: those
//! are calls in functions with features of their own.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon::epilogue::{finish, kept};
use super::neon::{CHANNELS, bias};
use crate::gemm::tile::{Activations, MicroKernel, Tile};

const PIXELS: usize = 6;

pub(crate) const KERNEL: MicroKernel = MicroKernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: 4,
    depthwise: None,
    activations: Activations::Signed,
    no_lowest_weight: false,
    arrange: None,
    tile,
    peak,
};

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has NEON and dot products.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: `STEPS` divides `t.steps` in either case; the rest is the caller's promise.
    unsafe { if t.steps.is_multiple_of(4) { pixels::<4>(t) } else { pixels::<1>(t) } }
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
            4 => rows::<4, STEPS>(t),
            5 => rows::<5, STEPS>(t),
            _ => rows::<6, STEPS>(t),
        }
    }
}

/// One loop, of one or four steps a turn: a second one for a remainder would make the compiler move
/// accumulators about between the two.
///
/// # Safety
/// As [`pixels`], and `t.pixels == P`.
#[target_feature(enable = "neon,dotprod")]
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
                let x = load(&mut from, 4 * STEPS);
                one_step::<P, 0>(&mut acc, &x, weights);
                if STEPS == 4 {
                    one_step::<P, 1>(&mut acc, &x, weights);
                    one_step::<P, 2>(&mut acc, &x, weights);
                    one_step::<P, 3>(&mut acc, &x, weights);
                }
                weights = weights.add(64 * STEPS);
            }
        }
        finish(t, &kept(&acc));
    }
}

/// 16 activations of each pixel; then each row moves on by `next` bytes.
///
/// # Safety
/// 16 bytes can be read at each row.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load<const P: usize>(rows: &mut [*const u8; P], next: usize) -> [int8x16_t; P] {
    let mut x = [vdupq_n_s8(0); P];
    for r in 0..P {
        // SAFETY: the caller vouches for 16 bytes at each row.
        x[r] = unsafe { vld1q_s8(rows[r].cast()) };
        rows[r] = rows[r].wrapping_add(next);
    }
    x
}

/// `acc[i] += Σ_j w[4 i + j] · x[4 LANE + j]` for two vectors of weights and the pixels `$r`. The weights are
/// loaded inside: left to the compiler they would be loaded early, and there is no register to spare.
macro_rules! sdot_pair {
    ($acc:expr, $x:expr, $weights:expr, $v:expr, $lane:expr, [$($r:literal)*]) => {
        asm!(
            "ldp {w0:q}, {w1:q}, [{weights}, #{at}]",
            $(concat!("sdot {:v}.4s, {w0:v}.16b, {:v}.4b[{lane}] // pixel ", $r),)*
            $(concat!("sdot {:v}.4s, {w1:v}.16b, {:v}.4b[{lane}] // pixel ", $r),)*
            $(inout(vreg) $acc[$r][$v], in(vreg) $x[$r],)*
            $(inout(vreg) $acc[$r][$v + 1], in(vreg) $x[$r],)*
            w0 = out(vreg) _, w1 = out(vreg) _,
            weights = in(reg) $weights, at = const 64 * $lane + 16 * $v, lane = const $lane,
            options(pure, readonly, nostack, preserves_flags)
        )
    };
}

/// Step `LANE` of four in `x`; weights are `[step][channel][4]`.
///
/// # Safety
/// 64 bytes can be read at `weights` for this step and those before it.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn one_step<const P: usize, const LANE: i32>(
    acc: &mut [[int32x4_t; 4]; P],
    x: &[int8x16_t; P],
    weights: *const i8,
) {
    macro_rules! sdot_step {
        ($($r:literal)*) => {{
            // SAFETY: instructions of the enabled feature; they read the 64 bytes that the caller vouches for.
            unsafe {
                sdot_pair!(acc, x, weights, 0, LANE, [$($r)*]);
                sdot_pair!(acc, x, weights, 2, LANE, [$($r)*]);
            }
        }};
    }
    match P {
        1 => sdot_step!(0),
        2 => sdot_step!(0 1),
        3 => sdot_step!(0 1 2),
        4 => sdot_step!(0 1 2 3),
        5 => sdot_step!(0 1 2 3 4),
        _ => sdot_step!(0 1 2 3 4 5),
    }
}

/// See [`MicroKernel::peak`].
///
/// # Safety
/// The CPU has NEON and dot products.
#[target_feature(enable = "neon,dotprod")]
unsafe fn peak(rounds: usize) -> u64 {
    let (x, w) = (vdupq_n_s8(3), vdupq_n_s8(5));
    let mut acc = [vdupq_n_s32(0); 24];
    for _ in 0..rounds {
        for acc in &mut acc {
            // SAFETY: one instruction of the enabled feature, on registers only.
            unsafe {
                asm!(
                    "sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[0]",
                    inout(vreg) *acc, in(vreg) w, in(vreg) x,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
    }
    std::hint::black_box(acc);
    rounds as u64 * 24 * 16
}
