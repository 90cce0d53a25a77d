//! Operators that move nothing: they say anew where values lie. See [`crate::layout`].

use crate::EngineError;
use crate::layout::Layout;
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::{dims, values};

impl NodeReader<'_> {
    /// The tensor behind an operator that moves nothing; `None` where it is another, or reads what is not constant.
    pub(super) fn view(&self, x: &Layout) -> Result<Option<Layout>, EngineError> {
        Ok(match self.node.op_type.as_str() {
            "Identity" | "Dropout" => Some(x.clone()),
            "Flatten" => {
                let axis = self.axis(self.int("axis", 1), x.dims.len() + 1)?;
                let (rows, columns) = x.dims.split_at(axis);
                Some(x.reshaped(&[rows.iter().product(), columns.iter().product()]))
            }
            "Squeeze" => self.squeezed(x)?,
            "Unsqueeze" => self.unsqueezed(x)?,
            "Reshape" => {
                let Some(to) = self.constant(1).and_then(values) else { return Ok(None) };
                let to = resolved(&to, &x.dims, self.int("allowzero", 0));
                let to = to.filter(|to| to.len() <= MAX_RANK);
                Some(x.reshaped(&to.ok_or_else(|| {
                    self.error(format!("the new shape does not suit {:?}", x.dims))
                })?))
            }
            "Transpose" => {
                let backwards: Vec<i64> = (0..x.dims.len() as i64).rev().collect();
                let order = self.ints("perm").unwrap_or(&backwards);
                let order = order.iter().map(|&at| usize::try_from(at).ok()).collect();
                let order: Option<Vec<usize>> = order;
                let turned = order.filter(|order| order.len() == x.dims.len());
                let bad = || self.error(format!("attribute `perm` does not order {:?}", x.dims));
                let turned = turned.ok_or_else(bad)?;
                if x.axes().is_none() {
                    return Ok(None);
                }
                Some(x.transposed(&turned).ok_or_else(bad)?)
            }
            "Pad" if self.pads_nothing() => Some(x.clone()),
            "Slice" => self.slice(x)?,
            "Gather" => self.one_of(x)?,
            _ => None,
        })
    }

    /// A Pad of no values, which exporters write for sizes that need none.
    pub(super) fn pads_nothing(&self) -> bool {
        let given = self.constant(1).and_then(values);
        let pads = given.or_else(|| self.ints("pads").map(<[i64]>::to_vec));
        self.node.op_type == "Pad"
            && pads.is_some_and(|pads| !pads.is_empty() && pads.iter().all(|pad| *pad == 0))
    }

    /// The parts of a Split.
    pub(super) fn split(&self, x: &Layout) -> Result<Option<Vec<Layout>>, EngineError> {
        let axis = self.axis(self.int("axis", 0), x.dims.len())?;
        let (length, parts) = (x.dims[axis], self.node.output.len());
        let given = self.constant(1).and_then(values);
        let given = given.or_else(|| self.ints("split").map(<[i64]>::to_vec));
        if given.is_none() && self.input(1).is_some() {
            return Ok(None);
        }
        let even = length.div_ceil(parts);
        let lengths: Vec<usize> = match given {
            Some(given) => given.iter().map(|&part| usize::try_from(part).unwrap_or(0)).collect(),
            None => (0..parts).map(|at| even.min(length.saturating_sub(at * even))).collect(),
        };
        let all = lengths.iter().try_fold(0_usize, |all, part| all.checked_add(*part));
        if lengths.len() != parts || lengths.contains(&0) || all != Some(length) {
            let reason = format!("parts of {lengths:?}, expected {parts} that make {length}");
            return Err(self.error(reason));
        }
        let mut first = 0;
        let part = |count: usize| {
            first += count;
            x.sliced(axis, first - count, count, 1)
        };
        Ok(lengths.into_iter().map(part).collect())
    }

    fn squeezed(&self, x: &Layout) -> Result<Option<Layout>, EngineError> {
        let ones = x.dims.iter().enumerate().filter(|(_, side)| **side == 1).map(|(at, _)| at);
        let axes = match self.axes(x.dims.len())? {
            Some(axes) => axes,
            None if self.input(1).is_some() => return Ok(None),
            None => ones.collect(),
        };
        if axes.iter().any(|&at| x.dims[at] != 1) {
            return Err(self.error(format!("axes {axes:?} of {:?} are not all 1", x.dims)));
        }
        let kept = x.dims.iter().enumerate().filter(|(at, _)| !axes.contains(at));
        Ok(Some(x.reshaped(&kept.map(|(_, side)| *side).collect::<Vec<_>>())))
    }

    fn unsqueezed(&self, x: &Layout) -> Result<Option<Layout>, EngineError> {
        let count = self.constant(1).map(|axes| dims(axes).iter().product());
        let Some(count) = count.or_else(|| self.ints("axes").map(<[i64]>::len)) else {
            return Ok(None);
        };
        let rank = x.dims.len() + count;
        let Some(axes) = self.axes(rank)?.filter(|axes| axes.len() == count && rank <= MAX_RANK)
        else {
            return Err(self.error("axes that are not constant"));
        };
        let mut old = x.dims.iter();
        let side = |at| if axes.contains(&at) { Some(1) } else { old.next().copied() };
        let to: Option<Vec<usize>> = (0..rank).map(side).collect();
        Ok(Some(x.reshaped(&to.ok_or_else(|| self.error(format!("axes {axes:?} twice")))?)))
    }

    pub(super) fn slice(&self, x: &Layout) -> Result<Option<Layout>, EngineError> {
        let list = |at: usize, name: &str| -> Option<Vec<i64>> {
            let given = self.constant(at).and_then(values);
            given.or_else(|| self.ints(name).map(<[i64]>::to_vec))
        };
        let (Some(starts), Some(ends)) = (list(1, "starts"), list(2, "ends")) else {
            return Ok(None);
        };
        let count = starts.len();
        let all: Vec<i64> = (0..count as i64).collect();
        let absent = |at: usize| self.input(at).is_none();
        let axes = list(3, "axes").or_else(|| absent(3).then_some(all));
        let steps = list(4, "").or_else(|| absent(4).then(|| vec![1; count]));
        let (Some(axes), Some(steps)) = (axes, steps) else { return Ok(None) };
        if [&ends, &axes, &steps].iter().any(|list| list.len() != count) {
            return Err(self.error("as many starts as ends, axes and steps were expected"));
        }
        if steps.iter().any(|&step| step < 1) {
            return Ok(None);
        }
        let mut sliced = x.clone();
        for at in 0..count {
            let axis = self.axis(axes[at], x.dims.len())?;
            let length = sliced.dims[axis] as i64;
            let within = |end: i64| {
                (if end < 0 { end.saturating_add(length) } else { end }).clamp(0, length)
            };
            let (first, end) = (within(starts[at]), within(ends[at]));
            let step = steps[at].min(length) as usize;
            let kept = ((end - first).max(0) as usize).div_ceil(step);
            sliced = match sliced.sliced(axis, first as usize, kept, step) {
                Some(part) => part,
                None if x.axes().is_none() => return Ok(None),
                None => return Err(self.error("nothing is left of a slice")),
            };
        }
        Ok(Some(sliced))
    }

    /// Gather of one index, or of neighbours in order.
    fn one_of(&self, x: &Layout) -> Result<Option<Layout>, EngineError> {
        let axis = self.axis(self.int("axis", 0), x.dims.len())?;
        let Some(tensor) = self.constant(1) else { return Ok(None) };
        let Some(indices) = values::<i64>(tensor).filter(|_| x.axes().is_some()) else {
            return Ok(None);
        };
        let shape = dims(tensor);
        let length = x.dims[axis];
        let index = |&at: &i64| {
            let at = if at < 0 { at.checked_add(length as i64)? } else { at };
            usize::try_from(at).ok().filter(|&at| at < length)
        };
        let indices = indices.iter().map(index).collect::<Option<Vec<usize>>>();
        let indices = indices
            .filter(|indices| !indices.is_empty())
            .ok_or_else(|| self.error(format!("indices beyond the {length} values")))?;
        let in_order = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
        if shape.len() > 1 || !in_order {
            return Ok(None);
        }
        let Some(part) = x.sliced(axis, indices[0], indices.len(), 1) else { return Ok(None) };
        let mut to = part.dims.clone();
        if shape.is_empty() {
            to.remove(axis);
        }
        Ok(Some(part.reshaped(&to)))
    }

    /// The axes of Squeeze and Unsqueeze, if they are constant.
    fn axes(&self, rank: usize) -> Result<Option<Vec<usize>>, EngineError> {
        let given = self.constant(1).and_then(values);
        let given = given.or_else(|| self.ints("axes").map(<[i64]>::to_vec));
        given.map(|axes| axes.iter().map(|&axis| self.axis(axis, rank)).collect()).transpose()
    }

    /// An axis counted from the front, of `rank` ones.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize, EngineError> {
        let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        let found = usize::try_from(counted).ok().filter(|&axis| axis < rank);
        found.ok_or_else(|| self.error(format!("axis {axis}, expected one of {rank}")))
    }
}

/// Axes of a tensor at most.
const MAX_RANK: usize = 8;

/// What a `Reshape` to `to` gives: 0 keeps a side (unless `allowzero`), one −1 is what is left.
fn resolved(to: &[i64], from: &[usize], allowzero: i64) -> Option<Vec<usize>> {
    let count: usize = from.iter().product();
    let side = |(at, &side): (usize, &i64)| match side {
        0 if allowzero == 0 => from.get(at).copied(),
        -1 => Some(1),
        side => usize::try_from(side).ok().filter(|&side| side <= count),
    };
    let mut sides = to.iter().enumerate().map(side).collect::<Option<Vec<_>>>()?;
    let known = sides.iter().try_fold(1_usize, |n, &side| n.checked_mul(side))?;
    let mut open = to.iter().enumerate().filter(|(_, side)| **side == -1).map(|(at, _)| at);
    if let (Some(at), None) = (open.next(), open.next()) {
        if known == 0 || !count.is_multiple_of(known) {
            return None;
        }
        sides[at] = count / known;
    }
    (sides.iter().product::<usize>() == count).then_some(sides)
}
