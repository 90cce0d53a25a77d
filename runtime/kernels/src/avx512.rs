//! AVX-512-VNNI: `vpdpbusd` on 512 bits, 64 multiplications an instruction, two instructions a cycle at best.
//!
//! A tile is 12 pixels by 32 channels: 24 accumulators, 2 vectors of weights, 1 of activations, of 32 registers; and 12
//! row pointers fit the general registers. A step loads 2 vectors and broadcasts 12 times for 24 `vpdpbusd`.

use std::arch::x86_64::*;

use crate::spec::Residual;
use crate::tile::{Activations, Kernel, Output, Requant, Tile, nothing};

const PIXELS: usize = 12;
pub(crate) const CHANNELS: usize = 32;

pub(crate) const KERNEL: Kernel = Kernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: 4,
    depthwise: false,
    activations: Activations::Bytes,
    no_lowest_weight: false,
    gathered: None,
    enter: nothing,
    leave: nothing,
    tile,
    peak,
};

/// `vpdpwssd` on activations and weights of 16 bits: half as many multiplications an instruction.
pub(crate) const WIDE: Kernel =
    Kernel { depth: 2, activations: Activations::Wide, tile: wide_tile, ..KERNEL };

/// # Safety
/// See [`Kernel::tile`]; the CPU has AVX-512 F, BW, VL and VNNI.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: as this function demands.
    unsafe { any_rows::<false>(t) }
}

/// # Safety
/// As [`tile`].
unsafe fn wide_tile(t: &Tile<'_>) {
    // SAFETY: as this function demands.
    unsafe { any_rows::<true>(t) }
}

/// # Safety
/// As [`tile`].
#[inline]
unsafe fn any_rows<const WIDE: bool>(t: &Tile<'_>) {
    // SAFETY: as this function demands.
    unsafe {
        match t.pixels {
            1 => rows::<1, WIDE>(t),
            2 => rows::<2, WIDE>(t),
            3 => rows::<3, WIDE>(t),
            4 => rows::<4, WIDE>(t),
            5 => rows::<5, WIDE>(t),
            6 => rows::<6, WIDE>(t),
            7 => rows::<7, WIDE>(t),
            8 => rows::<8, WIDE>(t),
            9 => rows::<9, WIDE>(t),
            10 => rows::<10, WIDE>(t),
            11 => rows::<11, WIDE>(t),
            _ => rows::<12, WIDE>(t),
        }
    }
}

/// # Safety
/// As [`tile`], and `t.pixels == P`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<const P: usize, const WIDE: bool>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations are read within the ranges that `Tile` documents; `sums` is ours.
    unsafe {
        let bias = [_mm512_loadu_si512(t.bias.cast()), _mm512_loadu_si512(t.bias.add(16).cast())];
        let mut acc = [bias; P];
        fetch_output(t);
        let (mut weights, (mut ahead, ahead_step)) = (t.weights, t.prefetch);
        for tap in 0..t.taps {
            let x: [*const u8; P] = std::array::from_fn(|r| *t.rows.add(tap * PIXELS + r));
            for step in 0..t.steps {
                let w =
                    [_mm512_load_si512(weights.cast()), _mm512_load_si512(weights.add(64).cast())];
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                (weights, ahead) = (weights.add(128), ahead.wrapping_add(ahead_step));
                for r in 0..P {
                    let a = _mm512_set1_epi32(x[r].add(step * 4).cast::<i32>().read_unaligned());
                    for v in 0..2 {
                        acc[r][v] = if WIDE {
                            _mm512_dpwssd_epi32(acc[r][v], a, w[v])
                        } else {
                            _mm512_dpbusd_epi32(acc[r][v], a, w[v])
                        };
                    }
                }
            }
        }
        if let (true, Output::Sums(all)) = (WIDE, &t.output) {
            for (r, row) in acc.iter().enumerate() {
                _mm512_storeu_si512(all.add(r * CHANNELS).cast(), row[0]);
                _mm512_storeu_si512(all.add(r * CHANNELS + 16).cast(), row[1]);
            }
            return;
        }
        // Through memory, so that loops over pixels below do not drag the accumulators out of their registers above.
        let mut sums = [[_mm512_setzero_si512(); 2]; PIXELS];
        sums[..P].copy_from_slice(&acc);
        finish(t, &sums);
    }
}

/// Asks for the cache lines that [`finish`] will write and read, so that they are here when the sums are.
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

/// Writes the tile, by whatever way its output asks for. `sums` is `[pixel][vector]`.
///
/// # Safety
/// See [`Kernel::tile`]; `sums` has at least `t.pixels` rows, rounded up to even.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) unsafe fn finish(t: &Tile<'_>, sums: &Sums) {
    // SAFETY: as this function demands.
    unsafe {
        match &t.output {
            Output::Sums(all) => {
                for (r, row) in sums.iter().enumerate().take(t.pixels) {
                    _mm512_storeu_si512(all.add(r * CHANNELS).cast(), row[0]);
                    _mm512_storeu_si512(all.add(r * CHANNELS + 16).cast(), row[1]);
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

type Sums = [[__m512i; 2]];

/// # Safety
/// As [`tile`]; `y` and `stride` are those of `t.output`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn write(t: &Tile<'_>, sums: &Sums, y: *mut u8, stride: usize, requant: &Requant) {
    // SAFETY: `scale` has 32 entries.
    let scale = unsafe { [_mm512_loadu_ps(t.scale), _mm512_loadu_ps(t.scale.add(16))] };
    let bytes = Bytes::new(requant.zero, requant.lo, requant.hi);
    let scaled = |sum: __m512i, v: usize| {
        _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale[v]))
    };
    for (pair, rows) in sums.chunks_exact(2).enumerate().take(t.pixels.div_ceil(2)) {
        let q = bytes.pack([
            [scaled(rows[0][0], 0), scaled(rows[0][1], 1)],
            [scaled(rows[1][0], 0), scaled(rows[1][1], 1)],
        ]);
        // SAFETY: as this function demands.
        unsafe { store(t, q, y.add(2 * pair * stride), stride, t.pixels - 2 * pair) };
    }
}

/// # Safety
/// As [`tile`]; the other arguments are those of `t.output`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn write_added(
    t: &Tile<'_>,
    sums: &Sums,
    y: *mut u8,
    stride: usize,
    requant: &Requant,
    r: *const u8,
    add: &Residual,
) {
    // SAFETY: `scale` has 32 entries.
    let scale = unsafe { [_mm512_loadu_ps(t.scale), _mm512_loadu_ps(t.scale.add(16))] };
    let bytes = Bytes::new(add.out_zero, add.lo, add.hi);
    let zero = i32::from(requant.zero);
    let lo = _mm512_set1_epi32(i32::from(requant.lo) - zero);
    let hi = _mm512_set1_epi32(i32::from(requant.hi) - zero);
    let (conv_ratio, ratio) = (_mm512_set1_ps(add.conv_ratio), _mm512_set1_ps(add.ratio));
    let r_zero = _mm512_set1_epi32(i32::from(add.zero));
    let mask = channels_mask(t);
    let added = |sum: __m512i, v: usize, r: __m256i| {
        // c − zero of the convolution's own result, as the definition rounds and clamps it
        let c = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale[v]));
        let c = _mm512_cvtepi32_ps(_mm512_max_epi32(_mm512_min_epi32(c, hi), lo));
        let half =
            if v == 0 { _mm256_castsi256_si128(r) } else { _mm256_extracti128_si256::<1>(r) };
        let r = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepu8_epi32(half), r_zero));
        _mm512_cvtps_epi32(_mm512_add_ps(_mm512_mul_ps(c, conv_ratio), _mm512_mul_ps(r, ratio)))
    };
    for (pair, rows) in sums.chunks_exact(2).enumerate().take(t.pixels.div_ceil(2)) {
        let mut q = [[_mm512_setzero_si512(); 2]; 2];
        for i in 0..2 {
            // An odd last pixel has no partner: it stands in for it, and `store` leaves the result out.
            let pixel = (2 * pair + i).min(t.pixels - 1);
            // SAFETY: `r` can be read for the channels under the mask of each pixel of the tile.
            let r = unsafe { _mm256_maskz_loadu_epi8(mask, r.add(pixel * add.stride).cast()) };
            q[i] = [added(rows[i][0], 0, r), added(rows[i][1], 1, r)];
        }
        // SAFETY: as this function demands.
        unsafe { store(t, bytes.pack(q), y.add(2 * pair * stride), stride, t.pixels - 2 * pair) };
    }
}

/// The last step to bytes: plus zero point, clamp.
struct Bytes {
    zero: __m512i,
    lo: __m512i,
    hi: __m512i,
    order: __m512i,
}

impl Bytes {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn new(zero: u8, lo: u8, hi: u8) -> Self {
        Self {
            zero: _mm512_set1_epi16(i16::from(zero)),
            lo: _mm512_set1_epi8(lo as i8),
            hi: _mm512_set1_epi8(hi as i8),
            // Packing interleaves the four vectors by 128-bit lanes; this undoes it.
            order: _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
        }
    }

    /// `[pixel][vector]` of integers → 32 bytes of the one pixel, then of the other. Saturation on the way is harmless:
    /// what leaves 16 bits is far outside `lo..=hi`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn pack(&self, q: [[__m512i; 2]; 2]) -> __m512i {
        let first = _mm512_adds_epi16(_mm512_packs_epi32(q[0][0], q[0][1]), self.zero);
        let second = _mm512_adds_epi16(_mm512_packs_epi32(q[1][0], q[1][1]), self.zero);
        let bytes = _mm512_permutexvar_epi32(self.order, _mm512_packus_epi16(first, second));
        _mm512_max_epu8(_mm512_min_epu8(bytes, self.hi), self.lo)
    }
}

/// Stores two pixels, or one if only one is left.
///
/// # Safety
/// `y` is the first of `left` pixels of the tile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn store(t: &Tile<'_>, q: __m512i, y: *mut u8, stride: usize, left: usize) {
    let mask = channels_mask(t);
    // SAFETY: only channels of the tile (the mask) of pixels of the tile (`left`) are written.
    unsafe {
        _mm256_mask_storeu_epi8(y.cast(), mask, _mm512_castsi512_si256(q));
        if left > 1 {
            _mm256_mask_storeu_epi8(y.add(stride).cast(), mask, _mm512_extracti64x4_epi64::<1>(q));
        }
    }
}

#[inline]
fn channels_mask(t: &Tile<'_>) -> __mmask32 {
    u32::MAX >> (CHANNELS - t.channels)
}

/// See [`Kernel::peak`].
///
/// # Safety
/// The CPU has AVX-512 F and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn peak(rounds: usize) -> u64 {
    let (a, w) = (_mm512_set1_epi8(3), _mm512_set1_epi8(5));
    let mut acc = [_mm512_setzero_si512(); 24];
    for _ in 0..rounds {
        let a = std::hint::black_box(a);
        for acc in &mut acc {
            *acc = _mm512_dpbusd_epi32(*acc, a, w);
        }
    }
    std::hint::black_box(acc);
    rounds as u64 * 24 * 64
}
