//! Layer normalisation of rows of bytes: exact integer sums, then one order of f32 operations.

use crate::isa::Isa;
use crate::memory::Pool;
use crate::scalar::requantize;
use crate::spec::{SpecError, range, ratio, sizes};

/// Each row brought to mean 0 and variance 1, then a gain and a bias a column; see [`crate::scalar::layer_norm`].
#[derive(Debug, Clone)]
pub struct LayerNorm {
    spec: LayerNormSpec,
    row: unsafe fn(&LayerNormSpec, &[u8], &mut [u8]),
}

/// What a row becomes. Gain and bias are divided by the scale of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormSpec {
    pub gain: Vec<f32>,
    pub bias: Vec<f32>,
    /// `epsilon · n² / s_x²` for rows of `n` values.
    pub epsilon: f64,
    pub y_zero: u8,
    pub clamp: [u8; 2],
}

impl LayerNorm {
    pub fn new(isa: Isa, spec: LayerNormSpec) -> Result<Self, SpecError> {
        let columns = spec.gain.len();
        sizes("layer norm", &[columns])?;
        if spec.bias.len() != columns {
            let (found, expected) = (spec.bias.len(), columns);
            return Err(SpecError::Length { what: "biases", found, expected });
        }
        range(spec.clamp[0], spec.clamp[1])?;
        for (channel, (gain, bias)) in spec.gain.iter().zip(&spec.bias).enumerate() {
            ratio("gain", channel, gain.abs())?;
            ratio("bias", channel, bias.abs())?;
        }
        if !spec.epsilon.is_finite() || spec.epsilon < 0.0 {
            return Err(SpecError::Scale { what: "epsilon", channel: 0 });
        }
        Ok(Self { spec, row: isa.row_kernels().layer_norm })
    }

    /// Every row of `x`.
    ///
    /// # Panics
    /// If the slices differ in length or hold no whole rows.
    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool) {
        let columns = self.spec.gain.len();
        assert!(x.len() == y.len() && x.len().is_multiple_of(columns), "{} {}", x.len(), y.len());
        pool.split_rows(y, x.len() / columns, columns, |rows, y| {
            let x = &x[rows.start * columns..rows.end * columns];
            for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
                // SAFETY: the function came from an `Isa`, which proves the CPU has it, and asks for nothing else.
                unsafe { (self.row)(&self.spec, x, y) };
            }
        });
    }
}

/// One row.
#[inline(always)]
pub(crate) fn row(spec: &LayerNormSpec, x: &[u8], y: &mut [u8]) {
    let (mut sum, mut squares) = (0_i64, 0_i64);
    for x in x.chunks(PIECE) {
        sum += i64::from(x.iter().map(|&q| i32::from(q)).sum::<i32>());
        squares += i64::from(x.iter().map(|&q| i32::from(q) * i32::from(q)).sum::<i32>());
    }
    let spread = spread(spec.epsilon, x.len(), sum, squares);
    let (n, sum) = (x.len() as i32, sum as i32); // at most 2^16 values, so all below fits 32 bits
    for (((y, q), gain), bias) in y.iter_mut().zip(x).zip(&spec.gain).zip(&spec.bias) {
        let centred = (n * i32::from(*q) - sum) as f32;
        *y = requantize(centred * spread * gain + bias, spec.y_zero, spec.clamp[0], spec.clamp[1]);
    }
}

/// Values whose squares' sum fits 32 bits.
const PIECE: usize = 1 << 14;

/// `1 / √(n·Σq² − (Σq)² + epsilon)`
fn spread(epsilon: f64, n: usize, sum: i64, squares: i64) -> f32 {
    let variance = n as i64 * squares - sum * sum;
    (1.0 / (variance as f64 + epsilon).sqrt()) as f32
}
