//! Parts, joins, other shapes and orders.

use super::{Lowering, Place, arithmetic::constant_shape, natural};
use crate::read::foreign::{net::Node, tensor::Tensor};
use anyhow::{Context, Result, ensure};
use graph::Op;

impl Lowering<'_> {
    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Result<()> {
        let out = self.net.dims(node.output);
        // The batch axis is none of ours, unless it is what grows.
        let inner = axis > 0 && out[0] == 1 && out.len() > 1;
        let shape = |dims: &[usize]| if inner { dims[1..].to_vec() } else { dims.to_vec() };
        let mut inputs = Vec::new();
        for &id in &node.inputs {
            let shape = shape(self.net.dims(id));
            inputs.push(self.tensor(id, &shape, &node.name)?);
        }
        let axis = if inner { axis - 1 } else { axis };
        self.push(node, Op::Concat { axis }, inputs, shape(out));
        Ok(())
    }

    pub(super) fn slice(
        &mut self,
        node: &Node,
        axis: usize,
        [start, end, step]: [usize; 3],
    ) -> Result<()> {
        let (dims, out) = (self.net.dims(node.inputs[0]), self.net.dims(node.output));
        let inner = axis > 0 && dims[0] == 1 && dims.len() > 1;
        let shape = |dims: &[usize]| if inner { dims[1..].to_vec() } else { dims.to_vec() };
        let x = self.tensor(node.inputs[0], &shape(dims), &node.name)?;
        let axis = if inner { axis - 1 } else { axis };
        self.push(node, Op::Slice { axis, start, end, step }, vec![x], shape(out));
        Ok(())
    }

    pub(super) fn reshape(&mut self, node: &Node) -> Result<()> {
        let place = self.places.get(&node.inputs[0]).cloned();
        self.places.insert(node.output, place.context("nothing makes its input")?);
        Ok(())
    }

    /// Sides of 1 do not matter: what moves only those is a reshape.
    pub(super) fn transpose(&mut self, node: &Node, order: &[usize]) -> Result<()> {
        let dims = self.net.dims(node.inputs[0]);
        let kept: Vec<usize> = (0..dims.len()).filter(|&axis| dims[axis] > 1).collect();
        let new = order.iter().filter_map(|axis| kept.iter().position(|kept| kept == axis));
        let new: Vec<usize> = new.collect();
        if new.iter().copied().eq(0..new.len()) {
            return self.reshape(node);
        }
        let shape: Vec<usize> = kept.iter().map(|&axis| dims[axis]).collect();
        let made = new.iter().map(|&axis| shape[axis]).collect();
        let x = self.tensor(node.inputs[0], &shape, &node.name)?;
        self.push(node, Op::Transpose { order: new }, vec![x], made);
        Ok(())
    }

    /// Sides of 1 repeated: a sum with zeros.
    pub(super) fn expand(&mut self, node: &Node) -> Result<()> {
        let (dims, out) = (self.net.dims(node.inputs[0]), self.net.dims(node.output));
        let skipped = out.len() - dims.len();
        let side = |(at, &to): (usize, &usize)| {
            let from = at.checked_sub(skipped).map_or(1, |at| dims[at]);
            if from == to { 1 } else { to }
        };
        let zeros: Vec<usize> = out.iter().enumerate().map(side).collect();
        let count = zeros.iter().product();
        ensure!(count <= 1 << 24, "{dims:?} repeated to {out:?}");
        let zeros = Tensor::floats(zeros, vec![0.0; count]);
        let shape = constant_shape(&zeros, out);
        let whole = [vec![1; skipped], dims.to_vec()].concat();
        let read = if natural(out).len() < out.len() { whole[1..].to_vec() } else { whole };
        let x = self.tensor(node.inputs[0], &read, &node.name)?;
        let op = Op::AddConstant { shape: shape.clone() };
        let name = self.add(&node.name, op, vec![x]);
        self.weight(&name, "constant", &zeros, &shape)?;
        self.places.insert(node.output, Place { node: name, shape: natural(out) });
        Ok(())
    }
}
