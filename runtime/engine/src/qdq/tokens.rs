//! Operators of transformers beside products: layer normalisation, biases behind products, class tokens, means over
//! tokens.

use super::dequantized::{Dequantized, QuantizedConstant, View};
use super::float_op::{Bounds, FloatOp, FloatOpKind};
use super::walk::{Value, Walk};
use super::weighted::Bias;
use crate::EngineError;
use crate::layout::{Layout, fits};
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::{dims, is, values, zero_points};
use crate::onnx::node_name;
use crate::quantized::{Activation, Conv, LayerNorm, Op, Quant, Shape, Step, Window};
use std::sync::Arc;
use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

impl<'a> Walk<'a> {
    /// LayerNormalization along the last axis.
    pub(super) fn layer_norm(
        &self,
        reader: &NodeReader<'a>,
        x: &Dequantized<'_>,
    ) -> Result<Option<FloatOp>, EngineError> {
        let rank = x.dims().len();
        let axis = reader.axis(reader.int("axis", -1), rank)?;
        let columns = x.dims()[axis];
        let used = |output: &String| !output.is_empty();
        if axis + 1 != rank || reader.node.output.iter().skip(1).any(used) {
            return Ok(None);
        }
        if reader.int("stash_type", 1) != 1 {
            return Err(reader.error("attribute `stash_type` is not 1, float"));
        }
        let epsilon = reader.float("epsilon", 1e-5);
        if !epsilon.is_finite() || epsilon < 0.0 || columns > LayerNorm::MAX_COLUMNS {
            let most = LayerNorm::MAX_COLUMNS;
            let reason = format!(
                "epsilon {epsilon} over {columns} values, expected 0 or more over {most} at most"
            );
            return Err(reader.error(reason));
        }
        let parameter = |at: usize, absent: f32| match reader.input(at) {
            None => Ok(vec![absent; columns]),
            Some(name) => match self.parameters(name) {
                Some(values) if values.len() == columns => Ok(values),
                _ => Err(reader.error(format!("`{name}` is not {columns} constant numbers"))),
            },
        };
        let norm = LayerNorm { epsilon, gain: parameter(1, 1.0)?, bias: parameter(2, 0.0)? };
        reader.like(FloatOpKind::LayerNorm(Arc::new(norm)), &[x]).map(Some)
    }

    /// A constant vector as DequantizeLinear gives it, or as floats.
    pub(super) fn parameters(&self, name: &str) -> Option<Vec<f32>> {
        match self.values.get(name)? {
            Value::Constant(tensor) => values(tensor),
            Value::QuantizedConstant(constant) => {
                let codes = zero_points(constant.tensor)?;
                let of = |list: usize, at: usize| if list == 1 { 0 } else { at };
                let all = [constant.scale.len(), constant.zero.len()];
                if all.iter().any(|&count| count != 1 && count != codes.len()) {
                    return None;
                }
                let real = |(at, &q): (usize, &i32)| {
                    let zero = constant.zero[of(all[1], at)];
                    (i64::from(q) - i64::from(zero)) as f32 * constant.scale[of(all[0], at)]
                };
                Some(codes.iter().enumerate().map(real).collect())
            }
            _ => None,
        }
    }

    /// `MatMul → Add` of an int32 or float bias: the bias of the linear layer.
    pub(super) fn biased(
        &self,
        reader: &NodeReader<'a>,
        pending: &FloatOp,
        bias: &str,
    ) -> Result<Option<FloatOp>, EngineError> {
        let FloatOpKind::Conv(conv) = &pending.op else { return Ok(None) };
        let found = match self.values.get(bias) {
            Some(Value::QuantizedConstant(constant)) if is(constant.tensor, DataType::Int32) => {
                Some(Bias::Steps(constant))
            }
            Some(&Value::Constant(tensor)) if dims(tensor).last() == Some(&conv.out_c) => {
                values(tensor).filter(|bias: &Vec<f32>| bias.len() == conv.out_c).map(Bias::Real)
            }
            _ => None,
        };
        let Some(bias) = found else { return Ok(None) };
        let point = conv.bias.iter().all(|bias| *bias == 0) && pending.bounds == Bounds::NONE;
        let last = pending.layout.axes().and_then(|axes| axes.last());
        let channels = last.is_some_and(|axis| axis.len == conv.out_c && axis.stride <= 1);
        if !point || !channels {
            return Ok(None);
        }
        let quant = self.flow.activations[pending.inputs[0]].quant;
        let bias = reader.bias(conv.out_c, quant, &conv.weight_scale, &bias)?;
        let conv = Conv { bias, ..Conv::clone(conv) };
        reader.check_accumulators(&conv)?;
        let name = format!("{}+{}", pending.name, node_name(reader.node));
        Ok(Some(FloatOp { name, op: FloatOpKind::Conv(Arc::new(conv)), ..pending.clone() }))
    }

    /// The constant inputs of a Concat as activations.
    pub(super) fn lay_constants(&mut self, reader: &NodeReader<'a>) -> Result<(), EngineError> {
        for at in 0..reader.node.input.len() {
            let Some(name) = reader.input(at) else { continue };
            let Some(Value::QuantizedConstant(constant)) = self.values.get(name) else { continue };
            let Some((codes, quant)) = codes(constant) else { continue };
            let dims = dims(constant.tensor);
            if !fits(&dims) {
                return Err(reader.error(format!("a constant of {dims:?}")));
            }
            let output = self.flow.activations.len();
            let layout = Layout::dense(&dims);
            let step = Step {
                name: name.to_owned(),
                op: Op::Constant(codes.into()),
                inputs: Vec::new(),
                output,
                clamp: [0, 255],
            };
            let (name_of, shape) = (format!("{name}.constant{output}"), layout.shape());
            let made = Activation { name: name_of, shape, quant, layout: layout.clone() };
            self.flow.activations.push(made);
            self.levels.push(0);
            self.flow.steps.push((0, step));
            self.values.insert(name, Value::Dequantized(View { at: output, layout }));
        }
        Ok(())
    }
}

impl NodeReader<'_> {
    /// ReduceMean over the one axis before the last: of tokens, which are the pixels of a row.
    pub(super) fn mean_over_tokens(
        &self,
        x: &Dequantized<'_>,
        axes: &[i64],
        keep: bool,
    ) -> Result<Option<FloatOp>, EngineError> {
        let (&[1, tokens, channels], &[axis]) = (x.dims(), axes) else { return Ok(None) };
        if self.axis(axis, 3)? != 1 {
            return Ok(None);
        }
        let shape = Shape { h: 1, w: tokens, c: channels };
        if x.activation.shape != shape || !x.view.layout.lies_as(&Layout::dense(x.dims())) {
            return Ok(None);
        }
        let window = Window { kernel: [1, tokens], ..Window::POINT };
        self.check_pool(&window)?;
        let made = if keep { vec![1, 1, channels] } else { vec![1, channels] };
        let op = FloatOpKind::AvgPool { window, counted: None };
        self.laid_op(op, &[x], Layout::dense(&made)).map(Some)
    }
}

/// 8-bit codes of a constant as we keep them, and its one quantization.
pub(super) fn codes(constant: &QuantizedConstant<'_>) -> Option<(Vec<u8>, Quant)> {
    let (&[scale], &[zero]) = (&constant.scale[..], &constant.zero[..]) else { return None };
    let tensor: &TensorProto = constant.tensor;
    let signed = is(tensor, DataType::Int8);
    let raised = |q: i8| (i16::from(q) + 128) as u8;
    let codes = match signed {
        true => values(tensor)?.into_iter().map(raised).collect(),
        false => values(tensor)?,
    };
    let zero = u8::try_from(if signed { zero + 128 } else { zero }).ok()?;
    Some((codes, Quant { scale, zero, signed }))
}
