//! The deployed network in tch: an interpreter of [`graph::Graph`] that autograd sees.
//!
//! Parameters carry the graph's own names (`layer1.0.conv1.weight`), so weights move one to one between
//! torchvision, this, and the exporter's interpreters.

mod batch_norm;

pub use batch_norm::BatchNorm;

use crate::init;
use anyhow::{Context, Result};
use graph::{Graph, Node, Op};
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

#[derive(Debug)]
enum Layer {
    Conv { weight: Tensor, bias: Option<Tensor>, stride: i64, padding: i64, groups: i64 },
    BatchNorm(BatchNorm),
    Relu,
    Relu6,
    LeakyRelu { slope: f64 },
    Add,
    Concat,
    MaxPool { kernel: i64, stride: i64, padding: i64 },
    GlobalAvgPool,
    AttentionPool(AttentionPool),
    Upsample { factor: i64 },
    Linear(nn::Linear),
    Reshape { shape: Vec<i64> },
    Transpose,
    Append,
    AddConstant(Tensor),
    MatMul,
    Softmax,
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
            let first = step.inputs[0];
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
        for step in &self.steps {
            let inputs: Vec<&Tensor> = step
                .inputs
                .iter()
                .map(|&slot| values[slot].as_ref().expect("kept until its last reader"))
                .collect();
            let output = step.layer.forward(&inputs, train(&step.node), step.in_place);
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

impl Layer {
    fn new(p: &nn::Path<'_>, node: &Node, group: Option<&Rc<Group>>) -> Self {
        let size = |n: usize| n as i64;
        match &node.op {
            Op::Conv2d { in_channels, out_channels, kernel, stride, padding, groups, bias } => {
                let shape = [*out_channels, in_channels / groups, kernel[0], kernel[1]].map(size);
                let [of_weight, of_bias] = init::of_convolution(&node.name, shape);
                Self::Conv {
                    weight: p.var("weight", &shape, of_weight),
                    bias: bias.then(|| p.var("bias", &shape[..1], of_bias)),
                    stride: size(*stride),
                    padding: size(*padding),
                    groups: size(*groups),
                }
            }
            Op::BatchNorm2d { channels, eps } => {
                Self::BatchNorm(BatchNorm::new(p, size(*channels), *eps, group))
            }
            Op::Relu => Self::Relu,
            Op::Relu6 => Self::Relu6,
            Op::LeakyRelu { slope } => Self::LeakyRelu { slope: f64::from(*slope) },
            Op::Add => Self::Add,
            Op::Concat => Self::Concat,
            Op::MaxPool2d { kernel, stride, padding } => Self::MaxPool {
                kernel: size(*kernel),
                stride: size(*stride),
                padding: size(*padding),
            },
            Op::GlobalAvgPool => Self::GlobalAvgPool,
            Op::AttentionPool2d { channels, heads, tokens } => {
                let pool =
                    AttentionPool::new(p, size(*channels), size(*heads), Some(size(*tokens)));
                Self::AttentionPool(pool)
            }
            Op::UpsampleNearest { factor } => Self::Upsample { factor: size(*factor) },
            Op::Linear { in_features, out_features } => {
                let (from, to) = (size(*in_features), size(*out_features));
                Self::Linear(init::linear(p, from, to))
            }
            Op::Reshape { shape } => Self::Reshape {
                shape: [-1].into_iter().chain(shape.iter().map(|&n| size(n))).collect(),
            },
            Op::Transpose => Self::Transpose,
            Op::Append => Self::Append,
            Op::AddConstant { shape } => {
                let shape: Vec<i64> = shape.iter().map(|&n| size(n)).collect();
                Self::AddConstant(p.zeros("constant", &shape))
            }
            Op::MatMul => Self::MatMul,
            Op::Softmax => Self::Softmax,
        }
    }

    fn forward(&self, x: &[&Tensor], train: bool, in_place: bool) -> Tensor {
        match self {
            Self::Conv { weight, bias, stride, padding, groups } => {
                let (x, stride) = if *padding == 0 && reads_past_its_memory(weight, *stride) {
                    (&every(x[0], *stride), 1)
                } else {
                    (x[0], *stride)
                };
                x.conv2d(weight, bias.as_ref(), [stride; 2], [*padding; 2], [1, 1], *groups)
            }
            Self::BatchNorm(norm) => norm.forward(x[0], train),
            Self::Relu if in_place => x[0].shallow_clone().relu_(),
            Self::Relu => x[0].relu(),
            Self::Relu6 => x[0].clamp(0.0, 6.0),
            Self::LeakyRelu { slope } => leaky_relu(x[0], *slope),
            Self::Add if in_place => x[0].shallow_clone().g_add_(x[1]),
            Self::Add => x[0] + x[1],
            Self::Concat => Tensor::cat(x, 1),
            Self::MaxPool { kernel, stride, padding } => {
                x[0].max_pool2d([*kernel; 2], [*stride; 2], [*padding; 2], [1, 1], false)
            }
            Self::GlobalAvgPool => x[0].mean_dim([2_i64, 3].as_slice(), false, None),
            Self::AttentionPool(pool) => pool.forward(&x[0].flatten(2, 3).transpose(1, 2), None),
            Self::Upsample { factor } => {
                let (_, _, h, w) = x[0].size4().expect("images are [B, C, H, W]");
                x[0].upsample_nearest2d([h * factor, w * factor], None, None)
            }
            Self::Linear(linear) => x[0].apply(linear),
            Self::Reshape { shape } => x[0].reshape(shape.as_slice()),
            Self::Transpose => x[0].transpose(1, 2),
            Self::Append => Tensor::cat(x, 2),
            Self::AddConstant(constant) => x[0] + constant,
            Self::MatMul => x[0].matmul(x[1]),
            Self::Softmax => x[0].softmax(-1, None),
        }
    }
}

/// Whether oneDNN computes this kernel's gradient wrongly: on channels-last memory it gathers the pixels that a strided
/// 1x1 convolution looks at sixteen channels at a time, past the end of its buffer where there are fewer. The process dies
/// at once or later (libtorch 2.11, f32 and bf16, maps of 48x48 and more; smaller ones may only look well).
fn reads_past_its_memory(weight: &Tensor, stride: i64) -> bool {
    let (_, channels, height, width) = weight.size4().expect("kernels are [O, C, h, w]");
    stride > 1 && [height, width] == [1, 1] && channels < 16
}

/// Every `step`th row and column of `[B, C, H, W]`: all that a 1x1 convolution of this stride sees.
fn every(x: &Tensor, step: i64) -> Tensor {
    x.slice(2, None, None, step).slice(3, None, None, step)
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
