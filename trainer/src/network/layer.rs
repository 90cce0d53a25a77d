//! A node of the graph with its weights.

use super::{AttentionPool, BatchNorm, images, leaky_relu};
use crate::init;
use graph::{Node, Op, Resample, Unary};
use std::rc::Rc;
use tch::{Tensor, nn};
use torch_ext::Group;

/// Sizes are `[rows, columns]`, borders `[top, left, bottom, right]`.
#[derive(Debug)]
pub(super) enum Layer {
    Conv(images::Convolution),
    ConvTranspose { layer: images::Convolution, output_padding: [i64; 2] },
    BatchNorm(BatchNorm),
    GroupNorm { groups: i64, weight: Tensor, bias: Tensor, eps: f64 },
    TokenNorm { weight: Tensor, bias: Tensor, eps: f64 },
    Relu,
    Relu6,
    LeakyRelu { slope: f64 },
    Unary(Unary),
    Add,
    Sub,
    Mul,
    Concat { axis: i64 },
    Slice { axis: i64, start: i64, end: i64, step: i64 },
    Pad { padding: [i64; 4], value: f64 },
    MaxPool { kernel: [i64; 2], stride: [i64; 2], padding: [i64; 4], dilation: [i64; 2] },
    AvgPool { kernel: [i64; 2], stride: [i64; 2], padding: [i64; 4], count_padding: bool },
    GlobalAvgPool,
    Mean { axis: i64 },
    AttentionPool(AttentionPool),
    Upsample { factor: i64 },
    Resize { size: [usize; 2], resample: Resample },
    Linear(nn::Linear),
    Reshape { shape: Vec<i64> },
    Transpose { order: Vec<i64> },
    Constant(Tensor),
    AddConstant(Tensor),
    MulConstant(Tensor),
    MatMul,
    Softmax,
}

impl Layer {
    pub(super) fn new(p: &nn::Path<'_>, node: &Node, group: Option<&Rc<Group>>) -> Self {
        let size = |n: usize| n as i64;
        let norm = |channels: usize| {
            let shape = [size(channels)];
            (p.ones("weight", &shape), p.zeros("bias", &shape))
        };
        let constant = |shape: &[usize], ones: bool| {
            let shape: Vec<i64> = shape.iter().map(|&n| size(n)).collect();
            if ones { p.ones("constant", &shape) } else { p.zeros("constant", &shape) }
        };
        match &node.op {
            Op::Conv2d { .. } => Self::Conv(images::Convolution::new(p, node)),
            Op::ConvTranspose2d { output_padding, .. } => Self::ConvTranspose {
                layer: images::Convolution::new(p, node),
                output_padding: output_padding.map(size),
            },
            Op::BatchNorm2d { channels, eps } => {
                Self::BatchNorm(BatchNorm::new(p, size(*channels), *eps, group))
            }
            Op::GroupNorm { groups, channels, eps } => {
                let (weight, bias) = norm(*channels);
                Self::GroupNorm { groups: size(*groups), weight, bias, eps: *eps }
            }
            Op::LayerNorm { channels, eps } => {
                let (weight, bias) = norm(*channels);
                Self::TokenNorm { weight, bias, eps: *eps }
            }
            Op::Relu => Self::Relu,
            Op::Relu6 => Self::Relu6,
            Op::LeakyRelu { slope } => Self::LeakyRelu { slope: f64::from(*slope) },
            Op::Unary { function } => Self::Unary(*function),
            Op::Add => Self::Add,
            Op::Sub => Self::Sub,
            Op::Mul => Self::Mul,
            Op::Concat { axis } => Self::Concat { axis: size(axis + 1) },
            Op::Slice { axis, start, end, step } => {
                let [axis, start, end, step] = [axis + 1, *start, *end, *step].map(size);
                Self::Slice { axis, start, end, step }
            }
            Op::Pad { padding, value } => {
                Self::Pad { padding: padding.map(size), value: f64::from(*value) }
            }
            Op::MaxPool2d { kernel, stride, padding, dilation } => Self::MaxPool {
                kernel: kernel.map(size),
                stride: stride.map(size),
                padding: padding.map(size),
                dilation: dilation.map(size),
            },
            Op::AvgPool2d { kernel, stride, padding, count_padding } => Self::AvgPool {
                kernel: kernel.map(size),
                stride: stride.map(size),
                padding: padding.map(size),
                count_padding: *count_padding,
            },
            Op::GlobalAvgPool => Self::GlobalAvgPool,
            Op::Mean { axis } => Self::Mean { axis: size(axis + 1) },
            Op::AttentionPool2d { channels, heads, tokens } => {
                let pool =
                    AttentionPool::new(p, size(*channels), size(*heads), Some(size(*tokens)));
                Self::AttentionPool(pool)
            }
            Op::UpsampleNearest { factor } => Self::Upsample { factor: size(*factor) },
            Op::Resize { size, resample } => Self::Resize { size: *size, resample: *resample },
            Op::Linear { in_features, out_features } => {
                let (from, to) = (size(*in_features), size(*out_features));
                Self::Linear(init::linear(p, from, to))
            }
            Op::Reshape { shape } => Self::Reshape {
                shape: [-1].into_iter().chain(shape.iter().map(|&n| size(n))).collect(),
            },
            Op::Transpose { order } => Self::Transpose {
                order: [0].into_iter().chain(order.iter().map(|&axis| size(axis + 1))).collect(),
            },
            Op::Constant { shape } => Self::Constant(constant(shape, false)),
            Op::AddConstant { shape } => Self::AddConstant(constant(shape, false)),
            Op::MulConstant { shape } => Self::MulConstant(constant(shape, true)),
            Op::MatMul => Self::MatMul,
            Op::Softmax => Self::Softmax,
        }
    }

    /// `batch` images are on their way; a constant is repeated for each.
    pub(super) fn forward(&self, x: &[&Tensor], batch: i64, train: bool, in_place: bool) -> Tensor {
        match self {
            Self::Conv(layer) => layer.forward(x[0]),
            Self::ConvTranspose { layer, output_padding } => {
                layer.transposed(x[0], *output_padding)
            }
            Self::BatchNorm(norm) => norm.forward(x[0], train),
            Self::GroupNorm { groups, weight, bias, eps } => {
                x[0].group_norm(*groups, Some(weight), Some(bias), *eps, false)
            }
            Self::TokenNorm { weight, bias, eps } => {
                x[0].layer_norm(weight.size(), Some(weight), Some(bias), *eps, false)
            }
            Self::Relu if in_place => x[0].shallow_clone().relu_(),
            Self::Relu => x[0].relu(),
            Self::Relu6 => x[0].clamp(0.0, 6.0),
            Self::LeakyRelu { slope } => leaky_relu(x[0], *slope),
            Self::Unary(function) => unary(x[0], *function),
            Self::Add if in_place && x[0].size() == x[1].size() => {
                x[0].shallow_clone().g_add_(x[1])
            }
            Self::Add => x[0] + x[1],
            Self::Sub => x[0] - x[1],
            Self::Mul => x[0] * x[1],
            Self::Concat { axis } => Tensor::cat(x, *axis),
            Self::Slice { axis, start, end, step } => x[0].slice(*axis, *start, *end, *step),
            Self::Pad { padding, value } => images::pad(x[0], *padding, *value),
            Self::MaxPool { kernel, stride, padding, dilation } => {
                let (x, padding) = images::even(x[0], *padding, f64::NEG_INFINITY);
                x.max_pool2d(*kernel, *stride, padding, *dilation, false)
            }
            Self::AvgPool { kernel, stride, padding, count_padding } => {
                images::average(x[0], *kernel, *stride, *padding, *count_padding)
            }
            Self::GlobalAvgPool => x[0].mean_dim([2_i64, 3].as_slice(), false, None),
            Self::Mean { axis } => x[0].mean_dim(*axis, false, None),
            Self::AttentionPool(pool) => pool.forward(&x[0].flatten(2, 3).transpose(1, 2), None),
            Self::Upsample { factor } => {
                let (_, _, h, w) = x[0].size4().expect("images are [B, C, H, W]");
                x[0].upsample_nearest2d([h * factor, w * factor], None, None)
            }
            Self::Resize { size, resample } => images::resize(x[0], *size, resample),
            Self::Linear(linear) => x[0].apply(linear),
            Self::Reshape { shape } => x[0].reshape(shape.as_slice()),
            Self::Transpose { order } => x[0].permute(order.as_slice()),
            Self::Constant(constant) => {
                constant.unsqueeze(0).repeat_interleave_self_int(batch, 0, None)
            }
            Self::AddConstant(constant) => x[0] + constant,
            Self::MulConstant(constant) => x[0] * constant,
            Self::MatMul => x[0].matmul(x[1]),
            Self::Softmax => x[0].softmax(-1, None),
        }
    }
}

fn unary(x: &Tensor, function: Unary) -> Tensor {
    match function {
        Unary::Sigmoid => x.sigmoid(),
        Unary::Tanh => x.tanh(),
        Unary::Silu => x.silu(),
        Unary::HardSigmoid { alpha, beta } => {
            (x * f64::from(alpha) + f64::from(beta)).clamp(0.0, 1.0)
        }
        Unary::HardSwish => x.hardswish(),
        Unary::Gelu => x.gelu("none"),
        Unary::GeluTanh => x.gelu("tanh"),
        Unary::Elu { alpha } => {
            let below = x.clamp_max(0.0).expm1() * f64::from(alpha);
            x.clamp_min(0.0) + below
        }
        Unary::Softplus => x.softplus(),
        Unary::Mish => x.mish(),
        Unary::Clip { lo, hi } => x.clamp(f64::from(lo), f64::from(hi)),
    }
}
