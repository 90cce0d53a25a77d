//! Depthwise convolutions with `vpdpbusd`: the bytes of four taps lie beside each other for each channel.
//!
//! ```text
//! rows of four taps      a0 a1 a2 …   b0 b1 b2 …   c0 c1 c2 …   d0 d1 d2 …
//! unpacked twice         a0 b0 c0 d0 · a1 b1 c1 d1 · …     times weights, laid out alike: one sum a channel
//! ```
//!
//! Unpacking works within lanes of 128 bits, so sum `j` holds channels `4j..4j + 4` of every sixteen; packing sums
//! to bytes undoes just that. Where a block has 32 channels or 16, a register holds two pixels or four.

use std::arch::x86_64::*;

use crate::arch::generic::depthwise as generic;
use crate::gemm::tile::{DepthwiseWeights, MicroKernel, Output, Tile};
use crate::scalar::add_one;

const CHANNELS: usize = 64;

pub(crate) const KERNEL: MicroKernel = MicroKernel {
    pixels: PIXELS,
    depthwise: Some(DepthwiseWeights::FourTaps),
    ..generic::kernel(tile)
};

const PIXELS: usize = 8;

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: as many pixels a register as its channels leave room for; the rest is the caller's promise.
    unsafe {
        match t.channels {
            ..=16 => pixels::<4>(t),
            17..=32 => pixels::<2>(t),
            _ => pixels::<1>(t),
        }
    }
}

/// # Safety
/// As [`tile`]; the tile's channels fit a `P`th of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn pixels<const P: usize>(t: &Tile<'_>) {
    // SAFETY: bias and scale have 64 entries.
    let (bias, scale) = unsafe { (lanes::<P>(t.bias.cast()), lanes::<P>(t.scale.cast())) };
    let scale = scale.map(|scale| _mm512_castsi512_ps(scale));
    let mut first = 0;
    while first < t.pixels {
        // Where a register holds more pixels than are left, the last stands in.
        let pixel = |i: usize| (first + i).min(t.pixels - 1);
        let mut sums = bias;
        let mut tap = 0;
        while tap < t.taps {
            // SAFETY: four taps, the last standing in where there are fewer (its weights are 0); 64 channels of a row
            // can be read, and weights have 256 bytes for four taps.
            unsafe {
                let row = |i: usize| load::<P>(t, (tap + i).min(t.taps - 1), pixel);
                let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
                let low = [_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d)];
                let high = [_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d)];
                let x = [
                    _mm512_unpacklo_epi16(low[0], low[1]),
                    _mm512_unpackhi_epi16(low[0], low[1]),
                    _mm512_unpacklo_epi16(high[0], high[1]),
                    _mm512_unpackhi_epi16(high[0], high[1]),
                ];
                let w = t.weights.add(tap / 4 * 4 * CHANNELS);
                for j in 0..4 {
                    let w = _mm512_load_si512(w.add(j * CHANNELS).cast());
                    sums[j] = _mm512_dpbusd_epi32(sums[j], x[j], w);
                }
            }
            tap += 4;
        }
        // SAFETY: the pixels from `first` on are the tile's.
        unsafe { finish::<P>(t, first, sums, scale) };
        first += P;
    }
}

/// 64 bytes of one pixel's row, 32 of two pixels' or 16 of four.
///
/// # Safety
/// As [`tile`]; `tap` and the pixels are the tile's.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn load<const P: usize>(
    t: &Tile<'_>,
    tap: usize,
    pixel: impl Fn(usize) -> usize,
) -> __m512i {
    // SAFETY: rows of the tile's taps and pixels can be read for 64 channels.
    unsafe {
        let row = |i: usize| (*t.rows.add(tap * PIXELS + pixel(i))).add(t.offset);
        match P {
            1 => _mm512_loadu_si512(row(0).cast()),
            2 => {
                let first = _mm512_castsi256_si512(_mm256_loadu_si256(row(0).cast()));
                _mm512_inserti64x4::<1>(first, _mm256_loadu_si256(row(1).cast()))
            }
            _ => {
                let all = _mm512_castsi128_si512(_mm_loadu_si128(row(0).cast()));
                let all = _mm512_inserti32x4::<1>(all, _mm_loadu_si128(row(1).cast()));
                let all = _mm512_inserti32x4::<2>(all, _mm_loadu_si128(row(2).cast()));
                _mm512_inserti32x4::<3>(all, _mm_loadu_si128(row(3).cast()))
            }
        }
    }
}

/// 32-bit numbers of channels in the order of the sums.
///
/// # Safety
/// 64 of them can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn lanes<const P: usize>(from: *const i32) -> [__m512i; 4] {
    let mut numbers = [_mm512_setzero_si512(); 4];
    for (j, numbers) in numbers.iter_mut().enumerate() {
        // SAFETY: sixteens begin at 0, 16, 32 and 48.
        let lane = |i: usize| unsafe { _mm_loadu_si128(from.add(i % (4 / P) * 16 + 4 * j).cast()) };
        let all = _mm512_castsi128_si512(lane(0));
        let all = _mm512_inserti32x4::<1>(all, lane(1));
        let all = _mm512_inserti32x4::<2>(all, lane(2));
        *numbers = _mm512_inserti32x4::<3>(all, lane(3));
    }
    numbers
}

/// # Safety
/// As [`tile`]; `first` is one of its pixels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn finish<const P: usize>(
    t: &Tile<'_>,
    first: usize,
    sums: [__m512i; 4],
    scale: [__m512; 4],
) {
    let pixels = P.min(t.pixels - first);
    match &t.output {
        Output::Sums(all) => {
            let mut lanes = [[0_i32; 16]; 4];
            for (to, sums) in lanes.iter_mut().zip(sums) {
                // SAFETY: sixteen numbers are a register.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), sums) };
            }
            for at in 0..pixels * (CHANNELS / P) {
                let (pixel, c) = (at / (CHANNELS / P), at % (CHANNELS / P));
                let lane = pixel * (4 / P) + c / 16;
                // SAFETY: `all` is `[pixels][64]`.
                unsafe {
                    let sum = lanes[c % 16 / 4][lane * 4 + c % 4];
                    all.add((first + pixel) * CHANNELS + c).write(sum);
                }
            }
        }
        Output::Bytes { y, stride, requant, residual } => {
            let mut q = [_mm512_setzero_si512(); 4];
            for j in 0..4 {
                q[j] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[j]), scale[j]));
            }
            // Saturation on the way is harmless: what leaves 16 bits is far outside the clamp.
            let zero = _mm512_set1_epi16(i16::from(requant.zero));
            let low = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), zero);
            let high = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), zero);
            let bytes = _mm512_packus_epi16(low, high);
            let bytes = _mm512_min_epu8(bytes, _mm512_set1_epi8(requant.hi as i8));
            let bytes = _mm512_max_epu8(bytes, _mm512_set1_epi8(requant.lo as i8));
            let mut all = [0_u8; CHANNELS];
            // SAFETY: the tile's channels of its pixels can be written to `y` and read from `r`.
            unsafe {
                if P == 1 && residual.is_none() {
                    let mask = u64::MAX >> (CHANNELS - t.channels);
                    return _mm512_mask_storeu_epi8(y.add(first * stride).cast(), mask, bytes);
                }
                _mm512_storeu_si512(all.as_mut_ptr().cast(), bytes);
                for pixel in 0..pixels {
                    let q = &mut all[pixel * (CHANNELS / P)..][..t.channels];
                    if let Some((r, add)) = residual {
                        let r = r.add((first + pixel) * add.stride);
                        let r = std::slice::from_raw_parts(r, t.channels);
                        for (q, r) in q.iter_mut().zip(r) {
                            *q = add_one(add, requant.zero, *q, *r);
                        }
                    }
                    let y = y.add((first + pixel) * stride);
                    let mask = u32::MAX.unbounded_shr(32 - t.channels.min(32) as u32);
                    if P == 1 {
                        std::ptr::copy_nonoverlapping(q.as_ptr(), y, t.channels);
                    } else {
                        // One masked store instead of a copy of unknown length.
                        let q = _mm256_maskz_loadu_epi8(mask, q.as_ptr().cast());
                        _mm256_mask_storeu_epi8(y.cast(), mask, q);
                    }
                }
            }
        }
    }
}
