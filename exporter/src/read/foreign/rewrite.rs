//! What is added to a network instead of an operator that was asked for.

use super::{
    net::Id,
    operator::{Function, Operator},
    tensor::Tensor,
};
use graph::Unary;

/// What to add instead of an operator.
#[derive(Debug)]
pub(super) enum Instead {
    /// Nothing: that tensor is it.
    Same(Id),
    /// These, one after the other; the last makes the result.
    Steps(Vec<(Operator, Vec<Operand>)>),
}

#[derive(Debug)]
pub(super) enum Operand {
    Of(Id),
    Constant(Tensor),
    /// What the step before makes.
    Last,
}

impl Instead {
    pub(super) fn one(op: Operator, inputs: Vec<Operand>) -> Self {
        Self::Steps(vec![(op, inputs)])
    }

    pub(super) fn apply(unary: Unary, x: Id) -> Self {
        Self::one(Operator::Apply(Function::Known(unary)), vec![Operand::Of(x)])
    }
}
