//! A network on eight bits: which tensors carry codes, and every code of its layers.
//!
//! [`Plan`] says, for a folded graph, which node writes which quantized tensor (a ReLU is the lower
//! clamp of what it follows) and which tensors share their codes (pooling moves codes, it makes no
//! new ones). [`Quantized`] adds numbers to it.

use super::shares;
use crate::read::weights::{Array, Weights};
use calibration::{MOST, QuantParams, QuantWeights, Range, quantize_bias, quantize_weights};
use graph::{Graph, LANGUAGE_GLOBAL, LANGUAGE_GLOBAL_PLACES, LANGUAGE_PLACES, Node, Op};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// A quantized network, ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Quantized {
    /// Normalisations folded.
    pub(crate) graph: Graph,
    pub(crate) plan: Plan,
    /// Of every tensor in [`Plan::tensors`] and every view of one.
    pub(crate) activations: BTreeMap<String, QuantParams>,
    /// Of every convolution and linear layer on integers, by node.
    pub(crate) layers: BTreeMap<String, Layer>,
    /// Weight and bias of those left in float, and of normalisations.
    pub(crate) float_layers: BTreeMap<String, [Array; 2]>,
    /// What [`Op::AddConstant`] adds and [`Op::MulConstant`] multiplies by, and [`Op::Constant`] itself, by node.
    pub(crate) constants: BTreeMap<String, Constant>,
    /// Whether files say s8 around 0 instead of u8 around 128 (symmetric activations).
    pub(crate) signed: bool,
    /// Whether files give biases in float, as what their codes stand for: TensorRT dequantizes no i32.
    pub(crate) float_bias: bool,
}

/// One convolution or linear layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    /// Of the weights.
    pub(crate) shape: Vec<usize>,
    pub(crate) weights: QuantWeights,
    pub(crate) bias: Vec<i32>,
    /// `s_x · s_w[channel]`, rounded to f32 once.
    pub(crate) bias_scales: Vec<f32>,
}

/// A constant: an operand, symmetric around 0 like weights but with codes as activations have (0 is 128), or a tensor of
/// its own, with the range of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Constant {
    pub(crate) shape: Vec<usize>,
    pub(crate) params: QuantParams,
    pub(crate) codes: Vec<u8>,
}

/// Which node writes which tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    writes: BTreeMap<String, Write>,
    /// In execution order, the input first.
    tensors: Vec<String>,
    owners: BTreeMap<String, String>,
    float: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Write {
    Folded,
    Real,
    Float,
    View,
    Tensor { name: String, rectified_by: Option<Node> },
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Writes<'a> {
    /// Nothing of its own: it is a clamp of the node before it.
    Folded,
    /// Logits: its accumulators, scaled, leave in float. Eight bits would only add ties.
    Real,
    /// A float tensor that only layers left in float read, or the sums that a softmax reads.
    Float,
    /// The codes of what it reads, in another shape.
    View,
    /// The codes of tensor `name`, its own or those of the ReLU folded into it.
    Tensor { name: &'a str, rectified_by: Option<&'a Node> },
}

/// Why a graph cannot be quantized.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub(crate) enum PlanError {
    #[error("node `{0}` is an attention pool that was not written out")]
    Attention(String),

    #[error("node `{0}` is a batch normalisation that does not follow a convolution of its own")]
    Norm(String),

    #[error("node `{0}` is a transposed convolution that was not written out")]
    Transposed(String),

    #[error(
        "node `{0}` cannot be left in float: found no such convolution or linear layer; the layers are {1}"
    )]
    NoLayer(String, String),

    #[error(
        "node `{node}` sums {depth} products, expected at most {}: i32 could overflow",
        Plan::MAX_DEPTH
    )]
    Depth { node: String, depth: usize },
}

impl Plan {
    /// Products of 255·127 that fit in i32 beside a bias of 30 bits.
    const MAX_DEPTH: usize = (((1_u64 << 31) - (1 << 30)) / (255 * 127)) as usize;

    /// Plans a folded graph, everything on integers.
    pub(crate) fn new(graph: &Graph) -> Result<Self, PlanError> {
        Self::with_float(graph, &BTreeSet::new())
    }

    /// Plans a folded graph whose layers named in `float` keep their weights; what passes between two of
    /// them stays in float too.
    pub(crate) fn with_float(graph: &Graph, float: &BTreeSet<String>) -> Result<Self, PlanError> {
        let layers: Vec<&str> = graph
            .nodes
            .iter()
            .filter(|node| is_layer(node))
            .map(|node| node.name.as_str())
            .collect();
        if let Some(name) = float.iter().find(|name| !layers.contains(&name.as_str())) {
            return Err(PlanError::NoLayer(name.clone(), layers.join(", ")));
        }
        let mut plan = Self {
            writes: BTreeMap::new(),
            tensors: vec![graph.input.clone()],
            owners: BTreeMap::new(),
            float: float.clone(),
        };
        for node in &graph.nodes {
            let name = node.name.clone();
            match &node.op {
                Op::AttentionPool2d { .. } => return Err(PlanError::Attention(name)),
                Op::BatchNorm2d { .. } => return Err(PlanError::Norm(name)),
                Op::ConvTranspose2d { .. } => return Err(PlanError::Transposed(name)),
                Op::Relu | Op::Relu6 if plan.is_float_tensor(&node.inputs[0]) => {
                    plan.writes.insert(name, Write::Float);
                    continue;
                }
                Op::Relu | Op::Relu6 if plan.rectifies(node) => {
                    plan.writes.insert(name, Write::Folded);
                    continue;
                }
                Op::Conv2d { in_channels, groups, kernel, .. } => {
                    depth_fits(&name, in_channels / groups * kernel[0] * kernel[1])?;
                }
                Op::Linear { in_features, .. } => depth_fits(&name, *in_features)?,
                _ if moves_codes(&node.op) => {
                    let owner = plan.owner(&node.inputs[0]).to_owned();
                    plan.owners.insert(name.clone(), owner);
                }
                Op::Reshape { .. } | Op::Transpose { .. } => {
                    let owner = plan.owner(&node.inputs[0]).to_owned();
                    plan.owners.insert(name.clone(), owner);
                    plan.writes.insert(name, Write::View);
                    continue;
                }
                // For a softmax alone eight bits would be too few: a step of the scores is a factor of the shares.
                Op::MatMul if graph.only_reader(&name).is_some_and(|it| it.op == Op::Softmax) => {
                    plan.writes.insert(name, Write::Float);
                    continue;
                }
                // What is left reads codes and makes others.
                _ => {}
            }
            if makes_logits(graph, node) {
                plan.writes.insert(name, Write::Real);
                continue;
            }
            let rectifiable = is_layer(node) || matches!(node.op, Op::Add | Op::Sub | Op::Mul);
            let is_relu = |it: &&Node| rectifiable && matches!(it.op, Op::Relu | Op::Relu6);
            let relu = graph.only_reader(&name).filter(is_relu);
            if float.contains(&name) && only_float_reads(graph, float, relu.unwrap_or(node)) {
                plan.writes.insert(name, Write::Float);
                continue;
            }
            let tensor = relu.map_or(&node.name, |relu| &relu.name).clone();
            plan.tensors.push(tensor.clone());
            if let Op::Concat { .. } = node.op {
                plan.share_with_whole(graph, node, &tensor);
            }
            let write = Write::Tensor { name: tensor, rectified_by: relu.cloned() };
            plan.writes.insert(node.name.clone(), write);
        }
        Ok(plan)
    }

    /// Whether a ReLU is the lower clamp of what it reads; elsewhere it is an operation of its own.
    fn rectifies(&self, relu: &Node) -> bool {
        let read = self.writes.get(&relu.inputs[0]);
        matches!(read, Some(Write::Tensor { rectified_by: Some(by), .. }) if by.name == relu.name)
    }

    /// Parts that only `node`, a concatenation, reads take the codes of the whole: they are not rounded twice, and the engine
    /// makes them where the whole lies.
    fn share_with_whole(&mut self, graph: &Graph, node: &Node, whole: &str) {
        for part in &node.inputs {
            let alone = graph.only_reader(part).is_some();
            if alone && self.tensors.contains(part) && self.owner(part) == part {
                // Of a part that is a concatenation itself, its own parts too.
                let owned = self.owners.values_mut().filter(|owner| *owner == part);
                owned.for_each(|owner| whole.clone_into(owner));
                self.owners.insert(part.clone(), whole.to_owned());
            }
        }
    }

    /// What becomes of `node`.
    pub(crate) fn writes(&self, node: &str) -> Writes<'_> {
        match &self.writes[node] {
            Write::Folded => Writes::Folded,
            Write::Real => Writes::Real,
            Write::Float => Writes::Float,
            Write::View => Writes::View,
            Write::Tensor { name, rectified_by } => {
                Writes::Tensor { name, rectified_by: rectified_by.as_ref() }
            }
        }
    }

    /// Whether a tensor exists in float only.
    pub(crate) fn is_float_tensor(&self, tensor: &str) -> bool {
        self.writes.get(tensor) == Some(&Write::Float)
    }

    /// Parameters of every tensor and view from those of the tensors that own some.
    pub(crate) fn activations(
        &self,
        owned: &BTreeMap<String, QuantParams>,
    ) -> BTreeMap<String, QuantParams> {
        let views = self.writes.iter().filter(|(_, write)| **write == Write::View);
        let known = self.tensors.iter().chain(views.map(|(name, _)| name));
        known.map(|name| (name.clone(), owned[self.owner(name)])).collect()
    }

    /// Layers left in float.
    pub(crate) fn float(&self) -> &BTreeSet<String> {
        &self.float
    }

    /// Tensors that exist as codes, in execution order, the input first.
    pub(crate) fn tensors(&self) -> &[String] {
        &self.tensors
    }

    /// The tensor whose scale and zero point `tensor` uses; often itself.
    pub(crate) fn owner<'a>(&'a self, tensor: &'a str) -> &'a str {
        self.owners.get(tensor).map_or(tensor, String::as_str)
    }
}

impl Quantized {
    /// Rounds weights and biases for the given activations (`[tensor] → params`, by owner).
    pub(crate) fn new(
        graph: Graph,
        plan: Plan,
        weights: &Weights,
        owned: &BTreeMap<String, QuantParams>,
    ) -> Self {
        let activations = plan.activations(owned);
        let layers = graph
            .nodes
            .iter()
            .filter(|node| is_layer(node) && !plan.float.contains(&node.name))
            .map(|node| {
                let input = activations[&node.inputs[0]];
                (node.name.clone(), Layer::new(weights, &node.name, input))
            })
            .collect();
        let kept = |name: &String| {
            let weight = weights[&format!("{name}.weight")].clone();
            let zeros = Array { shape: vec![weight.shape[0]], values: vec![0.0; weight.shape[0]] };
            let bias = weights.get(&format!("{name}.bias")).cloned().unwrap_or(zeros);
            (name.clone(), [weight, bias])
        };
        let is_norm = |node: &&Node| matches!(node.op, Op::LayerNorm { .. } | Op::GroupNorm { .. });
        let norms = graph.nodes.iter().filter(is_norm).map(|node| &node.name);
        let float_layers = plan.float.iter().chain(norms).map(kept).collect();
        let constant = |node: &Node| {
            let array = || &weights[&format!("{}.constant", node.name)];
            let constant = match node.op {
                Op::AddConstant { .. } | Op::MulConstant { .. } => Constant::new(array()),
                Op::Constant { .. } => Constant::with(array(), activations[&node.name]),
                _ => return None,
            };
            Some((node.name.clone(), constant))
        };
        let constants = graph.nodes.iter().filter_map(constant).collect();
        Self {
            graph,
            plan,
            activations,
            layers,
            float_layers,
            constants,
            signed: false,
            float_bias: false,
        }
    }
}

impl Constant {
    fn new(array: &Array) -> Self {
        let reach = |range: Range, &x: &f32| range.union(Range { lo: x, hi: x });
        let range = array.values.iter().fold(Range { lo: 0.0, hi: 0.0 }, reach);
        Self::with(array, range.symmetric())
    }

    fn with(array: &Array, params: QuantParams) -> Self {
        let codes = array.values.iter().map(|&x| params.quantize(x)).collect();
        Self { shape: array.shape.clone(), params, codes }
    }
}

impl Layer {
    fn new(weights: &Weights, node: &str, input: QuantParams) -> Self {
        let kernel = &weights[&format!("{node}.weight")];
        let zeros = vec![0.0; kernel.shape[0]];
        let bias = weights.get(&format!("{node}.bias")).map_or(&zeros, |bias| &bias.values);
        let rounded = quantize_weights(&kernel.values, bias, input, most_of(node));
        Self {
            shape: kernel.shape.clone(),
            bias: quantize_bias(bias, &rounded.scales, input),
            bias_scales: rounded.scales.iter().map(|scale| input.scale * scale).collect(),
            weights: rounded,
        }
    }
}

/// Largest code of a layer's weights.
pub(crate) fn most_of(layer: &str) -> i8 {
    if shares::makes_values(layer) { shares::MOST } else { MOST }
}

/// Convolutions and linear layers: what has weights to round.
pub(crate) fn is_layer(node: &Node) -> bool {
    matches!(node.op, Op::Conv2d { .. } | Op::Linear { .. })
}

/// Whether an operation picks and places codes and makes none: what it gives has the scale of what it reads.
fn moves_codes(op: &Op) -> bool {
    match op {
        Op::MaxPool2d { .. }
        | Op::UpsampleNearest { .. }
        | Op::Slice { .. }
        | Op::Resize { .. } => true,
        // 0 has a code in every range.
        Op::Pad { value, .. } => *value == 0.0,
        _ => false,
    }
}

/// Whether `node`'s value goes to float layers and nowhere else.
fn only_float_reads(graph: &Graph, float: &BTreeSet<String>, node: &Node) -> bool {
    let is_output = graph.outputs.iter().any(|output| output.node == node.name);
    !is_output
        && graph.readers(&node.name).next().is_some()
        && graph.readers(&node.name).all(|reader| float.contains(&reader.name))
}

/// A convolution or linear layer that nobody reads but the caller; findings in words read the joint space as codes.
fn makes_logits(graph: &Graph, node: &Node) -> bool {
    let joint =
        |name: &str| [LANGUAGE_GLOBAL, LANGUAGE_PLACES, LANGUAGE_GLOBAL_PLACES].contains(&name);
    let mut outputs = graph.outputs.iter().filter(|output| output.node == node.name);
    is_layer(node)
        && graph.readers(&node.name).next().is_none()
        && outputs.next().is_some_and(|output| !joint(&output.name))
}

fn depth_fits(node: &str, depth: usize) -> Result<(), PlanError> {
    if depth > Plan::MAX_DEPTH {
        return Err(PlanError::Depth { node: node.into(), depth });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::sketches;

    #[test]
    fn what_only_a_concatenation_reads_has_the_codes_of_the_whole() {
        let (graph, _) = sketches::joins();
        let plan = Plan::new(&graph).unwrap();
        let joins = graph.nodes.iter().filter(|node| matches!(node.op, Op::Concat { .. }));
        let [inner, outer] = joins.collect::<Vec<_>>()[..] else { panic!("two concatenations") };
        let [first, beside, others_too] = &outer.inputs[..] else { panic!("three parts") };
        assert_eq!(first, &inner.name);
        for part in inner.inputs.iter().chain([first, beside]) {
            assert_eq!(plan.owner(part), outer.name, "{part}");
        }
        assert_eq!(plan.owner(others_too), others_too);
    }
}
