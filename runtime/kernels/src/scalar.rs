//! The definition of every operation, in plain loops over plain slices. Slow, obvious, and the oracle of every test.
//!
//! Fused and vectorised code elsewhere must give the same bits.

use crate::matrices::{LayerNormSpec, MatMulSpec};
use crate::spec::{ConvSpec, ConvTransposeSpec, ConvWeights, PoolSpec, Product, Residual};

/// Adding and subtracting 1.5 · 2²³ leaves the nearest integer, ties to even: at that size the spacing of `f32` is 1.
const MAGIC: f32 = 12_582_912.0;

/// `clamp(round_ties_even(v) + zero, lo, hi)`. Not-a-number counts as −∞.
#[inline(always)]
pub fn requantize(v: f32, zero: u8, lo: u8, hi: u8) -> u8 {
    // Beyond ±1024 the clamp decides, whatever the zero point. Comparisons, not `clamp`: they map NaN to the
    // lower end.
    let v = if v > -1024.0 { v } else { -1024.0 };
    let v = if v < 1024.0 { v } else { 1024.0 };
    let rounded = (v + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32;
    (rounded + i32::from(zero)).clamp(i32::from(lo), i32::from(hi)) as u8
}

/// Sums of a convolution, bias included, without requantization: `visit(pixel, channel, sum)`.
pub fn conv_sums(
    spec: &ConvSpec,
    weights: &ConvWeights<'_>,
    x: &[u8],
    mut visit: impl FnMut(usize, usize, i32),
) {
    let (in_group, out_group) = (spec.in_channels / spec.groups, spec.out_channels / spec.groups);
    let [kernel_h, kernel_w] = spec.kernel;
    for y_out in 0..spec.out_h() {
        for x_out in 0..spec.out_w() {
            for n in 0..spec.out_channels {
                let mut sum = weights.bias[n];
                for c in 0..in_group {
                    for ky in 0..kernel_h {
                        for kx in 0..kernel_w {
                            let row = (y_out * spec.stride[0] + ky * spec.dilation[0])
                                .checked_sub(spec.padding[0]);
                            let col = (x_out * spec.stride[1] + kx * spec.dilation[1])
                                .checked_sub(spec.padding[1]);
                            let (Some(row), Some(col)) = (row, col) else { continue };
                            if row >= spec.in_h || col >= spec.in_w {
                                continue;
                            }
                            let channel = n / out_group * in_group + c;
                            let q = x[(row * spec.in_w + col) * spec.in_stride + channel];
                            let w = weights.weight
                                [((n * in_group + c) * kernel_h + ky) * kernel_w + kx];
                            sum += (i32::from(q) - i32::from(weights.x_zero)) * i32::from(w);
                        }
                    }
                }
                visit(y_out * spec.out_w() + x_out, n, sum);
            }
        }
    }
}

/// Convolution, requantization, and the addition if there is one.
pub fn conv(
    spec: &ConvSpec,
    weights: &ConvWeights<'_>,
    x: &[u8],
    residual: Option<(&Residual, &[u8])>,
    y: &mut [u8],
) {
    conv_sums(spec, weights, x, |pixel, n, sum| {
        let c = requantize(sum as f32 * weights.scale[n], weights.y_zero, weights.lo, weights.hi);
        y[pixel * spec.out_stride + n] = match residual {
            None => c,
            Some((add, r)) => add_one(add, weights.y_zero, c, r[pixel * add.stride + n]),
        };
    });
}

/// Transposed convolution: input pixel `i` under tap `k` goes to output `i · stride + k · dilation − padding`; then
/// requantization.
pub fn conv_transpose(spec: &ConvTransposeSpec, weights: &ConvWeights<'_>, x: &[u8], y: &mut [u8]) {
    let (in_group, out_group) = (spec.in_channels / spec.groups, spec.out_channels / spec.groups);
    let ([kernel_h, kernel_w], [out_h, out_w]) = (spec.kernel, spec.output);
    let from = |axis: usize, out: usize, tap: usize| {
        let distance = (out + spec.padding[axis]).checked_sub(tap * spec.dilation[axis])?;
        let at = distance / spec.stride[axis];
        (distance.is_multiple_of(spec.stride[axis]) && at < spec.input[axis]).then_some(at)
    };
    for pixel in 0..out_h * out_w {
        for n in 0..spec.out_channels {
            let mut sum = weights.bias[n];
            for ky in 0..kernel_h {
                let Some(row) = from(0, pixel / out_w, ky) else { continue };
                for kx in 0..kernel_w {
                    let Some(col) = from(1, pixel % out_w, kx) else { continue };
                    for c in 0..in_group {
                        let channel = n / out_group * in_group + c;
                        let q = x[(row * spec.input[1] + col) * spec.in_stride + channel];
                        let w =
                            weights.weight[((n * in_group + c) * kernel_h + ky) * kernel_w + kx];
                        sum += (i32::from(q) - i32::from(weights.x_zero)) * i32::from(w);
                    }
                }
            }
            let v = sum as f32 * weights.scale[n];
            y[pixel * spec.out_stride + n] = requantize(v, weights.y_zero, weights.lo, weights.hi);
        }
    }
}

/// Convolution without requantization: `y = sum · scale`, `[out_channels, pixels]`.
pub fn conv_f32(spec: &ConvSpec, weights: &ConvWeights<'_>, x: &[u8], y: &mut [f32]) {
    conv_sums(spec, weights, x, |pixel, n, sum| {
        y[n * spec.out_pixels() + pixel] = sum as f32 * weights.scale[n]
    });
}

/// The addition of [`Residual`] on one element.
#[inline(always)]
pub fn add_one(add: &Residual, conv_zero: u8, c: u8, r: u8) -> u8 {
    let c = (i32::from(c) - i32::from(conv_zero)) as f32 * add.conv_ratio;
    let r = (i32::from(r) - i32::from(add.zero)) as f32 * add.ratio;
    requantize(c + r, add.out_zero, add.lo, add.hi)
}

/// [`Product`] of one element; the integers' product has at most 17 bits, so its float is exact.
#[inline(always)]
pub fn multiply_one(product: &Product, a: u8, b: u8) -> u8 {
    let [a_zero, b_zero, y_zero] = product.zeros;
    let a = i32::from(a) - i32::from(a_zero);
    let b = i32::from(b) - i32::from(b_zero);
    requantize((a * b) as f32 * product.ratio, y_zero, product.lo, product.hi)
}

/// A factor and an addend for each channel: `clamp(rte((x − x_zero)·factor + addend) + y_zero, lo, hi)`, one product,
/// one sum.
#[inline(always)]
pub fn affine_one(
    x: u8,
    x_zero: u8,
    factor: f32,
    addend: f32,
    y_zero: u8,
    [lo, hi]: [u8; 2],
) -> u8 {
    let x = (i32::from(x) - i32::from(x_zero)) as f32;
    requantize(x * factor + addend, y_zero, lo, hi)
}

/// Factor and addend that bring values to mean 0 and variance 1, then to `gain` and `bias`; for [`affine_one`].
///
/// `moments` are the number of values, the sum of `x − x_zero` and the sum of its squares, exact. In f64 and in this
/// order: `mean = sum / n`, `variance = (n·squares − sum²) / n² · s_x²`, the numerator exact; `factor =
/// gain · (s_x / √(variance + epsilon)) / s_y`, `addend = bias / s_y − mean · factor`. Both are rounded to f32 at the end.
pub fn normalized(
    (count, sum, squares): (usize, i64, i64),
    epsilon: f32,
    [x_scale, y_scale]: [f32; 2],
    [gain, bias]: [f32; 2],
) -> [f32; 2] {
    let (n, x_scale, y_scale) = (count as f64, f64::from(x_scale), f64::from(y_scale));
    let spread = count as i128 * i128::from(squares) - i128::from(sum) * i128::from(sum);
    let variance = spread as f64 / (n * n) * (x_scale * x_scale);
    let one = x_scale / (variance + f64::from(epsilon)).sqrt();
    let factor = f64::from(gain) * one / y_scale;
    let addend = f64::from(bias) / y_scale - sum as f64 / n * factor;
    [factor as f32, addend as f32]
}

/// `visit(output pixel, input pixels of its window)`; pixels outside the image are left out.
pub fn windows(spec: &PoolSpec, mut visit: impl FnMut(usize, &[usize])) {
    let mut inside = Vec::with_capacity(spec.kernel[0] * spec.kernel[1]);
    for y_out in 0..spec.out_h() {
        for x_out in 0..spec.out_w() {
            inside.clear();
            for ky in 0..spec.kernel[0] {
                for kx in 0..spec.kernel[1] {
                    let row = (y_out * spec.stride[0] + ky * spec.dilation[0])
                        .checked_sub(spec.padding[0]);
                    let col = (x_out * spec.stride[1] + kx * spec.dilation[1])
                        .checked_sub(spec.padding[1]);
                    if let (Some(row), Some(col)) = (row, col)
                        && row < spec.in_h
                        && col < spec.in_w
                    {
                        inside.push(row * spec.in_w + col);
                    }
                }
            }
            visit(y_out * spec.out_w() + x_out, &inside);
        }
    }
}

/// The largest `u8` of each window.
pub fn max_pool(spec: &PoolSpec, x: &[u8], y: &mut [u8]) {
    windows(spec, |pixel, inside| {
        for c in 0..spec.channels {
            let largest = inside.iter().map(|p| x[p * spec.in_stride + c]).max();
            y[pixel * spec.out_stride + c] =
                largest.expect("PoolSpec::check: no window lies outside the image");
        }
    });
}

/// `rte((Σ x − inside · x_zero) · (ratio / count)) + y_zero` with `ratio = s_x / s_y`; `count` is the number of pixels
/// `inside` the image, or inside the image and `counted` pixels around it: top, left, bottom, right.
pub fn avg_pool(
    spec: &PoolSpec,
    ratio: f32,
    [x_zero, y_zero]: [u8; 2],
    counted: Option<[usize; 4]>,
    x: &[u8],
    y: &mut [u8],
) {
    windows(spec, |pixel, inside| {
        let count = match counted {
            None => inside.len(),
            Some(padding) => {
                let out = [pixel / spec.out_w(), pixel % spec.out_w()];
                (0..2).map(|axis| spec.counted(axis, out[axis], padding)).product()
            }
        };
        for c in 0..spec.channels {
            let sum: i32 = inside
                .iter()
                .map(|p| i32::from(x[p * spec.in_stride + c]) - i32::from(x_zero))
                .sum();
            y[pixel * spec.out_stride + c] =
                requantize(sum as f32 * (ratio / count as f32), y_zero, 0, 255);
        }
    });
}

/// Products of two tensors: `rte(Σ (a − a_zero)·(b − b_zero) · ratio) + y_zero` with
/// `ratio = s_a · s_b / s_y`; sums are exact.
pub fn matmul(spec: &MatMulSpec, ratio: f32, zeros: [u8; 3], a: &[u8], b: &[u8], y: &mut [u8]) {
    matmul_sums(spec, [zeros[0], zeros[1]], a, b, |at, sum| {
        y[at] = requantize(sum as f32 * ratio, zeros[2], 0, 255);
    });
}

/// Sums of products, row by row, without requantization: `visit(place of the result, sum)`.
pub fn matmul_sums(
    spec: &MatMulSpec,
    [a_zero, b_zero]: [u8; 2],
    a: &[u8],
    b: &[u8],
    mut visit: impl FnMut(usize, i32),
) {
    let [outer, inner] = spec.batch;
    for batch in (0..outer).flat_map(|o| (0..inner).map(move |i| [o, i])) {
        for row in 0..spec.rows {
            for column in 0..spec.columns {
                let of = |k: usize| {
                    let a = i32::from(a[spec.a.at(batch, row, k)]) - i32::from(a_zero);
                    a * (i32::from(b[spec.b.at(batch, k, column)]) - i32::from(b_zero))
                };
                visit(spec.y.at(batch, row, column), (0..spec.depth).map(of).sum());
            }
        }
    }
}

/// Layer normalisation of a row of `n` codes: with `d = n·q − Σq` and `v = n·Σq² − (Σq)²`, which are whole numbers,
/// `rte(f32(d) · f32(1 / √(f64(v) + epsilon)) · gain + bias) + zero`, in this order and in f32 but for the root.
///
/// Mean and variance of the real values are `Σq / n` and `v / n²` steps, so the scale and the zero point of the
/// codes cancel out, but for `epsilon · n² / s_x²`. Gain and bias are divided by the scale of the result.
pub fn layer_norm(spec: &LayerNormSpec, x: &[u8], y: &mut [u8]) {
    let n = x.len() as i64;
    let sum: i64 = x.iter().map(|&q| i64::from(q)).sum();
    let squares: i64 = x.iter().map(|&q| i64::from(q) * i64::from(q)).sum();
    let variance = n * squares - sum * sum;
    let spread = (1.0 / (variance as f64 + spec.epsilon).sqrt()) as f32;
    for (i, q) in x.iter().enumerate() {
        let value = (n * i64::from(*q) - sum) as f32 * spread * spec.gain[i] + spec.bias[i];
        y[i] = requantize(value, spec.y_zero, spec.clamp[0], spec.clamp[1]);
    }
}

/// Softmax of a row of sums, each worth `sum · scale`: `rte(e / Σ e / y_scale) + y_zero` with
/// `e = round(2^30 · exp(−(largest − sum) · scale))`.
///
/// What is summed are whole numbers, so their order does not matter; sum and `e` are rounded to f32 once.
pub fn softmax(sums: &[i32], scale: f32, exp: Exp, y_scale: f32, y_zero: u8, y: &mut [u8]) {
    let largest = sums.iter().copied().max().unwrap_or(0);
    let all: u64 = sums.iter().map(|sum| u64::from(worth(largest, *sum, scale, exp))).sum();
    for (y, sum) in y.iter_mut().zip(sums) {
        let share = worth(largest, *sum, scale, exp) as f32 / all as f32;
        *y = requantize(share / y_scale, y_zero, 0, 255);
    }
}

/// `exp` of f64, the same bits on every processor.
pub type Exp = fn(f64) -> f64;

/// `round(2^30 · exp(−(largest − sum) · scale))`
#[inline]
pub(crate) fn worth(largest: i32, sum: i32, scale: f32, exp: Exp) -> u32 {
    const ONE: f64 = (1_u64 << 30) as f64;
    let below = i64::from(largest) - i64::from(sum);
    (ONE * exp(-(below as f64) * f64::from(scale))).round_ties_even() as u32
}
