//! AVX2: `vpmaddubsw` on bytes, two products added in 16 bits where they cannot overflow, then `vpmaddwd` and `vpaddd`.
//!
//! `pairs.rs` brings the weights into an order in which nothing overflows. Tile: 6 pixels by 16 channels, 12 accumulators
//! of 16 registers. The last step to bytes (`bytes.rs`) is shared with AVX-VNNI.

mod bytes;
mod pairs;

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use crate::tile::{Activations, Kernel, Tile};
pub(crate) use bytes::{finish, finish_sums};

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
    arrange: Some(pairs::ARRANGE),
    tile,
    peak,
};

/// `vpmaddwd` on activations and weights of 16 bits.
pub(crate) const WIDE: Kernel = Kernel { depth: 2, arrange: None, tile: wide_tile, ..KERNEL };

/// # Safety
/// See [`Kernel::tile`]; the CPU has AVX2, and `pairs.rs` made the weights.
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

/// Activations of a pixel that are brought into order before they are multiplied.
pub(crate) const ROW: usize = 16 * pairs::WINDOW;

/// Four activations of a pixel, `r` rows behind `x`, times the weights of a step. As assembly, because compilers prefer to
/// hold weights in registers, of which none is left, and put sums into memory instead.
macro_rules! multiply {
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
pub(crate) use multiply;

/// [`multiply`] for rows 0 to `$p`.
macro_rules! multiply_rows {
    ($acc:ident, $ones:ident, $weights:expr, $x:expr, $p:ident, [$($r:literal)*]) => {
        $(if $r < $p {
            multiply!($acc[$r % $p], $ones, $weights, $x, { ROW * $r });
        })*
    };
}

/// Room for the activations of `P` pixels in order.
#[repr(align(64))]
pub(crate) struct Windows<const P: usize>([MaybeUninit<[u8; ROW]>; P]);

impl<const P: usize> Windows<P> {
    pub(crate) fn new() -> Self {
        Self([MaybeUninit::uninit(); P])
    }
}

/// A tap's steps, as `pairs.rs` lays them out: what is left of them.
pub(crate) struct Steps {
    count: usize,
    patterns: *const u8,
    /// Where the next window begins.
    offset: usize,
    /// How many come at the end, and their offsets and patterns.
    more: usize,
    entries: *const u32,
    pub(crate) weights: *const u8,
    end: *const u8,
}

impl Steps {
    /// # Safety
    /// `pairs.rs` made what lies there.
    #[inline]
    pub(crate) unsafe fn of(tap: *const u8) -> Self {
        // SAFETY: as this function demands.
        unsafe {
            let [count, more] = tap.cast::<[u32; 2]>().read().map(|n| n as usize);
            let [patterns, weights, entries, end] =
                pairs::places(count, more).map(|at| tap.wrapping_add(at));
            Self { count, patterns, offset: 0, more, entries: entries.cast(), weights, end }
        }
    }

    pub(crate) fn are_left(&self) -> bool {
        self.count + self.more > 0
    }

    /// Brings the activations of the next steps into order: where they begin, and how many steps that is.
    ///
    /// # Safety
    /// All rows can be read as [`Tile::rows`] says.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn order<const P: usize>(
        &mut self,
        x: [*const u8; P],
        to: &mut Windows<P>,
    ) -> (*const u8, usize) {
        let first = to.0.as_mut_ptr().cast::<u8>();
        if self.count == 0 {
            // SAFETY: as this function demands.
            return (first, unsafe { self.order_more(x, first) });
        }
        let count = self.count.min(ROW / DEPTH);
        // SAFETY: as this function demands.
        unsafe {
            for at in (0..DEPTH * count).step_by(pairs::WINDOW) {
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
            // SAFETY: as `order` demands.
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
}

/// The next steps, of activations in order; `ahead` is fetched meanwhile.
///
/// # Safety
/// There are so many; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn multiply_all<const P: usize>(
    acc: &mut [[__m256i; 2]; P],
    mut x: *const u8,
    steps: &mut Steps,
    count: usize,
    (ahead, further): (&mut *const u8, usize),
) {
    let ones = _mm256_set1_epi16(1);
    for _ in 0..count {
        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
        *ahead = ahead.wrapping_add(further);
        // SAFETY: as this function demands.
        unsafe {
            multiply_rows!(acc, ones, steps.weights, x, P, [0 1 2 3 4 5]);
            (x, steps.weights) = (x.add(DEPTH), steps.weights.add(CHANNELS * DEPTH));
        }
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
        let mut windows = Windows::new();
        for tap in 0..t.taps {
            let x: [_; P] = std::array::from_fn(|r| *t.rows.add(tap * PIXELS + r));
            let mut steps = Steps::of(weights);
            while steps.are_left() {
                let (x, count) = steps.order(x, &mut windows);
                multiply_all(&mut acc, x, &mut steps, count, (&mut ahead, further));
            }
            weights = steps.end;
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
