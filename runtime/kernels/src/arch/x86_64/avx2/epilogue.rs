//! From a tile's sums to what its output asks for: requantize, add, clamp, store.

use std::arch::x86_64::*;

use super::{CHANNELS, PIXELS};
use crate::gemm::tile::{Output, Requant, Tile};
use crate::spec::Residual;

/// `[pixel][vector]`, in memory, so that loops over pixels do not drag accumulators out of their registers.
pub(crate) type TileSums = [[__m256i; 2]; PIXELS];

/// Asks for the cache lines that will be written and read, so that they are here when the sums are.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn fetch_output(t: &Tile<'_>) {
    let Output::Bytes { y, stride, residual, .. } = &t.output else { return };
    for pixel in 0..t.pixels {
        _mm_prefetch::<_MM_HINT_ET0>(y.wrapping_add(pixel * stride).cast());
        if let Some((r, add)) = residual {
            _mm_prefetch::<_MM_HINT_T0>(r.wrapping_add(pixel * add.stride).cast());
        }
    }
}

/// Writes the tile, by whatever way its output asks for.
///
/// # Safety
/// As [`MicroKernel::tile`](crate::gemm::tile::MicroKernel::tile); `sums` holds the tile's sums.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn finish(t: &Tile<'_>, sums: &TileSums) {
    // SAFETY: `r` is one of the tile's pixels: inside what `Output` grants; `write` and `write_added` get what
    // `t.output` holds.
    unsafe {
        match &t.output {
            Output::Sums(all) => {
                for (r, row) in sums.iter().enumerate().take(t.pixels) {
                    _mm256_storeu_si256(all.add(r * CHANNELS).cast(), row[0]);
                    _mm256_storeu_si256(all.add(r * CHANNELS + 8).cast(), row[1]);
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

/// As [`finish`], from wherever the sums lie.
///
/// # Safety
/// As [`finish`]; there are 16 sums for each of the tile's pixels.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn finish_sums(t: &Tile<'_>, from: *const i32) {
    let mut sums = [[_mm256_setzero_si256(); 2]; PIXELS];
    for (r, row) in sums.iter_mut().enumerate().take(t.pixels) {
        for (v, vector) in row.iter_mut().enumerate() {
            // SAFETY: `r < t.pixels`, and the caller vouches for 16 sums of each.
            *vector = unsafe { _mm256_loadu_si256(from.add(r * CHANNELS + 8 * v).cast()) };
        }
    }
    // SAFETY: `sums` now holds the tile's sums; the rest is the caller's promise.
    unsafe { finish(t, &sums) }
}

/// # Safety
/// As [`MicroKernel::tile`](crate::gemm::tile::MicroKernel::tile); `y` and `stride` are those of `t.output`.
#[target_feature(enable = "avx2")]
unsafe fn write(t: &Tile<'_>, sums: &TileSums, y: *mut u8, stride: usize, requant: &Requant) {
    // SAFETY: `scale` has 16 entries.
    let scale = unsafe { [_mm256_loadu_ps(t.scale), _mm256_loadu_ps(t.scale.add(8))] };
    let bytes = BytePacker::new(requant.zero, requant.lo, requant.hi);
    let scaled = |sum: __m256i, v: usize| {
        _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale[v]))
    };
    for (pair, rows) in sums.chunks_exact(2).enumerate().take(t.pixels.div_ceil(2)) {
        let q = bytes.pack([
            [scaled(rows[0][0], 0), scaled(rows[0][1], 1)],
            [scaled(rows[1][0], 0), scaled(rows[1][1], 1)],
        ]);
        // SAFETY: `2 · pair` is one of the tile's pixels, and `t.pixels − 2 · pair` are left from there.
        unsafe { store(t, q, y.add(2 * pair * stride), stride, t.pixels - 2 * pair) };
    }
}

/// # Safety
/// As [`MicroKernel::tile`](crate::gemm::tile::MicroKernel::tile); the other arguments are those of `t.output`.
#[target_feature(enable = "avx2")]
unsafe fn write_added(
    t: &Tile<'_>,
    sums: &TileSums,
    y: *mut u8,
    stride: usize,
    requant: &Requant,
    r: *const u8,
    add: &Residual,
) {
    // SAFETY: `scale` has 16 entries.
    let scale = unsafe { [_mm256_loadu_ps(t.scale), _mm256_loadu_ps(t.scale.add(8))] };
    let bytes = BytePacker::new(add.out_zero, add.lo, add.hi);
    let bound = |q: u8| _mm256_set1_ps(f32::from(q) - f32::from(requant.zero));
    let (lo, hi) = (bound(requant.lo), bound(requant.hi));
    let (conv_ratio, ratio) = (_mm256_set1_ps(add.conv_ratio), _mm256_set1_ps(add.ratio));
    // Intel adds on a unit that does not multiply, so whole numbers are made by additions. `rounds + x` is a float
    // whose last bit is worth 1, for `x` below 2²²; `whole | r` is the float `whole + r`.
    let (rounds, whole) = (_mm256_set1_ps(12_582_912.0), _mm256_set1_ps(8_388_608.0));
    let r_zero = _mm256_set1_ps(8_388_608.0 + f32::from(add.zero));
    let added = |sum: __m256i, v: usize, r: __m128i| {
        // c − zero of the convolution's own result, as the definition rounds and clamps it: bounds are whole
        // numbers, so clamping may come first.
        let c = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale[v]);
        let c = _mm256_max_ps(_mm256_min_ps(c, hi), lo);
        let c = _mm256_sub_ps(_mm256_add_ps(c, rounds), rounds);
        let r = if v == 0 { r } else { _mm_unpackhi_epi64(r, r) };
        let r = _mm256_or_ps(_mm256_castsi256_ps(_mm256_cvtepu8_epi32(r)), whole);
        let r = _mm256_sub_ps(r, r_zero);
        _mm256_cvtps_epi32(_mm256_add_ps(_mm256_mul_ps(c, conv_ratio), _mm256_mul_ps(r, ratio)))
    };
    for (pair, rows) in sums.chunks_exact(2).enumerate().take(t.pixels.div_ceil(2)) {
        let mut q = [[_mm256_setzero_si256(); 2]; 2];
        for i in 0..2 {
            // An odd last pixel has no partner: it stands in for it, and `store` leaves the result out.
            let pixel = (2 * pair + i).min(t.pixels - 1);
            let mut part = [0u8; CHANNELS];
            // SAFETY: `r` can be read for the tile's channels of each of its pixels.
            let r = unsafe {
                let row = r.add(pixel * add.stride);
                if t.channels == CHANNELS {
                    _mm_loadu_si128(row.cast())
                } else {
                    std::ptr::copy_nonoverlapping(row, part.as_mut_ptr(), t.channels);
                    _mm_loadu_si128(part.as_ptr().cast())
                }
            };
            q[i] = [added(rows[i][0], 0, r), added(rows[i][1], 1, r)];
        }
        // SAFETY: `2 · pair` is one of the tile's pixels, and `t.pixels − 2 · pair` are left from there.
        unsafe { store(t, bytes.pack(q), y.add(2 * pair * stride), stride, t.pixels - 2 * pair) };
    }
}

/// Integers to bytes: plus zero point, clamp.
struct BytePacker {
    zero: __m256i,
    lo: __m256i,
    hi: __m256i,
    order: __m256i,
    /// The zero point is none.
    unmoved: bool,
    /// Bytes are all that the bounds ask for.
    any_byte: bool,
}

impl BytePacker {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(zero: u8, lo: u8, hi: u8) -> Self {
        Self {
            zero: _mm256_set1_epi16(i16::from(zero)),
            lo: _mm256_set1_epi8(lo as i8),
            hi: _mm256_set1_epi8(hi as i8),
            // Packing interleaves the four vectors by 128-bit lanes; this undoes it.
            order: _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7),
            unmoved: zero == 0,
            any_byte: [lo, hi] == [0, 255],
        }
    }

    /// `[pixel][vector]` of integers → 16 bytes of the one pixel, then of the other. Saturation on the way is
    /// harmless: what leaves 16 bits is far outside `lo..=hi`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn pack(&self, q: [[__m256i; 2]; 2]) -> __m256i {
        let mut first = _mm256_packs_epi32(q[0][0], q[0][1]);
        let mut second = _mm256_packs_epi32(q[1][0], q[1][1]);
        if !self.unmoved {
            first = _mm256_adds_epi16(first, self.zero);
            second = _mm256_adds_epi16(second, self.zero);
        }
        let bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(first, second), self.order);
        if self.any_byte {
            return bytes;
        }
        _mm256_max_epu8(_mm256_min_epu8(bytes, self.hi), self.lo)
    }
}

/// Stores two pixels, or one if only one is left.
///
/// # Safety
/// `y` is the first of `left` pixels of the tile.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store(t: &Tile<'_>, q: __m256i, y: *mut u8, stride: usize, left: usize) {
    let pixels = [_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q)];
    for (i, pixel) in pixels.into_iter().enumerate().take(left) {
        let mut part = [0u8; CHANNELS];
        // SAFETY: only channels of the tile, of pixels of the tile (`left`), are written.
        unsafe {
            if t.channels == CHANNELS {
                _mm_storeu_si128(y.add(i * stride).cast(), pixel);
            } else {
                _mm_storeu_si128(part.as_mut_ptr().cast(), pixel);
                std::ptr::copy_nonoverlapping(part.as_ptr(), y.add(i * stride), t.channels);
            }
        }
    }
}
