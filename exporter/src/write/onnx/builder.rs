//! ONNX protobufs without the noise.

use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

/// Operator set the files are written for: the first with everything we use, read by every tool.
pub(super) const OPSET: i64 = 17;

/// IR version that goes with an operator set; newer ones are refused by runtimes of that time.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..18 => 8,
        18..21 => 9,
        _ => 10,
    }
}

/// Images a run of the exported network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    One,
    /// A dimension named `batch`.
    Dynamic,
}

/// Collects nodes and constants in order.
pub(crate) struct Builder {
    graph: GraphProto,
    batch: Batch,
    opset: i64,
}

/// An attribute's value.
pub(crate) enum Attr<'a> {
    Float(f32),
    Int(i64),
    Ints(Vec<i64>),
    Str(&'a str),
}

impl Builder {
    pub(crate) fn new(name: &str, batch: Batch, opset: i64) -> Self {
        Self { graph: GraphProto { name: name.into(), ..Default::default() }, batch, opset }
    }

    /// Operator set of the file.
    pub(crate) fn opset(&self) -> i64 {
        self.opset
    }

    /// A graph input of f32, `shape` without the batch axis.
    pub(crate) fn input(&mut self, name: &str, shape: &[usize]) {
        let info = self.value_info(name, shape);
        self.graph.input.push(info);
    }

    /// A graph output of f32, `shape` without the batch axis.
    pub(crate) fn output(&mut self, name: &str, shape: &[usize]) {
        let info = self.value_info(name, shape);
        self.graph.output.push(info);
    }

    /// Appends a node; its first output is the last argument's name.
    pub(crate) fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attr<'_>)],
    ) {
        self.graph.node.push(NodeProto {
            name: name.into(),
            op_type: op.into(),
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![output.into()],
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
            ..Default::default()
        });
    }

    pub(crate) fn f32(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, DataType::Float, dims, bytes);
    }

    pub(crate) fn i8(&mut self, name: &str, dims: &[usize], values: &[i8]) {
        self.constant(name, DataType::Int8, dims, values.iter().map(|&x| x as u8).collect());
    }

    pub(crate) fn u8(&mut self, name: &str, dims: &[usize], values: &[u8]) {
        self.constant(name, DataType::Uint8, dims, values.to_vec());
    }

    pub(crate) fn i32(&mut self, name: &str, dims: &[usize], values: &[i32]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, DataType::Int32, dims, bytes);
    }

    pub(crate) fn i64(&mut self, name: &str, dims: &[usize], values: &[i64]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, DataType::Int64, dims, bytes);
    }

    /// Whether a constant of this name is there already.
    pub(crate) fn has_constant(&self, name: &str) -> bool {
        self.graph.initializer.iter().any(|tensor| tensor.name == name)
    }

    pub(crate) fn finish(self) -> ModelProto {
        ModelProto {
            ir_version: ir_version(self.opset),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: self.opset }],
            producer_name: "exporter".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            ..Default::default()
        }
    }

    fn constant(&mut self, name: &str, kind: DataType, dims: &[usize], raw_data: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            name: name.into(),
            data_type: kind as i32,
            dims: dims.iter().map(|&d| d as i64).collect(),
            raw_data,
            ..Default::default()
        });
    }

    fn value_info(&self, name: &str, shape: &[usize]) -> ValueInfoProto {
        let batch = match self.batch {
            Batch::One => dimension::Value::DimValue(1),
            Batch::Dynamic => dimension::Value::DimParam("batch".into()),
        };
        let rest = shape.iter().map(|&d| dimension::Value::DimValue(d as i64));
        let dim = [batch]
            .into_iter()
            .chain(rest)
            .map(|value| Dimension { value: Some(value), ..Default::default() })
            .collect();
        let tensor = type_proto::Tensor {
            elem_type: DataType::Float as i32,
            shape: Some(TensorShapeProto { dim }),
        };
        ValueInfoProto {
            name: name.into(),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(tensor)),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

fn attribute(name: &str, value: &Attr<'_>) -> AttributeProto {
    let mut proto = AttributeProto { name: name.into(), ..Default::default() };
    match value {
        Attr::Float(f) => {
            proto.r#type = AttributeType::Float as i32;
            proto.f = *f;
        }
        Attr::Int(i) => {
            proto.r#type = AttributeType::Int as i32;
            proto.i = *i;
        }
        Attr::Ints(ints) => {
            proto.r#type = AttributeType::Ints as i32;
            proto.ints.clone_from(ints);
        }
        Attr::Str(text) => {
            proto.r#type = AttributeType::String as i32;
            proto.s = text.as_bytes().to_vec();
        }
    }
    proto
}
