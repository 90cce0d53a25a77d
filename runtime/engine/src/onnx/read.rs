//! Walks the nodes once and finds the integer steps; see the module above.

use super::attributes::{Reader, f32s, is, zero_points};
use super::document::{Document, node_name};
use super::operations::Real;
use super::pending::{Bounds, Pending, PendingOp, Unary};
use crate::EngineError;
use crate::island::Island;
use crate::quantized::{Activation, Quant, Source, Step};
use std::collections::{BTreeSet, HashMap};
use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

/// What flows where: integer steps, float values between them, float results.
#[derive(Default)]
pub(crate) struct Flow {
    pub(crate) activations: Vec<Activation>,
    /// Steps in execution order, each with its level: how many islands lie before it.
    pub(crate) steps: Vec<(usize, Step)>,
    pub(crate) floats: Vec<FloatValue>,
    /// Level of each float value.
    pub(crate) levels: Vec<usize>,
    /// Results: name, index into `floats`.
    pub(crate) outputs: Vec<(String, usize)>,
}

/// A float tensor that exists: the image, a result, or what passes between int8 and float.
pub(crate) enum FloatValue {
    Image { dims: Vec<usize> },
    Integers { name: String, dims: Vec<usize>, source: Source },
    Island(Box<Island>),
}

/// What a name in the graph stands for.
#[derive(Clone)]
enum Value<'a> {
    /// Nothing known in integers: the image, or what a float node makes.
    Float,
    Constant(&'a TensorProto),
    /// Output of a QuantizeLinear.
    Integers(usize),
    /// Output of its DequantizeLinear, perhaps in another shape.
    Real(View),
    Weights(Weights<'a>),
    Pending(Pending),
}

/// An activation as ONNX shapes it.
#[derive(Clone)]
pub(super) struct View {
    /// The activation.
    pub(super) at: usize,
    pub(super) dims: Vec<usize>,
    /// The last two axes of a tensor of three are exchanged; in memory nothing moves.
    pub(super) transposed: bool,
}

/// A dequantized constant.
#[derive(Clone)]
pub(super) struct Weights<'a> {
    pub(super) tensor: &'a TensorProto,
    pub(super) scale: Vec<f32>,
    pub(super) zero: Vec<i32>,
    pub(super) axis: usize,
}

/// Reads the graph. A float convolution or matrix product must be `declared` by node name, or by a
/// prefix of it that ends before a `/` or a `.`.
pub(crate) fn read(document: &Document, declared: &[String]) -> Result<Flow, EngineError> {
    let graph = document.graph();
    let constants = document.constants();
    let mut walk = Walk {
        document,
        declared,
        producers: HashMap::new(),
        values: constants.iter().map(|(&name, &tensor)| (name, Value::Constant(tensor))).collect(),
        float_ids: HashMap::new(),
        levels: Vec::new(),
        flow: Flow::default(),
        constants: &constants,
    };
    walk.values.insert(&document.input.0, Value::Float);
    for (at, node) in graph.node.iter().enumerate() {
        node.output.iter().for_each(|output| {
            walk.producers.insert(output, at);
        });
        let value = match node.op_type.as_str() {
            "Constant" => continue,
            _ if !matches!(node.domain.as_str(), "" | "ai.onnx") => Value::Float,
            "QuantizeLinear" => walk.quantize(at)?,
            "DequantizeLinear" => walk.dequantize(at)?,
            _ => walk.operation(at)?.unwrap_or(Value::Float),
        };
        for (index, output) in node.output.iter().filter(|name| !name.is_empty()).enumerate() {
            let value = if index == 0 { value.clone() } else { Value::Float };
            walk.values.insert(output, value);
        }
    }
    for output in &graph.output {
        let id = walk.float(&output.name)?;
        walk.flow.outputs.push((output.name.clone(), id));
    }
    Ok(walk.flow)
}

struct Walk<'a> {
    document: &'a Document,
    declared: &'a [String],
    constants: &'a HashMap<&'a str, &'a TensorProto>,
    /// The node that makes a name.
    producers: HashMap<&'a str, usize>,
    values: HashMap<&'a str, Value<'a>>,
    /// Floats by name.
    float_ids: HashMap<String, usize>,
    /// Level of each activation.
    levels: Vec<usize>,
    flow: Flow,
}

impl<'a> Walk<'a> {
    fn reader(&self, at: usize) -> Reader<'a> {
        Reader { node: &self.document.graph().node[at], constants: self.constants }
    }

    fn quantize(&mut self, at: usize) -> Result<Value<'a>, EngineError> {
        let reader = self.reader(at);
        let quant = self.quant(&reader)?;
        let Some(name) = reader.input(0) else { return Err(reader.error("no input")) };
        let output = self.flow.activations.len();
        let tensor = reader.node.output[0].clone();
        let known = self.values.get(name).cloned();
        let (step, level, shape, dims) = match known {
            Some(Value::Pending(pending)) => {
                let step = pending.step(&self.flow.activations, output, quant);
                (step, self.level(&pending.inputs), pending.shape, pending.dims)
            }
            Some(Value::Real(View { transposed: true, .. })) => {
                return Err(reader.error("a transposed tensor, expected it to be multiplied"));
            }
            Some(Value::Real(View { at: x, dims, .. })) => {
                let activation = &self.flow.activations[x];
                let shape = activation.shape;
                let same = Pending {
                    name: node_name(reader.node).to_owned(),
                    op: PendingOp::Unary(Unary::Same),
                    inputs: vec![x],
                    shape,
                    dims: dims.clone(),
                    bounds: Bounds::NONE,
                };
                let step = same.step(&self.flow.activations, output, quant);
                (step, self.levels[x], shape, dims)
            }
            Some(Value::Float) => {
                let id = self.float(name)?;
                let dims = self.flow.floats[id].dims().to_vec();
                let shape = crate::quantized::Shape::of(&dims).ok_or_else(|| {
                    reader.error(format!("a tensor of {dims:?}, expected one image"))
                })?;
                let step = Step {
                    name: node_name(reader.node).to_owned(),
                    op: crate::quantized::Op::Quantize(id),
                    inputs: Vec::new(),
                    output,
                    clamp: [0, 255],
                };
                let island = matches!(self.flow.floats[id], FloatValue::Island(_));
                (step, self.flow.levels[id] + usize::from(island), shape, dims)
            }
            _ => return Err(reader.error(format!("`{name}` is a constant or already integers"))),
        };
        self.flow.activations.push(Activation { name: tensor, shape, quant, dims });
        self.levels.push(level);
        self.flow.steps.push((level, step));
        Ok(Value::Integers(output))
    }

    /// Per-tensor scale and zero point of an activation.
    fn quant(&self, reader: &Reader<'a>) -> Result<Quant, EngineError> {
        let scale = reader.constant(1).and_then(f32s);
        let scale = scale.filter(|scale| scale.len() == 1).map(|scale| scale[0]);
        let scale = scale.ok_or_else(|| reader.error("scale is not one constant float"))?;
        if !scale.is_normal() || scale < 0.0 {
            return Err(reader.error(format!("scale {scale}, expected a positive number")));
        }
        let (signed, zero) = match (reader.input(2), reader.constant(2)) {
            (None, _) => (false, 0),
            (Some(_), Some(tensor)) => {
                let signed = is(tensor, DataType::Int8);
                let zero = zero_points(tensor).filter(|zero| zero.len() == 1);
                let eight_bit = signed || is(tensor, DataType::Uint8);
                let zero = zero.filter(|_| eight_bit);
                (signed, zero.ok_or_else(|| reader.error("zero point is not one 8-bit number"))?[0])
            }
            (Some(name), None) => return Err(reader.error(format!("`{name}` is not constant"))),
        };
        let zero = if signed { zero + 128 } else { zero };
        Ok(Quant { scale, zero: zero as u8, signed })
    }

    fn dequantize(&self, at: usize) -> Result<Value<'a>, EngineError> {
        let reader = self.reader(at);
        let Some(name) = reader.input(0) else { return Err(reader.error("no input")) };
        match self.values.get(name) {
            Some(&Value::Integers(x)) => {
                let activation = &self.flow.activations[x];
                if !activation.quant.same(self.quant(&reader)?) {
                    return Err(reader.error("scale or zero point differ from QuantizeLinear's"));
                }
                Ok(Value::Real(View { at: x, dims: activation.dims.clone(), transposed: false }))
            }
            Some(&Value::Constant(tensor)) => {
                let scale = reader.constant(1).and_then(f32s).unwrap_or_default();
                let good = |scale: &f32| scale.is_normal() && *scale > 0.0;
                if scale.is_empty() || !scale.iter().all(good) {
                    return Err(reader.error("scales are not constant positive numbers"));
                }
                let zero = match reader.input(2) {
                    None => vec![0],
                    Some(_) => reader
                        .constant(2)
                        .and_then(zero_points)
                        .ok_or_else(|| reader.error("zero points are not constant integers"))?,
                };
                let rank = tensor.dims.len() as i64;
                let axis = reader.int("axis", 1);
                let axis = if axis < 0 { axis + rank } else { axis };
                Ok(Value::Weights(Weights { tensor, scale, zero, axis: axis.max(0) as usize }))
            }
            _ => Err(reader.error(format!("`{name}` is neither quantized nor a constant"))),
        }
    }

    /// The integer reading of a float operator, `None` if it has none.
    fn operation(&self, at: usize) -> Result<Option<Value<'a>>, EngineError> {
        let reader = self.reader(at);
        let op = reader.node.op_type.as_str();
        let first = reader.input(0).and_then(|name| self.values.get(name));
        if let Some(Value::Pending(pending)) = first {
            return Ok(self.after(&reader, pending));
        }
        let Some(Value::Real(..)) = first else { return Ok(None) };
        let inputs: Vec<Option<Real<'_>>> =
            (0..reader.node.input.len()).map(|at| self.real(&reader, at)).collect();
        let Some(Some(x)) = inputs.first() else { return Ok(None) };
        let mixed = inputs.iter().flatten().any(|x| x.view.transposed);
        if mixed && !matches!(op, "MatMul" | "Softmax" | "Transpose") {
            return Ok(None);
        }
        let pending = match op {
            "MatMul" if matches!(&inputs[..], [_, Some(_)]) => match &inputs[..] {
                [_, Some(b)] => reader.matmul(x, b)?,
                _ => None,
            },
            "Softmax" => reader.softmax(x, self.document.opset)?,
            "Conv" | "Gemm" | "MatMul" => {
                let Some(weights) = self.weights(&reader, 1) else { return Ok(None) };
                let bias = self.weights(&reader, 2);
                if bias.is_none() && reader.input(2).is_some() {
                    return Err(reader.error("the bias is not int32 with DequantizeLinear"));
                }
                match op {
                    "Conv" => Some(reader.conv(x, weights, bias)?),
                    _ => reader.linear(x, weights, bias)?,
                }
            }
            "Add" => match &inputs[..] {
                [Some(a), Some(b)] => reader.add(a, b)?,
                [Some(a), None] => match self.weights(&reader, 1) {
                    Some(constant) => reader.add_constant(a, constant)?,
                    None => None,
                },
                _ => None,
            },
            "Mul" => self.times(&reader, x),
            "Concat" => match inputs.iter().cloned().collect::<Option<Vec<_>>>() {
                Some(inputs) => reader.concat(&inputs)?,
                None => None,
            },
            "MaxPool" => reader.max_pool(x)?,
            "AveragePool" => reader.avg_pool(x)?,
            "GlobalAveragePool" | "ReduceMean" => reader.global_pool(x)?,
            "Resize" => reader.resize(x, self.document.opset)?,
            "Sigmoid" | "Tanh" | "HardSigmoid" | "HardSwish" | "LeakyRelu" => {
                Some(reader.unary(x)?)
            }
            "Relu" | "Clip" => match reader.bounds() {
                Some(bounds) => Some(Pending { bounds, ..reader.unary(x)? }),
                None => None,
            },
            "Transpose" => return Ok(reader.transposed(x).map(Value::Real)),
            _ => {
                let View { at, dims, .. } = &x.view;
                let dims = reader.reshaped(dims, x.activation.shape);
                let view = |dims| View { at: *at, dims, transposed: false };
                return Ok(dims.map(view).map(Value::Real));
            }
        };
        Ok(pending.map(Value::Pending))
    }

    /// A node behind an operation that still waits for its QuantizeLinear.
    fn after(&self, reader: &Reader<'a>, pending: &Pending) -> Option<Value<'a>> {
        let op = reader.node.op_type.as_str();
        if matches!(op, "Relu" | "Clip") {
            let bounds = pending.bounds.and(reader.bounds()?);
            return Some(Value::Pending(Pending { bounds, ..pending.clone() }));
        }
        if op == "Mul" {
            let real = self.real(reader, 1)?;
            return self.times(reader, &real).map(Value::Pending);
        }
        if op == "Softmax" {
            return reader.shares(pending, self.document.opset).map(Value::Pending);
        }
        let dims = reader.reshaped(&pending.dims, pending.shape)?;
        Some(Value::Pending(Pending { dims, ..pending.clone() }))
    }

    /// `x · f(x)` where one factor is an activation and the other a function of it.
    fn times(&self, reader: &Reader<'a>, x: &Real<'_>) -> Option<Pending> {
        let function = (0..2).find_map(|at| match self.values.get(reader.input(at)?)? {
            Value::Pending(pending) if pending.bounds == Bounds::NONE => match &pending.op {
                PendingOp::Unary(f) if pending.inputs == [x.view.at] => Some((pending, f)),
                _ => None,
            },
            _ => None,
        });
        let (pending, f) = function?;
        let name = node_name(reader.node).to_owned();
        let op = PendingOp::Unary(Unary::Times(Box::new(f.clone())));
        Some(Pending { name, op, ..pending.clone() })
    }

    fn real(&self, reader: &Reader<'a>, at: usize) -> Option<Real<'_>> {
        match self.values.get(reader.input(at)?)? {
            Value::Real(view) => {
                Some(Real { activation: &self.flow.activations[view.at], view: view.clone() })
            }
            _ => None,
        }
    }

    fn weights(&self, reader: &Reader<'a>, at: usize) -> Option<&Weights<'a>> {
        match self.values.get(reader.input(at)?)? {
            Value::Weights(weights) => Some(weights),
            _ => None,
        }
    }

    fn level(&self, inputs: &[usize]) -> usize {
        inputs.iter().map(|&at| self.levels[at]).max().unwrap_or(0)
    }

    /// The float tensor `name`, made if nobody asked for it before.
    fn float(&mut self, name: &str) -> Result<usize, EngineError> {
        if let Some(&id) = self.float_ids.get(name) {
            return Ok(id);
        }
        let (level, value) = match self.direct(name)? {
            Some(found) => found,
            None => self.island(name)?,
        };
        self.flow.floats.push(value);
        self.flow.levels.push(level);
        let id = self.flow.floats.len() - 1;
        self.float_ids.insert(name.to_owned(), id);
        Ok(id)
    }

    /// A float tensor that needs no float arithmetic: the image, or integers scaled.
    fn direct(&self, name: &str) -> Result<Option<(usize, FloatValue)>, EngineError> {
        if name == self.document.input.0 {
            return Ok(Some((0, FloatValue::Image { dims: self.document.input.1.clone() })));
        }
        let integers = |dims: &Vec<usize>, source| FloatValue::Integers {
            name: name.to_owned(),
            dims: dims.clone(),
            source,
        };
        Ok(match self.values.get(name) {
            Some(Value::Real(View { at, dims, transposed: false })) => {
                Some((self.levels[*at], integers(dims, Source::Dequantize(*at))))
            }
            Some(Value::Pending(Pending {
                op: PendingOp::Conv(conv),
                inputs,
                bounds,
                dims,
                ..
            })) if *bounds == Bounds::NONE => {
                let source = Source::Accumulators { input: inputs[0], conv: conv.clone() };
                Some((self.levels[inputs[0]], integers(dims, source)))
            }
            Some(Value::Integers(_)) => {
                let reason = format!("`{name}` leaves the network as integers, expected float");
                return Err(EngineError::Onnx { reason });
            }
            _ => None,
        })
    }

    /// The float nodes between integers and `name`, read by tract.
    fn island(&mut self, name: &str) -> Result<(usize, FloatValue), EngineError> {
        let (mut nodes, mut inputs, mut constants) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut wanted = vec![name.to_owned()];
        while let Some(tensor) = wanted.pop() {
            if let Some(Value::Constant(_)) = self.values.get(tensor.as_str()) {
                constants.insert(tensor);
                continue;
            }
            if tensor != name && self.direct(&tensor)?.is_some() {
                inputs.insert(tensor);
                continue;
            }
            let &at = self
                .producers
                .get(tensor.as_str())
                .ok_or_else(|| EngineError::Onnx { reason: format!("nothing makes `{tensor}`") })?;
            if nodes.insert(at) {
                let node = &self.document.graph().node[at];
                wanted.extend(node.input.iter().filter(|input| !input.is_empty()).cloned());
            }
        }
        for &at in &nodes {
            crate::island::allow(&self.document.graph().node[at], self.declared)?;
        }
        let mut level = 0;
        let mut floats = Vec::new();
        for input in inputs {
            let id = self.float(&input)?;
            level = level.max(self.flow.levels[id]);
            floats.push((input, id, self.flow.floats[id].dims().to_vec()));
        }
        let island = Island::load(self.document, &nodes, &constants, floats, name)?;
        Ok((level, FloatValue::Island(Box::new(island))))
    }
}

impl FloatValue {
    /// Shape of the ONNX tensor.
    pub(crate) fn dims(&self) -> &[usize] {
        match self {
            Self::Image { dims } | Self::Integers { dims, .. } => dims,
            Self::Island(island) => &island.dims,
        }
    }
}
