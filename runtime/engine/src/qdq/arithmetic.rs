//! Add, Sub, Mul, Div: which operand is an activation and which a constant.

use super::constant::RealConstant;
use super::float_op::FloatOp;
use super::walk::Walk;
use crate::EngineError;
use crate::onnx::attributes::NodeReader;

impl Walk<'_> {
    /// Sums and products whose operands have other shapes, differences, and what a number a channel does to an image.
    pub(super) fn arithmetic(
        &self,
        reader: &NodeReader<'_>,
    ) -> Result<Option<FloatOp>, EngineError> {
        if reader.node.input.len() != 2 || !is_arithmetic(&reader.node.op_type) {
            return Ok(None);
        }
        match (self.real(reader, 0), self.real(reader, 1)) {
            (Some(a), Some(b)) if reader.node.op_type != "Div" => reader.combine(&a, &b),
            (Some(x), None) | (None, Some(x)) => match self.other(reader) {
                Some((constant, first)) => reader.with_constant(&x, &constant, first),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The same behind an operation that waits for its QuantizeLinear.
    pub(super) fn arithmetic_after(
        &self,
        reader: &NodeReader<'_>,
        pending: &FloatOp,
    ) -> Result<Option<FloatOp>, EngineError> {
        let alone = reader.node.input.len() == 2 && pending.bounds == super::float_op::Bounds::NONE;
        if !alone || !is_arithmetic(&reader.node.op_type) {
            return Ok(None);
        }
        match self.other(reader) {
            Some((constant, first)) => reader.and_constant(pending, &constant, first),
            None => Ok(None),
        }
    }

    /// The constant among two operands, and whether it is the first.
    fn other(&self, reader: &NodeReader<'_>) -> Option<(RealConstant, bool)> {
        let of = |at: usize| self.real_constant(reader, at).map(|constant| (constant, at == 0));
        of(1).or_else(|| of(0))
    }
}

fn is_arithmetic(op: &str) -> bool {
    matches!(op, "Add" | "Sub" | "Mul" | "Div")
}
