//! Convolutions that run as Winograd's: when they may, their weights, and the loops around the products.
//!
//! A strip of 6x6 input tiles is transformed once; then, for each block of output channels, come 36 products (the
//! same kernel as elsewhere, on "pixels" that are tiles) and the way back to four rows of outputs.

use std::ops::Range;

use super::Conv;
use super::cuts::Cuts;
use super::plan::Block;
use super::run::{Run, Target};
use crate::buffer::Buffer;
use crate::isa::Isa;
use crate::spec::{ConvSpec, ConvWeights};
use crate::tile::{Output, Tile};
use crate::winograd::{self, CENTRE, Input, PATCH, POINTS, POWER_OF_TWO, SIDE, Sums, Weights};

/// What a convolution needs to run in this form.
#[derive(Debug)]
pub(super) struct Winograd {
    steps: &'static winograd::Winograd,
    /// Tiles of 4x4 outputs, `[down, across]`.
    tiles: [usize; 2],
    /// Tiles that are transformed together.
    strip: usize,
    /// Input channels, rounded up to whole chunks.
    channels: usize,
    /// What the sums of all points but the centre start from.
    zeros: Vec<i32>,
}

/// A strip's transformed inputs should stay near, and so should the sums of one block.
const STRIP_BYTES: usize = 400 << 10;
const STRIP: usize = 96;
const TAPS: usize = 9;
/// Fewer output channels would leave most of a register empty.
const LANES: usize = 16;

impl Winograd {
    /// The form for this convolution, if the instruction set gains by it and the sums stay exact.
    pub(super) fn of(isa: Isa, spec: &ConvSpec, weights: &ConvWeights<'_>) -> Option<Self> {
        let steps = isa.winograd()?;
        let fits = spec.kernel == [3, 3] && spec.stride == [1, 1] && spec.dilation == [1, 1];
        let chunk = steps.chunk;
        if !fits || spec.groups > 1 || spec.in_channels < chunk || spec.out_channels < LANES {
            return None;
        }
        let tiles = [spec.out_h().div_ceil(SIDE), spec.out_w().div_ceil(SIDE)];
        let count = tiles[0] * tiles[1];
        let channels = spec.in_channels.next_multiple_of(chunk);
        let most = (STRIP_BYTES / (POINTS * 2 * channels)).clamp(steps.product.pixels, STRIP);
        // An even number of strips, for two threads.
        let strips = count.div_ceil(most);
        let strips = if strips > 1 { strips.next_multiple_of(2) } else { 1 };
        let (strip, lanes) = (count.div_ceil(strips), steps.product.channels);
        (pays(spec, count, strips, steps.plain) && exact(spec, weights)).then(|| Self {
            steps,
            tiles,
            strip,
            channels,
            zeros: vec![0; lanes],
        })
    }

    pub(super) fn product(&self) -> &'static crate::tile::Kernel {
        self.steps.product
    }

    fn count(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Entries from one point to the next: of a strip's inputs, of a block's weights, of their sums. Never a multiple of a
    /// page: sixteen points at such distances would push each other out of the first-level cache.
    fn planes(&self) -> [usize; 3] {
        let lanes = self.steps.product.channels;
        [self.strip * self.channels + 32, self.channels * lanes + 32, self.strip * lanes + 16]
    }
}

/// Whether products and transforms cost less than the plain convolution. In multiplications of 16 bits for each pair of
/// channels; a transform's share was fitted to measurements (`cargo bench -p kernels`).
fn pays(spec: &ConvSpec, tiles: usize, strips: usize, plain: usize) -> bool {
    let (inputs, outputs) = (spec.in_channels as f64, spec.out_channels as f64);
    let transforms = strips as f64 * 150.0 + tiles as f64 * (140.0 / outputs + 260.0 / inputs);
    (tiles * POINTS) as f64 + transforms < (spec.out_pixels() * TAPS) as f64 / plain as f64
}

/// The power of two that is shifted out at the end, times every sum, fits 32 bits.
fn exact(spec: &ConvSpec, weights: &ConvWeights<'_>) -> bool {
    let per_channel = weights.weight.len() / spec.out_channels;
    let zero = i64::from(weights.x_zero);
    weights.weight.chunks_exact(per_channel).zip(weights.bias).all(|(w, bias)| {
        let part = |sign: i64| -> i64 { w.iter().map(|w| (sign * i64::from(*w)).max(0)).sum() };
        let (positive, negative) = (part(1), part(-1));
        // Activations less their zero point lie in −zero..=255 − zero.
        let most = positive * (255 - zero) + negative * zero;
        let least = negative * (255 - zero) + positive * zero;
        POWER_OF_TWO * (most.max(least) + i64::from(bias.unsigned_abs())) <= i64::from(i32::MAX)
    })
}

// Packing.

impl Conv {
    /// `[block][step][tap][channel][depth]`
    pub(super) fn winograd_weights(&self, w: &Winograd, weights: &ConvWeights<'_>) -> Buffer {
        let (lanes, depth) = (self.kernel.channels, self.kernel.depth);
        let entry = |c: usize, tap: usize| {
            (c * TAPS + tap, (c / depth * TAPS + tap) * lanes * depth + c % depth)
        };
        let channels = 0..self.spec.in_channels;
        let entries: Vec<_> =
            channels.flat_map(|c| (0..TAPS).map(move |tap| entry(c, tap))).collect();
        self.scatter(weights, &entries, w.block_bytes(), depth)
    }
}

impl Winograd {
    /// Steps of a product: those behind the last channel meet weights of zero.
    fn product_steps(&self) -> usize {
        self.channels / self.steps.product.depth
    }

    /// Bytes of a block's weights.
    fn block_bytes(&self) -> usize {
        TAPS * self.channels * self.steps.product.channels
    }
}

// Running.

/// A thread's part of the scratch.
struct Work {
    v: *mut i16,
    u: *mut i16,
    m: *mut i32,
    rows: [*mut i32; SIDE],
    pointers: *mut *const u8,
}

impl Winograd {
    /// Bytes that a thread needs.
    pub(super) fn thread_scratch(&self) -> usize {
        let [.., end] = self.layout();
        end
    }

    /// Where weights, sums, rows of outputs and pointers begin behind the inputs, and the end, in bytes.
    fn layout(&self) -> [usize; 5] {
        let Self { steps: winograd::Winograd { product, .. }, .. } = self;
        let [v, u, m] = self.planes();
        let rows = SIDE * product.pixels * product.channels * 4;
        let pointers = product.pixels * size_of::<*const u8>();
        let mut at = 0;
        [v * POINTS * 2 + 64, u * PATCH * 2, m * POINTS * 4, rows, pointers].map(|bytes| {
            at += bytes.next_multiple_of(64);
            at
        })
    }

    pub(super) fn cuts(&self, conv: &Conv, input_bytes: usize, threads: usize) -> Cuts {
        let strips = self.count().div_ceil(self.strip);
        let cuts =
            Cuts::new(strips, conv.plan.blocks.len(), conv.weights.len(), input_bytes, threads);
        cuts.coarse(threads)
    }

    /// Strips of tiles by blocks of output channels.
    pub(super) fn part(
        &self,
        run: &Run<'_>,
        thread: usize,
        strips: Range<usize>,
        blocks: Range<usize>,
    ) {
        let scratch = run.threads.wrapping_add(thread * self.thread_scratch());
        let [u, m, rows, pointers, _] = self.layout();
        let product = self.steps.product;
        let first = scratch.wrapping_add(rows).cast::<i32>();
        let row = |i: usize| first.wrapping_add(i * product.pixels * product.channels);
        let work = Work {
            v: scratch.cast(),
            u: scratch.wrapping_add(u).cast(),
            m: scratch.wrapping_add(m).cast(),
            rows: std::array::from_fn(row),
            pointers: scratch.wrapping_add(pointers).cast(),
        };
        for strip in strips {
            let first = strip * self.strip;
            let tiles = first..(first + self.strip).min(self.count());
            // SAFETY: strips and blocks exist, and the scratch is this thread's.
            unsafe {
                for (i, tile) in tiles.clone().enumerate() {
                    self.transform(run, tile, work.v.add(i * self.channels));
                }
                for block in blocks.clone() {
                    self.multiply(run, block, tiles.len(), &work);
                    self.write(run, block, tiles.clone(), &work);
                }
            }
        }
    }

    /// # Safety
    /// The tile exists; `v` is its place in this thread's scratch.
    unsafe fn transform(&self, run: &Run<'_>, tile: usize, v: *mut i16) {
        let (spec, pitch) = (&run.conv.spec, run.pitch);
        let (y, x) = (tile / self.tiles[1] * SIDE, tile % self.tiles[1] * SIDE);
        let pixels = std::array::from_fn(|i| {
            let (row, col) = (
                (y + i / PATCH).wrapping_sub(spec.padding[0]),
                (x + i % PATCH).wrapping_sub(spec.padding[1]),
            );
            // Wrapped below zero is far above the size, too.
            if row < spec.in_h && col < spec.in_w {
                run.x.wrapping_add((row * spec.in_w + col) * pitch)
            } else {
                run.conv.padding.as_ptr()
            }
        });
        let input =
            Input { pixels, chunks: self.channels / self.steps.chunk, v, plane: self.planes()[0] };
        // SAFETY: the steps came from an `Isa`, which proves the CPU has it; a pixel's channels, rounded up to a chunk,
        // end at most SLACK behind the input, and the row of padding is that long.
        unsafe { (self.steps.input)(&input) };
    }

    /// The products of a strip with one block of weights.
    ///
    /// # Safety
    /// The block exists, and `tiles` inputs are transformed.
    unsafe fn multiply(&self, run: &Run<'_>, block: usize, tiles: usize, work: &Work) {
        let (conv, product) = (run.conv, self.steps.product);
        let [v_plane, u_plane, m_plane] = self.planes();
        let (steps, lanes) = (self.product_steps(), product.channels);
        let channels = conv.plan.blocks[block].channels;
        let g = conv.weights[block * self.block_bytes()..].as_ptr();
        let weights = work.u.cast_const().cast::<u8>();
        let groups = tiles.div_ceil(product.pixels);
        // While this block is at work, the next one's weights come near.
        let step = self.block_bytes().div_ceil(POINTS * groups * steps);
        let mut ahead = g.wrapping_add(self.block_bytes());
        for xi in 0..POINTS {
            let (row, column) = (xi / PATCH, xi % PATCH);
            if column == 0 {
                let block = Weights { g: g.cast(), steps, row, u: work.u, plane: u_plane };
                // SAFETY: as in `transform`; a block has `steps` steps, and there is room for as many of each point.
                unsafe { (self.steps.weights)(&block) };
            }
            let bias = if xi == CENTRE { &conv.bias[block * lanes..] } else { &self.zeros };
            for group in 0..groups {
                let (first, last) = (tiles * group / groups, tiles * (group + 1) / groups);
                for (i, tile) in (first..last).enumerate() {
                    // SAFETY: there are pointers for a full tile of the kernel.
                    unsafe {
                        let v = work.v.add(xi * v_plane + tile * self.channels);
                        work.pointers.add(i).write(v.cast());
                    }
                }
                let tile = Tile {
                    rows: work.pointers,
                    offset: 0,
                    taps: 1,
                    steps,
                    weights: weights.wrapping_add(column * u_plane * 2),
                    bias: bias.as_ptr(),
                    scale: conv.scale[block * lanes..].as_ptr(),
                    pixels: last - first,
                    channels,
                    output: Output::Sums(work.m.wrapping_add(xi * m_plane + first * lanes)),
                    prefetch: (ahead, step),
                };
                ahead = ahead.wrapping_add(step * steps);
                // SAFETY: as in `transform`; the rows hold all steps, the planes have room for each tile's sums.
                unsafe { (product.tile)(&tile) };
            }
        }
    }

    /// From sums to outputs: tiles that are neighbours in a row, as many as fill the kernel's pixels, make four rows.
    ///
    /// # Safety
    /// The block and the tiles exist, and their sums are there.
    unsafe fn write(&self, run: &Run<'_>, block: usize, tiles: Range<usize>, work: &Work) {
        let (spec, product) = (&run.conv.spec, self.steps.product);
        let across = self.tiles[1];
        let mut tile = tiles.start;
        while tile < tiles.end {
            let (y, x) = (tile / across * SIDE, tile % across * SIDE);
            let count = (product.pixels / SIDE).min(tiles.end - tile).min(across - tile % across);
            let sums = Sums {
                m: work.m.wrapping_add((tile - tiles.start) * product.channels),
                plane: self.planes()[2],
                tiles: count,
                channels: run.conv.plan.blocks[block].channels,
                rows: work.rows,
            };
            // SAFETY: as in `transform`; the rows have room for the kernel's pixels.
            unsafe { (self.steps.output)(&sums) };
            let pixels = (SIDE * count).min(spec.out_w() - x);
            for (row, sums) in (y..spec.out_h()).zip(work.rows) {
                // SAFETY: these pixels of this block are this part's alone.
                unsafe { self.finish(run, block, row * spec.out_w() + x, pixels, sums) };
            }
            tile += count;
        }
    }

    /// Requantizes sums of neighbouring pixels, or multiplies only.
    ///
    /// # Safety
    /// The block and the pixels exist and belong to this part; there are sums for them.
    unsafe fn finish(
        &self,
        run: &Run<'_>,
        block: usize,
        first: usize,
        pixels: usize,
        sums: *const i32,
    ) {
        let (conv, lanes) = (run.conv, self.steps.product.channels);
        let Block { channel, channels, .. } = conv.plan.blocks[block];
        let at = first * conv.spec.out_stride + channel;
        let Target::Bytes { y, residual } = run.target else {
            // SAFETY: as this function demands.
            let sums = unsafe { std::slice::from_raw_parts(sums, pixels * lanes) };
            for (pixel, sums) in sums.chunks_exact(lanes).enumerate() {
                // SAFETY: as this function demands.
                unsafe { run.finish(block, first + pixel, sums) };
            }
            return;
        };
        let tile = Tile {
            rows: std::ptr::null(),
            offset: 0,
            taps: 0,
            steps: 0,
            weights: std::ptr::null(),
            bias: std::ptr::null(),
            scale: conv.scale[block * lanes..].as_ptr(),
            pixels,
            channels,
            output: Output::Bytes {
                y: y.wrapping_add(at),
                stride: conv.spec.out_stride,
                requant: &conv.requant,
                residual: residual
                    .map(|(r, add)| (r.wrapping_add(first * add.stride + channel), add)),
            },
            prefetch: (std::ptr::null(), 0),
        };
        // SAFETY: as in `transform`; outputs and residuals were checked for length in `Conv::run`.
        unsafe { (self.steps.finish)(&tile, sums) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, Pool, Scratch, scalar};

    fn spec(channels: usize) -> ConvSpec {
        ConvSpec {
            in_channels: channels,
            out_channels: 64,
            groups: 1,
            kernel: [3; 2],
            stride: [1; 2],
            padding: [1; 4],
            dilation: [1; 2],
            in_h: 28,
            in_w: 28,
            in_stride: channels,
            out_stride: 64,
        }
    }

    fn takes_the_form(isa: Isa, spec: &ConvSpec, weight: &[i8], bias: i32) -> bool {
        Winograd::of(isa, spec, &weights(weight, &vec![bias; 64])).is_some()
    }

    fn weights<'a>(weight: &'a [i8], bias: &'a [i32]) -> ConvWeights<'a> {
        const SCALE: &[f32] = &[3e-6; 64]; // sums of 2²⁵ become 100
        ConvWeights { weight, bias, scale: SCALE, x_zero: 0, y_zero: 100, lo: 0, hi: 255 }
    }

    #[test]
    fn sets_that_gain_by_the_form_take_it_exactly_as_long_as_sums_fit() {
        // 64 · 255 · 127 · 9 · 115 < 2³¹, and 116 channels are too many.
        for isa in Isa::available().into_iter().filter(|isa| isa.winograd().is_some()) {
            for (channels, fits) in [(115, true), (116, false)] {
                let weight = vec![127; 64 * channels * 9];
                assert_eq!(takes_the_form(isa, &spec(channels), &weight, 0), fits, "{isa:?}");
                let weight: Vec<i8> = weight.iter().map(|w| -w).collect();
                assert_eq!(takes_the_form(isa, &spec(channels), &weight, 0), fits, "{isa:?}");
            }
            let weight = vec![1; 64 * 64 * 9];
            let most = i32::MAX / 64 - 255 * 64 * 9;
            assert!(takes_the_form(isa, &spec(64), &weight, most), "{isa:?}");
            assert!(!takes_the_form(isa, &spec(64), &weight, most + 1), "{isa:?}");
        }
    }

    #[test]
    fn the_largest_sums_that_fit_are_exact() {
        let spec = spec(115);
        let x = vec![255; 28 * 28 * 115 + crate::SLACK];
        for sign in [1, -1] {
            let weight = vec![127 * sign; 64 * 115 * 9];
            let weights = weights(&weight, &[0; 64]);
            let mut expected = vec![0; spec.out_pixels() * 64];
            scalar::conv(&spec, &weights, &x, None, &mut expected);
            for isa in Isa::available() {
                let conv = Conv::pack(isa, &spec, weights, None).expect("a convolution");
                let (pool, mut y) = (Pool::new(1), vec![0; expected.len()]);
                conv.run(&x, None, &mut y, &pool, &mut Scratch::with_bytes(conv.scratch_bytes(1)));
                assert_eq!(y, expected, "{isa:?}");
            }
        }
    }
}
