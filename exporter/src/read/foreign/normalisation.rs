//! Normalisations written as means, squares and roots: layer norm, instance norm, group norm.

use super::{
    net::{Id, Net, Node, close},
    operator::{Binary, Function, Operator},
    rewrite::{Instead, Operand},
    tensor::Tensor,
};

/// A root of a variance, `1 / √(mean((x − mean(x))²) + eps)`.
struct Deviation<'a> {
    x: Id,
    axes: &'a [usize],
    eps: f32,
}

/// `(x − mean) / deviation`, and Keras's `x · (g / deviation) + (b − mean · (g / deviation))`.
pub(super) fn of_product(net: &Net, kind: Binary, a: Id, b: Id) -> Option<Instead> {
    match kind {
        Binary::Mul => {
            let (factors, scale) = net.factors(&[a, b], None);
            let [one, two] = factors[..] else { return None };
            [[one, two], [two, one]].into_iter().find_map(|[centre, root]| {
                let of = deviation(net, root)?;
                let fits = centred(net, centre) == Some((of.x, of.axes)) && close(scale, 1.0);
                if fits { normalised(net, &of, Vec::new()) } else { None }
            })
        }
        Binary::Add => [[a, b], [b, a]].into_iter().find_map(|[p, q]| keras(net, p, q)),
        _ => None,
    }
}

fn keras(net: &Net, product: Id, rest: Id) -> Option<Instead> {
    let (rest, shift) = match net.binary(rest, Binary::Add) {
        Some([rest, shift]) if net.constant(shift).is_some() => (rest, Some(shift)),
        _ => (rest, None),
    };
    let [p, q] = net.binary(product, Binary::Mul)?;
    [[p, q], [q, p]].into_iter().find_map(|[x, gain]| {
        let (root, scale) = match net.binary(gain, Binary::Mul) {
            Some([root, scale]) if net.constant(scale).is_some() => (root, Some(scale)),
            _ => (gain, None),
        };
        let of = deviation(net, root).filter(|of| of.x == x)?;
        let (mut factors, minus) = net.factors(&[rest], Some(gain));
        factors.sort_by_key(|&factor| factor != gain);
        let [first, mean] = factors[..] else { return None };
        let fits = first == gain && minus == -1.0 && mean_of(net, mean) == Some((x, of.axes));
        let scale = scale.map(|scale| (Binary::Mul, scale));
        let shift = shift.map(|shift| (Binary::Add, shift));
        if fits { normalised(net, &of, scale.into_iter().chain(shift).collect()) } else { None }
    })
}

fn deviation(net: &Net, root: Id) -> Option<Deviation<'_>> {
    let sqrt = net.argument(root, Function::Reciprocal)?;
    let (variance, eps) = net.shifted(net.argument(sqrt, Function::Sqrt)?)?;
    let Node { op: Operator::Mean { axes, keep: true }, inputs, .. } = net.maker(variance)? else {
        return None;
    };
    let [a, b] = net.binary(inputs[0], Binary::Mul)?;
    let (x, over) = centred(net, a)?;
    (centred(net, b)? == (x, over) && over == axes).then_some(Deviation { x, axes, eps })
}

/// `x` and the axes of `x − mean(x)`.
fn centred(net: &Net, id: Id) -> Option<(Id, &[usize])> {
    let [x, mean] = net.binary(id, Binary::Sub)?;
    mean_of(net, mean).filter(|(of, _)| *of == x)
}

fn mean_of(net: &Net, id: Id) -> Option<(Id, &[usize])> {
    match net.maker(id)? {
        Node { op: Operator::Mean { axes, keep: true }, inputs, .. } => Some((inputs[0], axes)),
        _ => None,
    }
}

/// The normalisation over these axes, then what each channel is multiplied by and what is added.
fn normalised(net: &Net, of: &Deviation<'_>, then: Vec<(Binary, Id)>) -> Option<Instead> {
    let (dims, eps) = (net.dims(of.x), of.eps);
    let rank = dims.len();
    let norm = |x: Operand, channels: usize, op: Operator| {
        let each =
            |value: f32| Operand::Constant(Tensor::floats(vec![channels], vec![value; channels]));
        (op, vec![x, each(1.0), each(0.0)])
    };
    let x = Operand::Of(of.x);
    let mut steps = if of.axes == [rank - 1] {
        vec![norm(x, dims[rank - 1], Operator::LayerNorm { eps })]
    } else if rank == 4 && of.axes == [2, 3] {
        vec![norm(x, dims[1], Operator::GroupNorm { groups: dims[1], eps })]
    } else if of.axes == [1] && rank == 4 {
        vec![
            (Operator::Transpose(vec![0, 2, 3, 1]), vec![x]),
            norm(Operand::Last, dims[1], Operator::LayerNorm { eps }),
            (Operator::Transpose(vec![0, 3, 1, 2]), vec![Operand::Last]),
        ]
    } else if of.axes.iter().copied().eq(rank - of.axes.len()..rank) {
        let kept = rank - of.axes.len();
        let values = dims[kept..].iter().product();
        vec![
            (Operator::Reshape([&dims[..kept], &[values]].concat()), vec![x]),
            norm(Operand::Last, values, Operator::LayerNorm { eps }),
            (Operator::Reshape(dims.to_vec()), vec![Operand::Last]),
        ]
    } else {
        return None;
    };
    let then = then.into_iter().map(|(kind, constant)| {
        (Operator::Binary(kind), vec![Operand::Last, Operand::Of(constant)])
    });
    steps.extend(then);
    Some(Instead::Steps(steps))
}

/// A picture as groups `[N, G, …]`, each normalised, as a picture again.
pub(super) fn of_groups(net: &Net, dims: &[usize], x: Id) -> Option<Instead> {
    let node = net.maker(x)?;
    let before = net.maker(node.inputs[0])?;
    let picture = *before.inputs.first()?;
    let grouped = net.dims(node.inputs[0]);
    let whole = dims.len() >= 3 && net.dims(picture) == dims && dims[0] == grouped[0];
    if !whole || !matches!(before.op, Operator::Reshape(_)) {
        return None;
    }
    let (channels, groups) = (dims[1], *grouped.get(1)?);
    let eps = match node.op {
        Operator::GroupNorm { groups: own, eps } if own == groups => eps,
        Operator::LayerNorm { eps } if grouped.len() == 3 => eps,
        _ => return None,
    };
    if !channels.is_multiple_of(groups) {
        return None;
    }
    // One number for each group, or one for all.
    let each = |id: Id| -> Option<Operand> {
        let values = match node.op {
            Operator::LayerNorm { .. } => vec![net.scalar(id)?; groups],
            _ => net.constant(id)?.as_floats().ok()?.to_vec(),
        };
        let times = channels / groups;
        let values = values.into_iter().flat_map(|value| std::iter::repeat_n(value, times));
        Some(Operand::Constant(Tensor::floats(vec![channels], values.collect())))
    };
    let (scale, shift) = (each(node.inputs[1])?, each(node.inputs[2])?);
    let op = Operator::GroupNorm { groups, eps };
    Some(Instead::one(op, vec![Operand::Of(picture), scale, shift]))
}
