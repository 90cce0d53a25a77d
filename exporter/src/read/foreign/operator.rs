//! The few operators that everything in a file is written in, and what they make of shapes. Axes count the batch, as in
//! ONNX.

use anyhow::{Context, Result, bail, ensure};
use graph::{Resample, Unary};

/// Longest kernel side, stride or border any network has.
pub(super) const MAX_WINDOW: usize = 1 << 12;
/// Most values of one tensor.
pub(super) const MAX_VALUES: usize = 1 << 31;
/// Most axes.
pub(super) const MAX_RANK: usize = 12;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operator {
    /// Picture, weights `[O, I / groups, kH, kW]`, perhaps a bias.
    Conv {
        window: Window,
        groups: usize,
    },
    /// Picture, weights `[I, O / groups, kH, kW]`, perhaps a bias.
    ConvTranspose {
        window: Window,
        output_padding: [usize; 2],
        groups: usize,
    },
    /// Picture, scale, shift, mean, variance.
    BatchNorm {
        eps: f32,
    },
    /// Picture or `[1, C, …]`, scale and shift `[C]`.
    GroupNorm {
        groups: usize,
        eps: f32,
    },
    /// Along the last axis; tensor, scale and shift `[C]`.
    LayerNorm {
        eps: f32,
    },
    Apply(Function),
    Binary(Binary),
    /// Two tensors.
    MatMul,
    Mean {
        axes: Vec<usize>,
        keep: bool,
    },
    /// Padding never wins.
    MaxPool {
        window: Window,
    },
    AvgPool {
        window: Window,
        count_padding: bool,
    },
    /// Along the last axis.
    Softmax,
    Concat {
        axis: usize,
    },
    Slice {
        axis: usize,
        start: usize,
        end: usize,
        step: usize,
    },
    /// Rows and columns of a picture: top, left, bottom, right.
    Pad {
        padding: [usize; 4],
        value: f32,
    },
    Resize {
        size: [usize; 2],
        resample: Resample,
    },
    Reshape(Vec<usize>),
    Transpose(Vec<usize>),
    Expand(Vec<usize>),
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    Known(Unary),
    LeakyRelu { slope: f32 },
    Erf,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Abs,
    Floor,
    Ceil,
    Round,
    Sin,
    Cos,
}

/// Of two numbers; sides of 1 are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Max,
    Min,
    Mod,
}

/// A window that slides over rows and columns; the kernel of a convolution is that of its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Top, left, bottom, right.
    pub(super) padding: [usize; 4],
}

impl Window {
    /// Rows or columns one window covers.
    pub(super) fn span(&self, axis: usize) -> usize {
        self.dilation[axis] * (self.kernel[axis].max(1) - 1) + 1
    }

    /// Positions along an axis of `size` pixels.
    pub(super) fn count(&self, axis: usize, size: usize) -> Result<usize> {
        let padded = size + self.padding[axis] + self.padding[axis + 2];
        let span = self.span(axis);
        ensure!(padded >= span, "{padded} pixels with padding, the window covers {span}");
        Ok((padded - span) / self.stride[axis] + 1)
    }
}

impl Function {
    pub(super) fn clip(lo: f32, hi: f32) -> Self {
        Self::Known(Unary::Clip { lo, hi })
    }
}

impl Operator {
    /// The shape of the result.
    pub(super) fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        let dims = self.infer(inputs)?;
        ensure!(count(&dims)? > 0, "it makes a tensor of {dims:?}");
        Ok(dims)
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>> {
        let x = *inputs.first().context("it has no input")?;
        let other = |at: usize| inputs.get(at).copied().context("an input is missing");
        match self {
            Self::Conv { .. } | Self::ConvTranspose { .. } => self.convolved(x, other(1)?),
            Self::BatchNorm { .. } | Self::GroupNorm { .. } => {
                let channels = *x.get(1).context("it has no channels")?;
                let of = inputs[1..].iter().find(|of| **of != [channels]);
                ensure!(of.is_none(), "parameters of {of:?} for {channels} channels");
                if let Self::GroupNorm { groups, .. } = self {
                    let whole = *groups > 0 && channels.is_multiple_of(*groups);
                    ensure!(whole, "{groups} groups of {channels} channels");
                }
                Ok(x.to_vec())
            }
            Self::LayerNorm { .. } => {
                let of = inputs[1..].iter().find(|of| ***of != x[x.len().max(1) - 1..]);
                ensure!(of.is_none() && !x.is_empty(), "parameters of {of:?} for {x:?}");
                Ok(x.to_vec())
            }
            Self::Apply(_) | Self::Softmax => Ok(x.to_vec()),
            Self::Binary(_) => broadcast(x, other(1)?),
            Self::MatMul => product(x, other(1)?),
            Self::Mean { axes, keep } => mean(x, axes, *keep),
            Self::MaxPool { window } | Self::AvgPool { window, .. } => {
                let [n, c, h, w] = picture(x)?;
                Ok(vec![n, c, window.count(0, h)?, window.count(1, w)?])
            }
            Self::Concat { axis } => graph::joined(inputs, *axis)
                .with_context(|| format!("{inputs:?} along axis {axis}")),
            Self::Slice { axis, start, end, step } => {
                let side = *x.get(*axis).with_context(|| format!("{x:?} has no axis {axis}"))?;
                ensure!(
                    start < end && *end <= side && *step > 0,
                    "places {start} to {end} of {side}"
                );
                let mut dims = x.to_vec();
                dims[*axis] = (end - start).div_ceil(*step);
                Ok(dims)
            }
            Self::Pad { padding: [top, left, bottom, right], .. } => {
                let [n, c, h, w] = picture(x)?;
                Ok(vec![n, c, h + top + bottom, w + left + right])
            }
            Self::Resize { size: [h, w], .. } => Ok([&picture(x)?[..2], &[*h, *w]].concat()),
            Self::Reshape(dims) => {
                let same = x.iter().product::<usize>() == count(dims)?;
                ensure!(same, "{x:?} cannot become {dims:?}");
                Ok(dims.clone())
            }
            Self::Transpose(order) => {
                let mut axes = order.clone();
                axes.sort_unstable();
                ensure!(axes.iter().copied().eq(0..x.len()), "axes {order:?} of {x:?}");
                Ok(order.iter().map(|&axis| x[axis]).collect())
            }
            Self::Expand(dims) => broadcast(x, dims),
        }
    }

    fn convolved(&self, x: &[usize], weight: &[usize]) -> Result<Vec<usize>> {
        let [n, c, h, w] = picture(x)?;
        let &[a, b, ..] = weight else { bail!("weights of {weight:?}") };
        match self {
            Self::Conv { window, groups } => {
                let fits = b.checked_mul(*groups) == Some(c) && a.is_multiple_of(*groups);
                ensure!(fits, "{c} channels in {groups} groups with weights of {weight:?}");
                Ok(vec![n, a, window.count(0, h)?, window.count(1, w)?])
            }
            Self::ConvTranspose { window, output_padding, groups } => {
                let fits = a == c && c.is_multiple_of(*groups);
                ensure!(fits, "{c} channels in {groups} groups with weights of {weight:?}");
                let side = |axis: usize, size: usize| {
                    let span = window.span(axis) + output_padding[axis];
                    let whole = (size.max(1) - 1) * window.stride[axis] + span;
                    let cut = window.padding[axis] + window.padding[axis + 2];
                    whole.checked_sub(cut).filter(|&side| side > 0).context("all is cut off")
                };
                Ok(vec![n, b.saturating_mul(*groups), side(0, h)?, side(1, w)?])
            }
            _ => unreachable!("only convolutions come here"),
        }
    }
}

/// Sides of `[N, C, H, W]`.
pub(super) fn picture(x: &[usize]) -> Result<[usize; 4]> {
    x.try_into().ok().with_context(|| format!("a tensor of {x:?}, expected a picture [N, C, H, W]"))
}

/// How many values a shape has. Bounded without its zeros too, so that products of some sides are.
pub(super) fn count(dims: &[usize]) -> Result<usize> {
    let bound = dims.iter().try_fold(1_usize, |n, &side| n.checked_mul(side.max(1)));
    let bound = bound.filter(|&bound| bound <= MAX_VALUES && dims.len() <= MAX_RANK);
    let bound = bound.with_context(|| format!("a tensor of {dims:?}"))?;
    Ok(if dims.contains(&0) { 0 } else { bound })
}

/// A side of 1 is repeated, shorter shapes count from the right.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    graph::broadcast(a, b).with_context(|| format!("shapes {a:?} and {b:?} do not match"))
}

fn product(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let error = || format!("a product of {a:?} and {b:?}");
    let ([left @ .., m, k], [right @ .., rows, n]) = (a, b) else { bail!(error()) };
    ensure!(k == rows, error());
    Ok([&broadcast(left, right)?[..], &[*m, *n]].concat())
}

fn mean(x: &[usize], axes: &[usize], keep: bool) -> Result<Vec<usize>> {
    ensure!(axes.iter().all(|&axis| axis < x.len()), "axes {axes:?} of {x:?}");
    let sides = x.iter().enumerate().filter_map(|(axis, &side)| match axes.contains(&axis) {
        true => keep.then_some(1),
        false => Some(side),
    });
    Ok(sides.collect())
}
