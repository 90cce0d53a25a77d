//! The deployed network as an ONNX file, in float or quantized (QDQ).
//!
//! Both writers share [`operator`], the one place that maps an operation to ONNX.

mod attention;
mod builder;
mod float;
mod qdq;

pub(crate) use builder::{Batch, OPSET};
pub(crate) use float::float_model;
pub(crate) use qdq::quantized_model;

use builder::{Attr, Builder};
use graph::{Node, Op};

/// Appends the ONNX node that computes `node` from `inputs` (parameters included) into `output`.
///
/// What ONNX needs several nodes for (normalisation, pools to vectors) is the callers'.
fn operator(onnx: &mut Builder, node: &Node, inputs: &[&str], output: &str) {
    let name = node.name.as_str();
    match &node.op {
        Op::Conv2d { kernel, stride, padding, groups, .. } => {
            let attributes = [
                ("kernel_shape", ints(&kernel[..])),
                ("strides", ints(&[*stride; 2])),
                ("pads", ints(&[*padding; 4])),
                ("dilations", ints(&[1; 2])),
                ("group", Attr::Int(*groups as i64)),
            ];
            onnx.node("Conv", name, inputs, output, &attributes);
        }
        Op::BatchNorm2d { .. } | Op::AttentionPool2d { .. } | Op::GlobalAvgPool => {
            unreachable!("{name} is written by its caller")
        }
        Op::Relu => onnx.node("Relu", name, inputs, output, &[]),
        Op::Relu6 => {
            let (lo, hi) = (format!("{name}.min"), format!("{name}.max"));
            onnx.f32(&lo, &[], &[0.0]);
            onnx.f32(&hi, &[], &[6.0]);
            onnx.node("Clip", name, &[inputs[0], &lo, &hi], output, &[]);
        }
        Op::LeakyRelu { slope } => {
            onnx.node("LeakyRelu", name, inputs, output, &[("alpha", Attr::Float(*slope))]);
        }
        Op::Add => onnx.node("Add", name, inputs, output, &[]),
        Op::Concat => onnx.node("Concat", name, inputs, output, &[("axis", Attr::Int(1))]),
        Op::MaxPool2d { kernel, stride, padding } => {
            let attributes = [
                ("kernel_shape", ints(&[*kernel; 2])),
                ("strides", ints(&[*stride; 2])),
                ("pads", ints(&[*padding; 4])),
            ];
            onnx.node("MaxPool", name, inputs, output, &attributes);
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
        Op::Linear { .. } => onnx.node("Gemm", name, inputs, output, &[("transB", Attr::Int(1))]),
        Op::Reshape { shape } => {
            // 0 keeps the batch, whatever it is.
            let to: Vec<i64> = [0].into_iter().chain(shape.iter().map(|&n| n as i64)).collect();
            let constant = format!("{name}.shape");
            onnx.i64(&constant, &[to.len()], &to);
            onnx.node("Reshape", name, &[inputs[0], &constant], output, &[]);
        }
        Op::Transpose => {
            onnx.node("Transpose", name, inputs, output, &[("perm", ints(&[0, 2, 1]))]);
        }
        Op::Append => onnx.node("Concat", name, inputs, output, &[("axis", Attr::Int(2))]),
        Op::AddConstant { .. } => onnx.node("Add", name, inputs, output, &[]),
        Op::MatMul => onnx.node("MatMul", name, inputs, output, &[]),
        Op::Softmax => onnx.node("Softmax", name, inputs, output, &[("axis", Attr::Int(-1))]),
    }
}

fn ints(values: &[usize]) -> Attr<'static> {
    Attr::Ints(values.iter().map(|&x| x as i64).collect())
}
