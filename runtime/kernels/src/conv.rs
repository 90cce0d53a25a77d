//! Convolutions: weights packed at load in the form that suits them best.
//!
//! ```text
//! Form::Indirect   rows of a tile through pointers: any convolution           gemm/run.rs
//! Form::Implicit   rows at equal distances, epilogue overlapped               gemm/implicit/
//! Form::Winograd   3x3 windows with fewer multiplications                     winograd/
//! ```

use crate::gemm::implicit::ImplicitGemm;
use crate::gemm::packed::PackedConv;
use crate::gemm::plan::{TapSource, TilePlan};
use crate::gemm::run::{ConvRun, FloatOrder, OutputTarget};
use crate::gemm::split::WorkSplit;
use crate::gemm::strided::StridedKernel;
use crate::gemm::tile::Requant;
use crate::isa::Isa;
use crate::memory::{Buffer, Pool, SLACK, Scratch};
use crate::spec::{ConvSpec, ConvWeights, Residual, SpecError, absolute_sum};
use crate::winograd::plan::WinogradPlan;
use crate::winograd::{CENTRE_FACTOR, WinogradKernels};

/// A convolution ready to run on one instruction set.
#[derive(Debug)]
pub struct Conv {
    packed: PackedConv,
    pub(crate) form: Form,
}

/// How the products are made. Weights, biases and scales are packed for it.
#[derive(Debug)]
pub(crate) enum Form {
    Indirect,
    Implicit(ImplicitGemm),
    Winograd(WinogradPlan),
}

impl Conv {
    /// Checks shapes and lays the weights out for `isa`.
    pub fn pack(
        isa: Isa,
        spec: &ConvSpec,
        weights: ConvWeights<'_>,
        residual: Option<Residual>,
    ) -> Result<Self, SpecError> {
        let forms = (isa.strided(), isa.winograd().first());
        Self::pack_with(isa, forms, spec, weights, residual)
    }

    pub(crate) fn pack_with(
        isa: Isa,
        (strided, winograd): (&'static [StridedKernel], Option<&'static WinogradKernels>),
        spec: &ConvSpec,
        weights: ConvWeights<'_>,
        residual: Option<Residual>,
    ) -> Result<Self, SpecError> {
        spec.check()?;
        weights.check(spec)?;
        residual.iter().try_for_each(|r| r.check(spec))?;
        let unbounded = unbounded(spec, &weights, residual.as_ref());
        let implicit = strided.iter().find_map(|kernel| ImplicitGemm::of(kernel, spec));
        let winograd = || winograd.and_then(|kernels| WinogradPlan::of(kernels, spec, &weights));
        let form = match implicit {
            _ if unbounded => Form::Indirect,
            Some(implicit) => Form::Implicit(implicit),
            None => winograd().map_or(Form::Indirect, Form::Winograd),
        };
        let kernel = match &form {
            Form::Winograd(winograd) => winograd.product(),
            _ => isa.kernel_for(spec, weights.weight),
        };
        let plan = TilePlan::new(spec, kernel);
        let mut padding = Buffer::zeroed(plan.run);
        kernel.activations.fill(weights.x_zero, &mut padding);
        let mut packed = PackedConv {
            kernel,
            x_zero: weights.x_zero,
            requant: Requant { zero: weights.y_zero, lo: weights.lo, hi: weights.hi },
            residual,
            unbounded,
            padding,
            weights: Buffer::zeroed(0),
            starts: Vec::new(),
            bias: Vec::new(),
            scale: Vec::new(),
            spec: spec.clone(),
            plan,
        };
        (packed.weights, packed.starts) = match &form {
            Form::Winograd(winograd) => winograd.pack(&packed, &weights),
            Form::Implicit(implicit) => implicit.pack(&packed, &weights),
            Form::Indirect => match kernel.depthwise {
                Some(form) => packed.depthwise_weights(&weights, form),
                None => packed.tile_weights(&weights),
            },
        };
        let factor = if matches!(form, Form::Winograd(_)) { CENTRE_FACTOR } else { 1 };
        packed.pack_channels(&weights, factor);
        Ok(Self { packed, form })
    }

    pub fn spec(&self) -> &ConvSpec {
        &self.packed.spec
    }

    pub fn macs(&self) -> u64 {
        self.packed.spec.macs()
    }

    /// Bytes that stay resident: packed weights and per-channel parameters.
    pub fn packed_bytes(&self) -> usize {
        let PackedConv { weights, padding, bias, .. } = &self.packed;
        weights.len() + padding.len() + bias.len() * 8
    }

    /// Bytes that [`Conv::run`] needs in its [`Scratch`] with a pool of `threads`.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        let of_thread = match &self.form {
            Form::Indirect => self.packed.thread_scratch(),
            Form::Implicit(implicit) => implicit.thread_scratch(),
            Form::Winograd(winograd) => winograd.thread_scratch(),
        };
        self.copied_bytes() + threads * of_thread
    }

    /// Bytes of the copy of the input that the form asks for.
    fn copied_bytes(&self) -> usize {
        match &self.form {
            Form::Indirect => self.packed.copied_bytes(),
            Form::Implicit(implicit) => implicit.copied_bytes(&self.packed.spec),
            Form::Winograd(_) => 0,
        }
    }

    /// `x` → `y`, adding `r` if the convolution was packed with a [`Residual`].
    ///
    /// # Panics
    /// If a slice is too short (`x` needs [`SLACK`]), `scratch` is smaller than
    /// [`Conv::scratch_bytes`], or `r` is given without a packed residual or the other way round.
    pub fn run(
        &self,
        x: &[u8],
        r: Option<&[u8]>,
        y: &mut [u8],
        pool: &Pool,
        scratch: &mut Scratch,
    ) {
        self.run_in(x, r, y, pool, &mut scratch.0);
    }

    /// As [`Conv::run`], in memory that begins at a multiple of 64.
    pub(crate) fn run_in(
        &self,
        x: &[u8],
        r: Option<&[u8]>,
        y: &mut [u8],
        pool: &Pool,
        scratch: &mut [u8],
    ) {
        self.check_output(y.len());
        let residual = match (&self.packed.residual, r) {
            (None, None) => None,
            (Some(add), Some(r)) => {
                let expected = (self.spec().out_pixels() - 1) * add.stride;
                let expected = expected + self.spec().out_channels;
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
        self.drive(x, OutputTarget::Bytes { y: y.as_mut_ptr(), residual }, pool, scratch);
    }

    /// As [`Conv::run`], where `y` holds the residual: each byte is read before its result is written over it, so
    /// that one tensor less competes for the cache.
    ///
    /// # Panics
    /// As [`Conv::run`], and if the residual's pixels are not as far apart as the result's.
    pub fn run_in_place(&self, x: &[u8], y: &mut [u8], pool: &Pool, scratch: &mut Scratch) {
        self.check_output(y.len());
        let add = self.packed.residual.as_ref();
        let add = add.expect("the convolution was packed without a residual");
        let strides = (add.stride, self.spec().out_stride);
        assert!(strides.0 == strides.1, "strides of residual and result: {strides:?}");
        let y = y.as_mut_ptr();
        let target = OutputTarget::Bytes { y, residual: Some((y.cast_const(), add)) };
        self.drive(x, target, pool, &mut scratch.0);
    }

    fn check_output(&self, found: usize) {
        let spec = &self.packed.spec;
        let expected = (spec.out_pixels() - 1) * spec.out_stride + spec.out_channels;
        assert!(found >= expected, "output of {found} bytes, expected {expected}");
    }

    /// `x` → `y = sum · scale`, not requantized and channel by channel: `[out_channels, pixels]`.
    ///
    /// # Panics
    /// As [`Conv::run`], and if the convolution was packed with a residual.
    pub fn run_f32(&self, x: &[u8], y: &mut [f32], pool: &Pool, scratch: &mut Scratch) {
        self.drive_f32(x, y, FloatOrder::ByChannel, pool, scratch);
    }

    /// As [`Conv::run_f32`], pixel by pixel: `[pixels, out_channels]`.
    ///
    /// # Panics
    /// As [`Conv::run_f32`].
    pub fn run_f32_by_pixel(&self, x: &[u8], y: &mut [f32], pool: &Pool, scratch: &mut Scratch) {
        self.drive_f32(x, y, FloatOrder::ByPixel, pool, scratch);
    }

    fn drive_f32(
        &self,
        x: &[u8],
        y: &mut [f32],
        order: FloatOrder,
        pool: &Pool,
        scratch: &mut Scratch,
    ) {
        let expected = self.packed.spec.out_channels * self.packed.spec.out_pixels();
        assert!(y.len() >= expected, "output of {} floats, expected {expected}", y.len());
        assert!(self.packed.residual.is_none(), "a residual needs requantization");
        self.drive(x, OutputTarget::Floats { y: y.as_mut_ptr(), order }, pool, &mut scratch.0);
    }

    fn drive(&self, x: &[u8], target: OutputTarget<'_>, pool: &Pool, scratch: &mut [u8]) {
        let (conv, spec) = (&self.packed, &self.packed.spec);
        let needed = (spec.in_h * spec.in_w - 1) * spec.in_stride + spec.in_channels + SLACK;
        assert!(x.len() >= needed, "input of {} bytes, expected {needed} with slack", x.len());
        let needed = self.scratch_bytes(pool.threads());
        let found = scratch.len();
        assert!(found >= needed, "scratch of {found} bytes, expected {needed}");
        let (copy, threads) = scratch.split_at_mut(self.copied_bytes());
        let copied = !copy.is_empty();
        match &self.form {
            Form::Implicit(implicit) => implicit.copy_input(conv, x, copy, pool),
            Form::Indirect if copied => conv.copy_input(x, copy, pool),
            Form::Indirect | Form::Winograd(_) => {}
        }
        let run = ConvRun {
            conv,
            x: if copied { copy.as_ptr() } else { x.as_ptr() },
            pitch: if matches!(self.form, Form::Winograd(_)) {
                spec.in_stride
            } else {
                conv.plan.pitch
            },
            padded: conv.plan.input == TapSource::Rows,
            target,
            threads: threads.as_mut_ptr(),
        };
        let (weights, input) = (conv.weights.len(), x.len());
        let (blocks, threads) = (conv.plan.blocks.len(), pool.threads());
        let split = |tiles: usize| WorkSplit::new(tiles, blocks, weights, input, threads);
        match &self.form {
            Form::Indirect => split(conv.plan.tiles).run(pool, |thread, tiles, blocks| {
                run.part(thread, tiles, blocks);
            }),
            Form::Implicit(implicit) => {
                split(implicit.tiles()).run(pool, |thread, tiles, blocks| {
                    implicit.part(&run, thread, tiles, blocks);
                });
            }
            Form::Winograd(winograd) => {
                let split = split(winograd.strips()).coarse(threads);
                split.run(pool, |thread, strips, blocks| {
                    winograd.part(&run, thread, strips, blocks);
                });
            }
        }
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
