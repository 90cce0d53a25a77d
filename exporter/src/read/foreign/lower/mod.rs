//! A network of few operators as a [`Graph`] of ours.
//!
//! A graph counts no batch axis. Where the first side of a tensor is 1, that is the batch; elsewhere, as where windows of
//! a picture lie one behind the other, the tensor keeps it as an axis of its own. A reshape is nothing until somebody
//! reads the tensor in another shape than it has.

mod arithmetic;
mod layers;
mod layout;

use super::{
    net::{Id, Names, Net, Node},
    operator::Operator,
    tensor::Tensor,
};
use crate::read::weights::{Array, Weights};
use anyhow::{Context, Result, ensure};
use graph::{Graph, Op, Output};
use std::collections::{HashMap, HashSet};

/// Where a tensor lies: the node of ours that makes it, and in which shape.
#[derive(Clone, Debug)]
struct Place {
    node: String,
    shape: Vec<usize>,
}

struct Lowering<'n> {
    net: &'n Net,
    /// Nodes whose result somebody reads, in order.
    used: Vec<&'n Node>,
    outputs: HashSet<Id>,
    places: HashMap<Id, Place>,
    /// Reshapes there are.
    views: HashMap<(String, Vec<usize>), String>,
    /// Tensors that a node before has computed already.
    merged: HashSet<Id>,
    nodes: Vec<graph::Node>,
    weights: Weights,
    /// How many values weights may still have: layers may share them.
    room: usize,
    names: Names,
}

/// The graph and its weights; `input` is the network's first tensor.
pub(super) fn lower(
    net: &Net,
    name: &str,
    input: &str,
    outputs: &[(String, Id)],
    room: usize,
) -> Result<(Graph, Weights)> {
    let &[_, c, h, w] = net.dims(0) else { unreachable!("the input is a picture") };
    let mut lowering = Lowering {
        net,
        used: used(net, outputs),
        outputs: outputs.iter().map(|(_, id)| *id).collect(),
        places: HashMap::from([(0, Place { node: input.to_owned(), shape: vec![c, h, w] })]),
        views: HashMap::new(),
        merged: HashSet::new(),
        nodes: Vec::new(),
        weights: Weights::new(),
        room,
        // Files have the outputs' names too, which no node may have.
        names: Names::new(outputs.iter().map(|(name, _)| name.clone()).chain([input.to_owned()])),
    };
    for node in lowering.used.clone() {
        lowering
            .node(node)
            .with_context(|| format!("node `{}` ({}) cannot be quantized", node.name, node.kind))?;
    }
    let mut made = Vec::new();
    for (name, id) in outputs {
        let dims = net.dims(*id);
        ensure!(
            dims.len() > 1 && dims[0] == 1,
            "output `{name}` is {dims:?}, expected a batch axis of one picture in front"
        );
        let node = lowering.tensor(*id, &dims[1..], name)?;
        made.push(Output { name: name.clone(), node });
    }
    let Lowering { nodes, weights, .. } = lowering;
    let graph = Graph {
        name: name.to_owned(),
        input: input.to_owned(),
        input_shape: [c, h, w],
        nodes,
        outputs: made,
    };
    Ok((graph, weights))
}

/// Nodes that outputs depend on.
fn used<'n>(net: &'n Net, outputs: &[(String, Id)]) -> Vec<&'n Node> {
    let mut needed: HashSet<Id> = outputs.iter().map(|(_, id)| *id).collect();
    let mut used: Vec<&Node> = Vec::new();
    for node in net.nodes.iter().rev() {
        if needed.contains(&node.output) {
            needed.extend(&node.inputs);
            used.push(node);
        }
    }
    used.reverse();
    used
}

impl Lowering<'_> {
    fn node(&mut self, node: &Node) -> Result<()> {
        if self.merged.contains(&node.output) {
            return Ok(());
        }
        match &node.op {
            Operator::Conv { .. } | Operator::ConvTranspose { .. } => self.conv(node),
            Operator::BatchNorm { .. } | Operator::GroupNorm { .. } => self.channel_norm(node),
            Operator::LayerNorm { eps } => self.layer_norm(node, *eps),
            Operator::MaxPool { .. } | Operator::AvgPool { .. } | Operator::Pad { .. } => {
                self.window(node)
            }
            Operator::Resize { size, resample } => self.resize(node, *size, *resample),
            Operator::Apply(function) => self.apply(node, *function),
            Operator::Binary(kind) => self.binary(node, *kind),
            Operator::MatMul => self.matmul(node),
            Operator::Mean { axes, .. } => self.mean(node, axes),
            Operator::Softmax => {
                let shape = natural(self.net.dims(node.inputs[0]));
                self.one(node, Op::Softmax, &shape)
            }
            Operator::Concat { axis } => self.concat(node, *axis),
            Operator::Slice { axis, start, end, step } => {
                self.slice(node, *axis, [*start, *end, *step])
            }
            Operator::Reshape(_) => self.reshape(node),
            Operator::Transpose(order) => self.transpose(node, order),
            Operator::Expand(_) => self.expand(node),
        }
    }

    /// Adds an operator that reads its first tensor in this shape and makes the result in its natural one.
    fn one(&mut self, node: &Node, op: Op, shape: &[usize]) -> Result<()> {
        let x = self.tensor(node.inputs[0], shape, &node.name)?;
        let made = natural(self.net.dims(node.output));
        self.push(node, op, vec![x], made);
        Ok(())
    }

    /// Adds the node of ours that makes a node's result.
    fn push(&mut self, node: &Node, op: Op, inputs: Vec<String>, shape: Vec<usize>) -> String {
        let name = self.add(&node.name, op, inputs);
        self.places.insert(node.output, Place { node: name.clone(), shape });
        name
    }

    fn add(&mut self, name: &str, op: Op, inputs: Vec<String>) -> String {
        let name = self.names.unique(name);
        self.nodes.push(graph::Node { name: name.clone(), op, inputs });
        name
    }

    /// The tensor in this shape; a constant becomes a node, a tensor in another shape a reshape, called after `reader`.
    fn tensor(&mut self, id: Id, shape: &[usize], reader: &str) -> Result<String> {
        if let Some(constant) = self.net.constant(id).cloned() {
            let name = self.add(
                &format!("{reader}.given"),
                Op::Constant { shape: shape.to_vec() },
                Vec::new(),
            );
            self.weight(&name, "constant", &constant, shape)?;
            return Ok(name);
        }
        let place = self.places.get(&id).cloned();
        let Place { node, shape: found } = place.context("nothing makes its input")?;
        if found == shape {
            return Ok(node);
        }
        let key = (node, shape.to_vec());
        if let Some(view) = self.views.get(&key) {
            return Ok(view.clone());
        }
        let name = format!("{}.view", self.net.maker(id).map_or(&key.0, |maker| &maker.name));
        let view = self.add(&name, Op::Reshape { shape: shape.to_vec() }, vec![key.0.clone()]);
        self.views.insert(key, view.clone());
        Ok(view)
    }

    fn weight(&mut self, node: &str, param: &str, tensor: &Tensor, shape: &[usize]) -> Result<()> {
        self.array(node, param, tensor.as_floats()?.to_vec(), shape)
    }

    fn array(&mut self, node: &str, param: &str, values: Vec<f32>, shape: &[usize]) -> Result<()> {
        ensure!(
            values.len() == shape.iter().product::<usize>(),
            "{} values for {shape:?}",
            values.len()
        );
        let left = self.room.checked_sub(values.len());
        self.room = left.context("more weights than the file has, many times")?;
        let array = Array { shape: shape.to_vec(), values };
        self.weights.insert(format!("{node}.{param}"), array);
        Ok(())
    }

    fn given(&self, node: &Node, at: usize) -> Result<&Tensor> {
        let id = *node.inputs.get(at).with_context(|| format!("input {at} is missing"))?;
        let constant = self.net.constant(id);
        constant.map(AsRef::as_ref).with_context(|| format!("its input {at} is not constant"))
    }
}

/// A shape without the batch axis, where the first side is one.
fn natural(dims: &[usize]) -> Vec<usize> {
    match dims {
        [1, rest @ ..] if !rest.is_empty() => rest.to_vec(),
        _ => dims.to_vec(),
    }
}
