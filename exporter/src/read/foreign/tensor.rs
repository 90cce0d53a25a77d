//! A constant: its shape and values, whichever way the file holds them.

use super::operator::count;
use anyhow::{Context, Result, bail, ensure};
use engine::onnx::constants::{self, Element};
use half::{bf16, f16};
use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

/// Row major. Floats of every width are held in single precision, integers of every width in 64 bits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) dims: Vec<usize>,
    pub(super) values: Values,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    Float(Vec<f32>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
}

impl Tensor {
    pub(super) fn floats(dims: Vec<usize>, values: Vec<f32>) -> Self {
        Self { dims, values: Values::Float(values) }
    }

    pub(super) fn ints(dims: Vec<usize>, values: Vec<i64>) -> Self {
        Self { dims, values: Values::Int(values) }
    }

    /// A list of sizes, as shapes are.
    pub(super) fn sizes(sizes: &[usize]) -> Self {
        Self::ints(vec![sizes.len()], sizes.iter().map(|&size| size as i64).collect())
    }

    pub(super) fn scalar(value: f32) -> Self {
        Self::floats(Vec::new(), vec![value])
    }

    /// As the file holds it.
    pub(super) fn read(proto: &TensorProto) -> Result<Self> {
        ensure!(proto.segment.is_none(), "constant `{}` comes in segments", proto.name);
        let dims =
            proto.dims.iter().map(|&side| usize::try_from(side)).collect::<Result<Vec<_>, _>>();
        let dims =
            dims.with_context(|| format!("constant `{}` is {:?}", proto.name, proto.dims))?;
        count(&dims).with_context(|| format!("constant `{}`", proto.name))?;
        let values = match DataType::try_from(proto.data_type) {
            Ok(DataType::Float) => Values::Float(constants::read::<f32>(proto)?),
            Ok(DataType::Float16) => Values::Float(floats::<Half>(proto)?),
            Ok(DataType::Bfloat16) => Values::Float(floats::<Brain>(proto)?),
            Ok(DataType::Double) => Values::Float(floats::<Double>(proto)?),
            Ok(DataType::Int64) => Values::Int(constants::read::<i64>(proto)?),
            Ok(DataType::Int32) => Values::Int(widened::<i32>(proto)?),
            Ok(DataType::Int8) => Values::Int(widened::<i8>(proto)?),
            Ok(DataType::Uint8) => Values::Int(widened::<u8>(proto)?),
            Ok(DataType::Bool) => {
                let values = constants::read::<Boolean>(proto)?;
                Values::Bool(values.into_iter().map(|Boolean(value)| value).collect())
            }
            Ok(kind) => bail!("constant `{}` is of {kind:?}, which is not read", proto.name),
            Err(_) => bail!("constant `{}` has element type {}", proto.name, proto.data_type),
        };
        Ok(Self { dims, values })
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Float(values) => values.len(),
            Values::Int(values) => values.len(),
            Values::Bool(values) => values.len(),
        }
    }

    pub(super) fn as_floats(&self) -> Result<&[f32]> {
        match &self.values {
            Values::Float(values) => Ok(values),
            Values::Int(_) | Values::Bool(_) => bail!("found integers, expected floats"),
        }
    }

    pub(super) fn as_ints(&self) -> Result<&[i64]> {
        match &self.values {
            Values::Int(values) => Ok(values),
            Values::Float(_) | Values::Bool(_) => {
                bail!("found floats or truths, expected integers")
            }
        }
    }

    pub(super) fn as_bools(&self) -> Result<&[bool]> {
        match &self.values {
            Values::Bool(values) => Ok(values),
            Values::Float(_) | Values::Int(_) => bail!("found numbers, expected truths"),
        }
    }

    /// The one number it holds.
    pub(super) fn one(&self) -> Option<f32> {
        match &self.values {
            Values::Float(values) if values.len() == 1 => Some(values[0]),
            Values::Int(values) if values.len() == 1 => Some(values[0] as f32),
            _ => None,
        }
    }

    /// A tensor whose values are those at `places` of this one.
    pub(super) fn pick(&self, dims: Vec<usize>, places: impl Iterator<Item = usize>) -> Self {
        let values = match &self.values {
            Values::Float(values) => Values::Float(places.map(|at| values[at]).collect()),
            Values::Int(values) => Values::Int(places.map(|at| values[at]).collect()),
            Values::Bool(values) => Values::Bool(places.map(|at| values[at]).collect()),
        };
        Self { dims, values }
    }
}

fn floats<T: Element + Into<f32>>(proto: &TensorProto) -> Result<Vec<f32>> {
    Ok(constants::read::<T>(proto)?.into_iter().map(Into::into).collect())
}

fn widened<T: Element + Into<i64>>(proto: &TensorProto) -> Result<Vec<i64>> {
    Ok(constants::read::<T>(proto)?.into_iter().map(Into::into).collect())
}

/// Bits of 16-bit floats lie in `raw_data` or, one each, in `int32_data`.
fn words(proto: &TensorProto) -> Option<Vec<u16>> {
    if proto.raw_data.is_empty() {
        return proto.int32_data.iter().map(|&word| u16::try_from(word).ok()).collect();
    }
    Some(proto.raw_data.as_chunks().0.iter().map(|&word| u16::from_le_bytes(word)).collect())
}

macro_rules! sixteen_bits {
    ($name:ident, $type:ty, $kind:ident) => {
        struct $name(u16);

        impl Element for $name {
            const KIND: DataType = DataType::$kind;

            fn all(proto: &TensorProto) -> Option<Vec<Self>> {
                Some(words(proto)?.into_iter().map(Self).collect())
            }
        }

        impl From<$name> for f32 {
            fn from($name(bits): $name) -> Self {
                <$type>::from_bits(bits).to_f32()
            }
        }
    };
}
sixteen_bits!(Half, f16, Float16);
sixteen_bits!(Brain, bf16, Bfloat16);

struct Double(f64);

impl Element for Double {
    const KIND: DataType = DataType::Double;

    fn all(proto: &TensorProto) -> Option<Vec<Self>> {
        if proto.raw_data.is_empty() {
            return Some(proto.double_data.iter().map(|&value| Self(value)).collect());
        }
        let words = proto.raw_data.as_chunks().0;
        Some(words.iter().map(|&word| Self(f64::from_le_bytes(word))).collect())
    }
}

impl From<Double> for f32 {
    fn from(Double(value): Double) -> Self {
        value as Self
    }
}

struct Boolean(bool);

impl Element for Boolean {
    const KIND: DataType = DataType::Bool;

    fn all(proto: &TensorProto) -> Option<Vec<Self>> {
        if proto.raw_data.is_empty() {
            return Some(proto.int32_data.iter().map(|&value| Self(value != 0)).collect());
        }
        Some(proto.raw_data.iter().map(|&byte| Self(byte != 0)).collect())
    }
}
