//! AMX: `tdpbusd` multiplies 16 pixels by 16 channels over 64 input channels, 16384 multiplications an
//! instruction, in eight tile registers of 16 rows by 64 bytes (Sapphire Rapids and later server processors).
//!
//! A product of ours is 32 pixels by 32 channels: four accumulators, two registers of activations, two of
//! weights. An earlier product becomes bytes meanwhile (`gemm/implicit/run.rs`), of which an Emerald Rapids
//! overlapped about a tenth. Weights have the layout of AVX-512-VNNI, and the epilogue is its.
//!
//! The intrinsics are not stable in Rust; inline assembly is. A process must ask the kernel before it may use
//! the registers, and a thread must configure them; both happen here. Compilers never use the registers
//! unasked, so they keep what one piece of assembly leaves in them for the next.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use super::avx512::epilogue::finish_sums;
use crate::gemm::strided::{EpilogueConstants, Product, StridedKernel};
use crate::gemm::tile::Tile;

pub(crate) const STRIDED: [StridedKernel; 1] = [StridedKernel {
    rows: 32,
    channels: 32,
    depth: 64,
    least_steps: 1,
    arrange: None,
    pays: |_| true,
    runs: false,
    enter: configure,
    leave: release,
    constants: |_, _| EpilogueConstants::NONE,
    multiply,
    store,
    finish: finish_sums,
}];

/// Whether the CPU has AMX for bytes and the operating system lets this process use it.
pub(crate) fn permitted() -> bool {
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| {
        // Leaf 0 says whether there is a leaf 7.
        let leaves = __cpuid(0).eax;
        leaves >= 7
            && __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8
            && request_permission()
    })
}

/// Linux: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`. Elsewhere nobody has tried.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    let mut result: i64 = 158;
    // SAFETY: the call changes what this process may use, and no memory of it.
    unsafe {
        asm!("syscall", inout("rax") result, in("rdi") 0x1023, in("rsi") 18, out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

#[repr(C, align(64))]
struct Configuration([u8; 64]);

/// Palette 1, eight registers of 16 rows by 64 bytes.
static CONFIGURATION: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut register = 0;
    while register < 8 {
        bytes[16 + 2 * register] = 64;
        bytes[48 + register] = 16;
        register += 1;
    }
    Configuration(bytes)
};

/// # Safety
/// AMX is permitted.
unsafe fn configure() {
    // SAFETY: AMX is permitted, says the caller; 64 bytes are read, which the static has.
    unsafe { asm!("ldtilecfg [{}]", in(reg) CONFIGURATION.0.as_ptr(), options(nostack, readonly)) }
}

/// Gives the registers back, so that a sleeping thread does not keep 8 kB of state alive.
///
/// # Safety
/// AMX is permitted.
unsafe fn release() {
    // SAFETY: AMX is permitted, says the caller; nothing else is touched.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

/// Bytes of 32 channels' weights for four input channels, and of a row of sums.
const ROW: usize = 128;

/// # Safety
/// See [`StridedKernel::multiply`].
unsafe fn multiply(
    p: &Product<'_>,
    done: Option<(&Tile<'_>, *const i32)>,
    _: &Tile<'_>,
    _: &EpilogueConstants,
) {
    // SAFETY: `configure` was called before; bias, rows and weights are read within the ranges that `Product`
    // documents, and the sums of `done` are there for `finish_sums`.
    unsafe {
        // Not from one row at a distance of 0: that took some 120 cycles a register.
        asm!(
            "tileloadd tmm0, [{bias} + {row}]",
            "tileloadd tmm1, [{bias} + {row} + 64]",
            "tileloadd tmm2, [{bias} + {row}]",
            "tileloadd tmm3, [{bias} + {row} + 64]",
            bias = in(reg) p.bias, row = in(reg) ROW,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, options(nostack, readonly)
        );
        let (mut weights, (mut ahead, bytes)) = (p.weights, p.ahead);
        for tap in p.taps {
            let x = p.x.add(*tap);
            if p.half {
                asm!(
                    "2:",
                    "tileloadd tmm4, [{x} + {pitch}]",
                    "tileloadd tmm6, [{w} + {row}]",
                    "tdpbusd tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{w} + {row} + 64]",
                    "tdpbusd tmm1, tmm4, tmm7",
                    "add {x}, 64",
                    "add {w}, 2048",
                    "sub {steps}, 1",
                    "jnz 2b",
                    x = inout(reg) x => _, pitch = in(reg) p.pitch, w = inout(reg) weights,
                    row = in(reg) ROW, steps = inout(reg) p.steps => _,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly)
                );
            } else {
                asm!(
                    "2:",
                    "tileloadd tmm4, [{x} + {pitch}]",
                    "tileloadd tmm6, [{w} + {row}]",
                    "tdpbusd tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{w} + {row} + 64]",
                    "tdpbusd tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{x2} + {pitch}]",
                    "tdpbusd tmm2, tmm5, tmm6",
                    "tdpbusd tmm3, tmm5, tmm7",
                    "mov {n}, {bytes}",
                    "3:",
                    "prefetcht1 [{ahead} + {n}]",
                    "sub {n}, 64",
                    "jnc 3b",
                    "add {ahead}, {bytes}",
                    "add {x}, 64",
                    "add {x2}, 64",
                    "add {w}, 2048",
                    "sub {steps}, 1",
                    "jnz 2b",
                    x = inout(reg) x => _, x2 = inout(reg) x.wrapping_add(16 * p.pitch) => _,
                    pitch = in(reg) p.pitch, w = inout(reg) weights, row = in(reg) ROW,
                    steps = inout(reg) p.steps => _, ahead = inout(reg) ahead, bytes = in(reg) bytes, n = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly)
                );
            }
        }
        if let Some((tile, sums)) = done {
            finish_sums(tile, sums);
        }
    }
}

/// # Safety
/// See [`StridedKernel::store`].
unsafe fn store(p: &Product<'_>) {
    // SAFETY: rows of 128 bytes are written, 16 or 32 of them.
    unsafe {
        asm!(
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + 64], tmm1",
            sums = in(reg) p.sums[0], row = in(reg) ROW, options(nostack)
        );
        if !p.half {
            asm!(
                "tilestored [{sums} + {row} + 2048], tmm2",
                "tilestored [{sums} + {row} + 2112], tmm3",
                sums = in(reg) p.sums[0], row = in(reg) ROW, options(nostack)
            );
        }
    }
}

/// See [`MicroKernel::peak`](crate::gemm::tile::MicroKernel::peak).
///
/// # Safety
/// AMX is permitted.
pub(crate) unsafe fn peak(rounds: usize) -> u64 {
    // SAFETY: AMX is permitted, says the caller; the registers are configured first and released at the end.
    unsafe {
        configure();
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", "tilezero tmm4", "tilezero tmm5",
            "2:",
            "tdpbusd tmm0, tmm4, tmm5",
            "tdpbusd tmm1, tmm4, tmm5",
            "tdpbusd tmm2, tmm4, tmm5",
            "tdpbusd tmm3, tmm4, tmm5",
            "sub {n}, 1",
            "jnz 2b",
            n = inout(reg) rounds => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _,
            options(nostack, nomem)
        );
        release();
    }
    rounds as u64 * 4 * 16384
}
