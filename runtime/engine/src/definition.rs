//! What each step computes, one plain loop an operation: the definition the kernels are held to.
//!
//! Nothing is fused and nothing is fast. Tests run whole networks through it and compare every
//! activation with what the plan gives, bit for bit.

mod images;

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
            Op::Constant(bytes) => bytes.to_vec(),
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
            x.layout.positions().map(|position| x.quant.dequantize(values[*at][position])).collect()
        }
        Source::Accumulators { input, conv } => {
            let x = &net.activations[*input];
            let Shape { h, w, .. } = conv.input;
            let (h, w) = conv.window.output(h, w).expect("checked when read");
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
        Op::AvgPool { window, counted } => pixels(shape, |h, w, c| {
            let sum: i32 = taps(window, x.shape, h, w)
                .map(|(h, w)| i32::from(bytes[index(x.shape, h, w, c)]) - i32::from(x.quant.zero))
                .sum();
            let count = match counted {
                Some(padding) => window.counted(*padding, x.shape, h, w),
                None => taps(window, x.shape, h, w).count(),
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
        Op::Image(op) => images::compute(op, step, inputs, y),
        Op::Table(table) => bytes.iter().map(|&q| table[usize::from(q)]).collect(),
        Op::AddConstant { values, quant } => {
            let (ra, rb) = (x.quant.scale / y.quant.scale, quant.scale / y.quant.scale);
            let sum = |(&a, &b)| requant(centred(a, x.quant) * ra + centred(b, *quant) * rb);
            bytes.iter().zip(values.iter()).map(sum).collect()
        }
        Op::Copy(pieces) => {
            let mut copy = vec![0; shape.len()];
            for (piece, (_, bytes)) in pieces.iter().zip(inputs) {
                for (from, to) in piece.from.positions().zip(piece.to.positions()) {
                    copy[to] = look_up(piece.table.as_ref(), bytes[from]);
                }
            }
            copy
        }
        Op::Constant(_) => unreachable!("reads no activation"),
        Op::LayerNorm(norm) => {
            let spec = norm.spec(x.quant, y.quant, step.clamp);
            let normalised = |row: &[u8]| {
                let mut y = vec![0; row.len()];
                kernels::scalar::layer_norm(&spec, row, &mut y);
                y
            };
            bytes.chunks(norm.gain.len()).flat_map(normalised).collect()
        }
        Op::MatMul { spec, factor } => {
            let (b, b_bytes) = inputs[1];
            let ratio = x.quant.scale * b.quant.scale * factor / y.quant.scale;
            let sums = products(spec, (x.quant, bytes), (b.quant, b_bytes));
            placed(spec, sums.into_iter().map(|sum| requant(sum as f32 * ratio)))
        }
        Op::MatMulSoftmax { spec, factor } => {
            let (b, b_bytes) = inputs[1];
            let sums = products(spec, (x.quant, bytes), (b.quant, b_bytes));
            let scale = x.quant.scale * b.quant.scale * factor;
            let shares = |row: &[i32]| shares(row, scale, y.quant.scale);
            placed(spec, sums.chunks(spec.columns).flat_map(shares).map(requant))
        }
        Op::Softmax { columns } => {
            let codes: Vec<i32> = bytes.iter().map(|&q| i32::from(q)).collect();
            let shares = |row: &[i32]| shares(row, x.quant.scale, y.quant.scale);
            codes.chunks(*columns).flat_map(shares).map(requant).collect()
        }
    }
}

/// `Σ (q_a − z_a)·(q_b − z_b)` of every product, row and column, exact.
fn products(
    spec: &MatMulSpec,
    (a, a_bytes): (Quant, &[u8]),
    (b, b_bytes): (Quant, &[u8]),
) -> Vec<i32> {
    let centre = |q: u8, quant: Quant| i32::from(q) - i32::from(quant.zero);
    let of = |[outer, inner, row, column]: [usize; 4]| -> i32 {
        let products = (0..spec.depth).map(|k| {
            let left = a_bytes[spec.a.at([outer, inner], row, k)];
            centre(left, a) * centre(b_bytes[spec.b.at([outer, inner], k, column)], b)
        });
        products.sum()
    };
    results(spec).map(of).collect()
}

/// Which product, row and column each result is of, in ONNX's order.
fn results(spec: &MatMulSpec) -> impl Iterator<Item = [usize; 4]> {
    let MatMulSpec { batch: [outer, inner], rows, columns, .. } = *spec;
    (0..outer * inner * rows * columns).map(move |at| {
        let (product, row) = (at / columns / rows, at / columns % rows);
        [product / inner, product % inner, row, at % columns]
    })
}

/// Puts results where their places are.
fn placed(spec: &MatMulSpec, values: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut y = vec![0; results(spec).count()];
    for ([outer, inner, row, column], value) in results(spec).zip(values) {
        y[spec.y.at([outer, inner], row, column)] = value;
    }
    y
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
    let in_c = conv.input.c / conv.groups;
    let first = o / (conv.out_c / conv.groups) * in_c;
    let [kh, kw] = conv.window.kernel;
    let mut sum = conv.bias[o];
    for ky in 0..kh {
        let Some(row) = conv.window.at(0, h, ky, conv.input.h) else { continue };
        for kx in 0..kw {
            let Some(column) = conv.window.at(1, w, kx, conv.input.w) else { continue };
            for c in 0..in_c {
                let q = bytes[index(conv.input, row, column, first + c)];
                let weight = conv.weights[((o * in_c + c) * kh + ky) * kw + kx];
                sum += (i32::from(q) - i32::from(x.quant.zero)) * i32::from(weight);
            }
        }
    }
    sum
}

fn quantize(x: &[f32], y: &Activation) -> Vec<u8> {
    let mut bytes = vec![0; x.len()];
    x.iter().zip(y.layout.positions()).for_each(|(&x, at)| bytes[at] = y.quant.quantize(x));
    bytes
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
