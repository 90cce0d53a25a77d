//! Bytes through a table of 256, 64 at a time.

use std::arch::x86_64::*;

use crate::arch::generic::lookup::TableLookup;

/// 64 answers at a time: `vpermt2b` looks 7 bits up in two registers; the eighth says in which two.
///
/// # Safety
/// As [`look_up`](crate::arch::generic::lookup::look_up); the CPU has AVX-512 F, BW and VBMI.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(crate) unsafe fn look_up_vbmi(s: &TableLookup<'_>) {
    // SAFETY: the table has 256 bytes; masks keep within the channels of each pixel.
    unsafe {
        let table: *const u8 = s.table.as_ptr();
        let part = [
            _mm512_loadu_si512(table.cast()),
            _mm512_loadu_si512(table.add(64).cast()),
            _mm512_loadu_si512(table.add(128).cast()),
            _mm512_loadu_si512(table.add(192).cast()),
        ];
        for pixel in 0..s.pixels {
            let (x, y) = (s.x.add(pixel * s.x_stride), s.y.add(pixel * s.repeat * s.y_stride));
            let mut channel = 0;
            while channel < s.channels {
                let mask = u64::MAX >> (64 - (s.channels - channel).min(64));
                let q = _mm512_maskz_loadu_epi8(mask, x.add(channel).cast());
                let low = _mm512_permutex2var_epi8(part[0], q, part[1]);
                let high = _mm512_permutex2var_epi8(part[2], q, part[3]);
                let answers = _mm512_mask_blend_epi8(_mm512_movepi8_mask(q), low, high);
                for copy in 0..s.repeat {
                    let y = y.add(copy * s.y_stride + channel);
                    _mm512_mask_storeu_epi8(y.cast(), mask, answers);
                }
                channel += 64;
            }
        }
    }
}
