//! AVX2: `vpmaddubsw` on bytes, two products added in 16 bits where they cannot overflow, then `vpmaddwd` and `vpaddd`.
//!
//! `pairs.rs` brings the weights into an order in which nothing overflows. Tile: 6 pixels by 16 channels, 12 accumulators
//! of 16 registers. The last step to bytes (`bytes.rs`) is shared with AVX-VNNI.

mod bytes;
mod pairs;

use std::arch::asm;
use std::arch::x86_64::*;

use crate::tile::{Activations, Kernel, Tile};
pub(crate) use bytes::{finish, finish_sums};
pub(crate) use pairs::arrange;

pub(crate) const PIXELS: usize = 6;
pub(crate) const CHANNELS: usize = 16;

/// Input channels of a step.
pub(crate) const DEPTH: usize = 4;

pub(crate) const KERNEL: Kernel = Kernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: DEPTH,
    depthwise: false,
    activations: Activations::Bytes,
    no_lowest_weight: false,
    arrange: Some(arrange::<0>),
    tile,
    peak,
};

/// `vpmaddwd` on activations and weights of 16 bits.
pub(crate) const WIDE: Kernel = Kernel { depth: 2, arrange: None, tile: wide_tile, ..KERNEL };

/// # Safety
/// See [`Kernel::tile`]; the CPU has AVX2, and `pairs::arrange` made the weights.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: as this function demands.
    unsafe {
        match t.pixels {
            1 => rows::<1>(t),
            2 => rows::<2>(t),
            3 => rows::<3>(t),
            4 => rows::<4>(t),
            5 => rows::<5>(t),
            _ => rows::<6>(t),
        }
    }
}

/// A pixel's four activations, brought to every lane by the given instructions, times the weights of a step. As assembly,
/// because compilers prefer to hold weights in registers, of which none is left, and put sums into memory instead.
macro_rules! multiply {
    ($acc:expr, $ones:ident, $weights:expr, $x:expr, $offset:expr, $($fetch:literal),+ $(, $name:ident = $operand:ident)?) => {
        asm!(
            $($fetch,)+
            "vpmaddubsw {t}, {a}, ymmword ptr [{w}]",
            "vpmaddwd {t}, {t}, {ones}",
            "vpaddd {c0}, {c0}, {t}",
            "vpmaddubsw {a}, {a}, ymmword ptr [{w} + 32]",
            "vpmaddwd {a}, {a}, {ones}",
            "vpaddd {c1}, {c1}, {a}",
            x = in(reg) $x, offset = in(reg) $offset, w = in(reg) $weights, ones = in(ymm_reg) $ones,
            c0 = inout(ymm_reg) $acc[0], c1 = inout(ymm_reg) $acc[1], $($name = in(ymm_reg) $operand,)?
            a = out(ymm_reg) _, t = out(ymm_reg) _, options(readonly, nostack, preserves_flags)
        )
    };
}

/// As [`multiply`], of four of 16 activations.
macro_rules! multiply_shuffled {
    ($acc:expr, $ones:ident, $weights:expr, $x:expr, $offset:expr, $pattern:ident) => {
        multiply!(
            $acc, $ones, $weights, $x, $offset,
            "vbroadcasti128 {a}, xmmword ptr [{x} + {offset}]", "vpshufb {a}, {a}, {pattern}", pattern = $pattern
        )
    };
}
pub(crate) use {multiply, multiply_shuffled};

/// A tap's steps, as `pairs.rs` lays them out, those that are done already left out.
pub(crate) struct Steps {
    straight: usize,
    shuffled: usize,
    entry: *const u32,
    weights: *const u8,
}

impl Steps {
    /// # Safety
    /// `pairs::arrange` made what lies there.
    #[inline]
    pub(crate) unsafe fn of(tap: *const u8) -> Self {
        // SAFETY: as this function demands.
        unsafe {
            let [shuffled, straight] = tap.cast::<[u32; 2]>().read().map(|n| n as usize);
            let weights = tap.add(pairs::head(straight, shuffled));
            Self { straight, shuffled, entry: tap.add(8).cast(), weights }
        }
    }

    /// The next shuffled step: where its activations begin, the pattern, the weights.
    ///
    /// # Safety
    /// There is one.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn next(&mut self) -> (usize, __m256i, *const u8) {
        let (entry, weights) = (self.entry, self.weights);
        self.shuffled -= 1;
        // SAFETY: as this function demands.
        unsafe {
            (self.entry, self.weights) = (entry.add(2), weights.add(CHANNELS * DEPTH));
            (entry.read() as usize, _mm256_set1_epi32(entry.add(1).cast::<i32>().read()), weights)
        }
    }

    /// Multiplies what is left; `ahead` is fetched meanwhile. Where the next tap's steps lie.
    ///
    /// # Safety
    /// All rows can be read as [`Tile::rows`] says.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn multiply<const P: usize>(
        mut self,
        acc: &mut [[__m256i; 2]; P],
        x: [*const u8; P],
        (ahead, further): (&mut *const u8, usize),
    ) -> *const u8 {
        let ones = _mm256_set1_epi16(1);
        // SAFETY: as this function demands.
        unsafe {
            while self.shuffled > 0 {
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                *ahead = ahead.wrapping_add(further);
                let (offset, pattern, weights) = self.next();
                for r in 0..P {
                    multiply_shuffled!(acc[r], ones, weights, x[r], offset, pattern);
                }
            }
            for _ in 0..self.straight {
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                *ahead = ahead.wrapping_add(further);
                let offset = self.entry.read() as usize;
                for r in 0..P {
                    multiply!(
                        acc[r], ones, self.weights, x[r], offset,
                        "vpbroadcastd {a}, dword ptr [{x} + {offset}]"
                    );
                }
                (self.entry, self.weights) =
                    (self.entry.add(1), self.weights.add(CHANNELS * DEPTH));
            }
        }
        self.weights
    }
}

/// # Safety
/// As [`tile`], and `t.pixels == P`.
#[target_feature(enable = "avx2")]
unsafe fn rows<const P: usize>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations are read within the ranges that `Tile` and `pairs.rs` document.
    unsafe {
        let bias = [_mm256_loadu_si256(t.bias.cast()), _mm256_loadu_si256(t.bias.add(8).cast())];
        let mut acc = [bias; P];
        let (mut weights, (mut ahead, further)) = (t.weights, t.prefetch);
        for tap in 0..t.taps {
            let x = std::array::from_fn(|r| *t.rows.add(tap * PIXELS + r));
            weights = Steps::of(weights).multiply(&mut acc, x, (&mut ahead, further));
        }
        let mut sums = [[_mm256_setzero_si256(); 2]; PIXELS];
        sums[..P].copy_from_slice(&acc);
        finish(t, &sums);
    }
}

/// As [`tile`], with weights of 16 bits, as they are.
///
/// # Safety
/// See [`Kernel::tile`]; the CPU has AVX2.
unsafe fn wide_tile(t: &Tile<'_>) {
    // SAFETY: as this function demands.
    unsafe {
        match t.pixels {
            1 => wide_rows::<1>(t),
            2 => wide_rows::<2>(t),
            3 => wide_rows::<3>(t),
            4 => wide_rows::<4>(t),
            5 => wide_rows::<5>(t),
            _ => wide_rows::<6>(t),
        }
    }
}

/// # Safety
/// As [`wide_tile`], and `t.pixels == P`.
#[target_feature(enable = "avx2")]
unsafe fn wide_rows<const P: usize>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations are read, and sums written, within the ranges that `Tile` documents.
    unsafe {
        let bias = [_mm256_loadu_si256(t.bias.cast()), _mm256_loadu_si256(t.bias.add(8).cast())];
        let mut acc = [bias; P];
        let x: [*const u8; P] = std::array::from_fn(|r| *t.rows.add(r));
        for step in 0..t.steps {
            let weights = t.weights.add(64 * step);
            let w = [_mm256_load_si256(weights.cast()), _mm256_load_si256(weights.add(32).cast())];
            for r in 0..P {
                let a = _mm256_set1_epi32(x[r].add(step * 4).cast::<i32>().read_unaligned());
                acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(a, w[0]));
                acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(a, w[1]));
            }
        }
        let mut sums = [[_mm256_setzero_si256(); 2]; PIXELS];
        sums[..P].copy_from_slice(&acc);
        finish(t, &sums);
    }
}

/// See [`Kernel::peak`].
///
/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn peak(rounds: usize) -> u64 {
    let (a, w) = (_mm256_set1_epi8(3), _mm256_set1_epi8(5));
    let (ones, mut acc) = (_mm256_set1_epi16(1), [_mm256_setzero_si256(); 12]);
    for _ in 0..rounds {
        for acc in &mut acc {
            // SAFETY: three instructions of the enabled feature, on registers only. As assembly, because a compiler would
            // compute the twelve equal products once.
            unsafe {
                asm!(
                    "vpmaddubsw {t}, {a}, {w}",
                    "vpmaddwd {t}, {t}, {ones}",
                    "vpaddd {acc}, {acc}, {t}",
                    a = in(ymm_reg) a, w = in(ymm_reg) w, ones = in(ymm_reg) ones, acc = inout(ymm_reg) *acc,
                    t = out(ymm_reg) _, options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
    std::hint::black_box(acc);
    rounds as u64 * 12 * 32
}
