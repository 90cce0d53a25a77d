//! One node of a file: its inputs and attributes, checked, as operators of ours.

mod arithmetic;
mod attention;
mod constants;
mod normalisation;
mod places;
mod resize;
mod shapes;
mod windows;

use super::{
    attributes::Attributes,
    builder::Builder,
    net::Id,
    operator::{Binary, Function, Operator},
    tensor::Tensor,
};
use anyhow::{Context, Result, bail, ensure};
use graph::Unary;
use std::rc::Rc;
use tract_onnx::pb::NodeProto;

/// A node being read.
struct Call<'c, 'a> {
    builder: &'c mut Builder<'a>,
    node: &'a NodeProto,
    attributes: Attributes<'a>,
}

/// Reads a node; the tensors it makes, in its order.
pub(super) fn read<'a>(builder: &mut Builder<'a>, node: &'a NodeProto) -> Result<Vec<Id>> {
    let own = matches!(node.domain.as_str(), "" | "ai.onnx");
    ensure!(own, "operator domain `{}`, expected ONNX's own", node.domain);
    let attributes = Attributes::of(node)?;
    let mut call = Call { builder, node, attributes };
    let made = call.read()?;
    call.attributes.finish()?;
    Ok(made)
}

impl Call<'_, '_> {
    fn read(&mut self) -> Result<Vec<Id>> {
        let op = self.node.op_type.as_str();
        let made = match op {
            "Split" => return self.split(),
            "Constant" => self.given()?,
            "ConstantOfShape" | "Shape" | "Size" | "Range" | "Where" | "ScatterND" | "GatherND"
            | "NonZero" | "Not" | "And" | "Or" | "Equal" | "Less" | "Greater" | "LessOrEqual"
            | "GreaterOrEqual" | "ReduceProd" | "Trilu" | "CumSum" => self.on_constants()?,
            "Conv" => self.conv()?,
            "ConvTranspose" => self.conv_transpose()?,
            "MaxPool" => self.max_pool()?,
            "AveragePool" => self.average_pool()?,
            "GlobalAveragePool" => self.global_average()?,
            "GlobalMaxPool" => self.global_max()?,
            "Pad" => self.pad()?,
            "Resize" | "Upsample" => self.resize()?,
            "BatchNormalization" => self.batch_norm()?,
            "InstanceNormalization" => self.instance_norm()?,
            "GroupNormalization" => self.group_norm()?,
            "LayerNormalization" => self.layer_norm()?,
            "Gemm" => self.gemm()?,
            "MatMul" => self.two(Operator::MatMul)?,
            "Softmax" => self.softmax()?,
            "Attention" => self.attention()?,
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" => self.reduce()?,
            "Sum" => self.all(Binary::Add)?,
            "Max" => self.all(Binary::Max)?,
            "Min" => self.all(Binary::Min)?,
            "Reshape" => self.reshape()?,
            "Flatten" => self.flatten()?,
            "Squeeze" | "Unsqueeze" => self.unit_axes()?,
            "Transpose" => self.transpose()?,
            "Concat" => self.concat()?,
            "Slice" => self.slice()?,
            "Gather" => self.gather()?,
            "Expand" => self.expand()?,
            "Tile" => self.tile()?,
            "DepthToSpace" | "SpaceToDepth" => self.depth_and_space()?,
            "Cast" | "CastLike" => self.cast()?,
            "Identity" => self.input(0)?,
            "Dropout" => self.dropout()?,
            "Clip" => self.clip()?,
            "PRelu" => self.prelu()?,
            "Mod" => self.modulo()?,
            _ => self.elementwise(op)?,
        };
        Ok(vec![made])
    }

    /// Operators of one or two tensors with nothing more to say than numbers.
    fn elementwise(&mut self, op: &str) -> Result<Id> {
        let binary = match op {
            "Add" => Some(Binary::Add),
            "Sub" => Some(Binary::Sub),
            "Mul" => Some(Binary::Mul),
            "Div" => Some(Binary::Div),
            "Pow" => Some(Binary::Pow),
            _ => None,
        };
        if let Some(kind) = binary {
            return self.two(Operator::Binary(kind));
        }
        let float = |name, otherwise| self.attributes.float(name, otherwise);
        let function = match op {
            "Relu" => Function::clip(0.0, f32::INFINITY),
            "LeakyRelu" => Function::LeakyRelu { slope: float("alpha", 0.01)? },
            "Sigmoid" => Function::Known(Unary::Sigmoid),
            "Tanh" => Function::Known(Unary::Tanh),
            "Softplus" => Function::Known(Unary::Softplus),
            "Mish" => Function::Known(Unary::Mish),
            "HardSwish" => Function::Known(Unary::HardSwish),
            "Elu" => Function::Known(Unary::Elu { alpha: float("alpha", 1.0)? }),
            "HardSigmoid" => {
                let (alpha, beta) = (float("alpha", 0.2)?, float("beta", 0.5)?);
                Function::Known(Unary::HardSigmoid { alpha, beta })
            }
            "Swish" => {
                ensure!(float("alpha", 1.0)? == 1.0, "attribute `alpha` is not 1");
                Function::Known(Unary::Silu)
            }
            "Gelu" => match self.attributes.text("approximate", "none")? {
                "none" => Function::Known(Unary::Gelu),
                "tanh" => Function::Known(Unary::GeluTanh),
                other => bail!("attribute `approximate` is {other:?}"),
            },
            "Erf" => Function::Erf,
            "Exp" => Function::Exp,
            "Log" => Function::Log,
            "Sqrt" => Function::Sqrt,
            "Reciprocal" => Function::Reciprocal,
            "Abs" => Function::Abs,
            "Floor" => Function::Floor,
            "Ceil" => Function::Ceil,
            "Round" => Function::Round,
            "Sin" => Function::Sin,
            "Cos" => Function::Cos,
            "Neg" => return self.negated(),
            _ => bail!("the operator is not among those we have"),
        };
        let x = self.input(0)?;
        self.push(Operator::Apply(function), &[x])
    }

    fn push(&mut self, op: Operator, inputs: &[Id]) -> Result<Id> {
        self.builder.push(op, inputs)
    }

    fn two(&mut self, op: Operator) -> Result<Id> {
        let inputs = [self.input(0)?, self.input(1)?];
        self.push(op, &inputs)
    }

    /// The tensor that is input `at`.
    fn input(&mut self, at: usize) -> Result<Id> {
        self.optional(at)?.with_context(|| format!("input {at} is missing"))
    }

    /// The same, where it may be left out.
    fn optional(&mut self, at: usize) -> Result<Option<Id>> {
        match self.node.input.get(at).filter(|name| !name.is_empty()) {
            Some(name) => self.builder.tensor(name).map(Some),
            None => Ok(None),
        }
    }

    /// The constant that is input `at`, if there is one.
    fn constant(&mut self, at: usize) -> Result<Option<Rc<Tensor>>> {
        let Some(id) = self.optional(at)? else { return Ok(None) };
        let constant = self.builder.net.constant(id).cloned();
        constant
            .map(Some)
            .with_context(|| format!("its input {at}, `{}`, is not constant", self.node.input[at]))
    }

    /// A list of numbers that older files have as an attribute and newer ones as input `at`.
    fn list(&mut self, name: &str, at: usize) -> Result<Option<Vec<i64>>> {
        if let Some(found) = self.attributes.ints(name)? {
            ensure!(self.optional(at)?.is_none(), "attribute `{name}` and input {at} say the same");
            return Ok(Some(found.to_vec()));
        }
        self.constant(at)?.map(|tensor| Ok(tensor.as_ints()?.to_vec())).transpose()
    }

    fn dims(&self, id: Id) -> Vec<usize> {
        self.builder.net.dims(id).to_vec()
    }

    fn number(&mut self, value: f32) -> Result<Id> {
        self.builder.constant(Tensor::scalar(value))
    }
}

/// An axis that may count from the end.
fn axis(axis: i64, rank: usize) -> Result<usize> {
    let from_the_end = if axis < 0 { axis + rank as i64 } else { axis };
    let found = usize::try_from(from_the_end).ok().filter(|&axis| axis < rank);
    found.with_context(|| format!("axis {axis} of {rank}"))
}

/// Axes, sorted, each once.
fn axes(given: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut found = given.iter().map(|&given| axis(given, rank)).collect::<Result<Vec<_>>>()?;
    found.sort_unstable();
    ensure!(found.windows(2).all(|pair| pair[0] != pair[1]), "axes {given:?}, one of them twice");
    Ok(found)
}
