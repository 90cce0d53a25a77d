//! Parts of tensors, chosen by their places, and put together.

use super::{Call, axis};
use crate::read::foreign::{
    evaluate::{offset, strided},
    net::Id,
    operator::{MAX_WINDOW, Operator},
    tensor::{Tensor, Values},
};
use anyhow::{Context, Result, bail, ensure};

impl Call<'_, '_> {
    pub(super) fn concat(&mut self) -> Result<Id> {
        let mut inputs = Vec::new();
        for at in 0..self.node.input.len() {
            let id = self.input(at)?;
            // Empty constants, as shapes without sides are, add nothing.
            let empty = self.builder.net.constant(id).is_some_and(|x| x.dims == [0]);
            if !empty || self.node.input.len() == 1 {
                inputs.push(id);
            }
        }
        let Some(&first) = inputs.first() else { return self.input(0) };
        ensure!(self.attributes.has("axis"), "it has no attribute `axis`");
        let axis = axis(self.attributes.int("axis", 0)?, self.dims(first).len())?;
        self.push(Operator::Concat { axis }, &inputs)
    }

    pub(super) fn split(&mut self) -> Result<Vec<Id>> {
        let x = self.input(0)?;
        let dims = self.dims(x);
        let at = axis(self.attributes.int("axis", 0)?, dims.len())?;
        let outputs = self.node.output.len();
        let parts = self.attributes.int("num_outputs", outputs as i64)?;
        ensure!(parts == outputs as i64 && parts > 0, "attribute `num_outputs` is {parts}");
        let side = dims[at];
        let sizes: Vec<usize> = match self.list("split", 1)? {
            Some(sizes) => {
                sizes.iter().map(|&size| usize::try_from(size)).collect::<Result<_, _>>()?
            }
            None => {
                let each = side.div_ceil(outputs);
                (0..outputs).map(|at| each.min(side.saturating_sub(at * each))).collect()
            }
        };
        let sum = sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size));
        ensure!(
            sizes.len() == outputs && sum == Some(side),
            "attribute `split`: {sizes:?} of {side} for {outputs} outputs"
        );
        let (mut start, mut made) = (0, Vec::new());
        for size in sizes {
            made.push(self.part(x, at, [start as i64, (start + size) as i64, 1])?);
            start += size;
        }
        Ok(made)
    }

    pub(super) fn slice(&mut self) -> Result<Id> {
        let mut x = self.input(0)?;
        let rank = self.dims(x).len();
        let starts = self.list("starts", 1)?.context("its starts are missing")?;
        let ends = self.list("ends", 2)?.context("its ends are missing")?;
        let count = starts.len();
        let axes = self.list("axes", 3)?.unwrap_or_else(|| (0..count as i64).collect());
        let steps = match self.constant(4)? {
            Some(steps) => steps.as_ints()?.to_vec(),
            None => vec![1; count],
        };
        let alike = [ends.len(), axes.len(), steps.len()].iter().all(|&other| other == count);
        ensure!(alike && count <= rank, "starts, ends, axes and steps of different lengths");
        for at in 0..count {
            let axis = axis(axes[at], rank)?;
            let side = self.dims(x)[axis] as i64;
            let step = steps[at].clamp(-(1 << 32), 1 << 32);
            ensure!(step != 0, "a step of 0");
            let place = |at: i64| if at < 0 { at.saturating_add(side) } else { at };
            let (low, high) = if step > 0 { (0, side) } else { (-1, side - 1) };
            let start = place(starts[at]).clamp(low.max(0), high.max(0));
            let end = place(ends[at]).clamp(low, high);
            x = self.part(x, axis, [start, end, step])?;
        }
        Ok(x)
    }

    /// Places `start`, `start + step`, … before `end` of an axis.
    fn part(&mut self, x: Id, axis: usize, [start, end, step]: [i64; 3]) -> Result<Id> {
        let count = (end - start + step - step.signum()) / step;
        let count = usize::try_from(count).unwrap_or(0);
        if let Some(tensor) = self.builder.net.constant(x).cloned() {
            let places: Vec<usize> =
                (0..count as i64).map(|at| (start + at * step) as usize).collect();
            let part = picked(&tensor, axis, &places);
            return self.builder.constant(part);
        }
        if count > 0 && step < 0 {
            let places: Vec<usize> =
                (0..count as i64).map(|at| (start + at * step) as usize).collect();
            return self.gathered(x, axis, &places);
        }
        let [start, end, step] = [start, end, step].map(|n| usize::try_from(n).unwrap_or(0));
        self.push(Operator::Slice { axis, start, end, step }, &[x])
    }

    pub(super) fn gather(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let dims = self.dims(x);
        let at = axis(self.attributes.int("axis", 0)?, dims.len())?;
        let indices = self.constant(1)?.context("its indices are missing")?;
        let places = indices.as_ints()?.iter().map(|&index| axis(index, dims[at]));
        let places = places.collect::<Result<Vec<_>>>().context("an index out of range")?;
        self.builder.reserve(places.len() * (dims.iter().product::<usize>() / dims[at].max(1)))?;
        let made = match self.builder.net.constant(x).cloned() {
            Some(tensor) => self.builder.constant(picked(&tensor, at, &places))?,
            None => self.gathered(x, at, &places)?,
        };
        let to = [&dims[..at], &indices.dims, &dims[at + 1..]].concat();
        match self.builder.net.constant(made).cloned() {
            Some(tensor) => {
                let mut tensor = (*tensor).clone();
                tensor.dims = to;
                self.builder.constant(tensor)
            }
            None => self.push(Operator::Reshape(to), &[made]),
        }
    }

    /// Runs of equal steps as slices, one after the other.
    pub(super) fn gathered(&mut self, x: Id, axis: usize, places: &[usize]) -> Result<Id> {
        ensure!(!places.is_empty() && places.len() <= MAX_WINDOW, "{} places", places.len());
        let mut parts = Vec::new();
        let mut rest = places;
        while let Some(&start) = rest.first() {
            let step = rest.get(1).map_or(1, |&next| next.wrapping_sub(start));
            let step = if (1..MAX_WINDOW).contains(&step) { step } else { 1 };
            let run = (0..rest.len()).take_while(|&at| rest[at] == start + at * step).count();
            let end = start + (run - 1) * step + 1;
            parts.push(self.push(Operator::Slice { axis, start, end, step }, &[x])?);
            rest = &rest[run..];
        }
        self.push(Operator::Concat { axis }, &parts)
    }

    /// A border. One number around rows and columns is an operator of ours, all else parts put together.
    pub(super) fn pad(&mut self) -> Result<Id> {
        let mut x = self.input(0)?;
        let rank = self.dims(x).len();
        let pads = self.list("pads", 1)?.context("its pads are missing")?;
        let axes = match self.constant(3)? {
            Some(axes) => super::axes(axes.as_ints()?, rank).and_then(|sorted| {
                let given = axes.as_ints()?.iter().map(|&at| axis(at, rank));
                let given = given.collect::<Result<Vec<_>>>()?;
                ensure!(sorted.len() == given.len(), "axes {given:?}");
                Ok(given)
            })?,
            None => (0..rank).collect(),
        };
        let value = match self.constant(2)? {
            Some(value) => value.one().context("its value is no number")?,
            None => self.attributes.float("value", 0.0)?,
        };
        let mode = self.attributes.text("mode", "constant")?;
        let limit = MAX_WINDOW as i64;
        let small = pads.iter().all(|pad| (-limit..=limit).contains(pad));
        ensure!(pads.len() == 2 * axes.len() && small, "attribute `pads` is {pads:?}");
        let mut border = [0; 4];
        for (at, &axis) in axes.iter().enumerate() {
            let ends = [pads[at], pads[at + axes.len()]];
            let side = self.dims(x)[axis] as i64;
            let kept = [(-ends[0]).max(0), side - (-ends[1]).max(0)];
            ensure!(kept[0] < kept[1], "attribute `pads` is {pads:?}: nothing is left");
            x = self.part(x, axis, [kept[0], kept[1], 1])?;
            let ends = ends.map(|end| end.max(0) as usize);
            if mode == "constant" && rank == 4 && axis >= 2 {
                (border[axis - 2], border[axis]) = (ends[0], ends[1]);
            } else if ends != [0; 2] {
                x = self.bordered(x, axis, ends, mode, value)?;
            }
        }
        self.push(Operator::Pad { padding: border, value }, &[x])
    }

    fn bordered(
        &mut self,
        x: Id,
        axis: usize,
        ends: [usize; 2],
        mode: &str,
        value: f32,
    ) -> Result<Id> {
        let dims = self.dims(x);
        let side = dims[axis];
        let places = -(ends[0] as i64)..(side + ends[1]) as i64;
        let last = side as i64 - 1;
        let source = |at: i64| match mode {
            "edge" => at.clamp(0, last),
            "reflect" => last - (last - at.abs()).abs(),
            _ => at.rem_euclid(side as i64),
        };
        match mode {
            "constant" => {
                let mut parts = Vec::new();
                for (at, end) in ends.into_iter().enumerate() {
                    if end > 0 {
                        let mut dims = dims.clone();
                        dims[axis] = end;
                        let count = dims.iter().product();
                        self.builder.reserve(count)?;
                        parts
                            .push(self.builder.constant(Tensor::floats(dims, vec![value; count]))?);
                    }
                    if at == 0 {
                        parts.push(x);
                    }
                }
                self.push(Operator::Concat { axis }, &parts)
            }
            "edge" | "reflect" | "wrap" => {
                let fits = mode != "reflect" || ends.iter().all(|&end| end < side);
                ensure!(fits, "attribute `mode` is reflect, {ends:?} around {side}");
                let places: Vec<usize> = places.map(|at| source(at) as usize).collect();
                self.gathered(x, axis, &places)
            }
            other => bail!("attribute `mode` is {other:?}"),
        }
    }
}

/// Places of an axis of a constant.
pub(super) fn picked(x: &Tensor, axis: usize, places: &[usize]) -> Tensor {
    let mut dims = x.dims.clone();
    dims[axis] = places.len();
    if dims.contains(&0) {
        let values = match &x.values {
            Values::Float(_) => Values::Float(Vec::new()),
            Values::Int(_) => Values::Int(Vec::new()),
            Values::Bool(_) => Values::Bool(Vec::new()),
        };
        return Tensor { dims, values };
    }
    let from = strided(&dims, |at| {
        let mut at = at.to_vec();
        at[axis] = places[at[axis]];
        offset(&at, &x.dims)
    });
    x.pick(dims, from.into_iter())
}
