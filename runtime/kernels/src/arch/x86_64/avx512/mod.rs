//! AVX-512-VNNI: `vpdpbusd` on 512 bits, 64 multiplications an instruction, two instructions a cycle at best.
//! AMX shares the layout of weights and the epilogue.

pub(crate) mod autovectorized;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod epilogue;
pub(crate) mod gemm;
pub(crate) mod lookup;
pub(crate) mod overlapped;
mod overlapped_epilogue;
pub(crate) mod winograd;
mod winograd_fused;

use std::arch::x86_64::__cpuid;
use std::sync::LazyLock;

/// Channels of a tile.
const CHANNELS: usize = 32;

/// Pixels of which two products' sums fit the registers, with all else.
const IN_REGISTERS: usize = 4;

/// Whether the processor has units that add beside those that multiply 512 bits: AMD's have as many of the
/// one as of the other, Intel's two do both.
fn adds_beside_products() -> bool {
    static AMD: LazyLock<bool> = LazyLock::new(|| {
        let leaf = __cpuid(0);
        [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
    });
    *AMD
}
