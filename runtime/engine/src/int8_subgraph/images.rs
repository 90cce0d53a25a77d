//! Kernels of [`ImageOp`].

use crate::quantized::image_op::{Combine, ImageOp};
use crate::quantized::{Activation, Conv, Shape, Step};
use kernels::{
    Add, Affine, Beside, Bilinear, ConvTranspose, ConvWeights, Gather, GroupNorm, Isa, Lookup, Mul,
    Pool, Rows, Scratch, SpecError,
};

#[derive(Debug)]
pub(super) enum ImageKernel {
    Add(Add, Beside),
    Multiply(Mul, Beside),
    Gather(Gather, Option<Lookup>),
    Linear(Bilinear, Option<Lookup>),
    Affine(Affine),
    GroupNorm(GroupNorm),
    ConvTranspose(Box<ConvTranspose>),
}

impl ImageKernel {
    pub(super) fn new(
        op: &ImageOp,
        step: &Step,
        activations: &[Activation],
        isa: Isa,
    ) -> Result<Self, SpecError> {
        let activation = |at: usize| &activations[step.inputs[at]];
        let (x, y) = (activation(0), &activations[step.output]);
        let zeros = [x.quant.zero, y.quant.zero];
        let Shape { h, w, c } = x.shape;
        Ok(match op {
            ImageOp::Combine(how) => {
                let b = activation(1);
                let zeros = [x.quant.zero, b.quant.zero, y.quant.zero];
                let beside = match b.shape {
                    shape if shape == x.shape => Beside::Each(c),
                    Shape { h: 1, w: 1, .. } if b.shape.c == c => Beside::Channels,
                    _ if b.shape == (Shape { c: 1, ..x.shape }) => Beside::Pixels(1),
                    Shape { h: 1, w: 1, c: 1 } => Beside::Pixels(0),
                    _ => return Err(SpecError::TooLarge { what: "second operand" }),
                };
                if *how == Combine::Multiply {
                    let ratio = x.quant.scale * b.quant.scale / y.quant.scale;
                    Self::Multiply(Mul::new(isa, ratio, zeros, step.clamp)?, beside)
                } else {
                    let ratios = how.ratios(x.quant, b.quant, y.quant);
                    Self::Add(Add::new(isa, ratios, zeros, step.clamp)?, beside)
                }
            }
            ImageOp::Gather { from, table, fill } => {
                let positions = [&from.rows[..], &from.columns[..], &from.channels[..]];
                let gather = Gather::new(isa, [h, w, c], positions, y.shape.c, *fill)?;
                Self::Gather(gather, table.as_ref().map(|table| Lookup::new(isa, **table)))
            }
            ImageOp::Linear(between) => {
                let ratio = x.quant.scale / y.quant.scale;
                let between = [between[0].clone(), between[1].clone()];
                let resize = Bilinear::new(isa, [h, w], between, c, [c, c], ratio, zeros)?;
                let full = step.clamp == [0, 255];
                let clamp = || Lookup::new(isa, *y.quant.table(y.quant, step.clamp, |x| x));
                Self::Linear(resize, (!full).then(clamp))
            }
            ImageOp::Affine(affine) => {
                let [factor, addend] = affine.of_codes(x.quant, y.quant);
                Self::Affine(Affine::new(isa, factor, addend, zeros, step.clamp)?)
            }
            ImageOp::GroupNorm(norm) => {
                let (gain, bias) = (norm.gain.clone(), norm.bias.clone());
                let scales = [x.quant.scale, y.quant.scale];
                let (groups, epsilon) = (norm.groups, norm.epsilon);
                Self::GroupNorm(GroupNorm::new(
                    isa, groups, epsilon, gain, bias, scales, zeros, step.clamp,
                )?)
            }
            ImageOp::ConvTranspose(transposed) => {
                let conv = &transposed.conv;
                let scale = conv.multipliers(x.quant, y.quant);
                let weights = conv_weights(conv, &scale, zeros[0], zeros[1], step.clamp);
                let packed = ConvTranspose::pack(isa, &transposed.spec(x.shape), weights)?;
                Self::ConvTranspose(Box::new(packed))
            }
        })
    }

    pub(super) fn packed_bytes(&self) -> usize {
        match self {
            Self::ConvTranspose(conv) => conv.packed_bytes(),
            _ => 0,
        }
    }

    pub(super) fn scratch_bytes(&self, threads: usize) -> usize {
        match self {
            Self::GroupNorm(norm) => norm.scratch_bytes(),
            Self::ConvTranspose(conv) => conv.scratch_bytes(threads),
            _ => 0,
        }
    }

    /// From its inputs to `y`, an image of `shape`.
    pub(super) fn run<'a>(
        &self,
        x: impl Fn(usize) -> &'a [u8],
        Shape { h, w, c }: Shape,
        y: &mut [u8],
        pool: &Pool,
        scratch: &mut Scratch,
    ) {
        let rows = Rows { pixels: h * w, channels: c, x_stride: c, y_stride: c };
        match self {
            Self::Add(add, beside) => add.run(&rows, x(0), x(1), *beside, y, pool),
            Self::Multiply(mul, beside) => mul.run(&rows, x(0), x(1), *beside, y, pool),
            Self::Gather(gather, table) => gather.run(table.as_ref(), x(0), y, pool),
            Self::Linear(resize, table) => {
                resize.run(x(0), y, pool);
                if let Some(table) = table {
                    table.in_place(&rows, y, pool);
                }
            }
            Self::Affine(affine) => affine.run(&rows, x(0), y, pool),
            Self::GroupNorm(norm) => norm.run(&rows, x(0), y, pool, scratch),
            Self::ConvTranspose(conv) => conv.run(x(0), y, pool, scratch),
        }
    }
}

pub(super) fn conv_weights<'a>(
    conv: &'a Conv,
    scale: &'a [f32],
    x_zero: u8,
    y_zero: u8,
    [lo, hi]: [u8; 2],
) -> ConvWeights<'a> {
    ConvWeights { weight: &conv.weights, bias: &conv.bias, scale, x_zero, y_zero, lo, hi }
}
