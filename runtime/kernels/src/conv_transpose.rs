//! Transposed convolutions, as convolutions: one for each place an output pixel has among the steps of the stride.
//!
//! ```text
//! stride 2, one axis      outputs 0 1 2 3 4 5 …        each is a convolution of the input with stride 1, whose
//!                         phase   0 1 0 1 0 1 …        weights are every second one, last first
//! ```

use crate::conv::Conv;
use crate::isa::Isa;
use crate::memory::{Pool, SLACK, Scratch};
use crate::spec::{ConvSpec, ConvTransposeSpec, ConvWeights, SpecError};

/// A transposed convolution ready to run on one instruction set; see [`crate::scalar::conv_transpose`].
#[derive(Debug)]
pub struct ConvTranspose {
    spec: ConvTransposeSpec,
    phases: Vec<Phase>,
}

/// A convolution and where its results go.
#[derive(Debug)]
struct Phase {
    conv: Conv,
    axes: [Axis; 2],
}

/// One axis of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Axis {
    /// Taps of the transposed kernel, in the order of the convolution's; `None` multiplies by 0.
    taps: Vec<Option<usize>>,
    /// Padding of the convolution.
    before: usize,
    after: usize,
    /// Results that come before the first that is wanted.
    skip: usize,
    /// The first output, and how many follow in steps of the stride.
    first: usize,
    count: usize,
}

impl ConvTranspose {
    /// Checks shapes and lays the weights out for `isa`. Weights are `[out, in / groups, height, width]`.
    pub fn pack(
        isa: Isa,
        spec: &ConvTransposeSpec,
        weights: ConvWeights<'_>,
    ) -> Result<Self, SpecError> {
        spec.check()?;
        let mut phases = Vec::new();
        for row in 0..spec.stride[0] {
            for column in 0..spec.stride[1] {
                let (Some(rows), Some(columns)) = (axis(spec, 0, row), axis(spec, 1, column))
                else {
                    continue; // fewer outputs than steps of the stride
                };
                phases.push(Phase::pack(isa, spec, [rows, columns], &weights)?);
            }
        }
        Ok(Self { spec: spec.clone(), phases })
    }

    pub fn packed_bytes(&self) -> usize {
        self.phases.iter().map(|phase| phase.conv.packed_bytes()).sum()
    }

    /// Bytes that [`ConvTranspose::run`] needs in its [`Scratch`] with a pool of `threads`.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        let of_conv = self.phases.iter().map(|phase| phase.conv.scratch_bytes(threads)).max();
        self.result_bytes() + of_conv.unwrap_or(0)
    }

    /// Bytes of the largest result of a phase.
    fn result_bytes(&self) -> usize {
        let of = |phase: &Phase| phase.conv.spec().out_pixels() * self.spec.out_channels;
        let most = self.phases.iter().map(of).max().unwrap_or(0);
        (most + SLACK).next_multiple_of(64)
    }

    /// # Panics
    /// If a slice is too short (`x` needs [`SLACK`]) or `scratch` is smaller than [`ConvTranspose::scratch_bytes`].
    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool, scratch: &mut Scratch) {
        let ConvTransposeSpec { output: [out_h, out_w], out_stride, out_channels, .. } = self.spec;
        let y = &mut y[..(out_h * out_w - 1) * out_stride + out_channels];
        let (result, scratch) = scratch.split_at(self.result_bytes());
        for Phase { conv, axes: [rows, columns] } in &self.phases {
            conv.run_in(x, None, result, pool, scratch);
            let (result, width) = (&*result, conv.spec().out_w());
            pool.split_rows(y, out_h, out_w * out_stride, |part, y| {
                for (row, y) in part.zip(y.chunks_mut(out_w * out_stride)) {
                    let Some(from) = row.checked_sub(rows.first) else { continue };
                    if !from.is_multiple_of(self.spec.stride[0]) {
                        continue;
                    }
                    let from = (from / self.spec.stride[0] + rows.skip) * width + columns.skip;
                    let x = result[from * out_channels..].chunks_exact(out_channels);
                    let y = y.chunks_mut(out_stride).skip(columns.first);
                    let y = y.step_by(self.spec.stride[1]).take(columns.count);
                    y.zip(x).for_each(|(y, x)| y[..out_channels].copy_from_slice(x));
                }
            });
        }
    }
}

impl Phase {
    fn pack(
        isa: Isa,
        spec: &ConvTransposeSpec,
        axes: [Axis; 2],
        weights: &ConvWeights<'_>,
    ) -> Result<Self, SpecError> {
        let [rows, columns] = &axes;
        let [kernel_h, kernel_w] = spec.kernel;
        let matrices = weights.weight.chunks(kernel_h * kernel_w);
        let weight: Vec<i8> = matrices
            .flat_map(|of| {
                rows.taps.iter().flat_map(move |row| {
                    columns.taps.iter().map(move |column| match (row, column) {
                        (Some(row), Some(column)) => of[row * kernel_w + column],
                        _ => 0,
                    })
                })
            })
            .collect();
        let conv = ConvSpec {
            in_channels: spec.in_channels,
            out_channels: spec.out_channels,
            groups: spec.groups,
            kernel: [rows.taps.len(), columns.taps.len()],
            stride: [1, 1],
            padding: [rows.before, columns.before, rows.after, columns.after],
            dilation: [1, 1],
            in_h: spec.input[0],
            in_w: spec.input[1],
            in_stride: spec.in_stride,
            out_stride: spec.out_channels,
        };
        let conv = Conv::pack(isa, &conv, ConvWeights { weight: &weight, ..*weights }, None)?;
        Ok(Self { conv, axes })
    }
}

/// The outputs of an axis whose distance from the kernel's origin has this remainder by the stride; `None` if there are
/// none.
fn axis(spec: &ConvTransposeSpec, axis: usize, remainder: usize) -> Option<Axis> {
    let (stride, dilation, pad) = (spec.stride[axis], spec.dilation[axis], spec.padding[axis]);
    let (input, output) = (spec.input[axis], spec.output[axis]);
    let first = (remainder + stride - pad % stride) % stride;
    let count = output.checked_sub(first)?.div_ceil(stride);
    if count == 0 {
        return None;
    }
    // Output `first + stride · i` reads input `origin + i − back` under the tap that lies `back` steps back.
    let origin = (first + pad) / stride;
    let hits = |tap: &usize| (tap * dilation) % stride == remainder;
    let back: Vec<(usize, usize)> =
        (0..spec.kernel[axis]).filter(hits).map(|tap| (tap * dilation / stride, tap)).collect();
    let (nearest, furthest) = match back[..] {
        [] => (0, 0),
        [(first, _), ..] => (first, back[back.len() - 1].0),
    };
    let at = |back_by: usize| back.iter().find(|(by, _)| *by == back_by).map(|(_, tap)| *tap);
    let taps: Vec<Option<usize>> = (nearest..=furthest).rev().map(at).collect();
    // As many results as are wanted, and those that come before them for want of negative padding.
    let (before, skip) = (furthest.saturating_sub(origin), origin.saturating_sub(furthest));
    let needed = skip + count + taps.len() - 1;
    let after = needed.saturating_sub(before + input);
    Some(Axis { taps, before, after, skip, first, count })
}
