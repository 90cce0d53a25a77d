//! The tile in plain Rust: `CXR_ISA=scalar`, CPUs without a set of their own, and Miri.

use crate::gemm::tile::{Activations, MicroKernel, Tile};

const CHANNELS: usize = 8;

pub(crate) const KERNEL: MicroKernel = MicroKernel {
    pixels: 4,
    channels: CHANNELS,
    depth: 1,
    depthwise: None,
    activations: Activations::Bytes,
    no_lowest_weight: false,
    arrange: None,
    tile,
    peak,
};

/// On activations and weights of 16 bits.
pub(crate) const WIDE: MicroKernel = MicroKernel { tile: wide_tile, ..KERNEL };

/// As [`tile`], with one tap.
///
/// # Safety
/// See [`MicroKernel::tile`]; any CPU will do.
unsafe fn wide_tile(t: &Tile<'_>) {
    for pixel in 0..t.pixels {
        // SAFETY: every access is inside the ranges that `Tile`'s fields document.
        unsafe {
            let mut sums = t.bias.cast::<[i32; CHANNELS]>().read();
            let x = (*t.rows.add(pixel)).cast::<i16>();
            for step in 0..t.steps {
                let x = i32::from(*x.add(step));
                let weights = t.weights.cast::<[i16; CHANNELS]>().add(step).read();
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum += x * i32::from(w);
                }
            }
            t.finish_row(pixel, &sums);
        }
    }
}

/// # Safety
/// See [`MicroKernel::tile`]; any CPU will do.
unsafe fn tile(t: &Tile<'_>) {
    for pixel in 0..t.pixels {
        // SAFETY: every access is inside the ranges that `Tile`'s fields document.
        unsafe {
            let mut sums = t.bias.cast::<[i32; CHANNELS]>().read();
            for tap in 0..t.taps {
                let x = *t.rows.add(tap * KERNEL.pixels + pixel);
                for step in 0..t.steps {
                    let x = i32::from(*x.add(step));
                    let weights =
                        t.weights.cast::<[i8; CHANNELS]>().add(tap * t.steps + step).read();
                    for (sum, w) in sums.iter_mut().zip(weights) {
                        *sum = sum.wrapping_add(x * i32::from(w)); // the bias undoes the zero point, maybe past 2^31
                    }
                }
            }
            t.finish_row(pixel, &sums);
        }
    }
}

/// See [`MicroKernel::peak`].
unsafe fn peak(rounds: usize) -> u64 {
    let (x, w) = (std::hint::black_box([3u8; 16]), std::hint::black_box([5i8; 16]));
    let mut sums = [0i32; 16];
    for _ in 0..rounds {
        let x = std::hint::black_box(x);
        for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
            *sum = sum.wrapping_add(i32::from(x) * i32::from(w));
        }
    }
    std::hint::black_box(sums);
    rounds as u64 * 16
}
