//! Implicit GEMM: a convolution as a product of matrices without im2col's copy of every window. When a
//! convolution may run so, and its weights.
//!
//! The micro-kernel wants the rows of its left matrix at equal distances. Output pixels are numbered on a
//! grid that is a little wider than the output, so that under every tap the pixels of the input follow each
//! other at one distance, across the ends of rows too. What the grid has too much is computed and left out.
//! The input is copied with its padding written out, unless the convolution is pointwise ([`InputLayout`]).
//!
//! ```text
//! 3x3, padding 1      input with padding      grid of products, as wide as that
//!                     . . . . . .             0  1  2  3  –  –
//!                     . a b c d .             6  7  8  9  –  –      product m under tap (y, x) reads
//!                     . e f g h .                                    pixel m + 6y + x
//!                     . . . . . .
//! ```

mod copy;
mod run;
#[cfg(test)]
mod tests;

use super::pack::WeightLayout;
use super::packed::PackedConv;
use super::strided::StridedKernel;
use crate::memory::{Buffer, SLACK};
use crate::spec::{ConvSpec, ConvWeights};

/// What a convolution needs to run in this form.
#[derive(Debug)]
pub(crate) struct ImplicitGemm {
    kernel: &'static StridedKernel,
    input: InputLayout,
    /// Products in a row of the grid, and how many of them are outputs.
    across: usize,
    wanted: usize,
    /// Products, from the first output to the last.
    count: usize,
    /// Bytes from one product's pixels to the next's.
    pitch: usize,
    /// Bytes from the first tap's pixels to each tap's.
    taps: Vec<usize>,
    /// Bytes that a tap reads of a pixel: of that and its neighbours, where they follow each other.
    run: usize,
}

/// What the taps read.
#[derive(Debug)]
enum InputLayout {
    /// The input itself.
    Direct,
    /// A copy with padding written out and channels dense: one plane for each place within a stride that a
    /// tap lies on, so that its pixels are neighbours.
    Planes {
        /// First row and column of each, counted from the padding's corner.
        starts: Vec<[usize; 2]>,
        /// Height and width of each.
        size: [usize; 2],
    },
    /// One channel: for every row of outputs a row of columns of [`COLUMN`] pixels, so that a whole window is
    /// one run.
    Columns {
        /// Columns in a row.
        width: usize,
    },
}

/// Pixels in a column.
const COLUMN: usize = 8;

impl ImplicitGemm {
    /// The form for this convolution, if it is large enough.
    pub(crate) fn of(kernel: &'static StridedKernel, spec: &ConvSpec) -> Option<Self> {
        if spec.groups > 1 || spec.out_pixels() < kernel.rows / 2 || !(kernel.pays)(spec) {
            return None;
        }
        let [height, width] = spec.kernel;
        let window = spec.in_channels == 1 && height.max(width) <= COLUMN && width > 1;
        Some(match (spec.is_pointwise(), window && spec.dilation == [1, 1]) {
            (true, _) => Self::direct(kernel, spec),
            (_, true) => Self::columns(kernel, spec),
            _ => Self::planes(kernel, spec),
        })
    }

    fn direct(kernel: &'static StridedKernel, spec: &ConvSpec) -> Self {
        let count = spec.out_pixels();
        Self {
            kernel,
            input: InputLayout::Direct,
            across: count,
            wanted: count,
            count,
            pitch: spec.in_stride,
            taps: vec![0],
            run: spec.in_channels,
        }
    }

    fn columns(kernel: &'static StridedKernel, spec: &ConvSpec) -> Self {
        let (right, wanted) = (spec.stride[1], spec.out_w());
        let across = ((wanted - 1) * right + spec.kernel[1]).div_ceil(right);
        // Where products make runs, none should have its end in the next row.
        let across = if kernel.runs { across.next_multiple_of(kernel.rows) } else { across };
        Self {
            kernel,
            input: InputLayout::Columns { width: across * right },
            across,
            wanted,
            count: (spec.out_h() - 1) * across + wanted,
            pitch: right * COLUMN,
            taps: vec![0],
            run: (spec.kernel[1] * COLUMN).max(kernel.least_steps * kernel.depth),
        }
    }

    fn planes(kernel: &'static StridedKernel, spec: &ConvSpec) -> Self {
        let ([down, right], [taps_h, taps_w]) = (spec.stride, spec.kernel);
        // Neighbours under one row of the window follow each other.
        let joined = if right == 1 && spec.dilation[1] == 1 { taps_w } else { 1 };
        let at = |tap: usize| {
            let (y, x) = (tap / taps_w * spec.dilation[0], tap % taps_w * spec.dilation[1]);
            ([y % down, x % right], [y / down, x / right])
        };
        let (mut starts, mut size) = (Vec::new(), [spec.out_h(), spec.out_w()]);
        for (start, [y, x]) in (0..taps_h * taps_w).map(at) {
            if !starts.contains(&start) {
                starts.push(start);
            }
            size = [size[0].max(spec.out_h() + y), size[1].max(spec.out_w() + x)];
        }
        let pixels = size[0] * size[1];
        let offset = |tap: usize| {
            let (start, [y, x]) = at(tap);
            let plane = starts.iter().position(|s| *s == start).expect("every tap has a plane");
            (plane * pixels + y * size[1] + x) * spec.in_channels
        };
        let count = (spec.out_h() - 1) * size[1] + spec.out_w();
        // Without neighbours under the window, nothing is too much, and all outputs are one row.
        let flat = size[1] == spec.out_w();
        Self {
            kernel,
            taps: (0..taps_h * taps_w).step_by(joined).map(offset).collect(),
            input: InputLayout::Planes { starts, size },
            across: if flat { count } else { size[1] },
            wanted: if flat { count } else { spec.out_w() },
            count,
            pitch: spec.in_channels,
            run: joined * spec.in_channels,
        }
    }

    /// Whether all outputs are one row.
    fn is_flat(&self) -> bool {
        self.wanted == self.count
    }

    /// Steps of a tap.
    fn steps(&self) -> usize {
        self.run.div_ceil(self.kernel.depth)
    }

    /// Bytes of the copied input. The last product may have rows behind it.
    pub(crate) fn copied_bytes(&self, spec: &ConvSpec) -> usize {
        let pixels = match &self.input {
            InputLayout::Direct => return 0,
            InputLayout::Planes { starts, size } => starts.len() * size[0] * size[1] * self.pitch,
            InputLayout::Columns { width } => spec.out_h() * width * COLUMN,
        };
        let behind = self.kernel.rows * self.pitch + self.kernel.depth;
        (pixels + behind + SLACK).next_multiple_of(64)
    }
}

impl ImplicitGemm {
    /// `[block][tap][step][depth / 4][channel][4]`, or what the micro-kernel makes of it, and where each
    /// block begins.
    pub(crate) fn pack(
        &self,
        conv: &PackedConv,
        weights: &ConvWeights<'_>,
    ) -> (Buffer, Vec<usize>) {
        const QUAD: usize = 4;
        let (lanes, [taps_h, taps_w]) = (self.kernel.channels, conv.spec.kernel);
        let tap_bytes = self.steps() * self.kernel.depth;
        let channels = conv.spec.in_channels;
        // Where the weight of a channel under a tap meets its activation: which tap of ours, and where in its run.
        let place = |c: usize, y: usize, x: usize| match self.input {
            InputLayout::Direct => (0, c),
            InputLayout::Columns { .. } => (0, x * COLUMN + y),
            InputLayout::Planes { .. } => {
                let joined = self.run / channels;
                ((y * taps_w + x) / joined, x % joined * channels + c)
            }
        };
        let entry = |c: usize, y: usize, x: usize| {
            let (tap, k) = place(c, y, x);
            let quad = (tap * tap_bytes + k) / QUAD;
            ((c * taps_h + y) * taps_w + x, quad * lanes * QUAD + k % QUAD)
        };
        let window = |c| (0..taps_h).flat_map(move |y| (0..taps_w).map(move |x| (c, y, x)));
        let entries = (0..channels).flat_map(window).map(|(c, y, x)| entry(c, y, x));
        let layout = WeightLayout {
            entries: entries.collect(),
            depth: QUAD,
            bytes: self.taps.len() * tap_bytes * lanes,
            taps: self.taps.len(),
            arrange: self.kernel.arrange,
        };
        conv.scatter(weights, &layout)
    }
}
