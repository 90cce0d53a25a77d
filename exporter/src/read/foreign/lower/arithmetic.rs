//! Functions, sums, products and means.

use super::{Lowering, natural};
use crate::read::foreign::{
    net::{Id, Node},
    operator::{Binary, Function, Operator},
    tensor::Tensor,
};
use anyhow::{Result, bail, ensure};
use graph::{Op, Unary};

impl Lowering<'_> {
    pub(super) fn apply(&mut self, node: &Node, function: Function) -> Result<()> {
        let op = match function {
            Function::Known(Unary::Clip { lo: 0.0, hi: f32::INFINITY }) => Op::Relu,
            Function::Known(Unary::Clip { lo: 0.0, hi: 6.0 }) => Op::Relu6,
            Function::Known(function) => Op::Unary { function },
            Function::LeakyRelu { slope } => {
                ensure!((0.0..=1.0).contains(&slope), "alpha {slope}, expected 0 to 1");
                Op::LeakyRelu { slope }
            }
            other => bail!("{other:?} is not among the functions we have"),
        };
        let shape = natural(self.net.dims(node.inputs[0]));
        self.one(node, op, &shape)
    }

    pub(super) fn binary(&mut self, node: &Node, kind: Binary) -> Result<()> {
        let &[a, b] = &node.inputs[..] else { bail!("it has not two inputs") };
        let constant = |id: Id| self.net.constant(id).is_some();
        let op = match (kind, constant(a), constant(b)) {
            (Binary::Add | Binary::Mul, false, true) => return self.with_constant(node, kind),
            (Binary::Add, ..) => Op::Add,
            (Binary::Sub, ..) => Op::Sub,
            (Binary::Mul, ..) => Op::Mul,
            _ => bail!("{kind:?} of these two is not among the operators we have"),
        };
        let made = natural(self.net.dims(node.output));
        let mut inputs = Vec::new();
        for id in [a, b] {
            let shape = aligned(self.net.dims(id), self.net.dims(node.output));
            inputs.push(self.tensor(id, &shape, &node.name)?);
        }
        self.push(node, op, inputs, made);
        Ok(())
    }

    fn with_constant(&mut self, node: &Node, kind: Binary) -> Result<()> {
        let out = self.net.dims(node.output);
        let tensor = self.given(node, 1)?.clone();
        let shape = constant_shape(&tensor, out);
        let op = match kind {
            Binary::Add => Op::AddConstant { shape: shape.clone() },
            _ => Op::MulConstant { shape: shape.clone() },
        };
        let read = aligned(self.net.dims(node.inputs[0]), out);
        let x = self.tensor(node.inputs[0], &read, &node.name)?;
        let name = self.push(node, op, vec![x], natural(out));
        self.weight(&name, "constant", &tensor, &shape)
    }

    /// With a matrix of constants, a linear layer; a constant added to that is its bias.
    pub(super) fn matmul(&mut self, node: &Node) -> Result<()> {
        let [a, b] = [node.inputs[0], node.inputs[1]];
        if let Some(weight) = self.net.constant(b).filter(|w| w.dims.len() == 2).cloned() {
            return self.linear(node, &weight);
        }
        let out = self.net.dims(node.output);
        let lead = out.len() - 2;
        let mut inputs = Vec::new();
        for id in [a, b] {
            let dims = self.net.dims(id);
            let whole = [vec![1; out.len() - dims.len()], dims.to_vec()].concat();
            ensure!(whole[..lead] == out[..lead], "a product of {dims:?} to {out:?}, one repeated");
            let shape = if lead > 0 { natural(&whole) } else { whole };
            inputs.push(self.tensor(id, &shape, &node.name)?);
        }
        let made = if lead > 0 { natural(out) } else { out.to_vec() };
        self.push(node, Op::MatMul, inputs, made);
        Ok(())
    }

    fn linear(&mut self, node: &Node, weight: &Tensor) -> Result<()> {
        let (rows, columns) = (weight.dims[0], weight.dims[1]);
        let values = weight.as_floats()?;
        let turned =
            (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect();
        let shape = natural(self.net.dims(node.inputs[0]));
        let x = self.tensor(node.inputs[0], &shape, &node.name)?;
        let op = Op::Linear { in_features: rows, out_features: columns };
        let name = self.push(node, op, vec![x], natural(self.net.dims(node.output)));
        self.array(&name, "weight", turned, &[columns, rows])?;
        let bias = self.bias(node, columns);
        self.array(&name, "bias", bias.unwrap_or_else(|| vec![0.0; columns]), &[columns])
    }

    /// The constant that the only reader of a product adds, which is then done.
    fn bias(&mut self, node: &Node, columns: usize) -> Option<Vec<f32>> {
        let mut readers = self.used.iter().filter(|other| other.inputs.contains(&node.output));
        let (reader, None) = (readers.next()?, readers.next()) else { return None };
        let Operator::Binary(Binary::Add) = reader.op else { return None };
        let constant = self.net.constant(reader.inputs[1])?;
        let alone = constant.dims.iter().rev().skip(1).all(|&side| side == 1);
        let fits = alone
            && constant.len() == columns
            && constant.dims.len() <= self.net.dims(node.output).len();
        if !fits || self.outputs.contains(&node.output) || reader.inputs[0] != node.output {
            return None;
        }
        let place = self.places.get(&node.output)?.clone();
        self.places.insert(reader.output, place);
        self.merged.insert(reader.output);
        Some(constant.as_floats().ok()?.to_vec())
    }

    /// Of a picture over rows and columns, or along one axis after the other.
    pub(super) fn mean(&mut self, node: &Node, axes: &[usize]) -> Result<()> {
        let dims = self.net.dims(node.inputs[0]);
        if dims.len() == 4 && dims[0] == 1 && axes == [2, 3] {
            let x = self.tensor(node.inputs[0], &dims[1..], &node.name)?;
            self.push(node, Op::GlobalAvgPool, vec![x], vec![dims[1]]);
            return Ok(());
        }
        // Neighbouring axes that go are one, and so are those that stay.
        let mut sides: Vec<(usize, bool)> = Vec::new();
        for (axis, &side) in dims.iter().enumerate().filter(|(_, side)| **side > 1) {
            let goes = axes.contains(&axis);
            match sides.last_mut() {
                Some((last, same)) if *same == goes => *last *= side,
                _ => sides.push((side, goes)),
            }
        }
        if sides.iter().all(|(_, goes)| *goes) {
            sides.insert(0, (1, false)); // one number is left
        }
        let mut shape: Vec<usize> = sides.iter().map(|(side, _)| *side).collect();
        let mut x = self.tensor(node.inputs[0], &shape, &node.name)?;
        for axis in (0..sides.len()).rev().filter(|&axis| sides[axis].1) {
            shape.remove(axis);
            x = self.push(node, Op::Mean { axis }, vec![x], shape.clone());
        }
        if !sides.iter().any(|(_, goes)| *goes) {
            let place = super::Place { node: x, shape };
            self.places.insert(node.output, place);
        }
        Ok(())
    }
}

/// A tensor's shape with as many axes as the result has.
fn aligned(dims: &[usize], out: &[usize]) -> Vec<usize> {
    let whole = [vec![1; out.len() - dims.len()], dims.to_vec()].concat();
    match natural(out).len() < out.len() {
        true => whole[1..].to_vec(),
        false => whole,
    }
}

/// A constant's shape beside a tensor without its batch axis.
pub(super) fn constant_shape(constant: &Tensor, out: &[usize]) -> Vec<usize> {
    let spare = constant.dims.len().saturating_sub(natural(out).len());
    constant.dims[spare..].to_vec()
}
