//! Upsampling (and downsampling) of an image to another size.

use std::ops::Range;

use crate::arch::generic::Loop;
use crate::eltwise::Rows;
use crate::isa::Isa;
use crate::lookup::Lookup;
use crate::memory::Pool;
use crate::scalar::requantize;
use crate::spec::{SpecError, ratio, sizes, stride};

/// Nearest neighbour: output row `o` takes input row `⌊o · in / out⌋` (ONNX `Resize`: `asymmetric`, `floor`).
#[derive(Debug, Clone)]
pub struct Nearest {
    size: Sizes,
}

/// Linear between pixels, along both axes.
///
/// In f32 and this order, without fused multiply-add, with `fx` and `fy` the fractions of column and row:
/// `top = a·(1−fx) + b·fx`, `bottom = c·(1−fx) + d·fx`, `v = top·(1−fy) + bottom·fy`, of values minus `x_zero`; the
/// result is `clamp(rte(v · ratio) + y_zero, 0, 255)` with `ratio = s_x / s_y`.
#[derive(Debug, Clone)]
pub struct Bilinear {
    isa: Isa,
    size: Sizes,
    ratio: f32,
    x_zero: u8,
    y_zero: u8,
    rows: Vec<Between>,
    cols: Vec<Between>,
}

/// Where an output row (or column) lies: how far from the lower of two input rows towards the upper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Between {
    pub lower: usize,
    pub upper: usize,
    /// 0 to 1.
    pub fraction: f32,
}

impl Between {
    /// Between pixel centres (ONNX `Resize`: `linear`, `half_pixel`; PyTorch: `align_corners=False`), edges clamped.
    ///
    /// With `t = max(0, ((2·o + 1)·in − out) / (2·out))` the lower pixel is `⌊t⌋`, the upper the next one or the
    /// last, and the fraction is `t − ⌊t⌋`, computed as `remainder / divisor` in f32.
    pub fn centres(input: usize, output: usize) -> Vec<Self> {
        let divisor = 2 * output;
        let of = |o: usize| {
            let t = ((2 * o + 1) * input).saturating_sub(output);
            let lower = (t / divisor).min(input - 1);
            let fraction = (t % divisor) as f32 / divisor as f32;
            Self { lower, upper: (lower + 1).min(input - 1), fraction }
        };
        (0..output).map(of).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sizes {
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    in_stride: usize,
    out_stride: usize,
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
    /// An output pixel for each of `rows` by each of `cols`. `scale` is `s_x / s_y`; zeros are those of input and output.
    pub fn new(
        isa: Isa,
        input: [usize; 2],
        [rows, cols]: [Vec<Between>; 2],
        channels: usize,
        strides: [usize; 2],
        scale: f32,
        [x_zero, y_zero]: [u8; 2],
    ) -> Result<Self, SpecError> {
        let size = Sizes::new(input, [rows.len(), cols.len()], channels, strides)?;
        ratio("scale", 0, scale)?;
        for (between, size) in [(&rows, input[0]), (&cols, input[1])] {
            let inside = |b: &Between| b.lower.max(b.upper) < size;
            let share = |b: &Between| (0.0..=1.0).contains(&b.fraction);
            if !between.iter().all(|b| inside(b) && share(b)) {
                return Err(SpecError::TooLarge { what: "position" });
            }
        }
        Ok(Self { isa, size, ratio: scale, x_zero, y_zero, rows, cols })
    }

    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let Sizes { output: [out_h, out_w], channels, out_stride, .. } = self.size;
        let y = &mut y[..(out_h * out_w - 1) * out_stride + channels];
        pool.split_rows(y, out_h * out_w, out_stride, |range, y| {
            self.isa.vectorize(BilinearPixels { of: self, x, y, range });
        });
    }
}

struct BilinearPixels<'a> {
    of: &'a Bilinear,
    x: &'a [u8],
    y: &'a mut [u8],
    range: Range<usize>,
}

impl Loop for BilinearPixels<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { of, x, y, range } = self;
        let (size, width) = (&of.size, of.size.output[1]);
        for (y, pixel) in y.chunks_mut(size.out_stride).zip(range) {
            let (row, col) = (of.rows[pixel / width], of.cols[pixel % width]);
            let a = size.pixel(x, row.lower, col.lower);
            let b = size.pixel(x, row.lower, col.upper);
            let c = size.pixel(x, row.upper, col.lower);
            let d = size.pixel(x, row.upper, col.upper);
            let ([fx, fy], n) = ([col.fraction, row.fraction], size.channels);
            let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]); // one length, so that the loop needs no checks
            let y = &mut y[..n];
            for i in 0..n {
                y[i] = of.one([a[i], b[i], c[i], d[i]], fx, fy);
            }
        }
    }
}

impl Bilinear {
    #[inline(always)]
    fn one(&self, corners: [u8; 4], fx: f32, fy: f32) -> u8 {
        let [a, b, c, d] = corners.map(|q| (i32::from(q) - i32::from(self.x_zero)) as f32);
        let top = a * (1.0 - fx) + b * fx;
        let bottom = c * (1.0 - fx) + d * fx;
        let v = top * (1.0 - fy) + bottom * fy;
        requantize(v * self.ratio, self.y_zero, 0, 255)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn centred(input: [usize; 2], output: [usize; 2], scale: f32, zeros: [u8; 2]) -> Bilinear {
        let between = [0, 1].map(|axis| Between::centres(input[axis], output[axis]));
        Bilinear::new(Isa::best(), input, between, 1, [1, 1], scale, zeros).unwrap()
    }

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
        let up = centred([1, 2], [2, 4], 1.0, [0, 0]);
        let mut y = [0; 8];
        up.run(&[0, 8], &mut y, &Pool::new(1));
        assert_eq!(y, [0, 2, 6, 8, 0, 2, 6, 8]);
    }

    #[test]
    fn bilinear_changes_scale_and_zero_point() {
        let up = centred([2, 2], [2, 2], 0.5, [100, 10]);
        let mut y = [0; 4];
        up.run(&[100, 103, 90, 101], &mut y, &Pool::new(1)); // 0, 1.5, -5, 0.5 -> ties to even
        assert_eq!(y, [10, 12, 5, 10]);
    }
}
