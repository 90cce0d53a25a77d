//! Convolutions as matrix products (GEMM): what the micro-kernels of an instruction set promise, how weights
//! are packed for them, and the loops around them.
//!
//! ```text
//! tile.rs         a micro-kernel's contract, rows through pointers: any convolution   (indirect GEMM)
//! strided.rs      the same, rows at equal distances, epilogue overlapped              AMX, pointwise layers
//! packed.rs       a convolution packed for one of them
//!   plan.rs         taps, steps, blocks, tiles        pack.rs       weights in the order a micro-kernel reads them
//! run.rs          one run of it
//!   tiles.rs        the loops around a tile           indirection.rs  pointers to a tile's rows
//!   epilogue.rs     from sums to outputs              split.rs        which thread does which part
//! implicit/       implicit GEMM: which input makes rows lie at equal distances, and the loops around that
//! interleave.rs   bytes of two rows in turn
//! ```

mod epilogue;
pub(crate) mod implicit;
mod indirection;
pub(crate) mod interleave;
pub(crate) mod pack;
pub(crate) mod packed;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod split;
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "only x86-64 has sets that gain by it")
)]
pub(crate) mod strided;
pub(crate) mod tile;
mod tiles;
