//! The same values in another shape or order.

use super::{Call, axes, axis};
use crate::read::foreign::{
    net::Id,
    operator::{MAX_RANK, Operator, count, picture},
};
use anyhow::{Context, Result, bail, ensure};

impl Call<'_, '_> {
    pub(super) fn reshape(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let zero_is_zero = self.attributes.flag("allowzero", false)?;
        let asked = self.list("shape", 1)?.context("its shape is missing")?;
        let dims = self.dims(x);
        let known = |at: usize| match asked[at] {
            0 if !zero_is_zero => dims.get(at).copied().context("a side of 0 stands for none"),
            side => Ok(usize::try_from(side)?),
        };
        let places = (0..asked.len()).filter(|&at| asked[at] != -1);
        let sides = places.clone().map(known).collect::<Result<Vec<_>>>()?;
        let rest = count(&sides)?;
        ensure!(asked.len() - places.count() <= 1, "shape {asked:?} has -1 twice");
        let whole = count(&dims)?;
        let to = (0..asked.len()).map(|at| match asked[at] {
            -1 if rest > 0 && whole.is_multiple_of(rest) => Ok(whole / rest),
            -1 => bail!("{dims:?} cannot become {asked:?}"),
            _ => known(at),
        });
        let to = to.collect::<Result<Vec<_>>>()?;
        self.reshaped(x, to)
    }

    /// Constants may be empty, which shapes of pictures are not.
    fn reshaped(&mut self, x: Id, to: Vec<usize>) -> Result<Id> {
        match self.builder.net.constant(x).filter(|x| x.len() == 0).cloned() {
            Some(empty) => {
                ensure!(to.iter().product::<usize>() == 0, "no values cannot become {to:?}");
                let mut tensor = (*empty).clone();
                tensor.dims = to;
                self.builder.constant(tensor)
            }
            None => self.push(Operator::Reshape(to), &[x]),
        }
    }

    pub(super) fn flatten(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let dims = self.dims(x);
        let at = self.attributes.int("axis", 1)?;
        let at = if at == dims.len() as i64 { dims.len() } else { axis(at, dims.len())? };
        self.push(Operator::Reshape(vec![count(&dims[..at])?, count(&dims[at..])?]), &[x])
    }

    /// Sides of 1 gone or put in.
    pub(super) fn unit_axes(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let dims = self.dims(x);
        let given = self.list("axes", 1)?;
        let to: Vec<usize> = if self.node.op_type == "Squeeze" {
            let gone = match given {
                Some(given) => axes(&given, dims.len())?,
                None => (0..dims.len()).filter(|&axis| dims[axis] == 1).collect(),
            };
            ensure!(gone.iter().all(|&axis| dims[axis] == 1), "axes {gone:?} of {dims:?}");
            (0..dims.len()).filter(|axis| !gone.contains(axis)).map(|axis| dims[axis]).collect()
        } else {
            let given = given.context("its axes are missing")?;
            let rank = dims.len() + given.len();
            ensure!(rank <= MAX_RANK, "a tensor of {rank} axes");
            let new = axes(&given, rank)?;
            let mut old = dims.iter().copied();
            let sides =
                (0..rank).map(|axis| if new.contains(&axis) { Some(1) } else { old.next() });
            sides.collect::<Option<_>>().context("too few axes")?
        };
        self.reshaped(x, to)
    }

    pub(super) fn transpose(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let rank = self.dims(x).len();
        let order = match self.attributes.ints("perm")? {
            Some(order) => order.iter().map(|&at| axis(at, rank)).collect::<Result<_>>()?,
            None => (0..rank).rev().collect(),
        };
        self.push(Operator::Transpose(order), &[x])
    }

    pub(super) fn expand(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let to = self.constant(1)?.context("its shape is missing")?;
        let to = to.as_ints()?.iter().map(|&side| usize::try_from(side));
        let to = to.collect::<Result<Vec<_>, _>>().context("its shape has negative sides")?;
        self.push(Operator::Expand(to), &[x])
    }

    pub(super) fn tile(&mut self) -> Result<Id> {
        let mut x = self.input(0)?;
        let times = self.constant(1)?.context("it is not said how often")?;
        ensure!(
            times.len() == self.dims(x).len(),
            "{} numbers for {:?}",
            times.len(),
            self.dims(x)
        );
        for (axis, &times) in times.as_ints()?.iter().enumerate() {
            ensure!((1..=4096).contains(&times), "{times} times");
            if times > 1 {
                x = self.push(Operator::Concat { axis }, &vec![x; times as usize])?;
            }
        }
        Ok(x)
    }

    /// Blocks of pixels to channels, or back.
    pub(super) fn depth_and_space(&mut self) -> Result<Id> {
        let x = self.input(0)?;
        let [n, c, h, w] = picture(&self.dims(x))?;
        let block = self.attributes.int("blocksize", 0)?;
        let b = usize::try_from(block).ok().filter(|b| (1..=64).contains(b));
        let b = b.with_context(|| format!("attribute `blocksize` is {block}"))?;
        let (from, order, to) = if self.node.op_type == "SpaceToDepth" {
            ensure!(h.is_multiple_of(b) && w.is_multiple_of(b), "{h}x{w} pixels in blocks of {b}");
            let from = vec![n, c, h / b, b, w / b, b];
            (from, vec![0, 3, 5, 1, 2, 4], vec![n, c * b * b, h / b, w / b])
        } else {
            ensure!(c.is_multiple_of(b * b), "{c} channels in blocks of {b}");
            let inner = c / (b * b);
            let to = vec![n, inner, h * b, w * b];
            match self.attributes.text("mode", "DCR")? {
                "DCR" => (vec![n, b, b, inner, h, w], vec![0, 3, 4, 1, 5, 2], to),
                "CRD" => (vec![n, inner, b, b, h, w], vec![0, 1, 4, 2, 5, 3], to),
                other => bail!("attribute `mode` is {other:?}"),
            }
        };
        let x = self.push(Operator::Reshape(from), &[x])?;
        let x = self.push(Operator::Transpose(order), &[x])?;
        self.push(Operator::Reshape(to), &[x])
    }
}
