//! Attributes and constants of one node, checked.

use super::document::node_name;
use crate::{EngineError, quantized::Window};
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto, tensor_proto::DataType};

/// Longest kernel side, stride or padding any network has.
const MAX_WINDOW: i64 = 1 << 12;

/// One node with what it refers to.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) constants: &'a HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Reader<'a> {
    pub(super) fn error(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Node {
            node: node_name(self.node).to_owned(),
            op: self.node.op_type.clone(),
            reason: reason.into(),
        }
    }

    /// Name of input `at`, `None` where it is left out.
    pub(super) fn input(&self, at: usize) -> Option<&'a str> {
        self.node.input.get(at).map(String::as_str).filter(|name| !name.is_empty())
    }

    pub(super) fn constant(&self, at: usize) -> Option<&'a TensorProto> {
        self.constants.get(self.input(at)?).copied()
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str, otherwise: i64) -> i64 {
        self.attribute(name).map_or(otherwise, |attribute| attribute.i)
    }

    pub(super) fn float(&self, name: &str, otherwise: f32) -> f32 {
        self.attribute(name).map_or(otherwise, |attribute| attribute.f)
    }

    pub(super) fn text(&self, name: &str, otherwise: &'a str) -> &'a str {
        let text = self.attribute(name).and_then(|attribute| str::from_utf8(&attribute.s).ok());
        text.unwrap_or(otherwise)
    }

    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    /// The window of a convolution or pooling over `input` rows and columns.
    pub(super) fn window(
        &self,
        kernel: [usize; 2],
        input: [usize; 2],
    ) -> Result<Window, EngineError> {
        let pair = |name: &str| self.small(name, 2).map(|v| v.map_or([1; 2], |v| [v[0], v[1]]));
        let stride = pair("strides")?;
        let dilation = pair("dilations")?;
        let pad = self.small("pads", 4)?.map_or([0; 4], |v| [v[0], v[1], v[2], v[3]]);
        if [stride, dilation, kernel].as_flattened().contains(&0) {
            return Err(self.error("a kernel side, stride or dilation of zero"));
        }
        let mut window = Window { kernel, stride, dilation, pad };
        match self.text("auto_pad", "NOTSET") {
            "NOTSET" => {}
            "VALID" => window.pad = [0; 4],
            same @ ("SAME_UPPER" | "SAME_LOWER") => {
                for axis in 0..2 {
                    let out = input[axis].div_ceil(stride[axis]);
                    let span = (out - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1;
                    let total = span.saturating_sub(input[axis]);
                    let less = total / 2;
                    let (first, last) = if same == "SAME_UPPER" {
                        (less, total - less)
                    } else {
                        (total - less, less)
                    };
                    window.pad[axis] = first;
                    window.pad[axis + 2] = last;
                }
            }
            other => return Err(self.error(format!("auto_pad {other:?}"))),
        }
        Ok(window)
    }

    /// `kernel_shape` of a pooling node.
    pub(super) fn kernel_shape(&self) -> Result<[usize; 2], EngineError> {
        match self.small("kernel_shape", 2)? {
            Some(v) => Ok([v[0], v[1]]),
            None => Err(self.error("no kernel_shape")),
        }
    }

    /// `count` integers from 0 to [`MAX_WINDOW`].
    fn small(&self, name: &str, count: usize) -> Result<Option<Vec<usize>>, EngineError> {
        let Some(found) = self.ints(name) else { return Ok(None) };
        if found.len() != count || found.iter().any(|v| !(0..=MAX_WINDOW).contains(v)) {
            return Err(self.error(format!("{name} is {found:?}, expected {count} small numbers")));
        }
        Ok(Some(found.iter().map(|&v| v as usize).collect()))
    }
}

/// Dimensions of a tensor; `Document::decode` has checked them.
pub(super) fn dims(tensor: &TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|&dim| dim as usize).collect()
}

pub(super) fn is(tensor: &TensorProto, kind: DataType) -> bool {
    tensor.data_type == kind as i32
}

/// Values of an int8 tensor.
pub(super) fn i8s(tensor: &TensorProto) -> Option<Vec<i8>> {
    if !is(tensor, DataType::Int8) {
        return None;
    }
    if tensor.raw_data.is_empty() {
        return tensor.int32_data.iter().map(|&v| i8::try_from(v).ok()).collect();
    }
    Some(tensor.raw_data.iter().map(|&byte| byte.cast_signed()).collect())
}

/// Values of an int32 tensor.
pub(super) fn i32s(tensor: &TensorProto) -> Option<Vec<i32>> {
    if !is(tensor, DataType::Int32) {
        return None;
    }
    if tensor.raw_data.is_empty() {
        return Some(tensor.int32_data.clone());
    }
    Some(words(tensor).map(i32::from_le_bytes).collect())
}

/// Values of a float tensor.
pub(super) fn f32s(tensor: &TensorProto) -> Option<Vec<f32>> {
    if !is(tensor, DataType::Float) {
        return None;
    }
    if tensor.raw_data.is_empty() {
        return Some(tensor.float_data.clone());
    }
    Some(words(tensor).map(f32::from_le_bytes).collect())
}

/// Values of an int64 tensor.
pub(super) fn i64s(tensor: &TensorProto) -> Option<Vec<i64>> {
    if !is(tensor, DataType::Int64) {
        return None;
    }
    if tensor.raw_data.is_empty() {
        return Some(tensor.int64_data.clone());
    }
    let (words, _) = tensor.raw_data.as_chunks::<8>();
    Some(words.iter().map(|&word| i64::from_le_bytes(word)).collect())
}

/// Integers of an 8-bit or 32-bit zero point.
pub(super) fn zero_points(tensor: &TensorProto) -> Option<Vec<i32>> {
    if is(tensor, DataType::Uint8) {
        return match tensor.raw_data.is_empty() {
            true => {
                tensor.int32_data.iter().map(|&v| u8::try_from(v).ok().map(i32::from)).collect()
            }
            false => Some(tensor.raw_data.iter().map(|&v| i32::from(v)).collect()),
        };
    }
    let bytes = i8s(tensor).map(|v| v.into_iter().map(i32::from).collect());
    bytes.or_else(|| i32s(tensor))
}

fn words(tensor: &TensorProto) -> impl Iterator<Item = [u8; 4]> {
    tensor.raw_data.as_chunks::<4>().0.iter().copied()
}
