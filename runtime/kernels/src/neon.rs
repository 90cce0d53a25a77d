//! NEON without dot products (Cortex-A53, A57, A72; Raspberry Pi 4, Jetson Nano): `smull`, `smlal`, `sadalp`.
//!
//! Two byte products fit 16 bits if weights are not −128: `smull` of one pair of channels, `smlal` of the next, then
//! `sadalp` adds neighbours into 32 bits: 16 multiplications in three instructions. Tile: 4 pixels by 16 channels.
//! The last step to bytes is shared with the other sets of this architecture.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::spec::Residual;
use crate::tile::{Activations, Kernel, Output, Requant, Tile};

const PIXELS: usize = 4;
pub(crate) const CHANNELS: usize = 16;

pub(crate) const KERNEL: Kernel = Kernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: 2,
    depthwise: false,
    activations: Activations::Signed,
    no_lowest_weight: true,
    arrange: None,
    tile,
    peak,
};

/// # Safety
/// See [`Kernel::tile`]; the CPU has NEON, as every one of this architecture.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: as this function demands.
    unsafe { if t.steps.is_multiple_of(8) { pixels::<8>(t) } else { pixels::<1>(t) } }
}

/// # Safety
/// As [`tile`], and `t.steps` is a multiple of `STEPS`.
unsafe fn pixels<const STEPS: usize>(t: &Tile<'_>) {
    // SAFETY: as this function demands.
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
    // SAFETY: bias, rows, weights and activations (up to 15 bytes past their end) are read within the ranges that `Tile`
    // documents.
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

/// What each pixel's sums start from.
///
/// # Safety
/// See [`Tile::bias`].
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn bias(t: &Tile<'_>) -> [int32x4_t; 4] {
    // SAFETY: as this function demands.
    let at = |v: usize| unsafe { vld1q_s32(t.bias.add(4 * v)) };
    [at(0), at(1), at(2), at(3)]
}

/// A copy in memory for [`finish`]: handing out a reference to the accumulators would keep them out of registers all along.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn kept<const P: usize>(acc: &[[int32x4_t; 4]; P]) -> [[int32x4_t; 4]; P] {
    let mut sums = [[vdupq_n_s32(0); 4]; P];
    for r in 0..P {
        for v in 0..4 {
            sums[r][v] = acc[r][v];
        }
    }
    sums
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
        // SAFETY: as this function demands.
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
    // SAFETY: as this function demands.
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
    // SAFETY: as this function demands.
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

/// Writes the tile, by whatever way its output asks for. `sums` is `[pixel][4 channels each]`.
///
/// # Safety
/// See [`Kernel::tile`]; `sums` has `t.pixels` rows.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn finish(t: &Tile<'_>, sums: &[[int32x4_t; 4]]) {
    // SAFETY: as this function demands.
    unsafe {
        match &t.output {
            Output::Sums(all) => {
                for (r, row) in sums.iter().enumerate() {
                    for (v, sums) in row.iter().enumerate() {
                        vst1q_s32(all.add(r * CHANNELS + 4 * v), *sums);
                    }
                }
            }
            Output::Bytes { y, stride, requant, residual: None } => {
                write(t, sums, *y, *stride, requant)
            }
            Output::Bytes { y, stride, requant, residual: Some((r, add)) } => {
                write_added(t, sums, *y, *stride, requant, *r, add);
            }
        }
    }
}

/// # Safety
/// As [`finish`]; `y` and `stride` are those of `t.output`.
#[target_feature(enable = "neon")]
unsafe fn write(
    t: &Tile<'_>,
    sums: &[[int32x4_t; 4]],
    y: *mut u8,
    stride: usize,
    requant: &Requant,
) {
    // SAFETY: `scale` has 16 entries.
    let scale = |v: usize| unsafe { vld1q_f32(t.scale.add(4 * v)) };
    let scale = [scale(0), scale(1), scale(2), scale(3)];
    for (pixel, row) in sums.iter().enumerate() {
        let q = |v: usize| vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(row[v]), scale[v]));
        let q = bytes([q(0), q(1), q(2), q(3)], requant.zero, requant.lo, requant.hi);
        // SAFETY: as this function demands.
        unsafe { store(t, q, y.add(pixel * stride)) };
    }
}

/// # Safety
/// As [`finish`]; the other arguments are those of `t.output`.
#[target_feature(enable = "neon")]
unsafe fn write_added(
    t: &Tile<'_>,
    sums: &[[int32x4_t; 4]],
    y: *mut u8,
    stride: usize,
    requant: &Requant,
    r: *const u8,
    add: &Residual,
) {
    // SAFETY: `scale` has 16 entries.
    let scale = |v: usize| unsafe { vld1q_f32(t.scale.add(4 * v)) };
    let scale = [scale(0), scale(1), scale(2), scale(3)];
    let zero = i32::from(requant.zero);
    let (lo, hi) =
        (vdupq_n_s32(i32::from(requant.lo) - zero), vdupq_n_s32(i32::from(requant.hi) - zero));
    let (conv_ratio, ratio) = (vdupq_n_f32(add.conv_ratio), vdupq_n_f32(add.ratio));
    for (pixel, row) in sums.iter().enumerate() {
        // SAFETY: `r` can be read for the tile's channels of each of its pixels.
        let r = unsafe { load(t, r.add(pixel * add.stride)) };
        let r_zero = vdup_n_u8(add.zero);
        // r − zero in 16 bits: the wrapped difference of bytes is the signed one.
        let low = vreinterpretq_s16_u16(vsubl_u8(vget_low_u8(r), r_zero));
        let high = vreinterpretq_s16_u16(vsubl_u8(vget_high_u8(r), r_zero));
        let r = [
            vmovl_s16(vget_low_s16(low)),
            vmovl_high_s16(low),
            vmovl_s16(vget_low_s16(high)),
            vmovl_high_s16(high),
        ];
        let q = |v: usize| {
            // c − zero of the convolution's own result, as the definition rounds and clamps it
            let c = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(row[v]), scale[v]));
            let c = vcvtq_f32_s32(vmaxq_s32(vminq_s32(c, hi), lo));
            let sum = vaddq_f32(vmulq_f32(c, conv_ratio), vmulq_f32(vcvtq_f32_s32(r[v]), ratio));
            vcvtnq_s32_f32(sum)
        };
        let q = bytes([q(0), q(1), q(2), q(3)], add.out_zero, add.lo, add.hi);
        // SAFETY: as this function demands.
        unsafe { store(t, q, y.add(pixel * stride)) };
    }
}

/// Plus zero point, clamp. Saturation on the way is harmless: what leaves 16 bits is far outside `lo..=hi`.
#[inline]
#[target_feature(enable = "neon")]
fn bytes(q: [int32x4_t; 4], zero: u8, lo: u8, hi: u8) -> uint8x16_t {
    let zero = vdupq_n_s16(i16::from(zero));
    let low = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(q[0]), q[1]), zero);
    let high = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(q[2]), q[3]), zero);
    let bytes = vqmovun_high_s16(vqmovun_s16(low), high);
    vmaxq_u8(vminq_u8(bytes, vdupq_n_u8(hi)), vdupq_n_u8(lo))
}

/// # Safety
/// `r` can be read for the tile's channels.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(t: &Tile<'_>, r: *const u8) -> uint8x16_t {
    // SAFETY: as this function demands; `part` has 16 bytes.
    unsafe {
        if t.channels == CHANNELS {
            return vld1q_u8(r);
        }
        let mut part = [0u8; CHANNELS];
        std::ptr::copy_nonoverlapping(r, part.as_mut_ptr(), t.channels);
        vld1q_u8(part.as_ptr())
    }
}

/// # Safety
/// `y` can be written for the tile's channels.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store(t: &Tile<'_>, q: uint8x16_t, y: *mut u8) {
    // SAFETY: as this function demands; `part` has 16 bytes.
    unsafe {
        if t.channels == CHANNELS {
            return vst1q_u8(y, q);
        }
        let mut part = [0u8; CHANNELS];
        vst1q_u8(part.as_mut_ptr(), q);
        std::ptr::copy_nonoverlapping(part.as_ptr(), y, t.channels);
    }
}

/// See [`Kernel::peak`].
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
