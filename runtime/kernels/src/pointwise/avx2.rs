//! AVX2: products of 4 pixels by 16 channels: eight sums, so that four registers are left for the last step.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx2_last_step::LastStep;
use super::{Place, Run, Woven};
use crate::avx2::{CHANNELS, DEPTH, KERNEL, ROW, Steps, Windows, finish_sums, multiply};
use crate::matrix::{Constants, Matrix, Product};
use crate::tile::{Kernel, Tile};

const PIXELS: usize = 4;
/// Steps of a product that are woven with the last step of another.
const WOVEN: usize = 4 * PIXELS;

pub(crate) const MATRICES: [Matrix; 1] = [super::matrix::<Avx2>()];

struct Avx2;

impl Woven for Avx2 {
    const PIXELS: usize = PIXELS;
    const LEAST_STEPS: usize = WOVEN;
    const KERNEL: &'static Kernel = &KERNEL;
    const ORDER: [u32; 16] = [0, 4, 1, 5, 2, 6, 3, 7, 0, 0, 0, 0, 0, 0, 0, 0];
    const RUN: [Run; 2] = [woven::<false>, woven::<true>];
    const FINISH: unsafe fn(&Tile<'_>, *const i32) = finish_sums;
}

/// A step of the products, with instructions of the last step between them.
macro_rules! step {
    ($acc:ident, $ones:ident, $x:ident, $steps:ident, $last:ident, $add:ident, $step:literal, [$($r:literal)*]) => {
        $(
            multiply!($acc[$r], $ones, $steps.weights, $x, { ROW * $r + DEPTH * $step });
            $last.between::<{ $add }, { PIXELS * $step + $r }>();
        )*
        $steps.weights = $steps.weights.add(CHANNELS * DEPTH);
    };
}

/// # Safety
/// See [`Run`].
#[target_feature(enable = "avx2")]
unsafe fn woven<const ADD: bool>(
    p: &Product<'_>,
    [mut place, mut own]: [Place; 2],
    mut before: *const i32,
    constants: &Constants,
) {
    let [mut to, mut other] = p.sums;
    let (mut first, (mut ahead, further), ones) = (p.x, p.ahead, _mm256_set1_epi16(1));
    let mut windows = Windows::<PIXELS>::new();
    // SAFETY: as this function demands: rows, weights, sums and residuals are read, and outputs and sums written, within what
    // `Product` and `Tile` document; there are `WOVEN` steps at least.
    unsafe {
        for _ in 0..p.count {
            let mut last = LastStep::new(&place, before, constants);
            let bias =
                [_mm256_loadu_si256(p.bias.cast()), _mm256_loadu_si256(p.bias.add(8).cast())];
            let mut acc = [bias; PIXELS];
            let rows = std::array::from_fn(|r| first.wrapping_add(r * p.pitch));
            let mut steps = Steps::of(p.weights);
            let (mut x, count) = steps.order(rows, &mut windows);
            for _ in 0..PIXELS {
                step!(acc, ones, x, steps, last, ADD, 0, [0 1 2 3]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                step!(acc, ones, x, steps, last, ADD, 1, [0 1 2 3]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(further).cast());
                step!(acc, ones, x, steps, last, ADD, 2, [0 1 2 3]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(2 * further).cast());
                step!(acc, ones, x, steps, last, ADD, 3, [0 1 2 3]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(3 * further).cast());
                (x, ahead) = (x.add(4 * DEPTH), ahead.wrapping_add(4 * further));
                last.advance(&place);
            }
            steps.multiply(&mut acc, x, count - WOVEN, (&mut ahead, further));
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
