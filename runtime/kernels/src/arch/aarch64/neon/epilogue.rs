//! From a tile's sums to what its output asks for: requantize, add, clamp, store. Every set of this
//! architecture uses it.

use std::arch::aarch64::*;

use super::CHANNELS;
use crate::gemm::tile::{Output, Requant, Tile};
use crate::spec::Residual;

/// A copy in memory for [`finish`]: handing out a reference to the accumulators would keep them out of
/// registers all along.
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

/// Writes the tile, by whatever way its output asks for. `sums` is `[pixel][4 channels each]`.
///
/// # Safety
/// See [`MicroKernel::tile`](crate::gemm::tile::MicroKernel::tile); `sums` has `t.pixels` rows.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn finish(t: &Tile<'_>, sums: &[[int32x4_t; 4]]) {
    // SAFETY: `r` is one of the tile's pixels: inside what `Output` grants; `write` and `write_added` get what
    // `t.output` holds.
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
        // SAFETY: `pixel` is one of the tile's, whose channels can be written at `y`.
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
        // SAFETY: `pixel` is one of the tile's, whose channels can be written at `y`.
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
    // SAFETY: the caller vouches for the tile's channels, at most 16, which `part` has.
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
    // SAFETY: the caller vouches for the tile's channels, at most 16, which `part` has.
    unsafe {
        if t.channels == CHANNELS {
            return vst1q_u8(y, q);
        }
        let mut part = [0u8; CHANNELS];
        vst1q_u8(part.as_mut_ptr(), q);
        std::ptr::copy_nonoverlapping(part.as_ptr(), y, t.channels);
    }
}
