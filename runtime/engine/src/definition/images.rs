//! What operations of [`ImageOp`] compute.

use super::{centred, index, look_up, pixels};
use crate::quantized::image_op::{ConvTranspose, ImageOp};
use crate::quantized::{Activation, Shape, Step};

/// Output bytes, `H x W x C`; `requant` rounds a real number in steps of the output.
pub(super) fn compute(
    op: &ImageOp,
    step: &Step,
    inputs: &[(&Activation, &[u8])],
    y: &Activation,
) -> Vec<u8> {
    let (x, bytes) = inputs[0];
    let shape = y.shape;
    let requant = |value: f32| crate::quantized::requantize(value, y.quant.zero, step.clamp);
    let read = |h, w, c| centred(bytes[index(x.shape, h, w, c)], x.quant);
    match op {
        ImageOp::Combine(how) => {
            let (b, b_bytes) = inputs[1];
            let repeated = |at: usize, side: usize| if side == 1 { 0 } else { at };
            let second = |h, w, c| {
                let Shape { h: rows, w: columns, c: channels } = b.shape;
                let at = [repeated(h, rows), repeated(w, columns), repeated(c, channels)];
                b_bytes[index(b.shape, at[0], at[1], at[2])]
            };
            let of = how.of(x.quant, b.quant, y.quant, step.clamp);
            pixels(shape, |h, w, c| of(bytes[index(x.shape, h, w, c)], second(h, w, c)))
        }
        ImageOp::Gather { from, table, fill } => {
            pixels(shape, |h, w, c| match (from.rows[h], from.columns[w], from.channels[c]) {
                (Some(h), Some(w), Some(c)) => {
                    look_up(table.as_ref(), bytes[index(x.shape, h, w, c)])
                }
                _ => *fill,
            })
        }
        ImageOp::Linear(between) => {
            let ratio = x.quant.scale / y.quant.scale;
            pixels(shape, |h, w, c| {
                let (row, column) = (between[0][h], between[1][w]);
                let across = column.fraction;
                let along = |h| {
                    read(h, column.lower, c) * (1.0 - across) + read(h, column.upper, c) * across
                };
                let down = row.fraction;
                requant((along(row.lower) * (1.0 - down) + along(row.upper) * down) * ratio)
            })
        }
        ImageOp::Affine(affine) => {
            let [factor, addend] = affine.of_codes(x.quant, y.quant);
            pixels(shape, |h, w, c| requant(read(h, w, c) * factor[c] + addend[c]))
        }
        ImageOp::GroupNorm(norm) => {
            let each = shape.c / norm.groups;
            let code = |c: usize, pixel: usize| {
                i64::from(bytes[pixel * shape.c + c]) - i64::from(x.quant.zero)
            };
            let of_channel = |c: usize| {
                let group = c / each * each..(c / each + 1) * each;
                let codes = || {
                    let pixels = 0..shape.h * shape.w;
                    group.clone().flat_map(move |c| pixels.clone().map(move |pixel| code(c, pixel)))
                };
                let moments =
                    (codes().count(), codes().sum(), codes().map(|code| code * code).sum());
                let scales = [x.quant.scale, y.quant.scale];
                kernels::scalar::normalized(
                    moments,
                    norm.epsilon,
                    scales,
                    [norm.gain[c], norm.bias[c]],
                )
            };
            let numbers: Vec<[f32; 2]> = (0..shape.c).map(of_channel).collect();
            pixels(shape, |h, w, c| requant(read(h, w, c) * numbers[c][0] + numbers[c][1]))
        }
        ImageOp::ConvTranspose(conv) => {
            let multipliers = conv.conv.multipliers(x.quant, y.quant);
            pixels(shape, |h, w, c| {
                requant(transposed_sum(conv, x, bytes, h, w, c) as f32 * multipliers[c])
            })
        }
    }
}

/// `Σ (q_x − z_x)·q_w + bias` over the input pixels that come to an output, exact.
fn transposed_sum(
    transposed: &ConvTranspose,
    x: &Activation,
    bytes: &[u8],
    h: usize,
    w: usize,
    o: usize,
) -> i32 {
    let conv = &transposed.conv;
    let in_c = x.shape.c / conv.groups;
    let first = o / (conv.out_c / conv.groups) * in_c;
    let [kh, kw] = conv.window.kernel;
    let mut sum = conv.bias[o];
    for row in 0..x.shape.h {
        for column in 0..x.shape.w {
            // Which tap brings this pixel to the output?
            let tap = |axis: usize, from: usize, to: usize| {
                let window = &conv.window;
                let away = (to + window.pad[axis]).checked_sub(from * window.stride[axis])?;
                let tap = away / window.dilation[axis];
                let whole = away.is_multiple_of(window.dilation[axis]);
                (whole && tap < window.kernel[axis]).then_some(tap)
            };
            let (Some(ky), Some(kx)) = (tap(0, row, h), tap(1, column, w)) else { continue };
            for c in 0..in_c {
                let q = bytes[index(x.shape, row, column, first + c)];
                let weight = conv.weights[((o * in_c + c) * kh + ky) * kw + kx];
                sum += (i32::from(q) - i32::from(x.quant.zero)) * i32::from(weight);
            }
        }
    }
    sum
}
