//! Loops of `arch/generic`, which the compiler makes vectors of, with AVX-512.

use crate::arch::generic::depthwise;
use crate::arch::generic::matmul::MatMulRow;
use crate::gemm::tile::{MicroKernel, Tile};

pub(crate) const DEPTHWISE: MicroKernel = depthwise::kernel(depthwise_tile);

/// # Safety
/// See [`MicroKernel::tile`]; the CPU has AVX-512 F, BW and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn depthwise_tile(t: &Tile<'_>) {
    // SAFETY: `pixels` asks the same of the tile.
    unsafe { depthwise::pixels(t) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) fn matmul_row(row: &mut MatMulRow<'_>) {
    row.compute();
}
