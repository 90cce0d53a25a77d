//! What each step computes, one plain loop an operation: the definition the kernels are held to.
//!
//! Nothing is fused and nothing is fast. Tests run whole networks through it and compare every
//! activation with what the plan gives, bit for bit.

use crate::quantized::{
    Activation, Conv, Op, Quant, Quantized, Shape, Source, Step, Table, Window, requantize,
};

use kernels::MatMulSpec;

/// Every activation and float output of one inference.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Values {
    /// One per activation, `H x W x C`.
    pub(crate) activations: Vec<Vec<u8>>,
    /// One per float output, in ONNX order (`C x H x W`).
    pub(crate) floats: Vec<Vec<f32>>,
}

/// Runs the steps. `floats` in ONNX order, `raw` one per raw input.
pub(crate) fn run(net: &Quantized, floats: &[&[f32]], raw: &[&[u8]]) -> Values {
    let mut values: Vec<Vec<u8>> = vec![Vec::new(); net.activations.len()];
    for (&at, bytes) in net.raw_inputs.iter().zip(raw) {
        values[at] = bytes.to_vec();
    }
    for step in &net.steps {
        let y = &net.activations[step.output];
        values[step.output] = match &step.op {
            Op::Quantize(input) => quantize(floats[*input], y),
            op => {
                let inputs: Vec<(&Activation, &[u8])> = step
                    .inputs
                    .iter()
                    .map(|&i| (&net.activations[i], values[i].as_slice()))
                    .collect();
                compute(op, step, &inputs, y)
            }
        };
    }
    let float = |source: &Source| match source {
        Source::Dequantize(at) => {
            let x = &net.activations[*at];
            planes(x.shape, |h, w, c| x.quant.dequantize(values[*at][index(x.shape, h, w, c)]))
        }
        Source::Accumulators { input, conv } => {
            let x = &net.activations[*input];
            let (h, w) = conv.window.output(x.shape.h, x.shape.w).expect("checked when read");
            let scales = conv.scales(x.quant);
            let shape = Shape { h, w, c: conv.out_c };
            planes(shape, |h, w, c| {
                accumulate(conv, x, &values[*input], h, w, c) as f32 * scales[c]
            })
        }
    };
    let floats = net.float_outputs.iter().map(|output| float(&output.source)).collect();
    Values { activations: values, floats }
}

fn compute(op: &Op, step: &Step, inputs: &[(&Activation, &[u8])], y: &Activation) -> Vec<u8> {
    let (x, bytes) = inputs[0];
    let shape = y.shape;
    let requant = |value: f32| requantize(value, y.quant.zero, step.clamp);
    match op {
        Op::Quantize(_) => unreachable!("reads no activation"),
        Op::Conv(conv) => {
            let m = conv.multipliers(x.quant, y.quant);
            pixels(shape, |h, w, c| requant(accumulate(conv, x, bytes, h, w, c) as f32 * m[c]))
        }
        Op::Add => {
            let (b, b_bytes) = inputs[1];
            let (ra, rb) = (x.quant.scale / y.quant.scale, b.quant.scale / y.quant.scale);
            pixels(shape, |h, w, c| {
                let at = index(shape, h, w, c);
                requant(centred(bytes[at], x.quant) * ra + centred(b_bytes[at], b.quant) * rb)
            })
        }
        Op::Concat(tables) => pixels(shape, |h, w, c| {
            let (mut at, mut from) = (0, c);
            while from >= inputs[at].0.shape.c {
                from -= inputs[at].0.shape.c;
                at += 1;
            }
            let q = inputs[at].1[index(inputs[at].0.shape, h, w, from)];
            look_up(tables[at].as_ref(), q)
        }),
        Op::MaxPool { window, table } => pixels(shape, |h, w, c| {
            let inside = taps(window, x.shape, h, w);
            let max = inside.map(|(h, w)| bytes[index(x.shape, h, w, c)]).max();
            look_up(table.as_ref(), max.unwrap_or(x.quant.zero))
        }),
        Op::AvgPool { window, include_pad } => pixels(shape, |h, w, c| {
            let sum: i32 = taps(window, x.shape, h, w)
                .map(|(h, w)| i32::from(bytes[index(x.shape, h, w, c)]) - i32::from(x.quant.zero))
                .sum();
            let count = match include_pad {
                true => window.kernel[0] * window.kernel[1],
                false => taps(window, x.shape, h, w).count(),
            };
            requant(sum as f32 * (x.quant.scale / y.quant.scale / count as f32))
        }),
        Op::Nearest { table } => pixels(shape, |h, w, c| {
            let (row, column) = (h * x.shape.h / shape.h, w * x.shape.w / shape.w);
            look_up(table.as_ref(), bytes[index(x.shape, row, column, c)])
        }),
        Op::Bilinear => {
            let ratio = x.quant.scale / y.quant.scale;
            pixels(shape, |h, w, c| {
                let (rows, columns) =
                    (between(h, x.shape.h, shape.h), between(w, x.shape.w, shape.w));
                let read = |h, w| centred(bytes[index(x.shape, h, w, c)], x.quant);
                requant(bilinear(rows, columns, read) * ratio)
            })
        }
        Op::Table(table) => bytes.iter().map(|&q| table[usize::from(q)]).collect(),
        Op::AddConstant { values, quant } => {
            let (ra, rb) = (x.quant.scale / y.quant.scale, quant.scale / y.quant.scale);
            let sum = |(&a, &b)| requant(centred(a, x.quant) * ra + centred(b, *quant) * rb);
            bytes.iter().zip(values.iter()).map(sum).collect()
        }
        Op::Append(tables) => {
            let part = |(at, table): (usize, &Option<Table>)| {
                inputs[at].1.iter().map(|&q| look_up(table.as_ref(), q)).collect::<Vec<_>>()
            };
            tables.iter().enumerate().flat_map(part).collect()
        }
        Op::MatMul(spec) => {
            let (b, b_bytes) = inputs[1];
            let ratio = x.quant.scale * b.quant.scale / y.quant.scale;
            let sums = products(spec, (x.quant, bytes), (b.quant, b_bytes));
            sums.into_iter().map(|sum| requant(sum as f32 * ratio)).collect()
        }
        Op::MatMulSoftmax(spec) => {
            let (b, b_bytes) = inputs[1];
            let sums = products(spec, (x.quant, bytes), (b.quant, b_bytes));
            let scale = x.quant.scale * b.quant.scale;
            let shares = |row: &[i32]| shares(row, scale, y.quant.scale);
            sums.chunks(spec.columns).flat_map(shares).map(requant).collect()
        }
        Op::Softmax { columns } => {
            let codes: Vec<i32> = bytes.iter().map(|&q| i32::from(q)).collect();
            let shares = |row: &[i32]| shares(row, x.quant.scale, y.quant.scale);
            codes.chunks(*columns).flat_map(shares).map(requant).collect()
        }
    }
}

/// `Σ (q_a − z_a)·(q_b − z_b)` of every row and column, exact.
fn products(
    spec: &MatMulSpec,
    (a, a_bytes): (Quant, &[u8]),
    (b, b_bytes): (Quant, &[u8]),
) -> Vec<i32> {
    let centre = |q: u8, quant: Quant| i32::from(q) - i32::from(quant.zero);
    let of = |at: usize| -> i32 {
        let (row, column) = (at / spec.columns, at % spec.columns);
        let products = (0..spec.depth).map(|k| {
            let right = match spec.columns_in_rows {
                true => b_bytes[column * spec.depth + k],
                false => b_bytes[k * spec.columns + column],
            };
            centre(a_bytes[row * spec.depth + k], a) * centre(right, b)
        });
        products.sum()
    };
    (0..spec.rows * spec.columns).map(of).collect()
}

/// Softmax of a row of whole numbers worth `scale` each, in steps of `step`: every exponential a whole number of 2^-30.
fn shares(row: &[i32], scale: f32, step: f32) -> Vec<f32> {
    let largest = row.iter().copied().max().expect("rows have values");
    let e = |&x: &i32| {
        let below = f64::from(scale) * -((i64::from(largest) - i64::from(x)) as f64);
        (libm::exp(below) * (1_u64 << 30) as f64).round_ties_even() as u32
    };
    let sum: u64 = row.iter().map(|x| u64::from(e(x))).sum();
    row.iter().map(|x| e(x) as f32 / sum as f32 / step).collect()
}

fn look_up(table: Option<&Table>, q: u8) -> u8 {
    table.map_or(q, |table| table[usize::from(q)])
}

/// `q − zero`
fn centred(q: u8, quant: Quant) -> f32 {
    f32::from(i16::from(q) - i16::from(quant.zero))
}

/// Where output `o` of `to` lies between the pixels of `from`: lower, upper, how far from the lower.
fn between(o: usize, from: usize, to: usize) -> (usize, usize, f32) {
    // (o + ½)·from/to − ½ = ((2o + 1)·from − to) / 2to, in integers up to the last division
    let twice = ((2 * o + 1) * from).saturating_sub(to);
    let lower = (twice / (2 * to)).min(from - 1);
    (lower, (lower + 1).min(from - 1), (twice % (2 * to)) as f32 / (2 * to) as f32)
}

/// Interpolates along the row first, then between rows: fixed order, no fused multiply-add.
fn bilinear(
    (top, bottom, down): (usize, usize, f32),
    (left, right, across): (usize, usize, f32),
    read: impl Fn(usize, usize) -> f32,
) -> f32 {
    let along = |h| read(h, left) * (1.0 - across) + read(h, right) * across;
    along(top) * (1.0 - down) + along(bottom) * down
}

/// The source pixels of a window that are not padding.
fn taps(window: &Window, x: Shape, h: usize, w: usize) -> impl Iterator<Item = (usize, usize)> {
    let window = *window;
    (0..window.kernel[0]).filter_map(move |k| window.at(0, h, k, x.h)).flat_map(move |h| {
        (0..window.kernel[1]).filter_map(move |k| window.at(1, w, k, x.w)).map(move |w| (h, w))
    })
}

/// `Σ (q_x − z_x)·q_w + bias`, exact; padding adds nothing.
fn accumulate(conv: &Conv, x: &Activation, bytes: &[u8], h: usize, w: usize, o: usize) -> i32 {
    let in_c = x.shape.c / conv.groups;
    let first = o / (conv.out_c / conv.groups) * in_c;
    let [kh, kw] = conv.window.kernel;
    let mut sum = conv.bias[o];
    for ky in 0..kh {
        let Some(row) = conv.window.at(0, h, ky, x.shape.h) else { continue };
        for kx in 0..kw {
            let Some(column) = conv.window.at(1, w, kx, x.shape.w) else { continue };
            for c in 0..in_c {
                let q = bytes[index(x.shape, row, column, first + c)];
                let weight = conv.weights[((o * in_c + c) * kh + ky) * kw + kx];
                sum += (i32::from(q) - i32::from(x.quant.zero)) * i32::from(weight);
            }
        }
    }
    sum
}

fn quantize(x: &[f32], y: &Activation) -> Vec<u8> {
    let Shape { h: rows, w: columns, .. } = y.shape;
    pixels(y.shape, |h, w, c| y.quant.quantize(x[(c * rows + h) * columns + w]))
}

fn index(shape: Shape, h: usize, w: usize, c: usize) -> usize {
    (h * shape.w + w) * shape.c + c
}

/// Fills `H x W x C`.
fn pixels(shape: Shape, f: impl Fn(usize, usize, usize) -> u8) -> Vec<u8> {
    let f = &f;
    (0..shape.h)
        .flat_map(|h| (0..shape.w).flat_map(move |w| (0..shape.c).map(move |c| f(h, w, c))))
        .collect()
}

/// Fills `C x H x W`.
fn planes(shape: Shape, f: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
    let f = &f;
    (0..shape.c)
        .flat_map(|c| (0..shape.h).flat_map(move |h| (0..shape.w).map(move |w| f(h, w, c))))
        .collect()
}
