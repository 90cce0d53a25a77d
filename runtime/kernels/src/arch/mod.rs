//! What each instruction set brings. Only `isa.rs` chooses among them.
//!
//! ```text
//! generic/              plain Rust for any CPU: the tile of `scalar`, and loops that compilers make vectors of
//! x86_64/   avx2/       vpmaddubsw           aarch64/  neon/      smull, smlal, sadalp
//!           avxvnni     vpdpbusd, 256 bits             dotprod    sdot
//!           avx512/     vpdpbusd, 512 bits             i8mm       usmmla
//!           amx         tdpbusd
//! ```
//!
//! In each folder: `gemm` is the micro-kernel, `epilogue` brings its sums to bytes, `overlapped` does both at once,
//! `winograd` is the 3x3 form, `autovectorized` compiles loops of `generic` for the set.

#[cfg(target_arch = "aarch64")]
pub(crate) mod aarch64;
pub(crate) mod generic;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;
