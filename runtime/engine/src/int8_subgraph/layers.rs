//! Steps of the network as kernels, their weights packed.

use super::images::{ImageKernel, conv_weights};
use super::{ConcatInput, FloatKernel, Layer, LayerInfo, LayerKernel};
use crate::EngineError;
use crate::fuse::Fused;
use crate::layout::{Axis, Layout, pairs};
use crate::quantized::{
    Activation, Conv, Op, Piece, Quantized, Shape, Source, Step, Table, Window,
};
use kernels::{
    Add, AvgPool, Between, Bilinear, ConvSpec, CopyAxis, Isa, LayerNorm, Lookup, MatMul,
    MatMulSpec, MaxPool, Nearest, PoolSpec, Rearrange, Residual, Softmax, SpecError,
};

pub(super) fn layer(net: &Quantized, fused: &Fused<'_>, isa: Isa) -> Result<Layer, EngineError> {
    let step = fused.step;
    let shape = net.activations[fused.output()].shape;
    let (kernel, kind) = kernel(net, fused, isa).map_err(|error| EngineError::Node {
        node: step.name.clone(),
        op: op_name(&step.op).to_owned(),
        reason: error.to_string(),
    })?;
    let packed_bytes = match &kernel {
        LayerKernel::Conv { conv, .. } => conv.packed_bytes() as u64,
        LayerKernel::Image(image) => image.packed_bytes() as u64,
        _ => 0,
    };
    let info = LayerInfo {
        name: fused.name(),
        kind,
        output: [shape.c, shape.h, shape.w],
        macs: step.macs(&net.activations),
        packed_bytes,
    };
    Ok(Layer { info, kernel, inputs: fused.inputs().collect(), output: fused.output() })
}

fn kernel(
    net: &Quantized,
    fused: &Fused<'_>,
    isa: Isa,
) -> Result<(LayerKernel, String), SpecError> {
    let step = fused.step;
    let activation = |at: usize| &net.activations[step.inputs[at]];
    let y = &net.activations[step.output];
    let (shape, quant) = (y.shape, y.quant);
    let out_stride = net.activations[fused.memory()].shape.c;
    let zeros = |x: &Activation| [x.quant.zero, quant.zero];
    let clamp = || {
        let full = step.clamp == [0, 255];
        (!full).then(|| Lookup::new(isa, *quant.table(quant, step.clamp, |x| x)))
    };
    let lookup = |table: &Option<Table>| table.as_ref().map(|table| Lookup::new(isa, **table));
    let mut kind = op_name(&step.op).to_owned();
    let kernel = match &step.op {
        Op::Quantize(input) => LayerKernel::Quantize { input: *input, channels: planes(y), isa },
        Op::Conv(conv) => {
            let residual = fused.add.map(|(add, residual)| residual_of(net, step, add, residual));
            let x = activation(0);
            let scale = conv.multipliers(x.quant, quant);
            let weights = conv_weights(conv, &scale, x.quant.zero, quant.zero, step.clamp);
            let spec = ConvSpec { out_stride, ..conv_spec(conv) };
            let conv = kernels::Conv::pack(isa, &spec, weights, residual)?;
            kind = conv_kind(&spec, residual.is_some());
            let table = fused.table.and_then(|step| match &step.op {
                Op::Table(table) => Some(Lookup::new(isa, **table)),
                _ => None,
            });
            if table.is_some() {
                kind = kind.replacen("conv", "conv+table", 1);
            }
            LayerKernel::Conv { conv: Box::new(conv), residual: residual.is_some(), table }
        }
        Op::Add => {
            let (a, b) = (activation(0).quant, activation(1).quant);
            let ratios = [a.scale / quant.scale, b.scale / quant.scale];
            LayerKernel::Add(Add::new(isa, ratios, [a.zero, b.zero, quant.zero], step.clamp)?)
        }
        Op::Concat(tables) => {
            if fused.nearest.iter().any(Option::is_some) {
                kind = "nearest+concat".into();
            }
            let part = |at: usize| {
                let first = (0..at).map(|before| activation(before).shape.c).sum();
                let table = &tables[at];
                Ok(match fused.nearest[at] {
                    Some(before @ Step { op: Op::Nearest { table: own }, .. }) => ConcatInput {
                        first,
                        nearest: Some(upsampling(net, before, shape.c)?),
                        table: lookup(&both(own, table)),
                    },
                    _ => ConcatInput { first, nearest: None, table: lookup(table) },
                })
            };
            LayerKernel::Concat(fused.read().map(part).collect::<Result<_, SpecError>>()?)
        }
        Op::MaxPool { window, table } => LayerKernel::MaxPool(
            MaxPool::new(isa, pool_spec(window, activation(0).shape, out_stride))?,
            lookup(table),
        ),
        Op::AvgPool { window, counted } => {
            let x = activation(0);
            let spec = pool_spec(window, x.shape, out_stride);
            let ratio = x.quant.scale / quant.scale;
            LayerKernel::AvgPool(AvgPool::new(isa, spec, ratio, zeros(x), *counted)?, clamp())
        }
        Op::Nearest { table } => {
            LayerKernel::Nearest(upsampling(net, step, shape.c)?, lookup(table))
        }
        Op::Bilinear => {
            let x = activation(0);
            let between = [(x.shape.h, shape.h), (x.shape.w, shape.w)];
            let between = between.map(|(from, to)| Between::centres(from, to));
            let (from, c, ratio) = ([x.shape.h, x.shape.w], shape.c, x.quant.scale / quant.scale);
            let bilinear = Bilinear::new(isa, from, between, c, [c, c], ratio, zeros(x))?;
            LayerKernel::Bilinear(bilinear, clamp())
        }
        Op::Image(op) => LayerKernel::Image(ImageKernel::new(op, step, &net.activations, isa)?),
        Op::Table(table) => LayerKernel::Table(Lookup::new(isa, **table)),
        Op::AddConstant { values, quant: b } => {
            let a = activation(0).quant;
            let ratios = [a.scale / quant.scale, b.scale / quant.scale];
            let add = Add::new(isa, ratios, [a.zero, b.zero, quant.zero], step.clamp)?;
            LayerKernel::AddConstant(add, values.clone())
        }
        Op::Constant(bytes) => LayerKernel::Constant(bytes.clone()),
        Op::Copy(pieces) => {
            kind = if pieces.len() == 1 { "copy" } else { "append" }.into();
            let copies = pieces.iter().map(|piece| copy_of(piece, lookup(&piece.table)));
            LayerKernel::Copy(copies.collect::<Result<_, _>>()?)
        }
        Op::MatMul { spec, factor } => {
            let (a, b) = (activation(0).quant, activation(1).quant);
            let zeros = [a.zero, b.zero, quant.zero];
            kind = product_kind("matmul", spec);
            let ratio = a.scale * b.scale * factor / quant.scale;
            LayerKernel::MatMul(MatMul::new(isa, *spec, ratio, zeros)?, clamp())
        }
        Op::LayerNorm(norm) => {
            let spec = norm.spec(activation(0).quant, quant, step.clamp);
            LayerKernel::LayerNorm(LayerNorm::new(isa, spec)?)
        }
        Op::Softmax { columns } => {
            let (x, zero) = (activation(0).quant, quant.zero);
            let softmax = Softmax::new(isa, *columns, x.scale, libm::exp, quant.scale, zero)?;
            LayerKernel::Softmax(softmax, clamp())
        }
        Op::MatMulSoftmax { spec, factor } => {
            let (a, b) = (activation(0).quant, activation(1).quant);
            let zeros = [a.zero, b.zero, quant.zero];
            let scale = a.scale * b.scale * factor;
            kind = product_kind("matmul+softmax", spec);
            let shares = MatMul::shares(isa, *spec, scale, libm::exp, quant.scale, zeros)?;
            LayerKernel::MatMul(shares, clamp())
        }
    };
    Ok((kernel, kind))
}

pub(super) fn float_kernel(
    net: &Quantized,
    source: &Source,
    isa: Isa,
) -> Result<FloatKernel, EngineError> {
    let (input, conv) = match source {
        Source::Dequantize(at) => {
            let channels = planes(&net.activations[*at]);
            return Ok(FloatKernel::Dequantize { at: *at, channels });
        }
        Source::Accumulators { input, conv } => (*input, conv),
    };
    let x = &net.activations[input];
    let scale = conv.scales(x.quant);
    let weights = conv_weights(conv, &scale, x.quant.zero, 0, [0, 255]);
    let spec = conv_spec(conv);
    let packed = kernels::Conv::pack(isa, &spec, weights, None).map_err(|error| {
        EngineError::Node { node: conv.name.clone(), op: "Conv".into(), reason: error.to_string() }
    })?;
    let info = LayerInfo {
        name: conv.name.clone(),
        kind: format!("{} to float", conv_kind(&spec, false)),
        output: [spec.out_channels, spec.out_h(), spec.out_w()],
        macs: packed.macs(),
        packed_bytes: packed.packed_bytes() as u64,
    };
    Ok(FloatKernel::Accumulators { input, conv: Box::new(packed), info })
}

/// Channels of which floats in ONNX's order have planes: one where that is memory's order, too.
pub(super) fn planes(activation: &Activation) -> usize {
    let layout = &activation.layout;
    if layout.lies_as(&Layout::dense(&layout.dims)) { 1 } else { activation.shape.c }
}

fn copy_of(piece: &Piece, table: Option<Lookup>) -> Result<Rearrange, SpecError> {
    let pairs = pairs(&piece.from, &piece.to).expect("the reader only copies between such");
    let axis = |(from, to): &(Axis, Axis)| CopyAxis { len: to.len, x: from.stride, y: to.stride };
    let axes: Vec<CopyAxis> = pairs.iter().map(axis).collect();
    Rearrange::new(&axes, [piece.from.offset(), piece.to.offset()], table)
}

fn product_kind(name: &str, spec: &MatMulSpec) -> String {
    let MatMulSpec { batch: [outer, inner], rows, depth, columns, .. } = spec;
    let stack = if outer * inner > 1 { format!("{} of ", outer * inner) } else { String::new() };
    format!("{name} {stack}{rows}x{depth}x{columns}")
}

/// Upsampling into pixels of `channels`.
fn upsampling(net: &Quantized, step: &Step, channels: usize) -> Result<Nearest, SpecError> {
    let [x, y] = [step.inputs[0], step.output].map(|at| net.activations[at].shape);
    Nearest::new([x.h, x.w], [y.h, y.w], x.c, [x.c, channels])
}

/// One table, then the other.
fn both(first: &Option<Table>, second: &Option<Table>) -> Option<Table> {
    let (Some(first), Some(second)) = (first, second) else {
        return first.clone().or_else(|| second.clone());
    };
    Some(Box::new(first.map(|q| second[usize::from(q)])))
}

fn residual_of(net: &Quantized, conv: &Step, add: &Step, residual: usize) -> Residual {
    let (c, r) = (net.activations[conv.output].quant, net.activations[residual].quant);
    let y = &net.activations[add.output];
    Residual {
        conv_ratio: c.scale / y.quant.scale,
        ratio: r.scale / y.quant.scale,
        zero: r.zero,
        out_zero: y.quant.zero,
        lo: add.clamp[0],
        hi: add.clamp[1],
        stride: y.shape.c,
    }
}

fn conv_spec(conv: &Conv) -> ConvSpec {
    let x = conv.input;
    ConvSpec {
        in_channels: x.c,
        out_channels: conv.out_c,
        groups: conv.groups,
        kernel: conv.window.kernel,
        stride: conv.window.stride,
        padding: conv.window.pad,
        dilation: conv.window.dilation,
        in_h: x.h,
        in_w: x.w,
        in_stride: x.c,
        out_stride: conv.out_c,
    }
}

fn pool_spec(window: &Window, x: Shape, out_stride: usize) -> PoolSpec {
    PoolSpec {
        channels: x.c,
        kernel: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        padding: window.pad,
        in_h: x.h,
        in_w: x.w,
        in_stride: x.c,
        out_stride,
    }
}

fn conv_kind(spec: &ConvSpec, residual: bool) -> String {
    let [h, w] = spec.kernel;
    let add = if residual { "+add" } else { "" };
    let groups = if spec.groups > 1 { format!(" g{}", spec.groups) } else { String::new() };
    format!("conv{add} {h}x{w}/{}{groups}", spec.stride[0])
}

fn op_name(op: &Op) -> &'static str {
    match op {
        Op::Quantize(_) => "quantize",
        Op::Conv(_) => "conv",
        Op::Add => "add",
        Op::Concat(_) => "concat",
        Op::MaxPool { .. } => "max-pool",
        Op::AvgPool { .. } => "avg-pool",
        Op::Nearest { .. } => "nearest",
        Op::Bilinear => "bilinear",
        Op::Table(_) => "table",
        Op::Image(op) => op.name(),
        Op::AddConstant { .. } => "add-constant",
        Op::LayerNorm(_) => "layer-norm",
        Op::Copy(_) => "copy",
        Op::Constant(_) => "constant",
        Op::MatMul { .. } => "matmul",
        Op::Softmax { .. } => "softmax",
        Op::MatMulSoftmax { .. } => "matmul+softmax",
    }
}
