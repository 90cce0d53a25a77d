//! What a node computes. Tensors carry a batch axis in front that no field counts: an image is `[C, H, W]` here, a
//! row of tokens `[N, C]`, and axis 0 of an image is its channels.

use crate::Resample;
use serde::{Deserialize, Serialize};

/// The source of each is the ONNX operator named beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Op {
    /// ONNX `Conv`. Parameters `weight [O, I / groups, kH, kW]`, and `bias [O]` when `bias`.
    Conv2d {
        in_channels: usize,
        out_channels: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        /// Top, left, bottom, right.
        padding: [usize; 4],
        dilation: [usize; 2],
        groups: usize,
        bias: bool,
    },
    /// ONNX `ConvTranspose`. Parameters `weight [I, O / groups, kH, kW]`, and `bias [O]` when `bias`.
    ConvTranspose2d {
        in_channels: usize,
        out_channels: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        /// What is cut off the result: top, left, bottom, right.
        padding: [usize; 4],
        /// Rows and columns added to the result at the bottom and the right.
        output_padding: [usize; 2],
        dilation: [usize; 2],
        groups: usize,
        bias: bool,
    },
    /// ONNX `BatchNormalization`. Parameters `weight, bias, running_mean, running_var [C]`.
    BatchNorm2d { channels: usize, eps: f64 },
    /// ONNX `GroupNormalization` of opset 21; `InstanceNormalization` where every channel is a group.
    /// Parameters `weight, bias [C]`.
    GroupNorm { groups: usize, channels: usize, eps: f64 },
    /// ONNX `LayerNormalization` along the last axis. Parameters `weight, bias [C]`.
    LayerNorm { channels: usize, eps: f64 },
    /// ONNX `Relu`.
    Relu,
    /// ONNX `Clip` to `[0, 6]`.
    Relu6,
    /// ONNX `LeakyRelu`: `x` where it is positive, `slope · x` elsewhere; the slope lies between 0 and 1.
    LeakyRelu { slope: f32 },
    /// A function of one number, applied to each.
    Unary { function: Unary },
    /// ONNX `Add` of two tensors; a side of 1 is repeated.
    Add,
    /// ONNX `Sub`, as `Add`.
    Sub,
    /// ONNX `Mul`, as `Add`: a gate `[C, 1, 1]` on an image is one.
    Mul,
    /// ONNX `Concat` along an axis.
    Concat { axis: usize },
    /// ONNX `Slice` along an axis: `start`, `start + step`, … below `end`.
    Slice { axis: usize, start: usize, end: usize, step: usize },
    /// ONNX `Pad` of rows and columns with one number: top, left, bottom, right.
    Pad { padding: [usize; 4], value: f32 },
    /// ONNX `MaxPool`; padding never wins.
    MaxPool2d {
        kernel: [usize; 2],
        stride: [usize; 2],
        /// Top, left, bottom, right.
        padding: [usize; 4],
        dilation: [usize; 2],
    },
    /// ONNX `AveragePool`; padding counts, as zeros, where `count_padding`.
    AvgPool2d {
        kernel: [usize; 2],
        stride: [usize; 2],
        /// Top, left, bottom, right.
        padding: [usize; 4],
        count_padding: bool,
    },
    /// ONNX `GlobalAveragePool` + `Flatten`: `[B, C, H, W]` → `[B, C]`.
    GlobalAvgPool,
    /// ONNX `ReduceMean` along an axis, which goes: `[B, N, C]` → `[B, C]`.
    Mean { axis: usize },
    /// CLIP's attention pool: `[B, C, H, W]` → `[B, C]`, query = mean token, `H·W = tokens`.
    /// Parameters `positional_embedding [tokens + 1, C]` and `{q,k,v,c}_proj.{weight,bias}`.
    AttentionPool2d { channels: usize, heads: usize, tokens: usize },
    /// ONNX `Resize`, nearest (`asymmetric`, `floor`), by a whole factor.
    UpsampleNearest { factor: usize },
    /// ONNX `Resize` of rows and columns to a size: each output is read from where [`Resample`] says.
    Resize { size: [usize; 2], resample: Resample },
    /// ONNX `Gemm` along the last axis, `[B, …, in]` → `[B, …, out]`. Parameters `weight [out, in]`, `bias [out]`.
    Linear { in_features: usize, out_features: usize },
    /// ONNX `Reshape`: the same values in the same order; `shape` without the batch axis.
    Reshape { shape: Vec<usize> },
    /// ONNX `Transpose`: axis `i` of the result is axis `order[i]` of the input.
    Transpose { order: Vec<usize> },
    /// A tensor that no input changes, such as a class token. Parameter `constant`, of this shape.
    Constant { shape: Vec<usize> },
    /// ONNX `Add` of a constant, such as a table of positions; sides of 1 are repeated. Parameter `constant`.
    AddConstant { shape: Vec<usize> },
    /// ONNX `Mul` by a constant, as `AddConstant`.
    MulConstant { shape: Vec<usize> },
    /// ONNX `MatMul` of two activations: `[B, …, M, K]`, `[B, …, K, N]` → `[B, …, M, N]`.
    MatMul,
    /// ONNX `Softmax` along the last axis.
    Softmax,
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unary {
    /// ONNX `Sigmoid`.
    Sigmoid,
    /// ONNX `Tanh`.
    Tanh,
    /// ONNX `Swish`: `x · sigmoid(x)`.
    Silu,
    /// ONNX `HardSigmoid`: `alpha · x + beta`, between 0 and 1.
    HardSigmoid { alpha: f32, beta: f32 },
    /// ONNX `HardSwish`: `x · hard-sigmoid(x)` with 1/6 and 1/2.
    HardSwish,
    /// ONNX `Gelu`: `x · Φ(x)`.
    Gelu,
    /// ONNX `Gelu` with `approximate = tanh`.
    GeluTanh,
    /// ONNX `Elu`.
    Elu { alpha: f32 },
    /// ONNX `Softplus`.
    Softplus,
    /// ONNX `Mish`.
    Mish,
    /// ONNX `Clip`.
    Clip { lo: f32, hi: f32 },
}

impl Op {
    /// A square convolution of equal strides and borders, without dilation.
    pub fn conv2d(
        [in_channels, out_channels]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
        groups: usize,
        bias: bool,
    ) -> Self {
        Self::Conv2d {
            in_channels,
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 4],
            dilation: [1; 2],
            groups,
            bias,
        }
    }

    /// A square maximum of equal strides and borders.
    pub fn max_pool2d(kernel: usize, stride: usize, padding: usize) -> Self {
        Self::MaxPool2d {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 4],
            dilation: [1; 2],
        }
    }
}
