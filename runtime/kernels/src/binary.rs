//! Two tensors, element by element: sums, differences and products.

use crate::arch::generic::Loop;
#[cfg(target_arch = "x86_64")]
use crate::arch::x86_64::avx512::elementwise;
use crate::eltwise::Rows;
use crate::isa::Isa;
use crate::memory::Pool;
use crate::scalar::{add_one, multiply_one};
use crate::spec::{Product, Residual, SpecError, range, ratio};

/// How the second operand lies beside the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// A value for each value; bytes from one pixel to the next.
    Each(usize),
    /// The same channels beside every pixel: a gate of squeeze-and-excitation.
    Channels,
    /// One value beside all channels of a pixel; bytes from one to the next.
    Pixels(usize),
}

/// Addition of two tensors: `clamp(rte((a − a_zero)·a_ratio + (b − b_zero)·b_ratio) + y_zero, lo, hi)`, with ratios
/// `s_a / s_y` and `s_b / s_y`. A difference has the second ratio below zero.
#[derive(Debug, Clone, Copy)]
pub struct Add {
    isa: Isa,
    a_zero: u8,
    residual: Residual,
}

/// Product of two tensors: `clamp(rte((a − a_zero)·(b − b_zero) · ratio) + y_zero, lo, hi)` with
/// `ratio = s_a · s_b / s_y`; the first product is exact.
#[derive(Debug, Clone, Copy)]
pub struct Mul {
    isa: Isa,
    product: Product,
}

impl Add {
    pub fn new(
        isa: Isa,
        [a_ratio, b_ratio]: [f32; 2],
        [a_zero, b_zero, y_zero]: [u8; 3],
        [lo, hi]: [u8; 2],
    ) -> Result<Self, SpecError> {
        ratio("scale of the first operand", 0, a_ratio.abs())?;
        ratio("scale of the second operand", 0, b_ratio.abs())?;
        range(lo, hi)?;
        let residual = Residual {
            conv_ratio: a_ratio,
            ratio: b_ratio,
            zero: b_zero,
            out_zero: y_zero,
            lo,
            hi,
            stride: 0,
        };
        Ok(Self { isa, a_zero, residual })
    }

    /// `rows.x_stride` is that of `a`.
    pub fn run(&self, rows: &Rows, a: &[u8], b: &[u8], beside: Beside, y: &mut [u8], pool: &Pool) {
        let (residual, a_zero) = (self.residual, self.a_zero);
        run(self.isa, Sum { residual, a_zero }, rows, a, (b, beside), y, pool);
    }
}

impl Mul {
    pub fn new(isa: Isa, scale: f32, zeros: [u8; 3], [lo, hi]: [u8; 2]) -> Result<Self, SpecError> {
        ratio("scale of the product", 0, scale)?;
        range(lo, hi)?;
        Ok(Self { isa, product: Product { ratio: scale, zeros, lo, hi } })
    }

    /// `rows.x_stride` is that of `a`.
    pub fn run(&self, rows: &Rows, a: &[u8], b: &[u8], beside: Beside, y: &mut [u8], pool: &Pool) {
        run(self.isa, self.product, rows, a, (b, beside), y, pool);
    }
}

/// A function of two bytes.
trait OfTwo: Copy + Sync {
    fn of(self, a: u8, b: u8) -> u8;

    /// Of a row.
    ///
    /// # Safety
    /// The CPU has AVX-512 F, BW and VL.
    #[cfg(target_arch = "x86_64")]
    unsafe fn row_avx512(self, a: &[u8], b: &[u8], y: &mut [u8]);
}

#[derive(Clone, Copy)]
struct Sum {
    residual: Residual,
    a_zero: u8,
}

impl OfTwo for Sum {
    #[inline(always)]
    fn of(self, a: u8, b: u8) -> u8 {
        add_one(&self.residual, self.a_zero, a, b)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn row_avx512(self, a: &[u8], b: &[u8], y: &mut [u8]) {
        // SAFETY: the caller vouches for the CPU.
        unsafe { elementwise::add(&self.residual, self.a_zero, a, b, y) }
    }
}

impl OfTwo for Product {
    #[inline(always)]
    fn of(self, a: u8, b: u8) -> u8 {
        multiply_one(&self, a, b)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn row_avx512(self, a: &[u8], b: &[u8], y: &mut [u8]) {
        // SAFETY: the caller vouches for the CPU.
        unsafe { elementwise::multiply(&self, a, b, y) }
    }
}

fn run(
    isa: Isa,
    f: impl OfTwo,
    rows: &Rows,
    a: &[u8],
    (b, beside): (&[u8], Beside),
    y: &mut [u8],
    pool: &Pool,
) {
    let a = &a[..rows.bytes(rows.x_stride)];
    let y = &mut y[..rows.bytes(rows.y_stride)];
    let (pixel, channel) = match beside {
        Beside::Each(stride) => (stride, 1),
        Beside::Channels => (0, 1),
        Beside::Pixels(stride) => (stride, 0),
    };
    let b = &b[..rows.pixels.saturating_sub(1) * pixel + (rows.channels - 1) * channel + 1];
    let whole = [rows.x_stride, rows.y_stride, pixel] == [rows.channels; 3] && channel == 1;
    pool.split_rows(y, rows.pixels, rows.y_stride, |pixels, y| {
        let (a, b) = (&a[pixels.start * rows.x_stride..], &b[pixels.start * pixel..]);
        let rows = match whole {
            true => Rows { pixels: 1, channels: pixels.len() * rows.channels, ..*rows },
            false => Rows { pixels: pixels.len(), ..*rows },
        };
        isa.vectorize(Pixels { f, rows, a, b, pixel, channel, y });
    });
}

/// `f` of every value of some pixels; `b` moves on by `pixel` and `channel`.
struct Pixels<'a, F> {
    f: F,
    rows: Rows,
    a: &'a [u8],
    b: &'a [u8],
    pixel: usize,
    channel: usize,
    y: &'a mut [u8],
}

impl<F: OfTwo> Loop for Pixels<'_, F> {
    #[inline(always)]
    fn run(self) {
        let f = self.f;
        self.each(
            |a, b, y| {
                let (a, a_rest) = a.as_chunks::<CHUNK>();
                let (b, b_rest) = b.as_chunks::<CHUNK>();
                let (y, y_rest) = y.as_chunks_mut::<CHUNK>();
                for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                    // By value, so that nothing can lie in the same place.
                    let (a, b, mut q) = (*a, *b, [0; CHUNK]);
                    for i in 0..CHUNK {
                        q[i] = f.of(a[i], b[i]);
                    }
                    *y = q;
                }
                for ((y, a), b) in y_rest.iter_mut().zip(a_rest).zip(b_rest) {
                    *y = f.of(*a, *b);
                }
            },
            |a, b, y| y.iter_mut().zip(a).for_each(|(y, a)| *y = f.of(*a, b)),
        );
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn run_avx512(self) {
        let f = self.f;
        self.each(
            // SAFETY: the caller vouches for the CPU.
            |a, b, y| unsafe { f.row_avx512(a, b, y) },
            |a, b, y| y.iter_mut().zip(a).for_each(|(y, a)| *y = f.of(*a, b)),
        );
    }
}

/// Values that vectors are made of.
const CHUNK: usize = 32;

impl<F> Pixels<'_, F> {
    /// `each` of every pixel with a second operand a channel, `one` with one for all channels.
    #[inline(always)]
    fn each(self, each: impl Fn(&[u8], &[u8], &mut [u8]), one: impl Fn(&[u8], u8, &mut [u8])) {
        let Self { rows, a, b, pixel, channel, y, .. } = self;
        for at in 0..rows.pixels {
            let a = &a[at * rows.x_stride..][..rows.channels];
            let y = &mut y[at * rows.y_stride..][..rows.channels];
            match channel {
                1 => each(a, &b[at * pixel..][..rows.channels], y),
                _ => one(a, b[at * pixel], y),
            }
        }
    }
}
