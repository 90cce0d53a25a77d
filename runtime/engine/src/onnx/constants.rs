//! The values of constant tensors, whichever way the file holds them.

use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

/// What a tensor's values can be read as.
pub(crate) trait Element: Sized {
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

/// Values of a tensor with just this element type; `Document::decode` has checked how many there are.
pub(crate) fn values<T: Element>(tensor: &TensorProto) -> Option<Vec<T>> {
    is(tensor, T::KIND).then(|| T::all(tensor)).flatten()
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
