//! The instruction sets of x86-64. Each uses what the ones above it have.

pub(crate) mod avx2;
pub(crate) mod avxvnni;

pub(crate) mod avx512;

pub(crate) mod amx;

mod overlapped;
