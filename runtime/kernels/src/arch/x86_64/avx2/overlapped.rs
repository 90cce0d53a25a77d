//! GEMM and epilogue overlapped: products of 4 pixels by 16 channels, eight sums, so that four registers are
//! left for the epilogue.

use std::arch::asm;
use std::arch::x86_64::*;

use super::epilogue::finish_sums;
use super::gemm::KERNEL;
use super::overlapped_epilogue::OverlappedEpilogue;
use super::shuffled_steps::{
    ROW, ShuffledActivations, ShuffledSteps, WORDS, multiply_row, multiply_words, words,
};
use super::{CHANNELS, DEPTH};
use crate::arch::x86_64::overlapped::{self, Destination, Overlapped, OverlappedRun};
use crate::gemm::strided::{EpilogueConstants, Product, StridedKernel};
use crate::gemm::tile::{MicroKernel, Tile};

const PIXELS: usize = 4;
/// Steps of a product that the epilogue of another needs.
const OVERLAPPED_STEPS: usize = 4 * PIXELS;

pub(crate) const STRIDED: [StridedKernel; 1] = [overlapped::kernel::<Avx2>()];

struct Avx2;

impl Overlapped for Avx2 {
    const PIXELS: usize = PIXELS;
    const LEAST_STEPS: usize = OVERLAPPED_STEPS;
    const KERNEL: &'static MicroKernel = &KERNEL;
    const ORDER: [u32; 16] = [0, 4, 1, 5, 2, 6, 3, 7, 0, 0, 0, 0, 0, 0, 0, 0];
    const RUN: [OverlappedRun; 2] = [run::<false>, run::<true>];
    const FINISH: unsafe fn(&Tile<'_>, *const i32) = finish_sums;
}

/// A step of the products, with instructions of the epilogue between them.
macro_rules! step_of_bytes {
    ($acc:ident, $ones:ident, $x:ident, $steps:ident, $epilogue:ident, $add:ident, $step:literal, [$($r:literal)*]) => {
        $(
            multiply_row!($acc[$r], $ones, $steps.weights, $x, { ROW * $r + DEPTH * $step });
            $epilogue.between::<{ $add }, { PIXELS * $step + $r }, { 4 * PIXELS }>();
        )*
        $steps.weights = $steps.weights.add(CHANNELS * DEPTH);
    };
}

/// As [`step_of_bytes`] in 16 bits, with the epilogue's instructions between the products of the second half.
macro_rules! step_of_words {
    ($acc:ident, $ones:ident, $x:ident, $steps:ident, $epilogue:ident, $add:ident, $step:literal, [$($r:literal)*]) => {
        let w = words($steps.weights);
        $(multiply_words!($acc[$r], w, $x, { ROW * $r + WORDS * $step });)*
        let w = words($steps.weights.add(CHANNELS * DEPTH / 2));
        $(
            multiply_words!($acc[$r], w, $x, { ROW * $r + WORDS * $step + WORDS / 2 });
            $epilogue.between::<{ $add }, { PIXELS * $step + $r }, { 4 * PIXELS }>();
        )*
        $steps.weights = $steps.weights.add(CHANNELS * DEPTH);
    };
}

/// The steps that hide a pixel's epilogue.
macro_rules! four_steps {
    ($one:ident, $acc:ident, $ones:ident, $x:ident, $steps:ident, $epilogue:ident, $add:ident, $ahead:ident, $further:ident) => {
        $one!($acc, $ones, $x, $steps, $epilogue, $add, 0, [0 1 2 3]);
        _mm_prefetch::<_MM_HINT_T1>($ahead.cast());
        $one!($acc, $ones, $x, $steps, $epilogue, $add, 1, [0 1 2 3]);
        _mm_prefetch::<_MM_HINT_T1>($ahead.wrapping_add($further).cast());
        $one!($acc, $ones, $x, $steps, $epilogue, $add, 2, [0 1 2 3]);
        _mm_prefetch::<_MM_HINT_T1>($ahead.wrapping_add(2 * $further).cast());
        $one!($acc, $ones, $x, $steps, $epilogue, $add, 3, [0 1 2 3]);
        _mm_prefetch::<_MM_HINT_T1>($ahead.wrapping_add(3 * $further).cast());
        $ahead = $ahead.wrapping_add(4 * $further);
    };
}

/// # Safety
/// See [`OverlappedRun`].
#[target_feature(enable = "avx2")]
unsafe fn run<const ADD: bool>(
    p: &Product<'_>,
    [mut place, mut own]: [Destination; 2],
    mut before: *const i32,
    constants: &EpilogueConstants,
) {
    let [mut to, mut other] = p.sums;
    let (mut first, (mut ahead, further), ones) = (p.x, p.ahead, _mm256_set1_epi16(1));
    let mut windows = ShuffledActivations::<PIXELS>::new();
    // SAFETY: `Product` and `Tile` document the ranges in which rows, weights, sums and residuals are read, and
    // outputs and sums written; `StridedKernel::least_steps` lets no product come with fewer than `OVERLAPPED_STEPS`
    // steps.
    unsafe {
        for _ in 0..p.count {
            let mut epilogue = OverlappedEpilogue::new(&place, before, constants);
            let bias =
                [_mm256_loadu_si256(p.bias.cast()), _mm256_loadu_si256(p.bias.add(8).cast())];
            let mut acc = [bias; PIXELS];
            let rows = std::array::from_fn(|r| first.wrapping_add(r * p.pitch));
            let mut steps = ShuffledSteps::of(p.weights);
            let (mut x, count) = steps.order(rows, &mut windows);
            if steps.in_words {
                for _ in 0..PIXELS {
                    four_steps!(step_of_words, acc, ones, x, steps, epilogue, ADD, ahead, further);
                    x = x.add(4 * WORDS);
                    epilogue.advance(&place);
                }
            } else {
                for _ in 0..PIXELS {
                    four_steps!(step_of_bytes, acc, ones, x, steps, epilogue, ADD, ahead, further);
                    x = x.add(4 * DEPTH);
                    epilogue.advance(&place);
                }
            }
            steps.multiply(&mut acc, x, count - OVERLAPPED_STEPS, (&mut ahead, further));
            while steps.are_left() {
                let (x, count) = steps.order(rows, &mut windows);
                steps.multiply(&mut acc, x, count, (&mut ahead, further));
            }
            for (r, row) in acc.iter().enumerate() {
                _mm256_store_si256(to.add(r * CHANNELS).cast(), row[0]);
                _mm256_store_si256(to.add(r * CHANNELS + 8).cast(), row[1]);
            }
            before = to;
            (to, other) = (other, to);
            (place, own) = (own, own.next(PIXELS));
            first = first.wrapping_add(PIXELS * p.pitch);
        }
    }
}
