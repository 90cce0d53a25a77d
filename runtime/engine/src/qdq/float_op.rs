//! Float operations between DequantizeLinear and QuantizeLinear. The second makes a step of them.

use crate::layout::Layout;
use crate::quantized::image_op::ImageOpKind;
use crate::quantized::{
    Activation, Conv, LayerNorm, Op, Piece, Quant, Shape, Step, Window, requantize,
};
use kernels::MatMulSpec;
use std::f64::consts::{PI, SQRT_2};
use std::sync::Arc;

/// `DequantizeLinear → op [→ Relu | Clip]`, seen, its QuantizeLinear not yet.
#[derive(Clone)]
pub(super) struct FloatOp {
    /// Name of the ONNX node.
    pub(super) name: String,
    pub(super) op: FloatOpKind,
    /// Activations it reads.
    pub(super) inputs: Vec<usize>,
    pub(super) shape: Shape,
    /// The ONNX tensor, and where its values will lie.
    pub(super) layout: Layout,
    /// What Relu and Clip leave: smallest and largest real value.
    pub(super) bounds: Bounds,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) lo: f32,
    pub(super) hi: f32,
}

#[derive(Clone)]
pub(super) enum FloatOpKind {
    Conv(Arc<Conv>),
    Add,
    Concat,
    MaxPool(Window),
    AvgPool {
        window: Window,
        counted: Option<[usize; 4]>,
    },
    Image(ImageOpKind),
    Nearest,
    Bilinear,
    Unary(Unary),
    /// The real value at each code of its input.
    Codes(Box<[f32; 256]>),
    AddConstant {
        values: Arc<[u8]>,
        quant: Quant,
    },
    /// From where to where each input is copied.
    Copy(Vec<(Layout, Layout)>),
    MatMul {
        spec: MatMulSpec,
        factor: f32,
    },
    Softmax {
        columns: usize,
    },
    MatMulSoftmax {
        spec: MatMulSpec,
        factor: f32,
    },
    LayerNorm(Arc<LayerNorm>),
}

/// A function of one real number; becomes a table.
#[derive(Clone)]
pub(super) enum Unary {
    Same,
    Sigmoid,
    Tanh,
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    LeakyRelu {
        alpha: f32,
    },
    Elu {
        alpha: f32,
    },
    Softplus,
    Softsign,
    Abs,
    Neg,
    Mish,
    Erf,
    /// `x · (1 + erf(x / √2)) / 2`
    Gelu,
    /// `x · (1 + tanh(√(2/π) · (x + 0.044715·x³))) / 2`
    GeluTanh,
    /// The first function, then the second.
    Then(Box<Self>, Box<Self>),
    /// One of two operands is a number.
    With(Arithmetic, f32),
    /// `x · f(x)`: SiLU, and hard-swish written in two nodes.
    Times(Box<Self>),
}

/// What a number does to a value.
#[derive(Clone, Copy)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    /// The number minus the value.
    From,
    Times,
    Over,
    /// The number over the value.
    Under,
    Power,
}

impl Bounds {
    pub(super) const NONE: Self = Self { lo: f32::NEG_INFINITY, hi: f32::INFINITY };
    pub(super) const POSITIVE: Self = Self { lo: 0.0, hi: f32::INFINITY };

    pub(super) fn and(self, other: Self) -> Self {
        Self { lo: self.lo.max(other.lo).min(other.hi), hi: self.hi.max(other.lo).min(other.hi) }
    }

    /// The same bounds in integers: rounding is monotone, so clamping after it changes nothing.
    fn clamp(self, quant: Quant) -> [u8; 2] {
        [quant.quantize(self.lo), quant.quantize(self.hi)]
    }
}

impl Unary {
    /// Functions it is made of.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Then(first, second) => first.len() + second.len(),
            Self::Times(f) => 1 + f.len(),
            _ => 1,
        }
    }

    fn apply(&self, x: f32) -> f32 {
        match self {
            Self::Same => x,
            Self::Sigmoid => 1.0 / (1.0 + libm::expf(-x)),
            Self::Tanh => libm::tanhf(x),
            Self::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Self::Elu { alpha } => {
                if x < 0.0 {
                    alpha * libm::expm1f(x)
                } else {
                    x
                }
            }
            Self::Softplus => x.max(0.0) + libm::log1pf(libm::expf(-x.abs())),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Abs => x.abs(),
            Self::Neg => -x,
            Self::Mish => x * libm::tanhf(Self::Softplus.apply(x)),
            Self::Erf => libm::erff(x),
            Self::Gelu => (f64::from(x) * (1.0 + libm::erf(f64::from(x) / SQRT_2)) / 2.0) as f32,
            Self::GeluTanh => {
                let x = f64::from(x);
                let inner = (2.0 / PI).sqrt() * (x + 0.044715 * (x * x * x));
                (x * (1.0 + libm::tanh(inner)) / 2.0) as f32
            }
            Self::Then(first, second) => second.apply(first.apply(x)),
            Self::With(how, number) => match how {
                Arithmetic::Plus => x + number,
                Arithmetic::Minus => x - number,
                Arithmetic::From => number - x,
                Arithmetic::Times => x * number,
                Arithmetic::Over => x / number,
                Arithmetic::Under => number / x,
                Arithmetic::Power => libm::powf(x, *number),
            },
            Self::Times(f) => x * f.apply(x),
        }
    }
}

impl FloatOp {
    /// Whether values still lie where a product puts them, in its own dimensions.
    pub(super) fn is_as_made(&self) -> bool {
        let FloatOpKind::MatMul { spec, .. } = &self.op else { return false };
        let Some([.., rows, columns]) = self.layout.axes() else { return false };
        let one = |len: usize, stride: usize| if len == 1 { 0 } else { stride };
        (rows.len, columns.len) == (spec.rows, spec.columns)
            && rows.stride == one(rows.len, spec.y.row)
            && columns.stride == one(columns.len, spec.y.column)
    }

    /// The quantization of its result where that has only values of its inputs, which all are quantized alike.
    pub(super) fn keeps(&self, activations: &[Activation]) -> Option<Quant> {
        let moves = matches!(
            self.op,
            FloatOpKind::Concat
                | FloatOpKind::Copy(_)
                | FloatOpKind::MaxPool(_)
                | FloatOpKind::Nearest
                | FloatOpKind::Unary(Unary::Same)
        );
        // 0 is a code, too.
        let codes = self.bounds == Bounds::NONE || self.bounds == Bounds::POSITIVE;
        let first = activations[*self.inputs.first()?].quant;
        let alike = self.inputs.iter().all(|&at| activations[at].quant.same(first));
        (moves && codes && alike).then_some(first)
    }

    /// The step that makes activation `output`, quantized as `quant`.
    pub(super) fn step(&self, activations: &[Activation], output: usize, quant: Quant) -> Step {
        let clamp = self.bounds.clamp(quant);
        let x = |at: usize| activations[self.inputs[at]].quant;
        let table =
            |x: Quant| (!x.same(quant) || clamp != [0, 255]).then(|| x.table(quant, clamp, |x| x));
        let op = match &self.op {
            FloatOpKind::Conv(conv) => Op::Conv(conv.clone()),
            FloatOpKind::Add => Op::Add,
            FloatOpKind::Concat => {
                Op::Concat((0..self.inputs.len()).map(|at| table(x(at))).collect())
            }
            FloatOpKind::MaxPool(window) => Op::MaxPool { window: *window, table: table(x(0)) },
            FloatOpKind::AvgPool { window, counted } => {
                Op::AvgPool { window: *window, counted: *counted }
            }
            FloatOpKind::Image(kind) => Op::Image(kind.step(quant, clamp, || table(x(0)))),
            FloatOpKind::Nearest => Op::Nearest { table: table(x(0)) },
            FloatOpKind::Bilinear => Op::Bilinear,
            FloatOpKind::Unary(f) => Op::Table(x(0).table(quant, clamp, |x| f.apply(x))),
            FloatOpKind::Codes(reals) => {
                let code = |real: f32| requantize(real / quant.scale, quant.zero, clamp);
                Op::Table(Box::new(reals.map(code)))
            }
            FloatOpKind::AddConstant { values, quant } => {
                Op::AddConstant { values: values.clone(), quant: *quant }
            }
            FloatOpKind::Copy(pieces) => {
                let piece = |(at, (from, to)): (usize, &(Layout, Layout))| Piece {
                    from: from.clone(),
                    to: to.clone(),
                    table: table(x(at)),
                };
                Op::Copy(pieces.iter().enumerate().map(piece).collect())
            }
            &FloatOpKind::MatMul { spec, factor } => Op::MatMul { spec, factor },
            FloatOpKind::Softmax { columns } => Op::Softmax { columns: *columns },
            FloatOpKind::LayerNorm(norm) => Op::LayerNorm(norm.clone()),
            &FloatOpKind::MatMulSoftmax { spec, factor } => Op::MatMulSoftmax { spec, factor },
        };
        Step { name: self.name.clone(), op, inputs: self.inputs.clone(), output, clamp }
    }
}
