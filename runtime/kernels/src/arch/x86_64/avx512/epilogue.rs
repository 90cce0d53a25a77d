//! From sums to bytes, with or without an addition, two pixels of 32 channels at a time.

use std::arch::x86_64::*;

use super::CHANNELS;
use crate::gemm::tile::{Output, Requant, Tile};
use crate::spec::Residual;

/// Sums of one pixel.
pub(crate) type PixelSums = [__m512i; 2];

/// Asks for the cache lines that will be written and read, so that they are here when the sums are.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn fetch_output(t: &Tile<'_>) {
    let Output::Bytes { y, stride, residual, .. } = &t.output else { return };
    for pixel in 0..t.pixels {
        _mm_prefetch::<_MM_HINT_ET0>(y.wrapping_add(pixel * stride).cast());
        if let Some((r, add)) = residual {
            _mm_prefetch::<_MM_HINT_T0>(r.wrapping_add(pixel * add.stride).cast());
        }
    }
}

/// Writes a tile whose sums lie in memory, by whatever way its output asks for.
///
/// # Safety
/// See [`MicroKernel::tile`](crate::gemm::tile::MicroKernel::tile); there are sums for the tile's pixels,
/// rounded up to even; the CPU has AVX-512 F, BW and VL.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) unsafe fn finish(t: &Tile<'_>, sums: &[PixelSums]) {
    let pairs = sums.chunks_exact(2).enumerate().take(t.pixels.div_ceil(2));
    // SAFETY: every `r` and `2 · pair` is one of the tile's pixels, and there are sums for an odd last one's partner.
    unsafe {
        match &t.output {
            Output::Sums(all) => {
                for (r, row) in sums.iter().enumerate().take(t.pixels) {
                    _mm512_storeu_si512(all.add(r * CHANNELS).cast(), row[0]);
                    _mm512_storeu_si512(all.add(r * CHANNELS + 16).cast(), row[1]);
                }
            }
            Output::Bytes { y, stride, requant, residual: None } => {
                let to = RequantWriter::new(t, *y, *stride, requant);
                pairs.for_each(|(pair, rows)| to.write([rows[0], rows[1]], 2 * pair, t.pixels));
            }
            Output::Bytes { y, stride, requant, residual: Some((r, add)) } => {
                let to = ResidualWriter::new(t, *y, *stride, requant, *r, add);
                pairs.for_each(|(pair, rows)| to.write([rows[0], rows[1]], 2 * pair, t.pixels));
            }
        }
    }
}

/// As [`finish`], from wherever the sums lie.
///
/// # Safety
/// As [`finish`], and the sums are aligned to 64 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) unsafe fn finish_sums(t: &Tile<'_>, from: *const i32) {
    // SAFETY: there are two aligned vectors for each pixel, and for one more if their number is odd.
    unsafe {
        let sums =
            std::slice::from_raw_parts(from.cast::<PixelSums>(), t.pixels.next_multiple_of(2));
        finish(t, sums);
    }
}

/// Requantization.
pub(crate) struct RequantWriter {
    scale: [__m512; 2],
    bytes: ByteWriter,
}

impl RequantWriter {
    /// # Safety
    /// `t.scale` has 32 entries; `y` and `stride` are those of its output.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(crate) unsafe fn new(t: &Tile<'_>, y: *mut u8, stride: usize, requant: &Requant) -> Self {
        // SAFETY: the caller vouches for 32 scales.
        let scale = unsafe { [_mm512_loadu_ps(t.scale), _mm512_loadu_ps(t.scale.add(16))] };
        Self { scale, bytes: ByteWriter::new(t, y, stride, requant.zero, [requant.lo, requant.hi]) }
    }

    /// One of the tile's pixels and the next, if there is one.
    ///
    /// # Safety
    /// `pixel` is one of the tile's `pixels`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(crate) unsafe fn write(&self, rows: [PixelSums; 2], pixel: usize, pixels: usize) {
        let scaled = |sum: __m512i, v: usize| {
            _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), self.scale[v]))
        };
        let q = self.bytes.pack([
            [scaled(rows[0][0], 0), scaled(rows[0][1], 1)],
            [scaled(rows[1][0], 0), scaled(rows[1][1], 1)],
        ]);
        // SAFETY: `pixel` is one of the tile's, says the caller.
        unsafe { self.bytes.store(q, pixel, pixels) };
    }
}

/// Requantization, then addition of a residual, then its requantization.
pub(crate) struct ResidualWriter {
    scale: [__m512; 2],
    lo: __m512,
    hi: __m512,
    conv_ratio: __m512,
    ratio: __m512,
    r: *const u8,
    r_stride: usize,
    r_zero: __m512i,
    bytes: ByteWriter,
}

impl ResidualWriter {
    /// # Safety
    /// `t.scale` has 32 entries; the other arguments are those of its output.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(crate) unsafe fn new(
        t: &Tile<'_>,
        y: *mut u8,
        stride: usize,
        requant: &Requant,
        r: *const u8,
        add: &Residual,
    ) -> Self {
        let zero = f32::from(requant.zero);
        Self {
            // SAFETY: the caller vouches for 32 scales.
            scale: unsafe { [_mm512_loadu_ps(t.scale), _mm512_loadu_ps(t.scale.add(16))] },
            lo: _mm512_set1_ps(f32::from(requant.lo) - zero),
            hi: _mm512_set1_ps(f32::from(requant.hi) - zero),
            conv_ratio: _mm512_set1_ps(add.conv_ratio),
            ratio: _mm512_set1_ps(add.ratio),
            r,
            r_stride: add.stride,
            r_zero: _mm512_set1_epi32(i32::from(add.zero)),
            bytes: ByteWriter::new(t, y, stride, add.out_zero, [add.lo, add.hi]),
        }
    }

    /// One of the tile's pixels and the next, if there is one.
    ///
    /// # Safety
    /// `pixel` is one of the tile's `pixels`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(crate) unsafe fn write(&self, rows: [PixelSums; 2], pixel: usize, pixels: usize) {
        // An odd last pixel has no partner: it stands in for it, and `store` leaves the result out.
        // SAFETY: `pixel` is one of the tile's, says the caller, and so is its partner, which ends at the last.
        let q = unsafe {
            [self.added(rows[0], pixel), self.added(rows[1], (pixel + 1).min(pixels - 1))]
        };
        // SAFETY: `pixel` is one of the tile's, says the caller.
        unsafe { self.bytes.store(self.bytes.pack(q), pixel, pixels) };
    }

    /// # Safety
    /// `pixel` is one of the tile's.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn added(&self, row: PixelSums, pixel: usize) -> PixelSums {
        // SAFETY: the residual can be read for the channels under the mask of each pixel of the tile.
        let r = unsafe {
            let from = self.r.add(pixel * self.r_stride);
            _mm256_maskz_loadu_epi8(self.bytes.mask, from.cast())
        };
        let r = [_mm256_castsi256_si128(r), _mm256_extracti128_si256::<1>(r)];
        let mut q = [_mm512_setzero_si512(); 2];
        for v in 0..2 {
            // c − zero of the convolution's own result, as the definition rounds and clamps it: rounding to
            // the nearest whole float is the same as to an integer and back, since it is below 2³⁰.
            let c = _mm512_mul_ps(_mm512_cvtepi32_ps(row[v]), self.scale[v]);
            let c = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(c);
            let c = _mm512_max_ps(_mm512_min_ps(c, self.hi), self.lo);
            let r = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepu8_epi32(r[v]), self.r_zero));
            let sum =
                _mm512_add_ps(_mm512_mul_ps(c, self.conv_ratio), _mm512_mul_ps(r, self.ratio));
            q[v] = _mm512_cvtps_epi32(sum);
        }
        q
    }
}

/// Integers to bytes: plus zero point, clamp, store.
struct ByteWriter {
    zero: __m512i,
    lo: __m512i,
    hi: __m512i,
    order: __m512i,
    /// The zero point is none.
    unmoved: bool,
    /// Bytes are all that the bounds ask for.
    any_byte: bool,
    /// Channels of the tile.
    mask: __mmask32,
    y: *mut u8,
    stride: usize,
}

impl ByteWriter {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn new(t: &Tile<'_>, y: *mut u8, stride: usize, zero: u8, [lo, hi]: [u8; 2]) -> Self {
        Self {
            zero: _mm512_set1_epi16(i16::from(zero)),
            lo: _mm512_set1_epi8(lo as i8),
            hi: _mm512_set1_epi8(hi as i8),
            // Packing interleaves the four vectors by 128-bit lanes; this undoes it.
            order: _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
            unmoved: zero == 0,
            any_byte: [lo, hi] == [0, 255],
            mask: u32::MAX >> (CHANNELS - t.channels),
            y,
            stride,
        }
    }

    /// Integers → 32 bytes of the one pixel, then of the other. Saturation on the way is harmless: what
    /// leaves 16 bits is far outside `lo..=hi`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn pack(&self, q: [PixelSums; 2]) -> __m512i {
        let mut first = _mm512_packs_epi32(q[0][0], q[0][1]);
        let mut second = _mm512_packs_epi32(q[1][0], q[1][1]);
        if !self.unmoved {
            first = _mm512_adds_epi16(first, self.zero);
            second = _mm512_adds_epi16(second, self.zero);
        }
        let bytes = _mm512_permutexvar_epi32(self.order, _mm512_packus_epi16(first, second));
        if self.any_byte {
            return bytes;
        }
        _mm512_max_epu8(_mm512_min_epu8(bytes, self.hi), self.lo)
    }

    /// Stores two pixels, or one if it is the last.
    ///
    /// # Safety
    /// `pixel` is one of the tile's `pixels`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn store(&self, q: __m512i, pixel: usize, pixels: usize) {
        // SAFETY: only channels of the tile (the mask) of its pixels are written.
        unsafe {
            let y = self.y.add(pixel * self.stride);
            _mm256_mask_storeu_epi8(y.cast(), self.mask, _mm512_castsi512_si256(q));
            if pixel + 1 < pixels {
                let second = _mm512_extracti64x4_epi64::<1>(q);
                _mm256_mask_storeu_epi8(y.add(self.stride).cast(), self.mask, second);
            }
        }
    }
}
