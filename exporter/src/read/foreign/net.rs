//! A network of few operators, every shape known, every constant computed; and how to look at what made a tensor.

use super::{
    operator::{Binary, Function, Operator},
    tensor::{Tensor, Values},
};
use std::{collections::HashMap, rc::Rc};

/// A tensor of the network.
pub(super) type Id = usize;

/// Names that are taken, and the number the next of that name gets.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, usize>);

impl Names {
    pub(super) fn new(taken: impl IntoIterator<Item = String>) -> Self {
        Self(taken.into_iter().map(|name| (name, 1)).collect())
    }

    /// The name for the first who asks for it, with a number for the others.
    pub(super) fn unique(&mut self, name: &str) -> String {
        let mut name = name.to_owned();
        while let Some(next) = self.0.get_mut(&name) {
            *next += 1;
            name = format!("{name}.{next}");
        }
        self.0.insert(name.clone(), 1);
        name
    }
}

#[derive(Debug)]
pub(super) struct Net {
    pub(super) values: Vec<Value>,
    /// Each reads what earlier nodes make.
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Value {
    /// With the batch axis.
    pub(super) dims: Vec<usize>,
    pub(super) constant: Option<Rc<Tensor>>,
    /// The node that makes it; neither for the input.
    pub(super) maker: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Node {
    /// Unique, and as in the file where that names it once.
    pub(super) name: String,
    /// The ONNX operator it comes from.
    pub(super) kind: String,
    pub(super) op: Operator,
    pub(super) inputs: Vec<Id>,
    pub(super) output: Id,
}

impl Net {
    pub(super) fn dims(&self, id: Id) -> &[usize] {
        &self.values[id].dims
    }

    pub(super) fn constant(&self, id: Id) -> Option<&Rc<Tensor>> {
        self.values[id].constant.as_ref()
    }

    pub(super) fn maker(&self, id: Id) -> Option<&Node> {
        self.values[id].maker.map(|at| &self.nodes[at])
    }

    /// The number that a constant repeats, of any shape.
    pub(super) fn scalar(&self, id: Id) -> Option<f32> {
        let Values::Float(values) = &self.constant(id)?.values else { return None };
        let first = *values.first()?;
        values.iter().all(|&value| value == first).then_some(first)
    }

    /// What is put through a function, where one makes the tensor.
    pub(super) fn applied(&self, id: Id) -> Option<(Function, Id)> {
        match self.maker(id)? {
            Node { op: Operator::Apply(function), inputs, .. } => Some((*function, inputs[0])),
            _ => None,
        }
    }

    pub(super) fn argument(&self, id: Id, function: Function) -> Option<Id> {
        self.applied(id).filter(|(found, _)| *found == function).map(|(_, x)| x)
    }

    pub(super) fn binary(&self, id: Id, kind: Binary) -> Option<[Id; 2]> {
        match self.maker(id)? {
            Node { op: Operator::Binary(found), inputs, .. } if *found == kind => {
                Some([inputs[0], inputs[1]])
            }
            _ => None,
        }
    }

    /// `x` and `n` where the tensor is `x + n`, with one number.
    pub(super) fn shifted(&self, id: Id) -> Option<(Id, f32)> {
        let [x, n] = self.binary(id, Binary::Add)?;
        Some((x, self.scalar(n)?))
    }

    /// `x` and `n` where the tensor is `x · n`, with one number; the tensor itself and 1 elsewhere.
    pub(super) fn scaled(&self, id: Id) -> (Id, f32) {
        let product = self.binary(id, Binary::Mul);
        product.and_then(|[x, n]| Some((x, self.scalar(n)?))).unwrap_or((id, 1.0))
    }

    /// The factors of a product of products, numbers in one; `whole` is not taken apart.
    pub(super) fn factors(&self, of: &[Id], whole: Option<Id>) -> (Vec<Id>, f32) {
        let (mut factors, mut scale) = (Vec::new(), 1.0);
        let mut open = of.to_vec();
        while let Some(id) = open.pop() {
            match (self.scalar(id), self.binary(id, Binary::Mul)) {
                (Some(number), _) => scale *= number,
                (None, Some(parts)) if whole != Some(id) && factors.len() + open.len() < 8 => {
                    open.extend(parts);
                }
                (None, _) => factors.push(id),
            }
        }
        (factors, scale)
    }
}

/// Equal up to how exporters round constants.
pub(super) fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 2e-4 * b.abs()
}
