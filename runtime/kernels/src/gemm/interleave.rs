//! Bytes of two rows in turn: the step by which rows become columns.

/// Bytes of a row.
pub(crate) const LEN: usize = 16;

/// `a₀ b₀ a₁ b₁ …`
#[cfg(target_arch = "x86_64")]
pub(crate) fn interleave(a: [u8; LEN], b: [u8; LEN]) -> [[u8; LEN]; 2] {
    use std::arch::x86_64::{__m128i, _mm_unpackhi_epi8, _mm_unpacklo_epi8};
    // SAFETY: 16 bytes are 16 bytes, and every x86-64 has SSE2. (Compilers do not see that the loop below is this.)
    unsafe {
        let [a, b] = [a, b].map(|row| std::mem::transmute::<[u8; LEN], __m128i>(row));
        std::mem::transmute([_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)])
    }
}

/// `a₀ b₀ a₁ b₁ …`
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn interleave(a: [u8; LEN], b: [u8; LEN]) -> [[u8; LEN]; 2] {
    let half_of = |half: usize| std::array::from_fn(|i| [a, b][i % 2][half * LEN / 2 + i / 2]);
    [half_of(0), half_of(1)]
}
