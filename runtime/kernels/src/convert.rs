//! Between real numbers and quantized ones.

use crate::arch::generic::Loop;
use crate::isa::Isa;
use crate::memory::Pool;
use crate::scalar::requantize;
use std::ops::Range;

/// `q = clamp(rte(x / scale) + zero, 0, 255)`: ONNX `QuantizeLinear`, which divides. Not-a-number becomes 0.
///
/// # Panics
/// If the slices differ in length or `scale` is not a positive number.
pub fn quantize(x: &[f32], scale: f32, zero: u8, y: &mut [u8]) {
    assert_eq!(x.len(), y.len(), "lengths");
    positive(scale);
    for (y, x) in y.iter_mut().zip(x) {
        *y = requantize(*x / scale, zero, 0, 255);
    }
}

/// As [`quantize`], from an image `[channels, pixels]` to pixels `y_stride` bytes apart.
///
/// # Panics
/// If a slice is too short or `scale` is not a positive number.
#[expect(clippy::too_many_arguments, reason = "one call, nothing to group")]
pub fn quantize_from_nchw(
    isa: Isa,
    x: &[f32],
    channels: usize,
    scale: f32,
    zero: u8,
    y: &mut [u8],
    y_stride: usize,
    pool: &Pool,
) {
    positive(scale);
    let pixels = x.len() / channels;
    assert!(pixels > 0 && pixels * channels == x.len() && y_stride >= channels, "shape");
    let y = &mut y[..(pixels - 1) * y_stride + channels];
    pool.split_rows(y, pixels, y_stride, |range, y| {
        isa.vectorize(Planes { x, pixels, range, scale, zero, y, y_stride });
    });
}

/// Some pixels of an image `[channels, pixels]`.
struct Planes<'a> {
    x: &'a [f32],
    pixels: usize,
    range: Range<usize>,
    scale: f32,
    zero: u8,
    y: &'a mut [u8],
    y_stride: usize,
}

/// Pixels of a plane that are rounded together.
const TOGETHER: usize = 64;

impl Loop for Planes<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { x, pixels, range, scale, zero, y, y_stride } = self;
        if x.len() == 3 * pixels && y_stride == 3 {
            return Self { x, pixels, range, scale, zero, y, y_stride }.colours();
        }
        for (c, plane) in x.chunks_exact(pixels).enumerate() {
            let (chunks, rest) = plane[range.clone()].as_chunks::<TOGETHER>();
            for (at, x) in chunks.iter().enumerate() {
                let q = rounded(x, scale, zero);
                let y = &mut y[at * TOGETHER * y_stride + c..];
                if y_stride == 1 {
                    y[..TOGETHER].copy_from_slice(&q);
                } else {
                    y.iter_mut().step_by(y_stride).zip(q).for_each(|(y, q)| *y = q);
                }
            }
            let y = &mut y[chunks.len() * TOGETHER * y_stride..];
            for (y, x) in y.iter_mut().skip(c).step_by(y_stride).zip(rest) {
                *y = requantize(*x / scale, zero, 0, 255);
            }
        }
    }
}

impl Planes<'_> {
    /// Three channels, dense: what compilers have vectors for, if all three are at hand.
    #[inline(always)]
    fn colours(self) {
        let Self { x, pixels, range, scale, zero, y, .. } = self;
        let plane = |c: usize| x[c * pixels..][range.clone()].as_chunks::<TOGETHER>();
        let [(a, a_rest), (b, b_rest), (c, c_rest)] = [plane(0), plane(1), plane(2)];
        let (y, y_rest) = y.as_chunks_mut::<{ 3 * TOGETHER }>();
        for (((y, a), b), c) in y.iter_mut().zip(a).zip(b).zip(c) {
            let [a, b, c] = [a, b, c].map(|x| rounded(x, scale, zero));
            let mut q = [0; 3 * TOGETHER];
            for i in 0..TOGETHER {
                q[3 * i] = a[i];
                q[3 * i + 1] = b[i];
                q[3 * i + 2] = c[i];
            }
            *y = q;
        }
        for (i, y) in y_rest.chunks_mut(3).enumerate() {
            for (y, x) in y.iter_mut().zip([a_rest, b_rest, c_rest]) {
                *y = requantize(x[i] / scale, zero, 0, 255);
            }
        }
    }
}

#[inline(always)]
fn rounded(x: &[f32; TOGETHER], scale: f32, zero: u8) -> [u8; TOGETHER] {
    let mut q = [0; TOGETHER];
    for i in 0..TOGETHER {
        q[i] = requantize(x[i] / scale, zero, 0, 255);
    }
    q
}

/// `x = (q − zero) · scale`.
///
/// # Panics
/// If the slices differ in length.
pub fn dequantize(q: &[u8], scale: f32, zero: u8, x: &mut [f32]) {
    assert_eq!(x.len(), q.len(), "lengths");
    for (x, q) in x.iter_mut().zip(q) {
        *x = (i32::from(*q) - i32::from(zero)) as f32 * scale;
    }
}

/// As [`dequantize`], from pixels `q_stride` bytes apart to an image `[channels, pixels]`.
///
/// # Panics
/// If a slice is too short.
pub fn dequantize_to_nchw(
    q: &[u8],
    q_stride: usize,
    channels: usize,
    scale: f32,
    zero: u8,
    x: &mut [f32],
) {
    let pixels = x.len() / channels;
    assert!(pixels > 0 && pixels * channels == x.len() && q_stride >= channels, "shape");
    let q = &q[..(pixels - 1) * q_stride + channels];
    for (c, plane) in x.chunks_exact_mut(pixels).enumerate() {
        for (x, q) in plane.iter_mut().zip(q[c..].iter().step_by(q_stride)) {
            *x = (i32::from(*q) - i32::from(zero)) as f32 * scale;
        }
    }
}

fn positive(scale: f32) {
    assert!(scale.is_finite() && scale > 0.0, "scale {scale} is not a positive number");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantization_rounds_ties_to_even_and_clamps() {
        let x = [0.5, 1.5, -0.5, -1.5, 1e30, -1e30, f32::NAN, f32::INFINITY, 126.4];
        let mut q = [0; 9];
        quantize(&x, 1.0, 128, &mut q);
        assert_eq!(q, [128, 130, 128, 126, 255, 0, 0, 255, 254]);
    }

    #[test]
    fn rounding_is_exact_over_the_range_that_matters() {
        for i in -300_000i32..300_000 {
            let v = i as f32 / 1024.0;
            let expected = (v.round_ties_even() as i32 + 7).clamp(0, 255) as u8;
            assert_eq!(requantize(v, 7, 0, 255), expected, "{v}");
        }
    }

    #[test]
    fn every_instruction_set_quantizes_an_image_as_a_vector() {
        let pixels = 3 * TOGETHER + 7;
        let x: Vec<f32> =
            (0..3 * pixels).map(|i| (i * 7919 % 2003) as f32 * 0.17 - 170.0).collect();
        let mut expected = vec![0; x.len()];
        quantize(&x, 0.73, 100, &mut expected);
        for (isa, y_stride) in Isa::available().into_iter().flat_map(|isa| [(isa, 3), (isa, 4)]) {
            let mut y = vec![0; pixels * y_stride];
            quantize_from_nchw(isa, &x, 3, 0.73, 100, &mut y, y_stride, &Pool::new(2));
            for (i, expected) in expected.iter().enumerate() {
                let (c, pixel) = (i / pixels, i % pixels);
                assert_eq!(y[pixel * y_stride + c], *expected, "{isa:?} {y_stride}: {i}");
            }
        }
    }

    #[test]
    fn channels_move_to_the_pixels_and_back() {
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut q = vec![0xee; 3 * 5 + 4];
        quantize_from_nchw(Isa::best(), &x, 3, 1.0, 1, &mut q, 5, &Pool::new(2));
        assert_eq!(&q[..10], [1, 5, 9, 0xee, 0xee, 2, 6, 10, 0xee, 0xee]);
        let mut back = vec![0.0; 12];
        dequantize_to_nchw(&q, 5, 3, 1.0, 1, &mut back);
        assert_eq!(back, x);
    }
}
