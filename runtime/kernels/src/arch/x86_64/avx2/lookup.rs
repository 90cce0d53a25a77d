//! Bytes through a table of 256, 32 at a time.
//!
//! `vpshufb` looks 4 bits up in one register, and gives 0 where the index is below zero. So 16 is taken off again and
//! again: the register of bytes `16k..16k + 16` holds what they differ by from the 16 before, and exclusive ors of all
//! registers up to its own give a byte its answer. That goes for indices below 128 and, from there, for those above.

use std::arch::x86_64::*;

use crate::arch::generic::lookup::TableLookup;

/// Bytes of a register.
const WIDTH: usize = 32;
/// A row's last bytes are looked up one by one where they are fewer.
const FEW: usize = 12;

/// # Safety
/// As [`look_up`](crate::arch::generic::lookup::look_up); the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn look_up(s: &TableLookup<'_>) {
    let halves = differences(s.table);
    for pixel in 0..s.pixels {
        // SAFETY: `pixel < pixels`, and each copy is one of `pixels · repeat`: the rows that the caller says can be
        // read and written. A register reaches to the row's end at most; what is shorter goes through `part`.
        unsafe {
            let (x, y) = (s.x.add(pixel * s.x_stride), s.y.add(pixel * s.repeat * s.y_stride));
            let mut channel = 0;
            while channel + WIDTH <= s.channels {
                let q = answers(&halves, _mm256_loadu_si256(x.add(channel).cast()));
                for copy in 0..s.repeat {
                    _mm256_storeu_si256(y.add(copy * s.y_stride + channel).cast(), q);
                }
                channel += WIDTH;
            }
            let left = s.channels - channel;
            let mut part = [0_u8; WIDTH];
            if left >= FEW {
                std::ptr::copy_nonoverlapping(x.add(channel), part.as_mut_ptr(), left);
                let q = answers(&halves, _mm256_loadu_si256(part.as_ptr().cast()));
                _mm256_storeu_si256(part.as_mut_ptr().cast(), q);
            } else {
                for (at, q) in part.iter_mut().enumerate().take(left) {
                    *q = s.table[usize::from(*x.add(channel + at))];
                }
            }
            for copy in 0..s.repeat {
                let y = y.add(copy * s.y_stride + channel);
                std::ptr::copy_nonoverlapping(part.as_ptr(), y, left);
            }
        }
    }
}

/// For indices below 128 and for those above: a register for each 16, the first as it is, of the others what they differ
/// by from the one before.
#[inline]
#[target_feature(enable = "avx2")]
fn differences(table: &[u8; 256]) -> [[__m256i; 8]; 2] {
    let (sixteens, _) = table.as_chunks::<16>();
    let mut halves = [[_mm256_setzero_si256(); 8]; 2];
    for (half, sixteens) in halves.iter_mut().zip(sixteens.chunks_exact(8)) {
        let mut before = _mm256_setzero_si256();
        for (difference, sixteen) in half.iter_mut().zip(sixteens) {
            // SAFETY: sixteen bytes can be read.
            let sixteen = unsafe { _mm_loadu_si128(sixteen.as_ptr().cast()) };
            let sixteen = _mm256_broadcastsi128_si256(sixteen);
            *difference = _mm256_xor_si256(sixteen, before);
            before = sixteen;
        }
    }
    halves
}

#[inline]
#[target_feature(enable = "avx2")]
fn answers(halves: &[[__m256i; 8]; 2], q: __m256i) -> __m256i {
    let sixteen = _mm256_set1_epi8(16);
    let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    // What an index of the other half finds does not matter.
    let (mut below, mut above) = (q, _mm256_xor_si256(q, _mm256_set1_epi8(i8::MIN)));
    for (first, second) in halves[0].iter().zip(&halves[1]) {
        low = _mm256_xor_si256(low, _mm256_shuffle_epi8(*first, below));
        high = _mm256_xor_si256(high, _mm256_shuffle_epi8(*second, above));
        (below, above) = (_mm256_sub_epi8(below, sixteen), _mm256_sub_epi8(above, sixteen));
    }
    _mm256_blendv_epi8(low, high, q)
}
