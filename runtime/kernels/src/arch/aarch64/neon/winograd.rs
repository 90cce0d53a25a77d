//! Winograd's form on NEON without dot products: `smlal` by lane, four multiplications of 16-bit numbers,
//! where the plain convolution gets 16 of bytes out of three instructions and a fourth that spreads
//! activations.

use std::arch::aarch64::*;

use super::epilogue::finish;
use super::{CHANNELS, bias, gemm};
use crate::gemm::tile::{Activations, MicroKernel, Output, Tile};
use crate::winograd::transform::{input, output, weights};
use crate::winograd::vector::Vector;
use crate::winograd::{InputTransform, OutputTransform, WeightTransform, WinogradKernels};

const PIXELS: usize = 6;

pub(crate) const WINOGRAD: WinogradKernels = WinogradKernels {
    product: &WIDE,
    plain: 1,
    chunk: <int16x8_t as Vector>::WORDS,
    weights: transform_weights,
    fused: None,
    input: transform_input,
    output: transform_output,
    finish: finish_sums,
};

/// 6 pixels by 16 channels: 24 accumulators, 6 vectors of activations, 2 of weights.
pub(crate) const WIDE: MicroKernel = MicroKernel {
    pixels: PIXELS,
    depth: 1,
    activations: Activations::Bytes,
    no_lowest_weight: false,
    arrange: None,
    tile: wide_tile,
    ..gemm::KERNEL
};

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has NEON, and `t.steps` is a multiple of 8.
unsafe fn wide_tile(t: &Tile<'_>) {
    debug_assert!(t.taps == 1 && t.steps.is_multiple_of(8), "{} steps", t.steps);
    // SAFETY: the match picks the `P` that equals `t.pixels`; the rest is the caller's promise.
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
/// As [`wide_tile`], and `t.pixels == P`.
#[target_feature(enable = "neon")]
unsafe fn rows<const P: usize>(t: &Tile<'_>) {
    let Output::Sums(all) = t.output else { unreachable!("products are not requantized") };
    // SAFETY: bias, rows, weights and activations are read, and sums written, within the ranges that `Tile`
    // documents.
    unsafe {
        let mut acc = [bias(t); P];
        let mut weights = t.weights.cast::<i16>();
        let mut from = [std::ptr::null::<i16>(); P];
        for r in 0..P {
            from[r] = (*t.rows.add(r)).cast();
        }
        for _ in 0..t.steps / 8 {
            let mut x = [vdupq_n_s16(0); P];
            for r in 0..P {
                x[r] = vld1q_s16(from[r]);
                from[r] = from[r].add(8);
            }
            one_step::<P, 0>(&mut acc, &x, weights);
            one_step::<P, 1>(&mut acc, &x, weights.add(CHANNELS));
            one_step::<P, 2>(&mut acc, &x, weights.add(2 * CHANNELS));
            one_step::<P, 3>(&mut acc, &x, weights.add(3 * CHANNELS));
            one_step::<P, 4>(&mut acc, &x, weights.add(4 * CHANNELS));
            one_step::<P, 5>(&mut acc, &x, weights.add(5 * CHANNELS));
            one_step::<P, 6>(&mut acc, &x, weights.add(6 * CHANNELS));
            one_step::<P, 7>(&mut acc, &x, weights.add(7 * CHANNELS));
            weights = weights.add(8 * CHANNELS);
        }
        for r in 0..P {
            for v in 0..4 {
                vst1q_s32(all.add(r * CHANNELS + 4 * v), acc[r][v]);
            }
        }
    }
}

/// Step `LANE` of eight in `x`.
///
/// # Safety
/// 16 weights can be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn one_step<const P: usize, const LANE: i32>(
    acc: &mut [[int32x4_t; 4]; P],
    x: &[int16x8_t; P],
    weights: *const i16,
) {
    // SAFETY: the caller vouches for 16 weights.
    let w = unsafe { [vld1q_s16(weights), vld1q_s16(weights.add(8))] };
    for r in 0..P {
        for half in 0..2 {
            let low = vget_low_s16(w[half]);
            acc[r][2 * half] = vmlal_laneq_s16::<LANE>(acc[r][2 * half], low, x[r]);
            acc[r][2 * half + 1] =
                vmlal_high_laneq_s16::<LANE>(acc[r][2 * half + 1], w[half], x[r]);
        }
    }
}

/// # Safety
/// See [`weights`]; the CPU has NEON.
#[target_feature(enable = "neon")]
unsafe fn transform_weights(t: &WeightTransform) {
    // SAFETY: `N` is `product.channels · product.depth` of `WIDE`, the attribute enables what `Vector` needs, and the
    // caller vouches for the pointers.
    unsafe { weights::<int16x8_t, CHANNELS>(t) }
}

/// # Safety
/// See [`input`]; the CPU has NEON.
#[target_feature(enable = "neon")]
unsafe fn transform_input(t: &InputTransform) {
    // SAFETY: the attribute enables what `Vector` needs, and the caller vouches for the pointers.
    unsafe { input::<int16x8_t>(t) }
}

/// # Safety
/// See [`output`]; the CPU has NEON.
#[target_feature(enable = "neon")]
unsafe fn transform_output(t: &OutputTransform) {
    // SAFETY: `N` is `product.channels` of `WIDE`, the attribute enables what `Vector` needs, and the caller vouches
    // for the pointers.
    unsafe { output::<int16x8_t, CHANNELS>(t) }
}

/// # Safety
/// See [`WinogradKernels::finish`]; the CPU has NEON.
#[target_feature(enable = "neon")]
unsafe fn finish_sums(t: &Tile<'_>, from: *const i32) {
    // SAFETY: there are four vectors for each pixel.
    unsafe { finish(t, std::slice::from_raw_parts(from.cast::<[int32x4_t; 4]>(), t.pixels)) }
}

#[rustfmt::skip]
#[expect(clippy::undocumented_unsafe_blocks, reason = "each is one intrinsic, under the condition of the trait")]
impl Vector for int16x8_t {
    const WORDS: usize = 8;
    #[inline(always)] unsafe fn zero() -> Self { unsafe { vdupq_n_s16(0) } }
    #[inline(always)] unsafe fn from_u8(from: *const u8) -> Self { unsafe { vreinterpretq_s16_u16(vmovl_u8(vld1_u8(from))) } }
    #[inline(always)] unsafe fn from_i8(from: *const i8) -> Self { unsafe { vmovl_s8(vld1_s8(from)) } }
    #[inline(always)] unsafe fn load(from: *const i32) -> Self { unsafe { vld1q_s16(from.cast()) } }
    #[inline(always)] unsafe fn store(self, to: *mut i32) { unsafe { vst1q_s16(to.cast(), self) } }
    #[inline(always)] unsafe fn add16(self, other: Self) -> Self { unsafe { vaddq_s16(self, other) } }
    #[inline(always)] unsafe fn sub16(self, other: Self) -> Self { unsafe { vsubq_s16(self, other) } }
    #[inline(always)] unsafe fn double16(self) -> Self { unsafe { vaddq_s16(self, self) } }
    #[inline(always)] unsafe fn quadruple16(self) -> Self { unsafe { vshlq_n_s16::<2>(self) } }
    #[inline(always)] unsafe fn add32(self, other: Self) -> Self { unsafe { words(vaddq_s32(ints(self), ints(other))) } }
    #[inline(always)] unsafe fn sub32(self, other: Self) -> Self { unsafe { words(vsubq_s32(ints(self), ints(other))) } }
    #[inline(always)] unsafe fn double32(self) -> Self { unsafe { words(vaddq_s32(ints(self), ints(self))) } }
    #[inline(always)] unsafe fn times32(self, factor: i32) -> Self { unsafe { words(vmulq_n_s32(ints(self), factor)) } }
    #[inline(always)] unsafe fn shift_right32<const BITS: i32>(self) -> Self { unsafe { words(vshrq_n_s32::<BITS>(ints(self))) } }
}

/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn ints(v: int16x8_t) -> int32x4_t {
    // SAFETY: the CPU has NEON, says the caller; registers only.
    unsafe { vreinterpretq_s32_s16(v) }
}

/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn words(v: int32x4_t) -> int16x8_t {
    // SAFETY: the CPU has NEON, says the caller; registers only.
    unsafe { vreinterpretq_s16_s32(v) }
}
