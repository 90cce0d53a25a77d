//! The steps of a tap: activations brought into the order of its weights, and multiplied.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::safe_pairs::{HEADER, WINDOW, places};
use super::{CHANNELS, DEPTH};

/// Activations of a pixel that are brought into order before they are multiplied.
pub(crate) const ROW: usize = 16 * WINDOW;

/// Four activations of a pixel, `r` rows behind `x`, times the weights of a step. As assembly, because
/// compilers prefer to hold weights in registers, of which none is left, and put sums into memory instead.
macro_rules! multiply_row {
    ($acc:expr, $ones:ident, $weights:expr, $x:expr, $r:expr) => {
        asm!(
            "vpbroadcastd {a}, dword ptr [{x} + {r}]",
            "vpmaddubsw {t}, {a}, ymmword ptr [{w}]",
            "vpmaddwd {t}, {t}, {ones}",
            "vpaddd {c0}, {c0}, {t}",
            "vpmaddubsw {a}, {a}, ymmword ptr [{w} + 32]",
            "vpmaddwd {a}, {a}, {ones}",
            "vpaddd {c1}, {c1}, {a}",
            x = in(reg) $x, w = in(reg) $weights, r = const $r, ones = in(ymm_reg) $ones,
            c0 = inout(ymm_reg) $acc[0], c1 = inout(ymm_reg) $acc[1],
            a = out(ymm_reg) _, t = out(ymm_reg) _, options(readonly, nostack, preserves_flags)
        )
    };
}
pub(crate) use multiply_row;

/// Two activations of 16 bits of a pixel, `r` bytes behind `x`, times their weights in two registers. As assembly for the same
/// reason: these two, two of its own and twelve sums are all sixteen.
macro_rules! multiply_words {
    ($acc:expr, $weights:expr, $x:expr, $r:expr) => {
        asm!(
            "vpbroadcastd {a}, dword ptr [{x} + {r}]",
            "vpmaddwd {t}, {a}, {w0}",
            "vpaddd {c0}, {c0}, {t}",
            "vpmaddwd {a}, {a}, {w1}",
            "vpaddd {c1}, {c1}, {a}",
            x = in(reg) $x, w0 = in(ymm_reg) $weights[0], w1 = in(ymm_reg) $weights[1], r = const $r,
            c0 = inout(ymm_reg) $acc[0], c1 = inout(ymm_reg) $acc[1],
            a = out(ymm_reg) _, t = out(ymm_reg) _, options(readonly, nostack, preserves_flags)
        )
    };
}
pub(crate) use multiply_words;

/// [`multiply_row`] for rows 0 to `$p`.
macro_rules! multiply_rows {
    ($acc:ident, $ones:ident, $weights:expr, $x:expr, $p:ident, [$($r:literal)*]) => {
        $(if $r < $p {
            multiply_row!($acc[$r % $p], $ones, $weights, $x, { ROW * $r });
        })*
    };
}

/// [`multiply_words`] for rows 0 to `$p`.
macro_rules! multiply_rows_of_words {
    ($acc:ident, $weights:expr, $x:expr, $p:ident, [$($r:literal)*]) => {
        $(if $r < $p {
            multiply_words!($acc[$r % $p], $weights, $x, { ROW * $r });
        })*
    };
}

/// Bytes of a step's activations in 16 bits.
pub(crate) const WORDS: usize = 2 * DEPTH;

/// Weights of half a step, in 16 bits.
///
/// # Safety
/// They lie there; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn words(weights: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller vouches for 32 bytes.
    unsafe { [weights, weights.add(16)].map(|w| _mm256_cvtepi8_epi16(_mm_load_si128(w.cast()))) }
}

/// Room for the activations of `P` pixels in order.
#[repr(align(64))]
pub(crate) struct ShuffledActivations<const P: usize>([MaybeUninit<[u8; ROW]>; P]);

impl<const P: usize> ShuffledActivations<P> {
    pub(crate) fn new() -> Self {
        Self([MaybeUninit::uninit(); P])
    }
}

/// A tap's steps, as `safe_pairs.rs` lays them out: what is left of them.
pub(crate) struct ShuffledSteps {
    count: usize,
    patterns: *const u8,
    /// Where the next window begins.
    offset: usize,
    /// How many come at the end, and their offsets and patterns.
    more: usize,
    entries: *const u32,
    /// Products are of 16 bits.
    pub(crate) in_words: bool,
    pub(crate) weights: *const u8,
    end: *const u8,
}

impl ShuffledSteps {
    /// # Safety
    /// `safe_pairs.rs` made what lies there.
    #[inline]
    pub(crate) unsafe fn of(tap: *const u8) -> Self {
        // SAFETY: `safe_pairs.rs` begins each tap with these three numbers; the rest is addresses, not read yet.
        unsafe {
            let [count, more, in_words] = tap.cast::<[u32; 3]>().read().map(|n| n as usize);
            let in_words = in_words != 0;
            let mut places = places(count, more);
            if in_words {
                places[1..].fill(HEADER + CHANNELS * DEPTH * count);
                places[1] = HEADER;
            }
            let [patterns, weights, entries, end] = places.map(|at| tap.wrapping_add(at));
            let entries = entries.cast();
            Self { count, patterns, offset: 0, more, entries, in_words, weights, end }
        }
    }

    pub(crate) fn are_left(&self) -> bool {
        self.count + self.more > 0
    }

    /// Brings the activations of the next steps into order: where they begin, and how many steps that is.
    ///
    /// # Safety
    /// All rows can be read as [`Tile::rows`](crate::gemm::tile::Tile::rows) says.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn order<const P: usize>(
        &mut self,
        x: [*const u8; P],
        to: &mut ShuffledActivations<P>,
    ) -> (*const u8, usize) {
        let first = to.0.as_mut_ptr().cast::<u8>();
        if self.count == 0 {
            // SAFETY: the caller's promise for all rows is what `order_more` asks for.
            return (first, unsafe { self.order_more(x, first) });
        }
        if self.in_words {
            // SAFETY: as above.
            return (first, unsafe { self.widen(x, first) });
        }
        let count = self.count.min(ROW / DEPTH);
        // SAFETY: there are patterns for whole windows; rows can be read SLACK behind their activations, which is
        // more than a window's rest; and `to` has `ROW` bytes for each of the `P` rows.
        unsafe {
            for at in (0..DEPTH * count).step_by(WINDOW) {
                let pattern = _mm256_load_si256(self.patterns.add(at).cast());
                for r in 0..P {
                    let x = _mm256_loadu_si256(x[r].add(self.offset + at).cast());
                    let to = first.add(r * ROW + at);
                    _mm256_store_si256(to.cast(), _mm256_shuffle_epi8(x, pattern));
                }
            }
            self.patterns = self.patterns.add(ROW);
        }
        (self.offset, self.count) = (self.offset + ROW, self.count - count);
        (first, count)
    }

    /// As `order`, for products of 16 bits: activations stay in their order.
    ///
    /// # Safety
    /// As `order`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn widen<const P: usize>(&mut self, x: [*const u8; P], first: *mut u8) -> usize {
        let count = self.count.min(ROW / WORDS);
        for at in (0..DEPTH * count).step_by(16) {
            for r in 0..P {
                // SAFETY: rows can be read SLACK behind their activations, which is more than 16; twice as many bytes
                // fit a row of `to`, whose size is a multiple of 32.
                unsafe {
                    let x = _mm_loadu_si128(x[r].add(self.offset + at).cast());
                    let to = first.add(r * ROW + 2 * at);
                    _mm256_store_si256(to.cast(), _mm256_cvtepu8_epi16(x));
                }
            }
        }
        (self.offset, self.count) = (self.offset + DEPTH * count, self.count - count);
        count
    }

    /// As `order`, for steps at the end.
    ///
    /// # Safety
    /// As `order`.
    #[cold]
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    unsafe fn order_more<const P: usize>(&mut self, x: [*const u8; P], first: *mut u8) -> usize {
        let count = self.more.min(ROW / DEPTH);
        for step in 0..count {
            // SAFETY: `offset` and pattern stay within a tap's activations, of which `order` was promised every row;
            // `count` steps fit a row of `to`.
            unsafe {
                let offset = self.entries.read() as usize;
                let pattern = _mm_cvtsi32_si128(self.entries.add(1).cast::<i32>().read());
                for r in 0..P {
                    let x = _mm_loadu_si128(x[r].add(offset).cast());
                    let to = first.add(r * ROW + DEPTH * step).cast::<i32>();
                    to.write(_mm_cvtsi128_si32(_mm_shuffle_epi8(x, pattern)));
                }
                self.entries = self.entries.add(2);
            }
        }
        self.more -= count;
        count
    }

    /// Multiplies the next steps, of activations in order; `ahead` is fetched meanwhile.
    ///
    /// # Safety
    /// There are so many.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn multiply<const P: usize>(
        &mut self,
        acc: &mut [[__m256i; 2]; P],
        mut x: *const u8,
        count: usize,
        (ahead, further): (&mut *const u8, usize),
    ) {
        if self.in_words {
            for _ in 0..count {
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                *ahead = ahead.wrapping_add(further);
                // SAFETY: as below.
                unsafe {
                    for _ in 0..2 {
                        let w = words(self.weights);
                        multiply_rows_of_words!(acc, w, x, P, [0 1 2 3 4 5]);
                        (x, self.weights) = (x.add(WORDS / 2), self.weights.add(CHANNELS * 2));
                    }
                }
            }
            return;
        }
        let ones = _mm256_set1_epi16(1);
        for _ in 0..count {
            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            *ahead = ahead.wrapping_add(further);
            // SAFETY: the caller vouches for `count` steps: `order` wrote their activations, `safe_pairs.rs` their
            // weights.
            unsafe {
                multiply_rows!(acc, ones, self.weights, x, P, [0 1 2 3 4 5]);
                (x, self.weights) = (x.add(DEPTH), self.weights.add(CHANNELS * DEPTH));
            }
        }
    }

    /// Where the next tap's lie.
    pub(crate) fn end(&self) -> *const u8 {
        self.end
    }
}
