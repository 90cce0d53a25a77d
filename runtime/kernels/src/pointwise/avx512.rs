//! AVX-512-VNNI: products of 8 pixels by 32 channels.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx512_last_step::LastStep;
use super::{Place, Run, WOVEN, Woven};
use crate::avx512::{CHANNELS, KERNEL};
use crate::avx512_bytes::finish_sums;
use crate::matrix::{Constants, Matrix, Product};
use crate::tile::{Kernel, Tile};

const PIXELS: usize = 8;

pub(crate) const MATRIX: Matrix = super::matrix::<Avx512>();

struct Avx512;

impl Woven for Avx512 {
    const PIXELS: usize = PIXELS;
    const KERNEL: &'static Kernel = &KERNEL;
    const ORDER: [u32; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
    const RUN: [Run; 2] = [woven::<false>, woven::<true>];
    const FINISH: unsafe fn(&Tile<'_>, *const i32) = finish_sums;
}

/// Steps woven with the last step of two pixels.
const OF_TWO: usize = 2 * WOVEN / PIXELS;

/// Steps with nothing between them.
///
/// # Safety
/// Rows and weights can be read for so many steps; the CPU has the features.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn steps_alone(
    acc: &mut [[__m512i; 2]; PIXELS],
    x: [*const u8; PIXELS],
    mut weights: *const u8,
    steps: usize,
    (mut ahead, further): (*const u8, usize),
) {
    for step in 0..steps {
        // SAFETY: as this function demands.
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

/// A step of the products, with instructions of the last step between them.
macro_rules! step {
    ($acc:ident, $x:ident, $weights:ident, $last:ident, $add:ident, $step:literal, [$($r:literal)*]) => {
        let w = [_mm512_load_si512($weights.cast()), _mm512_load_si512($weights.add(64).cast())];
        $weights = $weights.add(128);
        $(
            let [a, b] = &mut $acc[$r];
            asm!(
                "vpbroadcastd zmm31, dword ptr [{x} + {offset}]",
                "vpdpbusd {a}, zmm31, {w0}",
                "vpdpbusd {b}, zmm31, {w1}",
                x = in(reg) $x[$r], offset = const 4 * $step, a = inout(zmm_reg) *a, b = inout(zmm_reg) *b,
                w0 = in(zmm_reg) w[0], w1 = in(zmm_reg) w[1], out("zmm31") _,
                options(readonly, nostack, preserves_flags)
            );
            $last.between::<{ $add }, { PIXELS * $step + $r }>();
        )*
    };
}

/// # Safety
/// See [`Run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn woven<const ADD: bool>(
    p: &Product<'_>,
    [mut place, mut own]: [Place; 2],
    mut before: *const i32,
    constants: &Constants,
) {
    let [mut to, mut other] = p.sums;
    let (mut first, (mut ahead, further)) = (p.x, p.ahead);
    // SAFETY: as this function demands: rows, weights, sums and residuals are read, and outputs and sums written, within what
    // `Product` and `Tile` document.
    unsafe {
        for _ in 0..p.count {
            let mut last = LastStep::new(&place, before, constants);
            let bias =
                [_mm512_loadu_si512(p.bias.cast()), _mm512_loadu_si512(p.bias.add(16).cast())];
            let mut acc = [bias; PIXELS];
            let mut x: [*const u8; PIXELS] =
                std::array::from_fn(|r| first.wrapping_add(r * p.pitch));
            let mut weights = p.weights;
            for _ in 0..PIXELS / 2 {
                step!(acc, x, weights, last, ADD, 0, [0 1 2 3 4 5 6 7]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                step!(acc, x, weights, last, ADD, 1, [0 1 2 3 4 5 6 7]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(further).cast());
                step!(acc, x, weights, last, ADD, 2, [0 1 2 3 4 5 6 7]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(2 * further).cast());
                step!(acc, x, weights, last, ADD, 3, [0 1 2 3 4 5 6 7]);
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(3 * further).cast());
                ahead = ahead.wrapping_add(OF_TWO * further);
                x = x.map(|x| x.wrapping_add(4 * OF_TWO));
                last.advance(&place);
            }
            let rest = p.steps - WOVEN;
            steps_alone(&mut acc, x, weights, rest, (ahead, further));
            ahead = ahead.wrapping_add(rest * further);
            for (r, row) in acc.iter().enumerate() {
                _mm512_store_si512(to.add(r * CHANNELS).cast(), row[0]);
                _mm512_store_si512(to.add(r * CHANNELS + 16).cast(), row[1]);
            }
            before = to;
            (to, other) = (other, to);
            (place, own) = (own, own.next(PIXELS));
            first = first.wrapping_add(PIXELS * p.pitch);
        }
    }
}
