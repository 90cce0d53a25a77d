//! How a convolution becomes taps, steps, blocks and tiles.

use crate::spec::ConvSpec;
use crate::tile::{Activations, Kernel};

/// How the convolution becomes taps and steps.
#[derive(Debug)]
pub(super) struct Plan {
    /// Contiguous activations a tap reads.
    pub(super) run: usize,
    pub(super) taps: [usize; 2],
    /// Steps of a tap.
    pub(super) steps: usize,
    /// Blocks of up to `kernel.channels` output channels of one group.
    pub(super) blocks: Vec<Block>,
    pub(super) out_w: usize,
    /// Tiles, of equal size (but for one pixel) rather than full ones and a remnant: `longer` tiles of `least + 1`
    /// pixels, then tiles of `least`.
    pub(super) tiles: usize,
    pub(super) least: usize,
    pub(super) longer: usize,
    pub(super) out_pixels: usize,
    /// Output pixel `p` reads input pixel `p` and nothing else.
    pub(super) pointwise: bool,
    pub(super) input: Source,
    /// Bytes from the first tap's activations to each tap's.
    pub(super) offsets: Vec<usize>,
    /// Bytes from one pixel to the next in what the taps read.
    pub(super) pitch: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) group: usize,
    /// First output channel.
    pub(super) channel: usize,
    pub(super) channels: usize,
}

/// What the taps read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The input itself.
    Direct,
    /// A copy in the form that the kernel wants, channels dense: made once, it spares every tap of every block of
    /// channels the conversion.
    Converted,
    /// A copy with padding written out and channels dense, so that a whole kernel row is one contiguous tap: for
    /// few channels, where single taps would be mostly rounding.
    Rows,
}

impl Plan {
    pub(super) fn new(spec: &ConvSpec, kernel: &Kernel) -> Self {
        // A depthwise kernel takes whole rows of channels, as if there were one group.
        let groups = if kernel.depthwise { 1 } else { spec.groups };
        let (in_group, out_group) = (spec.in_channels / groups, spec.out_channels / groups);
        let row = spec.kernel[1] * in_group;
        // Few channels: a whole kernel row becomes one tap, at the price of a copy of the input.
        let rows = spec.groups == 1 && spec.dilation[1] == 1 && spec.kernel[1] > 1 && in_group < 16;
        let (input, run, taps) = if rows {
            (Source::Rows, row, [spec.kernel[0], 1])
        } else {
            let bytes = kernel.activations == Activations::Bytes;
            (if bytes { Source::Direct } else { Source::Converted }, in_group, spec.kernel)
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
            Source::Direct => (spec.in_stride, spec.in_w),
            Source::Converted => (spec.in_channels, spec.in_w),
            Source::Rows => (spec.in_channels, spec.in_w + spec.padding[1] + spec.padding[3]),
        };
        let offset =
            |ky: usize, kx: usize| (ky * spec.dilation[0] * width + kx * spec.dilation[1]) * pitch;
        let offsets = (0..taps[0]).flat_map(|ky| (0..taps[1]).map(move |kx| offset(ky, kx)));
        let out_pixels = spec.out_pixels();
        let tiles = out_pixels.div_ceil(kernel.pixels);
        Self {
            run,
            taps,
            steps: if kernel.depthwise { 1 } else { run.div_ceil(kernel.depth) },
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
