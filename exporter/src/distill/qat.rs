//! Quantization-aware training: the folded network with every number rounded as the box rounds it (DESIGN §3).
//!
//! Forward, weights, biases and activations take the values their codes stand for; backward, rounding is
//! the identity and clamping stops the gradient (straight-through, Bengio 2013). The ranges are those of
//! calibration and stay; weight scales follow the weights.

use super::{Learner, Outputs, with_features};
use crate::{
    calibrate,
    checkpoint::Checkpoint,
    fold,
    images::ImageSet,
    judge,
    quantized::Plan,
    weights::{Array, Weights},
};
use anyhow::Result;
use calibration::{MAX_BIAS, Method, QuantParams};
use graph::{CheckpointConfig, Graph, Node, Op};
use indicatif::ProgressBar;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};
use tch::{Device, Tensor};

/// A folded network on rounded numbers.
pub(crate) struct Rounded {
    /// As in `config.toml`, with normalisations.
    original: Graph,
    folded: Graph,
    /// Of the folded network.
    params: BTreeMap<String, Tensor>,
    activations: HashMap<String, QuantParams>,
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
        let (graph, weights) = fold::fold_batch_norms(&original, &checkpoint.weights);
        let plan = Plan::new(&graph)?;
        let images = ImageSet { paths: images.to_vec(), ..ImageSet::none() };
        let hidden = ProgressBar::hidden();
        let preprocess = &config.preprocess;
        let seen = calibrate::observe(&graph, &weights, &plan, &images, preprocess, &hidden)?;
        let table = judge::params(&seen.table(&graph, Method::Mse, preprocess, false)?);
        Ok(Self::new(original, graph, &weights, &plan, &table, device))
    }

    pub(crate) fn new(
        original: Graph,
        folded: Graph,
        weights: &Weights,
        plan: &Plan,
        owned: &BTreeMap<String, QuantParams>,
        device: Device,
    ) -> Self {
        let activations =
            plan.tensors().iter().map(|name| (name.clone(), owned[plan.owner(name)])).collect();
        let params = weights
            .iter()
            .map(|(name, array)| {
                let shape: Vec<i64> = array.shape.iter().map(|&side| side as i64).collect();
                let tensor = Tensor::from_slice(&array.values).view(&shape[..]).to_device(device);
                (name.clone(), tensor.set_requires_grad(true))
            })
            .collect();
        Self { original, folded, params, activations }
    }

    /// Rounded weight and bias of a layer that reads `input`.
    fn layer(&self, node: &Node, input: QuantParams) -> [Tensor; 2] {
        let weight = &self.params[&format!("{}.weight", node.name)];
        let bias = &self.params[&format!("{}.bias", node.name)];
        let outputs = weight.size()[0];
        let reach = weight.detach().abs().view([outputs, -1]).amax([1_i64].as_slice(), false);
        let for_bias = bias.detach().abs() / (f64::from(input.scale) * MAX_BIAS);
        let scale = (reach / 127.0).maximum(&for_bias);
        // A dead channel has scale 1, as in calibration.
        let scale = scale.where_scalarother(&scale.gt(0.0), 1.0);
        let mut shape = vec![1; weight.dim()];
        shape[0] = outputs;
        let wide = scale.view(&shape[..]);
        let weight = through(&(weight / &wide).clamp(-127.0, 127.0)) * &wide;
        let unit = scale * f64::from(input.scale);
        [weight, through(&(bias / &unit).clamp(-MAX_BIAS, MAX_BIAS)) * unit]
    }

    fn eval(&self, node: &Node, values: &HashMap<&str, Tensor>) -> Tensor {
        let x = &values[node.inputs[0].as_str()];
        match &node.op {
            Op::Conv2d { stride, padding, groups, .. } => {
                let [w, b] = self.layer(node, self.activations[&node.inputs[0]]);
                let both = |n: usize| [n as i64; 2];
                x.conv2d(&w, Some(&b), both(*stride), both(*padding), [1, 1], *groups as i64)
            }
            Op::Linear { .. } => {
                let [w, b] = self.layer(node, self.activations[&node.inputs[0]]);
                x.linear(&w, Some(&b))
            }
            Op::Relu => x.relu(),
            Op::Relu6 => x.clamp(0.0, 6.0),
            Op::Add => x + &values[node.inputs[1].as_str()],
            Op::Concat => {
                let all: Vec<&Tensor> =
                    node.inputs.iter().map(|name| &values[name.as_str()]).collect();
                Tensor::cat(&all, 1)
            }
            Op::MaxPool2d { kernel, stride, padding } => {
                let both = |n: usize| [n as i64; 2];
                x.max_pool2d(both(*kernel), both(*stride), both(*padding), [1, 1], false)
            }
            Op::GlobalAvgPool => x.mean_dim([2_i64, 3].as_slice(), false, None),
            Op::UpsampleNearest { factor } => {
                let (_, _, h, w) = x.size4().expect("images are [B, C, H, W]");
                let factor = *factor as i64;
                x.upsample_nearest2d([h * factor, w * factor], None, None)
            }
            Op::BatchNorm2d { .. } | Op::AttentionPool2d { .. } => {
                unreachable!("`{}`: Plan::new refuses what int8 does not cover", node.name)
            }
        }
    }
}

impl Learner for Rounded {
    fn graph(&self) -> &Graph {
        &self.original
    }

    fn phase(&self) -> &'static str {
        "qat"
    }

    fn forward(&self, images: &Tensor, _train: bool) -> Outputs {
        let input = self.folded.input.as_str();
        let mut values: HashMap<&str, Tensor> = HashMap::new();
        values.insert(input, rounded(images, self.activations[input]));
        for node in &self.folded.nodes {
            let mut value = self.eval(node, &values);
            if let Some(&params) = self.activations.get(&node.name) {
                value = rounded(&value, params);
            }
            values.insert(&node.name, value);
        }
        let named = |output: &graph::Output| {
            (output.name.clone(), values[output.node.as_str()].shallow_clone())
        };
        self.folded.outputs.iter().map(named).collect()
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

/// The values `x` can take on eight bits.
fn rounded(x: &Tensor, QuantParams { scale, zero }: QuantParams) -> Tensor {
    let (scale, zero) = (f64::from(scale), f64::from(zero));
    through(&(x / scale).clamp(-zero, 255.0 - zero)) * scale
}

/// Rounded forward, the identity backward. `round` is to even.
fn through(x: &Tensor) -> Tensor {
    x + (x.round() - x).detach()
}
