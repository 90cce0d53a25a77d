//! Untrusted bytes as an ONNX graph whose references and sizes are sound.

use super::node_name;
use super::schema::check_attributes;
use crate::EngineError;
use prost::Message;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

const MAX_NODES: usize = 20_000;
const MAX_RANK: usize = 8;

/// A decoded model: nodes in execution order, every name defined once and before its use.
pub(crate) struct Document {
    pub(crate) model: ModelProto,
    /// The one input that is not an initializer.
    pub(crate) input: (String, Vec<usize>),
    /// Version of the default operator set.
    pub(crate) opset: i64,
}

impl Document {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        let model = ModelProto::decode(bytes).map_err(|e| bad(format!("protobuf: {e}")))?;
        let graph = model.graph.as_ref().ok_or_else(|| bad("it has no graph".into()))?;
        let opset = model
            .opset_import
            .iter()
            .find(|set| set.domain.is_empty() || set.domain == "ai.onnx")
            .map_or(0, |set| set.version);
        if opset < 10 {
            return Err(bad(format!("operator set {opset}, expected 13 or newer")));
        }
        if !model.functions.is_empty() || !graph.sparse_initializer.is_empty() {
            return Err(bad("functions and sparse tensors are not supported".into()));
        }
        check_tensors(graph)?;
        check_names(graph)?;
        graph.node.iter().try_for_each(check_attributes)?;
        let constant: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let mut inputs = graph.input.iter().filter(|input| !constant.contains(input.name.as_str()));
        let input = match (inputs.next(), inputs.next()) {
            (Some(input), None) => (input.name.clone(), input_dims(input)?),
            (None, _) => return Err(bad("no inputs, expected one image".into())),
            (Some(_), _) => return Err(bad("several inputs, expected one image".into())),
        };
        Ok(Self { input, opset, model })
    }

    pub(crate) fn graph(&self) -> &GraphProto {
        self.model.graph.as_ref().expect("checked by `decode`")
    }

    /// The model with its batch dimension fixed to one image.
    pub(crate) fn into_one_image(mut self) -> ModelProto {
        let (name, dims) = &self.input;
        let graph = self.model.graph.as_mut().expect("checked by `decode`");
        graph.input = vec![float_info(name, Some(dims))];
        graph.value_info.clear();
        self.model
    }

    /// Initializers and `Constant` nodes by name.
    pub(crate) fn constants(&self) -> HashMap<&str, &TensorProto> {
        let graph = self.graph();
        let of_node = |node: &'_ NodeProto| -> bool { node.op_type == "Constant" };
        let nodes = graph.node.iter().filter(|node| of_node(node)).filter_map(|node| {
            let value = node.attribute.iter().find(|a| a.name == "value")?.t.as_ref()?;
            Some((node.output.first()?.as_str(), value))
        });
        graph.initializer.iter().map(|t| (t.name.as_str(), t)).chain(nodes).collect()
    }
}

/// A float tensor as an input or output of a graph.
pub(crate) fn float_info(name: &str, dims: Option<&Vec<usize>>) -> ValueInfoProto {
    let dim = |&length: &usize| Dimension {
        value: Some(dimension::Value::DimValue(length as i64)),
        ..Dimension::default()
    };
    let shape = dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}

fn bad(reason: String) -> EngineError {
    EngineError::Onnx { reason }
}

/// Every tensor has the bytes its shape asks for, so nothing later allocates more than the file.
fn check_tensors(graph: &GraphProto) -> Result<(), EngineError> {
    if graph.node.len() > MAX_NODES {
        return Err(bad(format!("{} nodes, the limit is {MAX_NODES}", graph.node.len())));
    }
    graph.initializer.iter().try_for_each(check_tensor)?;
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        use attribute_proto::AttributeType::{Graph, Graphs, SparseTensor, SparseTensors};
        let kinds = [Graph, Graphs, SparseTensor, SparseTensors];
        let nested = attribute.g.is_some() || attribute.sparse_tensor.is_some();
        if nested || kinds.iter().any(|&kind| attribute.r#type == kind as i32) {
            return Err(bad(format!("attribute `{}` holds a graph", attribute.name)));
        }
        attribute.t.iter().chain(&attribute.tensors).try_for_each(check_tensor)?;
    }
    Ok(())
}

fn check_tensor(tensor: &TensorProto) -> Result<(), EngineError> {
    let name = &tensor.name;
    if tensor.data_location.unwrap_or(0) != 0 || !tensor.external_data.is_empty() {
        return Err(bad(format!("tensor `{name}` lies in another file")));
    }
    if tensor.dims.len() > MAX_RANK || tensor.segment.is_some() {
        return Err(bad(format!("tensor `{name}` has shape {:?}", tensor.dims)));
    }
    let count = tensor
        .dims
        .iter()
        .try_fold(1_u64, |n, &dim| u64::try_from(dim).ok().and_then(|dim| n.checked_mul(dim)));
    let count = count.ok_or_else(|| bad(format!("tensor `{name}` is {:?}", tensor.dims)))?;
    let size = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float | DataType::Int32) => 4,
        Ok(DataType::Int64 | DataType::Double) => 8,
        Ok(DataType::Uint8 | DataType::Int8 | DataType::Bool) => 1,
        _ => return Err(bad(format!("tensor `{name}` has element type {}", tensor.data_type))),
    };
    let found = if tensor.raw_data.is_empty() {
        let typed = [
            tensor.float_data.len(),
            tensor.int32_data.len(),
            tensor.int64_data.len(),
            tensor.double_data.len(),
        ];
        size * typed.into_iter().max().unwrap_or(0) as u64
    } else {
        tensor.raw_data.len() as u64
    };
    if count.checked_mul(size) != Some(found) {
        let reason = format!("tensor `{name}` of {:?} has {found} bytes", tensor.dims);
        return Err(bad(reason));
    }
    Ok(())
}

/// Names are defined once and before they are read; what tract's parser would only `unwrap`.
fn check_names(graph: &GraphProto) -> Result<(), EngineError> {
    let mut known: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    known.extend(graph.input.iter().map(|input| input.name.as_str()));
    for node in &graph.node {
        if node.output.is_empty() {
            return Err(bad(format!("node `{}` ({}) has no output", node.name, node.op_type)));
        }
        for input in node.input.iter().filter(|input| !input.is_empty()) {
            if !known.contains(input.as_str()) {
                let name = node_name(node);
                return Err(bad(format!(
                    "node `{name}` reads `{input}`, which nothing before it makes"
                )));
            }
        }
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if !known.insert(output) {
                return Err(bad(format!("`{output}` is made twice")));
            }
        }
    }
    match graph.output.iter().find(|output| !known.contains(output.name.as_str())) {
        Some(output) => Err(bad(format!("nothing makes the output `{}`", output.name))),
        None if graph.output.is_empty() => Err(bad("it has no output".into())),
        None => Ok(()),
    }
}

/// `[1, C, H, W]`; a free batch dimension is one image.
fn input_dims(input: &ValueInfoProto) -> Result<Vec<usize>, EngineError> {
    let Some(type_proto::Value::TensorType(tensor)) =
        input.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err(bad(format!("input `{}` is not a tensor", input.name)));
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let dims: Vec<usize> = dims
        .iter()
        .enumerate()
        .map(|(axis, dim)| match dim.value {
            Some(dimension::Value::DimValue(length)) => usize::try_from(length).unwrap_or(0),
            _ if axis == 0 => 1,
            _ => 0,
        })
        .collect();
    let float = tensor.elem_type == DataType::Float as i32;
    let known = dims.len() == 4 && crate::quantized::Shape::of(&dims).is_some();
    if !float || !known {
        let name = &input.name;
        return Err(bad(format!("input `{name}` is {dims:?}, expected float [1, C, H, W]")));
    }
    Ok(dims)
}
