//! From sums to bytes, with or without an addition, one instruction at a time.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{CHANNELS, IN_REGISTERS};
use crate::arch::x86_64::overlapped::{
    Destination, HI, HIGHEST, LO, LOWEST, ORDER, OTHER_RATIO, OTHER_ZERO, RATIO, ZERO, at,
    fixed_instruction,
};
use crate::gemm::strided::EpilogueConstants;

/// The epilogue of two pixels of 32 channels, an instruction at a time.
pub(super) struct OverlappedEpilogue {
    /// Sums, then the convolution's result, then all.
    pub(super) c: [__m512i; 4],
    /// The other operand of the addition.
    r: [__m512i; 4],
    scale: [__m512i; 2],
    lo: __m512i,
    hi: __m512i,
    /// See `constants` in `overlapped.rs`.
    constants: *const EpilogueConstants,
    sums: [*const i32; 2],
    residual: [*const u8; 2],
    y: [*mut u8; 2],
}

impl OverlappedEpilogue {
    /// Of the first two pixels.
    ///
    /// # Safety
    /// The scale of 32 channels can be read.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn new(
        place: &Destination,
        sums: *const i32,
        constants: &EpilogueConstants,
    ) -> Self {
        // SAFETY: the caller vouches for 32 scales; constants are aligned registers.
        let (scale, lo, hi) = unsafe {
            (
                [
                    _mm512_loadu_si512(place.scale.cast()),
                    _mm512_loadu_si512(place.scale.add(16).cast()),
                ],
                _mm512_load_si512(constants.0[LO].as_ptr().cast()),
                _mm512_load_si512(constants.0[HI].as_ptr().cast()),
            )
        };
        Self {
            c: [_mm512_setzero_si512(); 4],
            r: [_mm512_setzero_si512(); 4],
            scale,
            lo,
            hi,
            constants,
            sums: [sums, sums.wrapping_add(CHANNELS)],
            residual: [place.r, place.r.wrapping_add(place.r_stride)],
            y: [place.y, place.y.wrapping_add(place.stride)],
        }
    }

    /// On to the next two.
    #[inline]
    pub(super) fn advance(&mut self, place: &Destination) {
        self.sums = self.sums.map(|sums| sums.wrapping_add(2 * CHANNELS));
        self.y = self.y.map(|y| y.wrapping_add(2 * place.stride));
        self.residual = self.residual.map(|r| r.wrapping_add(2 * place.r_stride));
    }

    /// A last pixel without a neighbour.
    #[inline]
    pub(super) fn pair_with_itself(&mut self) {
        (self.sums[1], self.y[1], self.residual[1]) = (self.sums[0], self.y[0], self.residual[0]);
    }

    /// What goes behind the products of a pixel in a step: a share of an addition's 60 instructions, or of
    /// the 24 without, the same on each vector before the next kind.
    ///
    /// # Safety
    /// Sums of two pixels can be read, and residuals if there is an addition, and outputs be written; the CPU
    /// has the features.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) unsafe fn between<
        const ADD: bool,
        const PIXELS: usize,
        const STEPS: usize,
        const STEP: usize,
        const PIXEL: usize,
    >(
        &mut self,
    ) {
        let places = STEPS * PIXELS;
        let (all, at) = (if ADD { 60 } else { 24 }, STEP * PIXELS + PIXEL);
        let (first, end) = (all * at / places, all * (at + 1) / places);
        // SAFETY: the caller vouches for CPU, sums, residuals and outputs, of which `one` asks nothing more. Without
        // a loop, so that each is known where it is compiled.
        unsafe {
            if first < end {
                self.one::<ADD, PIXELS>(first);
            }
            if first + 1 < end {
                self.one::<ADD, PIXELS>(first + 1);
            }
            if first + 2 < end {
                self.one::<ADD, PIXELS>(first + 2);
            }
        }
    }

    /// Instruction `n`; known where it is compiled.
    ///
    /// # Safety
    /// As `between`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn one<const ADD: bool, const PIXELS: usize>(&mut self, n: usize) {
        if n < 4 {
            let c = &mut self.c[n];
            if PIXELS > IN_REGISTERS {
                let from = self.sums[n / 2].wrapping_add(16 * (n % 2));
                fixed_instruction!("vcvtdq2ps {}, zmmword ptr [{}]", out(zmm_reg) *c, in(reg) from);
            } else {
                fixed_instruction!("vcvtdq2ps {0}, {0}", inout(zmm_reg) * c);
            }
            return;
        }
        // SAFETY: the same promises are all that both ask for.
        unsafe { if ADD { self.with_addition(n) } else { self.plain(n) } }
    }

    /// With an addition.
    ///
    /// # Safety
    /// As `between`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn with_addition(&mut self, n: usize) {
        let v = n % 4;
        let (c, r, k) = (&mut self.c[v], &mut self.r[v], self.constants);
        match n / 4 {
            1 => {
                fixed_instruction!("vmulps {0}, {0}, {1}", inout(zmm_reg) *c, in(zmm_reg) self.scale[v % 2])
            }
            2 => fixed_instruction!("vrndscaleps {0}, {0}, 8", inout(zmm_reg) * c),
            3 => fixed_instruction!("vminps {0}, {0}, {1}", inout(zmm_reg) *c, in(zmm_reg) self.hi),
            4 => fixed_instruction!("vmaxps {0}, {0}, {1}", inout(zmm_reg) *c, in(zmm_reg) self.lo),
            5 => {
                fixed_instruction!("vmulps {0}, {0}, zmmword ptr [{1} + {2}]", inout(zmm_reg) *c, in(reg) k; const at(RATIO))
            }
            6 => {
                fixed_instruction!("vpmovzxbd {}, xmmword ptr [{}]", out(zmm_reg) *r, in(reg) self.residual[v / 2].wrapping_add(16 * (v % 2)))
            }
            7 => {
                fixed_instruction!("vpsubd {0}, {0}, zmmword ptr [{1} + {2}]", inout(zmm_reg) *r, in(reg) k; const at(OTHER_ZERO))
            }
            8 => fixed_instruction!("vcvtdq2ps {0}, {0}", inout(zmm_reg) * r),
            9 => {
                fixed_instruction!("vmulps {0}, {0}, zmmword ptr [{1} + {2}]", inout(zmm_reg) *r, in(reg) k; const at(OTHER_RATIO))
            }
            10 => fixed_instruction!("vaddps {0}, {0}, {1}", inout(zmm_reg) *c, in(zmm_reg) *r),
            11 => fixed_instruction!("vcvtps2dq {0}, {0}", inout(zmm_reg) * c),
            _ => {}
        }
        // SAFETY: the same promises are all that `bytes` asks for.
        unsafe { self.bytes(n.wrapping_sub(48)) };
    }

    /// Without.
    ///
    /// # Safety
    /// As `between`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn plain(&mut self, n: usize) {
        let v = n % 4;
        let c = &mut self.c[v];
        match n / 4 {
            1 => {
                fixed_instruction!("vmulps {0}, {0}, {1}", inout(zmm_reg) *c, in(zmm_reg) self.scale[v % 2])
            }
            2 => fixed_instruction!("vcvtps2dq {0}, {0}", inout(zmm_reg) * c),
            _ => {}
        }
        // SAFETY: the same promises are all that `bytes` asks for.
        unsafe { self.bytes(n.wrapping_sub(12)) };
    }

    /// Instructions 0 to 11, from integers to bytes in memory. (`vpaddsw` would add two zero points at once,
    /// after packing, but on the units that multiply.)
    ///
    /// # Safety
    /// As `between`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn bytes(&mut self, n: usize) {
        let k = self.constants;
        if n < 4 {
            fixed_instruction!("vpaddd {0}, {0}, zmmword ptr [{1} + {2}]", inout(zmm_reg) self.c[n], in(reg) k; const at(ZERO));
        }
        let [a, b, c, d] = &mut self.c;
        match n {
            4 => fixed_instruction!("vpackssdw {0}, {0}, {1}", inout(zmm_reg) *a, in(zmm_reg) *b),
            5 => fixed_instruction!("vpackssdw {0}, {0}, {1}", inout(zmm_reg) *c, in(zmm_reg) *d),
            6 => fixed_instruction!("vpackuswb {0}, {0}, {1}", inout(zmm_reg) *a, in(zmm_reg) *c),
            7 => {
                fixed_instruction!("vmovdqa64 {0}, zmmword ptr [{1} + {2}]", out(zmm_reg) *b, in(reg) k; const at(ORDER))
            }
            8 => fixed_instruction!("vpermd {0}, {1}, {0}", inout(zmm_reg) *a, in(zmm_reg) *b),
            9 => {
                fixed_instruction!("vpminub {0}, {0}, zmmword ptr [{1} + {2}]", inout(zmm_reg) *a, in(reg) k; const at(HIGHEST))
            }
            10 => {
                fixed_instruction!("vpmaxub {0}, {0}, zmmword ptr [{1} + {2}]", inout(zmm_reg) *a, in(reg) k; const at(LOWEST))
            }
            // SAFETY: the caller vouches for outputs of 32 channels of both pixels.
            11 => unsafe {
                _mm256_storeu_si256(self.y[0].cast(), _mm512_castsi512_si256(*a));
                _mm256_storeu_si256(self.y[1].cast(), _mm512_extracti64x4_epi64::<1>(*a));
            },
            _ => {}
        }
    }
}
