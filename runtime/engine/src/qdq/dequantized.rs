//! What DequantizeLinear gives: activations and constants as float tensors, still known in integers.

use crate::layout::Layout;
use crate::quantized::{Activation, Shape};
use tract_onnx::pb::TensorProto;

/// An activation as a float tensor: what DequantizeLinear gives, perhaps as a view.
#[derive(Clone)]
pub(super) struct Dequantized<'a> {
    pub(super) activation: &'a Activation,
    pub(super) view: View,
}

impl Dequantized<'_> {
    pub(super) fn dims(&self) -> &[usize] {
        &self.view.layout.dims
    }

    /// Whether it is a whole image, perhaps seen with other dimensions behind the first: `[1, groups, …]`.
    pub(super) fn lies_as_image(&self) -> bool {
        let Shape { h, w, c } = self.activation.shape;
        let alike = self.view.layout.lies_as(&Layout::plain(&[1, c, h, w]));
        alike && matches!(self.dims(), [1, groups, ..] if c.is_multiple_of(*groups))
    }

    /// Whether it is `[1, C, H, W]` as the activation lies in memory.
    pub(super) fn is_image(&self) -> bool {
        let Shape { h, w, c } = self.activation.shape;
        self.dims() == [1, c, h, w] && self.view.layout.lies_as(&Layout::plain(self.dims()))
    }
}

/// An activation, or a part of it, as ONNX shapes it.
#[derive(Clone)]
pub(super) struct View {
    /// The activation.
    pub(super) at: usize,
    pub(super) layout: Layout,
}

/// A constant and its quantization.
#[derive(Clone)]
pub(super) struct QuantizedConstant<'a> {
    pub(super) tensor: &'a TensorProto,
    pub(super) scale: Vec<f32>,
    pub(super) zero: Vec<i32>,
    pub(super) axis: usize,
}
