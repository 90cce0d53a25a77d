//! From sums to bytes, with or without an addition, one instruction at a time.

use std::arch::asm;
use std::arch::x86_64::*;

use super::CHANNELS;
use crate::arch::x86_64::overlapped::{
    Destination, HI, HIGHEST, LO, LOWEST, ORDER, OTHER_RATIO, RATIO, ROUNDS, WHOLE, WHOLE_ZERO,
    ZERO, at, fixed_instruction,
};
use crate::gemm::strided::EpilogueConstants;

/// The epilogue of a pixel of 16 channels, an instruction at a time.
pub(in crate::arch::x86_64) struct OverlappedEpilogue {
    /// Sums, then the convolution's result, then all.
    c: [__m256i; 2],
    /// The other operand of the addition.
    r: [__m256i; 2],
    /// See `constants` in `overlapped.rs`.
    constants: *const EpilogueConstants,
    scale: *const f32,
    sums: *const i32,
    residual: *const u8,
    y: *mut u8,
}

impl OverlappedEpilogue {
    /// Of the first pixel.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::arch::x86_64) fn new(
        place: &Destination,
        sums: *const i32,
        constants: &EpilogueConstants,
    ) -> Self {
        Self {
            c: [_mm256_setzero_si256(); 2],
            r: [_mm256_setzero_si256(); 2],
            constants,
            scale: place.scale,
            sums,
            residual: place.r,
            y: place.y,
        }
    }

    /// On to the next one.
    #[inline]
    pub(in crate::arch::x86_64) fn advance(&mut self, place: &Destination) {
        self.sums = self.sums.wrapping_add(CHANNELS);
        self.y = self.y.wrapping_add(place.stride);
        self.residual = self.residual.wrapping_add(place.r_stride);
    }

    /// What goes behind the `AT`th product of the `PLACES` that a pixel has: a share of an addition's 34 instructions,
    /// or of the 14 without, the same on each vector before the next kind.
    ///
    /// # Safety
    /// Sums and scale of a pixel can be read, and residuals if there is an addition, and outputs be written;
    /// the CPU has AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::arch::x86_64) unsafe fn between<
        const ADD: bool,
        const AT: usize,
        const PLACES: usize,
    >(
        &mut self,
    ) {
        let all = if ADD { 34 } else { 14 };
        let (first, end) = (all * AT / PLACES, all * (AT + 1) / PLACES);
        // SAFETY: the caller vouches for CPU, sums, scale, residuals and outputs, of which `one` asks nothing more.
        // Without a loop, so that each is known where it is compiled.
        unsafe {
            if first < end {
                self.one::<ADD>(first);
            }
            if first + 1 < end {
                self.one::<ADD>(first + 1);
            }
            if first + 2 < end {
                self.one::<ADD>(first + 2);
            }
        }
    }

    /// Instruction `n`; known where it is compiled.
    ///
    /// # Safety
    /// As `between`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn one<const ADD: bool>(&mut self, n: usize) {
        // SAFETY: the same promises are all that both ask for.
        unsafe { if ADD { self.with_addition(n) } else { self.plain(n) } }
    }

    /// Instruction `n` with an addition; known where it is compiled.
    ///
    /// # Safety
    /// As `between`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn with_addition(&mut self, n: usize) {
        let v = n % 2;
        let (c, r, k) = (&mut self.c[v], &mut self.r[v], self.constants);
        match n / 2 {
            0 => {
                fixed_instruction!("vcvtdq2ps {}, ymmword ptr [{}]", out(ymm_reg) *c, in(reg) self.sums.wrapping_add(8 * v))
            }
            1 => {
                fixed_instruction!("vmulps {0}, {0}, ymmword ptr [{1}]", inout(ymm_reg) *c, in(reg) self.scale.wrapping_add(8 * v))
            }
            2 => {
                fixed_instruction!("vminps {0}, {0}, ymmword ptr [{1} + {2}]", inout(ymm_reg) *c, in(reg) k; const at(HI))
            }
            3 => {
                fixed_instruction!("vmaxps {0}, {0}, ymmword ptr [{1} + {2}]", inout(ymm_reg) *c, in(reg) k; const at(LO))
            }
            // Rounded by additions, for which Intel has a unit that does not multiply. Bounds are whole numbers, so
            // clamping may come first.
            4 => {
                fixed_instruction!("vaddps {0}, {0}, ymmword ptr [{1} + {2}]", inout(ymm_reg) *c, in(reg) k; const at(ROUNDS))
            }
            5 => {
                fixed_instruction!("vsubps {0}, {0}, ymmword ptr [{1} + {2}]", inout(ymm_reg) *c, in(reg) k; const at(ROUNDS))
            }
            6 => {
                fixed_instruction!("vmulps {0}, {0}, ymmword ptr [{1} + {2}]", inout(ymm_reg) *c, in(reg) k; const at(RATIO))
            }
            7 => {
                fixed_instruction!("vpmovzxbd {}, qword ptr [{}]", out(ymm_reg) *r, in(reg) self.residual.wrapping_add(8 * v))
            }
            // A byte as a float, alike.
            8 => {
                fixed_instruction!("vorps {0}, {0}, ymmword ptr [{1} + {2}]", inout(ymm_reg) *r, in(reg) k; const at(WHOLE))
            }
            9 => {
                fixed_instruction!("vsubps {0}, {0}, ymmword ptr [{1} + {2}]", inout(ymm_reg) *r, in(reg) k; const at(WHOLE_ZERO))
            }
            10 => {
                fixed_instruction!("vmulps {0}, {0}, ymmword ptr [{1} + {2}]", inout(ymm_reg) *r, in(reg) k; const at(OTHER_RATIO))
            }
            11 => fixed_instruction!("vaddps {0}, {0}, {1}", inout(ymm_reg) *c, in(ymm_reg) *r),
            12 => fixed_instruction!("vcvtps2dq {0}, {0}", inout(ymm_reg) * c),
            _ => {}
        }
        // SAFETY: the same promises are all that `bytes` asks for.
        unsafe { self.bytes(n.wrapping_sub(26)) };
    }

    /// Instruction `n` without.
    ///
    /// # Safety
    /// As `between`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn plain(&mut self, n: usize) {
        let v = n % 2;
        let c = &mut self.c[v];
        match n / 2 {
            0 => {
                fixed_instruction!("vcvtdq2ps {}, ymmword ptr [{}]", out(ymm_reg) *c, in(reg) self.sums.wrapping_add(8 * v))
            }
            1 => {
                fixed_instruction!("vmulps {0}, {0}, ymmword ptr [{1}]", inout(ymm_reg) *c, in(reg) self.scale.wrapping_add(8 * v))
            }
            2 => fixed_instruction!("vcvtps2dq {0}, {0}", inout(ymm_reg) * c),
            _ => {}
        }
        // SAFETY: the same promises are all that `bytes` asks for.
        unsafe { self.bytes(n.wrapping_sub(6)) };
    }

    /// Places 0 to 7, from integers to bytes in memory. Packing doubles them: the first half of the register
    /// counts. (`vpaddsw` would add two zero points at once, after packing, but on the units that multiply.)
    ///
    /// # Safety
    /// As `between`.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn bytes(&mut self, n: usize) {
        let k = self.constants;
        if n < 2 {
            fixed_instruction!("vpaddd {0}, {0}, ymmword ptr [{1} + {2}]", inout(ymm_reg) self.c[n], in(reg) k; const at(ZERO));
        }
        let [a, b] = &mut self.c;
        match n {
            2 => fixed_instruction!("vpackssdw {0}, {0}, {1}", inout(ymm_reg) *a, in(ymm_reg) *b),
            3 => fixed_instruction!("vpackuswb {0}, {0}, {0}", inout(ymm_reg) * a),
            4 => {
                fixed_instruction!("vmovdqa {0}, ymmword ptr [{1} + {2}]", out(ymm_reg) *b, in(reg) k; const at(ORDER));
                fixed_instruction!("vpermd {0}, {1}, {0}", inout(ymm_reg) *a, in(ymm_reg) *b);
            }
            5 => {
                fixed_instruction!("vpminub {0:x}, {0:x}, xmmword ptr [{1} + {2}]", inout(ymm_reg) *a, in(reg) k; const at(HIGHEST))
            }
            6 => {
                fixed_instruction!("vpmaxub {0:x}, {0:x}, xmmword ptr [{1} + {2}]", inout(ymm_reg) *a, in(reg) k; const at(LOWEST))
            }
            // SAFETY: the caller vouches for outputs of 16 channels.
            7 => unsafe { _mm_storeu_si128(self.y.cast(), _mm256_castsi256_si128(*a)) },
            _ => {}
        }
    }
}
