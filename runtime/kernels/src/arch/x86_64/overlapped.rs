//! GEMM and epilogue overlapped (software pipelining), for pointwise convolutions and wide windows on one
//! channel: while the products of one tile are summed, the sums of the tile before become bytes.
//!
//! The instructions of the epilogue stand one by one between the products. Each is assembly of its own, which
//! compilers leave where it is: in groups of a dozen nothing is gained, because each instruction of the
//! epilogue waits for the one before, and what waits fills the queue that the next products have to enter.
//! Cycles for 16 results of 64 channels with an addition, on Zen 4 with AVX-512: 23 one after the other, 23
//! in groups, 21 one by one, 19.8 where the sums before stay in registers; the least is 19, since 16 products
//! and three multiplications of the epilogue share the same units.

use std::arch::x86_64::*;

use crate::gemm::strided::{EpilogueConstants, Product, StridedKernel};
use crate::gemm::tile::{MicroKernel, Output, Requant, Tile};
use crate::spec::{ConvSpec, Residual};

/// A micro-kernel of an instruction set that overlaps.
pub(super) trait Overlapped {
    /// Pixels of a product.
    const PIXELS: usize;
    /// Steps that the epilogue of another product needs.
    const LEAST_STEPS: usize;
    /// Multiplies alone; channels, steps and the order of weights are its own.
    const KERNEL: &'static MicroKernel;
    /// How packing to bytes interleaved its vectors, in registers of 32-bit places.
    const ORDER: [u32; 16];
    /// Without an addition, and with one.
    const RUN: [OverlappedRun; 2];
    /// See [`StridedKernel::finish`].
    const FINISH: unsafe fn(&Tile<'_>, *const i32);

    /// Products of more steps gain nothing.
    fn most_steps() -> usize {
        usize::MAX
    }
}

/// A run of products, each overlapped with the epilogue of the one before: of the product before the run,
/// whose place and sums are given, and of the run's own, whose first one's place is.
///
/// # Safety
/// As [`multiply`]; all tiles are whole.
pub(super) type OverlappedRun =
    unsafe fn(&Product<'_>, [Destination; 2], *const i32, &EpilogueConstants);

pub(super) const fn kernel<W: Overlapped>() -> StridedKernel {
    StridedKernel {
        rows: W::PIXELS,
        channels: W::KERNEL.channels,
        depth: W::KERNEL.depth,
        least_steps: W::LEAST_STEPS,
        arrange: W::KERNEL.arrange,
        pays: pays::<W>,
        runs: true,
        enter: || {},
        leave: || {},
        constants: constants::<W>,
        multiply: multiply::<W>,
        store: |_| {},
        finish: W::FINISH,
    }
}

/// Convolutions of single pixels, strided or not, with steps enough to overlap, and more pixels than would be
/// lost to a last product that begins earlier, or none to lose; and wide windows of one channel, which become
/// single pixels of columns.
fn pays<W: Overlapped>(spec: &ConvSpec) -> bool {
    let pixels = spec.kernel == [1, 1]
        && spec.padding == [0; 4]
        && (W::LEAST_STEPS..=W::most_steps()).contains(&spec.in_channels.div_ceil(W::KERNEL.depth));
    let window = spec.in_channels == 1
        && spec.dilation == [1, 1]
        && spec.kernel.iter().all(|side| (5..=8).contains(side))
        && spec.kernel[1] * 8 <= W::most_steps().saturating_mul(W::KERNEL.depth);
    let whole = spec.out_pixels().is_multiple_of(W::PIXELS);
    (pixels || window) && (spec.out_pixels() >= 100 || pixels && whole && spec.out_pixels() >= 40)
}

/// Places among the constants: the ratios of the addition, the other operand's zero point, that of the
/// result; the order of bytes; the result's bounds; those of the convolution's own result.
pub(super) const RATIO: usize = 0;
pub(super) const OTHER_RATIO: usize = 1;
pub(super) const OTHER_ZERO: usize = 2;
pub(super) const ZERO: usize = 3;
pub(super) const ORDER: usize = 4;
pub(super) const HIGHEST: usize = 5;
pub(super) const LOWEST: usize = 6;
pub(super) const LO: usize = 7;
pub(super) const HI: usize = 8;
/// A float whose last bit is worth 1: what is added to it, below 2²², is rounded.
pub(super) const ROUNDS: usize = 9;
/// 2²³, whose last bits may be set to a byte; and the float of that byte when it is the other operand's zero point.
pub(super) const WHOLE: usize = 10;
pub(super) const WHOLE_ZERO: usize = 11;

/// Bytes from the first of the constants to another.
pub(super) const fn at(constant: usize) -> usize {
    size_of::<EpilogueConstants>() / EpilogueConstants::NONE.0.len() * constant
}

fn constants<W: Overlapped>(requant: &Requant, residual: Option<&Residual>) -> EpilogueConstants {
    let (zero, lo, hi) = residual
        .map_or((requant.zero, requant.lo, requant.hi), |add| (add.out_zero, add.lo, add.hi));
    let ratio = |of: fn(&Residual) -> f32| residual.map_or(0, |add| of(add).to_bits());
    let bound = |q: u8| (f32::from(q) - f32::from(requant.zero)).to_bits();
    let mut all = EpilogueConstants::NONE;
    all.0[RATIO] = [ratio(|add| add.conv_ratio); 16];
    all.0[OTHER_RATIO] = [ratio(|add| add.ratio); 16];
    all.0[OTHER_ZERO] = [residual.map_or(0, |add| u32::from(add.zero)); 16];
    all.0[ZERO] = [u32::from(zero); 16];
    all.0[ORDER] = W::ORDER;
    all.0[HIGHEST] = [u32::from(hi) * 0x0101_0101; 16];
    all.0[LOWEST] = [u32::from(lo) * 0x0101_0101; 16];
    all.0[LO] = [bound(requant.lo); 16];
    all.0[HI] = [bound(requant.hi); 16];
    all.0[ROUNDS] = [12_582_912_f32.to_bits(); 16];
    all.0[WHOLE] = [8_388_608_f32.to_bits(); 16];
    let zero = residual.map_or(0.0, |add| f32::from(add.zero));
    all.0[WHOLE_ZERO] = [(8_388_608.0 + zero).to_bits(); 16];
    all
}

/// # Safety
/// See [`StridedKernel::multiply`]; the CPU has `W`'s features.
unsafe fn multiply<W: Overlapped>(
    p: &Product<'_>,
    done: Option<(&Tile<'_>, *const i32)>,
    own: &Tile<'_>,
    constants: &EpilogueConstants,
) {
    let adds = matches!(&own.output, Output::Bytes { residual: Some(_), .. });
    let overlapped = W::RUN[usize::from(adds)];
    let whole = |t: &Tile<'_>| t.pixels == W::PIXELS && t.channels == W::KERNEL.channels;
    // SAFETY: the caller vouches for the product, the sums of `done` and the outputs of both tiles. A tile of `done`
    // that is not whole does not reach the loop; a run's own products are whole and of whole blocks.
    unsafe {
        match done {
            Some((tile, sums)) if whole(tile) && !p.half => {
                overlapped(p, [Destination::of(tile), Destination::of(own)], sums, constants);
            }
            done => {
                alone::<W>(p);
                if let Some((tile, sums)) = done {
                    (W::FINISH)(tile, sums);
                }
                if p.count > 1 {
                    let [sums, other] = p.sums;
                    let rest = Product {
                        count: p.count - 1,
                        x: p.x.add(W::PIXELS * p.pitch),
                        sums: [other, sums],
                        ..*p
                    };
                    let first = Destination::of(own);
                    overlapped(&rest, [first, first.next(W::PIXELS)], sums, constants);
                }
            }
        }
    }
}

/// Where a product's results go, and what is added to them.
#[derive(Clone, Copy)]
pub(super) struct Destination {
    pub(super) y: *mut u8,
    pub(super) stride: usize,
    pub(super) r: *const u8,
    pub(super) r_stride: usize,
    pub(super) scale: *const f32,
}

impl Destination {
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

    /// Asks for the cache lines of `PIXELS` that will be written, and read if something is added.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn fetch<const ADD: bool, const PIXELS: usize>(&self) {
        for pixel in 0..PIXELS {
            _mm_prefetch::<_MM_HINT_ET0>(self.y.wrapping_add(pixel * self.stride).cast());
            if ADD {
                _mm_prefetch::<_MM_HINT_T0>(self.r.wrapping_add(pixel * self.r_stride).cast());
            }
        }
    }

    /// That of the next product of `pixels` in a run.
    pub(super) fn next(self, pixels: usize) -> Self {
        Self {
            y: self.y.wrapping_add(pixels * self.stride),
            r: self.r.wrapping_add(pixels * self.r_stride),
            ..self
        }
    }
}

/// The first product, as a tile of sums.
///
/// # Safety
/// As [`multiply`].
unsafe fn alone<W: Overlapped>(p: &Product<'_>) {
    let rows: [_; 8] = std::array::from_fn(|r| p.x.wrapping_add(r * p.pitch));
    debug_assert!(W::PIXELS <= rows.len());
    let tile = Tile {
        rows: rows.as_ptr(),
        offset: 0,
        taps: 1,
        steps: p.steps,
        weights: p.weights,
        bias: p.bias,
        scale: std::ptr::null(),
        pixels: if p.half { W::PIXELS / 2 } else { W::PIXELS },
        channels: W::KERNEL.channels,
        output: Output::Sums(p.sums[0]),
        prefetch: p.ahead,
    };
    // SAFETY: there is a row for each pixel, and the product's rows, weights, bias and sums are what a tile of
    // `W::KERNEL` asks for; the caller vouches for the CPU.
    unsafe { (W::KERNEL.tile)(&tile) };
}

/// One instruction that stays where it stands.
macro_rules! fixed_instruction {
    ($text:literal, $($kind:ident($class:ident) $operand:expr),+ $(; const $constant:expr)?) => {
        // SAFETY: of the enabled features; what is read is as the epilogues' fields document.
        unsafe { asm!($text, $($kind($class) $operand,)+ $(const $constant,)? options(readonly, nostack, preserves_flags)) }
    };
}
pub(super) use fixed_instruction;
