//! The float meaning of a graph, on candle: reference for verification, eyes for calibration.

mod images;
mod unary;

use crate::read::weights::Weights;
use anyhow::{Context, Result, ensure};
use candle_core::{D, Device, Tensor};
use graph::{Graph, Node, Op};
use images::Window;
use std::collections::HashMap;

/// Values of every output, by name, in the graph's order.
pub(crate) type Outputs = Vec<(String, Vec<f32>)>;

/// Values of one output.
pub(crate) fn output<'a>(outputs: &'a Outputs, name: &str) -> Result<&'a [f32]> {
    let found = outputs.iter().find(|(own, _)| own == name);
    let (_, values) = found.with_context(|| format!("the network has no output `{name}`"))?;
    Ok(values)
}

/// A network ready to run in float.
pub(crate) struct Interpreter<'a> {
    graph: &'a Graph,
    params: HashMap<String, Tensor>,
}

impl<'a> Interpreter<'a> {
    pub(crate) fn new(graph: &'a Graph, weights: &Weights) -> Result<Self> {
        let params = weights
            .iter()
            .map(|(name, array)| {
                let tensor =
                    Tensor::from_slice(&array.values, array.shape.as_slice(), &Device::Cpu)?;
                Ok((name.clone(), tensor))
            })
            .collect::<Result<_>>()?;
        Ok(Self { graph, params })
    }

    /// Runs one image `[C, H, W]`; `tap` is shown every tensor with the name of its node, the
    /// input's first, and may put other values in its place. Returns the outputs in the graph's
    /// order.
    pub(crate) fn run(
        &self,
        image: &[f32],
        mut tap: impl FnMut(&str, &[f32]) -> Option<Vec<f32>>,
    ) -> Result<Outputs> {
        let [c, h, w] = self.graph.input_shape;
        ensure!(image.len() == c * h * w, "{} values, expected {c}x{h}x{w}", image.len());
        let replaced = tap(&self.graph.input, image);
        let image = replaced.as_deref().unwrap_or(image);
        let input = Tensor::from_slice(image, (1, c, h, w), &Device::Cpu)?;
        let mut tensors = HashMap::from([(self.graph.input.as_str(), input)]);
        let last_use = self.last_use();
        for (at, node) in self.graph.nodes.iter().enumerate() {
            let mut tensor = self
                .eval(node, &tensors)
                .with_context(|| format!("node `{}` cannot be computed", node.name))?;
            if let Some(values) = tap(&node.name, &values(&tensor)?) {
                tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?;
            }
            tensors.insert(&node.name, tensor);
            tensors.retain(|name, _| last_use.get(name).is_some_and(|&last| last > at));
        }
        self.graph
            .outputs
            .iter()
            .map(|output| Ok((output.name.clone(), values(&tensors[output.node.as_str()])?)))
            .collect()
    }

    /// [`Self::run`] without looking at what lies between.
    pub(crate) fn outputs(&self, image: &[f32]) -> Result<Outputs> {
        self.run(image, |_, _| None)
    }

    /// The last node that reads each tensor; outputs outlive all nodes.
    fn last_use(&self) -> HashMap<&str, usize> {
        let mut last = HashMap::new();
        for (at, node) in self.graph.nodes.iter().enumerate() {
            last.extend(node.inputs.iter().map(|input| (input.as_str(), at)));
        }
        last.extend(self.graph.outputs.iter().map(|output| (output.node.as_str(), usize::MAX)));
        last
    }

    fn eval(&self, node: &Node, tensors: &HashMap<&str, Tensor>) -> Result<Tensor> {
        let input = |at: usize| {
            let name = node.inputs.get(at).context("an input is missing")?;
            tensors.get(name.as_str()).with_context(|| format!("nobody made `{name}`"))
        };
        if let Op::Constant { .. } = node.op {
            return Ok(self.param(node, "constant")?.unsqueeze(0)?);
        }
        let x = input(0)?;
        let all = || (0..node.inputs.len()).map(input).collect::<Result<Vec<_>>>();
        let bias = |bias: bool| if bias { self.param(node, "bias").map(Some) } else { Ok(None) };
        Ok(match &node.op {
            Op::Conv2d { kernel, stride, padding, dilation, groups, bias: biased, .. } => {
                let window = Window {
                    kernel: *kernel,
                    stride: *stride,
                    padding: *padding,
                    dilation: *dilation,
                };
                let y = images::convolution(x, self.param(node, "weight")?, &window, *groups)?;
                plus(y, bias(*biased)?)?
            }
            Op::ConvTranspose2d {
                kernel,
                stride,
                padding,
                output_padding,
                dilation,
                groups,
                bias: biased,
                ..
            } => {
                let window = Window {
                    kernel: *kernel,
                    stride: *stride,
                    padding: *padding,
                    dilation: *dilation,
                };
                let weight = self.param(node, "weight")?;
                let y = images::transposed(x, weight, &window, *output_padding, *groups)?;
                plus(y, bias(*biased)?)?
            }
            Op::BatchNorm2d { eps, .. } => {
                let deviation = (self.param(node, "running_var")? + *eps)?.sqrt()?;
                let gain = (self.param(node, "weight")? / deviation)?;
                let shift =
                    (self.param(node, "bias")? - (self.param(node, "running_mean")? * &gain)?)?;
                x.broadcast_mul(&channels(&gain)?)?.broadcast_add(&channels(&shift)?)?
            }
            Op::GroupNorm { groups, eps, .. } => {
                let rows = x.reshape((x.dim(0)?, *groups, ()))?;
                let y = standardised(&rows, *eps)?.reshape(x.shape())?;
                let y = y.broadcast_mul(&channels(self.param(node, "weight")?)?)?;
                y.broadcast_add(&channels(self.param(node, "bias")?)?)?
            }
            Op::LayerNorm { eps, .. } => {
                let y = standardised(x, *eps)?.broadcast_mul(self.param(node, "weight")?)?;
                y.broadcast_add(self.param(node, "bias")?)?
            }
            Op::Relu => x.relu()?,
            Op::Relu6 => x.clamp(0.0_f32, 6.0_f32)?,
            Op::LeakyRelu { slope } => x.maximum(&(x * f64::from(*slope))?)?,
            Op::Unary { function } => {
                let values = values(x)?.into_iter().map(|x| unary::apply(*function, x)).collect();
                Tensor::from_vec(values, x.shape(), &Device::Cpu)?
            }
            Op::Add => x.broadcast_add(input(1)?)?,
            Op::Sub => x.broadcast_sub(input(1)?)?,
            Op::Mul => x.broadcast_mul(input(1)?)?,
            Op::Concat { axis } => Tensor::cat(&all()?, axis + 1)?,
            Op::Slice { axis, start, end, step } => {
                let places: Vec<u32> = (*start..*end).step_by(*step).map(|at| at as u32).collect();
                let places = Tensor::new(places, &Device::Cpu)?;
                x.contiguous()?.index_select(&places, axis + 1)?
            }
            Op::Pad { padding, value } => images::pad(x, *padding, *value)?,
            Op::MaxPool2d { kernel, stride, padding, dilation } => {
                let window = Window {
                    kernel: *kernel,
                    stride: *stride,
                    padding: *padding,
                    dilation: *dilation,
                };
                images::pool(x, &window, |taps, _| taps.fold(f32::NEG_INFINITY, f32::max))?
            }
            Op::AvgPool2d { kernel, stride, padding, count_padding } => {
                let window = Window {
                    kernel: *kernel,
                    stride: *stride,
                    padding: *padding,
                    dilation: [1; 2],
                };
                let size = kernel[0] * kernel[1];
                images::pool(x, &window, |taps, inside| {
                    taps.sum::<f32>() / if *count_padding { size } else { inside } as f32
                })?
            }
            Op::GlobalAvgPool => x.mean((2, 3))?,
            Op::Mean { axis } => x.mean(axis + 1)?,
            Op::AttentionPool2d { heads, .. } => self.attention_pool(node, x, *heads)?,
            Op::UpsampleNearest { factor } => {
                let (_, _, h, w) = x.dims4()?;
                x.upsample_nearest2d(h * factor, w * factor)?
            }
            Op::Resize { size, resample } => images::resize(x, *size, resample)?,
            Op::Linear { .. } => self.linear(node, "", x)?,
            Op::Reshape { shape } => {
                let batch = x.dim(0)?;
                x.contiguous()?.reshape([&[batch], &shape[..]].concat())?
            }
            Op::Transpose { order } => {
                let order: Vec<usize> =
                    [0].into_iter().chain(order.iter().map(|axis| axis + 1)).collect();
                x.permute(order)?.contiguous()?
            }
            Op::Constant { .. } => unreachable!("it reads nothing"),
            Op::AddConstant { .. } => x.broadcast_add(self.param(node, "constant")?)?,
            Op::MulConstant { .. } => x.broadcast_mul(self.param(node, "constant")?)?,
            Op::MatMul => product(x, input(1)?)?,
            Op::Softmax => softmax(x)?,
        })
    }

    /// CLIP's: the mean token asks, all tokens answer. `[B, C, H, W]` → `[B, C]`.
    fn attention_pool(&self, node: &Node, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (b, c, _, _) = x.dims4()?;
        let tokens = x.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        let tokens = Tensor::cat(&[&tokens.mean_keepdim(1)?, &tokens], 1)?
            .broadcast_add(self.param(node, "positional_embedding")?)?;
        let split = |x: Tensor, n: usize| -> Result<Tensor> {
            Ok(x.reshape((b, n, heads, c / heads))?.transpose(1, 2)?.contiguous()?)
        };
        let n = tokens.dim(1)?;
        let query = tokens.narrow(1, 0, 1)?.contiguous()?;
        let q = split(self.linear(node, "q_proj.", &query)?, 1)?;
        let k = split(self.linear(node, "k_proj.", &tokens)?, n)?;
        let v = split(self.linear(node, "v_proj.", &tokens)?, n)?;
        let scale = ((c / heads) as f64).powf(-0.5);
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? * scale)?;
        let weights = softmax(&scores)?;
        let pooled = weights.matmul(&v)?.transpose(1, 2)?.reshape((b, c))?;
        self.linear(node, "c_proj.", &pooled)
    }

    fn linear(&self, node: &Node, prefix: &str, x: &Tensor) -> Result<Tensor> {
        let weight = self.param(node, &format!("{prefix}weight"))?.t()?;
        let bias = self.param(node, &format!("{prefix}bias"))?;
        if x.rank() > 3 {
            let rows = x.contiguous()?.reshape(((), x.dim(D::Minus1)?))?;
            let y = rows.matmul(&weight)?.broadcast_add(bias)?;
            let made = [&x.dims()[..x.rank() - 1], bias.dims()].concat();
            return Ok(y.reshape(made)?);
        }
        Ok(x.broadcast_matmul(&weight)?.broadcast_add(bias)?)
    }

    fn param(&self, node: &Node, param: &str) -> Result<&Tensor> {
        let name = format!("{}.{param}", node.name);
        self.params.get(&name).with_context(|| format!("parameter `{name}` is missing"))
    }
}

/// Of matrices, as many as the axes before the last two say; candle multiplies tensors of up to four axes.
fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let matrices = |x: &Tensor| -> Result<Tensor> {
        let (rows, columns) = (x.dim(D::Minus2)?, x.dim(D::Minus1)?);
        Ok(x.contiguous()?.reshape(((), rows, columns))?)
    };
    let (left, right) = (matrices(a)?, matrices(b)?);
    let made = [&a.dims()[..a.rank() - 1], &b.dims()[b.rank() - 1..]].concat();
    Ok(left.matmul(&right)?.reshape(made)?)
}

/// Along the last axis.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    Ok(x.broadcast_div(&x.sum_keepdim(D::Minus1)?)?)
}

/// `[C]` as `[1, C, 1, 1]`.
fn channels(x: &Tensor) -> Result<Tensor> {
    Ok(x.reshape((1, (), 1, 1))?)
}

/// `[C]` added to `[B, C, H, W]`.
fn plus(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let Some(bias) = bias else { return Ok(y) };
    Ok(y.broadcast_add(&channels(bias)?)?)
}

/// Mean 0 and variance 1 along the last axis.
fn standardised(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    Ok(centred.broadcast_div(&deviation)?)
}

fn values(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use graph::Backbone;

    #[test]
    fn every_tensor_has_the_inferred_size() {
        let (graph, weights) = fixtures::network(Backbone::Resnet18, 2);
        let shapes = graph.shapes().unwrap();
        let mut count = 0;
        Interpreter::new(&graph, &weights)
            .unwrap()
            .run(&fixtures::image(&graph, 1), |name, values| {
                assert_eq!(values.len(), shapes[name].iter().product::<usize>(), "{name}");
                count += 1;
                None
            })
            .unwrap();
        assert_eq!(count, graph.nodes.len() + 1);
    }

    #[test]
    fn attention_without_content_is_the_projected_mean() {
        // q = k = 0, v and c the identity: every token weighs the same, so the pool is the mean of
        // mean token and tokens, which is the mean.
        let graph = Graph {
            name: "pool".into(),
            input: "image".into(),
            input_shape: [8, 2, 2],
            nodes: vec![Node {
                name: "attnpool".into(),
                op: Op::AttentionPool2d { channels: 8, heads: 2, tokens: 4 },
                inputs: vec!["image".into()],
            }],
            outputs: vec![graph::Output { name: "embedding".into(), node: "attnpool".into() }],
        };
        let mut weights = fixtures::zeros(&graph);
        for name in ["attnpool.v_proj.weight", "attnpool.c_proj.weight"] {
            let identity = weights.get_mut(name).unwrap();
            (0..8).for_each(|i| identity.values[i * 9] = 1.0);
        }
        let image: Vec<f32> = (0..32).map(|i| (i as f32).sin()).collect();
        let outputs = Interpreter::new(&graph, &weights).unwrap().outputs(&image).unwrap();
        for (channel, y) in outputs[0].1.iter().enumerate() {
            let mean = image[channel * 4..][..4].iter().sum::<f32>() / 4.0;
            assert!((y - mean).abs() < 1e-6);
        }
    }
}
