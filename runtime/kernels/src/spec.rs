//! Shapes and parameters of operations, checked once when an operation is made.

use std::fmt;
use std::ops::Range;

/// A convolution of one image. Sizes are `[height, width]`, padding is `[top, left, bottom, right]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvSpec {
    pub in_channels: usize,
    pub out_channels: usize,
    pub groups: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 4],
    pub dilation: [usize; 2],
    pub in_h: usize,
    pub in_w: usize,
    /// Bytes from one input pixel to the next.
    pub in_stride: usize,
    /// Bytes from one output pixel to the next; `run_f32`, which writes planes, does not use it.
    pub out_stride: usize,
}

/// A transposed convolution of one image: input pixel `i` under tap `k` goes to output `i · stride + k · dilation −
/// padding`. Sizes are `[height, width]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvTransposeSpec {
    pub in_channels: usize,
    pub out_channels: usize,
    pub groups: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Rows and columns that are cut off at the top and the left.
    pub padding: [usize; 2],
    pub input: [usize; 2],
    pub output: [usize; 2],
    /// Bytes from one input pixel to the next, and of output pixels.
    pub in_stride: usize,
    pub out_stride: usize,
}

/// What a convolution multiplies by. `weight` is `[out, in / groups, height, width]`; `bias` and `scale` have
/// one entry per output channel, `scale[n] = s_x · s_w[n] / s_y` (for `run_f32`: `s_x · s_w[n]`).
#[derive(Debug, Clone, Copy)]
pub struct ConvWeights<'a> {
    pub weight: &'a [i8],
    pub bias: &'a [i32],
    pub scale: &'a [f32],
    pub x_zero: u8,
    pub y_zero: u8,
    /// Clamp of the result; ReLU is `lo = y_zero`.
    pub lo: u8,
    pub hi: u8,
}

/// The addition after a convolution. With `c` the convolution's own result (rounded, clamped, zero point
/// `y_zero`) and `r` the other operand:
/// `q = clamp(rte((c − y_zero)·conv_ratio + (r − zero)·ratio) + out_zero, lo, hi)`.
///
/// Ratios are `s_c / s_out` and `s_r / s_out`, as in ONNX Runtime's `QLinearAdd`: two products, one sum, one
/// rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    pub conv_ratio: f32,
    pub ratio: f32,
    pub zero: u8,
    pub out_zero: u8,
    pub lo: u8,
    pub hi: u8,
    /// Bytes from one pixel of `r` to the next.
    pub stride: usize,
}

/// The product of two tensors: `clamp(rte((a − zeros[0])·(b − zeros[1]) · ratio) + zeros[2], lo, hi)` with
/// `ratio = s_a · s_b / s_y`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    pub ratio: f32,
    pub zeros: [u8; 3],
    pub lo: u8,
    pub hi: u8,
}

/// A pooling window over one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSpec {
    pub channels: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub padding: [usize; 4],
    pub in_h: usize,
    pub in_w: usize,
    pub in_stride: usize,
    pub out_stride: usize,
}

/// Why an operation cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecError {
    Zero { what: &'static str },
    TooLarge { what: &'static str },
    Groups { groups: usize, channels: usize },
    Stride { what: &'static str, stride: usize, channels: usize },
    Window { kernel: usize, padded: usize },
    Length { what: &'static str, found: usize, expected: usize },
    Range { lo: u8, hi: u8 },
    Scale { what: &'static str, channel: usize },
    Number { what: &'static str, channel: usize },
    Accumulator { channel: usize },
    Depth { depth: usize, most: usize },
    Overlap { what: &'static str },
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { what } => write!(f, "{what} is zero"),
            Self::TooLarge { what } => write!(f, "{what} is too large"),
            Self::Groups { groups, channels } => {
                write!(f, "{groups} groups do not divide {channels} channels")
            }
            Self::Stride { what, stride, channels } => {
                write!(f, "{what} pixel stride {stride} is less than the {channels} channels")
            }
            Self::Window { kernel, padded } => {
                write!(f, "window of {kernel} exceeds the padded size {padded}")
            }
            Self::Length { what, found, expected } => {
                write!(f, "{found} entries of {what}, expected {expected}")
            }
            Self::Range { lo, hi } => write!(f, "empty clamp range {lo}..={hi}"),
            Self::Scale { what, channel } => {
                write!(f, "{what} of channel {channel} is not a finite number >= 0")
            }
            Self::Number { what, channel } => {
                write!(f, "{what} of channel {channel} is out of range")
            }
            Self::Accumulator { channel } => {
                write!(f, "sums of channel {channel} can exceed 32 bits")
            }
            Self::Overlap { what } => write!(f, "values of {what} lie in one place"),
            Self::Depth { depth, most } => {
                write!(f, "sums of {depth} products of bytes, expected at most {most}")
            }
        }
    }
}

impl std::error::Error for SpecError {}

/// Sizes above this are refused, so that products of four of them cannot overflow an address.
const LARGEST: usize = 1 << 15;

impl ConvSpec {
    pub fn out_h(&self) -> usize {
        out_size(
            self.in_h,
            self.kernel[0],
            self.stride[0],
            self.padding[0] + self.padding[2],
            self.dilation[0],
        )
    }

    pub fn out_w(&self) -> usize {
        out_size(
            self.in_w,
            self.kernel[1],
            self.stride[1],
            self.padding[1] + self.padding[3],
            self.dilation[1],
        )
    }

    pub fn out_pixels(&self) -> usize {
        self.out_h() * self.out_w()
    }

    /// Multiplications by weights, padding included.
    pub fn macs(&self) -> u64 {
        let per_output = self.in_channels / self.groups * self.taps();
        self.out_pixels() as u64 * self.out_channels as u64 * per_output as u64
    }

    /// Output pixel `p` reads input pixel `p` and nothing else.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0; 4]
    }

    /// Every channel is a group of its own.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels && self.groups == self.out_channels
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        sizes("channels", &[self.in_channels, self.out_channels, self.groups])?;
        sizes("image", &[self.in_h, self.in_w])?;
        sizes("kernel", &self.kernel)?;
        sizes("stride", &self.stride)?;
        sizes("dilation", &self.dilation)?;
        for channels in [self.in_channels, self.out_channels] {
            if !channels.is_multiple_of(self.groups) {
                return Err(SpecError::Groups { groups: self.groups, channels });
            }
        }
        stride("input", self.in_stride, self.in_channels)?;
        stride("output", self.out_stride, self.out_channels)?;
        windows(self.kernel, self.dilation, self.padding, self.in_h, self.in_w)
    }
}

impl ConvTransposeSpec {
    /// A convolution for each pair of steps: more than any network has.
    const LARGEST_STRIDE: usize = 64;

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        sizes("channels", &[self.in_channels, self.out_channels, self.groups])?;
        sizes("image", &[self.input, self.output].concat())?;
        sizes("kernel", &self.kernel)?;
        sizes("stride", &self.stride)?;
        sizes("dilation", &self.dilation)?;
        if self.stride.iter().any(|stride| *stride > Self::LARGEST_STRIDE) {
            return Err(SpecError::TooLarge { what: "stride" });
        }
        if self.padding.iter().any(|padding| *padding > LARGEST) {
            return Err(SpecError::TooLarge { what: "padding" });
        }
        for channels in [self.in_channels, self.out_channels] {
            if !channels.is_multiple_of(self.groups) {
                return Err(SpecError::Groups { groups: self.groups, channels });
            }
        }
        stride("input", self.in_stride, self.in_channels)?;
        stride("output", self.out_stride, self.out_channels)
    }
}

/// `Σ |w|`: times the largest activation, no sum of products is larger.
pub fn absolute_sum(weights: &[i8]) -> i64 {
    // 16 bits are enough for a chunk, and twice as fast as 32.
    let chunk = |w: &[i8]| -> u16 { w.iter().map(|w| u16::from(w.unsigned_abs())).sum() };
    weights.chunks(256).map(|w| i64::from(chunk(w))).sum()
}

/// `Σ w`, likewise.
pub(crate) fn sum(weights: &[i8]) -> i64 {
    let chunk = |w: &[i8]| -> i16 { w.iter().map(|w| i16::from(*w)).sum() };
    weights.chunks(128).map(|w| i64::from(chunk(w))).sum()
}

impl ConvWeights<'_> {
    pub(crate) fn check(&self, spec: &ConvSpec) -> Result<(), SpecError> {
        let n = spec.out_channels;
        let per_channel = spec.in_channels / spec.groups * spec.taps();
        length("weights", self.weight.len(), n * per_channel)?;
        length("biases", self.bias.len(), n)?;
        length("scales", self.scale.len(), n)?;
        range(self.lo, self.hi)?;
        let furthest = i64::from(self.x_zero.max(255 - self.x_zero));
        for (channel, w) in self.weight.chunks_exact(per_channel).enumerate() {
            ratio("scale", channel, self.scale[channel])?;
            if absolute_sum(w) * furthest + i64::from(self.bias[channel].unsigned_abs())
                > i64::from(i32::MAX)
            {
                return Err(SpecError::Accumulator { channel });
            }
        }
        Ok(())
    }
}

impl Residual {
    pub(crate) fn check(&self, spec: &ConvSpec) -> Result<(), SpecError> {
        stride("residual", self.stride, spec.out_channels)?;
        range(self.lo, self.hi)?;
        ratio("residual scale", 0, self.conv_ratio)?;
        ratio("residual scale", 0, self.ratio)
    }
}

impl PoolSpec {
    pub fn out_h(&self) -> usize {
        let padding = self.padding[0] + self.padding[2];
        out_size(self.in_h, self.kernel[0], self.stride[0], padding, self.dilation[0])
    }

    pub fn out_w(&self) -> usize {
        let padding = self.padding[1] + self.padding[3];
        out_size(self.in_w, self.kernel[1], self.stride[1], padding, self.dilation[1])
    }

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        sizes("channels", &[self.channels])?;
        sizes("image", &[self.in_h, self.in_w])?;
        sizes("kernel", &self.kernel)?;
        sizes("stride", &self.stride)?;
        stride("input", self.in_stride, self.channels)?;
        stride("output", self.out_stride, self.channels)?;
        sizes("dilation", &self.dilation)?;
        windows(self.kernel, self.dilation, self.padding, self.in_h, self.in_w)?;
        let sizes = [self.out_h(), self.out_w()];
        if (0..2).any(|axis| (0..sizes[axis]).any(|out| self.under(axis, out).is_empty())) {
            return Err(SpecError::TooLarge { what: "padding" });
        }
        Ok(())
    }

    /// Rows or columns of the image that an output's window reads: from the first, `dilation` apart.
    pub(crate) fn under(&self, axis: usize, out: usize) -> Range<usize> {
        let size = [self.in_h, self.in_w][axis];
        let (start, dilation) = (out * self.stride[axis], self.dilation[axis]);
        let before = self.padding[axis].saturating_sub(start).div_ceil(dilation);
        let end = start + (self.kernel[axis] - 1) * dilation + 1;
        start + before * dilation - self.padding[axis].min(start + before * dilation)
            ..end.saturating_sub(self.padding[axis]).min(size)
    }

    /// Taps of an output's window that read the image or `padding` around it: what a mean over that counts.
    pub(crate) fn counted(&self, axis: usize, out: usize, padding: [usize; 4]) -> usize {
        let size = [self.in_h, self.in_w][axis];
        let position = |tap: usize| out * self.stride[axis] + tap * self.dilation[axis];
        let first = self.padding[axis].saturating_sub(padding[axis]);
        let end = self.padding[axis] + size + padding[axis + 2];
        (0..self.kernel[axis]).filter(|tap| (first..end).contains(&position(*tap))).count()
    }
}

pub(crate) fn range(lo: u8, hi: u8) -> Result<(), SpecError> {
    if lo <= hi { Ok(()) } else { Err(SpecError::Range { lo, hi }) }
}

pub(crate) fn ratio(what: &'static str, channel: usize, ratio: f32) -> Result<(), SpecError> {
    if ratio.is_finite() && ratio >= 0.0 { Ok(()) } else { Err(SpecError::Scale { what, channel }) }
}

pub(crate) fn stride(what: &'static str, stride: usize, channels: usize) -> Result<(), SpecError> {
    if stride < channels {
        return Err(SpecError::Stride { what, stride, channels });
    }
    if stride > LARGEST * 4 { Err(SpecError::TooLarge { what: "pixel stride" }) } else { Ok(()) }
}

pub(crate) fn sizes(what: &'static str, values: &[usize]) -> Result<(), SpecError> {
    for &value in values {
        if value == 0 {
            return Err(SpecError::Zero { what });
        }
        if value > LARGEST * 2 {
            return Err(SpecError::TooLarge { what });
        }
    }
    Ok(())
}

fn length(what: &'static str, found: usize, expected: usize) -> Result<(), SpecError> {
    if found == expected { Ok(()) } else { Err(SpecError::Length { what, found, expected }) }
}

fn windows(
    kernel: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
    in_h: usize,
    in_w: usize,
) -> Result<(), SpecError> {
    if padding.iter().any(|p| *p > LARGEST) {
        return Err(SpecError::TooLarge { what: "padding" });
    }
    for (axis, size) in [in_h, in_w].into_iter().enumerate() {
        let window = (kernel[axis] - 1) * dilation[axis] + 1;
        let padded = size + padding[axis] + padding[axis + 2];
        if window > padded {
            return Err(SpecError::Window { kernel: window, padded });
        }
    }
    Ok(())
}

fn out_size(size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> usize {
    (size + padding - ((kernel - 1) * dilation + 1)) / stride + 1
}
