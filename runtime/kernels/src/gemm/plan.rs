//! How a convolution becomes taps, steps, blocks and tiles.

use crate::gemm::tile::{Activations, MicroKernel};
use crate::spec::ConvSpec;

/// Weights of fewer bytes than this stay in the first-level cache beside activations.
pub(crate) const NEAR: usize = 1 << 15;

/// How the convolution becomes taps and steps.
#[derive(Debug)]
pub(crate) struct TilePlan {
    /// Contiguous activations a tap reads.
    pub(crate) run: usize,
    pub(crate) taps: [usize; 2],
    /// Steps of a tap.
    pub(crate) steps: usize,
    /// Blocks of up to `kernel.channels` output channels of one group.
    pub(crate) blocks: Vec<Block>,
    pub(crate) out_w: usize,
    /// Tiles, of equal size (but for one pixel) rather than full ones and a remnant: `longer` tiles of `least + 1`
    /// pixels, then tiles of `least`.
    pub(crate) tiles: usize,
    pub(crate) least: usize,
    pub(crate) longer: usize,
    pub(crate) out_pixels: usize,
    /// Output pixel `p` reads input pixel `p` and nothing else.
    pub(crate) pointwise: bool,
    pub(crate) input: TapSource,
    /// Bytes from the first tap's activations to each tap's.
    pub(crate) offsets: Vec<usize>,
    /// Bytes from one pixel to the next in what the taps read.
    pub(crate) pitch: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) group: usize,
    /// First output channel.
    pub(crate) channel: usize,
    pub(crate) channels: usize,
}

/// What the taps read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TapSource {
    /// The input itself.
    Direct,
    /// A copy in the form that the kernel wants, channels dense: made once, it spares every tap of every block of
    /// channels the conversion.
    Converted,
    /// A copy with padding written out and channels dense, so that a whole kernel row is one contiguous tap: for
    /// few channels, where single taps would be mostly rounding.
    Rows,
}

impl TilePlan {
    pub(crate) fn new(spec: &ConvSpec, kernel: &MicroKernel) -> Self {
        // A depthwise kernel takes whole rows of channels, as if there were one group.
        let groups = if kernel.depthwise.is_some() { 1 } else { spec.groups };
        let (in_group, out_group) = (spec.in_channels / groups, spec.out_channels / groups);
        let row = spec.kernel[1] * in_group;
        // Few channels: a whole kernel row becomes one tap, at the price of a copy of the input.
        let rows = spec.groups == 1 && spec.dilation[1] == 1 && spec.kernel[1] > 1 && in_group < 16;
        let (input, run, taps) = if rows {
            (TapSource::Rows, row, [spec.kernel[0], 1])
        } else {
            let bytes = kernel.activations == Activations::Bytes;
            (if bytes { TapSource::Direct } else { TapSource::Converted }, in_group, spec.kernel)
        };
        let block = |group: usize, inner: usize| Block {
            group,
            channel: group * out_group + inner,
            channels: (out_group - inner).min(kernel.channels),
        };
        let blocks = (0..groups).flat_map(|group| {
            (0..out_group).step_by(kernel.channels).map(move |inner| block(group, inner))
        });
        let (pitch, width) = match input {
            TapSource::Direct => (spec.in_stride, spec.in_w),
            TapSource::Converted => (spec.in_channels, spec.in_w),
            TapSource::Rows => (spec.in_channels, spec.in_w + spec.padding[1] + spec.padding[3]),
        };
        let offset =
            |ky: usize, kx: usize| (ky * spec.dilation[0] * width + kx * spec.dilation[1]) * pitch;
        let offsets = (0..taps[0]).flat_map(|ky| (0..taps[1]).map(move |kx| offset(ky, kx)));
        let out_pixels = spec.out_pixels();
        let tiles = out_pixels.div_ceil(kernel.pixels);
        Self {
            run,
            taps,
            steps: if kernel.depthwise.is_some() { 1 } else { run.div_ceil(kernel.depth) },
            blocks: blocks.collect(),
            out_w: spec.out_w(),
            tiles,
            least: out_pixels / tiles,
            longer: out_pixels % tiles,
            out_pixels,
            pointwise: spec.is_pointwise(),
            input,
            offsets: offsets.collect(),
            pitch,
        }
    }
}
