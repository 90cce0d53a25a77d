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
    // SAFETY: `STEPS` divides `t.steps` in either case; the rest is the caller's promise.
    unsafe { if t.steps.is_multiple_of(2) { pixels::<2>(t) } else { pixels::<1>(t) } }
}

/// # Safety
/// As [`tile`], and `t.steps` is a multiple of `STEPS`.
unsafe fn pixels<const STEPS: usize>(t: &Tile<'_>) {
    // SAFETY: the match picks the `P` of which `t.pixels` is the double or one less; the rest is the caller's
    // promise.
    unsafe {
        match t.pixels {
            1 | 2 => pairs::<1, STEPS>(t),
            3 | 4 => pairs::<2, STEPS>(t),
            _ => pairs::<3, STEPS>(t),
        }
    }
}

/// One loop, of one or two steps a turn, as in `dotprod.rs`.
///
/// # Safety
/// As [`pixels`], and `t.pixels` is `2 · P` or one less.
#[target_feature(enable = "neon,i8mm")]
unsafe fn pairs<const P: usize, const STEPS: usize>(t: &Tile<'_>) {
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
            for _ in 0..t.steps / STEPS {
                let x = load(&mut from);
                one_step::<P, 0>(&mut acc, &x, weights);
                if STEPS == 2 {
                    let x = load(&mut from);
                    one_step::<P, 1>(&mut acc, &x, weights);
                }
                weights = weights.add(128 * STEPS);
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

/// Eight activations of both pixels of each pair; then each row moves on by as many bytes. (Sixteen of each, zipped,
/// would take as many instructions, and more registers than there are beside the accumulators.) As assembly: a
/// compiler computes an address for each second load, which has no other way to move on.
///
/// # Safety
/// 8 bytes can be read at each row.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load<const P: usize>(rows: &mut [[*const u8; 2]; P]) -> [uint8x16_t; P] {
    let mut x = [vdupq_n_u8(0); P];
    for p in 0..P {
        let [a, b] = &mut rows[p];
        // SAFETY: the caller vouches for 8 bytes at each row.
        unsafe {
            asm!(
                "ldr {x:d}, [{a}], #8",
                "ld1 {{{x:v}.d}}[1], [{b}], #8",
                x = out(vreg) x[p], a = inout(reg) *a, b = inout(reg) *b,
                options(readonly, nostack, preserves_flags)
            );
        }
    }
    x
}

/// `acc[2 i + j] += Σ_k x[8 i + k] · w[8 j + k]` for two vectors of weights and the pairs of pixels `$p`. The weights
/// are loaded inside, as in `dotprod.rs`.
macro_rules! usmmla_two {
    ($acc:expr, $x:expr, $weights:expr, $c:expr, $step:expr, [$($p:literal)*]) => {
        asm!(
            "ldp {w0:q}, {w1:q}, [{weights}, #{at}]",
            $(concat!("usmmla {:v}.4s, {:v}.16b, {w0:v}.16b // pair ", $p),)*
            $(concat!("usmmla {:v}.4s, {:v}.16b, {w1:v}.16b // pair ", $p),)*
            $(inout(vreg) $acc[$p][$c], in(vreg) $x[$p],)*
            $(inout(vreg) $acc[$p][$c + 1], in(vreg) $x[$p],)*
            w0 = out(vreg) _, w1 = out(vreg) _,
            weights = in(reg) $weights, at = const 128 * $step + 16 * $c,
            options(pure, readonly, nostack, preserves_flags)
        )
    };
}

/// Step `STEP` of two; weights are `[step][channel][8]`, so 16 bytes hold two channels.
///
/// # Safety
/// 128 bytes can be read at `weights` for this step and those before it.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn one_step<const P: usize, const STEP: i32>(
    acc: &mut [[int32x4_t; 8]; P],
    x: &[uint8x16_t; P],
    weights: *const i8,
) {
    macro_rules! usmmla_step {
        ($($p:literal)*) => {{
            // SAFETY: instructions of the enabled feature; they read the 128 bytes that the caller vouches for.
            unsafe {
                usmmla_two!(acc, x, weights, 0, STEP, [$($p)*]);
                usmmla_two!(acc, x, weights, 2, STEP, [$($p)*]);
                usmmla_two!(acc, x, weights, 4, STEP, [$($p)*]);
                usmmla_two!(acc, x, weights, 6, STEP, [$($p)*]);
            }
        }};
    }
    match P {
        1 => usmmla_step!(0),
        2 => usmmla_step!(0 1),
        _ => usmmla_step!(0 1 2),
    }
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
            // SAFETY: one instruction of the enabled feature, on registers only.
            unsafe {
                asm!(
                    "usmmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
                    inout(vreg) *acc, in(vreg) x, in(vreg) w,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
    }
    std::hint::black_box(acc);
    rounds as u64 * 24 * 32
}
