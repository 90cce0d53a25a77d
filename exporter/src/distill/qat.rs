//! Quantization-aware training: the folded network on the integers the box computes with (DESIGN §3).
//!
//! ```text
//! centred codes of x ──▶ conv with codes of w ──▶ + bias code ──▶ · s_x·s_w/s_y ──▶ round, clamp ──▶ centred codes of y
//!                         every sum exact             exact          one f32 product
//! ```
//!
//! Forward, every code equals the engine's; a test holds it to that. Backward, rounding is the identity and
//! clamping stops the gradient (straight-through, Bengio 2013). The ranges are those of calibration and stay;
//! weight scales follow the weights. "Centred" is `q − zero`: what a code stands for is that times the scale.

use super::{Learner, Outputs, with_features};
use crate::{
    calibrate,
    passes::{
        fold,
        quantized::{Plan, Writes},
    },
    read::{
        checkpoint::Checkpoint,
        images::ImageSet,
        weights::{Array, Weights},
    },
};
use anyhow::{Result, bail};
use calibration::{MAX_BIAS, Method, QuantParams, Range};
use graph::{CheckpointConfig, Graph, Node, Op};
use indicatif::ProgressBar;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};
use tch::{Device, Kind, Tensor};
use trainer::network::leaky_relu;

/// Integers up to this are exact in f32, and so are sums whose terms' magnitudes stay below it, in any order.
const EXACT_IN_F32: f64 = 16_777_216.0;

/// A folded network on integers.
pub(crate) struct Rounded {
    /// As in `config.toml`, with normalisations.
    original: Graph,
    folded: Graph,
    plan: Plan,
    /// Of the folded network.
    params: BTreeMap<String, Tensor>,
    activations: BTreeMap<String, QuantParams>,
}

/// Codes of a layer, with gradients to its weights.
struct Layer {
    weight: Tensor,
    /// f64: a bias has up to 30 bits.
    bias: Tensor,
    /// `s_w`, f32, one a channel.
    scales: Tensor,
}

impl Rounded {
    /// Folds the checkpoint in `folder` and takes its ranges from `images`.
    pub(crate) fn open(
        folder: &Path,
        config: &CheckpointConfig,
        images: &[PathBuf],
        device: Device,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::open(folder)?;
        let original = with_features(config)?;
        let (graph, weights) = fold::fold(&original, &checkpoint.weights);
        if let Some(node) = graph.nodes.iter().find(|node| !trains(node)) {
            bail!("node `{}` ({:?}) cannot be trained on eight bits", node.name, node.op);
        }
        // A normalisation that became a layer of its own would have to become one again.
        let alone = |node: &&Node| {
            matches!(node.op, Op::BatchNorm2d { .. }) && graph.node(&node.name).is_some()
        };
        if let Some(node) = original.nodes.iter().find(alone) {
            bail!(
                "node `{}` normalises what no convolution makes: it cannot be trained on eight bits",
                node.name
            );
        }
        let plan = Plan::new(&graph)?;
        let images = ImageSet { paths: images.to_vec(), ..ImageSet::none() };
        let hidden = ProgressBar::hidden();
        let preprocess = &config.preprocess;
        let seen = calibrate::observe(&graph, &weights, &plan, &images, preprocess, &hidden)?;
        let table = seen.table(&graph, Method::USUAL, preprocess, false)?.params();
        Ok(Self::new(original, graph, &weights, plan, &table, device))
    }

    /// `owned` has the parameters of every tensor that owns codes.
    pub(crate) fn new(
        original: Graph,
        folded: Graph,
        weights: &Weights,
        plan: Plan,
        owned: &BTreeMap<String, QuantParams>,
        device: Device,
    ) -> Self {
        let activations = plan.activations(owned);
        let params = weights
            .iter()
            .map(|(name, array)| {
                let shape: Vec<i64> = array.shape.iter().map(|&side| side as i64).collect();
                let tensor = Tensor::from_slice(&array.values).view(&shape[..]).to_device(device);
                (name.clone(), tensor.set_requires_grad(true))
            })
            .collect();
        Self { original, folded, plan, params, activations }
    }

    /// Centred codes of every tensor that has some; logits, which have none, as numbers.
    pub(crate) fn codes(&self, images: &Tensor) -> HashMap<&str, Tensor> {
        let input = self.folded.input.as_str();
        let params = self.activations[input];
        let mut values = HashMap::from([(input, rounded(&quotient(images, params.scale), params))]);
        for node in &self.folded.nodes {
            match self.plan.writes(&node.name) {
                Writes::Folded => {}
                Writes::Real => {
                    // A last layer's accumulators, scaled.
                    let (layer, read) = (self.layer(node), node.inputs[0].as_str());
                    let scales = &layer.scales * f64::from(self.activations[read].scale);
                    let sums = self.sums(node, &layer, &values[read]);
                    values.insert(&node.name, sums * along_channels(&scales, node));
                }
                Writes::Tensor { name, .. } => {
                    let steps = self.steps(node, self.activations[name], &values);
                    values.insert(name, rounded(&steps, self.activations[name]));
                }
                Writes::View => {
                    values.insert(&node.name, view(node, &values[node.inputs[0].as_str()]));
                }
                Writes::Float if node.op == Op::MatMul => {
                    values.insert(&node.name, products(node, &values));
                }
                Writes::Float => unreachable!("`{}`: nothing was asked to stay float", node.name),
            }
        }
        values
    }

    /// What `node` makes, in steps of its output, before rounding.
    fn steps(&self, node: &Node, out: QuantParams, values: &HashMap<&str, Tensor>) -> Tensor {
        let x = &values[node.inputs[0].as_str()];
        let own = |at: usize| self.activations[&node.inputs[at]].scale;
        match &node.op {
            Op::Conv2d { .. } | Op::Linear { .. } => {
                let layer = self.layer(node);
                let multipliers = quotient(&(&layer.scales * f64::from(own(0))), out.scale);
                self.sums(node, &layer, x) * along_channels(&multipliers, node)
            }
            Op::Add => {
                let [ra, rb] = [own(0) / out.scale, own(1) / out.scale].map(f64::from);
                x * ra + &values[node.inputs[1].as_str()] * rb
            }
            Op::Concat { axis } => {
                let part = |(at, name): (usize, &String)| {
                    let real = &values[name.as_str()] * f64::from(own(at));
                    quotient(&real, out.scale)
                };
                let parts: Vec<Tensor> = node.inputs.iter().enumerate().map(part).collect();
                Tensor::cat(&parts, *axis as i64 + 1)
            }
            Op::LeakyRelu { slope } => {
                let real = x * f64::from(own(0));
                quotient(&leaky_relu(&real, f64::from(*slope)), out.scale)
            }
            Op::GlobalAvgPool => {
                let (_, _, h, w) = x.size4().expect("images are [B, C, H, W]");
                let sum = x.sum_dim_intlist([2_i64, 3].as_slice(), false, Kind::Float);
                sum * f64::from(own(0) / out.scale / (h * w) as f32)
            }
            Op::MaxPool2d { kernel, stride, padding, .. } => {
                let [kernel, stride] = [*kernel, *stride].map(|sides| sides.map(|n| n as i64));
                let padding = [padding[0] as i64, padding[1] as i64];
                x.max_pool2d(kernel, stride, padding, [1, 1], false)
            }
            Op::UpsampleNearest { factor } => {
                let (_, _, h, w) = x.size4().expect("images are [B, C, H, W]");
                let factor = *factor as i64;
                x.upsample_nearest2d([h * factor, w * factor], None, None)
            }
            Op::AddConstant { .. } => {
                let (codes, scale) = self.constant(node);
                let [ra, rb] = [own(0) / out.scale, scale / out.scale].map(f64::from);
                x * ra + codes * rb
            }
            Op::MatMul => {
                let sums = products(node, values).to_kind(Kind::Float);
                sums * f64::from(own(0) * own(1) / out.scale)
            }
            Op::Softmax => {
                let scale = self.activations.get(&node.inputs[0]).map(|params| params.scale);
                let product = self.folded.node(&node.inputs[0]);
                let of_product = || {
                    let product = product.expect("what has no codes is a product");
                    let [a, b] = [0, 1].map(|at| self.activations[&product.inputs[at]].scale);
                    a * b
                };
                quotient(&shares(x, scale.unwrap_or_else(of_product)), out.scale)
            }
            _ => unreachable!(
                "`{}`: Plan::new folds it, it moves no code, or `trains` refused it",
                node.name
            ),
        }
    }

    /// Codes of what `node` adds and their scale, as [`crate::passes::quantized::Constant`] has them.
    fn constant(&self, node: &Node) -> (Tensor, f32) {
        let values = &self.params[&format!("{}.constant", node.name)];
        let reach = values.detach().abs().max().double_value(&[]) as f32;
        let scale = Range { lo: -reach, hi: reach }.symmetric().scale;
        (through(&quotient(values, scale).clamp(-128.0, 127.0)), scale)
    }

    /// Codes of weight and bias, as `calibration` makes them.
    fn layer(&self, node: &Node) -> Layer {
        let input = f64::from(self.activations[&node.inputs[0]].scale);
        let weight = &self.params[&format!("{}.weight", node.name)];
        let outputs = weight.size()[0];
        let none = || Tensor::zeros([outputs], (Kind::Float, weight.device()));
        let bias = self.params.get(&format!("{}.bias", node.name));
        let bias = bias.map_or_else(none, Tensor::shallow_clone);
        let reach = weight.detach().abs().view([outputs, -1]).amax([1_i64].as_slice(), false);
        let for_bias = bias.detach().abs().to_kind(Kind::Double) / (input * MAX_BIAS);
        let scales = (reach.to_kind(Kind::Double) / 127.0).maximum(&for_bias).to_kind(Kind::Float);
        // A dead channel has scale 1.
        let normal = scales.ge(f64::from(f32::MIN_POSITIVE));
        let scales = scales.where_scalarother(&normal, 1.0);
        let mut wide = vec![1; weight.dim()];
        wide[0] = outputs;
        let unit = (&scales * input).to_kind(Kind::Double);
        Layer {
            weight: through(&(weight / scales.view(&wide[..])).clamp(-127.0, 127.0)),
            bias: through(&(bias.to_kind(Kind::Double) / unit).clamp(-MAX_BIAS, MAX_BIAS)),
            scales,
        }
    }

    /// `Σ (q_x − z_x)·q_w + bias`, exact, then rounded to f32 once.
    fn sums(&self, node: &Node, layer: &Layer, x: &Tensor) -> Tensor {
        let QuantParams { zero, .. } = self.activations[&node.inputs[0]];
        let most = f64::from(zero.max(255 - zero));
        let rows = layer.weight.detach().abs().flatten(1, -1);
        let reach = rows.sum_dim_intlist([1_i64].as_slice(), false, Kind::Double).max();
        // In f64 it takes several times as long, so only where f32 could round.
        let kind =
            if reach.double_value(&[]) * most < EXACT_IN_F32 { Kind::Float } else { Kind::Double };
        let (x, weight) = (x.to_kind(kind), layer.weight.to_kind(kind));
        let products = match &node.op {
            Op::Conv2d { stride, padding, groups, .. } => {
                let stride = stride.map(|n| n as i64);
                let padding = [padding[0] as i64, padding[1] as i64];
                x.conv2d::<Tensor>(&weight, None, stride, padding, [1, 1], *groups as i64)
            }
            _ => x.linear::<Tensor>(&weight, None),
        };
        let sums = products.to_kind(Kind::Double) + along_channels(&layer.bias, node);
        sums.to_kind(Kind::Float)
    }
}

impl Learner for Rounded {
    fn phase(&self) -> &'static str {
        "qat"
    }

    fn forward(&self, images: &Tensor, _train: bool) -> Outputs {
        let values = self.codes(images);
        let real = |output: &graph::Output| {
            let value = &values[output.node.as_str()];
            let params = self.activations.get(&output.node);
            let real = params
                .map_or_else(|| value.shallow_clone(), |params| value * f64::from(params.scale));
            (output.name.clone(), real)
        };
        self.folded.outputs.iter().map(real).collect()
    }

    fn trained(&self) -> Vec<(String, Tensor)> {
        self.params.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
    }

    fn weights(&self) -> Vec<(String, Tensor)> {
        let values = self.params.iter().map(|(name, tensor)| {
            let shape = tensor.size().iter().map(|&side| side as usize).collect();
            let flat = tensor.detach().to_device(Device::Cpu).flatten(0, -1);
            let values = Vec::try_from(flat).expect("parameters are f32");
            (name.clone(), Array { shape, values })
        });
        fold::unfold(&self.original, &values.collect())
            .into_iter()
            .map(|(name, array)| {
                let shape: Vec<i64> = array.shape.iter().map(|&side| side as i64).collect();
                (name, Tensor::from_slice(&array.values).view(&shape[..]))
            })
            .collect()
    }
}

/// Whether a node of a folded network has a form here that autograd sees.
fn trains(node: &Node) -> bool {
    let even = |padding: &[usize; 4]| padding[..2] == padding[2..];
    match &node.op {
        Op::Conv2d { padding, dilation, .. } | Op::MaxPool2d { padding, dilation, .. } => {
            even(padding) && *dilation == [1; 2]
        }
        Op::Linear { .. }
        | Op::Relu
        | Op::Relu6
        | Op::LeakyRelu { .. }
        | Op::Add
        | Op::Concat { .. }
        | Op::GlobalAvgPool
        | Op::UpsampleNearest { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::AddConstant { .. }
        | Op::MatMul
        | Op::Softmax => true,
        _ => false,
    }
}

/// `[C]` as it meets a layer's output.
fn along_channels(values: &Tensor, node: &Node) -> Tensor {
    match node.op {
        Op::Conv2d { .. } => values.view([1, -1, 1, 1]),
        _ => values.shallow_clone(),
    }
}

/// A true division: by a plain number some devices multiply with the reciprocal, which rounds twice.
fn quotient(x: &Tensor, by: f32) -> Tensor {
    x / Tensor::full([], f64::from(by), (Kind::Float, x.device()))
}

/// Centred codes of a value in steps.
fn rounded(steps: &Tensor, QuantParams { zero, .. }: QuantParams) -> Tensor {
    let zero = f64::from(zero);
    through(&steps.clamp(-zero, 255.0 - zero))
}

/// The values of a tensor in another shape.
fn view(node: &Node, x: &Tensor) -> Tensor {
    match &node.op {
        Op::Reshape { shape } => {
            let sides = shape.iter().map(|&side| side as i64);
            x.reshape([-1].into_iter().chain(sides).collect::<Vec<_>>())
        }
        Op::Transpose { order } => {
            let order = order.iter().map(|&axis| axis as i64 + 1);
            x.permute([0].into_iter().chain(order).collect::<Vec<_>>())
        }
        _ => unreachable!("`{}` is no view", node.name),
    }
}

/// Exact sums of products of two tensors of centred codes, in f64: f32 would soon round.
fn products(node: &Node, values: &HashMap<&str, Tensor>) -> Tensor {
    let wide = |name: &String| values[name.as_str()].to_kind(Kind::Double);
    wide(&node.inputs[0]).matmul(&wide(&node.inputs[1]))
}

/// Softmax along the last axis of codes or sums, forward as the box computes it (`kernels::scalar::softmax`): every
/// exponential a whole number of 2^-30, their sum exact. Backward it is softmax.
fn shares(x: &Tensor, scale: f32) -> Tensor {
    let x = &x.to_kind(Kind::Double);
    let last = x.amax([-1_i64].as_slice(), true);
    let below = (&last - x).detach().to_kind(Kind::Double) * -f64::from(scale);
    let worth = (below.exp() * (1_u64 << 30) as f64).round();
    let sum = worth.sum_dim_intlist([-1_i64].as_slice(), true, Kind::Double);
    let exact = worth.to_kind(Kind::Float) / sum.to_kind(Kind::Float);
    let smooth = (x * f64::from(scale)).softmax(-1, Kind::Double).to_kind(Kind::Float);
    &smooth + (exact - &smooth).detach()
}

/// Rounded forward, to even; the identity backward.
fn through(x: &Tensor) -> Tensor {
    x + (x.round() - x).detach()
}
