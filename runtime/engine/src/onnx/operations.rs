//! ONNX operators over dequantized tensors, one function an operator.
//!
//! `Ok(None)` means "not in integers": the node stays ONNX and tract runs it in float.

use super::attributes::{Reader, dims, f32s, i64s};
use super::pending::{Bounds, Pending, PendingOp, Unary};
use super::read::{View, Weights};
use crate::EngineError;
use crate::quantized::{Activation, Conv, Shape, Window};
use std::sync::Arc;

/// An activation as a float tensor: what DequantizeLinear gives, perhaps reshaped.
#[derive(Clone)]
pub(super) struct Real<'a> {
    pub(super) activation: &'a Activation,
    pub(super) view: View,
}

impl Real<'_> {
    pub(super) fn dims(&self) -> &[usize] {
        &self.view.dims
    }

    /// Whether it is `[1, C, H, W]` as the activation lies in memory.
    fn is_image(&self) -> bool {
        let Shape { h, w, c } = self.activation.shape;
        self.dims() == [1, c, h, w]
    }
}

impl Reader<'_> {
    pub(super) fn pending(
        &self,
        op: PendingOp,
        inputs: &[&Real<'_>],
        dims: Vec<usize>,
    ) -> Result<Pending, EngineError> {
        let shape = Shape::of(&dims).ok_or_else(|| {
            self.error(format!("a tensor of {dims:?}, expected one image at most 2^27 values"))
        })?;
        Ok(Pending {
            name: super::document::node_name(self.node).to_owned(),
            op,
            inputs: inputs.iter().map(|real| real.view.at).collect(),
            shape,
            dims,
            bounds: Bounds::NONE,
        })
    }

    pub(super) fn conv(
        &self,
        x: &Real<'_>,
        weights: &Weights<'_>,
        bias: Option<&Weights<'_>>,
    ) -> Result<Pending, EngineError> {
        let [out_c, in_c, kh, kw] = dims(weights.tensor)[..] else {
            return Err(
                self.error(format!("weights of {:?}, expected 4 axes", weights.tensor.dims))
            );
        };
        let Shape { h, w, c } = x.activation.shape;
        let groups = usize::try_from(self.int("group", 1)).unwrap_or(0);
        let fits = x.is_image() && groups > 0 && out_c > 0 && in_c.checked_mul(groups) == Some(c);
        if !fits || !out_c.is_multiple_of(groups) {
            let found = &weights.tensor.dims;
            return Err(
                self.error(format!("weights {found:?} in {groups} groups over {c} channels"))
            );
        }
        if kh > 4096 || kw > 4096 {
            return Err(self.error(format!("a kernel of {kh}x{kw}")));
        }
        let window = self.window([kh, kw], [h, w])?;
        let (oh, ow) = self.output(&window, x.activation.shape)?;
        let conv = self.weighted(window, groups, out_c, 0, x, weights, bias)?;
        self.pending(PendingOp::Conv(Arc::new(conv)), &[x], vec![1, out_c, oh, ow])
    }

    /// Gemm and MatMul: a convolution whose kernel is the whole image.
    pub(super) fn linear(
        &self,
        x: &Real<'_>,
        weights: &Weights<'_>,
        bias: Option<&Weights<'_>>,
    ) -> Result<Option<Pending>, EngineError> {
        let &[a, b] = &dims(weights.tensor)[..] else { return Ok(None) };
        let transposed = self.node.op_type == "Gemm" && self.int("transB", 0) == 1;
        let (out_c, features) = if transposed { (a, b) } else { (b, a) };
        let plain = self.float("alpha", 1.0) == 1.0
            && self.float("beta", 1.0) == 1.0
            && self.int("transA", 0) == 0;
        if !plain || x.dims().len() != 2 {
            return Ok(None);
        }
        let Shape { h, w, c } = x.activation.shape;
        if features != h * w * c || out_c == 0 {
            let found = &weights.tensor.dims;
            return Err(self.error(format!("weights {found:?} over {} features", h * w * c)));
        }
        let window = Window { kernel: [h, w], ..Window::POINT };
        let axis = usize::from(!transposed);
        let conv = self.weighted(window, 1, out_c, axis, x, weights, bias)?;
        Ok(Some(self.pending(PendingOp::Conv(Arc::new(conv)), &[x], vec![1, out_c])?))
    }

    /// Weights `[O, …]` (or `[…, O]` when `axis` is 1) with their scales and bias, checked.
    #[expect(clippy::too_many_arguments, reason = "one call a kind of layer, nothing to group")]
    fn weighted(
        &self,
        window: Window,
        groups: usize,
        out_c: usize,
        axis: usize,
        x: &Real<'_>,
        weights: &Weights<'_>,
        bias: Option<&Weights<'_>>,
    ) -> Result<Conv, EngineError> {
        let mut values = super::attributes::i8s(weights.tensor)
            .ok_or_else(|| self.error("weights are not int8"))?;
        if weights.zero.iter().any(|&zero| zero != 0) {
            return Err(self.error("weights have a zero point other than 0"));
        }
        let weight_scale = match weights.scale.len() {
            1 => vec![weights.scale[0]; out_c],
            n if n == out_c && weights.axis == axis => weights.scale.clone(),
            n => return Err(self.error(format!("{n} weight scales on axis {}", weights.axis))),
        };
        if axis == 1 {
            let features = values.len() / out_c;
            values =
                (0..values.len()).map(|i| values[i % features * out_c + i / features]).collect();
        }
        let conv = Conv {
            name: super::document::node_name(self.node).to_owned(),
            window,
            groups,
            out_c,
            bias: match bias {
                None => vec![0; out_c],
                Some(bias) => self.bias(out_c, x, &weight_scale, bias)?,
            },
            weights: values,
            weight_scale,
        };
        self.check_accumulators(&conv)?;
        Ok(conv)
    }

    /// int32 in units of `s_x · s_w[n]`, or the accumulators would mean something else.
    fn bias(
        &self,
        out_c: usize,
        x: &Real<'_>,
        weight_scale: &[f32],
        bias: &Weights<'_>,
    ) -> Result<Vec<i32>, EngineError> {
        let values = super::attributes::i32s(bias.tensor)
            .filter(|values| values.len() == out_c && bias.zero.iter().all(|&zero| zero == 0))
            .ok_or_else(|| self.error(format!("bias is not {out_c} int32 around 0")))?;
        let near = |n: usize| {
            let scale = bias.scale[if bias.scale.len() == 1 { 0 } else { n }];
            let expected = x.activation.quant.scale * weight_scale[n];
            (scale - expected).abs() <= 1e-5 * expected
        };
        let counted = bias.scale.len() == 1 || bias.scale.len() == out_c;
        if !counted || !(0..out_c).all(near) {
            return Err(self.error("the bias scale is not input scale times weight scale"));
        }
        Ok(values)
    }

    /// No input may overflow the 32-bit accumulators.
    fn check_accumulators(&self, conv: &Conv) -> Result<(), EngineError> {
        let each = conv.weights.len() / conv.out_c;
        for (row, &bias) in conv.weights.chunks(each.max(1)).zip(&conv.bias) {
            let largest = 255 * kernels::absolute_sum(row) + i64::from(bias.unsigned_abs());
            if largest > i64::from(i32::MAX) {
                return Err(self.error("accumulators could overflow 32 bits"));
            }
        }
        Ok(())
    }

    pub(super) fn max_pool(&self, x: &Real<'_>) -> Result<Option<Pending>, EngineError> {
        if !x.is_image() || self.int("ceil_mode", 0) != 0 || self.node.output.len() > 1 {
            return Ok(None);
        }
        let (window, dims) = self.pool(x)?;
        Ok(Some(self.pending(PendingOp::MaxPool(window), &[x], dims)?))
    }

    pub(super) fn avg_pool(&self, x: &Real<'_>) -> Result<Option<Pending>, EngineError> {
        if !x.is_image() || self.int("ceil_mode", 0) != 0 {
            return Ok(None);
        }
        let (window, dims) = self.pool(x)?;
        let include_pad = self.int("count_include_pad", 0) != 0;
        self.check_pool(&window)?;
        Ok(Some(self.pending(PendingOp::AvgPool { window, include_pad }, &[x], dims)?))
    }

    /// GlobalAveragePool, and ReduceMean over rows and columns.
    pub(super) fn global_pool(&self, x: &Real<'_>) -> Result<Option<Pending>, EngineError> {
        let keep = self.node.op_type == "GlobalAveragePool" || self.int("keepdims", 1) != 0;
        if self.node.op_type == "ReduceMean" {
            let given = self.constant(1).and_then(i64s);
            let axes = given.or_else(|| self.ints("axes").map(<[i64]>::to_vec));
            if !axes.is_some_and(|axes| axes == [2, 3] || axes == [-2, -1]) {
                return Ok(None);
            }
        }
        if !x.is_image() {
            return Ok(None);
        }
        let Shape { h, w, c } = x.activation.shape;
        let window = Window { kernel: [h, w], ..Window::POINT };
        self.check_pool(&window)?;
        let dims = if keep { vec![1, c, 1, 1] } else { vec![1, c] };
        Ok(Some(self.pending(PendingOp::AvgPool { window, include_pad: false }, &[x], dims)?))
    }

    fn pool(&self, x: &Real<'_>) -> Result<(Window, Vec<usize>), EngineError> {
        let Shape { h, w, c } = x.activation.shape;
        let window = self.window(self.kernel_shape()?, [h, w])?;
        let (oh, ow) = self.output(&window, x.activation.shape)?;
        Ok((window, vec![1, c, oh, ow]))
    }

    /// Sums of a window stay exact in i32, and in f32 up to its rounding.
    fn check_pool(&self, window: &Window) -> Result<(), EngineError> {
        if window.kernel[0] * window.kernel[1] > 1 << 22 {
            return Err(self.error(format!("a window of {:?}", window.kernel)));
        }
        Ok(())
    }

    fn output(&self, window: &Window, x: Shape) -> Result<(usize, usize), EngineError> {
        window.output(x.h, x.w).ok_or_else(|| {
            self.error(format!("a kernel of {:?} does not fit {}x{}", window.kernel, x.h, x.w))
        })
    }

    pub(super) fn add(&self, a: &Real<'_>, b: &Real<'_>) -> Result<Option<Pending>, EngineError> {
        if a.activation.shape != b.activation.shape || a.dims() != b.dims() {
            return Ok(None);
        }
        let pending = self.pending(PendingOp::Add, &[a, b], a.dims().to_vec())?;
        Ok(Some(Pending { shape: a.activation.shape, ..pending }))
    }

    pub(super) fn concat(&self, inputs: &[Real<'_>]) -> Result<Option<Pending>, EngineError> {
        let Shape { h, w, .. } = inputs[0].activation.shape;
        let axis = self.int("axis", 1);
        if inputs[0].dims().len() == 3 && matches!(axis, 2 | -1) {
            return self.append(inputs);
        }
        let together = |real: &Real<'_>| {
            let shape = real.activation.shape;
            real.is_image() && (shape.h, shape.w) == (h, w)
        };
        if !matches!(axis, 1 | -3) || !inputs.iter().all(together) {
            return Ok(None);
        }
        let c = inputs.iter().map(|real| real.activation.shape.c).sum();
        let inputs: Vec<&Real<'_>> = inputs.iter().collect();
        Ok(Some(self.pending(PendingOp::Concat, &inputs, vec![1, c, h, w])?))
    }

    pub(super) fn unary(&self, x: &Real<'_>) -> Result<Pending, EngineError> {
        let f = match self.node.op_type.as_str() {
            "Sigmoid" => Unary::Sigmoid,
            "Tanh" => Unary::Tanh,
            "HardSigmoid" => Unary::HardSigmoid {
                alpha: self.float("alpha", 0.2),
                beta: self.float("beta", 0.5),
            },
            "HardSwish" => Unary::HardSwish,
            "LeakyRelu" => Unary::LeakyRelu { alpha: self.float("alpha", 0.01) },
            _ => Unary::Same,
        };
        let pending = self.pending(PendingOp::Unary(f), &[x], x.dims().to_vec())?;
        Ok(Pending { shape: x.activation.shape, ..pending })
    }

    /// What Relu or Clip leave of the reals; `None` where the bounds are not constants.
    pub(super) fn bounds(&self) -> Option<Bounds> {
        if self.node.op_type == "Relu" {
            return Some(Bounds { lo: 0.0, hi: f32::INFINITY });
        }
        let bound = |at: usize, name: &str, otherwise: f32| match self.input(at) {
            None => Some(self.float(name, otherwise)),
            Some(_) => self.constant(at).and_then(f32s).filter(|v| v.len() == 1).map(|v| v[0]),
        };
        let bounds =
            Bounds { lo: bound(1, "min", f32::NEG_INFINITY)?, hi: bound(2, "max", f32::INFINITY)? };
        (bounds.lo <= bounds.hi).then_some(bounds)
    }

    pub(super) fn resize(&self, x: &Real<'_>, opset: i64) -> Result<Option<Pending>, EngineError> {
        let Shape { h, w, c } = x.activation.shape;
        let (scales_at, sizes_at) = if opset < 11 { (1, usize::MAX) } else { (2, 3) };
        let plain = self.ints("axes").is_none()
            && self.int("antialias", 0) == 0
            && self.int("exclude_outside", 0) == 0;
        if !x.is_image() || !plain {
            return Ok(None);
        }
        let scales = self.constant(scales_at).and_then(f32s).filter(|scales| !scales.is_empty());
        let sizes = self.constant(sizes_at).and_then(i64s);
        let sides = match (scales.as_deref(), sizes.as_deref()) {
            (Some(&[1.0, 1.0, sy, sx]), _) => [Side::scaled(h, sy), Side::scaled(w, sx)],
            (None, Some(&[1, channels, sy, sx])) if channels == c as i64 => {
                [Side::sized(h, sy), Side::sized(w, sx)]
            }
            _ => return Ok(None),
        };
        let [Some(rows), Some(columns)] = sides else {
            return Err(self.error("sizes that are not between 1 and 16384"));
        };
        let op = match self.text("mode", "nearest") {
            "nearest" if rows.repeats(self) && columns.repeats(self) => PendingOp::Nearest,
            "linear" if rows.between_centres(self) && columns.between_centres(self) => {
                PendingOp::Bilinear
            }
            mode => {
                let transform = self.text("coordinate_transformation_mode", "half_pixel");
                let reason = format!(
                    "mode {mode:?} with {transform:?}, expected nearest with asymmetric and floor, or linear with half_pixel"
                );
                return Err(self.error(reason));
            }
        };
        Ok(Some(self.pending(op, &[x], vec![1, c, rows.to, columns.to])?))
    }
}

/// One axis of a Resize.
#[derive(Clone, Copy)]
struct Side {
    from: usize,
    to: usize,
    scale: f32,
}

impl Side {
    fn scaled(from: usize, scale: f32) -> Option<Self> {
        let to = (from as f32 * scale).floor();
        (1.0..=16384.0).contains(&to).then_some(Self { from, to: to as usize, scale })
    }

    fn sized(from: usize, to: i64) -> Option<Self> {
        let scale = to as f32 / from as f32;
        (1..=16384).contains(&to).then_some(Self { from, to: to as usize, scale })
    }

    /// Whether output `o` takes input `⌊o · from / to⌋`, all that the kernels know.
    fn repeats(self, reader: &Reader<'_>) -> bool {
        let o = |o: usize| o as f32;
        let source = |at: usize| match reader.text("coordinate_transformation_mode", "half_pixel") {
            "asymmetric" => Some(o(at) / self.scale),
            "half_pixel" => Some((o(at) + 0.5) / self.scale - 0.5),
            _ => None,
        };
        let round = |x: f32| match reader.text("nearest_mode", "round_prefer_floor") {
            "floor" => Some(x.floor()),
            "round_prefer_floor" => Some((x - 0.5).ceil()),
            "round_prefer_ceil" => Some((x + 0.5).floor()),
            _ => None,
        };
        let last = (self.from - 1) as f32;
        (0..self.to).all(|at| {
            let found = source(at).and_then(round).map(|x| x.clamp(0.0, last) as usize);
            found == Some(at * self.from / self.to)
        })
    }

    fn between_centres(self, reader: &Reader<'_>) -> bool {
        let exact = self.scale == self.to as f32 / self.from as f32;
        match reader.text("coordinate_transformation_mode", "half_pixel") {
            "half_pixel" => exact,
            "pytorch_half_pixel" => exact && self.to > 1,
            _ => false,
        }
    }
}
