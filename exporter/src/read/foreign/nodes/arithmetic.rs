//! Sums, products, means, and the functions that need more than a name.

use super::{Call, axes, axis};
use crate::read::foreign::{
    net::Id,
    operator::{Binary, Function, Operator, Window},
    tensor::{Tensor, Values},
};
use anyhow::{Context, Result, bail, ensure};
use tract_onnx::pb::tensor_proto::DataType;

impl Call<'_, '_> {
    pub(super) fn all(&mut self, kind: Binary) -> Result<Id> {
        let mut sum = self.input(0)?;
        for at in 1..self.node.input.len() {
            let next = self.input(at)?;
            sum = self.push(Operator::Binary(kind), &[sum, next])?;
        }
        Ok(sum)
    }

    pub(super) fn negated(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let whole = self.builder.net.constant(x).is_some_and(|x| x.as_ints().is_ok());
        let minus = match whole {
            true => self.builder.constant(Tensor::ints(Vec::new(), vec![-1]))?,
            false => self.number(-1.0)?,
        };
        self.push(Operator::Binary(Binary::Mul), &[x, minus])
    }

    pub(super) fn modulo(&mut self) -> Result<Id> {
        self.attributes.expect_int("fmod", 0)?;
        self.two(Operator::Binary(Binary::Mod))
    }

    /// `alpha · A · B + beta · C`.
    pub(super) fn gemm(&mut self) -> Result<Id> {
        let (alpha, beta) =
            (self.attributes.float("alpha", 1.0)?, self.attributes.float("beta", 1.0)?);
        let turned =
            [self.attributes.flag("transA", false)?, self.attributes.flag("transB", false)?];
        let mut sides = [self.input(0)?, self.input(1)?];
        for (side, turned) in sides.iter_mut().zip(turned) {
            ensure!(
                self.dims(*side).len() == 2,
                "an input of {:?}, expected a matrix",
                self.dims(*side)
            );
            if turned {
                *side = self.push(Operator::Transpose(vec![1, 0]), &[*side])?;
            }
        }
        let mut sum = self.push(Operator::MatMul, &sides)?;
        sum = self.times(sum, alpha)?;
        match self.optional(2)? {
            Some(bias) => {
                let bias = self.times(bias, beta)?;
                self.push(Operator::Binary(Binary::Add), &[sum, bias])
            }
            None => Ok(sum),
        }
    }

    pub(super) fn times(&mut self, x: Id, by: f32) -> Result<Id> {
        if by == 1.0 {
            return Ok(x);
        }
        let by = self.number(by)?;
        self.push(Operator::Binary(Binary::Mul), &[x, by])
    }

    /// ONNX before operator set 13 flattens everything from the axis on.
    pub(super) fn softmax(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let dims = self.dims(x);
        let old = self.builder.opset < 13;
        let at = axis(self.attributes.int("axis", if old { 1 } else { -1 })?, dims.len())?;
        let last = dims.len() - 1;
        if at == last {
            return self.push(Operator::Softmax, &[x]);
        }
        if old {
            let flat = [&dims[..at], &[dims[at..].iter().product()]].concat();
            let x = self.push(Operator::Reshape(flat), &[x])?;
            let x = self.push(Operator::Softmax, &[x])?;
            return self.push(Operator::Reshape(dims), &[x]);
        }
        let mut order: Vec<usize> = (0..dims.len()).collect();
        order.swap(at, last);
        let x = self.push(Operator::Transpose(order.clone()), &[x])?;
        let x = self.push(Operator::Softmax, &[x])?;
        self.push(Operator::Transpose(order), &[x])
    }

    pub(super) fn reduce(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let dims = self.dims(x);
        let (over, keep) = self.reduced_axes(dims.len())?;
        if over.is_empty() {
            return Ok(x);
        }
        let count: usize = over.iter().map(|&axis| dims[axis]).product();
        if let Some(tensor) = self.builder.net.constant(x).filter(|x| x.as_ints().is_ok()).cloned()
        {
            return self.reduced_integers(&tensor, &over, keep);
        }
        match self.node.op_type.as_str() {
            "ReduceMean" => self.push(Operator::Mean { axes: over, keep }, &[x]),
            "ReduceSum" => match self.stacked(x, &over) {
                Some(parts) => {
                    let kept = Operator::Mean { axes: over, keep }.shape(&[&dims])?;
                    let mut sum = parts[0];
                    for &part in &parts[1..] {
                        sum = self.push(Operator::Binary(Binary::Add), &[sum, part])?;
                    }
                    self.push(Operator::Reshape(kept), &[sum])
                }
                None => {
                    let mean = self.push(Operator::Mean { axes: over, keep }, &[x])?;
                    self.times(mean, count as f32)
                }
            },
            "ReduceMax" if dims.len() == 4 && over == [2, 3] => {
                let kept = Operator::Mean { axes: over, keep }.shape(&[&dims])?;
                let x = self.whole_max(x)?;
                self.push(Operator::Reshape(kept), &[x])
            }
            _ => bail!("over axes {over:?} of {dims:?}, which is not supported"),
        }
    }

    /// Tensors that were stacked only to be added up again along that axis.
    fn stacked(&self, x: Id, over: &[usize]) -> Option<Vec<Id>> {
        let node = self.builder.net.maker(x)?;
        let Operator::Concat { axis } = node.op else { return None };
        let single = |&part: &Id| self.builder.net.dims(part)[axis] == 1;
        (*over == [axis] && node.inputs.iter().all(single)).then(|| node.inputs.clone())
    }

    /// The axes a reduction goes over, and whether they stay with a side of 1.
    pub(super) fn reduced_axes(&mut self, rank: usize) -> Result<(Vec<usize>, bool)> {
        let keep = self.attributes.flag("keepdims", true)?;
        let none = self.attributes.flag("noop_with_empty_axes", false)?;
        let given = self.list("axes", 1)?.unwrap_or_default();
        let over = match given.is_empty() {
            true if none => Vec::new(),
            true => (0..rank).collect(),
            false => axes(&given, rank)?,
        };
        Ok((over, keep))
    }

    /// A constant of integers, as shapes are.
    pub(super) fn reduced_integers(
        &mut self,
        x: &Tensor,
        over: &[usize],
        keep: bool,
    ) -> Result<Id> {
        let whole = over.len() == x.dims.len() && x.len() > 0;
        ensure!(whole, "over some axes of integers of {:?}", x.dims);
        let values = x.as_ints()?;
        let made = match self.node.op_type.as_str() {
            "ReduceProd" => values.iter().try_fold(1_i64, |a, &b| a.checked_mul(b)),
            "ReduceSum" => values.iter().try_fold(0_i64, |a, &b| a.checked_add(b)),
            "ReduceMax" => values.iter().max().copied(),
            "ReduceMin" => values.iter().min().copied(),
            _ => None,
        };
        let made = made.context("integers that have no such result")?;
        self.builder.constant(Tensor::ints(vec![1; if keep { over.len() } else { 0 }], vec![made]))
    }

    /// The largest of each channel.
    pub(super) fn whole_max(&mut self, x: Id) -> Result<Id> {
        let [_, _, h, w] = crate::read::foreign::operator::picture(&self.dims(x))?;
        let window = Window { kernel: [h, w], stride: [1; 2], dilation: [1; 2], padding: [0; 4] };
        self.push(Operator::MaxPool { window }, &[x])
    }

    pub(super) fn clip(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let mut bounds = [f32::NEG_INFINITY, f32::INFINITY];
        for (at, (name, bound)) in ["min", "max"].into_iter().zip(&mut bounds).enumerate() {
            *bound = match self.constant(at + 1)? {
                Some(tensor) => tensor.one().with_context(|| format!("{name} is no number"))?,
                None => self.attributes.float(name, *bound)?,
            };
        }
        let [lo, hi] = bounds;
        ensure!(lo <= hi, "bounds {lo} and {hi}");
        self.push(Operator::Apply(Function::clip(lo, hi)), &[x])
    }

    pub(super) fn prelu(&mut self) -> Result<Id> {
        let (x, slope) = (self.input(0)?, self.input(1)?);
        self.constant(1)?;
        if let Some(slope) = self.builder.net.scalar(slope) {
            return self.push(Operator::Apply(Function::LeakyRelu { slope }), &[x]);
        }
        let above = self.push(Operator::Apply(Function::clip(0.0, f32::INFINITY)), &[x])?;
        let below = self.push(Operator::Apply(Function::clip(f32::NEG_INFINITY, 0.0)), &[x])?;
        let below = self.push(Operator::Binary(Binary::Mul), &[below, slope])?;
        self.push(Operator::Binary(Binary::Add), &[above, below])
    }

    pub(super) fn dropout(&mut self) -> Result<Id> {
        self.attributes.ignore(&["ratio", "seed"]);
        if let Some(training) = self.constant(2)? {
            ensure!(training.as_bools()? == [false], "it drops values: in training mode");
        }
        self.input(0)
    }

    /// Floats of every width are the same to us.
    pub(super) fn cast(&mut self) -> Result<Id> {
        use DataType::{Bfloat16, Bool, Double, Float, Float16, Int8, Int32, Int64, Uint8};
        self.attributes.ignore(&["saturate", "round_mode"]);
        let x = self.input(0)?;
        let to = match self.node.op_type.as_str() {
            "CastLike" => {
                let like = self.input(1)?;
                match self.builder.net.constant(like).map(|like| like.values.clone()) {
                    Some(Values::Int(_)) => Int64,
                    Some(Values::Bool(_)) => Bool,
                    Some(Values::Float(_)) | None => Float,
                }
            }
            _ => {
                let to = self.attributes.int("to", 0)?;
                let kind = i32::try_from(to).ok().and_then(|to| DataType::try_from(to).ok());
                kind.with_context(|| format!("attribute `to` is {to}"))?
            }
        };
        let Some(tensor) = self.builder.net.constant(x).cloned() else {
            let float = matches!(to, Float | Float16 | Bfloat16 | Double);
            ensure!(float, "attribute `to` is {to:?}, of a tensor that is not constant");
            return Ok(x);
        };
        let values = match (to, &tensor.values) {
            (Float | Float16 | Bfloat16 | Double, Values::Float(_)) => return Ok(x),
            (Int64 | Int32 | Int8 | Uint8, Values::Int(_)) | (Bool, Values::Bool(_)) => {
                return Ok(x);
            }
            (Float | Float16 | Bfloat16 | Double, Values::Int(values)) => {
                Values::Float(values.iter().map(|&value| value as f32).collect())
            }
            (Float | Float16 | Bfloat16 | Double, Values::Bool(values)) => {
                Values::Float(values.iter().map(|&value| f32::from(u8::from(value))).collect())
            }
            (Int64 | Int32, Values::Float(values)) => {
                Values::Int(values.iter().map(|&value| value as i64).collect())
            }
            (Int64 | Int32 | Int8 | Uint8, Values::Bool(values)) => {
                Values::Int(values.iter().map(|&value| i64::from(value)).collect())
            }
            (Bool, Values::Int(values)) => Values::Bool(values.iter().map(|&x| x != 0).collect()),
            (Bool, Values::Float(values)) => {
                Values::Bool(values.iter().map(|&x| x != 0.0).collect())
            }
            _ => bail!("attribute `to` is {to:?}, which is not supported"),
        };
        self.builder.constant(Tensor { dims: tensor.dims.clone(), values })
    }
}
