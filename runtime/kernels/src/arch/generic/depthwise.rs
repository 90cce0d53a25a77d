//! Depthwise convolutions: every channel has its own window, so there is no matrix product.
//!
//! One body in plain Rust, compiled once per vector width. A tile is a few pixels by 64 channels; a step of a
//! general tile has no meaning here, weights are `[tap][channel]` of `i16`, and `Tile::offset` says where the
//! channels begin in a row. A product of a byte and a weight fits 16 bits, so compilers multiply there and
//! widen once.

use crate::gemm::tile::{Activations, DepthwiseWeights, MicroKernel, Output, Tile};
use crate::scalar;

const CHANNELS: usize = 64;

pub(crate) const KERNEL: MicroKernel = kernel(tile);

/// With the body compiled for wider vectors.
pub(crate) const fn kernel(tile: unsafe fn(&Tile<'_>)) -> MicroKernel {
    MicroKernel {
        pixels: 8,
        channels: CHANNELS,
        depth: 1,
        depthwise: Some(DepthwiseWeights::Words),
        activations: Activations::Bytes,
        no_lowest_weight: false,
        arrange: None,
        tile,
        peak: none,
    }
}

/// Nobody measures the peak of these: see the kernel of the whole instruction set.
unsafe fn none(_rounds: usize) -> u64 {
    0
}

/// # Safety
/// See [`MicroKernel::tile`]; any CPU will do.
unsafe fn tile(t: &Tile<'_>) {
    // SAFETY: `pixels` asks the same of the tile.
    unsafe { pixels(t) }
}

/// # Safety
/// See [`MicroKernel::tile`].
#[inline(always)]
pub(crate) unsafe fn pixels(t: &Tile<'_>) {
    // SAFETY: bias and scale have 64 entries.
    let (bias, scale) = unsafe {
        (t.bias.cast::<[i32; CHANNELS]>().read(), t.scale.cast::<[f32; CHANNELS]>().read())
    };
    for pixel in 0..t.pixels {
        let mut sums = bias;
        for tap in 0..t.taps {
            // SAFETY: 64 channels of a row can be read (`Tile::rows`), and weights have 64 entries for each tap.
            let (x, w) = unsafe {
                let row = (*t.rows.add(tap * KERNEL.pixels + pixel)).add(t.offset);
                (
                    row.cast::<[u8; CHANNELS]>().read(),
                    t.weights.cast::<[i16; CHANNELS]>().add(tap).read(),
                )
            };
            for i in 0..CHANNELS {
                sums[i] = sums[i].wrapping_add(i32::from(i16::from(x[i]).wrapping_mul(w[i])));
            }
        }
        // SAFETY: `pixel` is one of the tile's, for which the caller vouches.
        unsafe { finish(t, pixel, &sums, &scale) };
    }
}

/// # Safety
/// As [`pixels`]; `pixel` is one of the tile's.
#[inline(always)]
unsafe fn finish(t: &Tile<'_>, pixel: usize, sums: &[i32; CHANNELS], scale: &[f32; CHANNELS]) {
    match &t.output {
        // SAFETY: `all` is `[pixels][64]`.
        Output::Sums(all) => unsafe {
            all.add(pixel * CHANNELS).cast::<[i32; CHANNELS]>().write(*sums)
        },
        Output::Bytes { y, stride, requant, residual } => {
            let mut q = [0u8; CHANNELS];
            for i in 0..CHANNELS {
                q[i] = scalar::requantize(
                    sums[i] as f32 * scale[i],
                    requant.zero,
                    requant.lo,
                    requant.hi,
                );
            }
            // SAFETY: the tile's channels of its pixels can be read from `r` and written to `y`.
            unsafe {
                if let Some((r, add)) = residual {
                    let r = std::slice::from_raw_parts(r.add(pixel * add.stride), t.channels);
                    for (q, r) in q.iter_mut().zip(r) {
                        *q = scalar::add_one(add, requant.zero, *q, *r);
                    }
                }
                std::ptr::copy_nonoverlapping(q.as_ptr(), y.add(pixel * stride), t.channels);
            }
        }
    }
}
