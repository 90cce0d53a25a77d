//! Activation functions written as formulas: GELU by `erf` or `tanh`, SiLU, hard swish, Mish, softplus, sigmoid.

use super::{
    net::{Id, Net, close},
    operator::{Binary, Function},
    rewrite::Instead,
};
use graph::Unary;
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

const SIGMOID: Function = Function::Known(Unary::Sigmoid);
const TANH: Function = Function::Known(Unary::Tanh);

/// Products that are a function of one of their factors.
pub(super) fn of_product(net: &Net, kind: Binary, a: Id, b: Id) -> Option<Instead> {
    if kind != Binary::Mul {
        return None;
    }
    hard_sigmoid(net, a, b).or_else(|| {
        let (factors, _) = net.factors(&[a, b], None);
        factors.into_iter().find_map(|gate| gated(net, [a, b], gate))
    })
}

/// `x · gate(x)`, with a number before it.
fn gated(net: &Net, product: [Id; 2], gate: Id) -> Option<Instead> {
    let candidates = [
        net.argument(gate, SIGMOID).map(|x| (x, Unary::Silu, 1.0)),
        gelu(net, gate).map(|x| (x, Unary::Gelu, 0.5)),
        gelu_tanh(net, gate).map(|x| (x, Unary::GeluTanh, 0.5)),
        net.argument(gate, TANH)
            .and_then(|soft| net.argument(soft, Function::Known(Unary::Softplus)))
            .map(|x| (x, Unary::Mish, 1.0)),
        hard_gate(net, gate).map(|(x, scale)| (x, Unary::HardSwish, scale)),
    ];
    candidates.into_iter().flatten().find_map(|(x, function, expected)| {
        let (mut factors, scale) = net.factors(&product, Some(x));
        let at = factors.iter().position(|&factor| factor == x)?;
        factors.swap_remove(at);
        (factors == [gate] && close(scale, expected)).then(|| Instead::apply(function, x))
    })
}

/// `x` of `1 + erf(x / √2)`.
fn gelu(net: &Net, gate: Id) -> Option<Id> {
    let (erf, one) = net.shifted(gate)?;
    let (x, scale) = net.scaled(net.argument(erf, Function::Erf)?);
    (one == 1.0 && close(scale, FRAC_1_SQRT_2)).then_some(x)
}

/// `x` of `1 + tanh(√(2/π) · (x + 0.044715 · x³))`.
fn gelu_tanh(net: &Net, gate: Id) -> Option<Id> {
    let (tanh, one) = net.shifted(gate)?;
    let (sum, scale) = net.scaled(net.argument(tanh, TANH)?);
    if one != 1.0 || !close(scale, FRAC_2_PI.sqrt()) {
        return None;
    }
    let terms = net.binary(sum, Binary::Add)?;
    [terms, [terms[1], terms[0]]].into_iter().find_map(|[x, cube]| {
        let (factors, scale) = net.factors(&[cube], Some(x));
        (factors == [x; 3] && close(scale, 0.044_715)).then_some(x)
    })
}

/// `x` and what a product with it is multiplied by in a hard swish, of `clip(x + 3, 0, 6)` or a hard sigmoid.
fn hard_gate(net: &Net, gate: Id) -> Option<(Id, f32)> {
    match net.applied(gate)? {
        (Function::Known(Unary::HardSigmoid { alpha, beta }), x) => {
            (close(alpha, 1.0 / 6.0) && close(beta, 0.5)).then_some((x, 1.0))
        }
        (Function::Known(Unary::Clip { lo: 0.0, hi: 6.0 }), sum) => {
            let (x, shift) = net.shifted(sum)?;
            (shift == 3.0).then_some((x, 1.0 / 6.0))
        }
        _ => None,
    }
}

/// `clip(x + b, 0, h) / h`.
fn hard_sigmoid(net: &Net, a: Id, b: Id) -> Option<Instead> {
    let scale = net.scalar(b)?;
    let (Function::Known(Unary::Clip { lo: 0.0, hi }), sum) = net.applied(a)? else { return None };
    let (x, shift) = net.shifted(sum)?;
    let whole = hi.is_finite() && close(hi * scale, 1.0) && net.dims(x) == net.dims(a);
    whole.then(|| Instead::apply(Unary::HardSigmoid { alpha: scale, beta: shift * scale }, x))
}

/// Functions of functions.
pub(super) fn of_function(net: &Net, function: Function, x: Id) -> Option<Instead> {
    match function {
        Function::Known(Unary::Clip { lo, hi }) => clip(net, lo, hi, x),
        Function::Log => {
            let (exp, one) = net.shifted(x)?;
            let x = net.argument(exp, Function::Exp)?;
            (one == 1.0).then(|| Instead::apply(Unary::Softplus, x))
        }
        Function::Reciprocal => {
            let (exp, one) = net.shifted(x)?;
            let (x, minus) = net.scaled(net.argument(exp, Function::Exp)?);
            (one == 1.0 && minus == -1.0).then(|| Instead::apply(Unary::Sigmoid, x))
        }
        _ => None,
    }
}

fn clip(net: &Net, lo: f32, hi: f32, x: Id) -> Option<Instead> {
    if (lo, hi) == (f32::NEG_INFINITY, f32::INFINITY) {
        return Some(Instead::Same(x));
    }
    if let Some((Function::Known(Unary::Clip { lo: least, hi: most }), first)) = net.applied(x) {
        // The later bound wins where the two do not overlap.
        let (lo, hi) = (least.clamp(lo, hi), most.clamp(lo, hi));
        return Some(Instead::apply(Unary::Clip { lo, hi }, first));
    }
    if (lo, hi) != (0.0, 1.0) {
        return None;
    }
    // Keras: 0.2 · x + 0.5 between 0 and 1.
    let (scaled, beta) = net.shifted(x)?;
    let (inner, alpha) = net.scaled(scaled);
    (alpha > 0.0 && net.dims(inner) == net.dims(x))
        .then(|| Instead::apply(Unary::HardSigmoid { alpha, beta }, inner))
}
