//! Loops over neighbouring bytes, 16 at a time; the last few under a mask.

use std::arch::x86_64::*;

use crate::spec::{Product, Residual};

/// From real numbers of steps to bytes: rounding, zero point, clamp, as
/// [`requantize`](crate::scalar::requantize).
#[derive(Clone, Copy)]
struct Bytes {
    zero: __m512i,
    lo: __m512i,
    hi: __m512i,
}

impl Bytes {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn new(zero: u8, [lo, hi]: [u8; 2]) -> Self {
        let wide = |q: u8| _mm512_set1_epi32(i32::from(q));
        Self { zero: wide(zero), lo: wide(lo), hi: wide(hi) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn of(self, v: __m512) -> __m128i {
        // `max` gives its second operand where the first is not a number.
        let v = _mm512_max_ps(v, _mm512_set1_ps(-1024.0));
        let v = _mm512_min_ps(v, _mm512_set1_ps(1024.0));
        let q = _mm512_add_epi32(_mm512_cvtps_epi32(v), self.zero);
        _mm512_cvtepi32_epi8(_mm512_max_epi32(_mm512_min_epi32(q, self.hi), self.lo))
    }
}

/// The lanes of `left` bytes.
#[inline]
fn mask_of(left: usize) -> __mmask16 {
    u16::MAX >> (16 - left.min(16))
}

/// Bytes minus a zero point.
///
/// # Safety
/// The bytes under the mask can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn centred(x: *const u8, mask: __mmask16, zero: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    let x = unsafe { _mm_maskz_loadu_epi8(mask, x.cast()) };
    _mm512_sub_epi32(_mm512_cvtepu8_epi32(x), zero)
}

/// `y = a·b`, all of one length.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) fn multiply(product: &Product, a: &[u8], b: &[u8], y: &mut [u8]) {
    assert!(a.len() == y.len() && b.len() == y.len(), "lengths");
    let [a_zero, b_zero, y_zero] = product.zeros;
    let bytes = Bytes::new(y_zero, [product.lo, product.hi]);
    let zeros = [a_zero, b_zero].map(|zero| _mm512_set1_epi32(i32::from(zero)));
    let ratio = _mm512_set1_ps(product.ratio);
    for at in (0..y.len()).step_by(16) {
        let mask = mask_of(y.len() - at);
        // SAFETY: the mask keeps within the slices.
        unsafe {
            let a = _mm512_cvtepi32_ps(centred(a.as_ptr().add(at), mask, zeros[0]));
            let b = _mm512_cvtepi32_ps(centred(b.as_ptr().add(at), mask, zeros[1]));
            // The product of whole numbers of 9 bits is exact.
            let q = bytes.of(_mm512_mul_ps(_mm512_mul_ps(a, b), ratio));
            _mm_mask_storeu_epi8(y.as_mut_ptr().add(at).cast(), mask, q);
        }
    }
}

/// `y = a + b` as [`add_one`](crate::scalar::add_one), all of one length.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) fn add(sum: &Residual, a_zero: u8, a: &[u8], b: &[u8], y: &mut [u8]) {
    assert!(a.len() == y.len() && b.len() == y.len(), "lengths");
    let bytes = Bytes::new(sum.out_zero, [sum.lo, sum.hi]);
    let zeros = [a_zero, sum.zero].map(|zero| _mm512_set1_epi32(i32::from(zero)));
    let ratios = [sum.conv_ratio, sum.ratio].map(|ratio| _mm512_set1_ps(ratio));
    for at in (0..y.len()).step_by(16) {
        let mask = mask_of(y.len() - at);
        // SAFETY: the mask keeps within the slices.
        unsafe {
            let a = _mm512_cvtepi32_ps(centred(a.as_ptr().add(at), mask, zeros[0]));
            let b = _mm512_cvtepi32_ps(centred(b.as_ptr().add(at), mask, zeros[1]));
            let v = _mm512_add_ps(_mm512_mul_ps(a, ratios[0]), _mm512_mul_ps(b, ratios[1]));
            _mm_mask_storeu_epi8(y.as_mut_ptr().add(at).cast(), mask, bytes.of(v));
        }
    }
}

/// `y = x·factor + addend` as [`affine_one`](crate::scalar::affine_one), all of one length.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) fn affine(
    x: &[u8],
    [factor, addend]: [&[f32]; 2],
    [x_zero, y_zero]: [u8; 2],
    clamp: [u8; 2],
    y: &mut [u8],
) {
    let lengths = [x.len(), factor.len(), addend.len()];
    assert!(lengths == [y.len(); 3], "lengths");
    let (bytes, x_zero) = (Bytes::new(y_zero, clamp), _mm512_set1_epi32(i32::from(x_zero)));
    for at in (0..y.len()).step_by(16) {
        let mask = mask_of(y.len() - at);
        // SAFETY: the mask keeps within the slices.
        unsafe {
            let x = _mm512_cvtepi32_ps(centred(x.as_ptr().add(at), mask, x_zero));
            let factor = _mm512_maskz_loadu_ps(mask, factor.as_ptr().add(at));
            let addend = _mm512_maskz_loadu_ps(mask, addend.as_ptr().add(at));
            let q = bytes.of(_mm512_add_ps(_mm512_mul_ps(x, factor), addend));
            _mm_mask_storeu_epi8(y.as_mut_ptr().add(at).cast(), mask, q);
        }
    }
}
