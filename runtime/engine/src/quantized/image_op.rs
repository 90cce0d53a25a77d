//! Operations on images beyond convolutions: gates, normalisations, resizing, padding, transposed convolutions.
//!
//! ```text
//! qdq/images    ONNX node   → ImageOpKind     still without the quantization of its result
//! here          ImageOpKind → ImageOp         a step of the network
//! definition/images           what it computes       int8_subgraph/images   its kernel
//! ```

use crate::EngineError;
use crate::layout::Shape;
use crate::parameters::{Conv, Quant, Table, Window, requantize};
use kernels::Between;
use std::sync::Arc;

/// A step. Parameters that depend on scales are worked out from the activations' [`Quant`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ImageOp {
    /// Two tensors; a side of the second that is 1 is repeated.
    Combine(Combine),
    /// Padding and nearest neighbours; through the table where the quantization changes. `fill` is a code of the result.
    Gather {
        from: Arc<Positions>,
        table: Option<Table>,
        fill: u8,
    },
    /// Linear between rows and between columns.
    Linear(Arc<[Vec<Between>; 2]>),
    /// Batch normalisation.
    Affine(Arc<Affine>),
    /// Group and instance normalisation.
    GroupNorm(Arc<GroupNorm>),
    ConvTranspose(Arc<ConvTranspose>),
}

/// An operation that waits for its QuantizeLinear.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ImageOpKind {
    Combine(Combine),
    /// With the real value of what is filled in.
    Gather {
        from: Arc<Positions>,
        fill: f32,
    },
    Linear(Arc<[Vec<Between>; 2]>),
    Affine(Arc<Affine>),
    GroupNorm(Arc<GroupNorm>),
    ConvTranspose(Arc<ConvTranspose>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    Add,
    /// The first minus the second, or the second minus the first.
    Subtract {
        second_first: bool,
    },
    Multiply,
}

/// For each output row, column and channel the one it is read from; none where it is filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Positions {
    pub(crate) rows: Vec<Option<usize>>,
    pub(crate) columns: Vec<Option<usize>>,
    pub(crate) channels: Vec<Option<usize>>,
}

/// `y = x·factor + addend` of real values, each channel its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Affine {
    pub(crate) factor: Vec<f64>,
    pub(crate) addend: Vec<f64>,
}

/// Channels in groups, each brought to mean 0 and variance 1; then a gain and a bias a channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupNorm {
    pub(crate) groups: usize,
    pub(crate) epsilon: f32,
    pub(crate) gain: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// Weights `[O, I / groups, kH, kW]`; input pixel `i` under tap `k` goes to output `i · stride + k · dilation − pad`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConvTranspose {
    pub(crate) conv: Conv,
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
}

impl ImageOpKind {
    /// The step from `inputs` to `y`; `table` makes one where the quantization of an input differs.
    pub(crate) fn step(
        &self,
        y: Quant,
        clamp: [u8; 2],
        table: impl FnOnce() -> Option<Table>,
    ) -> ImageOp {
        match self {
            Self::Combine(how) => ImageOp::Combine(*how),
            Self::Gather { from, fill } => {
                let fill = y.quantize(*fill).clamp(clamp[0], clamp[1]);
                ImageOp::Gather { from: from.clone(), table: table(), fill }
            }
            Self::Linear(between) => ImageOp::Linear(between.clone()),
            Self::Affine(affine) => ImageOp::Affine(affine.clone()),
            Self::GroupNorm(norm) => ImageOp::GroupNorm(norm.clone()),
            Self::ConvTranspose(conv) => ImageOp::ConvTranspose(conv.clone()),
        }
    }
}

impl ImageOp {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Combine(Combine::Add) => "add",
            Self::Combine(Combine::Subtract { .. }) => "subtract",
            Self::Combine(Combine::Multiply) => "multiply",
            Self::Gather { .. } => "gather",
            Self::Linear(_) => "linear",
            Self::Affine(_) => "affine",
            Self::GroupNorm(_) => "group-norm",
            Self::ConvTranspose(_) => "conv-transpose",
        }
    }

    /// Multiplications by weights.
    pub(crate) fn macs(&self) -> u64 {
        match self {
            Self::ConvTranspose(conv) => {
                let [h, w] = conv.input;
                conv.conv.macs(h, w)
            }
            _ => 0,
        }
    }

    /// What it costs, at least so many steps as there are values.
    pub(crate) fn work(&self, output: Shape) -> u64 {
        self.macs().max(output.len() as u64)
    }
}

impl Affine {
    /// Of codes: `y − y_zero = (x − x_zero)·factor + addend`; rounded to f32 once.
    pub(crate) fn of_codes(&self, x: Quant, y: Quant) -> [Vec<f32>; 2] {
        let (x, y) = (f64::from(x.scale), f64::from(y.scale));
        let factor = self.factor.iter().map(|factor| (factor * x / y) as f32);
        [factor.collect(), self.addend.iter().map(|addend| (addend / y) as f32).collect()]
    }
}

impl Combine {
    /// What it makes of two codes.
    pub(crate) fn of(self, a: Quant, b: Quant, y: Quant, clamp: [u8; 2]) -> impl Fn(u8, u8) -> u8 {
        let [ra, rb] = self.ratios(a, b, y);
        let product = a.scale * b.scale / y.scale;
        let centred = |q: u8, quant: Quant| f32::from(i16::from(q) - i16::from(quant.zero));
        move |first, second| {
            let (first, second) = (centred(first, a), centred(second, b));
            let value = match self {
                Self::Multiply => first * second * product,
                Self::Add | Self::Subtract { .. } => first * ra + second * rb,
            };
            requantize(value, y.zero, clamp)
        }
    }

    /// Ratios of a sum's operands.
    pub(crate) fn ratios(self, a: Quant, b: Quant, y: Quant) -> [f32; 2] {
        let [a, b] = [a.scale / y.scale, b.scale / y.scale];
        match self {
            Self::Subtract { second_first: false } => [a, -b],
            Self::Subtract { second_first: true } => [-a, b],
            Self::Add | Self::Multiply => [a, b],
        }
    }
}

impl ConvTranspose {
    pub(crate) fn spec(&self, x: Shape) -> kernels::ConvTransposeSpec {
        let Window { kernel, stride, dilation, pad } = self.conv.window;
        kernels::ConvTransposeSpec {
            in_channels: x.c,
            out_channels: self.conv.out_c,
            groups: self.conv.groups,
            kernel,
            stride,
            dilation,
            padding: [pad[0], pad[1]],
            input: self.input,
            output: self.output,
            in_stride: x.c,
            out_stride: self.conv.out_c,
        }
    }
}

/// A result that is not finite would not mean anything.
pub(crate) fn finite(
    values: &[f64],
    error: impl FnOnce() -> EngineError,
) -> Result<(), EngineError> {
    let fits = |value: &f64| value.is_finite() && value.abs() < 1e30;
    if values.iter().all(fits) { Ok(()) } else { Err(error()) }
}
