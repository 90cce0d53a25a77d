//! Max and average pooling.

use std::ops::Range;

use crate::pool::Pool;
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
            let y = blocks::<64>(y, |first, y| *y = window.fold(x, first, [0; 64], largest));
            let first = spec.channels - y.len();
            let y = blocks::<16>(y, |at, y| *y = window.fold(x, first + at, [0; 16], largest));
            let first = spec.channels - y.len();
            for (channel, y) in y.iter_mut().enumerate() {
                let [q] = window.fold(x, first + channel, [0], largest);
                *y = q;
            }
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
            let y = blocks::<64>(y, |first, y| {
                *y = window.fold(x, first, [0; 64], sum).map(mean);
            });
            let first = spec.channels - y.len();
            for (channel, y) in y.iter_mut().enumerate() {
                let [all] = window.fold(x, first + channel, [0], sum);
                *y = mean(all);
            }
        });
    }
}

#[inline(always)]
fn largest(a: u8, x: u8) -> u8 {
    a.max(x)
}

#[inline(always)]
fn sum(a: i32, x: u8) -> i32 {
    a + i32::from(x)
}

/// Calls `each(first channel, channels)` for every `N` channels; returns those that are left.
#[inline(always)]
fn blocks<const N: usize>(y: &mut [u8], each: impl Fn(usize, &mut [u8; N])) -> &mut [u8] {
    let (blocks, rest) = y.as_chunks_mut::<N>();
    blocks.iter_mut().enumerate().for_each(|(block, y)| each(block * N, y));
    rest
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
    /// Folds `N` channels from `first` on over all pixels. By value, so that the answers stay in registers.
    #[inline(always)]
    fn fold<T: Copy, const N: usize>(
        &self,
        x: &[u8],
        first: usize,
        mut all: [T; N],
        fold: impl Fn(T, u8) -> T,
    ) -> [T; N] {
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
