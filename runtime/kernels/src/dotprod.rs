//! NEON with dot products (Cortex-A55, A76, A78AE; Raspberry Pi 5, Jetson Orin): `sdot`, 16 multiplications.
//!
//! Activations are made signed on loading (`xor 0x80`), since `udot` and `sdot` cannot mix signs. Tile: 6 pixels by 16
//! channels, 24 accumulators of 32 registers; a 16-byte load of a pixel serves four steps by lane.
//!
//! The intrinsics are not stable in Rust; inline assembly is. Loops rather than `map` and `from_fn`: those are calls in
//! functions with features of their own.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::neon::{CHANNELS, bias, finish, kept};
use crate::tile::{Kernel, Tile, nothing};

const PIXELS: usize = 6;

pub(crate) const KERNEL: Kernel = Kernel {
    pixels: PIXELS,
    channels: CHANNELS,
    depth: 4,
    depthwise: false,
    wide: false,
    signed: true,
    no_lowest_weight: false,
    gathered: None,
    enter: nothing,
    leave: nothing,
    tile,
    peak,
};

/// # Safety
/// See [`Kernel::tile`]; the CPU has NEON and dot products.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: as this function demands.
    unsafe {
        match t.pixels {
            1 => rows::<1>(t),
            2 => rows::<2>(t),
            3 => rows::<3>(t),
            4 => rows::<4>(t),
            5 => rows::<5>(t),
            _ => rows::<6>(t),
        }
    }
}

/// # Safety
/// As [`tile`], and `t.pixels == P`.
#[target_feature(enable = "neon,dotprod")]
unsafe fn rows<const P: usize>(t: &Tile<'_>) {
    // SAFETY: bias, rows, weights and activations (up to 15 bytes past their end) are read within the ranges that `Tile`
    // documents.
    unsafe {
        let mut acc = [bias(t); P];
        let mut weights = t.weights.cast::<i8>();
        for tap in 0..t.taps {
            let rows = t.rows.add(tap * PIXELS);
            let mut from = [std::ptr::null(); P];
            for r in 0..P {
                from[r] = *rows.add(r);
            }
            let mut step = 0;
            while step + 4 <= t.steps {
                let x = signed(&from, step * 4);
                one_step::<P, 0>(&mut acc, &x, weights);
                one_step::<P, 1>(&mut acc, &x, weights.add(64));
                one_step::<P, 2>(&mut acc, &x, weights.add(128));
                one_step::<P, 3>(&mut acc, &x, weights.add(192));
                weights = weights.add(256);
                step += 4;
            }
            while step < t.steps {
                let x = signed(&from, step * 4);
                one_step::<P, 0>(&mut acc, &x, weights);
                weights = weights.add(64);
                step += 1;
            }
        }
        finish(t, &kept(&acc));
    }
}

/// 16 activations of each pixel as signed bytes, `x − 128`.
///
/// # Safety
/// 16 bytes can be read at `first` bytes behind each row.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn signed<const P: usize>(rows: &[*const u8; P], first: usize) -> [int8x16_t; P] {
    let mut x = [vdupq_n_s8(0); P];
    for r in 0..P {
        // SAFETY: as this function demands.
        let bytes = unsafe { vld1q_u8(rows[r].add(first)) };
        x[r] = vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80)));
    }
    x
}

/// Step `LANE` of four in `x`; weights are `[channel][4]`.
///
/// # Safety
/// 64 bytes can be read at `weights`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn one_step<const P: usize, const LANE: i32>(
    acc: &mut [[int32x4_t; 4]; P],
    x: &[int8x16_t; P],
    weights: *const i8,
) {
    for v in 0..4 {
        // SAFETY: as this function demands.
        let w = unsafe { vld1q_s8(weights.add(16 * v)) };
        for r in 0..P {
            acc[r][v] = sdot::<LANE>(acc[r][v], w, x[r]);
        }
    }
}

/// `acc[i] += Σ_j w[4 i + j] · x[4 LANE + j]`
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: i32>(mut acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction of the enabled feature, on registers only.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{lane}]",
            inout(vreg) acc, in(vreg) w, in(vreg) x, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// See [`Kernel::peak`].
///
/// # Safety
/// The CPU has NEON and dot products.
#[target_feature(enable = "neon,dotprod")]
unsafe fn peak(rounds: usize) -> u64 {
    let (x, w) = (vdupq_n_s8(3), vdupq_n_s8(5));
    let mut acc = [vdupq_n_s32(0); 24];
    for _ in 0..rounds {
        for acc in &mut acc {
            *acc = sdot::<0>(*acc, w, x);
        }
    }
    std::hint::black_box(acc);
    rounds as u64 * 24 * 16
}
