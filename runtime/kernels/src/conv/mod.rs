//! Convolutions: weights packed at load, and the loops around a kernel's tile. The same for every instruction set.

mod cuts;
mod grid;
mod output;
mod pack;
mod plan;
mod rows;
mod run;
mod winograd;

use crate::buffer::Buffer;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::pool::Pool;
use crate::spec::{ConvSpec, ConvWeights, Residual, SpecError, absolute_sum};
use crate::tile::{Kernel, Requant};
use crate::winograd::Winograd as Steps;
use grid::Grid;
use output::Target;
use plan::Plan;
use winograd::Winograd;

/// A convolution ready to run on one instruction set.
#[derive(Debug)]
pub struct Conv {
    spec: ConvSpec,
    kernel: &'static Kernel,
    plan: Plan,
    /// Set where the convolution runs as Winograd's; then weights, biases and scales are those of that form.
    winograd: Option<Winograd>,
    /// Set where it runs as products of matrices; then the weights are those of that form.
    grid: Option<Grid>,
    /// As the kernel wants them, block behind block.
    weights: Buffer,
    /// Where each block's weights begin, and where the last one's end.
    starts: Vec<usize>,
    /// `[block][kernel.channels]`, zero points folded in
    bias: Vec<i32>,
    /// `[block][kernel.channels]`
    scale: Vec<f32>,
    x_zero: u8,
    requant: Requant,
    residual: Option<Residual>,
    /// Some result before rounding may not fit an `i32`, where vector conversions and the definition differ.
    unbounded: bool,
    /// The row that a tap on padding reads.
    padding: Buffer,
}

/// Memory that operations work in. One serves any number of them, one after the other.
#[derive(Debug)]
pub struct Scratch(Buffer);

impl Scratch {
    pub fn with_bytes(bytes: usize) -> Self {
        Self(Buffer::zeroed(bytes))
    }

    /// The first `count` bytes, with whatever is in them.
    pub(crate) fn bytes(&mut self, count: usize) -> &mut [u8] {
        &mut self.0[..count]
    }
}

impl Conv {
    /// Checks shapes and lays the weights out for `isa`.
    pub fn pack(
        isa: Isa,
        spec: &ConvSpec,
        weights: ConvWeights<'_>,
        residual: Option<Residual>,
    ) -> Result<Self, SpecError> {
        let forms = (isa.matrices(), isa.winograd().first());
        Self::pack_with(isa, forms, spec, weights, residual)
    }

    fn pack_with(
        isa: Isa,
        (matrices, steps): (&'static [Matrix], Option<&'static Steps>),
        spec: &ConvSpec,
        weights: ConvWeights<'_>,
        residual: Option<Residual>,
    ) -> Result<Self, SpecError> {
        spec.check()?;
        weights.check(spec)?;
        residual.iter().try_for_each(|r| r.check(spec))?;
        let unbounded = unbounded(spec, &weights, residual.as_ref());
        let grid = matrices.iter().find_map(|matrix| Grid::of(matrix, spec)).filter(|_| !unbounded);
        let steps = steps.filter(|_| grid.is_none() && !unbounded);
        let winograd = steps.and_then(|steps| Winograd::of(steps, spec, &weights));
        let kernel = winograd
            .as_ref()
            .map_or_else(|| isa.kernel_for(spec, weights.weight), Winograd::product);
        let plan = Plan::new(spec, kernel);
        let mut packed = Self {
            kernel,
            x_zero: weights.x_zero,
            requant: Requant { zero: weights.y_zero, lo: weights.lo, hi: weights.hi },
            residual,
            unbounded,
            padding: Buffer::zeroed(plan.run),
            weights: Buffer::zeroed(0),
            starts: Vec::new(),
            bias: Vec::new(),
            scale: Vec::new(),
            spec: spec.clone(),
            plan,
            winograd,
            grid,
        };
        (packed.weights, packed.starts) = match (&packed.winograd, &packed.grid) {
            (Some(winograd), _) => packed.winograd_weights(winograd, &weights),
            (_, Some(grid)) => packed.grid_weights(grid, &weights),
            _ if kernel.depthwise => packed.depthwise_weights(&weights),
            _ => packed.tile_weights(&weights),
        };
        packed.pack_channels(&weights);
        packed.fill_padding();
        Ok(packed)
    }

    pub fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    pub fn macs(&self) -> u64 {
        self.spec.macs()
    }

    /// Bytes that stay resident: packed weights and per-channel parameters.
    pub fn packed_bytes(&self) -> usize {
        self.weights.len() + self.padding.len() + self.bias.len() * 8
    }

    /// Bytes that [`Conv::run`] needs in its [`Scratch`] with a pool of `threads`.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        self.input_scratch() + threads * self.thread_scratch()
    }

    /// `x` → `y`, adding `r` if the convolution was packed with a [`Residual`].
    ///
    /// # Panics
    /// If a slice is too short (`x` needs [`SLACK`](crate::SLACK)), `scratch` is smaller than [`Conv::scratch_bytes`], or `r` is given
    /// without a packed residual or the other way round.
    pub fn run(
        &self,
        x: &[u8],
        r: Option<&[u8]>,
        y: &mut [u8],
        pool: &Pool,
        scratch: &mut Scratch,
    ) {
        let expected = (self.spec.out_pixels() - 1) * self.spec.out_stride + self.spec.out_channels;
        assert!(y.len() >= expected, "output of {} bytes, expected {expected}", y.len());
        let residual = match (&self.residual, r) {
            (None, None) => None,
            (Some(add), Some(r)) => {
                let expected = (self.spec.out_pixels() - 1) * add.stride + self.spec.out_channels;
                assert!(r.len() >= expected, "residual of {} bytes, expected {expected}", r.len());
                Some((r.as_ptr(), add))
            }
            (None, Some(_)) => {
                panic!("a residual is given, but the convolution was packed without one")
            }
            (Some(_), None) => {
                panic!("the convolution was packed with a residual, but none is given")
            }
        };
        self.drive(x, Target::Bytes { y: y.as_mut_ptr(), residual }, pool, scratch);
    }

    /// `x` → `y = sum · scale`, not requantized and channel by channel: `[out_channels, pixels]`.
    ///
    /// # Panics
    /// As [`Conv::run`], and if the convolution was packed with a residual.
    pub fn run_f32(&self, x: &[u8], y: &mut [f32], pool: &Pool, scratch: &mut Scratch) {
        let expected = self.spec.out_channels * self.spec.out_pixels();
        assert!(y.len() >= expected, "output of {} floats, expected {expected}", y.len());
        assert!(self.residual.is_none(), "a residual needs requantization");
        self.drive(x, Target::Floats(y.as_mut_ptr()), pool, scratch);
    }
}

/// Whether some `sum · scale` could exceed 2^30, or that of an addition.
fn unbounded(spec: &ConvSpec, weights: &ConvWeights<'_>, residual: Option<&Residual>) -> bool {
    if residual.is_some_and(|add| 255.0 * (add.conv_ratio + add.ratio) > (1 << 30) as f32) {
        return true;
    }
    let per_channel = weights.weight.len() / spec.out_channels;
    weights.weight.chunks_exact(per_channel).zip(weights.bias).zip(weights.scale).any(
        |((w, bias), scale)| {
            let sum = (absolute_sum(w) * 255) as f64;
            (sum + f64::from(bias.unsigned_abs())) * f64::from(*scale) > f64::from(1 << 30)
        },
    )
}
