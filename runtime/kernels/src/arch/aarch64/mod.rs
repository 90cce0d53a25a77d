//! The instruction sets of aarch64. Dot products and matrix multiplication share NEON's epilogue.

#![expect(
    clippy::needless_range_loop,
    reason = "adaptors of iterators are calls in functions with features of their own"
)]

pub(crate) mod dotprod;
pub(crate) mod i8mm;
pub(crate) mod neon;
