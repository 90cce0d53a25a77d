//! Loops over rows of sums and of bytes, in plain Rust: compiled once per vector width.

use crate::matrices::LayerNormSpec;
use crate::scalar::requantize;

/// Loops over a row, compiled once per vector width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowKernels {
    pub(crate) requantize: unsafe fn(&[i32], f32, u8, &mut [u8]),
    pub(crate) share: unsafe fn(&[u32], f32, ShareQuant, &mut [u8]),
    pub(crate) layer_norm: unsafe fn(&LayerNormSpec, &[u8], &mut [u8]),
}

/// How shares become bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShareQuant {
    pub(crate) scale: f32,
    pub(crate) zero: u8,
}

/// `rte(sum · ratio) + zero`
#[inline(always)]
pub(crate) fn requantized(sums: &[i32], ratio: f32, zero: u8, y: &mut [u8]) {
    for (y, sum) in y.iter_mut().zip(sums) {
        *y = requantize(*sum as f32 * ratio, zero, 0, 255);
    }
}

/// `rte(e / total / scale) + zero`; no `e` is above 2^30.
#[inline(always)]
pub(crate) fn shared(e: &[u32], total: f32, quant: ShareQuant, y: &mut [u8]) {
    for (y, e) in y.iter_mut().zip(e) {
        *y = requantize(*e as i32 as f32 / total / quant.scale, quant.zero, 0, 255);
    }
}

/// One row of a layer normalisation.
#[inline(always)]
pub(crate) fn normalised(spec: &LayerNormSpec, x: &[u8], y: &mut [u8]) {
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
