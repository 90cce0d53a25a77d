//! Depthwise convolutions: the bytes of four taps lie beside each other for each channel.
//!
//! ```text
//! rows of four taps      a0 a1 a2 …   b0 b1 b2 …   c0 c1 c2 …   d0 d1 d2 …
//! unpacked twice         a0 b0 c0 d0 · a1 b1 c1 d1 · …     times weights, laid out alike: one sum a channel
//! ```
//!
//! AVX2 multiplies a and c, then b and d, as 16-bit numbers; AVX-VNNI all four at once. Unpacking works within lanes
//! of 128 bits, so sum `j` holds channels `4j..4j + 4` of every sixteen; packing sums to bytes undoes just that.
//! Where a block has 16 channels at most, a register holds two pixels.

use std::arch::x86_64::*;

use crate::arch::generic::depthwise as generic;
use crate::gemm::tile::{DepthwiseWeights, MicroKernel, Output, Tile};
use crate::scalar::add_one;

/// Channels of a block.
const CHANNELS: usize = 64;
/// Channels of a register.
const HALF: usize = 32;
pub(crate) const PIXELS: usize = 8;

pub(crate) const KERNEL: MicroKernel = MicroKernel {
    pixels: PIXELS,
    depthwise: Some(DepthwiseWeights::FourTapsWide),
    ..generic::kernel(tile)
};

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: `channels` asks the same of the tile; the attribute enables what `Words` needs.
    unsafe { channels::<Words>(t) }
}

/// How four taps are multiplied.
///
/// # Safety
/// Of the function: the CPU has the implementing set's instructions, and `w` is [`FourTaps::HALF`] readable bytes,
/// aligned to 32.
pub(crate) trait FourTaps {
    /// Bytes of weights for 8 channels.
    const HALF: usize;

    unsafe fn add(sums: __m256i, x: __m256i, w: *const u8) -> __m256i;
}

struct Words;

impl FourTaps for Words {
    const HALF: usize = 64;

    #[inline(always)]
    unsafe fn add(sums: __m256i, x: __m256i, w: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the CPU and for two registers of weights.
        unsafe {
            let even = _mm256_and_si256(x, _mm256_set1_epi16(0xff));
            let odd = _mm256_srli_epi16::<8>(x);
            let even = _mm256_madd_epi16(even, _mm256_load_si256(w.cast()));
            let odd = _mm256_madd_epi16(odd, _mm256_load_si256(w.add(32).cast()));
            _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
        }
    }
}

// No closures and no iterators below: they are not inlined into functions with features of their own, and then the
// intrinsics in them are calls.

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has AVX2 and what `F` needs.
#[inline(always)]
pub(crate) unsafe fn channels<F: FourTaps>(t: &Tile<'_>) {
    // SAFETY: as many pixels a register as the channels leave room for; the rest is the caller's promise.
    unsafe {
        if t.channels <= 16 {
            pixels::<F, 2>(t, 0, t.channels);
        } else {
            pixels::<F, 1>(t, 0, if t.channels < HALF { t.channels } else { HALF });
            if t.channels > HALF {
                pixels::<F, 1>(t, HALF, t.channels - HALF);
            }
        }
    }
}

/// `count` channels from `from` on, of `P` pixels a register.
///
/// # Safety
/// As [`channels`]; the channels are the tile's and fit a `P`th of a register.
#[inline(always)]
unsafe fn pixels<F: FourTaps, const P: usize>(t: &Tile<'_>, from: usize, count: usize) {
    // SAFETY: bias and scale have 64 entries.
    let (bias, scale) =
        unsafe { (lanes::<P>(t.bias.add(from).cast()), lanes::<P>(t.scale.add(from).cast())) };
    // Weights of the second half of the channels lie behind those of the first.
    let weights = t.weights.wrapping_add(from / HALF * F::HALF);
    let mut first = 0;
    while first < t.pixels {
        let mut sums = bias;
        let mut tap = 0;
        while tap < t.taps {
            // SAFETY: four taps, the last standing in where there are fewer (its weights are 0); 32 channels of a
            // row can be read from either half on, and weights have four registers' for four taps.
            unsafe {
                let a = load::<P>(t, from, tap, first);
                let b = load::<P>(t, from, tap + 1, first);
                let c = load::<P>(t, from, tap + 2, first);
                let d = load::<P>(t, from, tap + 3, first);
                let (low, low2) = (_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d));
                let (high, high2) = (_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d));
                let w = weights.wrapping_add(tap / 4 * 8 * F::HALF);
                sums[0] = F::add(sums[0], _mm256_unpacklo_epi16(low, low2), w);
                let w = w.wrapping_add(2 * F::HALF);
                sums[1] = F::add(sums[1], _mm256_unpackhi_epi16(low, low2), w);
                let w = w.wrapping_add(2 * F::HALF);
                sums[2] = F::add(sums[2], _mm256_unpacklo_epi16(high, high2), w);
                let w = w.wrapping_add(2 * F::HALF);
                sums[3] = F::add(sums[3], _mm256_unpackhi_epi16(high, high2), w);
            }
            tap += 4;
        }
        // SAFETY: the pixels from `first` on are the tile's.
        unsafe { finish::<P>(t, [from, count], first, sums, scale) };
        first += P;
    }
}

/// 32 bytes of one pixel's row, or 16 of two pixels'. Behind the last tap and the last pixel those stand in.
///
/// # Safety
/// As [`pixels`].
#[inline(always)]
unsafe fn load<const P: usize>(t: &Tile<'_>, from: usize, tap: usize, pixel: usize) -> __m256i {
    let tap = if tap < t.taps { tap } else { t.taps - 1 };
    // SAFETY: rows of the tile's taps and pixels can be read for 64 channels.
    unsafe {
        let row = t.rows.add(tap * PIXELS + pixel);
        let first = (*row).add(t.offset + from);
        if P == 1 {
            return _mm256_loadu_si256(first.cast());
        }
        let second = (*row.add(usize::from(pixel + 1 < t.pixels))).add(t.offset + from);
        let first = _mm256_castsi128_si256(_mm_loadu_si128(first.cast()));
        _mm256_inserti128_si256::<1>(first, _mm_loadu_si128(second.cast()))
    }
}

/// 32-bit numbers of channels in the order of the sums.
///
/// # Safety
/// 32 of them can be read, or 16 if a register holds two pixels.
#[inline(always)]
unsafe fn lanes<const P: usize>(from: *const i32) -> [__m256i; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut numbers = [_mm256_setzero_si256(); 4];
        let second = if P == 1 { 16 } else { 0 };
        let mut j = 0;
        while j < 4 {
            let low = _mm256_castsi128_si256(_mm_loadu_si128(from.add(4 * j).cast()));
            let high = _mm_loadu_si128(from.add(second + 4 * j).cast());
            numbers[j] = _mm256_inserti128_si256::<1>(low, high);
            j += 1;
        }
        numbers
    }
}

/// # Safety
/// As [`pixels`]; `first` is one of the tile's.
#[inline(always)]
unsafe fn finish<const P: usize>(
    t: &Tile<'_>,
    [from, count]: [usize; 2],
    first: usize,
    sums: [__m256i; 4],
    scale: [__m256i; 4],
) {
    let pixels = if P < t.pixels - first { P } else { t.pixels - first };
    match &t.output {
        // SAFETY: `all` is `[pixels][64]`, and there are registers for so many pixels.
        Output::Sums(all) => unsafe {
            write_sums::<P>(sums, pixels, all.add(first * CHANNELS + from))
        },
        Output::Bytes { y, stride, requant, residual } => {
            let mut all = [0_u8; HALF];
            // SAFETY: the tile's channels of its pixels can be written to `y` and read from `r`.
            unsafe {
                let q = [scaled(sums[0], scale[0]), scaled(sums[1], scale[1])];
                let q2 = [scaled(sums[2], scale[2]), scaled(sums[3], scale[3])];
                // Saturation on the way is harmless: what leaves 16 bits is far outside the clamp.
                let zero = _mm256_set1_epi16(i16::from(requant.zero));
                let low = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), zero);
                let high = _mm256_adds_epi16(_mm256_packs_epi32(q2[0], q2[1]), zero);
                let bytes = _mm256_packus_epi16(low, high);
                let bytes = _mm256_min_epu8(bytes, _mm256_set1_epi8(requant.hi as i8));
                let bytes = _mm256_max_epu8(bytes, _mm256_set1_epi8(requant.lo as i8));
                let y = y.add(first * stride + from);
                if count * P == HALF && pixels == P && residual.is_none() {
                    if P == 1 {
                        _mm256_storeu_si256(y.cast(), bytes);
                    } else {
                        _mm_storeu_si128(y.cast(), _mm256_castsi256_si128(bytes));
                        let second = _mm256_extracti128_si256::<1>(bytes);
                        _mm_storeu_si128(y.add(*stride).cast(), second);
                    }
                    return;
                }
                _mm256_storeu_si256(all.as_mut_ptr().cast(), bytes);
                let mut pixel = 0;
                while pixel < pixels {
                    let q = &mut all[pixel * HALF / P..][..count];
                    if let Some((r, add)) = residual {
                        let r = r.add((first + pixel) * add.stride + from);
                        let mut c = 0;
                        while c < count {
                            q[c] = add_one(add, requant.zero, q[c], *r.add(c));
                            c += 1;
                        }
                    }
                    std::ptr::copy_nonoverlapping(q.as_ptr(), y.add(pixel * stride), count);
                    pixel += 1;
                }
            }
        }
    }
}

/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn scaled(sums: __m256i, scale: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let v = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_castsi256_ps(scale));
        _mm256_cvtps_epi32(v)
    }
}

/// Writes the sums of some pixels in the order of channels.
///
/// # Safety
/// `to` has room for `pixels` rows of 64, of which the first 32 or 16 are written; the CPU has AVX2.
#[inline(always)]
unsafe fn write_sums<const P: usize>(sums: [__m256i; 4], pixels: usize, to: *mut i32) {
    let mut lanes = [[0_i32; 8]; 4];
    let mut at = 0;
    while at < 4 {
        // SAFETY: eight numbers are a register.
        unsafe { _mm256_storeu_si256(lanes[at].as_mut_ptr().cast(), sums[at]) };
        at += 1;
    }
    let mut at = 0;
    while at < pixels * (HALF / P) {
        let (pixel, c) = (at / (HALF / P), at % (HALF / P));
        let lane = pixel * (2 / P) + c / 16;
        // SAFETY: `pixel` is one of the rows, and `c` below 64.
        unsafe { to.add(pixel * CHANNELS + c).write(lanes[c % 16 / 4][lane * 4 + c % 4]) };
        at += 1;
    }
}
