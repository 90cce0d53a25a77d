//! The deployed network in tch: an interpreter of [`graph::Graph`] that autograd sees.
//!
//! Parameters carry the graph's own names (`layer1.0.conv1.weight`), so weights move one to one between
//! torchvision, this, and the exporter's interpreters.

mod batch_norm;
mod images;
mod layer;

pub use batch_norm::BatchNorm;

use crate::init;
use anyhow::{Context, Result};
use graph::{Graph, Op};
use layer::Layer;
use std::{collections::HashMap, rc::Rc};
use tch::{Tensor, nn};
use torch_ext::Group;

/// A graph with its weights.
#[derive(Debug)]
pub struct Network {
    input: usize,
    steps: Vec<Step>,
    /// Name and slot of everything the caller gets.
    outputs: Vec<(String, usize)>,
    slots: usize,
}

/// A node bound to its weights; tensors are known by slot, the input's is 0.
#[derive(Debug)]
struct Step {
    node: String,
    layer: Layer,
    inputs: Vec<usize>,
    output: usize,
    /// Slots nobody reads after this step.
    spent: Vec<usize>,
    /// The first input is read by this step alone, so its memory may be overwritten.
    in_place: bool,
}

impl Network {
    /// Builds the graph's weights under `p`, named as the graph names them, freshly initialised.
    pub fn new(p: &nn::Path<'_>, graph: &Graph) -> Result<Self> {
        Self::with_names(p, graph, None, str::to_owned)
    }

    /// As [`Self::new`] with the weights of a node named `rename(node)`, and batch statistics taken over
    /// all processes of `group`.
    pub fn with_names(
        p: &nn::Path<'_>,
        graph: &Graph,
        group: Option<&Rc<Group>>,
        rename: impl Fn(&str) -> String,
    ) -> Result<Self> {
        graph.shapes().context("the network's layers do not fit")?;
        let mut slot_of: HashMap<&str, usize> = HashMap::from([(graph.input.as_str(), 0)]);
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for (at, node) in graph.nodes.iter().enumerate() {
            let inputs: Vec<usize> =
                node.inputs.iter().map(|name| slot_of[name.as_str()]).collect();
            slot_of.insert(&node.name, at + 1);
            let layer = Layer::new(&subpath(p, &rename(&node.name)), node, group);
            steps.push(Step {
                node: node.name.clone(),
                layer,
                inputs,
                output: at + 1,
                spent: Vec::new(),
                in_place: false,
            });
        }
        let outputs: Vec<_> =
            graph.outputs.iter().map(|o| (o.name.clone(), slot_of[o.node.as_str()])).collect();

        let slots = graph.nodes.len() + 1;
        let mut readers = vec![0; slots];
        steps.iter().flat_map(|step| &step.inputs).for_each(|&slot| readers[slot] += 1);
        outputs.iter().for_each(|&(_, slot)| readers[slot] += 1);
        let mut seen_later: Vec<bool> = vec![false; slots];
        outputs.iter().for_each(|&(_, slot)| seen_later[slot] = true);
        for step in steps.iter_mut().rev() {
            for &slot in &step.inputs {
                if !seen_later[slot] {
                    step.spent.push(slot);
                    seen_later[slot] = true;
                }
            }
            // Batch normalisation and addition do not need their result for their gradient.
            let Some(&first) = step.inputs.first() else { continue };
            step.in_place = first != 0
                && readers[first] == 1
                && matches!(graph.nodes[first - 1].op, Op::BatchNorm2d { .. } | Op::Add);
        }
        Ok(Self { input: 0, steps, outputs, slots })
    }

    /// `image [B, C, H, W]` → every output of the graph by its name.
    ///
    /// With `train`, batch normalisation uses and updates batch statistics.
    pub fn forward(&self, image: &Tensor, train: bool) -> HashMap<String, Tensor> {
        self.forward_partly(image, |_| train)
    }

    /// As [`Self::forward`], asking of each node by its graph name whether it trains: a frozen encoder
    /// keeps its statistics while the decoder on top learns.
    pub fn forward_partly(
        &self,
        image: &Tensor,
        train: impl Fn(&str) -> bool,
    ) -> HashMap<String, Tensor> {
        let mut values: Vec<Option<Tensor>> = vec![];
        values.resize_with(self.slots, || None);
        values[self.input] = Some(image.shallow_clone());
        let batch = image.size()[0];
        for step in &self.steps {
            let inputs: Vec<&Tensor> = step
                .inputs
                .iter()
                .map(|&slot| values[slot].as_ref().expect("kept until its last reader"))
                .collect();
            let output = step.layer.forward(&inputs, batch, train(&step.node), step.in_place);
            step.spent.iter().for_each(|&slot| values[slot] = None);
            values[step.output] = Some(output);
        }
        self.outputs
            .iter()
            .map(|(name, slot)| {
                let value = values[*slot].as_ref().expect("outputs are kept to the end");
                (name.clone(), value.shallow_clone())
            })
            .collect()
    }
}

/// `x` where it is positive, `slope · x` elsewhere. tch's own has its slope fixed at 0.01.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Tensor {
    x.where_self(&x.gt(0.0), &(x * slope))
}

/// Self-attention over `[mean; tokens]` of which only the mean's answer is kept, so only it is computed:
/// CLIP's pool over the places of a feature map, and PRIOR's over the sentences of a report.
#[derive(Debug)]
pub struct AttentionPool {
    position: Option<Tensor>,
    query: nn::Linear,
    key: nn::Linear,
    value: nn::Linear,
    out: nn::Linear,
    heads: i64,
}

impl AttentionPool {
    /// With `places`, each of them (and the mean) has a learned position.
    pub fn new(p: &nn::Path<'_>, width: i64, heads: i64, places: Option<i64>) -> Self {
        let linear = |name| init::linear(&(p / name), width, width);
        Self {
            position: places.map(|n| {
                let init = init::normal((width as f64).powf(-0.5));
                p.var("positional_embedding", &[n + 1, width], init)
            }),
            key: linear("k_proj"),
            query: linear("q_proj"),
            value: linear("v_proj"),
            out: linear("c_proj"),
            heads,
        }
    }

    /// `x [B, N, D]`, `mask [B, N]` (1 = there, 0 = padding) → `[B, D]`
    pub fn forward(&self, x: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let (b, _, d) = x.size3().expect("tokens are [B, N, D]");
        let mean = match mask {
            None => x.mean_dim(1, true, None),
            Some(mask) => {
                let count = mask.sum_dim_intlist(1, true, None).unsqueeze(-1); // [B, 1, 1]
                (x * mask.unsqueeze(-1)).sum_dim_intlist(1, true, None) / count
            }
        };
        let mut tokens = Tensor::cat(&[mean.to_kind(x.kind()), x.shallow_clone()], 1); // [B, 1 + N, D]
        if let Some(position) = &self.position {
            tokens += position;
        }
        let split = |t: Tensor| t.view([b, -1, self.heads, d / self.heads]).transpose(1, 2);
        let q = split(tokens.narrow(1, 0, 1).apply(&self.query));
        let k = split(tokens.apply(&self.key));
        let v = split(tokens.apply(&self.value));
        let bias = mask.map(|mask| {
            let absent = mask.eq(0).constant_pad_nd([1, 0]).unsqueeze(1).unsqueeze(1); // [B, 1, 1, 1 + N]
            absent.zeros_like().to_kind(q.kind()).masked_fill(&absent, f64::NEG_INFINITY)
        });
        let scores = q.matmul(&k.transpose(-1, -2)) / ((d / self.heads) as f64).sqrt();
        let scores = match bias {
            None => scores,
            Some(bias) => scores + bias,
        };
        let y = scores.softmax(-1, None).matmul(&v); // [B, heads, 1, D / heads]
        y.transpose(1, 2).reshape([b, d]).apply(&self.out)
    }
}

/// `layer1.0.conv1` as nested paths: tch allows no dots in one component.
pub fn subpath<'a>(p: &nn::Path<'a>, name: &str) -> nn::Path<'a> {
    name.split('.').filter(|part| !part.is_empty()).fold(p.clone(), |p, part| p / part)
}
