//! Max and average pooling.

use std::marker::PhantomData;
use std::ops::Range;

use crate::arch::generic::Loop;
use crate::isa::Isa;
use crate::memory::Pool;
use crate::scalar::requantize;
use crate::spec::{PoolSpec, SpecError, ratio};

/// Largest value of each window; padding never wins.
#[derive(Debug, Clone)]
pub struct MaxPool {
    isa: Isa,
    spec: PoolSpec,
}

impl MaxPool {
    pub fn new(isa: Isa, spec: PoolSpec) -> Result<Self, SpecError> {
        spec.check()?;
        Ok(Self { isa, spec })
    }

    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        for_each_window(self.isa, &self.spec, x, y, pool, Largest);
    }
}

/// Mean of each window, with requantization: see [`crate::scalar::avg_pool`].
#[derive(Debug, Clone)]
pub struct AvgPool {
    isa: Isa,
    spec: PoolSpec,
    ratio: f32,
    x_zero: u8,
    y_zero: u8,
    counted: Option<[usize; 4]>,
}

/// Values so many at most have sums that 16 bits hold.
const SHORT: usize = 257;

impl AvgPool {
    /// `scale` is `s_x / s_y`. With `counted`, so many pixels of padding at the top, left, bottom and right count as
    /// zeros; otherwise the divisor is the number of pixels inside the image.
    pub fn new(
        isa: Isa,
        spec: PoolSpec,
        scale: f32,
        [x_zero, y_zero]: [u8; 2],
        counted: Option<[usize; 4]>,
    ) -> Result<Self, SpecError> {
        spec.check()?;
        ratio("scale", 0, scale)?;
        if spec.kernel[0] * spec.kernel[1] > 1 << 22 {
            return Err(SpecError::TooLarge { what: "window" }); // 2^22 · 255 still fits a sum
        }
        Ok(Self { isa, spec, ratio: scale, x_zero, y_zero, counted })
    }

    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let spec = &self.spec;
        if spec.kernel[0] * spec.kernel[1] <= SHORT {
            for_each_window(self.isa, spec, x, y, pool, Mean::<u16>(self, PhantomData));
        } else {
            for_each_window(self.isa, spec, x, y, pool, Mean::<i32>(self, PhantomData));
        }
    }
}

/// What becomes of the values of a window.
trait Fold: Copy + Sync {
    type Sum: Copy + Default;
    /// What all channels of a window have in common.
    type Common: Copy;

    fn common(self, window: &Window) -> Self::Common;
    fn add(sum: Self::Sum, x: u8) -> Self::Sum;
    fn finish(common: Self::Common, sum: Self::Sum) -> u8;
}

#[derive(Clone, Copy)]
struct Largest;

impl Fold for Largest {
    type Sum = u8;
    type Common = ();

    #[inline(always)]
    fn common(self, _: &Window) {}

    #[inline(always)]
    fn add(sum: u8, x: u8) -> u8 {
        sum.max(x)
    }

    #[inline(always)]
    fn finish((): (), sum: u8) -> u8 {
        sum
    }
}

/// A mean whose sums are of this type.
#[derive(Clone, Copy)]
struct Mean<'a, S>(&'a AvgPool, PhantomData<S>);

/// Factor, what the zero points add up to, and the zero point of the result.
type MeanOf = (f32, i32, u8);

#[inline(always)]
fn mean_of(mean: &AvgPool, window: &Window) -> MeanOf {
    let inside = window.rows.count() * window.cols.count();
    let of_axis = |axis, padding| mean.spec.counted(axis, window.out[axis], padding);
    let count = mean.counted.map_or(inside, |padding| of_axis(0, padding) * of_axis(1, padding));
    (mean.ratio / count as f32, inside as i32 * i32::from(mean.x_zero), mean.y_zero)
}

#[inline(always)]
fn mean((factor, zeros, y_zero): MeanOf, sum: i32) -> u8 {
    requantize((sum - zeros) as f32 * factor, y_zero, 0, 255)
}

impl Fold for Mean<'_, u16> {
    type Sum = u16;
    type Common = MeanOf;

    #[inline(always)]
    fn common(self, window: &Window) -> MeanOf {
        mean_of(self.0, window)
    }

    #[inline(always)]
    fn add(sum: u16, x: u8) -> u16 {
        sum.wrapping_add(u16::from(x))
    }

    #[inline(always)]
    fn finish(common: MeanOf, sum: u16) -> u8 {
        mean(common, i32::from(sum))
    }
}

impl Fold for Mean<'_, i32> {
    type Sum = i32;
    type Common = MeanOf;

    #[inline(always)]
    fn common(self, window: &Window) -> MeanOf {
        mean_of(self.0, window)
    }

    #[inline(always)]
    fn add(sum: i32, x: u8) -> i32 {
        sum.wrapping_add(i32::from(x))
    }

    #[inline(always)]
    fn finish(common: MeanOf, sum: i32) -> u8 {
        mean(common, sum)
    }
}

/// Every output pixel, over the pool's threads.
fn for_each_window(
    isa: Isa,
    spec: &PoolSpec,
    x: &[u8],
    y: &mut [u8],
    pool: &Pool,
    fold: impl Fold,
) {
    let pixels = spec.out_h() * spec.out_w();
    let x = &x[..(spec.in_h * spec.in_w - 1) * spec.in_stride + spec.channels];
    let y = &mut y[..(pixels - 1) * spec.out_stride + spec.channels];
    pool.split_rows(y, pixels, spec.out_stride, |range, y| {
        isa.vectorize(Windows { spec, x, y, range, fold });
    });
}

/// Some output pixels.
struct Windows<'a, F> {
    spec: &'a PoolSpec,
    x: &'a [u8],
    y: &'a mut [u8],
    range: Range<usize>,
    fold: F,
}

impl<F: Fold> Loop for Windows<'_, F> {
    #[inline(always)]
    fn run(self) {
        let Self { spec, x, y, range, fold } = self;
        let out_w = spec.out_w();
        for (y, pixel) in y.chunks_mut(spec.out_stride).zip(range) {
            let out = [pixel / out_w, pixel % out_w];
            let axis = |axis: usize| Steps::over(spec, axis, out[axis]);
            let (width, stride) = (spec.in_w, spec.in_stride);
            let window = Window { out, rows: axis(0), cols: axis(1), width, stride };
            window.fold_all(x, &mut y[..spec.channels], fold);
        }
    }
}

/// Rows or columns of a window that lie inside the image.
#[derive(Clone, Copy)]
struct Steps {
    first: usize,
    end: usize,
    step: usize,
}

impl Steps {
    #[inline(always)]
    fn over(spec: &PoolSpec, axis: usize, out: usize) -> Self {
        let Range { start, end } = spec.under(axis, out);
        Self { first: start, end, step: spec.dilation[axis] }
    }

    #[inline(always)]
    fn count(self) -> usize {
        (self.end - self.first).div_ceil(self.step)
    }
}

/// The part of an image that one output pixel sees.
#[derive(Clone, Copy)]
struct Window {
    out: [usize; 2],
    rows: Steps,
    cols: Steps,
    /// Pixels of a row of the image.
    width: usize,
    /// Bytes from one pixel to the next.
    stride: usize,
}

impl Window {
    /// Each channel folded over all pixels: 64 channels together as long as there are so many, then 16, then 8, then one.
    #[inline(always)]
    fn fold_all<F: Fold>(&self, x: &[u8], y: &mut [u8], fold: F) {
        let common = fold.common(self);
        let (first, y) = self.fold_blocks::<F, 64>(x, 0, y, common);
        let (first, y) = self.fold_blocks::<F, 16>(x, first, y, common);
        let (first, y) = self.fold_blocks::<F, 8>(x, first, y, common);
        self.fold_blocks::<F, 1>(x, first, y, common);
    }

    /// As many blocks of `N` channels from `first` on as fit `y`; returns what is left.
    #[inline(always)]
    fn fold_blocks<'y, F: Fold, const N: usize>(
        &self,
        x: &[u8],
        first: usize,
        y: &'y mut [u8],
        common: F::Common,
    ) -> (usize, &'y mut [u8]) {
        let (blocks, rest) = y.as_chunks_mut::<N>();
        let mut first = first;
        for y in blocks {
            let sums = self.fold::<F, N>(x, first);
            for i in 0..N {
                y[i] = F::finish(common, sums[i]);
            }
            first += N;
        }
        (first, rest)
    }

    /// `N` channels from `first` on. By value, so that they stay in registers.
    #[inline(always)]
    fn fold<F: Fold, const N: usize>(&self, x: &[u8], first: usize) -> [F::Sum; N] {
        let mut all = [F::Sum::default(); N];
        let mut row = self.rows.first;
        while row < self.rows.end {
            let mut col = self.cols.first;
            while col < self.cols.end {
                let x = &x[(row * self.width + col) * self.stride + first..];
                let x = x.first_chunk::<N>().expect("a pixel has these channels");
                let mut next = all;
                for i in 0..N {
                    next[i] = F::add(all[i], x[i]);
                }
                all = next;
                col += self.cols.step;
            }
            row += self.rows.step;
        }
        all
    }
}
