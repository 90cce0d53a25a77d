//! What steps are made of: quantizations, tables, windows, weights.

use crate::layout::Shape;

/// `x = (q − zero)·scale`. `q` is kept as u8: ONNX int8 tensors are stored 128 higher.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quant {
    pub(crate) scale: f32,
    pub(crate) zero: u8,
    /// The ONNX tensor is int8.
    pub(crate) signed: bool,
}

/// A sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Rows, columns.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Top, left, bottom, right.
    pub(crate) pad: [usize; 4],
}

/// Weights and bias of a convolution or linear layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conv {
    /// Name of the ONNX node.
    pub(crate) name: String,
    /// What it sees of its input: an image, or rows of features as pixels.
    pub(crate) input: Shape,
    pub(crate) window: Window,
    pub(crate) groups: usize,
    pub(crate) out_c: usize,
    /// `[O, I / groups, kH, kW]`
    pub(crate) weights: Vec<i8>,
    /// One per output channel.
    pub(crate) weight_scale: Vec<f32>,
    /// One per output channel, in units of `s_x · s_w[n]`.
    pub(crate) bias: Vec<i32>,
}

/// 256 answers, one for each `q`.
pub(crate) type Table = Box<[u8; 256]>;

/// `clamp(round_ties_even(value) + zero, lo, hi)`; what is not a number counts as −∞.
pub(crate) fn requantize(value: f32, zero: u8, clamp: [u8; 2]) -> u8 {
    let value = if value.is_nan() { f32::NEG_INFINITY } else { value };
    let q = (value.round_ties_even() as i32).saturating_add(i32::from(zero));
    q.clamp(clamp[0].into(), clamp[1].into()) as u8
}

impl Quant {
    /// `clamp(round_ties_even(x / scale) + zero)`
    pub(crate) fn quantize(&self, x: f32) -> u8 {
        requantize(x / self.scale, self.zero, [0, 255])
    }

    pub(crate) fn dequantize(&self, q: u8) -> f32 {
        f32::from(i16::from(q) - i16::from(self.zero)) * self.scale
    }

    /// The table of a real function, clamped.
    pub(crate) fn table(&self, to: Self, clamp: [u8; 2], f: impl Fn(f32) -> f32) -> Table {
        let table = kernels::table_of(self.scale, self.zero, to.scale, to.zero, f);
        Box::new(table.map(|q| q.clamp(clamp[0], clamp[1])))
    }

    /// Same integers, same reals.
    pub(crate) fn same(&self, other: Self) -> bool {
        self.scale.to_bits() == other.scale.to_bits() && self.zero == other.zero
    }
}

impl Window {
    pub(crate) const POINT: Self =
        Self { kernel: [1; 2], stride: [1; 2], dilation: [1; 2], pad: [0; 4] };

    /// Rows and columns that come out, `None` if the window does not fit.
    pub(crate) fn output(&self, h: usize, w: usize) -> Option<(usize, usize)> {
        let side = |axis: usize, length: usize| {
            let span = self.dilation[axis].checked_mul(self.kernel[axis].checked_sub(1)?)? + 1;
            let padded = length.checked_add(self.pad[axis])?.checked_add(self.pad[axis + 2])?;
            Some(padded.checked_sub(span)? / self.stride[axis] + 1)
        };
        Some((side(0, h)?, side(1, w)?))
    }

    /// Taps that lie on the image or on `padding` around it.
    pub(crate) fn counted(&self, padding: [usize; 4], x: Shape, h: usize, w: usize) -> usize {
        let inside = |axis: usize, o: usize, length: usize| {
            let first = self.pad[axis].saturating_sub(padding[axis]);
            let end = self.pad[axis] + length + padding[axis + 2];
            let at = |k: usize| o * self.stride[axis] + k * self.dilation[axis];
            (0..self.kernel[axis]).filter(|&k| (first..end).contains(&at(k))).count()
        };
        inside(0, h, x.h) * inside(1, w, x.w)
    }

    /// Source row or column of tap `k` at output `o`, `None` in the padding.
    pub(crate) fn at(&self, axis: usize, o: usize, k: usize, length: usize) -> Option<usize> {
        let at = (o * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.pad[axis])?;
        (at < length).then_some(at)
    }
}

impl Conv {
    /// Multiplications for an output of `h x w`.
    pub(crate) fn macs(&self, h: usize, w: usize) -> u64 {
        (self.weights.len() as u64).saturating_mul((h * w) as u64)
    }

    /// `s_x · s_w[n] / s_y` in this order, as ONNX Runtime does.
    pub(crate) fn multipliers(&self, x: Quant, y: Quant) -> Vec<f32> {
        self.weight_scale.iter().map(|w| x.scale * w / y.scale).collect()
    }

    /// `s_x · s_w[n]`
    pub(crate) fn scales(&self, x: Quant) -> Vec<f32> {
        self.weight_scale.iter().map(|w| x.scale * w).collect()
    }
}
