//! Pointwise convolutions: while one product of a few pixels is multiplied, the one before it becomes bytes.
//!
//! Left to themselves, processors do not overlap the two: each operation of the last step waits for the one before it, and
//! those that wait fill the queue that the next products would have to enter. On Zen 4 a vector of 16 results of 64 channels
//! with an addition took 23 cycles so (AVX-512), and 21 with the operations woven one by one between the products; woven in
//! groups of a dozen it took 23 as well. So every instruction in the sets' own files is assembly of its own, which keeps its
//! place. 19 would be the least: 16 products and three multiplications of the last step take turns on the same units. Where
//! the sums of the product before stay in registers it takes 19.8.

pub(crate) mod avx2;
mod avx2_last_step;
pub(crate) mod avx512;
mod avx512_last_step;

use crate::matrix::{Constants, Matrix, Product};
use crate::spec::{ConvSpec, Residual};
use crate::tile::{Kernel, Output, Requant, Tile};

/// What an instruction set weaves.
trait Woven {
    /// Pixels of a product.
    const PIXELS: usize;
    /// Steps that are woven with the last step of another product.
    const LEAST_STEPS: usize;
    /// Multiplies alone; channels, steps and the order of weights are its own.
    const KERNEL: &'static Kernel;
    /// How packing to bytes interleaved its vectors, in registers of 32-bit places.
    const ORDER: [u32; 16];
    /// Without an addition, and with one.
    const RUN: [Run; 2];
    /// See [`Matrix::finish`].
    const FINISH: unsafe fn(&Tile<'_>, *const i32);

    /// Products of more steps gain nothing.
    fn most_steps() -> usize {
        usize::MAX
    }
}

/// A run of products, woven with the last step of the one before each: of the product before the run, whose place and sums
/// are given, and of the run's own, whose first one's place is.
///
/// # Safety
/// As [`multiply`]; [`weaves`] says that it may be woven.
type Run = unsafe fn(&Product<'_>, [Place; 2], *const i32, &Constants);

const fn matrix<W: Woven>() -> Matrix {
    Matrix {
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

/// Convolutions of single pixels, strided or not, with steps enough to weave, and more pixels than would be lost to a last
/// product that begins earlier, or none to lose; and wide windows of one channel, which become single pixels of columns.
fn pays<W: Woven>(spec: &ConvSpec) -> bool {
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

/// Places among the constants: the ratios of the addition, the other operand's zero point, that of the result; the order of
/// bytes; the result's bounds; those of the convolution's own result.
const RATIO: usize = 0;
const OTHER_RATIO: usize = 1;
const OTHER_ZERO: usize = 2;
const ZERO: usize = 3;
const ORDER: usize = 4;
const HIGHEST: usize = 5;
const LOWEST: usize = 6;
const LO: usize = 7;
const HI: usize = 8;

/// Bytes from the first of the constants to another.
const fn at(constant: usize) -> usize {
    size_of::<Constants>() / Constants::NONE.0.len() * constant
}

fn constants<W: Woven>(requant: &Requant, residual: Option<&Residual>) -> Constants {
    let (zero, lo, hi) = residual
        .map_or((requant.zero, requant.lo, requant.hi), |add| (add.out_zero, add.lo, add.hi));
    let ratio = |of: fn(&Residual) -> f32| residual.map_or(0, |add| of(add).to_bits());
    let bound = |q: u8| (f32::from(q) - f32::from(requant.zero)).to_bits();
    let mut all = Constants::NONE;
    all.0[RATIO] = [ratio(|add| add.conv_ratio); 16];
    all.0[OTHER_RATIO] = [ratio(|add| add.ratio); 16];
    all.0[OTHER_ZERO] = [residual.map_or(0, |add| u32::from(add.zero)); 16];
    all.0[ZERO] = [u32::from(zero); 16];
    all.0[ORDER] = W::ORDER;
    all.0[HIGHEST] = [u32::from(hi) * 0x0101_0101; 16];
    all.0[LOWEST] = [u32::from(lo) * 0x0101_0101; 16];
    all.0[LO] = [bound(requant.lo); 16];
    all.0[HI] = [bound(requant.hi); 16];
    all
}

/// # Safety
/// See [`Matrix::multiply`]; the CPU has `W`'s features.
unsafe fn multiply<W: Woven>(
    p: &Product<'_>,
    done: Option<(&Tile<'_>, *const i32)>,
    own: &Tile<'_>,
    constants: &Constants,
) {
    let adds = matches!(&own.output, Output::Bytes { residual: Some(_), .. });
    let weave = W::RUN[usize::from(adds)];
    // SAFETY: as this function demands.
    unsafe {
        match done {
            Some((tile, sums)) if weaves::<W>(p, tile) => {
                weave(p, [Place::of(tile), Place::of(own)], sums, constants);
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
                    let first = Place::of(own);
                    weave(&rest, [first, first.next(W::PIXELS)], sums, constants);
                }
            }
        }
    }
}

/// Whether all is there that is woven.
fn weaves<W: Woven>(p: &Product<'_>, done: &Tile<'_>) -> bool {
    done.pixels == W::PIXELS && done.channels == W::KERNEL.channels && !p.half
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

    /// That of the next product of `pixels` in a run.
    fn next(self, pixels: usize) -> Self {
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
unsafe fn alone<W: Woven>(p: &Product<'_>) {
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
    // SAFETY: as this function demands.
    unsafe { (W::KERNEL.tile)(&tile) };
}

/// One instruction that stays where it stands.
macro_rules! keep {
    ($text:literal, $($kind:ident($class:ident) $operand:expr),+ $(; const $constant:expr)?) => {
        // SAFETY: of the enabled features; what is read is as the last steps' fields document.
        unsafe { asm!($text, $($kind($class) $operand,)+ $(const $constant,)? options(readonly, nostack, preserves_flags)) }
    };
}
use keep;
