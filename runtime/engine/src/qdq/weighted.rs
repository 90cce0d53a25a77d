//! Convolutions and linear layers: int8 weights, int32 bias, and what must hold so that sums fit 32 bits.

use super::dequantized::{Dequantized, QuantizedConstant};
use super::float_op::{FloatOp, FloatOpKind};
use super::walk::{Value, Walk};
use crate::EngineError;
use crate::layout::Layout;
use crate::onnx::attributes::NodeReader;
use crate::onnx::constants::{dims, values};
use crate::onnx::node_name;
use crate::quantized::{Conv, Quant, Shape, Window};
use std::sync::Arc;

/// What is added to the sums of a layer.
pub(super) enum Bias<'a> {
    /// int32, in units of input scale times weight scale.
    Steps(&'a QuantizedConstant<'a>),
    /// Float, as NNCF writes it, and TensorRT wants it.
    Real(Vec<f32>),
}

impl<'a> Walk<'a> {
    /// Input 2 of a layer.
    pub(super) fn bias(&self, reader: &NodeReader<'a>) -> Result<Option<Bias<'_>>, EngineError> {
        let Some(name) = reader.input(2) else { return Ok(None) };
        match self.values.get(name) {
            Some(Value::QuantizedConstant(bias)) => Ok(Some(Bias::Steps(bias))),
            Some(Value::Constant(tensor)) => {
                let bias = values(tensor).map(Bias::Real);
                bias.map(Some).ok_or_else(|| reader.error("the bias is neither int32 nor float"))
            }
            _ => Err(reader.error("the bias is no constant")),
        }
    }
}

impl NodeReader<'_> {
    pub(super) fn conv(
        &self,
        x: &Dequantized<'_>,
        weights: &QuantizedConstant<'_>,
        bias: Option<&Bias<'_>>,
    ) -> Result<FloatOp, EngineError> {
        let [out_c, in_c, kh, kw] = dims(weights.tensor)[..] else {
            return Err(
                self.error(format!("weights of {:?}, expected 4 axes", weights.tensor.dims))
            );
        };
        let &[1, c, h, w] = x.dims() else {
            return Err(self.error(format!("a tensor of {:?}, expected [1, C, H, W]", x.dims())));
        };
        let input = Shape { h, w, c };
        let groups = usize::try_from(self.int("group", 1)).unwrap_or(0);
        let fits = groups > 0 && out_c > 0 && in_c.checked_mul(groups) == Some(c);
        if !fits || !out_c.is_multiple_of(groups) {
            let found = &weights.tensor.dims;
            return Err(
                self.error(format!("weights {found:?} in {groups} groups over {c} channels"))
            );
        }
        if kh > 4096 || kw > 4096 {
            return Err(self.error(format!("a kernel of {kh}x{kw}")));
        }
        let given = self.ints("kernel_shape");
        if let Some(given) = given.filter(|given| *given != [kh as i64, kw as i64]) {
            let reason =
                format!("attribute `kernel_shape` is {given:?}, the weights are {kh}x{kw}");
            return Err(self.error(reason));
        }
        let window = self.window([kh, kw], [h, w])?;
        let (oh, ow) = self.output(&window, input)?;
        let conv = self.weighted(input, window, groups, out_c, 0, x, weights, bias)?;
        self.float_op(FloatOpKind::Conv(Arc::new(conv)), &[x], vec![1, out_c, oh, ow])
    }

    /// Gemm and MatMul: a convolution whose kernel is the whole image, or one pixel where there are several rows.
    pub(super) fn linear(
        &self,
        x: &Dequantized<'_>,
        weights: &QuantizedConstant<'_>,
        bias: Option<&Bias<'_>>,
    ) -> Result<Option<FloatOp>, EngineError> {
        let &[a, b] = &dims(weights.tensor)[..] else { return Ok(None) };
        let transposed = self.node.op_type == "Gemm" && self.int("transB", 0) == 1;
        let (out_c, features) = if transposed { (a, b) } else { (b, a) };
        let plain = self.float("alpha", 1.0) == 1.0
            && self.float("beta", 1.0) == 1.0
            && self.int("transA", 0) == 0;
        let Some((&width, before)) = x.dims().split_last().filter(|_| plain) else {
            return Ok(None);
        };
        if features != width || out_c == 0 {
            let found = &weights.tensor.dims;
            return Err(self.error(format!("weights {found:?} over {width} features")));
        }
        // One row may be an image that was flattened; several are pixels.
        let image = x.view.layout.axes().is_none();
        let rows = before.iter().product();
        let input = if image { x.activation.shape } else { Shape { h: 1, w: rows, c: features } };
        let kernel = if image { [input.h, input.w] } else { [1, 1] };
        let window = Window { kernel, ..Window::POINT };
        let axis = usize::from(!transposed);
        let conv = self.weighted(input, window, 1, out_c, axis, x, weights, bias)?;
        let made = Layout::dense(&[before, &[out_c]].concat());
        self.laid_op(FloatOpKind::Conv(Arc::new(conv)), &[x], made).map(Some)
    }

    /// QuantizedConstant `[O, …]` (or `[…, O]` when `axis` is 1) with their scales and bias, checked.
    #[expect(clippy::too_many_arguments, reason = "one call a kind of layer, nothing to group")]
    fn weighted(
        &self,
        input: Shape,
        window: Window,
        groups: usize,
        out_c: usize,
        axis: usize,
        x: &Dequantized<'_>,
        weights: &QuantizedConstant<'_>,
        bias: Option<&Bias<'_>>,
    ) -> Result<Conv, EngineError> {
        let mut values =
            values(weights.tensor).ok_or_else(|| self.error("weights are not int8"))?;
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
            name: node_name(self.node).to_owned(),
            input,
            window,
            groups,
            out_c,
            bias: match bias {
                None => vec![0; out_c],
                Some(bias) => self.bias(out_c, x.activation.quant, &weight_scale, bias)?,
            },
            weights: values,
            weight_scale,
        };
        self.check_accumulators(&conv)?;
        Ok(conv)
    }

    /// int32 in units of `s_x · s_w[n]`, or the accumulators would mean something else.
    pub(super) fn bias(
        &self,
        out_c: usize,
        x: Quant,
        weight_scale: &[f32],
        bias: &Bias<'_>,
    ) -> Result<Vec<i32>, EngineError> {
        match bias {
            Bias::Steps(bias) => self.bias_in_steps(out_c, x, weight_scale, bias),
            Bias::Real(bias) => self.real_bias(out_c, x, weight_scale, bias),
        }
    }

    /// Rounded to whole units, ties to even: off by at most half of one, which is a small share of a step of the output.
    fn real_bias(
        &self,
        out_c: usize,
        x: Quant,
        weight_scale: &[f32],
        bias: &[f32],
    ) -> Result<Vec<i32>, EngineError> {
        if bias.len() != out_c {
            return Err(self.error(format!("{} biases, expected {out_c}", bias.len())));
        }
        let rounded = |(bias, scale): (&f32, &f32)| {
            let units = (f64::from(*bias) / f64::from(x.scale * scale)).round_ties_even();
            let fits = units.abs() <= f64::from(i32::MAX);
            let reason =
                || self.error(format!("a bias of {bias} is {units} units, expected 32 bits"));
            if fits { Ok(units as i32) } else { Err(reason()) }
        };
        bias.iter().zip(weight_scale).map(rounded).collect()
    }

    fn bias_in_steps(
        &self,
        out_c: usize,
        x: Quant,
        weight_scale: &[f32],
        bias: &QuantizedConstant<'_>,
    ) -> Result<Vec<i32>, EngineError> {
        let values = values(bias.tensor)
            .filter(|values| values.len() == out_c && bias.zero.iter().all(|&zero| zero == 0))
            .ok_or_else(|| self.error(format!("bias is not {out_c} int32 around 0")))?;
        let near = |n: usize| {
            let scale = bias.scale[if bias.scale.len() == 1 { 0 } else { n }];
            let expected = x.scale * weight_scale[n];
            (scale - expected).abs() <= 1e-5 * expected
        };
        let counted = bias.scale.len() == 1 || bias.scale.len() == out_c;
        if !counted || !(0..out_c).all(near) {
            return Err(self.error("the bias scale is not input scale times weight scale"));
        }
        Ok(values)
    }

    /// No input may overflow the 32-bit accumulators.
    pub(super) fn check_accumulators(&self, conv: &Conv) -> Result<(), EngineError> {
        let each = conv.weights.len() / conv.out_c;
        for (row, &bias) in conv.weights.chunks(each.max(1)).zip(&conv.bias) {
            let largest = 255 * kernels::absolute_sum(row) + i64::from(bias.unsigned_abs());
            if largest > i64::from(i32::MAX) {
                return Err(self.error("accumulators could overflow 32 bits"));
            }
        }
        Ok(())
    }
}
