//! GEMM and epilogue overlapped: products of 5 pixels by 16 channels. Ten sums hide the latency of `vpdpbusd`; two
//! registers are left for weights and activations, four for the epilogue.

use std::arch::asm;
use std::arch::x86_64::*;

use super::KERNEL;
use crate::arch::x86_64::avx2::CHANNELS;
use crate::arch::x86_64::avx2::epilogue::finish_sums;
use crate::arch::x86_64::avx2::overlapped_epilogue::OverlappedEpilogue;
use crate::arch::x86_64::overlapped::{self, Destination, Overlapped, OverlappedRun};
use crate::gemm::strided::{EpilogueConstants, Product, StridedKernel};
use crate::gemm::tile::{MicroKernel, Tile};

const PIXELS: usize = 5;
/// Steps of a product that the epilogue of another needs, and rows of them that a pixel's share is: windows 7 wide
/// have no more.
const OVERLAPPED_STEPS: usize = 14;
/// Products of more steps gain nothing.
const MOST_STEPS: usize = 32;

pub(crate) const STRIDED: [StridedKernel; 1] = [overlapped::kernel::<AvxVnni>()];

struct AvxVnni;

impl Overlapped for AvxVnni {
    const PIXELS: usize = PIXELS;
    const LEAST_STEPS: usize = OVERLAPPED_STEPS;
    const KERNEL: &'static MicroKernel = &KERNEL;
    const ORDER: [u32; 16] = [0, 4, 1, 5, 2, 6, 3, 7, 0, 0, 0, 0, 0, 0, 0, 0];
    const RUN: [OverlappedRun; 2] = [run::<false>, run::<true>];
    const FINISH: unsafe fn(&Tile<'_>, *const i32) = finish_sums;

    fn most_steps() -> usize {
        MOST_STEPS
    }
}

/// Four activations of a pixel times the weights of step `$step` behind `$weights`, of which the first register is
/// `$w`. As assembly, because compilers would bring both to registers.
macro_rules! multiply_row {
    ($acc:expr, $x:expr, $w:expr, $weights:expr, $step:expr) => {
        let [a, b] = &mut $acc;
        asm!(
            "vpbroadcastd {t}, dword ptr [{x} + {offset}]",
            "{{vex}} vpdpbusd {a}, {t}, {w}",
            "{{vex}} vpdpbusd {b}, {t}, ymmword ptr [{weights} + {second}]",
            x = in(reg) $x, offset = const 4 * $step, weights = in(reg) $weights, second = const 64 * $step + 32,
            w = in(ymm_reg) $w, t = out(ymm_reg) _, a = inout(ymm_reg) *a, b = inout(ymm_reg) *b,
            options(readonly, nostack, preserves_flags)
        );
    };
}

/// Steps of the products, with instructions of the epilogue between them. The pixels of the earlier product have
/// [`OVERLAPPED_STEPS`] places each, wherever in a step they begin.
macro_rules! overlapped_steps {
    ($acc:ident, $x:ident, $weights:ident, $epilogue:ident, $place:ident, $add:ident, $ahead:expr, [$($step:literal)*]) => {
        $(
            let w = _mm256_load_si256($weights.add(64 * $step).cast());
            _mm_prefetch::<_MM_HINT_T1>($ahead.0.wrapping_add($step * $ahead.1).cast());
            overlapped_steps!(@rows $acc, $x, w, $weights, $epilogue, $place, $add, $step, [0 1 2 3 4]);
        )*
    };
    (@rows $acc:ident, $x:ident, $w:ident, $weights:ident, $epilogue:ident, $place:ident, $add:ident, $step:literal, [$($r:literal)*]) => {
        $(
            multiply_row!($acc[$r], $x[$r], $w, $weights, $step);
            $epilogue.between::<{ $add }, { (PIXELS * $step + $r) % OVERLAPPED_STEPS }, OVERLAPPED_STEPS>();
            if (PIXELS * $step + $r) % OVERLAPPED_STEPS == OVERLAPPED_STEPS - 1 {
                $epilogue.advance(&$place);
            }
        )*
    };
}

/// # Safety
/// See [`OverlappedRun`].
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn run<const ADD: bool>(
    p: &Product<'_>,
    [mut place, mut own]: [Destination; 2],
    mut before: *const i32,
    constants: &EpilogueConstants,
) {
    let [mut to, mut other] = p.sums;
    let (mut first, (mut ahead, further)) = (p.x, p.ahead);
    // SAFETY: `Product` and `Tile` document the ranges in which rows, weights, sums and residuals are read, and
    // outputs and sums written; `StridedKernel::least_steps` lets no product come with fewer than `OVERLAPPED_STEPS`
    // steps.
    unsafe {
        for _ in 0..p.count {
            let mut epilogue = OverlappedEpilogue::new(&place, before, constants);
            own.fetch::<ADD, PIXELS>();
            let bias =
                [_mm256_loadu_si256(p.bias.cast()), _mm256_loadu_si256(p.bias.add(8).cast())];
            let mut acc = [bias; PIXELS];
            let x: [*const u8; PIXELS] = std::array::from_fn(|r| first.wrapping_add(r * p.pitch));
            let weights = p.weights;
            overlapped_steps!(
                acc, x, weights, epilogue, place, ADD, (ahead, further),
                [0 1 2 3 4 5 6 7 8 9 10 11 12 13]
            );
            let rest = p.steps - OVERLAPPED_STEPS;
            let x = x.map(|x| x.wrapping_add(4 * OVERLAPPED_STEPS));
            ahead = ahead.wrapping_add(OVERLAPPED_STEPS * further);
            steps_alone(&mut acc, x, weights.add(64 * OVERLAPPED_STEPS), rest, (ahead, further));
            ahead = ahead.wrapping_add(rest * further);
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

/// Steps with nothing between them.
///
/// # Safety
/// Rows and weights can be read for so many steps; the CPU has the features.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn steps_alone(
    acc: &mut [[__m256i; 2]; PIXELS],
    mut x: [*const u8; PIXELS],
    mut weights: *const u8,
    steps: usize,
    (mut ahead, further): (*const u8, usize),
) {
    for _ in 0..steps {
        // SAFETY: the caller vouches for the CPU, and for `steps` steps behind each row and behind `weights`.
        unsafe {
            let w = _mm256_load_si256(weights.cast());
            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            multiply_row!(acc[0], x[0], w, weights, 0);
            multiply_row!(acc[1], x[1], w, weights, 0);
            multiply_row!(acc[2], x[2], w, weights, 0);
            multiply_row!(acc[3], x[3], w, weights, 0);
            multiply_row!(acc[4], x[4], w, weights, 0);
            x = x.map(|x| x.wrapping_add(4));
            (weights, ahead) = (weights.add(64), ahead.wrapping_add(further));
        }
    }
}
