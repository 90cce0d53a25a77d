//! An operation as ONNX nodes.

use super::builder::{Attr, Builder, OPSET};
use graph::{Coordinates, Filter, Graph, Node, Op, Resample, Unary};

/// The operator set a network needs: [`OPSET`], or that of its newest operator.
pub(super) fn opset(graph: &Graph) -> i64 {
    let needs = |node: &Node| match &node.op {
        // Since then a channel has a gain of its own, not a group.
        Op::GroupNorm { .. } => 21,
        Op::Unary { function: Unary::Gelu | Unary::GeluTanh } => 20,
        Op::Unary { function: Unary::Mish } => 18,
        Op::Resize { resample, .. } if resample.coordinates == Coordinates::HalfPixelSymmetric => {
            19
        }
        _ => OPSET,
    };
    graph.nodes.iter().map(needs).fold(OPSET, i64::max)
}

/// Appends the nodes that compute `node` from `inputs` (parameters included) into `output`.
///
/// The callers' are: normalisations of batches, pools to vectors, attention pools, constants without an input.
pub(super) fn write(onnx: &mut Builder, node: &Node, inputs: &[&str], output: &str) {
    let name = node.name.as_str();
    match &node.op {
        Op::BatchNorm2d { .. }
        | Op::AttentionPool2d { .. }
        | Op::GlobalAvgPool
        | Op::Constant { .. } => unreachable!("{name} is written by its caller"),
        Op::Conv2d { kernel, stride, padding, dilation, groups, .. } => {
            let mut attributes = window(*kernel, *stride, *padding);
            attributes.push(("dilations", ints(dilation)));
            attributes.push(("group", Attr::Int(*groups as i64)));
            onnx.node("Conv", name, inputs, output, &attributes);
        }
        Op::ConvTranspose2d {
            kernel, stride, padding, output_padding, dilation, groups, ..
        } => {
            let mut attributes = window(*kernel, *stride, *padding);
            attributes.push(("dilations", ints(dilation)));
            attributes.push(("group", Attr::Int(*groups as i64)));
            attributes.push(("output_padding", ints(output_padding)));
            onnx.node("ConvTranspose", name, inputs, output, &attributes);
        }
        Op::MaxPool2d { kernel, stride, padding, dilation } => {
            let mut attributes = window(*kernel, *stride, *padding);
            if *dilation != [1; 2] {
                attributes.push(("dilations", ints(dilation)));
            }
            onnx.node("MaxPool", name, inputs, output, &attributes);
        }
        Op::AvgPool2d { kernel, stride, padding, count_padding } => {
            let mut attributes = window(*kernel, *stride, *padding);
            attributes.push(("count_include_pad", Attr::Int((*count_padding).into())));
            onnx.node("AveragePool", name, inputs, output, &attributes);
        }
        Op::Relu => onnx.node("Relu", name, inputs, output, &[]),
        Op::Relu6 => clip(onnx, name, inputs[0], [0.0, 6.0], output),
        Op::LeakyRelu { slope } => {
            onnx.node("LeakyRelu", name, inputs, output, &[("alpha", Attr::Float(*slope))]);
        }
        Op::Unary { function } => unary(onnx, name, *function, inputs[0], output),
        Op::Add | Op::AddConstant { .. } => onnx.node("Add", name, inputs, output, &[]),
        Op::Sub => onnx.node("Sub", name, inputs, output, &[]),
        Op::Mul | Op::MulConstant { .. } => onnx.node("Mul", name, inputs, output, &[]),
        Op::Concat { axis } => {
            onnx.node("Concat", name, inputs, output, &[("axis", Attr::Int(*axis as i64 + 1))]);
        }
        Op::Slice { axis, start, end, step } => {
            slice(onnx, name, inputs[0], [*axis, *start, *end, *step], output)
        }
        Op::Pad { padding, value } => pad(onnx, name, inputs[0], *padding, *value, output),
        Op::GroupNorm { groups, eps, .. } => {
            let attributes =
                [("num_groups", Attr::Int(*groups as i64)), ("epsilon", Attr::Float(*eps as f32))];
            onnx.node("GroupNormalization", name, inputs, output, &attributes);
        }
        Op::LayerNorm { eps, .. } => {
            let attributes = [("axis", Attr::Int(-1)), ("epsilon", Attr::Float(*eps as f32))];
            onnx.node("LayerNormalization", name, inputs, output, &attributes);
        }
        Op::Mean { axis } => {
            let keep = ("keepdims", Attr::Int(0));
            if onnx.opset() < 18 {
                let attributes = [("axes", ints(&[axis + 1])), keep];
                return onnx.node("ReduceMean", name, inputs, output, &attributes);
            }
            let axes = format!("{name}.axes");
            onnx.i64(&axes, &[1], &[*axis as i64 + 1]);
            onnx.node("ReduceMean", name, &[inputs[0], &axes], output, &[keep]);
        }
        Op::UpsampleNearest { factor } => {
            let scales = format!("{name}.scales");
            let factor = *factor as f32;
            onnx.f32(&scales, &[4], &[1.0, 1.0, factor, factor]);
            let attributes = [
                ("mode", Attr::Str("nearest")),
                ("coordinate_transformation_mode", Attr::Str("asymmetric")),
                ("nearest_mode", Attr::Str("floor")),
            ];
            onnx.node("Resize", name, &[inputs[0], "", &scales], output, &attributes);
        }
        Op::Resize { resample, .. } => resize(onnx, name, inputs[0], resample, output),
        Op::Linear { .. } => onnx.node("Gemm", name, inputs, output, &[("transB", Attr::Int(1))]),
        Op::Reshape { shape } => reshape(onnx, name, inputs[0], shape, output),
        Op::Transpose { order } => {
            let order: Vec<usize> =
                [0].into_iter().chain(order.iter().map(|axis| axis + 1)).collect();
            onnx.node("Transpose", name, inputs, output, &[("perm", ints(&order))]);
        }
        Op::MatMul => onnx.node("MatMul", name, inputs, output, &[]),
        Op::Softmax => onnx.node("Softmax", name, inputs, output, &[("axis", Attr::Int(-1))]),
    }
}

/// A linear layer on rows of tokens, which `Gemm` does not take: `inputs` are tokens, weights `[in, out]` and bias.
pub(super) fn linear_on_tokens(onnx: &mut Builder, name: &str, inputs: &[&str], output: &str) {
    let product = format!("{name}.product");
    onnx.node("MatMul", &product, &inputs[..2], &product, &[]);
    onnx.node("Add", name, &[&product, inputs[2]], output, &[]);
}

/// `[out, in]` as `[in, out]`.
pub(super) fn columns_first<T: Copy>(values: &[T], outputs: usize) -> Vec<T> {
    let inputs = values.len() / outputs.max(1);
    (0..values.len()).map(|at| values[at % outputs * inputs + at / outputs]).collect()
}

fn unary(onnx: &mut Builder, name: &str, function: Unary, x: &str, output: &str) {
    let gate = format!("{name}.gate");
    match function {
        Unary::Sigmoid => onnx.node("Sigmoid", name, &[x], output, &[]),
        Unary::Tanh => onnx.node("Tanh", name, &[x], output, &[]),
        Unary::Silu => {
            onnx.node("Sigmoid", &gate, &[x], &gate, &[]);
            onnx.node("Mul", name, &[x, &gate], output, &[]);
        }
        Unary::HardSigmoid { alpha, beta } => {
            let attributes = [("alpha", Attr::Float(alpha)), ("beta", Attr::Float(beta))];
            onnx.node("HardSigmoid", name, &[x], output, &attributes);
        }
        Unary::HardSwish => onnx.node("HardSwish", name, &[x], output, &[]),
        Unary::Gelu => {
            onnx.node("Gelu", name, &[x], output, &[]);
        }
        Unary::GeluTanh => {
            onnx.node("Gelu", name, &[x], output, &[("approximate", Attr::Str("tanh"))]);
        }
        Unary::Elu { alpha } => {
            onnx.node("Elu", name, &[x], output, &[("alpha", Attr::Float(alpha))])
        }
        Unary::Softplus => onnx.node("Softplus", name, &[x], output, &[]),
        Unary::Mish => {
            onnx.node("Mish", name, &[x], output, &[]);
        }
        Unary::Clip { lo, hi } => clip(onnx, name, x, [lo, hi], output),
    }
}

fn clip(onnx: &mut Builder, name: &str, x: &str, [lo, hi]: [f32; 2], output: &str) {
    let bounds = [("min", lo), ("max", hi)].map(|(part, value)| {
        let bound = format!("{name}.{part}");
        onnx.f32(&bound, &[], &[value]);
        bound
    });
    onnx.node("Clip", name, &[x, &bounds[0], &bounds[1]], output, &[]);
}

fn slice(
    onnx: &mut Builder,
    name: &str,
    x: &str,
    [axis, start, end, step]: [usize; 4],
    output: &str,
) {
    let parts = [("start", start), ("end", end), ("axis", axis + 1), ("step", step)];
    let names = parts.map(|(part, value)| {
        let constant = format!("{name}.{part}");
        onnx.i64(&constant, &[1], &[value as i64]);
        constant
    });
    let inputs: Vec<&str> = [x].into_iter().chain(names.iter().map(String::as_str)).collect();
    onnx.node("Slice", name, &inputs, output, &[]);
}

fn pad(onnx: &mut Builder, name: &str, x: &str, padding: [usize; 4], value: f32, output: &str) {
    let [top, left, bottom, right] = padding.map(|side| side as i64);
    let (pads, constant) = (format!("{name}.pads"), format!("{name}.value"));
    onnx.i64(&pads, &[8], &[0, 0, top, left, 0, 0, bottom, right]);
    onnx.f32(&constant, &[], &[value]);
    onnx.node("Pad", name, &[x, &pads, &constant], output, &[("mode", Attr::Str("constant"))]);
}

fn resize(onnx: &mut Builder, name: &str, x: &str, resample: &Resample, output: &str) {
    let scales = format!("{name}.scales");
    let [rows, columns] = resample.scale;
    onnx.f32(&scales, &[4], &[1.0, 1.0, rows, columns]);
    let coordinates = match resample.coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
        Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::Asymmetric => "asymmetric",
    };
    let nearest = match resample.filter {
        Filter::Linear => None,
        Filter::NearestRoundPreferFloor => Some("round_prefer_floor"),
        Filter::NearestRoundPreferCeil => Some("round_prefer_ceil"),
        Filter::NearestFloor => Some("floor"),
        Filter::NearestCeil => Some("ceil"),
    };
    let mode = if nearest.is_some() { "nearest" } else { "linear" };
    let mut attributes =
        vec![("mode", Attr::Str(mode)), ("coordinate_transformation_mode", Attr::Str(coordinates))];
    attributes.extend(nearest.map(|mode| ("nearest_mode", Attr::Str(mode))));
    onnx.node("Resize", name, &[x, "", &scales], output, &attributes);
}

fn reshape(onnx: &mut Builder, name: &str, x: &str, shape: &[usize], output: &str) {
    // 0 keeps the batch, whatever it is.
    let to: Vec<i64> = [0].into_iter().chain(shape.iter().map(|&n| n as i64)).collect();
    let constant = format!("{name}.shape");
    onnx.i64(&constant, &[to.len()], &to);
    onnx.node("Reshape", name, &[x, &constant], output, &[]);
}

fn window(
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
) -> Vec<(&'static str, Attr<'static>)> {
    vec![("kernel_shape", ints(&kernel)), ("strides", ints(&stride)), ("pads", ints(&padding))]
}

fn ints(values: &[usize]) -> Attr<'static> {
    Attr::Ints(values.iter().map(|&x| x as i64).collect())
}
