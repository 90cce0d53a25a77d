//! Winograd's form on AVX-512-VNNI: `vpdpwssd` multiplies half as many 16-bit numbers as `vpdpbusd` bytes, of
//! which there are four times fewer.

use std::arch::x86_64::*;

use super::epilogue::finish_sums;
use super::gemm::WIDE;
use super::{CHANNELS, adds_beside_products, winograd_fused};
use crate::winograd::transform::{input, output, weights};
use crate::winograd::vector::Vector;
use crate::winograd::{InputTransform, OutputTransform, WeightTransform, WinogradKernels};

/// Weights are transformed first, or while they are multiplied.
static BEFORE: [WinogradKernels; 2] = [WINOGRAD, FUSED];
static BESIDE: [WinogradKernels; 2] = [FUSED, WINOGRAD];

/// Both ways, the better first. (On an Emerald Rapids without its AMX, additions between products cost up to
/// a third.)
pub(crate) fn ways() -> &'static [WinogradKernels] {
    if adds_beside_products() { &BESIDE } else { &BEFORE }
}

const WINOGRAD: WinogradKernels = WinogradKernels {
    product: &WIDE,
    plain: 2,
    chunk: <__m512i as Vector>::WORDS,
    weights: transform_weights,
    fused: None,
    input: transform_input,
    output: transform_output,
    finish: finish_sums,
};

const FUSED: WinogradKernels =
    WinogradKernels { fused: Some(&winograd_fused::PRODUCTS), ..WINOGRAD };

/// # Safety
/// See [`weights`]; the CPU has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn transform_weights(t: &WeightTransform) {
    // SAFETY: `N` is `product.channels · product.depth` of `WIDE`, the attribute enables what `Vector` needs, and the
    // caller vouches for the pointers.
    unsafe { weights::<__m512i, { 2 * CHANNELS }>(t) }
}

/// # Safety
/// See [`input`]; the CPU has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn transform_input(t: &InputTransform) {
    // SAFETY: the attribute enables what `Vector` needs, and the caller vouches for the pointers.
    unsafe { input::<__m512i>(t) }
}

/// # Safety
/// See [`output`]; the CPU has AVX-512 F, BW, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn transform_output(t: &OutputTransform) {
    // SAFETY: `N` is `product.channels` of `WIDE`, the attribute enables what `Vector` needs, and the caller vouches
    // for the pointers.
    unsafe { output::<__m512i, CHANNELS>(t) }
}

#[rustfmt::skip]
#[expect(clippy::undocumented_unsafe_blocks, reason = "each is one intrinsic, under the condition of the trait")]
impl Vector for __m512i {
    const WORDS: usize = 32;
    #[inline(always)] unsafe fn zero() -> Self { unsafe { _mm512_setzero_si512() } }
    #[inline(always)] unsafe fn from_u8(from: *const u8) -> Self { unsafe { _mm512_cvtepu8_epi16(_mm256_loadu_si256(from.cast())) } }
    #[inline(always)] unsafe fn from_i8(from: *const i8) -> Self { unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.cast())) } }
    #[inline(always)] unsafe fn load(from: *const i32) -> Self { unsafe { _mm512_loadu_si512(from.cast()) } }
    #[inline(always)] unsafe fn store(self, to: *mut i32) { unsafe { _mm512_storeu_si512(to.cast(), self) } }
    #[inline(always)] unsafe fn add16(self, other: Self) -> Self { unsafe { _mm512_add_epi16(self, other) } }
    #[inline(always)] unsafe fn sub16(self, other: Self) -> Self { unsafe { _mm512_sub_epi16(self, other) } }
    #[inline(always)] unsafe fn double16(self) -> Self { unsafe { _mm512_add_epi16(self, self) } }
    #[inline(always)] unsafe fn quadruple16(self) -> Self { unsafe { _mm512_slli_epi16::<2>(self) } }
    #[inline(always)] unsafe fn add32(self, other: Self) -> Self { unsafe { _mm512_add_epi32(self, other) } }
    #[inline(always)] unsafe fn sub32(self, other: Self) -> Self { unsafe { _mm512_sub_epi32(self, other) } }
    #[inline(always)] unsafe fn double32(self) -> Self { unsafe { _mm512_add_epi32(self, self) } }
    #[inline(always)] unsafe fn times32(self, factor: i32) -> Self { unsafe { _mm512_mullo_epi32(self, _mm512_set1_epi32(factor)) } }
    #[inline(always)] unsafe fn shift_right32<const BITS: i32>(self) -> Self { unsafe { _mm512_sra_epi32(self, _mm_cvtsi32_si128(BITS)) } }
}
