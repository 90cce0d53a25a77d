//! The loops around the products.
//!
//! A strip of 6x6 input tiles is transformed once; then, for each block of output channels, come 36 products
//! and the way back to four rows of outputs. The products are the same kernel's as elsewhere, on "pixels"
//! that are tiles, with weights transformed before (`multiply`); or six at a time, a row of points, with
//! weights transformed on the way (`multiply_fused`).

use std::ops::Range;

use super::fused::{FusedProducts, FusedRow, SAVED};
use super::plan::{LANES, WinogradPlan};
use super::tile_groups::TileGroups;
use super::{
    CENTRE, InputTransform, OutputTransform, PAIRS, PATCH, POINTS, SIDE, WeightTransform,
    WinogradKernels,
};
use crate::gemm::run::ConvRun;
use crate::gemm::tile::{Output, Tile};

/// A thread's part of the scratch.
struct WinogradScratch {
    v: *mut i16,
    u: *mut i16,
    m: *mut i32,
    rows: [*mut i32; SIDE],
    pointers: *mut *const u8,
}

impl WinogradPlan {
    /// Bytes that a thread needs.
    pub(crate) fn thread_scratch(&self) -> usize {
        let [.., end] = self.layout();
        end
    }

    /// Where weights, sums, rows of outputs and pointers begin behind the inputs, and the end, in bytes.
    fn layout(&self) -> [usize; 5] {
        let WinogradKernels { product, .. } = self.kernels;
        let ([v, u], [point, tile]) = (self.planes(), self.sums());
        let m = POINTS * point + self.strip * tile;
        let u = self.kernels.fused.as_ref().map_or(2 * PATCH * u, |_| SAVED * self.product_steps());
        let rows = SIDE * product.pixels * product.channels * 4;
        let pointers = product.pixels * size_of::<*const u8>();
        let mut at = 0;
        [v * POINTS * 2 + 64, u * 2, m * 4, rows, pointers].map(|bytes| {
            at += bytes.next_multiple_of(64);
            at
        })
    }

    pub(crate) fn strips(&self) -> usize {
        self.order.count().div_ceil(self.strip)
    }

    /// Strips of tiles by blocks of output channels.
    pub(crate) fn part(
        &self,
        run: &ConvRun<'_>,
        thread: usize,
        strips: Range<usize>,
        blocks: Range<usize>,
    ) {
        let scratch = run.threads.wrapping_add(thread * self.thread_scratch());
        let [u, m, rows, pointers, _] = self.layout();
        let product = self.kernels.product;
        let first = scratch.wrapping_add(rows).cast::<i32>();
        let row = |i: usize| first.wrapping_add(i * product.pixels * product.channels);
        let work = WinogradScratch {
            v: scratch.cast(),
            u: scratch.wrapping_add(u).cast(),
            m: scratch.wrapping_add(m).cast(),
            rows: std::array::from_fn(row),
            pointers: scratch.wrapping_add(pointers).cast(),
        };
        for strip in strips {
            let first = strip * self.strip;
            let tiles = first..(first + self.strip).min(self.order.count());
            // SAFETY: strips and blocks exist, and the scratch is this thread's.
            unsafe {
                for (i, tile) in tiles.clone().enumerate() {
                    self.transform(run, tile, work.v.add(i * self.channels));
                }
                for block in blocks.clone() {
                    match self.kernels.fused {
                        Some(fused) => self.multiply_fused(run, fused, block, strip, &work),
                        None => self.multiply(run, block, &tiles, &work),
                    }
                    self.write(run, block, tiles.clone(), &work);
                }
            }
        }
    }

    /// # Safety
    /// The tile exists; `v` is its place in this thread's scratch.
    unsafe fn transform(&self, run: &ConvRun<'_>, tile: usize, v: *mut i16) {
        let (spec, pitch) = (&run.conv.spec, run.pitch);
        let ([row, column], outputs) = self.order.tile(tile);
        // Wrapped below zero is far above the size, too.
        let rows: [usize; PATCH] =
            std::array::from_fn(|i| (row * SIDE + i).wrapping_sub(spec.padding[0]));
        let cols: [usize; PATCH] =
            std::array::from_fn(|j| (column * SIDE + j).wrapping_sub(spec.padding[1]));
        let mut pixels = [run.conv.padding.as_ptr(); POINTS];
        for (pixels, row) in pixels.chunks_exact_mut(PATCH).zip(rows) {
            let first = run.x.wrapping_add(row.wrapping_mul(spec.in_w * pitch));
            for (pixel, col) in pixels.iter_mut().zip(cols) {
                if row < spec.in_h && col < spec.in_w {
                    *pixel = first.wrapping_add(col * pitch);
                }
            }
        }
        let input = InputTransform {
            pixels,
            outputs,
            chunks: self.channels / self.kernels.chunk,
            v,
            plane: self.planes()[0],
        };
        // SAFETY: the steps came from an `Isa`, which proves the CPU has it; a pixel's channels, rounded up to a
        // chunk, end at most SLACK behind the input, and the row of padding is that long.
        unsafe { (self.kernels.input)(&input) };
    }

    /// The products of a strip with one block of weights.
    ///
    /// # Safety
    /// The block exists, and the inputs of the strip are transformed.
    unsafe fn multiply(
        &self,
        run: &ConvRun<'_>,
        block: usize,
        strip: &Range<usize>,
        work: &WinogradScratch,
    ) {
        let (conv, product) = (run.conv, self.kernels.product);
        let ([v_plane, u_plane], [m_plane, _]) = (self.planes(), self.sums());
        let (steps, lanes) = (self.product_steps(), product.channels);
        let channels = conv.plan.blocks[block].channels;
        let [start, end] = [conv.starts[block], conv.starts[block + 1]];
        let g = conv.weights.as_ptr().wrapping_add(start);
        let weights = work.u.cast_const().cast::<u8>();
        // While this block is at work, the next one's weights come near.
        let step = (end - start).div_ceil(POINTS * strip.len().div_ceil(product.pixels) * steps);
        let mut ahead = g.wrapping_add(end - start);
        for at in 0..POINTS {
            let (pair, place) = (at / (2 * PATCH), at % (2 * PATCH));
            let xi = PAIRS[pair][place / PATCH] * PATCH + place % PATCH;
            if place == 0 {
                let block = WeightTransform { g: g.cast(), steps, pair, u: work.u, plane: u_plane };
                // SAFETY: as in `transform`; a block has `steps` steps, and there is room for as many of each point.
                unsafe { (self.kernels.weights)(&block) };
            }
            let bias = if xi == CENTRE { &conv.bias[block * lanes..] } else { &self.zeros };
            let tiles = self.order.having(xi, strip);
            if tiles.is_empty() {
                continue;
            }
            // Groups of equal size, but for one tile: divided once, which would be felt in each.
            let groups = tiles.len().div_ceil(product.pixels);
            let (least, longer) = (tiles.len() / groups, tiles.len() % groups);
            let mut first = tiles.start - strip.start;
            for group in 0..groups {
                let last = first + least + usize::from(group < longer);
                let mut v = work.v.wrapping_add(xi * v_plane + first * self.channels);
                for i in 0..last - first {
                    // SAFETY: there are pointers for a full tile of the kernel.
                    unsafe { work.pointers.add(i).write(v.cast()) };
                    v = v.wrapping_add(self.channels);
                }
                let tile = Tile {
                    rows: work.pointers,
                    offset: 0,
                    taps: 1,
                    steps,
                    weights: weights.wrapping_add(place * u_plane * 2),
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
                first = last;
            }
        }
    }

    /// The same products a row of points at a time.
    ///
    /// # Safety
    /// As `multiply`.
    unsafe fn multiply_fused(
        &self,
        run: &ConvRun<'_>,
        fused: &FusedProducts,
        block: usize,
        strip: usize,
        work: &WinogradScratch,
    ) {
        let (conv, product) = (run.conv, self.kernels.product);
        let ([plane, _], [point, _]) = (self.planes(), self.sums());
        let (steps, lanes) = (self.product_steps(), product.channels);
        let [start, end] = [conv.starts[block], conv.starts[block + 1]];
        let g = conv.weights[start..].as_ptr();
        let halves = conv.plan.blocks[block].channels.div_ceil(LANES);
        // While this block is at work, the next one's weights come near.
        let passes: usize = self.groups[strip].iter().flatten().map(|row| row.groups.len()).sum();
        let further = (end - start).div_ceil(passes * halves * steps);
        let mut ahead = g.wrapping_add(end - start);
        for half in (0..halves).map(|half| half * LANES) {
            for at in FusedProducts::ORDER {
                let mut first = [0, PATCH - 1].iter().position(|row| *row == at);
                for TileGroups { shape, groups } in &self.groups[strip][at] {
                    let mut groups = groups.as_slice();
                    while !groups.is_empty() {
                        let (run, count) = match first.take() {
                            Some(first) => (&fused.first[first], 1),
                            None => (&fused.rows[at], groups.len()),
                        };
                        let (now, later) = groups.split_at(count);
                        let row = FusedRow {
                            groups: now.as_ptr(),
                            end: now.as_ptr_range().end,
                            v: work.v.wrapping_add(at * PATCH * plane),
                            plane: plane * 2,
                            g: g.cast::<i8>().wrapping_add(half / LANES * (end - start) / 2),
                            u: work.u,
                            steps,
                            bias: if at == 1 {
                                &conv.bias[block * lanes + half..]
                            } else {
                                &self.zeros
                            }
                            .as_ptr(),
                            m: work.m.wrapping_add(at * PATCH * point + half),
                            ahead,
                            further,
                        };
                        // SAFETY: as in `transform`; a block has `steps` steps, and there is room for what rows leave
                        // behind; the inputs of each tile are there, and there is room for its sums.
                        unsafe { run[*shape](&row) };
                        ahead = ahead.wrapping_add(further * steps * count);
                        groups = later;
                    }
                }
            }
        }
    }

    /// From sums to outputs: tiles that are neighbours in a row, as many as fill the kernel's pixels, make four rows.
    ///
    /// # Safety
    /// The block and the tiles exist, and their sums are there.
    unsafe fn write(
        &self,
        run: &ConvRun<'_>,
        block: usize,
        tiles: Range<usize>,
        work: &WinogradScratch,
    ) {
        let (spec, product) = (&run.conv.spec, self.kernels.product);
        let [plane, next] = self.sums();
        let mut tile = tiles.start;
        while tile < tiles.end {
            let ([row, column], outputs) = self.order.tile(tile);
            let (y, x) = (row * SIDE, column * SIDE);
            let together = self.order.neighbours(tile).min(tiles.end - tile);
            let count = together.min(product.pixels / SIDE);
            let sums = OutputTransform {
                m: work.m.wrapping_add((tile - tiles.start) * next),
                plane,
                next,
                tiles: count,
                outputs,
                channels: run.conv.plan.blocks[block].channels,
                rows: work.rows,
            };
            // SAFETY: as in `transform`; the rows have room for the kernel's pixels.
            unsafe { (self.kernels.output)(&sums) };
            let pixels = (SIDE * count).min(spec.out_w() - x);
            for (row, sums) in (y..spec.out_h()).zip(work.rows) {
                let first = row * spec.out_w() + x;
                // SAFETY: these pixels of this block are this part's alone; as in `transform`; outputs and residuals
                // were checked for length in `Conv::run`.
                unsafe { run.write_sums(self.kernels.finish, block, first, pixels, sums) };
            }
            tile += count;
        }
    }
}
