//! What exporters write as many nodes, found again while the last of them is added.
//!
//! Whoever adds an operator to a network asks here first. The answer computes the same from earlier tensors. Nodes that
//! nobody reads any more are left out later.

use super::{
    affine, formulas,
    net::{Id, Net},
    normalisation,
    operator::{Binary, Function, Operator, broadcast},
    rewrite::{Instead, Operand},
    tensor::Tensor,
};
use graph::Unary;

/// What to add instead of an operator, if anything.
pub(super) fn instead(net: &Net, op: &Operator, inputs: &[Id]) -> Option<Instead> {
    match op {
        Operator::Binary(kind) => {
            let [a, b] = inputs[..] else { return None };
            canonical(net, *kind, a, b)
                .or_else(|| formulas::of_product(net, *kind, a, b))
                .or_else(|| normalisation::of_product(net, *kind, a, b))
                .or_else(|| affine::absorbed(net, *kind, a, b))
        }
        Operator::Apply(function) => formulas::of_function(net, *function, inputs[0]),
        Operator::Reshape(dims) => {
            let x = inputs[0];
            if net.dims(x) == dims {
                return Some(Instead::Same(x));
            }
            normalisation::of_groups(net, dims, x).or_else(|| {
                let before = net.maker(x).filter(|node| matches!(node.op, Operator::Reshape(_)))?;
                Some(Instead::one(op.clone(), vec![Operand::Of(before.inputs[0])]))
            })
        }
        Operator::Transpose(order) => transposed(net, order, inputs[0]),
        Operator::Expand(dims) => {
            let same =
                broadcast(net.dims(inputs[0]), dims).is_ok_and(|to| to == net.dims(inputs[0]));
            same.then_some(Instead::Same(inputs[0]))
        }
        Operator::Concat { .. } if inputs.len() == 1 => Some(Instead::Same(inputs[0])),
        Operator::Slice { axis, start: 0, end, step: 1 } if net.dims(inputs[0])[*axis] == *end => {
            Some(Instead::Same(inputs[0]))
        }
        Operator::Pad { padding: [0, 0, 0, 0], .. } => Some(Instead::Same(inputs[0])),
        _ => None,
    }
}

fn transposed(net: &Net, order: &[usize], x: Id) -> Option<Instead> {
    if order.iter().copied().eq(0..order.len()) {
        return Some(Instead::Same(x));
    }
    let node = net.maker(x)?;
    let Operator::Transpose(first) = &node.op else { return None };
    let both = order.iter().map(|&axis| first[axis]).collect();
    Some(Instead::one(Operator::Transpose(both), vec![Operand::Of(node.inputs[0])]))
}

/// Sums and products have their constant behind; the rest is written by them.
fn canonical(net: &Net, kind: Binary, a: Id, b: Id) -> Option<Instead> {
    let (constant_a, constant_b) = (net.constant(a), net.constant(b));
    let op = Operator::Binary;
    let apply = |function, x| (Operator::Apply(function), vec![x]);
    let of = |id| Operand::Of(id);
    let scaled = |id: Id, f: &dyn Fn(f32) -> f32| -> Option<Operand> {
        let tensor = net.constant(id)?;
        let values = tensor.as_floats().ok()?.iter().map(|&x| f(x)).collect();
        Some(Operand::Constant(Tensor::floats(tensor.dims.clone(), values)))
    };
    let whole = |id: Id, than: Id| net.dims(id) == net.dims(than) || broadcasts_to(net, id, than);
    match kind {
        Binary::Add | Binary::Mul if constant_a.is_some() && constant_b.is_none() => {
            Some(Instead::one(op(kind), vec![of(b), of(a)]))
        }
        Binary::Add if net.scalar(b) == Some(0.0) && whole(b, a) => Some(Instead::Same(a)),
        Binary::Mul if net.scalar(b) == Some(1.0) && whole(b, a) => Some(Instead::Same(a)),
        Binary::Add => {
            let (x, first) = net.shifted(a)?;
            let sum = Operand::Constant(Tensor::scalar(first + net.scalar(b)?));
            (whole(b, a) && net.dims(x) == net.dims(a))
                .then(|| Instead::one(op(kind), vec![of(x), sum]))
        }
        Binary::Mul => {
            let second = net.scalar(b)?;
            let [x, first] = net.binary(a, Binary::Mul)?;
            let product = Operand::Constant(Tensor::scalar(net.scalar(first)? * second));
            (whole(b, a) && net.dims(x) == net.dims(a))
                .then(|| Instead::one(op(kind), vec![of(x), product]))
        }
        Binary::Sub if constant_b.is_some() => {
            Some(Instead::one(op(Binary::Add), vec![of(a), scaled(b, &|x| -x)?]))
        }
        Binary::Sub if constant_a.is_some() => {
            let minus = Operand::Constant(Tensor::scalar(-1.0));
            let steps = vec![
                (op(Binary::Mul), vec![of(b), minus]),
                (op(Binary::Add), vec![Operand::Last, of(a)]),
            ];
            Some(Instead::Steps(steps))
        }
        Binary::Div if constant_b.is_some() => {
            Some(Instead::one(op(Binary::Mul), vec![of(a), scaled(b, &f32::recip)?]))
        }
        Binary::Div => {
            let steps = vec![
                apply(Function::Reciprocal, of(b)),
                (op(Binary::Mul), vec![of(a), Operand::Last]),
            ];
            Some(Instead::Steps(steps))
        }
        Binary::Pow => power(net, a, net.scalar(b)?),
        Binary::Max | Binary::Min => clipped(net, kind, a, b),
        Binary::Sub | Binary::Mod => None,
    }
}

fn broadcasts_to(net: &Net, id: Id, than: Id) -> bool {
    broadcast(net.dims(than), net.dims(id)).is_ok_and(|dims| dims == net.dims(than))
}

fn power(net: &Net, x: Id, exponent: f32) -> Option<Instead> {
    let product = |factor| (Operator::Binary(Binary::Mul), vec![Operand::Of(x), factor]);
    let apply = |function, x| (Operator::Apply(function), vec![x]);
    let steps = match exponent {
        1.0 => return Some(Instead::Same(x)),
        2.0 => vec![product(Operand::Of(x))],
        3.0 => vec![product(Operand::Of(x)), product(Operand::Last)],
        0.5 => vec![apply(Function::Sqrt, Operand::Of(x))],
        -0.5 => {
            vec![apply(Function::Sqrt, Operand::Of(x)), apply(Function::Reciprocal, Operand::Last)]
        }
        -1.0 => vec![apply(Function::Reciprocal, Operand::Of(x))],
        _ => return None,
    };
    debug_assert!(net.constant(x).is_none());
    Some(Instead::Steps(steps))
}

/// The greater or lesser of a tensor and a number.
fn clipped(net: &Net, kind: Binary, a: Id, b: Id) -> Option<Instead> {
    let (x, bound) = match (net.scalar(a), net.scalar(b)) {
        (None, Some(bound)) => (a, bound),
        (Some(bound), None) => (b, bound),
        _ => return None,
    };
    let other = if x == a { b } else { a };
    let (lo, hi) = match kind {
        Binary::Max => (bound, f32::INFINITY),
        _ => (f32::NEG_INFINITY, bound),
    };
    broadcasts_to(net, other, x).then(|| Instead::apply(Unary::Clip { lo, hi }, x))
}
