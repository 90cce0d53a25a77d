//! Operators over images: gates, sums that repeat a side, normalisations, padding, transposed convolutions.
//!
//! `Ok(None)` means "not in integers", as in [`super::operations`].

use super::constant::RealConstant;
use super::dequantized::{Dequantized, QuantizedConstant};
use super::float_op::{FloatOp, FloatOpKind};
use super::weighted::Bias;
use crate::EngineError;
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::{dims, values};
use crate::onnx::node_name;
use crate::quantized::image_op::{Affine, Combine, ConvTranspose, GroupNorm, ImageOpKind, finite};
use crate::quantized::{Conv, Shape};
use std::sync::Arc;

impl NodeReader<'_> {
    /// Add, Sub or Mul of two tensors, of one shape or one of them with sides of 1.
    pub(super) fn combine(
        &self,
        a: &Dequantized<'_>,
        b: &Dequantized<'_>,
    ) -> Result<Option<FloatOp>, EngineError> {
        let how = |second_first| match self.node.op_type.as_str() {
            "Add" => Combine::Add,
            "Sub" => Combine::Subtract { second_first },
            _ => Combine::Multiply,
        };
        let (first, second, second_first) = match (repeats(b, a), repeats(a, b)) {
            (true, _) => (a, b, false),
            (_, true) => (b, a, true),
            _ => return Ok(None),
        };
        let op = FloatOpKind::Image(ImageOpKind::Combine(how(second_first)));
        self.like(op, &[first, second]).map(Some)
    }

    /// Add, Sub, Mul or Div of a tensor and a number, or a number for each place along the axis that lies innermost: of
    /// an image its channels, of tokens their features. `constant_first`: as it stands in the node.
    pub(super) fn with_constant(
        &self,
        x: &Dequantized<'_>,
        constant: &RealConstant,
        constant_first: bool,
    ) -> Result<Option<FloatOp>, EngineError> {
        let channels = x.activation.shape.c;
        let whole = x.view.layout.is_whole();
        let Some(values) = constant.along(&x.view.layout, channels).filter(|_| whole) else {
            return Ok(None);
        };
        let same = Affine { factor: vec![1.0; channels], addend: vec![0.0; channels] };
        let Some(affine) = self.affine(&same, values, constant_first)? else { return Ok(None) };
        let op = FloatOpKind::Image(ImageOpKind::Affine(Arc::new(affine)));
        self.like(op, &[x]).map(Some)
    }

    /// The same behind an operation that gives each channel a factor and an addend and waits for its QuantizeLinear.
    pub(super) fn and_constant(
        &self,
        pending: &FloatOp,
        constant: &RealConstant,
        constant_first: bool,
    ) -> Result<Option<FloatOp>, EngineError> {
        let FloatOpKind::Image(kind) = &pending.op else { return Ok(None) };
        let Some(values) = constant.along(&pending.layout, pending.shape.c) else {
            return Ok(None);
        };
        let kind = match kind {
            ImageOpKind::Affine(affine) => {
                let Some(affine) = self.affine(affine, values, constant_first)? else {
                    return Ok(None);
                };
                ImageOpKind::Affine(Arc::new(affine))
            }
            ImageOpKind::GroupNorm(norm) => {
                let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect();
                let own = Affine { factor: wide(&norm.gain), addend: wide(&norm.bias) };
                let Some(affine) = self.affine(&own, values, constant_first)? else {
                    return Ok(None);
                };
                let narrow = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect();
                let (gain, bias) = (narrow(affine.factor), narrow(affine.addend));
                ImageOpKind::GroupNorm(Arc::new(GroupNorm { gain, bias, ..(**norm).clone() }))
            }
            _ => return Ok(None),
        };
        Ok(Some(FloatOp { op: FloatOpKind::Image(kind), ..pending.clone() }))
    }

    /// `affine`, then this node.
    fn affine(
        &self,
        affine: &Affine,
        values: Vec<f64>,
        constant_first: bool,
    ) -> Result<Option<Affine>, EngineError> {
        let each = |(at, value): (usize, f64)| {
            let (factor, addend) = (affine.factor[at], affine.addend[at]);
            Some(match (self.node.op_type.as_str(), constant_first) {
                ("Add", _) => (factor, addend + value),
                ("Sub", false) => (factor, addend - value),
                ("Sub", true) => (-factor, value - addend),
                ("Mul", _) => (factor * value, addend * value),
                ("Div", false) => (factor / value, addend / value),
                _ => return None,
            })
        };
        let Some(numbers) = values.into_iter().enumerate().map(each).collect::<Option<Vec<_>>>()
        else {
            return Ok(None);
        };
        let (factor, addend) = numbers.into_iter().unzip();
        self.finite(Affine { factor, addend }).map(Some)
    }

    fn finite(&self, affine: Affine) -> Result<Affine, EngineError> {
        for numbers in [&affine.factor, &affine.addend] {
            finite(numbers, || self.error("a factor or addend that is not finite"))?;
        }
        Ok(affine)
    }

    /// With the constants of inputs 1 to 4: scale, bias, mean and variance.
    pub(super) fn batch_norm(
        &self,
        x: &Dequantized<'_>,
        constants: &[Option<RealConstant>],
    ) -> Result<Option<FloatOp>, EngineError> {
        if !x.is_image() || self.int("training_mode", 0) != 0 || self.node.output.len() > 1 {
            return Ok(None);
        }
        let channels = x.activation.shape.c;
        let [_, Some(scale), Some(bias), Some(mean), Some(variance)] = constants else {
            return Ok(None);
        };
        let numbers = [scale, bias, mean, variance].map(|of| of.vector(channels));
        let [Some(scale), Some(bias), Some(mean), Some(variance)] = numbers else {
            return Err(self.error(format!("parameters that are not {channels} numbers each")));
        };
        let epsilon = f64::from(self.float("epsilon", 1e-5));
        let factor: Vec<f64> =
            scale.iter().zip(&variance).map(|(scale, v)| scale / (v + epsilon).sqrt()).collect();
        let addend = bias.iter().zip(&mean).zip(&factor).map(|((b, mean), f)| b - mean * f);
        let addend = addend.collect();
        let affine = self.finite(Affine { factor, addend })?;
        let op = FloatOpKind::Image(ImageOpKind::Affine(Arc::new(affine)));
        self.float_op(op, &[x], x.dims().to_vec()).map(Some)
    }

    /// InstanceNormalization and GroupNormalization, with the constants of inputs 1 and 2: scale and bias.
    pub(super) fn group_norm(
        &self,
        x: &Dequantized<'_>,
        constants: &[Option<RealConstant>],
    ) -> Result<Option<FloatOp>, EngineError> {
        let channels = x.activation.shape.c;
        let [_, Some(scale), Some(bias)] = constants else { return Ok(None) };
        if !x.lies_as_image() || self.int("stash_type", 1) != 1 {
            return Ok(None);
        }
        let groups = match self.node.op_type.as_str() {
            // PyTorch writes group normalisation as that of an image whose groups are channels.
            "InstanceNormalization" => x.dims()[1],
            _ if !x.is_image() => return Ok(None),
            _ => usize::try_from(self.int("num_groups", 0)).unwrap_or(0),
        };
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(self.error(format!("{groups} groups of {channels} channels")));
        }
        // Up to operator set 20 a group has one scale, since 21 a channel.
        let numbers = |of: &RealConstant| -> Option<Vec<f32>> {
            let each = channels / groups;
            let all = of.vector(channels).or_else(|| {
                let groups = of.vector(groups)?;
                Some((0..channels).map(|c| groups[c / each]).collect())
            })?;
            all.iter().all(|x| x.is_finite()).then(|| all.iter().map(|x| *x as f32).collect())
        };
        let (Some(gain), Some(bias)) = (numbers(scale), numbers(bias)) else {
            return Err(self.error(format!("parameters that are not {channels} finite numbers")));
        };
        let epsilon = self.float("epsilon", 1e-5);
        if !epsilon.is_finite() || epsilon <= 0.0 {
            return Err(self.error(format!("attribute `epsilon` is {epsilon}")));
        }
        let norm = GroupNorm { groups, epsilon, gain, bias };
        self.like(FloatOpKind::Image(ImageOpKind::GroupNorm(Arc::new(norm))), &[x]).map(Some)
    }

    pub(super) fn conv_transpose(
        &self,
        x: &Dequantized<'_>,
        weights: &QuantizedConstant<'_>,
        bias: Option<&Bias<'_>>,
    ) -> Result<FloatOp, EngineError> {
        let found = dims(weights.tensor);
        let groups = usize::try_from(self.int("group", 1)).unwrap_or(0);
        let Shape { h, w, c } = x.activation.shape;
        let &[in_c, each, kh, kw] = &found[..] else {
            return Err(self.error(format!("weights of {found:?}, expected 4 axes")));
        };
        let fits = x.is_image() && in_c == c && each > 0 && groups > 0;
        if !fits || !in_c.is_multiple_of(groups) || kh > 4096 || kw > 4096 {
            return Err(
                self.error(format!("weights {found:?} in {groups} groups over {c} channels"))
            );
        }
        let auto_pad = self.text("auto_pad", "NOTSET");
        if auto_pad != "NOTSET" {
            return Err(
                self.error(format!("attribute `auto_pad` is {auto_pad:?}, expected `pads`"))
            );
        }
        if self.ints("output_shape").is_some() {
            return Err(self.error("attribute `output_shape`, expected `pads`"));
        }
        if self.ints("kernel_shape").is_some_and(|given| *given != [kh as i64, kw as i64]) {
            return Err(self.error(format!("attribute `kernel_shape`, the weights are {kh}x{kw}")));
        }
        let window = self.window([kh, kw], [h, w])?;
        let more = self.pair("output_padding")?.unwrap_or([0; 2]);
        let side = |axis: usize, size: usize| {
            let span = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
            let full = (size - 1) * window.stride[axis] + span + more[axis];
            full.checked_sub(window.pad[axis] + window.pad[axis + 2]).filter(|side| *side > 0)
        };
        let (Some(oh), Some(ow)) = (side(0, h), side(1, w)) else {
            return Err(self.error("padding that leaves nothing"));
        };
        let conv = self.transposed_weights(groups, x, weights, bias)?;
        let conv = Conv { window, ..conv };
        let out = vec![1, conv.out_c, oh, ow];
        let transposed = ConvTranspose { conv, input: [h, w], output: [oh, ow] };
        self.float_op(
            FloatOpKind::Image(ImageOpKind::ConvTranspose(Arc::new(transposed))),
            &[x],
            out,
        )
    }

    /// `[I, O / groups, kH, kW]` as `[O, I / groups, kH, kW]`, with their scales and bias, checked.
    fn transposed_weights(
        &self,
        groups: usize,
        x: &Dequantized<'_>,
        weights: &QuantizedConstant<'_>,
        bias: Option<&Bias<'_>>,
    ) -> Result<Conv, EngineError> {
        let [in_c, each, kh, kw] = dims(weights.tensor)[..] else { unreachable!("checked before") };
        let from: Vec<i8> =
            values(weights.tensor).ok_or_else(|| self.error("weights are not int8"))?;
        if weights.zero.iter().any(|&zero| zero != 0) {
            return Err(self.error("weights have a zero point other than 0"));
        }
        let (taps, inputs, out_c) = (kh * kw, in_c / groups, groups * each);
        let weight_scale: Vec<f32> = match weights.scale.len() {
            1 => vec![weights.scale[0]; out_c],
            n if n == each && weights.axis == 1 => {
                (0..out_c).map(|o| weights.scale[o % each]).collect()
            }
            n => return Err(self.error(format!("{n} weight scales on axis {}", weights.axis))),
        };
        let mut turned = Vec::with_capacity(from.len());
        for o in 0..out_c {
            for i in 0..inputs {
                let at = ((o / each * inputs + i) * each + o % each) * taps;
                turned.extend_from_slice(&from[at..at + taps]);
            }
        }
        let conv = Conv {
            name: node_name(self.node).to_owned(),
            input: x.activation.shape,
            window: crate::quantized::Window::POINT,
            groups,
            out_c,
            bias: match bias {
                None => vec![0; out_c],
                Some(bias) => self.bias(out_c, x.activation.quant, &weight_scale, bias)?,
            },
            weights: turned,
            weight_scale,
        };
        self.check_accumulators(&conv)?;
        Ok(conv)
    }
}

/// Whether `b` can be repeated to `a`'s shape, in a way that kernels have.
fn repeats(b: &Dequantized<'_>, a: &Dequantized<'_>) -> bool {
    let (from, to) = (b.activation.shape, a.activation.shape);
    if from == to && a.dims() == b.dims() {
        return a.view.layout.lies_as(&b.view.layout);
    }
    let gate = (from.h, from.w) == (1, 1) && (from.c == to.c || from.c == 1);
    let map = (from.h, from.w, from.c) == (to.h, to.w, 1);
    a.is_image() && b.is_image() && (gate || map)
}
