//! Upsampling (and downsampling) of an image to another size.

use crate::eltwise::Rows;
use crate::lookup::Lookup;
use crate::memory::Pool;
use crate::scalar::requantize;
use crate::spec::{SpecError, ratio, sizes, stride};

/// Nearest neighbour: output row `o` takes input row `⌊o · in / out⌋` (ONNX `Resize`: `asymmetric`, `floor`).
#[derive(Debug, Clone)]
pub struct Nearest {
    size: Sizes,
}

/// Bilinear between pixel centres (ONNX `Resize`: `linear`, `half_pixel`; PyTorch: `align_corners=False`),
/// edges clamped.
///
/// With `t = max(0, ((2·o + 1)·in − out) / (2·out))` the lower pixel is `⌊t⌋`, the upper the next one or the
/// last, and `f = t − ⌊t⌋`, computed as `remainder / divisor` in f32. In f32 and this order, without fused
/// multiply-add: `top = a·(1−fx) + b·fx`, `bottom = c·(1−fx) + d·fx`, `v = top·(1−fy) + bottom·fy`, of values
/// minus `x_zero`; the result is `clamp(rte(v · ratio) + y_zero, 0, 255)` with `ratio = s_x / s_y`.
#[derive(Debug, Clone)]
pub struct Bilinear {
    size: Sizes,
    ratio: f32,
    x_zero: u8,
    y_zero: u8,
    rows: Vec<Between>,
    cols: Vec<Between>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sizes {
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    in_stride: usize,
    out_stride: usize,
}

#[derive(Debug, Clone, Copy)]
struct Between {
    lower: usize,
    upper: usize,
    fraction: f32,
}

impl Nearest {
    /// Sizes are `[height, width]`, strides `[input, output]`.
    pub fn new(
        input: [usize; 2],
        output: [usize; 2],
        channels: usize,
        strides: [usize; 2],
    ) -> Result<Self, SpecError> {
        Ok(Self { size: Sizes::new(input, output, channels, strides)? })
    }

    /// With `table`, what it answers.
    pub fn run(&self, table: Option<&Lookup>, x: &[u8], y: &mut [u8], pool: &Pool) {
        let Sizes { input: [in_h, in_w], output: [out_h, out_w], channels, .. } = self.size;
        let (x_stride, y_stride) = (self.size.in_stride, self.size.out_stride);
        let y = &mut y[..(out_h * out_w - 1) * y_stride + channels];
        pool.split_rows(y, out_h, out_w * y_stride, |rows, y| {
            for (y, row) in y.chunks_mut(out_w * y_stride).zip(rows) {
                let x = &x[row * in_h / out_h * in_w * x_stride..];
                match table {
                    Some(table) if out_w.is_multiple_of(in_w) => {
                        let pixels = Rows { pixels: in_w, channels, x_stride, y_stride };
                        table.pixels(&pixels, out_w / in_w, x, y);
                    }
                    _ => {
                        for (col, y) in y.chunks_mut(y_stride).enumerate() {
                            let x = &x[col * in_w / out_w * x_stride..];
                            match table {
                                Some(table) => {
                                    let pixel = Rows { pixels: 1, channels, x_stride, y_stride };
                                    table.pixels(&pixel, 1, x, y);
                                }
                                None => y[..channels].copy_from_slice(&x[..channels]),
                            }
                        }
                    }
                }
            }
        });
    }
}

impl Bilinear {
    /// `scale` is `s_x / s_y`; zeros are those of input and output.
    pub fn new(
        input: [usize; 2],
        output: [usize; 2],
        channels: usize,
        strides: [usize; 2],
        scale: f32,
        [x_zero, y_zero]: [u8; 2],
    ) -> Result<Self, SpecError> {
        let size = Sizes::new(input, output, channels, strides)?;
        ratio("scale", 0, scale)?;
        let (rows, cols) = (between(input[0], output[0]), between(input[1], output[1]));
        Ok(Self { size, ratio: scale, x_zero, y_zero, rows, cols })
    }

    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let real = |q: u8| (i32::from(q) - i32::from(self.x_zero)) as f32;
        self.size.for_each(x, y, pool, |x, row, col, y| {
            let (row, col) = (self.rows[row], self.cols[col]);
            let a = self.size.pixel(x, row.lower, col.lower);
            let b = self.size.pixel(x, row.lower, col.upper);
            let c = self.size.pixel(x, row.upper, col.lower);
            let d = self.size.pixel(x, row.upper, col.upper);
            let ([fx, fy], n) = ([col.fraction, row.fraction], y.len());
            let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]); // one length, so that the loop needs no checks
            for i in 0..n {
                let top = real(a[i]) * (1.0 - fx) + real(b[i]) * fx;
                let bottom = real(c[i]) * (1.0 - fx) + real(d[i]) * fx;
                let v = top * (1.0 - fy) + bottom * fy;
                y[i] = requantize(v * self.ratio, self.y_zero, 0, 255);
            }
        });
    }
}

impl Sizes {
    fn new(
        input: [usize; 2],
        output: [usize; 2],
        channels: usize,
        [in_stride, out_stride]: [usize; 2],
    ) -> Result<Self, SpecError> {
        sizes("image", &input)?;
        sizes("image", &output)?;
        sizes("channels", &[channels])?;
        stride("input", in_stride, channels)?;
        stride("output", out_stride, channels)?;
        Ok(Self { input, output, channels, in_stride, out_stride })
    }

    fn pixel<'a>(&self, x: &'a [u8], row: usize, col: usize) -> &'a [u8] {
        &x[(row * self.input[1] + col) * self.in_stride..][..self.channels]
    }

    /// `each(x, row, column, channels)` for every output pixel.
    fn for_each(
        &self,
        x: &[u8],
        y: &mut [u8],
        pool: &Pool,
        each: impl Fn(&[u8], usize, usize, &mut [u8]) + Sync,
    ) {
        let [out_h, out_w] = self.output;
        let y = &mut y[..(out_h * out_w - 1) * self.out_stride + self.channels];
        pool.split_rows(y, out_h * out_w, self.out_stride, |range, y| {
            for (y, pixel) in y.chunks_mut(self.out_stride).zip(range) {
                each(x, pixel / out_w, pixel % out_w, &mut y[..self.channels]);
            }
        });
    }
}

fn between(input: usize, output: usize) -> Vec<Between> {
    let divisor = 2 * output;
    (0..output)
        .map(|o| {
            let t = ((2 * o + 1) * input).saturating_sub(output);
            let lower = (t / divisor).min(input - 1);
            let fraction = (t % divisor) as f32 / divisor as f32;
            Between { lower, upper: (lower + 1).min(input - 1), fraction }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_doubles_every_pixel() {
        let up = Nearest::new([1, 2], [2, 4], 1, [1, 1]).unwrap();
        let mut y = [0; 8];
        up.run(None, &[3, 9], &mut y, &Pool::new(1));
        assert_eq!(y, [3, 3, 9, 9, 3, 3, 9, 9]);
    }

    #[test]
    fn bilinear_doubling_weighs_neighbours_three_to_one_and_keeps_edges() {
        // torch.nn.functional.interpolate([[0, 8]], scale_factor=2, mode="bilinear"): 0, 2, 6, 8 in both rows
        let up = Bilinear::new([1, 2], [2, 4], 1, [1, 1], 1.0, [0, 0]).unwrap();
        let mut y = [0; 8];
        up.run(&[0, 8], &mut y, &Pool::new(1));
        assert_eq!(y, [0, 2, 6, 8, 0, 2, 6, 8]);
    }

    #[test]
    fn bilinear_changes_scale_and_zero_point() {
        let up = Bilinear::new([2, 2], [2, 2], 1, [1, 1], 0.5, [100, 10]).unwrap();
        let mut y = [0; 4];
        up.run(&[100, 103, 90, 101], &mut y, &Pool::new(1)); // 0, 1.5, -5, 0.5 -> ties to even
        assert_eq!(y, [10, 12, 5, 10]);
    }
}
