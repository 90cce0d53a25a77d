//! AMX: `tdpbusd` multiplies 16 pixels by 16 channels over 64 input channels, 16384 multiplications an instruction, in
//! eight tile registers of 16 rows by 64 bytes (Sapphire Rapids and later server processors).
//!
//! A tile of ours is 32 pixels by 32 channels: four accumulators, two registers of activations, two of weights. Rows must
//! be equally spaced in memory, so they are gathered first unless the convolution is pointwise. Weights have the layout
//! of AVX-512-VNNI, and the last step to bytes is its.
//!
//! The intrinsics are not stable in Rust; inline assembly is. A process must ask the kernel before it may use the
//! registers, and a thread must configure them; both happen here.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use crate::avx512_bytes::{fetch_output, finish};
use crate::tile::{Activations, Kernel, Tile};

const PIXELS: usize = 32;
const CHANNELS: usize = 32;

pub(crate) const KERNEL: Kernel = Kernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: 4,
    depthwise: false,
    activations: Activations::Bytes,
    no_lowest_weight: false,
    gathered: Some(16),
    enter: configure,
    leave: release,
    tile,
    peak,
};

/// Whether the CPU has AMX for bytes and the operating system lets this process use it.
pub(crate) fn permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| has_amx() && request_permission())
}

fn has_amx() -> bool {
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    // Leaf 0 says whether there is a leaf 7.
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8
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
    // SAFETY: as this function demands; 64 bytes are read.
    unsafe { asm!("ldtilecfg [{}]", in(reg) CONFIGURATION.0.as_ptr(), options(nostack, readonly)) }
}

/// Gives the registers back, so that a sleeping thread does not keep 8 kB of state alive.
///
/// # Safety
/// AMX is permitted.
unsafe fn release() {
    // SAFETY: as this function demands.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

/// # Safety
/// See [`Kernel::tile`]; AMX is permitted and configured, the CPU has AVX-512 F, BW, VL and VNNI. Rows are equally spaced,
/// and 16 or 32 of them can be read.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile(t: &Tile<'_>) {
    fetch_output(t);
    let mut sums = [[_mm512_setzero_si512(); 2]; PIXELS];
    // SAFETY: rows and weights are read within the ranges that `Tile` documents for gathered kernels, bias over its 32
    // entries (16 times: its stride is 0), and `sums` has the 32 rows of 128 bytes that are written.
    unsafe {
        let x = *t.rows;
        let pitch = if t.pixels > 1 { (*t.rows.add(1)).offset_from_unsigned(x) } else { 0 };
        if t.pixels <= 16 {
            asm!(
                "tileloadd tmm0, [{bias} + {none}]",
                "tileloadd tmm1, [{bias} + {none} + 64]",
                "2:",
                "tileloadd tmm4, [{x} + {pitch}]",
                "tileloadd tmm6, [{w} + {row}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{w} + {row} + 64]",
                "tdpbusd tmm1, tmm4, tmm7",
                "add {x}, 64",
                "add {w}, 2048",
                "sub {steps}, 16",
                "jnz 2b",
                "tilestored [{sums} + {row}], tmm0",
                "tilestored [{sums} + {row} + 64], tmm1",
                bias = in(reg) t.bias, none = in(reg) 0usize, x = inout(reg) x => _, pitch = in(reg) pitch,
                w = inout(reg) t.weights => _, row = in(reg) 128usize, steps = inout(reg) t.steps => _,
                sums = in(reg) sums.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        } else {
            asm!(
                "tileloadd tmm0, [{bias} + {none}]",
                "tileloadd tmm1, [{bias} + {none} + 64]",
                "tileloadd tmm2, [{bias} + {none}]",
                "tileloadd tmm3, [{bias} + {none} + 64]",
                "2:",
                "tileloadd tmm4, [{x} + {pitch}]",
                "tileloadd tmm6, [{w} + {row}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{w} + {row} + 64]",
                "tdpbusd tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{x2} + {pitch}]",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
                "add {x}, 64",
                "add {x2}, 64",
                "add {w}, 2048",
                "sub {steps}, 16",
                "jnz 2b",
                "tilestored [{sums} + {row}], tmm0",
                "tilestored [{sums} + {row} + 64], tmm1",
                "tilestored [{sums} + {row} + 2048], tmm2",
                "tilestored [{sums} + {row} + 2112], tmm3",
                bias = in(reg) t.bias, none = in(reg) 0usize, x = inout(reg) x => _,
                x2 = inout(reg) x.wrapping_add(16 * pitch) => _, pitch = in(reg) pitch,
                w = inout(reg) t.weights => _, row = in(reg) 128usize, steps = inout(reg) t.steps => _,
                sums = in(reg) sums.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
        finish(t, &sums);
    }
}

/// See [`Kernel::peak`].
///
/// # Safety
/// AMX is permitted.
unsafe fn peak(rounds: usize) -> u64 {
    // SAFETY: as this function demands; the registers are configured first and released at the end.
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
