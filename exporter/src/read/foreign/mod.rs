//! An ONNX file of somebody else as a [`Graph`] with weights.
//!
//! ```text
//! file        bytes, and weights beside the file      functions   their bodies in place of calls
//!     ▼
//! nodes       one node of the file: inputs, attributes (each must be read), older and newer operator sets
//!     ▼
//! builder     shapes known, constants computed, formulas made one operator ◀─ fuse: formulas, normalisation, affine
//!     ▼
//! net         few operators (operator), everything of fixed size
//!     ▼
//! lower       operators of `graph`, without the batch axis
//! ```
//!
//! Anything that is not understood is refused by the name of its node, and by that of its attribute. Nodes keep their
//! names where they have one of their own. Start with `nodes/mod.rs`: it has the list of operators.

mod affine;
mod attributes;
mod builder;
mod evaluate;
mod file;
mod formulas;
mod functions;
mod fuse;
mod lower;
mod net;
mod nodes;
mod normalisation;
mod operator;
mod rewrite;
mod tensor;
#[cfg(test)]
mod tests;

use crate::read::weights::Weights;
use anyhow::{Context, Result, bail, ensure};
use builder::Builder;
use graph::Graph;
use operator::Operator;
use std::{collections::HashSet, path::Path};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType,
    tensor_shape_proto::dimension, type_proto,
};

/// A network that says nothing of its task.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) graph: Graph,
    pub(crate) weights: Weights,
}

/// Reads a file.
pub(crate) fn open(path: &Path) -> Result<Foreign> {
    file::open(path).and_then(network).with_context(|| path.display().to_string())
}

/// Reads a model whose weights are all in it.
#[cfg(test)]
fn read(bytes: &[u8]) -> Result<Foreign> {
    network(file::decode(bytes)?)
}

fn network(mut model: ModelProto) -> Result<Foreign> {
    functions::inline(&mut model)?;
    let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let opset = model.opset_import.iter().find(|set| own(&set.domain)).map_or(1, |set| set.version);
    ensure!(opset >= 7, "operator set {opset}, expected 7 or newer");
    let onnx = model.graph.context("the ONNX file has no graph")?;
    ensure!(onnx.sparse_initializer.is_empty(), "sparse constants are not supported");
    if let Some(node) = onnx.node.iter().find(|node| node.op_type == "DequantizeLinear") {
        bail!("node `{}` is DequantizeLinear: found a quantized model, expected float", node.name);
    }
    let image = image_input(&onnx)?;
    let held = onnx.node.iter().flat_map(|node| &node.attribute).filter_map(|held| held.t.as_ref());
    // How many values a constant of the file may justify.
    let values_of = |x: &TensorProto| {
        let (floats, doubles) = (x.float_data.len(), x.double_data.len());
        let listed = floats + doubles + x.int32_data.len() + x.int64_data.len();
        4 * listed + 2 * x.raw_data.len()
    };
    let size = onnx.initializer.iter().chain(held).map(values_of).sum();
    let mut builder = Builder::new(opset, &onnx.initializer, size);
    let [c, h, w] = image.shape;
    builder.begin(&image.name, "input");
    let mut id = builder.input(vec![1, c, h, w]);
    if image.channels_last {
        id = builder.push(Operator::Transpose(vec![0, 2, 3, 1]), &[id])?;
    }
    builder.name(&image.name, id)?;
    walk(&mut builder, &onnx.node, 0)?;
    let mut outputs = Vec::new();
    for output in &onnx.output {
        let id = builder.tensor(&output.name);
        let error = || format!("nothing makes the output `{}`", output.name);
        outputs.push((output.name.clone(), id.with_context(error)?));
    }
    ensure!(!outputs.is_empty(), "it has no output");
    let name = if onnx.name.is_empty() { "foreign" } else { &onnx.name };
    let (graph, weights) =
        lower::lower(&builder.net, name, &image.name, &outputs, builder::ROOM + size)?;
    graph.shapes()?;
    crate::read::weights::check(&weights, &graph)?;
    Ok(Foreign { graph, weights })
}

/// Reads nodes in their order; the error names one.
fn walk<'a>(builder: &mut Builder<'a>, nodes: &'a [NodeProto], depth: usize) -> Result<()> {
    let mut seen = HashSet::new();
    let shared: HashSet<&str> =
        nodes.iter().map(|node| node.name.as_str()).filter(|name| !seen.insert(*name)).collect();
    for node in nodes {
        // Names that several nodes have, which ONNX allows, tell nothing: these are called by what they make.
        let own =
            Some(&node.name).filter(|name| !name.is_empty() && !shared.contains(name.as_str()));
        let name = own.or(node.output.first()).map_or("", String::as_str);
        let made = match node.op_type.as_str() {
            "If" => branch(builder, node, depth),
            _ => one(builder, node, name),
        };
        made.with_context(|| format!("node `{name}` ({}) cannot be quantized", node.op_type))?;
    }
    Ok(())
}

fn one<'a>(builder: &mut Builder<'a>, node: &'a NodeProto, name: &str) -> Result<()> {
    builder.begin(name, &node.op_type);
    let made = nodes::read(builder, node)?;
    let outputs = node.output.iter().zip(made);
    outputs
        .filter(|(output, _)| !output.is_empty())
        .try_for_each(|(output, id)| builder.name(output, id))
}

/// The branch that is always taken, in place of the node.
fn branch<'a>(builder: &mut Builder<'a>, node: &'a NodeProto, depth: usize) -> Result<()> {
    ensure!(depth < 8, "branches in branches");
    let condition = builder.tensor(node.input.first().context("it has no condition")?)?;
    let condition =
        builder.net.constant(condition).context("its condition depends on the picture")?;
    let [taken] = condition.as_bools()?[..] else { bail!("its condition is no single truth") };
    let name = if taken { "then_branch" } else { "else_branch" };
    let graph = attributes::Attributes::of(node)?.graph(name)?;
    let graph = graph.with_context(|| format!("it has no attribute `{name}`"))?;
    builder.add_initializers(&graph.initializer);
    walk(builder, &graph.node, depth + 1)?;
    for (output, inner) in node.output.iter().zip(&graph.output) {
        let id = builder.tensor(&inner.name)?;
        if *output != inner.name {
            builder.name(output, id)?;
        }
    }
    Ok(())
}

/// The one input that is no constant.
struct Image {
    name: String,
    /// `[C, H, W]`.
    shape: [usize; 3],
    /// The file has `[N, H, W, C]`.
    channels_last: bool,
}

fn image_input(onnx: &GraphProto) -> Result<Image> {
    let constants: HashSet<&str> =
        onnx.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<_> =
        onnx.input.iter().filter(|input| !constants.contains(input.name.as_str())).collect();
    let [input] = inputs[..] else {
        bail!("found {} inputs, expected one: the image", inputs.len());
    };
    let name = &input.name;
    let kind = input.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        bail!("input `{name}` is no tensor")
    };
    let kind = DataType::try_from(tensor.elem_type).unwrap_or(DataType::Undefined);
    let float = [DataType::Float, DataType::Float16, DataType::Bfloat16, DataType::Double];
    ensure!(float.contains(&kind), "input `{name}` is of {kind:?}, expected floats");
    let dims: Vec<Option<usize>> = tensor
        .shape
        .as_ref()
        .map_or(&[][..], |shape| &shape.dim)
        .iter()
        .map(|dim| match dim.value {
            Some(dimension::Value::DimValue(n)) => usize::try_from(n).ok().filter(|&n| n > 0),
            _ => None,
        })
        .collect();
    let [_, Some(a), Some(b), Some(c)] = dims[..] else {
        bail!("input `{name}` has shape {dims:?}, expected [N, C, H, W] with fixed C, H and W");
    };
    let grey_or_colour = |channels: usize| channels == 1 || channels == 3;
    let channels_last = !grey_or_colour(a) && grey_or_colour(c);
    let shape = if channels_last { [c, a, b] } else { [a, b, c] };
    ensure!(
        grey_or_colour(shape[0]),
        "input `{name}` has {} channels, expected 1 (grey) or 3 (grey, repeated)",
        shape[0]
    );
    ensure!(
        shape[1].max(shape[2]) <= 1 << 14,
        "input `{name}` has {}x{} pixels",
        shape[1],
        shape[2]
    );
    Ok(Image { name: name.clone(), shape, channels_last })
}
