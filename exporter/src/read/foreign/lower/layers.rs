//! What works on pictures, and layers with weights.

use super::{Lowering, natural};
use crate::read::foreign::{
    net::Node,
    operator::{Operator, picture},
};
use anyhow::{Context, Result, ensure};
use graph::{Op, Resample};

impl Lowering<'_> {
    /// The sides of the one picture that a node reads.
    fn picture(&self, node: &Node) -> Result<[usize; 3]> {
        let [n, c, h, w] = picture(self.net.dims(node.inputs[0]))?;
        ensure!(n == 1, "{n} pictures at once, expected one: the batch axis must stay in front");
        Ok([c, h, w])
    }

    pub(super) fn conv(&mut self, node: &Node) -> Result<()> {
        let shape = self.picture(node)?;
        let weight = self.given(node, 1)?.clone();
        let bias = node.inputs.get(2).map(|_| self.given(node, 2).cloned()).transpose()?;
        let out_channels = self.net.dims(node.output)[1];
        let (in_channels, bias_too) = (shape[0], bias.is_some());
        let op = match node.op.clone() {
            Operator::ConvTranspose { window, output_padding, groups } => Op::ConvTranspose2d {
                in_channels,
                out_channels,
                kernel: window.kernel,
                stride: window.stride,
                padding: window.padding,
                output_padding,
                dilation: window.dilation,
                groups,
                bias: bias_too,
            },
            Operator::Conv { window, groups } => Op::Conv2d {
                in_channels,
                out_channels,
                kernel: window.kernel,
                stride: window.stride,
                padding: window.padding,
                dilation: window.dilation,
                groups,
                bias: bias_too,
            },
            _ => unreachable!("only convolutions come here"),
        };
        let x = self.tensor(node.inputs[0], &shape, &node.name)?;
        let name = self.push(node, op, vec![x], natural(self.net.dims(node.output)));
        self.weight(&name, "weight", &weight, &weight.dims)?;
        if let Some(bias) = bias {
            self.weight(&name, "bias", &bias, &[out_channels])?;
        }
        Ok(())
    }

    /// Of pictures; other tensors become pictures of one column.
    pub(super) fn channel_norm(&mut self, node: &Node) -> Result<()> {
        let dims = self.net.dims(node.inputs[0]);
        ensure!(
            dims[0] == 1,
            "{} at once, expected one: the batch axis must stay in front",
            dims[0]
        );
        let channels = dims[1];
        let shape = match dims {
            [_, c, h, w] => [*c, *h, *w],
            _ => [channels, dims[2..].iter().product(), 1],
        };
        let (op, names): (Op, &[&str]) = match node.op {
            Operator::BatchNorm { eps } => {
                let op = Op::BatchNorm2d { channels, eps: f64::from(eps) };
                (op, &["weight", "bias", "running_mean", "running_var"])
            }
            Operator::GroupNorm { groups, eps } => {
                (Op::GroupNorm { groups, channels, eps: f64::from(eps) }, &["weight", "bias"])
            }
            _ => unreachable!("only normalisations of channels come here"),
        };
        let x = self.tensor(node.inputs[0], &shape, &node.name)?;
        let name = self.push(node, op, vec![x], shape.to_vec());
        for (at, param) in names.iter().enumerate() {
            let tensor = self.given(node, at + 1)?.clone();
            self.weight(&name, param, &tensor, &[channels])?;
        }
        Ok(())
    }

    pub(super) fn layer_norm(&mut self, node: &Node, eps: f32) -> Result<()> {
        let dims = self.net.dims(node.inputs[0]);
        let channels = *dims.last().context("a tensor without axes")?;
        let shape = natural(dims);
        let x = self.tensor(node.inputs[0], &shape, &node.name)?;
        let op = Op::LayerNorm { channels, eps: f64::from(eps) };
        let name = self.push(node, op, vec![x], shape);
        for (at, param) in ["weight", "bias"].iter().enumerate() {
            let tensor = self.given(node, at + 1)?.clone();
            self.weight(&name, param, &tensor, &[channels])?;
        }
        Ok(())
    }

    pub(super) fn window(&mut self, node: &Node) -> Result<()> {
        let op = match node.op.clone() {
            Operator::MaxPool { window } => Op::MaxPool2d {
                kernel: window.kernel,
                stride: window.stride,
                padding: window.padding,
                dilation: window.dilation,
            },
            Operator::AvgPool { window, count_padding } => Op::AvgPool2d {
                kernel: window.kernel,
                stride: window.stride,
                padding: window.padding,
                count_padding,
            },
            Operator::Pad { padding, value } => Op::Pad { padding, value },
            _ => unreachable!("only windows and borders come here"),
        };
        let shape = self.picture(node)?;
        self.one(node, op, &shape)
    }

    /// Repeating each pixel has an operator of its own.
    pub(super) fn resize(
        &mut self,
        node: &Node,
        size: [usize; 2],
        resample: Resample,
    ) -> Result<()> {
        let shape = self.picture(node)?;
        let from = [shape[1], shape[2]];
        let factor = size[0] / from[0].max(1);
        let repeats = |axis: usize| {
            let taps = resample.taps(axis, from[axis], size[axis]);
            let whole = size[axis] == factor * from[axis];
            let repeated =
                |(at, tap): (usize, &graph::Tap)| tap.lower == at / factor && tap.fraction == 0.0;
            whole && taps.iter().enumerate().all(repeated)
        };
        let op = if factor > 0 && repeats(0) && repeats(1) {
            Op::UpsampleNearest { factor }
        } else {
            Op::Resize { size, resample }
        };
        self.one(node, op, &shape)
    }
}
