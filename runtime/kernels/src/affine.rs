//! A factor and an addend for each channel: batch normalisation that follows no convolution, and normalisation by an
//! image's own mean and variance.

use crate::arch::generic::Loop;
#[cfg(target_arch = "x86_64")]
use crate::arch::x86_64::avx512::elementwise;
use crate::eltwise::Rows;
use crate::isa::Isa;
use crate::memory::{Pool, Scratch};
use crate::scalar::{affine_one, normalized};
use crate::spec::{SpecError, range, sizes};

/// `clamp(rte((x − x_zero)·factor[c] + addend[c]) + y_zero, lo, hi)`; see [`crate::scalar::affine_one`].
#[derive(Debug, Clone)]
pub struct Affine {
    isa: Isa,
    factor: Vec<f32>,
    addend: Vec<f32>,
    zeros: [u8; 2],
    clamp: [u8; 2],
}

/// Channels in groups, each brought to mean 0 and variance 1, then `gain` and `bias` of each channel. One group is layer
/// normalisation of an image, as many as channels are instance normalisation.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    isa: Isa,
    groups: usize,
    epsilon: f32,
    /// One entry per channel.
    gain: Vec<f32>,
    bias: Vec<f32>,
    /// Scales of input and output.
    scales: [f32; 2],
    zeros: [u8; 2],
    clamp: [u8; 2],
}

impl Affine {
    pub fn new(
        isa: Isa,
        factor: Vec<f32>,
        addend: Vec<f32>,
        zeros: [u8; 2],
        [lo, hi]: [u8; 2],
    ) -> Result<Self, SpecError> {
        sizes("channels", &[factor.len()])?;
        if addend.len() != factor.len() {
            let (found, expected) = (addend.len(), factor.len());
            return Err(SpecError::Length { what: "addends", found, expected });
        }
        let finite = |values: &[f32]| values.iter().position(|value| !value.is_finite());
        if let Some(channel) = finite(&factor).or_else(|| finite(&addend)) {
            return Err(SpecError::Number { what: "factor or addend", channel });
        }
        range(lo, hi)?;
        Ok(Self { isa, factor, addend, zeros, clamp: [lo, hi] })
    }

    pub fn run(&self, rows: &Rows, x: &[u8], y: &mut [u8], pool: &Pool) {
        let Self { isa, factor, addend, zeros, clamp } = self;
        run(*isa, [factor, addend], (*zeros, *clamp), rows, x, y, pool);
    }
}

impl GroupNorm {
    /// `gain` and `bias` have an entry per channel; `scales` and `zeros` are those of input and output.
    #[expect(clippy::too_many_arguments, reason = "one call, nothing to group")]
    pub fn new(
        isa: Isa,
        groups: usize,
        epsilon: f32,
        gain: Vec<f32>,
        bias: Vec<f32>,
        scales: [f32; 2],
        zeros: [u8; 2],
        [lo, hi]: [u8; 2],
    ) -> Result<Self, SpecError> {
        sizes("channels", &[gain.len(), groups])?;
        if bias.len() != gain.len() {
            let (found, expected) = (bias.len(), gain.len());
            return Err(SpecError::Length { what: "biases", found, expected });
        }
        if !gain.len().is_multiple_of(groups) {
            return Err(SpecError::Groups { groups, channels: gain.len() });
        }
        let bad = |values: &[f32]| values.iter().position(|value| !value.is_finite());
        if let Some(channel) = bad(&gain).or_else(|| bad(&bias)).or_else(|| bad(&scales)) {
            return Err(SpecError::Number { what: "gain, bias or scale", channel });
        }
        if !epsilon.is_finite() || epsilon <= 0.0 {
            return Err(SpecError::Number { what: "epsilon", channel: 0 });
        }
        range(lo, hi)?;
        Ok(Self { isa, groups, epsilon, gain, bias, scales, zeros, clamp: [lo, hi] })
    }

    /// Bytes that [`GroupNorm::run`] needs: sums in 32 and in 64 bits, factors and addends.
    pub fn scratch_bytes(&self) -> usize {
        self.gain.len() * 2 * (size_of::<i64>() + size_of::<i32>() + size_of::<f32>())
    }

    /// # Panics
    /// If `rows` has other channels, a slice is too short, or `scratch` smaller than [`Self::scratch_bytes`].
    pub fn run(&self, rows: &Rows, x: &[u8], y: &mut [u8], pool: &Pool, scratch: &mut Scratch) {
        let (channels, each) = (self.gain.len(), self.gain.len() / self.groups);
        assert_eq!(rows.channels, channels, "channels");
        let (sums, numbers) = scratch.numbers(2 * channels, 4 * channels);
        let (short, numbers) = numbers.split_at_mut(2 * channels);
        sums.fill(0);
        for first in (0..rows.pixels).step_by(SHORT_SUMS) {
            short.fill(0.0);
            let pixels = SHORT_SUMS.min(rows.pixels - first);
            let x = &x[first * rows.x_stride..];
            let rows = Rows { pixels, ..*rows };
            self.isa.vectorize(Moments { rows: &rows, x, zero: self.zeros[0], sums: short });
            let whole = short.iter().map(|sum| i64::from(sum.to_bits() as i32));
            sums.iter_mut().zip(whole).for_each(|(sum, part)| *sum += part);
        }
        let ((sums, squares), (factor, addend)) =
            (sums.split_at(channels), numbers.split_at_mut(channels));
        for group in 0..self.groups {
            let of_group = group * each..(group + 1) * each;
            let total = |sums: &[i64]| sums[of_group.clone()].iter().sum();
            let moments = (rows.pixels * each, total(sums), total(squares));
            for c in of_group.clone() {
                let parameters = [self.gain[c], self.bias[c]];
                [factor[c], addend[c]] = normalized(moments, self.epsilon, self.scales, parameters);
            }
        }
        run(self.isa, [factor, addend], (self.zeros, self.clamp), rows, x, y, pool);
    }
}

/// Squares of so many bytes have sums that 32 bits hold.
const SHORT_SUMS: usize = i32::MAX as usize / (255 * 255);

/// Adds up centred codes and their squares, each channel its own: `[sums, squares]`, whole numbers in the bits of floats.
struct Moments<'a> {
    rows: &'a Rows,
    x: &'a [u8],
    zero: u8,
    sums: &'a mut [f32],
}

impl Loop for Moments<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { rows, x, zero, sums } = self;
        let (sums, squares) = sums.split_at_mut(rows.channels);
        let add = |sum: &mut f32, more: i32| {
            *sum = f32::from_bits((sum.to_bits() as i32).wrapping_add(more) as u32);
        };
        for x in x.chunks(rows.x_stride).take(rows.pixels) {
            for ((x, sum), square) in x[..rows.channels].iter().zip(&mut *sums).zip(&mut *squares) {
                let x = i32::from(*x) - i32::from(zero);
                add(sum, x);
                add(square, x * x);
            }
        }
    }
}

fn run(
    isa: Isa,
    numbers: [&[f32]; 2],
    (zeros, clamp): ([u8; 2], [u8; 2]),
    rows: &Rows,
    x: &[u8],
    y: &mut [u8],
    pool: &Pool,
) {
    let x = &x[..rows.bytes(rows.x_stride)];
    let y = &mut y[..rows.bytes(rows.y_stride)];
    assert!(numbers.iter().all(|numbers| numbers.len() == rows.channels), "channels");
    pool.split_rows(y, rows.pixels, rows.y_stride, |pixels, y| {
        let rows = Rows { pixels: pixels.len(), ..*rows };
        let x = &x[pixels.start * rows.x_stride..];
        isa.vectorize(Pixels { rows, numbers, zeros, clamp, x, y });
    });
}

struct Pixels<'a> {
    rows: Rows,
    numbers: [&'a [f32]; 2],
    zeros: [u8; 2],
    clamp: [u8; 2],
    x: &'a [u8],
    y: &'a mut [u8],
}

impl Loop for Pixels<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { rows, numbers: [factor, addend], zeros: [x_zero, y_zero], clamp, x, y } = self;
        let of =
            |x: u8, factor: f32, addend: f32| affine_one(x, x_zero, factor, addend, y_zero, clamp);
        let (factor, factor_rest) = factor.as_chunks::<16>();
        let (addend, addend_rest) = addend.as_chunks::<16>();
        for (x, y) in x.chunks(rows.x_stride).zip(y.chunks_mut(rows.y_stride)) {
            let (x, x_rest) = x[..rows.channels].as_chunks::<16>();
            let (y, y_rest) = y[..rows.channels].as_chunks_mut::<16>();
            for (((y, x), factor), addend) in y.iter_mut().zip(x).zip(factor).zip(addend) {
                let (x, mut q) = (*x, [0; 16]);
                for i in 0..16 {
                    q[i] = of(x[i], factor[i], addend[i]);
                }
                *y = q;
            }
            let rest = y_rest.iter_mut().zip(x_rest).zip(factor_rest).zip(addend_rest);
            rest.for_each(|(((y, x), factor), addend)| *y = of(*x, *factor, *addend));
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn run_avx512(self) {
        let Self { rows, numbers, zeros, clamp, x, y } = self;
        for (x, y) in x.chunks(rows.x_stride).zip(y.chunks_mut(rows.y_stride)) {
            let (x, y) = (&x[..rows.channels], &mut y[..rows.channels]);
            // SAFETY: the caller vouches for the CPU.
            unsafe { elementwise::affine(x, numbers, zeros, clamp, y) };
        }
    }
}
