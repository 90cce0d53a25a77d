//! Max and average pooling.

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
        for_each_window(spec, x, y, pool, |x, pixels, y| {
            y.fill(0);
            for pixel in pixels {
                let x = &x[pixel * spec.in_stride..][..y.len()];
                y.iter_mut().zip(x).for_each(|(y, x)| *y = (*y).max(*x));
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

/// Channels summed at a time, on the stack.
const LANES: usize = 64;

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
        for_each_window(spec, x, y, pool, |x, pixels, y| {
            let inside = pixels.clone().count();
            let count = if self.count_padding { spec.kernel[0] * spec.kernel[1] } else { inside };
            let factor = self.ratio / count as f32;
            for (block, y) in y.chunks_mut(LANES).enumerate() {
                let mut sums = [-(inside as i32 * i32::from(self.x_zero)); LANES];
                for pixel in pixels.clone() {
                    let x = &x[pixel * spec.in_stride + block * LANES..][..y.len()];
                    sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += i32::from(*x));
                }
                for (y, sum) in y.iter_mut().zip(&sums) {
                    *y = requantize(*sum as f32 * factor, self.y_zero, 0, 255);
                }
            }
        });
    }
}

/// `each(x, input pixels of the window, channels of the output pixel)` for every output pixel.
fn for_each_window(
    spec: &PoolSpec,
    x: &[u8],
    y: &mut [u8],
    pool: &Pool,
    each: impl Fn(&[u8], Pixels, &mut [u8]) + Sync,
) {
    let (out_w, pixels) = (spec.out_w(), spec.out_h() * spec.out_w());
    let x = &x[..(spec.in_h * spec.in_w - 1) * spec.in_stride + spec.channels];
    let y = &mut y[..(pixels - 1) * spec.out_stride + spec.channels];
    pool.split_rows(y, pixels, spec.out_stride, |range, y| {
        for (y, pixel) in y.chunks_mut(spec.out_stride).zip(range) {
            let (rows, cols) = (axis(spec, 0, pixel / out_w), axis(spec, 1, pixel % out_w));
            let window = Pixels {
                row: rows.0,
                rows: rows.1,
                first: cols.0,
                col: cols.0,
                cols: cols.1,
                w: spec.in_w,
            };
            each(x, window, &mut y[..spec.channels]);
        }
    });
}

/// First and last + 1 coordinate of a window, cut to the image.
fn axis(spec: &PoolSpec, axis: usize, out: usize) -> (usize, usize) {
    let size = [spec.in_h, spec.in_w][axis];
    let start = out * spec.stride[axis];
    let end = (start + spec.kernel[axis]).saturating_sub(spec.padding[axis]).min(size);
    (start.saturating_sub(spec.padding[axis]), end)
}

/// Pixels of a window, row by row.
#[derive(Clone)]
struct Pixels {
    row: usize,
    rows: usize,
    first: usize,
    col: usize,
    cols: usize,
    w: usize,
}

impl Iterator for Pixels {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.col == self.cols {
            self.col = self.first;
            self.row += 1;
        }
        if self.row >= self.rows {
            return None;
        }
        let pixel = self.row * self.w + self.col;
        self.col += 1;
        Some(pixel)
    }
}
