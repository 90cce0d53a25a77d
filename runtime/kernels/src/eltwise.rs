//! Copies between tensors of different strides, tables of real functions.

use crate::memory::Pool;
use crate::scalar::requantize;

/// `pixels` rows of `channels` bytes, with the distance between rows on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    pub pixels: usize,
    pub channels: usize,
    pub x_stride: usize,
    pub y_stride: usize,
}

impl Rows {
    /// Bytes a slice of these rows must have.
    pub(crate) fn bytes(&self, stride: usize) -> usize {
        assert!(stride >= self.channels && self.channels > 0, "rows overlap");
        self.pixels.checked_sub(1).map_or(0, |last| last * stride + self.channels)
    }

    /// `each(x row, y row)` for every pixel, over the pool's threads.
    fn for_each(
        &self,
        x: &[u8],
        y: &mut [u8],
        pool: &Pool,
        each: impl Fn(usize, &[u8], &mut [u8]) + Sync,
    ) {
        let x = &x[..self.bytes(self.x_stride)];
        let y = &mut y[..self.bytes(self.y_stride)];
        pool.split_rows(y, self.pixels, self.y_stride, |pixels, y| {
            for (y, pixel) in y.chunks_mut(self.y_stride).zip(pixels) {
                each(pixel, &x[pixel * self.x_stride..][..self.channels], &mut y[..self.channels]);
            }
        });
    }
}

/// Copies rows: concatenation of equally quantized tensors, or padding of strides.
pub fn copy(rows: &Rows, x: &[u8], y: &mut [u8], pool: &Pool) {
    rows.for_each(x, y, pool, |_, x, y| {
        // Without a call for each short row: concatenation has many.
        let ((whole, rest), (to, to_rest)) = (x.as_chunks::<32>(), y.as_chunks_mut::<32>());
        to.iter_mut().zip(whole).for_each(|(to, x)| *to = *x);
        to_rest.copy_from_slice(rest);
    });
}

/// The table of a real function between two quantizations: `rte(f((q − x_zero)·x_scale) / y_scale) + y_zero`.
pub fn table_of(
    x_scale: f32,
    x_zero: u8,
    y_scale: f32,
    y_zero: u8,
    f: impl Fn(f32) -> f32,
) -> [u8; 256] {
    std::array::from_fn(|q| {
        let x = (q as i32 - i32::from(x_zero)) as f32 * x_scale;
        requantize(f(x) / y_scale, y_zero, 0, 255)
    })
}

/// The table that changes scale and zero point: dequantize, then quantize, as the QDQ graph says.
pub fn requant_table(x_scale: f32, x_zero: u8, y_scale: f32, y_zero: u8) -> [u8; 256] {
    table_of(x_scale, x_zero, y_scale, y_zero, |x| x)
}
