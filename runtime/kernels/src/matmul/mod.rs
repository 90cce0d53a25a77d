//! Products of two activations: queries by keys, shares by values.
//!
//! Both operands are bytes with zero points, so their differences need 16 bits. They are packed as such for the
//! micro-kernel that Winograd's form has, rows of the left matrix and columns of the right one, and multiplied
//! exactly. What then becomes of a row of sums, [`rows`] says.
//!
//! ```text
//! a [rows, depth] ──▶ [row][depth] i16          ┐
//! b [depth, columns] ▶ [block][step][lane][2] i16 ┴▶ sums [row][column] i32 ──▶ requantized, or shares
//! ```

mod pack;
pub(crate) mod rows;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::arch::generic::rows::{RowKernels, ShareQuant};
use crate::gemm::tile::{MicroKernel, Output, Tile};
use crate::isa::Isa;
use crate::matrices::MatMulSpec;
use crate::memory::{Pool, Scratch};
use crate::scalar::Exp;
use crate::softmax::{self, Exponentials};
use crate::spec::{SpecError, ratio};
use rows::SumsToBytes;

/// `y = rte(Σ (a − a_zero)·(b − b_zero) · ratio) + y_zero`; see [`crate::scalar::matmul`].
#[derive(Clone)]
pub struct MatMul {
    spec: MatMulSpec,
    /// Zero points of `a` and `b`.
    zeros: [u8; 2],
    kernel: &'static MicroKernel,
    rows: RowKernels,
    to: SumsToBytes,
}

/// Depth is padded to a multiple of this, which all micro-kernels take.
const DEPTH: usize = 8;

/// Rows that one part of the work packs and multiplies at most.
const PART: usize = 256;

impl MatMul {
    /// `ratio = s_a · s_b / s_y`; zero points of `a`, `b` and `y`.
    pub fn new(
        isa: Isa,
        spec: MatMulSpec,
        product_ratio: f32,
        [a_zero, b_zero, y_zero]: [u8; 3],
    ) -> Result<Self, SpecError> {
        ratio("scale of the product", 0, product_ratio)?;
        let to = SumsToBytes::Requantized { ratio: product_ratio, zero: y_zero };
        Self::with(isa, spec, [a_zero, b_zero], to)
    }

    fn with(
        isa: Isa,
        spec: MatMulSpec,
        zeros: [u8; 2],
        to: SumsToBytes,
    ) -> Result<Self, SpecError> {
        spec.check()?;
        let kernel = isa.wide_product();
        assert!(kernel.pixels <= MOST_ROWS && kernel.channels <= NO_BIAS.len(), "{kernel:?}");
        assert!(DEPTH.is_multiple_of(kernel.depth), "{kernel:?}");
        Ok(Self { spec, zeros, kernel, rows: isa.row_kernels(), to })
    }

    /// The shares of each row of products that are worth `scale = s_a · s_b` each; see [`crate::scalar::softmax`].
    /// `exp` gives the same bits everywhere. Zero points of `a`, `b` and `y`.
    pub fn shares(
        isa: Isa,
        spec: MatMulSpec,
        scale: f32,
        exp: Exp,
        y_scale: f32,
        [a_zero, b_zero, y_zero]: [u8; 3],
    ) -> Result<Self, SpecError> {
        softmax::check(scale, y_scale)?;
        let exponentials = Arc::new(Exponentials::new(scale, exp));
        let quant = ShareQuant { scale: y_scale, zero: y_zero };
        Self::with(isa, spec, [a_zero, b_zero], SumsToBytes::Shared { exponentials, quant })
    }

    /// Bytes that [`Self::run`] needs in its [`Scratch`] with a pool of `threads`.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        threads * self.thread_scratch().iter().sum::<usize>()
    }

    /// Bytes a thread needs: packed rows, packed columns, sums of a tile, rows of sums, numbers of a row.
    fn thread_scratch(&self) -> [usize; 5] {
        let (depth, blocks) = (self.padded_depth(), self.blocks());
        let MicroKernel { pixels, channels, .. } = *self.kernel;
        let lines = |bytes: usize| bytes.next_multiple_of(64);
        [
            lines(self.spec.rows.min(PART) * depth * 2 + 64),
            lines(blocks * channels * depth * 2),
            lines(pixels * channels * 4),
            lines(pixels * blocks * channels * 4),
            lines(blocks * channels * 4),
        ]
    }

    fn padded_depth(&self) -> usize {
        self.spec.depth.next_multiple_of(DEPTH)
    }

    fn blocks(&self) -> usize {
        self.spec.columns.div_ceil(self.kernel.channels)
    }

    /// Products, and parts of their rows, are divided among the threads.
    ///
    /// # Panics
    /// If a slice is shorter than its matrices, or `scratch` smaller than [`Self::scratch_bytes`].
    pub fn run(&self, a: &[u8], b: &[u8], y: &mut [u8], pool: &Pool, scratch: &mut Scratch) {
        let [a_bytes, b_bytes, y_bytes] = self.spec.bytes();
        let (a, b, y) = (&a[..a_bytes], &b[..b_bytes], &mut y[..y_bytes]);
        let bytes = scratch.bytes(self.scratch_bytes(pool.threads()));
        let run = Run { product: self, a, b, y: y.as_mut_ptr(), scratch: bytes.as_mut_ptr() };
        // Enough parts for all threads, each of some rows: columns are packed again for each.
        let wanted =
            if pool.threads() == 1 { 1 } else { (2 * pool.threads()).div_ceil(self.spec.count()) };
        let rows = self.spec.rows.div_ceil(wanted).next_multiple_of(self.kernel.pixels).min(PART);
        let parts = self.spec.rows.div_ceil(rows);
        pool.run(self.spec.count() * parts, |thread, part| {
            let (at, first) = (part / parts, part % parts * rows);
            let last = (first + rows).min(self.spec.rows);
            // SAFETY: product and rows exist and are this part's alone; so is the scratch of the thread.
            unsafe { run.part(thread, at, first..last) };
        });
    }
}

/// Pointers for one run.
struct Run<'a> {
    product: &'a MatMul,
    a: &'a [u8],
    b: &'a [u8],
    y: *mut u8,
    scratch: *mut u8,
}

// SAFETY: parts read `a` and `b`, write results of disjoint rows, whose places differ (`MatMulSpec::check`), and use
// the scratch of their own thread.
unsafe impl Sync for Run<'_> {}

impl Run<'_> {
    /// # Safety
    /// The product `at` has the rows, nobody else writes their results, and nobody else uses the thread's scratch.
    unsafe fn part(&self, thread: usize, at: usize, rows: Range<usize>) {
        let MatMul { spec, zeros, kernel, .. } = self.product;
        let batch = [at / spec.batch[1], at % spec.batch[1]];
        let sizes = self.product.thread_scratch();
        let start = self.scratch.wrapping_add(thread * sizes.iter().sum::<usize>());
        let mut at = start;
        let [left, right, tile, sums, numbers] = sizes.map(|bytes| {
            let here = at;
            at = at.wrapping_add(bytes);
            here
        });
        let (depth, lanes) = (self.product.padded_depth(), kernel.channels);
        let count = rows.len() * depth;
        // SAFETY: inside the thread's scratch by `thread_scratch`, aligned to 64, and written by this thread only.
        let (left, right, numbers) = unsafe {
            (
                std::slice::from_raw_parts_mut(left.cast::<i16>(), count),
                std::slice::from_raw_parts_mut(
                    right.cast::<i16>(),
                    self.product.blocks() * lanes * depth,
                ),
                std::slice::from_raw_parts_mut(numbers.cast::<u32>(), spec.columns),
            )
        };
        pack::left(spec, zeros[0], self.a, batch, rows.clone(), depth, left);
        pack::right(spec, zeros[1], self.b, batch, kernel, depth, right);
        let mut first = rows.start;
        while first < rows.end {
            let pixels = (rows.end - first).min(kernel.pixels);
            let left = left[(first - rows.start) * depth..].as_ptr();
            // SAFETY: `pixels` rows are packed from `left` on; tile and sums have room for them by `thread_scratch`.
            unsafe {
                self.multiply(left, right, pixels, tile.cast(), sums.cast());
                for row in 0..pixels {
                    let sums = sums.cast::<i32>().wrapping_add(row * self.product.blocks() * lanes);
                    let sums = std::slice::from_raw_parts(sums, spec.columns);
                    let y = self.y.wrapping_add(spec.y.at(batch, first + row, 0));
                    self.product.to.row(&self.product.rows, sums, numbers, y, spec.y.column);
                }
            }
            first += pixels;
        }
    }

    /// Sums of `pixels` packed rows by all columns, `[row][columns, padded]`.
    ///
    /// # Safety
    /// The rows are packed from `left` on; `tile` has room for a tile, `sums` for its rows.
    unsafe fn multiply(
        &self,
        left: *const i16,
        right: &[i16],
        pixels: usize,
        tile: *mut i32,
        sums: *mut i32,
    ) {
        let MatMul { spec, kernel, .. } = self.product;
        let (depth, lanes, blocks) =
            (self.product.padded_depth(), kernel.channels, self.product.blocks());
        let mut rows = [std::ptr::null::<u8>(); MOST_ROWS];
        for (row, pointer) in rows.iter_mut().enumerate().take(pixels) {
            *pointer = left.wrapping_add(row * depth).cast();
        }
        for block in 0..blocks {
            let weights = right[block * lanes * depth..].as_ptr().cast();
            let product = Tile {
                rows: rows.as_ptr(),
                offset: 0,
                taps: 1,
                steps: depth / kernel.depth,
                weights,
                bias: NO_BIAS.as_ptr(),
                scale: std::ptr::null(),
                pixels,
                channels: (spec.columns - block * lanes).min(lanes),
                output: Output::Sums(tile),
                prefetch: (weights, 0),
            };
            // SAFETY: the kernel came from an `Isa`, which proves the CPU has it; rows and weights are packed as
            // it reads them, aligned to 64 bytes; `tile` has room, says the caller.
            unsafe {
                (kernel.tile)(&product);
                for row in 0..pixels {
                    let to = sums.add((row * blocks + block) * lanes);
                    std::ptr::copy_nonoverlapping(tile.add(row * lanes), to, lanes);
                }
            }
        }
    }
}

/// Rows of the largest micro-kernel.
const MOST_ROWS: usize = 16;

/// Lanes of the widest micro-kernel.
static NO_BIAS: [i32; 64] = [0; 64];

impl fmt::Debug for MatMul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MatMul").field(&self.spec).finish()
    }
}
