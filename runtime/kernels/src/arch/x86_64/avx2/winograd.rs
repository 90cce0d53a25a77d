//! Winograd's form on AVX2, where bytes have to be widened anyway.

use std::arch::x86_64::*;

use super::CHANNELS;
use super::epilogue::finish_sums;
use super::gemm::WIDE;
use crate::winograd::transform::{input, output, weights};
use crate::winograd::vector::Vector;
use crate::winograd::{InputTransform, OutputTransform, WeightTransform, WinogradKernels};

pub(crate) const WINOGRAD: WinogradKernels = WinogradKernels {
    product: &WIDE,
    plain: 1,
    chunk: <__m256i as Vector>::WORDS,
    weights: transform_weights,
    fused: None,
    input: transform_input,
    output: transform_output,
    finish: finish_sums,
};

/// # Safety
/// See [`weights`]; the CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn transform_weights(t: &WeightTransform) {
    // SAFETY: `N` is `product.channels · product.depth` of `WIDE`, the attribute enables what `Vector` needs, and the
    // caller vouches for the pointers.
    unsafe { weights::<__m256i, { 2 * CHANNELS }>(t) }
}

/// # Safety
/// See [`input`]; the CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn transform_input(t: &InputTransform) {
    // SAFETY: the attribute enables what `Vector` needs, and the caller vouches for the pointers.
    unsafe { input::<__m256i>(t) }
}

/// # Safety
/// See [`output`]; the CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn transform_output(t: &OutputTransform) {
    // SAFETY: `N` is `product.channels` of `WIDE`, the attribute enables what `Vector` needs, and the caller vouches
    // for the pointers.
    unsafe { output::<__m256i, CHANNELS>(t) }
}

#[rustfmt::skip]
#[expect(clippy::undocumented_unsafe_blocks, reason = "each is one intrinsic, under the condition of the trait")]
impl Vector for __m256i {
    const WORDS: usize = 16;
    #[inline(always)] unsafe fn zero() -> Self { unsafe { _mm256_setzero_si256() } }
    #[inline(always)] unsafe fn from_u8(from: *const u8) -> Self { unsafe { _mm256_cvtepu8_epi16(_mm_loadu_si128(from.cast())) } }
    #[inline(always)] unsafe fn from_i8(from: *const i8) -> Self { unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())) } }
    #[inline(always)] unsafe fn load(from: *const i32) -> Self { unsafe { _mm256_loadu_si256(from.cast()) } }
    #[inline(always)] unsafe fn store(self, to: *mut i32) { unsafe { _mm256_storeu_si256(to.cast(), self) } }
    #[inline(always)] unsafe fn add16(self, other: Self) -> Self { unsafe { _mm256_add_epi16(self, other) } }
    #[inline(always)] unsafe fn sub16(self, other: Self) -> Self { unsafe { _mm256_sub_epi16(self, other) } }
    #[inline(always)] unsafe fn double16(self) -> Self { unsafe { _mm256_add_epi16(self, self) } }
    #[inline(always)] unsafe fn quadruple16(self) -> Self { unsafe { _mm256_slli_epi16::<2>(self) } }
    #[inline(always)] unsafe fn add32(self, other: Self) -> Self { unsafe { _mm256_add_epi32(self, other) } }
    #[inline(always)] unsafe fn sub32(self, other: Self) -> Self { unsafe { _mm256_sub_epi32(self, other) } }
    #[inline(always)] unsafe fn double32(self) -> Self { unsafe { _mm256_add_epi32(self, self) } }
    #[inline(always)] unsafe fn times32(self, factor: i32) -> Self { unsafe { _mm256_mullo_epi32(self, _mm256_set1_epi32(factor)) } }
    #[inline(always)] unsafe fn shift_right32<const BITS: i32>(self) -> Self { unsafe { _mm256_srai_epi32::<BITS>(self) } }
}
