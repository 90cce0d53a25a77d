//! Names and shapes of a node's parameters.

use crate::{Node, Op, Param};

impl Node {
    /// This node's parameters and buffers, in torchvision's order.
    pub fn params(&self) -> Vec<Param> {
        let param = |name: &str, shape: Vec<usize>, trained| Param {
            name: format!("{}.{name}", self.name),
            shape,
            trained,
        };
        let layer = |weight: Vec<usize>, outputs: Option<usize>| {
            let weight = param("weight", weight, true);
            let bias = outputs.map(|outputs| param("bias", vec![outputs], true));
            [weight].into_iter().chain(bias).collect()
        };
        match &self.op {
            Op::Conv2d { in_channels, out_channels, kernel: [h, w], groups, bias, .. } => {
                let weight = vec![*out_channels, in_channels / groups, *h, *w];
                layer(weight, bias.then_some(*out_channels))
            }
            Op::ConvTranspose2d {
                in_channels, out_channels, kernel: [h, w], groups, bias, ..
            } => {
                let weight = vec![*in_channels, out_channels / groups, *h, *w];
                layer(weight, bias.then_some(*out_channels))
            }
            Op::Linear { in_features, out_features } => {
                layer(vec![*out_features, *in_features], Some(*out_features))
            }
            Op::GroupNorm { channels, .. } | Op::LayerNorm { channels, .. } => {
                layer(vec![*channels], Some(*channels))
            }
            Op::BatchNorm2d { channels, .. } => {
                [("weight", true), ("bias", true), ("running_mean", false), ("running_var", false)]
                    .map(|(name, trained)| param(name, vec![*channels], trained))
                    .to_vec()
            }
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
            Op::Constant { shape } | Op::AddConstant { shape } | Op::MulConstant { shape } => {
                vec![param("constant", shape.clone(), true)]
            }
            Op::Relu
            | Op::Relu6
            | Op::LeakyRelu { .. }
            | Op::Unary { .. }
            | Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::MaxPool2d { .. }
            | Op::AvgPool2d { .. }
            | Op::GlobalAvgPool
            | Op::Mean { .. }
            | Op::UpsampleNearest { .. }
            | Op::Resize { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::MatMul
            | Op::Softmax => Vec::new(),
        }
    }
}
