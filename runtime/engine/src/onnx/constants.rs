//! The values of constant tensors, whichever way the file holds them.

use thiserror::Error;
use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

/// Why a constant cannot be read.
#[derive(Debug, Error)]
pub enum ConstantError {
    #[error("constant `{name}` lies in another file, expected its values in this one")]
    External { name: String },

    #[error("constant `{name}` has element type {found}, expected {expected:?}")]
    Type { name: String, found: i32, expected: DataType },

    #[error("constant `{name}` holds a number that is no {expected:?}")]
    Range { name: String, expected: DataType },

    #[error("constant `{name}` holds {found} values, its shape is {dims:?}")]
    Count { name: String, found: usize, dims: Vec<i64> },
}

/// What a tensor's values can be read as.
pub trait Element: Sized {
    const KIND: DataType;
    /// From `raw_data`, little endian, or from the list of the element type; `None` where a number is out of range.
    fn all(tensor: &TensorProto) -> Option<Vec<Self>>;
}

macro_rules! onnx_element {
    ($type:ty, $kind:ident, $list:ident) => {
        impl Element for $type {
            const KIND: DataType = DataType::$kind;

            fn all(tensor: &TensorProto) -> Option<Vec<Self>> {
                if tensor.raw_data.is_empty() {
                    return tensor.$list.iter().map(|&v| Self::try_from(v).ok()).collect();
                }
                let (words, _) = tensor.raw_data.as_chunks();
                Some(words.iter().map(|&word| Self::from_le_bytes(word)).collect())
            }
        }
    };
}
onnx_element!(u8, Uint8, int32_data);
onnx_element!(i8, Int8, int32_data);
onnx_element!(i32, Int32, int32_data);
onnx_element!(i64, Int64, int64_data);
onnx_element!(f32, Float, float_data);

/// Values of a tensor with just this element type, as many as its shape says.
pub fn read<T: Element>(tensor: &TensorProto) -> Result<Vec<T>, ConstantError> {
    let (name, expected) = (tensor.name.clone(), T::KIND);
    if tensor.data_location.unwrap_or(0) != 0 || !tensor.external_data.is_empty() {
        return Err(ConstantError::External { name });
    }
    if !is(tensor, T::KIND) {
        return Err(ConstantError::Type { name, found: tensor.data_type, expected });
    }
    let Some(values) = T::all(tensor) else { return Err(ConstantError::Range { name, expected }) };
    let whole = tensor.raw_data.len().is_multiple_of(size_of::<T>());
    let mut sides = tensor.dims.iter().map(|&side| usize::try_from(side).ok());
    let count = sides.try_fold(1_usize, |n, side| n.checked_mul(side?));
    if !whole || count != Some(values.len()) {
        let (found, dims) = (values.len(), tensor.dims.clone());
        return Err(ConstantError::Count { name, found, dims });
    }
    Ok(values)
}

/// As [`read`], where a constant of another kind is no fault.
pub(crate) fn values<T: Element>(tensor: &TensorProto) -> Option<Vec<T>> {
    read(tensor).ok()
}

/// The one value of a tensor with just this element type.
pub(crate) fn value<T: Element + Copy>(tensor: &TensorProto) -> Option<T> {
    match values(tensor)?[..] {
        [value] => Some(value),
        _ => None,
    }
}

/// Integers of an 8-bit or 32-bit zero point.
pub(crate) fn zero_points(tensor: &TensorProto) -> Option<Vec<i32>> {
    fn widened<T: Element + Into<i32>>(tensor: &TensorProto) -> Option<Vec<i32>> {
        Some(values::<T>(tensor)?.into_iter().map(Into::into).collect())
    }
    widened::<u8>(tensor).or_else(|| widened::<i8>(tensor)).or_else(|| values(tensor))
}

/// Dimensions of a tensor; `Document::decode` has checked them.
pub(crate) fn dims(tensor: &TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|&dim| dim as usize).collect()
}

pub(crate) fn is(tensor: &TensorProto, kind: DataType) -> bool {
    tensor.data_type == kind as i32
}
