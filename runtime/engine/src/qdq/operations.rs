//! ONNX operators over dequantized tensors, one function an operator.
//!
//! `Ok(None)` means "not in integers": the node stays ONNX and tract runs it in float.

use super::dequantized::Dequantized;
use super::float_op::{Bounds, FloatOp, FloatOpKind, Unary};
use crate::EngineError;
use crate::layout::Layout;
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::{value, values};
use crate::onnx::node_name;
use crate::quantized::{Shape, Window};

/// Operators of one value that are no bounds.
pub(super) const UNARY: &[&str] = &[
    "Abs",
    "Elu",
    "Erf",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "Neg",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
];

impl NodeReader<'_> {
    pub(super) fn float_op(
        &self,
        op: FloatOpKind,
        inputs: &[&Dequantized<'_>],
        dims: Vec<usize>,
    ) -> Result<FloatOp, EngineError> {
        let shape = Shape::of(&dims).ok_or_else(|| {
            self.error(format!("a tensor of {dims:?}, expected one image at most 2^27 values"))
        })?;
        Ok(FloatOp {
            name: node_name(self.node).to_owned(),
            op,
            inputs: inputs.iter().map(|real| real.view.at).collect(),
            shape,
            layout: Layout::plain(&dims),
            bounds: Bounds::NONE,
        })
    }

    pub(super) fn max_pool(&self, x: &Dequantized<'_>) -> Result<Option<FloatOp>, EngineError> {
        if !x.is_image() || self.node.output.len() > 1 {
            return Ok(None);
        }
        let (window, dims) = self.pool(x)?;
        Ok(Some(self.float_op(FloatOpKind::MaxPool(window), &[x], dims)?))
    }

    pub(super) fn avg_pool(&self, x: &Dequantized<'_>) -> Result<Option<FloatOp>, EngineError> {
        if !x.is_image() {
            return Ok(None);
        }
        let (window, dims) = self.pool(x)?;
        // What a window of `ceil_mode` has beyond the file's own padding never counts.
        let declared = self.pool_window(x)?.pad;
        let counted = (self.int("count_include_pad", 0) != 0).then_some(declared);
        self.check_pool(&window)?;
        Ok(Some(self.float_op(FloatOpKind::AvgPool { window, counted }, &[x], dims)?))
    }

    /// GlobalAveragePool, and ReduceMean over rows and columns.
    pub(super) fn global_pool(&self, x: &Dequantized<'_>) -> Result<Option<FloatOp>, EngineError> {
        let keep = self.node.op_type == "GlobalAveragePool" || self.int("keepdims", 1) != 0;
        if self.node.op_type == "ReduceMean" {
            let given = self.constant(1).and_then(values);
            let axes = given.or_else(|| self.ints("axes").map(<[i64]>::to_vec));
            let of_image = axes.as_ref().is_some_and(|axes| {
                let mut axes: Vec<i64> = axes.iter().map(|axis| axis.rem_euclid(4)).collect();
                axes.sort_unstable();
                axes == [2, 3]
            });
            if x.dims().len() != 4 || !of_image {
                return self.mean_over_tokens(x, &axes.unwrap_or_default(), keep);
            }
        }
        if !x.is_image() {
            return Ok(None);
        }
        let Shape { h, w, c } = x.activation.shape;
        let window = Window { kernel: [h, w], ..Window::POINT };
        self.check_pool(&window)?;
        let dims = if keep { vec![1, c, 1, 1] } else { vec![1, c] };
        Ok(Some(self.float_op(FloatOpKind::AvgPool { window, counted: None }, &[x], dims)?))
    }

    fn pool_window(&self, x: &Dequantized<'_>) -> Result<Window, EngineError> {
        let Shape { h, w, .. } = x.activation.shape;
        self.window(self.kernel_shape()?, [h, w])
    }

    /// The window, with as much padding as `ceil_mode` asks for, and the result's shape.
    fn pool(&self, x: &Dequantized<'_>) -> Result<(Window, Vec<usize>), EngineError> {
        let Shape { h, w, c } = x.activation.shape;
        let mut window = self.pool_window(x)?;
        self.output(&window, x.activation.shape)?;
        if self.int("ceil_mode", 0) != 0 {
            for (axis, size) in [(0, h), (1, w)] {
                let (stride, before) = (window.stride[axis], window.pad[axis]);
                let span = window.dilation[axis] * (window.kernel[axis] - 1) + 1;
                let padded = size + before + window.pad[axis + 2];
                let mut outputs = (padded - span).div_ceil(stride) + 1;
                // As ONNX Runtime and PyTorch: no window begins behind the image.
                if (outputs - 1) * stride >= size + before {
                    outputs -= 1;
                }
                let needed = ((outputs - 1) * stride + span).saturating_sub(size + before);
                window.pad[axis + 2] = window.pad[axis + 2].max(needed);
            }
        }
        let (oh, ow) = self.output(&window, x.activation.shape)?;
        Ok((window, vec![1, c, oh, ow]))
    }

    /// Sums of a window stay exact in i32, and in f32 up to its rounding.
    pub(super) fn check_pool(&self, window: &Window) -> Result<(), EngineError> {
        if window.kernel[0] * window.kernel[1] > 1 << 22 {
            return Err(self.error(format!("a window of {:?}", window.kernel)));
        }
        Ok(())
    }

    pub(super) fn output(&self, window: &Window, x: Shape) -> Result<(usize, usize), EngineError> {
        window.output(x.h, x.w).ok_or_else(|| {
            self.error(format!("a kernel of {:?} does not fit {}x{}", window.kernel, x.h, x.w))
        })
    }

    pub(super) fn add(
        &self,
        a: &Dequantized<'_>,
        b: &Dequantized<'_>,
    ) -> Result<Option<FloatOp>, EngineError> {
        if a.dims() != b.dims() || !a.view.layout.lies_as(&b.view.layout) {
            return Ok(None);
        }
        self.like(FloatOpKind::Add, &[a, b]).map(Some)
    }

    pub(super) fn concat(
        &self,
        inputs: &[Dequantized<'_>],
    ) -> Result<Option<FloatOp>, EngineError> {
        let Shape { h, w, .. } = inputs[0].activation.shape;
        let together = |real: &Dequantized<'_>| {
            let shape = real.activation.shape;
            real.is_image() && (shape.h, shape.w) == (h, w)
        };
        if !matches!(self.int("axis", 1), 1 | -3) || !inputs.iter().all(together) {
            return self.append(inputs);
        }
        let c = inputs.iter().map(|real| real.activation.shape.c).sum();
        let inputs: Vec<&Dequantized<'_>> = inputs.iter().collect();
        Ok(Some(self.float_op(FloatOpKind::Concat, &inputs, vec![1, c, h, w])?))
    }

    /// Of one of [`UNARY`], or what bounds leave.
    pub(super) fn unary(&self, x: &Dequantized<'_>) -> Result<FloatOp, EngineError> {
        let f = match self.node.op_type.as_str() {
            "Sigmoid" => Unary::Sigmoid,
            "Tanh" => Unary::Tanh,
            "HardSigmoid" => Unary::HardSigmoid {
                alpha: self.float("alpha", 0.2),
                beta: self.float("beta", 0.5),
            },
            "HardSwish" => Unary::HardSwish,
            "Erf" => Unary::Erf,
            "Gelu" => match self.text("approximate", "none") {
                "none" => Unary::Gelu,
                "tanh" => Unary::GeluTanh,
                other => return Err(self.error(format!("attribute `approximate` is {other:?}"))),
            },
            "LeakyRelu" => Unary::LeakyRelu { alpha: self.float("alpha", 0.01) },
            "Elu" => Unary::Elu { alpha: self.float("alpha", 1.0) },
            "Softplus" => Unary::Softplus,
            "Softsign" => Unary::Softsign,
            "Abs" => Unary::Abs,
            "Neg" => Unary::Neg,
            "Mish" => Unary::Mish,
            _ => Unary::Same,
        };
        self.like(FloatOpKind::Unary(f), &[x])
    }

    /// What Relu or Clip leave of the reals; `None` where the bounds are not constants.
    pub(super) fn bounds(&self) -> Option<Bounds> {
        if self.node.op_type == "Relu" {
            return Some(Bounds::POSITIVE);
        }
        let bound = |at: usize, name: &str, otherwise: f32| match self.input(at) {
            None => Some(self.float(name, otherwise)),
            Some(_) => self.constant(at).and_then(value),
        };
        let bounds =
            Bounds { lo: bound(1, "min", f32::NEG_INFINITY)?, hi: bound(2, "max", f32::INFINITY)? };
        (bounds.lo <= bounds.hi).then_some(bounds)
    }
}
