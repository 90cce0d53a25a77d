//! The network as integers: what the QDQ graph means, one step after the other, nothing fused yet.
//!
//! [`crate::qdq`] reads it from a file, [`crate::definition`] says what each step computes, and
//! [`crate::int8_subgraph`] turns it into kernels. Images are `H x W x C` in memory (channels innermost); where the values
//! of other tensors lie says [`Layout`].

pub(crate) mod image_op;

use crate::EngineError;
pub(crate) use crate::layout::Shape;
pub(crate) use crate::parameters::{Conv, Quant, Table, Window, requantize};

use crate::layout::Layout;
use image_op::ImageOp;
use kernels::{LayerNormSpec, MatMulSpec};
use std::sync::Arc;

/// A quantized tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Activation {
    /// Name of the ONNX tensor, the output of its QuantizeLinear.
    pub(crate) name: String,
    /// Rows, columns and channels as kernels see them.
    pub(crate) shape: Shape,
    pub(crate) quant: Quant,
    /// The ONNX tensor, and where its values lie: without gaps from the first byte on.
    pub(crate) layout: Layout,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// From the subgraph's float input number `0`.
    Quantize(usize),
    Conv(Arc<Conv>),
    /// Two tensors of one shape.
    Add,
    /// Along the channels; each input through its table where its quantization differs.
    Concat(Vec<Option<Table>>),
    /// Padding never wins; through the table where the quantization changes.
    MaxPool {
        window: Window,
        table: Option<Table>,
    },
    /// Padding counts, as zeros, where it is `counted`: top, left, bottom, right.
    AvgPool {
        window: Window,
        counted: Option<[usize; 4]>,
    },
    Image(ImageOp),
    /// Output row `o` takes input row `⌊o · in / out⌋`, columns alike.
    Nearest {
        table: Option<Table>,
    },
    /// Between pixel centres (`half_pixel`), edges repeated.
    Bilinear,
    Table(Table),
    /// A tensor and a constant of its shape, in the order of memory.
    AddConstant {
        values: Arc<[u8]>,
        quant: Quant,
    },
    /// Copies each input into its part of the output: another order of axes, a slice, a concatenation.
    Copy(Vec<Piece>),
    /// The same bytes at every inference.
    Constant(Arc<[u8]>),
    /// Along rows.
    LayerNorm(Arc<LayerNorm>),
    /// Of two stacks of matrices, times `factor`.
    MatMul {
        spec: MatMulSpec,
        factor: f32,
    },
    /// Along rows of so many values.
    Softmax {
        columns: usize,
    },
    /// Softmax along the rows of products whose sums, times `factor`, are not rounded in between.
    MatMulSoftmax {
        spec: MatMulSpec,
        factor: f32,
    },
}

/// Rows brought to mean 0 and variance 1, then a gain and a bias a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerNorm {
    pub(crate) epsilon: f32,
    pub(crate) gain: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// Values that a copy moves, in ONNX's order on both sides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) from: Layout,
    pub(crate) to: Layout,
    /// Where the quantization differs.
    pub(crate) table: Option<Table>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Name of the ONNX node.
    pub(crate) name: String,
    pub(crate) op: Op,
    /// Activations it reads.
    pub(crate) inputs: Vec<usize>,
    /// The activation it makes.
    pub(crate) output: usize,
    /// Smallest and largest `q` it may give: ReLU and ReLU6 live here.
    pub(crate) clamp: [u8; 2],
}

/// A float tensor a subgraph hands out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FloatOutput {
    pub(crate) name: String,
    /// As ONNX has it.
    pub(crate) dims: Vec<usize>,
    pub(crate) source: Source,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// `(q − zero)·scale` of an activation.
    Dequantize(usize),
    /// A last layer without QuantizeLinear: `acc · s_x · s_w[n]`, its accumulators in float.
    Accumulators { input: usize, conv: Arc<Conv> },
}

/// Integer steps between float inputs and float outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Quantized {
    pub(crate) activations: Vec<Activation>,
    pub(crate) steps: Vec<Step>,
    /// Shapes of the float inputs, `[1, C, H, W]` or `[1, F]`.
    pub(crate) float_inputs: Vec<Vec<usize>>,
    /// Activations that come from another subgraph.
    pub(crate) raw_inputs: Vec<usize>,
    pub(crate) float_outputs: Vec<FloatOutput>,
    /// Activations that another subgraph reads.
    pub(crate) raw_outputs: Vec<usize>,
}

/// Most multiplications (or comparisons, for pooling) one inference may cost.
pub(crate) const MAX_WORK: u64 = 1 << 38;

fn matmul_macs(spec: &MatMulSpec) -> u64 {
    let [outer, inner] = spec.batch;
    let sides = [outer, inner, spec.rows, spec.depth, spec.columns];
    sides.iter().fold(1, |n, &side| n.saturating_mul(side as u64))
}

impl LayerNorm {
    /// The longest row the kernels know.
    pub(crate) const MAX_COLUMNS: usize = 1 << 16;

    /// Between two quantizations; see [`kernels::scalar::layer_norm`].
    pub(crate) fn spec(&self, x: Quant, y: Quant, clamp: [u8; 2]) -> LayerNormSpec {
        let steps = |values: &[f32]| values.iter().map(|value| value / y.scale).collect();
        let n = self.gain.len() as f64 / f64::from(x.scale);
        LayerNormSpec {
            gain: steps(&self.gain),
            bias: steps(&self.bias),
            epsilon: f64::from(self.epsilon) * (n * n),
            y_zero: y.zero,
            clamp,
        }
    }
}

impl Op {
    /// Bytes of constants that may be longer than in the file.
    pub(crate) fn repeated_bytes(&self) -> u64 {
        match self {
            Self::AddConstant { values, .. } => values.len() as u64,
            Self::LayerNorm(norm) => 8 * norm.gain.len() as u64,
            _ => 0,
        }
    }
}

impl Step {
    /// Multiplications of this step, and of nothing else: pooling and additions count as none.
    pub(crate) fn macs(&self, activations: &[Activation]) -> u64 {
        let Shape { h, w, .. } = activations[self.output].shape;
        match &self.op {
            Op::Conv(conv) => conv.macs(h, w),
            Op::MatMul { spec, .. } | Op::MatMulSoftmax { spec, .. } => matmul_macs(spec),
            Op::Image(op) => op.macs(),
            _ => 0,
        }
    }
}

impl Quantized {
    /// Refuses what would take longer than any network we know.
    pub(crate) fn check_work(&self) -> Result<(), EngineError> {
        let window = |window: &Window, shape: Shape| {
            (shape.len() as u64).saturating_mul((window.kernel[0] * window.kernel[1]) as u64)
        };
        let work = |step: &Step| {
            let out = self.activations[step.output].shape;
            match &step.op {
                Op::Conv(conv) => conv.macs(out.h, out.w),
                Op::MatMul { spec, .. } | Op::MatMulSoftmax { spec, .. } => matmul_macs(spec),
                Op::MaxPool { window: w, .. } | Op::AvgPool { window: w, .. } => window(w, out),
                Op::Image(op) => op.work(out),
                _ => out.len() as u64,
            }
        };
        let found = self.steps.iter().map(work).fold(0, u64::saturating_add);
        if found > MAX_WORK {
            let what = "one inference".into();
            return Err(EngineError::TooLarge { what, found, limit: MAX_WORK });
        }
        Ok(())
    }
}
