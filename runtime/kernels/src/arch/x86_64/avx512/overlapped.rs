//! GEMM and epilogue overlapped: products of a few pixels by 32 channels.
//!
//! - 4 pixels: the sums of the product before stay in registers, too. For products of few steps: on Zen 4 a
//!   store of a register takes the time of up to 1.7 `vpdpbusd`.
//! - 8 pixels: weights are read half as often; the sums of the product before come from memory.
//! - 7 pixels: the same, for pictures of 7x7.

use std::arch::asm;
use std::arch::x86_64::*;

use super::epilogue::finish_sums;
use super::gemm::KERNEL;
use super::overlapped_epilogue::OverlappedEpilogue;
use super::{CHANNELS, IN_REGISTERS, adds_beside_products};
use crate::arch::x86_64::overlapped::{self, Destination, Overlapped, OverlappedRun};
use crate::gemm::strided::{EpilogueConstants, Product, StridedKernel};
use crate::gemm::tile::{MicroKernel, Tile};

pub(crate) const STRIDED: [StridedKernel; 4] = [
    overlapped::kernel::<Avx512<IN_REGISTERS, 7>>(),
    overlapped::kernel::<Avx512<IN_REGISTERS, 8>>(),
    overlapped::kernel::<Avx512<8, 4>>(),
    overlapped::kernel::<Avx512<7, 4>>(),
];

/// `STEPS` overlap with the epilogue of two pixels.
struct Avx512<const PIXELS: usize, const STEPS: usize>;

impl<const PIXELS: usize, const STEPS: usize> Overlapped for Avx512<PIXELS, STEPS> {
    const PIXELS: usize = PIXELS;
    const LEAST_STEPS: usize = STEPS * PIXELS.div_ceil(2);
    const KERNEL: &'static MicroKernel = &KERNEL;
    const ORDER: [u32; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
    const RUN: [OverlappedRun; 2] = if PIXELS == IN_REGISTERS {
        [run_in_registers::<false, STEPS>, run_in_registers::<true, STEPS>]
    } else {
        [run::<false, PIXELS, STEPS>, run::<true, PIXELS, STEPS>]
    };
    const FINISH: unsafe fn(&Tile<'_>, *const i32) = finish_sums;

    fn most_steps() -> usize {
        match STEPS {
            7 => Self::LEAST_STEPS, // windows 7 wide
            8 if adds_beside_products() => 64,
            8 => 16,
            _ => usize::MAX,
        }
    }
}

/// Steps with nothing between them.
///
/// # Safety
/// Rows and weights can be read for so many steps; the CPU has the features.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn steps_alone<const PIXELS: usize>(
    acc: &mut [[__m512i; 2]; PIXELS],
    x: [*const u8; PIXELS],
    mut weights: *const u8,
    steps: usize,
    (mut ahead, further): (*const u8, usize),
) {
    for step in 0..steps {
        // SAFETY: the caller vouches for the CPU, and for `steps` steps behind each row and behind `weights`.
        unsafe {
            let w = [_mm512_load_si512(weights.cast()), _mm512_load_si512(weights.add(64).cast())];
            _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            (weights, ahead) = (weights.add(128), ahead.wrapping_add(further));
            for r in 0..PIXELS {
                let a = _mm512_set1_epi32(x[r].add(step * 4).cast::<i32>().read_unaligned());
                acc[r] = [
                    _mm512_dpbusd_epi32(acc[r][0], a, w[0]),
                    _mm512_dpbusd_epi32(acc[r][1], a, w[1]),
                ];
            }
        }
    }
}

/// A step of the products, with instructions of the epilogue between them: `$step` of those that a pair of
/// pixels has.
macro_rules! overlapped_step {
    ($acc:ident, $x:ident, $weights:ident, $epilogue:ident, $add:ident, $step:literal, [$($r:literal)*]) => {
        let w = [_mm512_load_si512($weights.cast()), _mm512_load_si512($weights.add(64).cast())];
        $weights = $weights.add(128);
        $(if $r < PIXELS {
            let [a, b] = &mut $acc[$r % PIXELS];
            asm!(
                "vpbroadcastd zmm31, dword ptr [{x} + {offset}]",
                "vpdpbusd {a}, zmm31, {w0}",
                "vpdpbusd {b}, zmm31, {w1}",
                x = in(reg) $x[$r % PIXELS], offset = const 4 * $step, a = inout(zmm_reg) *a, b = inout(zmm_reg) *b,
                w0 = in(zmm_reg) w[0], w1 = in(zmm_reg) w[1], out("zmm31") _,
                options(readonly, nostack, preserves_flags)
            );
            $epilogue.between::<{ $add }, PIXELS, STEPS, $step, $r>();
        })*
    };
}

/// `STEPS` of the products, with the epilogue of two pixels, whose sums are given.
macro_rules! overlapped_pixel_pair {
    (
        $acc:ident, $x:ident, $weights:ident, $epilogue:ident, $add:ident, ($ahead:ident, $further:ident),
        [$first:expr, $second:expr]
    ) => {
        $epilogue.c = [$first[0], $first[1], $second[0], $second[1]];
        overlapped_step!($acc, $x, $weights, $epilogue, $add, 0, [0 1 2 3]);
        overlapped_step!($acc, $x, $weights, $epilogue, $add, 1, [0 1 2 3]);
        _mm_prefetch::<_MM_HINT_T1>($ahead.cast());
        overlapped_step!($acc, $x, $weights, $epilogue, $add, 2, [0 1 2 3]);
        overlapped_step!($acc, $x, $weights, $epilogue, $add, 3, [0 1 2 3]);
        _mm_prefetch::<_MM_HINT_T1>($ahead.wrapping_add(2 * $further).cast());
        overlapped_step!($acc, $x, $weights, $epilogue, $add, 4, [0 1 2 3]);
        overlapped_step!($acc, $x, $weights, $epilogue, $add, 5, [0 1 2 3]);
        _mm_prefetch::<_MM_HINT_T1>($ahead.wrapping_add(4 * $further).cast());
        overlapped_step!($acc, $x, $weights, $epilogue, $add, 6, [0 1 2 3]);
        if STEPS > 7 {
            overlapped_step!($acc, $x, $weights, $epilogue, $add, 7, [0 1 2 3]);
        }
        _mm_prefetch::<_MM_HINT_T1>($ahead.wrapping_add(6 * $further).cast());
        $ahead = $ahead.wrapping_add(STEPS * $further);
        $x = $x.map(|x| x.wrapping_add(STEPS * 4));
    };
}

/// The sums of the product before come from memory.
///
/// # Safety
/// See [`OverlappedRun`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn run<const ADD: bool, const PIXELS: usize, const STEPS: usize>(
    p: &Product<'_>,
    [mut place, mut own]: [Destination; 2],
    mut before: *const i32,
    constants: &EpilogueConstants,
) {
    let [mut to, mut other] = p.sums;
    let (mut first, (mut ahead, further)) = (p.x, p.ahead);
    // SAFETY: `Product` and `Tile` document the ranges in which rows, weights, sums and residuals are read, and
    // outputs and sums written; `StridedKernel::least_steps` lets no product come that has fewer steps than the pairs
    // use.
    unsafe {
        for _ in 0..p.count {
            let mut epilogue = OverlappedEpilogue::new(&place, before, constants);
            let mut acc = [bias(p); PIXELS];
            let mut x: [*const u8; PIXELS] =
                std::array::from_fn(|r| first.wrapping_add(r * p.pitch));
            let mut weights = p.weights;
            // Four steps for two pixels. An odd last one is its own partner.
            for pair in 0..PIXELS.div_ceil(2) {
                if 2 * pair + 1 == PIXELS {
                    epilogue.pair_with_itself();
                }
                overlapped_step!(acc, x, weights, epilogue, ADD, 0, [0 1 2 3 4 5 6 7]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                overlapped_step!(acc, x, weights, epilogue, ADD, 1, [0 1 2 3 4 5 6 7]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(further).cast());
                overlapped_step!(acc, x, weights, epilogue, ADD, 2, [0 1 2 3 4 5 6 7]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(2 * further).cast());
                overlapped_step!(acc, x, weights, epilogue, ADD, 3, [0 1 2 3 4 5 6 7]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(3 * further).cast());
                ahead = ahead.wrapping_add(STEPS * further);
                x = x.map(|x| x.wrapping_add(STEPS * 4));
                epilogue.advance(&place);
            }
            let rest = p.steps - Avx512::<PIXELS, STEPS>::LEAST_STEPS;
            steps_alone(&mut acc, x, weights, rest, (ahead, further));
            ahead = ahead.wrapping_add(rest * further);
            store(&acc, to);
            before = to;
            (to, other) = (other, to);
            (place, own) = (own, own.next(PIXELS));
            first = first.wrapping_add(PIXELS * p.pitch);
        }
    }
}

/// All sums stay in registers but for the run's first and epilogue.
///
/// # Safety
/// See [`OverlappedRun`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn run_in_registers<const ADD: bool, const STEPS: usize>(
    p: &Product<'_>,
    [mut place, mut own]: [Destination; 2],
    before: *const i32,
    constants: &EpilogueConstants,
) {
    const PIXELS: usize = IN_REGISTERS;
    let (mut first, (mut ahead, further)) = (p.x, p.ahead);
    // SAFETY: as in `run`.
    unsafe {
        let mut done = load(before);
        for _ in 0..p.count {
            let mut epilogue = OverlappedEpilogue::new(&place, std::ptr::null(), constants);
            let mut acc = [bias(p); PIXELS];
            let mut x: [*const u8; PIXELS] =
                std::array::from_fn(|r| first.wrapping_add(r * p.pitch));
            let mut weights = p.weights;
            // Not in a loop: that would bring the sums to memory.
            overlapped_pixel_pair!(
                acc,
                x,
                weights,
                epilogue,
                ADD,
                (ahead, further),
                [done[0], done[1]]
            );
            epilogue.advance(&place);
            overlapped_pixel_pair!(
                acc,
                x,
                weights,
                epilogue,
                ADD,
                (ahead, further),
                [done[2], done[3]]
            );
            let rest = p.steps - Avx512::<PIXELS, STEPS>::LEAST_STEPS;
            steps_alone(&mut acc, x, weights, rest, (ahead, further));
            ahead = ahead.wrapping_add(rest * further);
            done = acc;
            (place, own) = (own, own.next(PIXELS));
            first = first.wrapping_add(PIXELS * p.pitch);
        }
        store(&done, p.sums[(p.count - 1) % 2]);
    }
}

/// # Safety
/// As [`Product`] documents; the CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bias(p: &Product<'_>) -> [__m512i; 2] {
    // SAFETY: `Product::bias` has a whole row of channels.
    unsafe { [_mm512_loadu_si512(p.bias.cast()), _mm512_loadu_si512(p.bias.add(16).cast())] }
}

/// # Safety
/// There are sums of so many pixels, aligned to 64; the CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load<const PIXELS: usize>(from: *const i32) -> [[__m512i; 2]; PIXELS] {
    let mut sums = [[_mm512_setzero_si512(); 2]; PIXELS];
    for (r, row) in sums.iter_mut().enumerate() {
        // SAFETY: `r < PIXELS`, and the caller vouches for aligned sums of so many pixels.
        *row = unsafe {
            let from = from.add(r * CHANNELS);
            [_mm512_load_si512(from.cast()), _mm512_load_si512(from.add(16).cast())]
        };
    }
    sums
}

/// # Safety
/// There is room for the sums, aligned to 64; the CPU has AVX-512.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<const PIXELS: usize>(sums: &[[__m512i; 2]; PIXELS], to: *mut i32) {
    for (r, row) in sums.iter().enumerate() {
        // SAFETY: `r < PIXELS`, and the caller vouches for aligned room for so many pixels.
        unsafe {
            _mm512_store_si512(to.add(r * CHANNELS).cast(), row[0]);
            _mm512_store_si512(to.add(r * CHANNELS + 16).cast(), row[1]);
        }
    }
}
