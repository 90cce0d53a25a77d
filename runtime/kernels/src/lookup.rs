//! Any function of one quantized value, as 256 answers: sigmoid, hard-swish, another scale and zero point.

use std::fmt;

use crate::eltwise::Rows;
use crate::isa::Isa;
use crate::pool::Pool;

/// `y = table[x]`, by the fastest way an instruction set has.
#[derive(Clone)]
pub struct Lookup {
    table: Box<[u8; 256]>,
    spread: unsafe fn(&Spread<'_>),
}

/// Pixels through a table: pixel `p` of `y` is that of pixel `p / repeat` of `x`.
pub(crate) struct Spread<'a> {
    pub(crate) table: &'a [u8; 256],
    pub(crate) x: *const u8,
    pub(crate) x_stride: usize,
    pub(crate) y: *mut u8,
    pub(crate) y_stride: usize,
    pub(crate) channels: usize,
    /// Of `x`.
    pub(crate) pixels: usize,
    pub(crate) repeat: usize,
}

impl Lookup {
    pub fn new(isa: Isa, table: [u8; 256]) -> Self {
        Self { table: Box::new(table), spread: isa.spread() }
    }

    /// Every row through the table.
    pub fn run(&self, rows: &Rows, x: &[u8], y: &mut [u8], pool: &Pool) {
        let x = &x[..rows.bytes(rows.x_stride)];
        let y = &mut y[..rows.bytes(rows.y_stride)];
        pool.split_rows(y, rows.pixels, rows.y_stride, |pixels, y| {
            let x = &x[pixels.start * rows.x_stride..];
            self.pixels(&Rows { pixels: pixels.len(), ..*rows }, 1, x, y);
        });
    }

    /// Every byte through the table.
    pub fn in_place(&self, y: &mut [u8]) {
        y.iter_mut().for_each(|q| *q = self.table[usize::from(*q)]);
    }

    /// Pixels of `x` through the table, each to `repeat` pixels of `y`.
    pub(crate) fn pixels(&self, rows: &Rows, repeat: usize, x: &[u8], y: &mut [u8]) {
        let written = Rows { pixels: rows.pixels * repeat, ..*rows };
        let (x, y) = (&x[..rows.bytes(rows.x_stride)], &mut y[..written.bytes(rows.y_stride)]);
        let one = rows.x_stride == rows.channels && rows.y_stride == rows.channels && repeat == 1;
        let (channels, pixels) =
            if one { (rows.pixels * rows.channels, 1) } else { (rows.channels, rows.pixels) };
        let spread = Spread {
            table: &self.table,
            x: x.as_ptr(),
            x_stride: rows.x_stride,
            y: y.as_mut_ptr(),
            y_stride: rows.y_stride,
            channels,
            pixels,
            repeat,
        };
        // SAFETY: the function came from an `Isa`, which proves the CPU has it; both slices were cut to what it touches.
        unsafe { (self.spread)(&spread) }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lookup").field(&self.table).finish()
    }
}

/// # Safety
/// `x` is readable and `y` writable as [`Spread`] says; any CPU will do.
pub(crate) unsafe fn scalar(s: &Spread<'_>) {
    for pixel in 0..s.pixels {
        // SAFETY: as this function demands.
        unsafe {
            let x = std::slice::from_raw_parts(s.x.add(pixel * s.x_stride), s.channels);
            for copy in pixel * s.repeat..(pixel + 1) * s.repeat {
                let y = std::slice::from_raw_parts_mut(s.y.add(copy * s.y_stride), s.channels);
                y.iter_mut().zip(x).for_each(|(y, x)| *y = s.table[usize::from(*x)]);
            }
        }
    }
}

/// 64 answers at a time: `vpermt2b` looks 7 bits up in two registers; the eighth says in which two.
///
/// # Safety
/// As [`scalar`]; the CPU has AVX-512 F, BW and VBMI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(crate) unsafe fn avx512_vbmi(s: &Spread<'_>) {
    use std::arch::x86_64::*;

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
