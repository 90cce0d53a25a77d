//! Constants of an ONNX file as numbers.

use anyhow::{Result, bail};
use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

/// A float tensor's values.
pub(super) fn f32s(tensor: &TensorProto) -> Result<Vec<f32>> {
    if tensor.data_type != DataType::Float as i32 {
        bail!("constant `{}` has element type {}, expected float32", tensor.name, tensor.data_type);
    }
    let values = if tensor.raw_data.is_empty() {
        tensor.float_data.clone()
    } else {
        let (chunks, _) = tensor.raw_data.as_chunks::<4>();
        chunks.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    };
    counted(tensor, values)
}

/// An int64 tensor's values.
pub(super) fn i64s(tensor: &TensorProto) -> Result<Vec<i64>> {
    if tensor.data_type != DataType::Int64 as i32 {
        bail!("constant `{}` has element type {}, expected int64", tensor.name, tensor.data_type);
    }
    let values = if tensor.raw_data.is_empty() {
        tensor.int64_data.clone()
    } else {
        let (chunks, _) = tensor.raw_data.as_chunks::<8>();
        chunks.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
    };
    counted(tensor, values)
}

pub(super) fn shape(tensor: &TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|&side| usize::try_from(side).unwrap_or(0)).collect()
}

fn counted<T>(tensor: &TensorProto, values: Vec<T>) -> Result<Vec<T>> {
    let expected: usize = shape(tensor).iter().product();
    if values.len() != expected {
        bail!(
            "constant `{}` holds {} values, its shape {:?} needs {expected}; external data is not read",
            tensor.name,
            values.len(),
            tensor.dims
        );
    }
    Ok(values)
}
