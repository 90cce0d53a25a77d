//! A number for each channel, added or multiplied: part of the normalisation before it, or a batch normalisation.

use super::{
    net::{Id, Net},
    operator::{Binary, Operator},
    rewrite::{Instead, Operand},
    tensor::Tensor,
};

/// `a` a tensor, `b` a constant of one number for each channel.
pub(super) fn absorbed(net: &Net, kind: Binary, a: Id, b: Id) -> Option<Instead> {
    if !matches!(kind, Binary::Add | Binary::Mul) {
        return None;
    }
    let op = net.maker(a).map(|node| &node.op);
    let axis = match op {
        Some(Operator::LayerNorm { .. }) => net.dims(a).len() - 1,
        _ if net.dims(a).len() > 1 => 1,
        _ => return None,
    };
    let values = per_channel(net, b, net.dims(a), axis)?;
    let channels = values.len();
    match op {
        Some(
            op @ (Operator::LayerNorm { .. }
            | Operator::GroupNorm { .. }
            | Operator::BatchNorm { .. }),
        ) => {
            let inputs = &net.maker(a)?.inputs;
            let changed = |id: Id, change: bool| -> Option<Operand> {
                if !change {
                    return Some(Operand::Of(id));
                }
                let before = net.constant(id)?.as_floats().ok()?;
                let pairs = before.iter().zip(&values);
                let after = match kind {
                    Binary::Mul => pairs.map(|(x, y)| x * y).collect(),
                    _ => pairs.map(|(x, y)| x + y).collect(),
                };
                Some(Operand::Constant(Tensor::floats(vec![channels], after)))
            };
            let (scale, shift) =
                (changed(inputs[1], kind == Binary::Mul)?, changed(inputs[2], true)?);
            let statistics = inputs[3..].iter().map(|&id| Operand::Of(id));
            let inputs = [Operand::Of(inputs[0]), scale, shift].into_iter().chain(statistics);
            Some(Instead::one(op.clone(), inputs.collect()))
        }
        _ if net.dims(a).len() == 4 && net.scalar(b).is_none() => {
            let each = |value: f32| vec![value; channels];
            let (scale, shift) = match kind {
                Binary::Mul => (values, each(0.0)),
                _ => (each(1.0), values),
            };
            let inputs = [scale, shift, each(0.0), each(1.0)]
                .map(|values| Operand::Constant(Tensor::floats(vec![channels], values)));
            let inputs = std::iter::once(Operand::Of(a)).chain(inputs).collect();
            Some(Instead::one(Operator::BatchNorm { eps: 0.0 }, inputs))
        }
        _ => None,
    }
}

/// The constant's number for each place of an axis, where it has no other.
fn per_channel(net: &Net, constant: Id, dims: &[usize], axis: usize) -> Option<Vec<f32>> {
    let channels = dims[axis];
    let tensor = net.constant(constant)?;
    let values = tensor.as_floats().ok()?;
    if tensor.dims.len() > dims.len() {
        return None;
    }
    if values.len() == 1 {
        return Some(vec![values[0]; channels]);
    }
    let place = (axis + tensor.dims.len()).checked_sub(dims.len())?;
    let only = tensor.dims.iter().enumerate().all(|(at, &side)| at == place || side == 1);
    (only && values.len() == channels).then(|| values.to_vec())
}
