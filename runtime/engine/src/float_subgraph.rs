//! What a QDQ graph leaves in float, read and run by tract unchanged.

use crate::EngineError;
use crate::onnx::{Document, float_info};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};
use tract_onnx::prelude::*;

/// Float nodes between int8 subgraphs, or after the last.
#[derive(Debug)]
pub(crate) struct FloatSubgraph {
    pub(crate) model: TypedModel,
    /// Float values it reads, in the order of the model's inputs.
    pub(crate) inputs: Vec<usize>,
    /// Shape of its one output.
    pub(crate) dims: Vec<usize>,
    /// Names of its nodes.
    pub(crate) nodes: Vec<String>,
}

/// Operators that multiply matrices: in float only where the manifest says so.
const HEAVY: &[&str] = &["Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"];

/// Cheap operators a float tail may use. None makes tensors larger than what goes in by a number
/// in the file (`Resize`, `Expand`, `Tile`, `Pad`), so no file can ask for unbounded memory.
const LIGHT: &[&str] = &[
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Erf",
    "Exp",
    "Flatten",
    "Gather",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "MaxPool",
    "Mul",
    "Neg",
    "Pow",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// Refuses a float node that is unknown, or heavy and not declared.
pub(crate) fn allow(node: &NodeProto, declared: &[String]) -> Result<(), EngineError> {
    let name = if node.name.is_empty() { &node.output[0] } else { &node.name };
    let (node_name, op) = (name.clone(), node.op_type.clone());
    let named = |declared: &String| {
        let rest = name.strip_prefix(declared.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
    };
    if HEAVY.contains(&op.as_str()) {
        if declared.iter().any(named) {
            return Ok(());
        }
        return Err(EngineError::Float { node: node_name, op });
    }
    if !LIGHT.contains(&op.as_str()) || !matches!(node.domain.as_str(), "" | "ai.onnx") {
        let reason = "the engine has no such operator".into();
        return Err(EngineError::Node { node: node_name, op, reason });
    }
    Ok(())
}

impl FloatSubgraph {
    /// Cuts `nodes` out of the document; `inputs` are float values: name, index, shape.
    pub(crate) fn load(
        document: &Document,
        nodes: &BTreeSet<usize>,
        constants: &BTreeSet<String>,
        inputs: Vec<(String, usize, Vec<usize>)>,
        output: &str,
    ) -> Result<Self, EngineError> {
        let graph = document.graph();
        let made = |node: &&NodeProto| {
            node.op_type == "Constant" && node.output.iter().any(|name| constants.contains(name))
        };
        let constant_nodes = graph.node.iter().filter(made);
        let part = GraphProto {
            node: constant_nodes.chain(nodes.iter().map(|&at| &graph.node[at])).cloned().collect(),
            name: output.to_owned(),
            initializer: graph
                .initializer
                .iter()
                .filter(|t| constants.contains(&t.name))
                .cloned()
                .collect(),
            input: inputs.iter().map(|(name, _, dims)| float_info(name, Some(dims))).collect(),
            output: vec![float_info(output, None)],
            ..GraphProto::default()
        };
        let names = part.node.iter().map(|node| node.name.clone()).collect();
        let opset_import = document.model.opset_import.clone();
        let model =
            typed(&ModelProto { graph: Some(part), opset_import, ..ModelProto::default() })?;
        let fact = model.output_fact(0).map_err(tract_error)?;
        let dims = fact.shape.as_concrete().ok_or_else(|| EngineError::Tract {
            reason: format!("the shape of `{output}` is {:?}, expected numbers", fact.shape),
        })?;
        let dims = dims.to_vec();
        if fact.datum_type != f32::datum_type() {
            let reason = format!("`{output}` is {:?}, expected float", fact.datum_type);
            return Err(EngineError::Tract { reason });
        }
        Ok(Self {
            dims,
            model,
            inputs: inputs.iter().map(|&(_, id, _)| id).collect(),
            nodes: names,
        })
    }
}

/// tract's reading of a model. Its parser and shape rules may panic on what no exporter writes;
/// such files come from outside, so a panic is an error here. The only place that catches one.
pub(crate) fn typed(model: &ModelProto) -> Result<TypedModel, EngineError> {
    let read = || onnx().parse(model, None)?.model.into_optimized();
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(model)) => Ok(model),
        Ok(Err(error)) => Err(tract_error(error)),
        Err(_) => Err(EngineError::Tract { reason: "it panicked on this model".into() }),
    }
}

pub(crate) fn tract_error(error: TractError) -> EngineError {
    // One line: tract's errors are a chain with context.
    EngineError::Tract { reason: format!("{error:#}").replace('\n', " ") }
}
