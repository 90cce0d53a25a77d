//! Functions of a model, as PyTorch's exporter may leave them: their nodes in place of every call.

use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use tract_onnx::pb::{FunctionProto, GraphProto, ModelProto, NodeProto};

const MAX_DEPTH: usize = 16;
pub(super) const MAX_NODES: usize = 50_000;

type Functions = HashMap<(String, String), FunctionProto>;

/// Puts the bodies of functions in place of their calls.
pub(super) fn inline(model: &mut ModelProto) -> Result<()> {
    let functions: Functions = std::mem::take(&mut model.functions)
        .into_iter()
        .map(|function| ((function.domain().to_owned(), function.name().to_owned()), function))
        .collect();
    let graph: &mut GraphProto = model.graph.as_mut().context("the ONNX file has no graph")?;
    ensure!(
        graph.node.len() <= MAX_NODES,
        "{} nodes, expected {MAX_NODES} or fewer",
        graph.node.len()
    );
    if functions.is_empty() {
        return Ok(());
    }
    for function in functions.values() {
        let own = |imports: &[tract_onnx::pb::OperatorSetIdProto]| {
            imports.iter().find(|set| set.domain.is_empty()).map(|set| set.version)
        };
        let (theirs, ours) = (own(&function.opset_import), own(&model.opset_import));
        ensure!(
            theirs.is_none() || theirs == ours,
            "function `{}` is of operator set {theirs:?}, the model of {ours:?}",
            function.name()
        );
    }
    let mut nodes = Vec::new();
    for node in std::mem::take(&mut graph.node) {
        put(node, &functions, &mut nodes, 0)?;
    }
    graph.node = nodes;
    Ok(())
}

fn put(
    node: NodeProto,
    functions: &Functions,
    into: &mut Vec<NodeProto>,
    depth: usize,
) -> Result<()> {
    ensure!(into.len() < MAX_NODES, "more than {MAX_NODES} nodes once functions are put in place");
    let key = (node.domain.clone(), node.op_type.clone());
    let Some(function) = functions.get(&key) else {
        into.push(node);
        return Ok(());
    };
    ensure!(depth < MAX_DEPTH, "function `{}` calls itself", function.name());
    let place = node.output.first().filter(|_| node.name.is_empty()).unwrap_or(&node.name);
    let mut names: HashMap<&str, String> = HashMap::new();
    for (formal, at) in function.input.iter().zip(0..) {
        names.insert(formal, node.input.get(at).cloned().unwrap_or_default());
    }
    for (formal, at) in function.output.iter().zip(0..) {
        let left_out = || format!("{place}/{formal}");
        let given = node.output.get(at).filter(|name| !name.is_empty());
        names.insert(formal, given.cloned().unwrap_or_else(left_out));
    }
    for body in &function.node {
        let made = called(body, &node, &names, place)?;
        put(made, functions, into, depth + 1)?;
    }
    Ok(())
}

/// A node of a function's body, for one call.
fn called(
    body: &NodeProto,
    call: &NodeProto,
    names: &HashMap<&str, String>,
    place: &str,
) -> Result<NodeProto> {
    let mut made = body.clone();
    made.name = format!("{place}/{}", body.name);
    for name in made.input.iter_mut().chain(&mut made.output).filter(|name| !name.is_empty()) {
        *name = names.get(name.as_str()).cloned().unwrap_or_else(|| format!("{place}/{name}"));
    }
    made.attribute.clear();
    for attribute in &body.attribute {
        if attribute.g.is_some() || !attribute.graphs.is_empty() {
            bail!("node `{}` of a function holds a graph", body.name);
        }
        if attribute.ref_attr_name.is_empty() {
            made.attribute.push(attribute.clone());
            continue;
        }
        // One that the call leaves out is left out.
        let given = call.attribute.iter().find(|given| given.name == attribute.ref_attr_name);
        made.attribute.extend(given.map(|given| {
            let mut given = given.clone();
            given.name.clone_from(&attribute.name);
            given
        }));
    }
    Ok(made)
}
