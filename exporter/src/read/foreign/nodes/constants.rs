//! Operators that only compute with constants: shapes, indices, masks.

use super::{Call, axis};
use crate::read::foreign::{
    evaluate::{offset, repeated, strided},
    net::Id,
    operator::{broadcast, count},
    tensor::{Tensor, Values},
};
use anyhow::{Context, Result, bail, ensure};
use std::rc::Rc;

impl Call<'_, '_> {
    pub(super) fn given(&mut self) -> Result<Id> {
        let attributes = &self.attributes;
        let tensor = if let Some(proto) = attributes.tensor("value")? {
            Tensor::read(proto)?
        } else if let Some(values) = attributes.ints("value_ints")? {
            Tensor::ints(vec![values.len()], values.to_vec())
        } else if let Some(values) = attributes.floats("value_floats")? {
            Tensor::floats(vec![values.len()], values.to_vec())
        } else if attributes.has("value_int") {
            Tensor::ints(Vec::new(), vec![attributes.int("value_int", 0)?])
        } else if attributes.has("value_float") {
            Tensor::scalar(attributes.float("value_float", 0.0)?)
        } else {
            bail!("it has no value of numbers")
        };
        self.builder.constant(tensor)
    }

    pub(super) fn on_constants(&mut self) -> Result<Id> {
        let op = self.node.op_type.as_str();
        let tensor = match op {
            "Shape" => self.shape()?,
            "Size" => {
                let x = self.input(0)?;
                Tensor::ints(Vec::new(), vec![count(&self.dims(x))? as i64])
            }
            "ConstantOfShape" => self.filled()?,
            "Range" => self.range()?,
            "Where" => self.chosen()?,
            "ScatterND" => self.scattered()?,
            "GatherND" => self.gathered_rows()?,
            "NonZero" => self.places_of_truth()?,
            "ReduceProd" => {
                let x = self.known(0)?;
                let (over, keep) = self.reduced_axes(x.dims.len())?;
                return self.reduced_integers(&x, &over, keep);
            }
            "Trilu" => self.triangle()?,
            "CumSum" => self.running_sum()?,
            _ => self.compared()?,
        };
        self.builder.constant(tensor)
    }

    fn known(&mut self, at: usize) -> Result<Rc<Tensor>> {
        self.constant(at)?.with_context(|| format!("input {at} is missing"))
    }

    fn shape(&mut self) -> Result<Tensor> {
        let x = self.input(0)?;
        let dims = self.dims(x);
        let rank = dims.len() as i64;
        let place =
            |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
        let start = place(self.attributes.int("start", 0)?);
        let end = place(self.attributes.int("end", rank)?);
        Ok(Tensor::sizes(dims.get(start..end).unwrap_or_default()))
    }

    fn filled(&mut self) -> Result<Tensor> {
        let shape = self.known(0)?;
        let dims = shape.as_ints()?.iter().map(|&side| usize::try_from(side));
        let dims = dims.collect::<Result<Vec<_>, _>>()?;
        let count = count(&dims)?;
        self.builder.reserve(count)?;
        let value = match self.attributes.tensor("value")? {
            Some(proto) => Tensor::read(proto)?,
            None => Tensor::scalar(0.0),
        };
        ensure!(value.len() == 1, "attribute `value` holds {} numbers", value.len());
        Ok(value.pick(dims, std::iter::repeat_n(0, count)))
    }

    fn range(&mut self) -> Result<Tensor> {
        let [start, limit, step] = [self.known(0)?, self.known(1)?, self.known(2)?];
        let fits = |count: f64| (0.0..=1e9).contains(&count);
        if let (Ok(&[start]), Ok(&[limit]), Ok(&[step])) =
            (start.as_ints(), limit.as_ints(), step.as_ints())
        {
            ensure!(step != 0, "a step of 0");
            let count = ((limit as f64 - start as f64) / step as f64).ceil().max(0.0);
            ensure!(fits(count), "{count} numbers");
            self.builder.reserve(count as usize)?;
            let values = (0..count as i64).map(|at| start + at * step).collect();
            return Ok(Tensor::ints(vec![count as usize], values));
        }
        let one = |x: &Tensor| x.one().context("no single number");
        let [start, limit, step] = [one(&start)?, one(&limit)?, one(&step)?];
        let count = f64::from((limit - start) / step).ceil().max(0.0);
        ensure!(fits(count), "{count} numbers");
        self.builder.reserve(count as usize)?;
        let values = (0..count as usize).map(|at| start + at as f32 * step).collect();
        Ok(Tensor::floats(vec![count as usize], values))
    }

    fn chosen(&mut self) -> Result<Tensor> {
        let [mask, a, b] = [self.known(0)?, self.known(1)?, self.known(2)?];
        let dims = broadcast(&broadcast(&mask.dims, &a.dims)?, &b.dims)?;
        self.builder.reserve(3 * count(&dims)?)?;
        let [mask, a, b] = [&mask, &a, &b].map(|x| repeated(x, &dims));
        let mask = mask.as_bools()?;
        fn pick<T: Copy>(mask: &[bool], a: &[T], b: &[T]) -> Vec<T> {
            mask.iter()
                .zip(a.iter().zip(b))
                .map(|(&mask, (&a, &b))| if mask { a } else { b })
                .collect()
        }
        let values = match (&a.values, &b.values) {
            (Values::Float(a), Values::Float(b)) => Values::Float(pick(mask, a, b)),
            (Values::Int(a), Values::Int(b)) => Values::Int(pick(mask, a, b)),
            (Values::Bool(a), Values::Bool(b)) => Values::Bool(pick(mask, a, b)),
            _ => bail!("constants of different types"),
        };
        Ok(Tensor { dims, values })
    }

    fn compared(&mut self) -> Result<Tensor> {
        let op = self.node.op_type.as_str();
        let a = self.known(0)?;
        if op == "Not" {
            let values = a.as_bools()?.iter().map(|x| !x).collect();
            return Ok(Tensor { dims: a.dims.clone(), values: Values::Bool(values) });
        }
        let b = self.known(1)?;
        let dims = broadcast(&a.dims, &b.dims)?;
        self.builder.reserve(2 * count(&dims)?)?;
        let [a, b] = [&a, &b].map(|x| repeated(x, &dims));
        let numbers = |x: &Tensor| -> Vec<f64> {
            match &x.values {
                Values::Float(values) => values.iter().map(|&x| f64::from(x)).collect(),
                Values::Int(values) => values.iter().map(|&x| x as f64).collect(),
                Values::Bool(values) => values.iter().map(|&x| f64::from(u8::from(x))).collect(),
            }
        };
        let of = |(a, b): (f64, f64)| match op {
            "Equal" => a == b,
            "Less" => a < b,
            "Greater" => a > b,
            "LessOrEqual" => a <= b,
            "GreaterOrEqual" => a >= b,
            "And" => a != 0.0 && b != 0.0,
            _ => a != 0.0 || b != 0.0,
        };
        let values = numbers(&a).into_iter().zip(numbers(&b)).map(of).collect();
        Ok(Tensor { dims, values: Values::Bool(values) })
    }

    /// Rows of a constant put in other places of another.
    fn scattered(&mut self) -> Result<Tensor> {
        let reduction = self.attributes.text("reduction", "none")?;
        ensure!(reduction == "none", "attribute `reduction` is {reduction:?}");
        let [data, indices, updates] = [self.known(0)?, self.known(1)?, self.known(2)?];
        let depth = *indices.dims.last().context("indices without an axis")?;
        ensure!(depth > 0 && depth <= data.dims.len(), "indices of {depth} axes");
        let row: usize = data.dims[depth..].iter().product();
        let rows = indices.len() / depth;
        ensure!(
            updates.len() == rows * row,
            "{} new values, expected {}",
            updates.len(),
            rows * row
        );
        self.builder.reserve(data.len())?;
        let mut from: Vec<usize> = (0..data.len()).collect();
        for (at, index) in indices.as_ints()?.chunks_exact(depth).enumerate() {
            let place = index.iter().zip(&data.dims).map(|(&at, &side)| axis(at, side));
            let start = offset(&place.collect::<Result<Vec<_>>>()?, &data.dims[..depth]) * row;
            (0..row).for_each(|i| from[start + i] = data.len() + at * row + i);
        }
        // One after the other, picked from.
        let values = match (&data.values, &updates.values) {
            (Values::Float(a), Values::Float(b)) => Values::Float([&a[..], b].concat()),
            (Values::Int(a), Values::Int(b)) => Values::Int([&a[..], b].concat()),
            (Values::Bool(a), Values::Bool(b)) => Values::Bool([&a[..], b].concat()),
            _ => bail!("constants of different types"),
        };
        let both = Tensor { dims: Vec::new(), values };
        Ok(both.pick(data.dims.clone(), from.into_iter()))
    }

    /// Rows of a constant, each at a place of several axes.
    fn gathered_rows(&mut self) -> Result<Tensor> {
        self.attributes.expect_int("batch_dims", 0)?;
        let [data, indices] = [self.known(0)?, self.known(1)?];
        let (&depth, rows) = indices.dims.split_last().context("indices without an axis")?;
        ensure!(depth > 0 && depth <= data.dims.len(), "indices of {depth} axes");
        let row: usize = data.dims[depth..].iter().product();
        let dims = [rows, &data.dims[depth..]].concat();
        self.builder.reserve(2 * count(&dims)?)?;
        let mut from = Vec::new();
        for index in indices.as_ints()?.chunks_exact(depth) {
            let place = index.iter().zip(&data.dims).map(|(&at, &side)| axis(at, side));
            let start = offset(&place.collect::<Result<Vec<_>>>()?, &data.dims[..depth]) * row;
            from.extend(start..start + row);
        }
        Ok(data.pick(dims, from.into_iter()))
    }

    fn places_of_truth(&mut self) -> Result<Tensor> {
        let x = self.known(0)?;
        let truth: Vec<bool> = match &x.values {
            Values::Float(values) => values.iter().map(|&x| x != 0.0).collect(),
            Values::Int(values) => values.iter().map(|&x| x != 0).collect(),
            Values::Bool(values) => values.clone(),
        };
        let found: Vec<usize> = (0..truth.len()).filter(|&at| truth[at]).collect();
        self.builder.reserve(found.len() * x.dims.len())?;
        let along = |axis: usize| {
            let (inner, side) = (x.dims[axis + 1..].iter().product::<usize>(), x.dims[axis]);
            found.iter().map(move |&at| (at / inner % side) as i64)
        };
        let values = (0..x.dims.len()).flat_map(along).collect();
        Ok(Tensor::ints(vec![x.dims.len(), found.len()], values))
    }

    /// Above the diagonal, or below it.
    fn triangle(&mut self) -> Result<Tensor> {
        let x = self.known(0)?;
        let upper = self.attributes.flag("upper", true)?;
        let shift = match self.constant(1)? {
            Some(shift) => *shift.as_ints()?.first().context("no diagonal")?,
            None => 0,
        };
        let &[.., _, columns] = &x.dims[..] else { bail!("a tensor of {:?}", x.dims) };
        let rows = x.dims[x.dims.len() - 2];
        let kept = |at: usize| {
            let (row, column) = ((at / columns % rows) as i64, (at % columns) as i64);
            let diagonal = row.saturating_add(shift);
            if upper { column >= diagonal } else { column <= diagonal }
        };
        let values = match &x.values {
            Values::Float(all) => Values::Float(
                all.iter().enumerate().map(|(at, &x)| if kept(at) { x } else { 0.0 }).collect(),
            ),
            Values::Int(all) => Values::Int(
                all.iter().enumerate().map(|(at, &x)| if kept(at) { x } else { 0 }).collect(),
            ),
            Values::Bool(all) => {
                Values::Bool(all.iter().enumerate().map(|(at, &x)| x && kept(at)).collect())
            }
        };
        Ok(Tensor { dims: x.dims.clone(), values })
    }

    fn running_sum(&mut self) -> Result<Tensor> {
        self.attributes.expect_int("exclusive", 0)?;
        self.attributes.expect_int("reverse", 0)?;
        let (x, over) = (self.known(0)?, self.known(1)?);
        let over = axis(*over.as_ints()?.first().context("no axis")?, x.dims.len())?;
        let inner: usize = x.dims[over + 1..].iter().product();
        let before = strided(&x.dims, |at| if at[over] > 0 { inner } else { 0 });
        let mut values = x.as_ints()?.to_vec();
        for (at, back) in before.into_iter().enumerate().filter(|(_, back)| *back > 0) {
            values[at] = values[at].checked_add(values[at - back]).context("a sum too large")?;
        }
        Ok(Tensor::ints(x.dims.clone(), values))
    }
}
