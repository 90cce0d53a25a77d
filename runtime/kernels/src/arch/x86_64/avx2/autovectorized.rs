//! Loops of `arch/generic`, which the compiler makes vectors of, with AVX2.

use crate::arch::generic::Loop;
use crate::arch::generic::rows::{RowKernels, ShareQuant, normalised, requantized, shared};
use crate::matrices::LayerNormSpec;

pub(crate) const ROWS: RowKernels =
    RowKernels { requantize: requantize_row, share: share_row, layer_norm: layer_norm_row };

#[target_feature(enable = "avx2")]
fn requantize_row(sums: &[i32], ratio: f32, zero: u8, y: &mut [u8]) {
    requantized(sums, ratio, zero, y);
}

#[target_feature(enable = "avx2")]
fn share_row(e: &[u32], total: f32, quant: ShareQuant, y: &mut [u8]) {
    shared(e, total, quant, y);
}

#[target_feature(enable = "avx2")]
fn layer_norm_row(spec: &LayerNormSpec, x: &[u8], y: &mut [u8]) {
    normalised(spec, x, y);
}

#[target_feature(enable = "avx2")]
pub(crate) fn run<L: Loop>(body: L) {
    body.run();
}
