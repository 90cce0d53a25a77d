//! One node: its inputs, attributes and constants, checked.

use super::node_name;
use crate::{EngineError, quantized::Window};
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

/// Longest kernel side, stride or padding any network has.
const MAX_WINDOW: i64 = 1 << 12;

/// One node with what it refers to.
#[derive(Clone, Copy)]
pub(crate) struct NodeReader<'a> {
    pub(crate) node: &'a NodeProto,
    pub(crate) constants: &'a HashMap<&'a str, &'a TensorProto>,
}

impl<'a> NodeReader<'a> {
    pub(crate) fn error(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Node {
            node: node_name(self.node).to_owned(),
            op: self.node.op_type.clone(),
            reason: reason.into(),
        }
    }

    /// Name of input `at`, `None` where it is left out.
    pub(crate) fn input(&self, at: usize) -> Option<&'a str> {
        self.node.input.get(at).map(String::as_str).filter(|name| !name.is_empty())
    }

    pub(crate) fn constant(&self, at: usize) -> Option<&'a TensorProto> {
        self.constants.get(self.input(at)?).copied()
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(crate) fn int(&self, name: &str, otherwise: i64) -> i64 {
        self.attribute(name).map_or(otherwise, |attribute| attribute.i)
    }

    pub(crate) fn float(&self, name: &str, otherwise: f32) -> f32 {
        self.attribute(name).map_or(otherwise, |attribute| attribute.f)
    }

    pub(crate) fn text(&self, name: &str, otherwise: &'a str) -> &'a str {
        let text =
            |a: &'a AttributeProto| str::from_utf8(&a.s).expect("`Document::decode` checks it");
        self.attribute(name).map_or(otherwise, text)
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    /// The window of a convolution or pooling over `input` rows and columns.
    pub(crate) fn window(
        &self,
        kernel: [usize; 2],
        input: [usize; 2],
    ) -> Result<Window, EngineError> {
        let stride = self.pair("strides")?.unwrap_or([1; 2]);
        let dilation = self.pair("dilations")?.unwrap_or([1; 2]);
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
                    if span + 1 < input[axis] {
                        // ONNX Runtime centres what is seen, others begin at the first pixel.
                        let reason = format!("auto_pad {same:?} with steps that leave pixels out");
                        return Err(self.error(reason));
                    }
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
    pub(crate) fn kernel_shape(&self) -> Result<[usize; 2], EngineError> {
        match self.pair("kernel_shape")? {
            Some(v) => Ok(v),
            None => Err(self.error("no kernel_shape")),
        }
    }

    /// Two small numbers, if the attribute is there.
    pub(crate) fn pair(&self, name: &str) -> Result<Option<[usize; 2]>, EngineError> {
        Ok(self.small(name, 2)?.map(|v| [v[0], v[1]]))
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
