//! Functions of one value, as exporters write them in several nodes: `x / √2`, `erf`, `+ 1`, `· x`, `/ 2` is GELU. What
//! stands between one DequantizeLinear and one QuantizeLinear becomes one table.

use super::dequantized::{Dequantized, View};
use super::float_op::{Arithmetic, Bounds, FloatOp, FloatOpKind, Unary};
use super::walk::{Value, Walk};
use crate::EngineError;
use crate::onnx::attributes::NodeReader;
use crate::quantized::Op;

/// Functions in a row, more than any exporter writes.
const MAX_CHAIN: usize = 32;

impl<'a> Walk<'a> {
    /// Add, Sub, Mul, Div or Pow of a value and one number, and functions behind those.
    pub(super) fn with_number(
        &mut self,
        reader: &NodeReader<'a>,
    ) -> Result<Option<Value<'a>>, EngineError> {
        let Some((at, f)) = self.of_one_value(reader) else { return Ok(None) };
        let Some(name) = reader.input(at) else { return Ok(None) };
        let made = match self.values.get(name) {
            Some(Value::FloatOp(pending)) if pending.bounds == Bounds::NONE => {
                let op = match (&pending.op, &f) {
                    (FloatOpKind::Unary(first), _) if first.len() < MAX_CHAIN => {
                        FloatOpKind::Unary(Unary::Then(Box::new(first.clone()), Box::new(f)))
                    }
                    (&FloatOpKind::MatMul { spec, factor }, Unary::With(how, number)) => {
                        let factor = match how {
                            Arithmetic::Times => factor * number,
                            Arithmetic::Over => factor / number,
                            _ => return Ok(None),
                        };
                        if !(factor.is_normal() && factor > 0.0) {
                            return Ok(None);
                        }
                        FloatOpKind::MatMul { spec, factor }
                    }
                    _ => return Ok(None),
                };
                FloatOp { op, ..pending.clone() }
            }
            Some(Value::Dequantized(view)) => {
                let view = view.clone();
                let view = self.alone(&view, &view.layout.compact());
                self.values.insert(name, Value::Dequantized(view.clone()));
                let x = Dequantized { activation: &self.flow.activations[view.at], view };
                reader.like(FloatOpKind::Unary(f), &[&x])?
            }
            _ => return Ok(None),
        };
        Ok(Some(Value::FloatOp(made)))
    }

    /// Sub, Mul or Div of two activations that are functions of one: `x · Q(sigmoid(x))`, a square.
    pub(super) fn of_same_codes(
        &self,
        reader: &NodeReader<'a>,
    ) -> Result<Option<FloatOp>, EngineError> {
        let f: fn(f32, f32) -> f32 = match reader.node.op_type.as_str() {
            "Sub" => |a, b| a - b,
            "Mul" => |a, b| a * b,
            "Div" => |a, b| a / b,
            _ => return Ok(None),
        };
        let (Some(a), Some(b)) = (self.real(reader, 0), self.real(reader, 1)) else {
            return Ok(None);
        };
        let ((root, first), (other, second)) = (self.by_root(a.view.at), self.by_root(b.view.at));
        let alike = a.dims() == b.dims() && a.view.layout.lies_as(&b.view.layout);
        if root != other || !alike || !a.view.layout.is_whole() {
            return Ok(None);
        }
        let reals = std::array::from_fn(|q| f(first[q], second[q]));
        let view = View { at: root, layout: a.view.layout.clone() };
        let x = Dequantized { activation: &self.flow.activations[root], view };
        reader.like(FloatOpKind::Codes(Box::new(reals)), &[&x]).map(Some)
    }

    /// The activation that another is a table of, and what it stands for at each code of that.
    fn by_root(&self, mut at: usize) -> (usize, [f32; 256]) {
        let quant = self.flow.activations[at].quant;
        let mut codes: [u8; 256] = std::array::from_fn(|q| q as u8);
        for _ in 0..MAX_CHAIN {
            let Op::Table(table) = &self.flow.steps[at].1.op else { break };
            codes = table.map(|q| codes[usize::from(q)]);
            at = self.flow.steps[at].1.inputs[0];
        }
        (at, codes.map(|q| quant.dequantize(q)))
    }

    /// Which input of a node is its one value, and the function of it.
    fn of_one_value(&self, reader: &NodeReader<'a>) -> Option<(usize, Unary)> {
        let op = reader.node.op_type.as_str();
        if op == "Erf" {
            return Some((0, Unary::Erf));
        }
        if op == "Tanh" {
            return Some((0, Unary::Tanh));
        }
        let rank = |at: usize| match self.values.get(reader.input(at)?)? {
            Value::Dequantized(view) => Some(view.layout.dims.len()),
            Value::FloatOp(pending) => Some(pending.layout.dims.len()),
            Value::Constant(tensor) => Some(tensor.dims.len()),
            Value::QuantizedConstant(constant) => Some(constant.tensor.dims.len()),
            _ => None,
        };
        // A number of more axes would give the result more.
        let number = |at: usize| {
            let [number] = self.parameters(reader.input(at)?)?[..] else { return None };
            (number.is_finite() && rank(at)? <= rank(1 - at)?).then_some(number)
        };
        let (at, number) = number(1).map(|n| (0, n)).or_else(|| Some((1, number(0)?)))?;
        let how = match (op, at) {
            ("Add", _) => Arithmetic::Plus,
            ("Mul", _) => Arithmetic::Times,
            ("Sub", 0) => Arithmetic::Minus,
            ("Sub", _) => Arithmetic::From,
            ("Div", 0) => Arithmetic::Over,
            ("Div", _) => Arithmetic::Under,
            ("Pow", 0) => Arithmetic::Power,
            _ => return None,
        };
        Some((at, Unary::With(how, number)))
    }
}
