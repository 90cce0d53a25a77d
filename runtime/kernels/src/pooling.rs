//! Max and average pooling.

use std::ops::Range;

use crate::memory::Pool;
use crate::scalar::requantize;
use crate::spec::{PoolSpec, SpecError, ratio};

/// Largest value of each window; padding never wins.
#[derive(Debug, Clone)]
pub struct MaxPool {
    spec: PoolSpec,
}

impl MaxPool {
    pub fn new(spec: PoolSpec) -> Result<Self, SpecError> {
        spec.check()?;
        Ok(Self { spec })
    }

    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let spec = &self.spec;
        for_each_window(spec, x, y, pool, |x, window, y| {
            window.fold_all(x, y, |a: u8, x| a.max(x), |largest| largest);
        });
    }
}

/// Mean of each window, with requantization: see [`crate::scalar::avg_pool`].
#[derive(Debug, Clone)]
pub struct AvgPool {
    spec: PoolSpec,
    ratio: f32,
    x_zero: u8,
    y_zero: u8,
    count_padding: bool,
}

impl AvgPool {
    /// `ratio` is `s_x / s_y`. With `count_padding` the divisor is always the window's size.
    pub fn new(
        spec: PoolSpec,
        scale: f32,
        [x_zero, y_zero]: [u8; 2],
        count_padding: bool,
    ) -> Result<Self, SpecError> {
        spec.check()?;
        ratio("scale", 0, scale)?;
        if spec.kernel[0] * spec.kernel[1] > 1 << 22 {
            return Err(SpecError::TooLarge { what: "window" }); // 2^22 · 255 still fits a sum
        }
        Ok(Self { spec, ratio: scale, x_zero, y_zero, count_padding })
    }

    /// The mean over the whole image.
    pub fn global(
        [in_h, in_w]: [usize; 2],
        channels: usize,
        in_stride: usize,
        scale: f32,
        zeros: [u8; 2],
    ) -> Result<Self, SpecError> {
        let kernel = [in_h, in_w];
        let spec = PoolSpec {
            channels,
            kernel,
            stride: [1, 1],
            padding: [0; 4],
            in_h,
            in_w,
            in_stride,
            out_stride: channels,
        };
        Self::new(spec, scale, zeros, false)
    }

    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let spec = &self.spec;
        for_each_window(spec, x, y, pool, |x, window, y| {
            let inside = window.rows.len() * window.cols.len();
            let count = if self.count_padding { spec.kernel[0] * spec.kernel[1] } else { inside };
            let factor = self.ratio / count as f32;
            let zeros = inside as i32 * i32::from(self.x_zero);
            let mean = |sum: i32| requantize((sum - zeros) as f32 * factor, self.y_zero, 0, 255);
            window.fold_all(x, y, |a, x| a + i32::from(x), mean);
        });
    }
}

/// `each(x, window, channels of the output pixel)` for every output pixel.
fn for_each_window(
    spec: &PoolSpec,
    x: &[u8],
    y: &mut [u8],
    pool: &Pool,
    each: impl Fn(&[u8], Window, &mut [u8]) + Sync,
) {
    let (out_w, pixels) = (spec.out_w(), spec.out_h() * spec.out_w());
    let x = &x[..(spec.in_h * spec.in_w - 1) * spec.in_stride + spec.channels];
    let y = &mut y[..(pixels - 1) * spec.out_stride + spec.channels];
    pool.split_rows(y, pixels, spec.out_stride, |range, y| {
        for (y, pixel) in y.chunks_mut(spec.out_stride).zip(range) {
            let (rows, cols) = (axis(spec, 0, pixel / out_w), axis(spec, 1, pixel % out_w));
            let window = Window { rows, cols, width: spec.in_w, stride: spec.in_stride };
            each(x, window, &mut y[..spec.channels]);
        }
    });
}

/// The coordinates of a window, cut to the image.
fn axis(spec: &PoolSpec, axis: usize, out: usize) -> Range<usize> {
    let size = [spec.in_h, spec.in_w][axis];
    let start = out * spec.stride[axis];
    let end = (start + spec.kernel[axis]).saturating_sub(spec.padding[axis]).min(size);
    start.saturating_sub(spec.padding[axis])..end
}

/// The part of an image that one output pixel sees.
struct Window {
    rows: Range<usize>,
    cols: Range<usize>,
    /// Pixels of a row of the image.
    width: usize,
    /// Bytes from one pixel to the next.
    stride: usize,
}

impl Window {
    /// `finish` of each channel folded over all pixels: 64 channels together as long as there are so many,
    /// then 16, then one.
    #[inline(always)]
    fn fold_all<T: Copy + Default>(
        &self,
        x: &[u8],
        y: &mut [u8],
        fold: impl Fn(T, u8) -> T,
        finish: impl Fn(T) -> u8,
    ) {
        let (first, y) = self.fold_blocks::<T, 64>(x, 0, y, &fold, &finish);
        let (first, y) = self.fold_blocks::<T, 16>(x, first, y, &fold, &finish);
        self.fold_blocks::<T, 1>(x, first, y, &fold, &finish);
    }

    /// As many blocks of `N` channels from `first` on as fit `y`; returns what is left.
    #[inline(always)]
    fn fold_blocks<'y, T: Copy + Default, const N: usize>(
        &self,
        x: &[u8],
        first: usize,
        y: &'y mut [u8],
        fold: &impl Fn(T, u8) -> T,
        finish: &impl Fn(T) -> u8,
    ) -> (usize, &'y mut [u8]) {
        let (blocks, rest) = y.as_chunks_mut::<N>();
        let mut first = first;
        for y in blocks {
            *y = self.fold(x, first, fold).map(finish);
            first += N;
        }
        (first, rest)
    }

    /// `N` channels from `first` on. By value, so that they stay in registers.
    #[inline(always)]
    fn fold<T: Copy + Default, const N: usize>(
        &self,
        x: &[u8],
        first: usize,
        fold: &impl Fn(T, u8) -> T,
    ) -> [T; N] {
        let mut all = [T::default(); N];
        for row in self.rows.clone() {
            for col in self.cols.clone() {
                let x = &x[(row * self.width + col) * self.stride + first..];
                let x = x.first_chunk::<N>().expect("a pixel has these channels");
                let mut next = all;
                for i in 0..N {
                    next[i] = fold(all[i], x[i]);
                }
                all = next;
            }
        }
        all
    }
}
