//! Walks the nodes once and finds the integer steps; see the module above.

use super::dequantized::{Dequantized, QuantizedConstant, View};
use super::float_op::{Bounds, FloatOp, FloatOpKind, Unary};
use super::flow::{FloatValue, Flow};
use super::operations::UNARY;
use crate::EngineError;
use crate::layout::Layout;
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::{is, value, values, zero_points};
use crate::onnx::{Document, node_name};
use crate::quantized::{Activation, Op, Quant, Shape, Step};
use std::collections::HashMap;
use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

/// What a name in the graph stands for.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "a few thousand at most, while a file is read")]
pub(super) enum Value<'a> {
    /// Nothing known in integers: the image, or what a float node makes.
    Float,
    Constant(&'a TensorProto),
    /// Output of a QuantizeLinear.
    Integers(View),
    /// Output of its DequantizeLinear, perhaps seen otherwise.
    Dequantized(View),
    QuantizedConstant(QuantizedConstant<'a>),
    FloatOp(FloatOp),
}

/// Most bytes that constants may take which a file holds shorter.
pub(super) const MAX_REPEATED: u64 = 1 << 28;

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
        repeated: 0,
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
            "Split" => {
                walk.parts(at)?;
                continue;
            }
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

pub(super) struct Walk<'a> {
    pub(super) document: &'a Document,
    pub(super) declared: &'a [String],
    pub(super) constants: &'a HashMap<&'a str, &'a TensorProto>,
    /// The node that makes a name.
    pub(super) producers: HashMap<&'a str, usize>,
    pub(super) values: HashMap<&'a str, Value<'a>>,
    /// Floats by name.
    pub(super) float_ids: HashMap<String, usize>,
    /// Level of each activation.
    pub(super) levels: Vec<usize>,
    /// Bytes of constants that grew when they were read.
    pub(super) repeated: u64,
    pub(super) flow: Flow,
}

impl<'a> Walk<'a> {
    fn reader(&self, at: usize) -> NodeReader<'a> {
        NodeReader { node: &self.document.graph().node[at], constants: self.constants }
    }

    fn quantize(&mut self, at: usize) -> Result<Value<'a>, EngineError> {
        let reader = self.reader(at);
        check_codes(&reader, &[DataType::Uint8, DataType::Int8])?;
        let kind = reader.int("output_dtype", 0);
        let quant = self.quant(&reader, kind == DataType::Int8 as i64)?;
        if kind != 0 && quant.signed != (kind == DataType::Int8 as i64) {
            return Err(reader.error("attribute `output_dtype` is not the zero point's type"));
        }
        let Some(name) = reader.input(0) else { return Err(reader.error("no input")) };
        let tensor = &reader.node.output[0];
        let known = self.values.get(name).cloned();
        let view = match known {
            Some(Value::FloatOp(pending)) => self.made(tensor, &pending, quant)?,
            Some(Value::Dequantized(view)) if self.flow.activations[view.at].quant.same(quant) => {
                view // the same integers, seen otherwise
            }
            Some(Value::Dequantized(view)) => {
                let view = self.alone(&view, &view.layout.compact());
                let same = FloatOp {
                    name: node_name(reader.node).to_owned(),
                    op: FloatOpKind::Unary(Unary::Same),
                    inputs: vec![view.at],
                    shape: self.flow.activations[view.at].shape,
                    layout: view.layout,
                    bounds: Bounds::NONE,
                };
                self.made(tensor, &same, quant)?
            }
            Some(Value::Float) => {
                let id = self.float(name)?;
                let dims = self.flow.floats[id].dims().to_vec();
                let shape = Shape::of(&dims).ok_or_else(|| {
                    reader.error(format!("a tensor of {dims:?}, expected one image"))
                })?;
                let step = Step {
                    name: node_name(reader.node).to_owned(),
                    op: Op::Quantize(id),
                    inputs: Vec::new(),
                    output: self.flow.activations.len(),
                    clamp: [0, 255],
                };
                let subgraph = matches!(self.flow.floats[id], FloatValue::FloatSubgraph(_));
                let level = self.flow.levels[id] + usize::from(subgraph);
                let layout = Layout::plain(&dims);
                self.take(step, level, Activation { name: tensor.clone(), shape, quant, layout })?
            }
            _ => return Err(reader.error(format!("`{name}` is a constant or already integers"))),
        };
        Ok(Value::Integers(view))
    }

    /// Per-tensor scale and zero point of an activation; without a zero point, `signed` says which zero it is.
    fn quant(&self, reader: &NodeReader<'a>, signed: bool) -> Result<Quant, EngineError> {
        let scale: Option<f32> = reader.constant(1).and_then(value);
        let scale = scale.ok_or_else(|| reader.error("scale is not one constant float"))?;
        if !scale.is_normal() || scale < 0.0 {
            return Err(reader.error(format!("scale {scale}, expected a positive number")));
        }
        let (signed, zero) = match (reader.input(2), reader.constant(2)) {
            (None, _) => (signed, 0),
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
        check_codes(&reader, &[DataType::Float])?;
        let Some(name) = reader.input(0) else { return Err(reader.error("no input")) };
        match self.values.get(name) {
            Some(Value::Integers(view)) => {
                let activation = &self.flow.activations[view.at];
                let quant = self.quant(&reader, activation.quant.signed)?;
                if !activation.quant.same(quant) {
                    return Err(reader.error("scale or zero point differ from QuantizeLinear's"));
                }
                Ok(Value::Dequantized(view.clone()))
            }
            Some(&Value::Constant(tensor)) => {
                let scale: Vec<f32> = reader.constant(1).and_then(values).unwrap_or_default();
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
                Ok(Value::QuantizedConstant(QuantizedConstant {
                    tensor,
                    scale,
                    zero,
                    axis: axis.max(0) as usize,
                }))
            }
            _ => Err(reader.error(format!("`{name}` is neither quantized nor a constant"))),
        }
    }

    /// The integer reading of a float operator, `None` if it has none.
    fn operation(&mut self, at: usize) -> Result<Option<Value<'a>>, EngineError> {
        let reader = self.reader(at);
        let op = reader.node.op_type.as_str();
        if let Some(made) = self.with_number(&reader)? {
            return Ok(Some(made));
        }
        let either = if matches!(op, "Add" | "Sub" | "Mul" | "Div") { 2 } else { 1 };
        if let Some(at) = (0..either).find(|at| self.waits(&reader, *at))
            && let Some(made) = self.after(&reader, at)?
        {
            return Ok(Some(made));
        }
        self.settle(&reader)?;
        if (0..either).any(|at| self.waits(&reader, at)) {
            return Ok(None);
        }
        if (0..reader.node.input.len()).all(|at| self.real(&reader, at).is_none()) {
            return Ok(None);
        }
        self.arrange_inputs(&reader)?;
        let inputs: Vec<Option<Dequantized<'_>>> =
            (0..reader.node.input.len()).map(|at| self.real(&reader, at)).collect();
        let Some(Some(x)) = inputs.first() else {
            let swapped = match (op, &inputs[..], self.weights(&reader, 0)) {
                ("Add", [None, Some(b)], Some(constant)) => reader.add_constant(b, constant)?,
                _ => None,
            };
            let made = match swapped {
                None => self.arithmetic(&reader)?,
                found => found,
            };
            return Ok(made.map(Value::FloatOp));
        };
        if let Some(layout) = reader.view(&x.view.layout)? {
            return Ok(Some(Value::Dequantized(View { at: x.view.at, layout })));
        }
        if let Some(pending) = self.of_same_codes(&reader)? {
            return Ok(Some(Value::FloatOp(pending)));
        }
        let pending = match op {
            "MatMul" if matches!(&inputs[..], [_, Some(_)]) => match &inputs[..] {
                [_, Some(b)] => reader.matmul(x, b)?,
                _ => None,
            },
            "Softmax" => reader.softmax(x, self.document.opset)?,
            "LayerNormalization" => self.layer_norm(&reader, x)?,
            "Conv" | "Gemm" | "MatMul" => {
                let Some(weights) = self.weights(&reader, 1) else { return Ok(None) };
                let bias = self.bias(&reader)?;
                match op {
                    "Conv" => Some(reader.conv(x, weights, bias.as_ref())?),
                    _ => reader.linear(x, weights, bias.as_ref())?,
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
            "Sub" | "Div" => None,
            "ConvTranspose" => {
                let Some(weights) = self.weights(&reader, 1) else { return Ok(None) };
                let bias = self.bias(&reader)?;
                Some(reader.conv_transpose(x, weights, bias.as_ref())?)
            }
            "BatchNormalization" | "InstanceNormalization" | "GroupNormalization" => {
                let constants: Vec<_> = (0..reader.node.input.len())
                    .map(|at| self.real_constant(&reader, at))
                    .collect();
                match op {
                    "BatchNormalization" => reader.batch_norm(x, &constants)?,
                    _ => reader.group_norm(x, &constants)?,
                }
            }
            "Pad" => {
                let fill = self.real_constant(&reader, 2);
                reader.pad(x, fill.as_ref(), self.document.opset)?
            }
            "Concat" => match inputs.iter().cloned().collect::<Option<Vec<_>>>() {
                Some(inputs) => reader.concat(&inputs)?,
                None => None,
            },
            "MaxPool" => reader.max_pool(x)?,
            "AveragePool" => reader.avg_pool(x)?,
            "GlobalAveragePool" | "ReduceMean" => reader.global_pool(x)?,
            "Resize" => reader.resize(x, self.document.opset)?,
            op if UNARY.contains(&op) => Some(reader.unary(x)?),
            "Relu" | "Clip" => match reader.bounds() {
                Some(bounds) => Some(FloatOp { bounds, ..reader.unary(x)? }),
                None => None,
            },
            _ => None,
        };
        let pending = match pending {
            None => self.arithmetic(&reader)?,
            found => found,
        };
        Ok(pending.map(Value::FloatOp))
    }

    /// Whether an input of a node waits for its QuantizeLinear.
    fn waits(&self, reader: &NodeReader<'a>, at: usize) -> bool {
        let value = reader.input(at).and_then(|name| self.values.get(name));
        matches!(value, Some(Value::FloatOp(_)))
    }

    /// The parts of a Split.
    fn parts(&mut self, at: usize) -> Result<(), EngineError> {
        let reader = self.reader(at);
        let parts = match reader.input(0).and_then(|name| self.values.get(name)) {
            Some(Value::Dequantized(view)) => {
                let view = view.clone();
                match reader.split(&view.layout)? {
                    None if view.layout.axes().is_none() => {
                        let view = self.arranged(&view, &Layout::dense(&view.layout.dims));
                        reader.split(&view.layout)?.map(|parts| (view.at, parts))
                    }
                    parts => parts.map(|parts| (view.at, parts)),
                }
            }
            _ => None,
        };
        for (index, output) in reader.node.output.iter().enumerate() {
            let part =
                parts.as_ref().map(|(at, parts)| View { at: *at, layout: parts[index].clone() });
            self.values.insert(output, part.map_or(Value::Float, Value::Dequantized));
        }
        Ok(())
    }

    /// A node behind an operation that still waits for its QuantizeLinear, its input `at`.
    fn after(&self, reader: &NodeReader<'a>, at: usize) -> Result<Option<Value<'a>>, EngineError> {
        let value = reader.input(at).and_then(|name| self.values.get(name));
        let Some(Value::FloatOp(pending)) = value else { return Ok(None) };
        if let Some(made) = self.arithmetic_after(reader, pending)? {
            return Ok(Some(Value::FloatOp(made)));
        }
        let op = reader.node.op_type.as_str();
        let made = match op {
            "Relu" | "Clip" => reader.bounds().map(|bounds| {
                let bounds = pending.bounds.and(bounds);
                FloatOp { bounds, ..pending.clone() }
            }),
            "Mul" => self.real(reader, 1 - at).and_then(|real| self.times(reader, &real)),
            "Softmax" => reader.shares(pending, self.document.opset)?,
            "Add" => match reader.input(1 - at) {
                Some(bias) => self.biased(reader, pending, bias)?,
                None => None,
            },
            _ => {
                let layout = reader
                    .view(&pending.layout)?
                    .filter(|layout| layout.is_whole() && layout.len() == pending.shape.len());
                layout.map(|layout| FloatOp { layout, ..pending.clone() })
            }
        };
        Ok(made.map(Value::FloatOp))
    }

    /// `x · f(x)` where one factor is an activation and the other a function of it.
    fn times(&self, reader: &NodeReader<'a>, x: &Dequantized<'_>) -> Option<FloatOp> {
        let function = (0..2).find_map(|at| match self.values.get(reader.input(at)?)? {
            Value::FloatOp(pending) if pending.bounds == Bounds::NONE => match &pending.op {
                FloatOpKind::Unary(f) if pending.inputs == [x.view.at] => Some((pending, f)),
                _ => None,
            },
            _ => None,
        });
        let (pending, f) = function?;
        let name = node_name(reader.node).to_owned();
        let op = FloatOpKind::Unary(Unary::Times(Box::new(f.clone())));
        Some(FloatOp { name, op, ..pending.clone() })
    }

    pub(super) fn real(&self, reader: &NodeReader<'a>, at: usize) -> Option<Dequantized<'_>> {
        match self.values.get(reader.input(at)?)? {
            Value::Dequantized(view) => Some(Dequantized {
                activation: &self.flow.activations[view.at],
                view: view.clone(),
            }),
            _ => None,
        }
    }

    pub(super) fn weights(
        &self,
        reader: &NodeReader<'a>,
        at: usize,
    ) -> Option<&QuantizedConstant<'a>> {
        match self.values.get(reader.input(at)?)? {
            Value::QuantizedConstant(weights) => Some(weights),
            _ => None,
        }
    }

    pub(super) fn level(&self, inputs: &[usize]) -> usize {
        inputs.iter().map(|&at| self.levels[at]).max().unwrap_or(0)
    }
}

/// Refuses what QuantizeLinear and DequantizeLinear learned after we did: scales by block, other types and precisions.
fn check_codes(reader: &NodeReader<'_>, outputs: &[DataType]) -> Result<(), EngineError> {
    let one_of = |name: &str, allowed: &[DataType]| match reader.int(name, 0) {
        found if found == 0 || allowed.iter().any(|&kind| kind as i64 == found) => Ok(()),
        found => Err(reader.error(format!("attribute `{name}` is {found}, expected {allowed:?}"))),
    };
    one_of("block_size", &[])?;
    one_of("output_dtype", outputs)?;
    one_of("precision", &[DataType::Float])
}
