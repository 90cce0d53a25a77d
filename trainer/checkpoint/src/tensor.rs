//! Numbers with a type and a shape, as files hold them: little-endian, row major.

use bytes::Bytes;
use half::{bf16, f16};
pub use safetensors::{Dtype, View};
use safetensors::{SafeTensorError, SafeTensors};
use std::{borrow::Cow, collections::BTreeMap};
use thiserror::Error;

/// A dense array. Cloning shares the numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Bytes,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// Why bytes are no tensors.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TensorError {
    #[error("not a safetensors file")]
    Format(#[from] SafeTensorError),

    #[error("`{name}` is {found:?}, which is not known")]
    Type { name: String, found: Dtype },

    #[error("{found} bytes, expected {expected} for {dtype:?} of shape {shape:?}")]
    Length { found: usize, expected: usize, dtype: Dtype, shape: Vec<usize> },
}

impl Tensor {
    /// `data` holds the numbers in row-major order.
    pub fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        data: impl Into<Bytes>,
    ) -> Result<Self, TensorError> {
        let data = data.into();
        let count = shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
        let expected = count.and_then(|count| count.checked_mul(size(dtype)?));
        if expected != Some(data.len()) {
            let (found, expected) = (data.len(), expected.unwrap_or(usize::MAX));
            return Err(TensorError::Length { found, expected, dtype, shape });
        }
        Ok(Self { dtype, shape, data })
    }

    /// In single precision.
    ///
    /// # Panics
    /// If there are not as many values as `shape` has places.
    pub fn of_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values of shape {shape:?}");
        let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape, data: data.into() }
    }

    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers, row major, little-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    pub fn is_float(&self) -> bool {
        matches!(self.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
    }

    /// The values in single precision; `None` for integers.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let two = || self.data.as_chunks::<2>().0.iter();
        Some(match self.dtype {
            Dtype::F32 => {
                self.data.as_chunks::<4>().0.iter().map(|&x| f32::from_le_bytes(x)).collect()
            }
            Dtype::F64 => {
                let eight = self.data.as_chunks::<8>().0.iter();
                eight.map(|&x| f64::from_le_bytes(x) as f32).collect()
            }
            Dtype::F16 => two().map(|&x| f16::from_le_bytes(x).to_f32()).collect(),
            Dtype::BF16 => two().map(|&x| bf16::from_le_bytes(x).to_f32()).collect(),
            _ => return None,
        })
    }
}

impl View for Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// Every tensor of a safetensors file.
pub(crate) fn parse(file: &Bytes) -> Result<Tensors, TensorError> {
    SafeTensors::deserialize(file)?
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            if size(view.dtype()).is_none() {
                return Err(TensorError::Type { name, found: view.dtype() });
            }
            let data = file.slice_ref(view.data());
            let tensor = Tensor::new(view.dtype(), view.shape().to_vec(), data)?;
            Ok((name, tensor))
        })
        .collect()
}

/// Bytes of a number; `None` for types PyTorch's state dicts do not have.
pub(crate) fn size(dtype: Dtype) -> Option<usize> {
    Some(match dtype {
        Dtype::BOOL | Dtype::U8 | Dtype::I8 => 1,
        Dtype::I16 | Dtype::F16 | Dtype::BF16 => 2,
        Dtype::I32 | Dtype::F32 => 4,
        Dtype::I64 | Dtype::F64 => 8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_float_becomes_the_same_number() {
        let of = |dtype, data: Vec<u8>| Tensor::new(dtype, vec![1], data).unwrap().to_f32();
        let number = Some(vec![-1.5_f32]);
        assert_eq!(of(Dtype::F64, (-1.5_f64).to_le_bytes().to_vec()), number);
        assert_eq!(of(Dtype::F32, (-1.5_f32).to_le_bytes().to_vec()), number);
        assert_eq!(of(Dtype::F16, f16::from_f32(-1.5).to_le_bytes().to_vec()), number);
        assert_eq!(of(Dtype::BF16, bf16::from_f32(-1.5).to_le_bytes().to_vec()), number);
        assert_eq!(of(Dtype::I64, 1_i64.to_le_bytes().to_vec()), None);
    }

    #[test]
    fn bytes_that_do_not_fill_the_shape_are_refused() {
        let error = Tensor::new(Dtype::F32, vec![2, 3], vec![0; 20]).unwrap_err().to_string();
        assert_eq!(error, "20 bytes, expected 24 for F32 of shape [2, 3]");
        assert!(Tensor::new(Dtype::F32, vec![usize::MAX, 2], vec![0; 8]).is_err());
    }
}
