//! Pointwise convolutions on AVX-512-VNNI: while one product of 8 pixels by 32 channels is multiplied, the one before it becomes
//! bytes.
//!
//! Left to themselves, processors do not overlap the two: each operation of the last step waits for the one before it, and
//! those that wait fill the queue that the next products would have to enter. On Zen 4 a vector of 16 results with an addition
//! took 23 cycles so, and 20 with the operations woven one by one between the products, of 16 for the products alone; woven
//! in groups of a dozen it took 23 as well. So every instruction here is assembly of its own, which keeps its place.

use std::arch::asm;
use std::arch::x86_64::*;

mod last_step;

use crate::avx512::{CHANNELS, KERNEL};
use crate::avx512_bytes::finish_sums;
use crate::matrix::{Constants, Matrix, Product};
use crate::spec::ConvSpec;
use crate::tile::{Output, Tile};
use last_step::{LastStep, constants};

const PIXELS: usize = 8;

pub(crate) const MATRIX: Matrix = Matrix {
    rows: PIXELS,
    channels: CHANNELS,
    depth: 4,
    pays,
    runs: true,
    enter: || {},
    leave: || {},
    constants,
    multiply,
    store: |_| {},
    finish: finish_sums,
};

/// Convolutions of single pixels, strided or not, with steps enough to weave, and more pixels than would be lost to a last
/// product that begins earlier.
fn pays(spec: &ConvSpec) -> bool {
    spec.kernel == [1, 1]
        && spec.padding == [0; 4]
        && spec.in_channels.div_ceil(4) >= ALL_WOVEN
        && spec.out_pixels() >= 100
}

/// Steps woven with the last step of two pixels, and of a product's pixels.
const WOVEN: usize = 4;
const ALL_WOVEN: usize = WOVEN * PIXELS / 2;

/// # Safety
/// See [`Matrix::multiply`]; the CPU has AVX-512 F, BW, VL and VNNI.
unsafe fn multiply(
    p: &Product<'_>,
    done: Option<(&Tile<'_>, *const i32)>,
    own: &Tile<'_>,
    constants: &Constants,
) {
    let weave = match &own.output {
        Output::Bytes { residual: Some(_), .. } => woven::<true>,
        _ => woven::<false>,
    };
    // SAFETY: as this function demands.
    unsafe {
        match done {
            Some((tile, sums)) if weaves(p, tile) => {
                weave(p, [Place::of(tile), Place::of(own)], sums, constants);
            }
            done => {
                alone(p);
                if let Some((tile, sums)) = done {
                    finish_sums(tile, sums);
                }
                if p.count > 1 {
                    let [sums, other] = p.sums;
                    let rest = Product {
                        count: p.count - 1,
                        x: p.x.add(PIXELS * p.pitch),
                        sums: [other, sums],
                        ..*p
                    };
                    let first = Place::of(own);
                    weave(&rest, [first, first.next()], sums, constants);
                }
            }
        }
    }
}

/// Whether all is there that is woven: two pixels at a time, of 32 channels.
fn weaves(p: &Product<'_>, done: &Tile<'_>) -> bool {
    done.pixels == PIXELS && done.channels == CHANNELS && !p.half
}

/// Where a product's results go, and what is added to them.
#[derive(Clone, Copy)]
struct Place {
    y: *mut u8,
    stride: usize,
    r: *const u8,
    r_stride: usize,
    scale: *const f32,
}

impl Place {
    fn of(tile: &Tile<'_>) -> Self {
        let scale = tile.scale;
        match &tile.output {
            Output::Sums(_) => {
                Self { y: std::ptr::null_mut(), stride: 0, r: std::ptr::null(), r_stride: 0, scale }
            }
            Output::Bytes { y, stride, residual: None, .. } => {
                Self { y: *y, stride: *stride, r: std::ptr::null(), r_stride: 0, scale }
            }
            Output::Bytes { y, stride, residual: Some((r, add)), .. } => {
                Self { y: *y, stride: *stride, r: *r, r_stride: add.stride, scale }
            }
        }
    }

    /// That of the next product in a run.
    fn next(self) -> Self {
        Self {
            y: self.y.wrapping_add(PIXELS * self.stride),
            r: self.r.wrapping_add(PIXELS * self.r_stride),
            ..self
        }
    }
}

/// The first product, as a tile of sums.
///
/// # Safety
/// As [`multiply`].
unsafe fn alone(p: &Product<'_>) {
    let rows: [_; PIXELS] = std::array::from_fn(|r| p.x.wrapping_add(r * p.pitch));
    let tile = Tile {
        rows: rows.as_ptr(),
        offset: 0,
        taps: 1,
        steps: p.steps,
        weights: p.weights,
        bias: p.bias,
        scale: std::ptr::null(),
        pixels: if p.half { PIXELS / 2 } else { PIXELS },
        channels: CHANNELS,
        output: Output::Sums(p.sums[0]),
        prefetch: p.ahead,
    };
    // SAFETY: as this function demands.
    unsafe { (KERNEL.tile)(&tile) };
}

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

/// A run of products, woven with the last step of the one before each. `places` are those of the product before the run,
/// whose sums are given, and of the run's first.
///
/// # Safety
/// As [`multiply`]; [`weaves`] says that it may be woven, and `ADD` whether there is an addition.
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
                ahead = ahead.wrapping_add(WOVEN * further);
                x = x.map(|x| x.wrapping_add(4 * WOVEN));
                last.advance(&place);
            }
            let rest = p.steps - ALL_WOVEN;
            steps_alone(&mut acc, x, weights, rest, (ahead, further));
            ahead = ahead.wrapping_add(rest * further);
            for (r, row) in acc.iter().enumerate() {
                _mm512_store_si512(to.add(r * CHANNELS).cast(), row[0]);
                _mm512_store_si512(to.add(r * CHANNELS + 16).cast(), row[1]);
            }
            before = to;
            (to, other) = (other, to);
            (place, own) = (own, own.next());
            first = first.wrapping_add(PIXELS * p.pitch);
        }
    }
}
