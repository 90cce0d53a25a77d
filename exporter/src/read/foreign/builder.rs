//! A network under construction: constants are computed at once, what exporters spell out becomes one operator.

use super::{
    evaluate::evaluate,
    fuse,
    net::{Id, Names, Net, Node, Value},
    operator::Operator,
    rewrite::{Instead, Operand},
    tensor::Tensor,
};
use anyhow::{Context, Result, ensure};
use std::{collections::HashMap, rc::Rc};
use tract_onnx::pb::TensorProto;

/// Constants may take this many values beyond those of the file.
pub(super) const ROOM: usize = 1 << 26;

pub(super) struct Builder<'a> {
    pub(super) net: Net,
    /// Version of ONNX's own operators.
    pub(super) opset: i64,
    /// By their names in the file.
    tensors: HashMap<String, Id>,
    /// Not looked at yet.
    initializers: HashMap<&'a str, &'a TensorProto>,
    /// What the node being read is called, and which operator it is.
    current: (String, String),
    names: Names,
    /// How many values constants may still take.
    room: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(opset: i64, initializers: &'a [TensorProto], size: usize) -> Self {
        Self {
            net: Net { values: Vec::new(), nodes: Vec::new() },
            opset,
            tensors: HashMap::new(),
            initializers: initializers.iter().map(|t| (t.name.as_str(), t)).collect(),
            current: Default::default(),
            names: Names::default(),
            room: ROOM + size,
        }
    }

    /// The network's input.
    pub(super) fn input(&mut self, dims: Vec<usize>) -> Id {
        self.value(Value { dims, constant: None, maker: None })
    }

    /// Gives a tensor its name in the file.
    pub(super) fn name(&mut self, name: &str, id: Id) -> Result<()> {
        let new = self.tensors.insert(name.to_owned(), id).is_none();
        ensure!(new, "`{name}` is made twice");
        Ok(())
    }

    /// The tensor of a name.
    pub(super) fn tensor(&mut self, name: &str) -> Result<Id> {
        if let Some(&id) = self.tensors.get(name) {
            return Ok(id);
        }
        let proto = self.initializers.get(name);
        let proto = *proto.with_context(|| format!("no node makes its input `{name}`"))?;
        let id = self.constant(Tensor::read(proto)?)?;
        self.tensors.insert(name.to_owned(), id);
        Ok(id)
    }

    /// More constants of the file, as a branch has them.
    pub(super) fn add_initializers(&mut self, tensors: &'a [TensorProto]) {
        self.initializers.extend(tensors.iter().map(|t| (t.name.as_str(), t)));
    }

    /// Begins with a node of the file; returns what it is called.
    pub(super) fn begin(&mut self, name: &str, kind: &str) {
        self.current = (name.to_owned(), kind.to_owned());
    }

    pub(super) fn constant(&mut self, tensor: Tensor) -> Result<Id> {
        self.reserve(tensor.len())?;
        Ok(self.value(Value {
            dims: tensor.dims.clone(),
            constant: Some(Rc::new(tensor)),
            maker: None,
        }))
    }

    /// Makes sure that constants do not take more than the file justifies.
    pub(super) fn reserve(&mut self, values: usize) -> Result<()> {
        let left = self.room.checked_sub(values);
        self.room = left.with_context(|| format!("constants of {values} more values"))?;
        Ok(())
    }

    /// Adds an operator; what it makes.
    pub(super) fn push(&mut self, op: Operator, inputs: &[Id]) -> Result<Id> {
        let dims: Vec<&[usize]> = inputs.iter().map(|&id| self.net.dims(id)).collect();
        let dims = op.shape(&dims)?;
        let constants: Option<Vec<Rc<Tensor>>> =
            inputs.iter().map(|&id| self.net.constant(id).cloned()).collect();
        if let Some(constants) = constants {
            self.reserve(dims.iter().product())?;
            let constants: Vec<&Tensor> = constants.iter().map(Rc::as_ref).collect();
            if let Some(made) = evaluate(&op, &constants, &dims)? {
                return Ok(self.value(Value { dims, constant: Some(Rc::new(made)), maker: None }));
            }
        }
        match fuse::instead(&self.net, &op, inputs) {
            Some(Instead::Same(id)) => Ok(id),
            Some(Instead::Steps(steps)) => {
                let made = self.steps(steps)?;
                let found = self.net.dims(made);
                ensure!(found == dims, "it became a tensor of {found:?}, expected {dims:?}");
                Ok(made)
            }
            None => {
                let (name, kind) = (self.names.unique(&self.current.0), self.current.1.clone());
                let maker = Some(self.net.nodes.len());
                let output = self.value(Value { dims, constant: None, maker });
                self.net.nodes.push(Node { name, kind, op, inputs: inputs.to_vec(), output });
                Ok(output)
            }
        }
    }

    fn steps(&mut self, steps: Vec<(Operator, Vec<Operand>)>) -> Result<Id> {
        let mut last = None;
        for (op, operands) in steps {
            let mut inputs = Vec::with_capacity(operands.len());
            for operand in operands {
                inputs.push(match operand {
                    Operand::Of(id) => id,
                    Operand::Constant(tensor) => self.constant(tensor)?,
                    Operand::Last => last.context("no step comes before the first")?,
                });
            }
            last = Some(self.push(op, &inputs)?);
        }
        last.context("no step")
    }

    fn value(&mut self, value: Value) -> Id {
        self.net.values.push(value);
        self.net.values.len() - 1
    }
}
