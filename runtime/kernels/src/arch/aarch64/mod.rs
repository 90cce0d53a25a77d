//! The instruction sets of aarch64. Dot products and matrix multiplication share NEON's epilogue.

pub(crate) mod dotprod;
pub(crate) mod i8mm;
pub(crate) mod neon;
