//! The deployed network as data: what it computes, not how.
//!
//! ```text
//! ModelConfig ── build ──▶ Graph ── three interpreters, one exhaustive `match` each
//!   (config.toml)            │        trainer   tch, autograd
//!                            │        exporter  candle, float reference and calibration
//!                            │        exporter  ONNX writer
//!                            └── params(): every name and shape, as in torchvision
//! ```
//!
//! A [`Graph`] is a list of [`Node`]s in execution order. A node's parameters are named
//! `{node}.{param}` (`layer1.0.conv1.weight`), so weights map one to one to torchvision's.

mod config;
mod heads;
mod mobilenet;
mod network;
mod preprocess;
mod resnet;
mod shape;

pub use config::{Backbone, CheckpointConfig, Head, ModelConfig, Pool, Task};
pub use heads::{ANCHOR_INPUT, ANCHORS};
pub use network::CheckpointError;
pub use preprocess::{Fit, Placement, Preprocess};
pub use shape::ShapeError;

use serde::{Deserialize, Serialize};

/// A network: nodes in execution order, each reading the input or earlier nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Name of the architecture, `resnet18`.
    pub name: String,
    /// Name of the input, `image`.
    pub input: String,
    /// `[C, H, W]` of one input image.
    pub input_shape: [usize; 3],
    pub nodes: Vec<Node>,
    /// What the caller gets, in this order.
    pub outputs: Vec<Output>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique; also the name of the tensor it makes and the prefix of its parameters.
    pub name: String,
    pub op: Op,
    /// Names of the nodes (or of the graph's input) it reads.
    pub inputs: Vec<String>,
}

/// A tensor handed to the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// `embedding`, `classification`, `segmentation`, `detection.p3`, …
    pub name: String,
    /// The node that makes it.
    pub node: String,
}

/// What a node computes. Images are `[B, C, H, W]`; the source is the ONNX operator named beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Op {
    /// ONNX `Conv`. Parameters `weight [O, I / groups, kH, kW]`, and `bias [O]` when `bias`.
    Conv2d {
        in_channels: usize,
        out_channels: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
        groups: usize,
        bias: bool,
    },
    /// ONNX `BatchNormalization`. Parameters `weight, bias, running_mean, running_var [C]`.
    BatchNorm2d { channels: usize, eps: f64 },
    /// ONNX `Relu`.
    Relu,
    /// ONNX `Clip` to `[0, 6]`.
    Relu6,
    /// ONNX `LeakyRelu`: `x` where it is positive, `slope · x` elsewhere; the slope lies between 0 and 1.
    LeakyRelu { slope: f32 },
    /// ONNX `Add` of two tensors of one shape.
    Add,
    /// ONNX `Concat` along the channels.
    Concat,
    /// ONNX `MaxPool`; padding never wins.
    MaxPool2d { kernel: usize, stride: usize, padding: usize },
    /// ONNX `GlobalAveragePool` + `Flatten`: `[B, C, H, W]` → `[B, C]`.
    GlobalAvgPool,
    /// CLIP's attention pool: `[B, C, H, W]` → `[B, C]`, query = mean token, `H·W = tokens`.
    /// Parameters `positional_embedding [tokens + 1, C]` and `{q,k,v,c}_proj.{weight,bias}`.
    AttentionPool2d { channels: usize, heads: usize, tokens: usize },
    /// ONNX `Resize`, nearest (`asymmetric`, `floor`), by a whole factor.
    UpsampleNearest { factor: usize },
    /// ONNX `Gemm`, `[B, in]` → `[B, out]`. Parameters `weight [out, in]`, `bias [out]`.
    Linear { in_features: usize, out_features: usize },
    /// ONNX `Reshape`: the same values in the same order; `shape` without the batch axis.
    Reshape { shape: Vec<usize> },
    /// ONNX `Transpose` of matrices: `[B, M, N]` → `[B, N, M]`.
    Transpose,
    /// ONNX `Concat` along the last axis: `[B, C, M]`, `[B, C, N]`, … → `[B, C, M + N + …]`.
    Append,
    /// ONNX `Add` of a constant, such as a table of positions. Parameter `constant`, of this shape.
    AddConstant { shape: Vec<usize> },
    /// ONNX `MatMul` of two activations: `[B, M, K]`, `[B, K, N]` → `[B, M, N]`.
    MatMul,
    /// ONNX `Softmax` along the last axis of `[B, M, N]`.
    Softmax,
}

/// A parameter or buffer: its full name and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    pub shape: Vec<usize>,
    /// Buffers (running statistics) are stored with the weights but not trained.
    pub trained: bool,
}

impl Graph {
    /// The node called `name`.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Nodes that read the tensor `name`.
    pub fn readers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(move |node| node.inputs.iter().any(|input| input == name))
    }

    /// Every parameter and buffer, in execution order.
    pub fn params(&self) -> Vec<Param> {
        self.nodes.iter().flat_map(Node::params).collect()
    }

    pub(crate) fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[&str]) -> String {
        let name = name.into();
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        self.nodes.push(Node { name: name.clone(), op, inputs });
        name
    }
}

impl Node {
    /// This node's parameters and buffers, in torchvision's order.
    pub fn params(&self) -> Vec<Param> {
        let param = |name: &str, shape: Vec<usize>, trained| Param {
            name: format!("{}.{name}", self.name),
            shape,
            trained,
        };
        match &self.op {
            Op::Conv2d { in_channels, out_channels, kernel: [h, w], groups, bias, .. } => {
                let weight =
                    param("weight", vec![*out_channels, in_channels / groups, *h, *w], true);
                let bias = bias.then(|| param("bias", vec![*out_channels], true));
                [weight].into_iter().chain(bias).collect()
            }
            Op::BatchNorm2d { channels, .. } => {
                [("weight", true), ("bias", true), ("running_mean", false), ("running_var", false)]
                    .map(|(name, trained)| param(name, vec![*channels], trained))
                    .to_vec()
            }
            Op::Linear { in_features, out_features } => vec![
                param("weight", vec![*out_features, *in_features], true),
                param("bias", vec![*out_features], true),
            ],
            Op::AttentionPool2d { channels, tokens, .. } => {
                let position = param("positional_embedding", vec![tokens + 1, *channels], true);
                let projections = ["k_proj", "q_proj", "v_proj", "c_proj"].iter().flat_map(|p| {
                    [
                        param(&format!("{p}.weight"), vec![*channels, *channels], true),
                        param(&format!("{p}.bias"), vec![*channels], true),
                    ]
                });
                [position].into_iter().chain(projections).collect()
            }
            Op::AddConstant { shape } => vec![param("constant", shape.clone(), true)],
            Op::Relu
            | Op::Relu6
            | Op::LeakyRelu { .. }
            | Op::Add
            | Op::Concat
            | Op::MaxPool2d { .. }
            | Op::GlobalAvgPool
            | Op::UpsampleNearest { .. }
            | Op::Reshape { .. }
            | Op::Transpose
            | Op::Append
            | Op::MatMul
            | Op::Softmax => Vec::new(),
        }
    }
}
