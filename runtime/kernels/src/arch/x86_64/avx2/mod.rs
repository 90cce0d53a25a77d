//! AVX2: `vpmaddubsw` on bytes, two products added in 16 bits where they cannot overflow, then `vpmaddwd` and
//! `vpaddd`.
//!
//! `safe_pairs.rs` brings the weights into an order in which nothing overflows; `shuffled_steps.rs` brings
//! the activations into the same. AVX-VNNI shares the tile's size and the epilogue.

pub(crate) mod autovectorized;
pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod gemm;
pub(crate) mod lookup;
pub(crate) mod overlapped;
pub(crate) mod overlapped_epilogue;
mod safe_pairs;
mod shuffled_steps;
pub(crate) mod winograd;

/// Pixels of a tile.
pub(crate) const PIXELS: usize = 6;
/// Channels of a tile.
pub(crate) const CHANNELS: usize = 16;
/// Input channels of a step.
const DEPTH: usize = 4;
