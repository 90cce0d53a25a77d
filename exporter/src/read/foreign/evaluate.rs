//! Operators on constants. Shapes have been inferred before, so they fit.

use super::{
    operator::{Binary, Function, Operator},
    tensor::{Tensor, Values},
};
use anyhow::{Context, Result, bail, ensure};
use graph::Unary;

/// What an operator makes of constants, a tensor of `dims`; `None` where it is no work for here.
pub(super) fn evaluate(
    op: &Operator,
    inputs: &[&Tensor],
    dims: &[usize],
) -> Result<Option<Tensor>> {
    let x = *inputs.first().context("it has no input")?;
    let dims = dims.to_vec();
    let made = match op {
        Operator::Apply(function) => applied(*function, x)?,
        Operator::Binary(kind) => binary(*kind, [x, inputs[1]], dims)?,
        Operator::Concat { axis } => concat(inputs, *axis, dims)?,
        Operator::Slice { axis, start, step, .. } => {
            let places = strided(&dims, |coordinates| {
                let mut at = coordinates.to_vec();
                at[*axis] = start + at[*axis] * step;
                offset(&at, &x.dims)
            });
            x.pick(dims, places.into_iter())
        }
        Operator::Reshape(_) => Tensor { dims, values: x.values.clone() },
        Operator::Transpose(order) => {
            let places = strided(&dims, |coordinates| {
                let mut at = vec![0; order.len()];
                order.iter().zip(coordinates).for_each(|(&axis, &place)| at[axis] = place);
                offset(&at, &x.dims)
            });
            x.pick(dims, places.into_iter())
        }
        Operator::Expand(_) => repeated(x, &dims),
        Operator::MatMul if x.dims.len() == 2 && inputs[1].dims.len() == 2 => {
            matmul([x, inputs[1]], dims)?
        }
        Operator::Mean { axes, .. } => mean(x, axes, dims)?,
        _ => return Ok(None),
    };
    Ok(Some(made))
}

/// A tensor with sides of 1 repeated.
pub(super) fn repeated(x: &Tensor, dims: &[usize]) -> Tensor {
    let skipped = dims.len() - x.dims.len();
    let places = strided(dims, |coordinates| {
        let sides = x.dims.iter().zip(&coordinates[skipped..]);
        let at: Vec<usize> = sides.map(|(&side, &at)| if side == 1 { 0 } else { at }).collect();
        offset(&at, &x.dims)
    });
    x.pick(dims.to_vec(), places.into_iter())
}

/// The place in a source for each place of a result.
pub(super) fn strided(dims: &[usize], source: impl Fn(&[usize]) -> usize) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    let count = dims.iter().product();
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        places.push(source(&at));
        for axis in (0..dims.len()).rev() {
            at[axis] += 1;
            if at[axis] < dims[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    places
}

pub(super) fn offset(at: &[usize], dims: &[usize]) -> usize {
    at.iter().zip(dims).fold(0, |offset, (at, side)| offset * side + at)
}

fn applied(function: Function, x: &Tensor) -> Result<Tensor> {
    let of = |f: &dyn Fn(f32) -> f32| -> Result<Tensor> {
        let values = x.as_floats()?.iter().map(|&x| f(x)).collect();
        Ok(Tensor::floats(x.dims.clone(), values))
    };
    match function {
        Function::Exp => of(&f32::exp),
        Function::Log => of(&f32::ln),
        Function::Sqrt => of(&f32::sqrt),
        Function::Reciprocal => of(&f32::recip),
        Function::Abs if x.as_ints().is_ok() => {
            let values = x.as_ints()?.iter().map(|x| x.wrapping_abs()).collect();
            Ok(Tensor::ints(x.dims.clone(), values))
        }
        Function::Abs => of(&f32::abs),
        Function::Floor => of(&f32::floor),
        Function::Ceil => of(&f32::ceil),
        Function::Round => of(&f32::round_ties_even),
        Function::Sin => of(&f32::sin),
        Function::Cos => of(&f32::cos),
        Function::Known(Unary::Sigmoid) => of(&|x| 1.0 / (1.0 + (-x).exp())),
        Function::Known(Unary::Tanh) => of(&f32::tanh),
        Function::Known(Unary::Clip { lo, hi }) => match &x.values {
            Values::Int(values) => {
                let clip = |&x: &i64| (x as f32).clamp(lo, hi) as i64;
                Ok(Tensor::ints(x.dims.clone(), values.iter().map(clip).collect()))
            }
            _ => of(&|x| x.max(lo).min(hi)),
        },
        Function::LeakyRelu { slope } => of(&|x| if x < 0.0 { slope * x } else { x }),
        Function::Known(_) | Function::Erf => bail!("{function:?} of a constant"),
    }
}

fn binary(kind: Binary, [a, b]: [&Tensor; 2], dims: Vec<usize>) -> Result<Tensor> {
    let (a, b) = (repeated(a, &dims), repeated(b, &dims));
    let values = match (&a.values, &b.values) {
        (Values::Float(a), Values::Float(b)) => {
            let of = |(&a, &b): (&f32, &f32)| match kind {
                Binary::Add => a + b,
                Binary::Sub => a - b,
                Binary::Mul => a * b,
                Binary::Div => a / b,
                Binary::Pow => a.powf(b),
                Binary::Max => a.max(b),
                Binary::Min => a.min(b),
                Binary::Mod => a % b,
            };
            Values::Float(a.iter().zip(b).map(of).collect())
        }
        (Values::Float(a), Values::Int(b)) if kind == Binary::Pow => {
            Values::Float(a.iter().zip(b).map(|(a, &b)| a.powf(b as f32)).collect())
        }
        (Values::Int(a), Values::Int(b)) => {
            let of = |(&a, &b): (&i64, &i64)| match kind {
                Binary::Add => a.checked_add(b),
                Binary::Sub => a.checked_sub(b),
                Binary::Mul => a.checked_mul(b),
                Binary::Div => a.checked_div(b),
                Binary::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
                Binary::Max => Some(a.max(b)),
                Binary::Min => Some(a.min(b)),
                // The sign is the divisor's.
                Binary::Mod => a
                    .checked_rem(b)
                    .map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
            };
            let values = a.iter().zip(b).map(of).collect::<Option<_>>();
            Values::Int(values.with_context(|| format!("{kind:?} of integers has no result"))?)
        }
        _ => bail!("{kind:?} of constants of different types"),
    };
    Ok(Tensor { dims, values })
}

fn concat(inputs: &[&Tensor], axis: usize, dims: Vec<usize>) -> Result<Tensor> {
    let outer: usize = dims[..axis].iter().product();
    let block = |x: &Tensor| x.dims[axis..].iter().product::<usize>();
    fn all<'a, T: Clone + 'a>(outer: usize, parts: &[(&'a [T], usize)]) -> Vec<T> {
        let rows = (0..outer).flat_map(|row| {
            parts.iter().flat_map(move |(values, block)| &values[row * block..][..*block])
        });
        rows.cloned().collect()
    }
    let values = match &inputs[0].values {
        Values::Float(_) => {
            let parts = inputs.iter().map(|x| Ok((x.as_floats()?, block(x))));
            Values::Float(all(outer, &parts.collect::<Result<Vec<_>>>()?))
        }
        Values::Int(_) => {
            let parts = inputs.iter().map(|x| Ok((x.as_ints()?, block(x))));
            Values::Int(all(outer, &parts.collect::<Result<Vec<_>>>()?))
        }
        Values::Bool(_) => {
            let parts = inputs.iter().map(|x| Ok((x.as_bools()?, block(x))));
            Values::Bool(all(outer, &parts.collect::<Result<Vec<_>>>()?))
        }
    };
    Ok(Tensor { dims, values })
}

fn matmul([a, b]: [&Tensor; 2], dims: Vec<usize>) -> Result<Tensor> {
    let (k, n) = (a.dims[1], b.dims[1]);
    ensure!(
        dims.iter().product::<usize>().saturating_mul(k) < 1 << 30,
        "a large product of constants"
    );
    let (a, b) = (a.as_floats()?, b.as_floats()?);
    let cell = |at: usize| -> f32 { (0..k).map(|i| a[at / n * k + i] * b[i * n + at % n]).sum() };
    let count = dims.iter().product();
    Ok(Tensor::floats(dims, (0..count).map(cell).collect()))
}

fn mean(x: &Tensor, axes: &[usize], dims: Vec<usize>) -> Result<Tensor> {
    let kept: Vec<usize> = x
        .dims
        .iter()
        .enumerate()
        .map(|(axis, &n)| if axes.contains(&axis) { 1 } else { n })
        .collect();
    let places = strided(&x.dims, |at| {
        let at = at.iter().zip(&kept).map(|(&at, &side)| at.min(side - 1));
        offset(&at.collect::<Vec<_>>(), &kept)
    });
    let mut sums = vec![0.0_f64; kept.iter().product()];
    let each = sums.len() as f64 / x.len() as f64;
    let values = x.as_floats()?;
    places.into_iter().zip(values).for_each(|(at, &value)| sums[at] += f64::from(value));
    Ok(Tensor::floats(dims, sums.into_iter().map(|sum| (sum * each) as f32).collect()))
}
