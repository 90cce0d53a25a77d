//! The loops around a micro-kernel whose rows are found through pointers: strips of tiles by blocks of weights.

use std::ops::Range;

use super::packed::PackedConv;
use super::plan::{Block, NEAR, TapSource};
use super::run::{ConvRun, OutputTarget};
use super::tile::{Output, Tile};
use crate::memory::{Pool, SLACK};

impl PackedConv {
    /// Bytes of the copy of the input that the plan asks for.
    pub(crate) fn copied_bytes(&self) -> usize {
        let (height, width) = self.source_size();
        if self.plan.input == TapSource::Direct {
            return 0;
        }
        (height * width * self.plan.pitch + SLACK).next_multiple_of(64)
    }

    /// Height and width of what the taps read.
    pub(super) fn source_size(&self) -> (usize, usize) {
        let [top, left, bottom, right] = self.spec.padding;
        match self.plan.input {
            TapSource::Direct | TapSource::Converted => (self.spec.in_h, self.spec.in_w),
            TapSource::Rows => (self.spec.in_h + top + bottom, self.spec.in_w + left + right),
        }
    }

    /// Bytes a thread needs: pointers of a strip of tiles, and the sums of one tile.
    pub(crate) fn thread_scratch(&self) -> usize {
        let sums = self.kernel.pixels * self.kernel.channels * size_of::<i32>();
        (STRIP * self.pointers() * size_of::<*const u8>() + sums).next_multiple_of(64)
    }

    /// Row pointers of one tile.
    fn pointers(&self) -> usize {
        (self.plan.taps[0] * self.plan.taps[1] * self.kernel.pixels).next_multiple_of(8)
    }

    /// Tiles that take turns with one block of weights. A strip's activations stay near; it is longer where
    /// there are many weights to reuse.
    fn strip(&self) -> usize {
        if self.weights.len() < FAR { SHORT } else { STRIP }
    }

    /// Writes the input as the taps want it: padded, dense, signed.
    pub(crate) fn copy_input(&self, x: &[u8], copy: &mut [u8], pool: &Pool) {
        let spec = &self.spec;
        let [top, left, ..] =
            if self.plan.input == TapSource::Rows { spec.padding } else { [0; 4] };
        let (height, width) = self.source_size();
        let (activations, channels) = (self.kernel.activations, spec.in_channels);
        let (dense, pitch) = (spec.in_stride == channels, width * channels);
        pool.split_rows(&mut copy[..height * pitch], height, pitch, |rows, copy| {
            for (copy, row) in copy.chunks_exact_mut(pitch).zip(rows) {
                let Some(row) = row.checked_sub(top).filter(|row| *row < spec.in_h) else {
                    activations.fill(self.x_zero, copy);
                    continue;
                };
                let (before, copy) = copy.split_at_mut(left * channels);
                let (copy, behind) = copy.split_at_mut(spec.in_w * channels);
                activations.fill(self.x_zero, before);
                activations.fill(self.x_zero, behind);
                let x = &x[row * spec.in_w * spec.in_stride..];
                if dense {
                    activations.convert(&x[..spec.in_w * channels], copy);
                    continue;
                }
                for (copy, x) in copy.chunks_exact_mut(channels).zip(x.chunks(spec.in_stride)) {
                    activations.convert(&x[..channels], copy);
                }
            }
        });
    }
}

/// Tiles in the longest strip.
const STRIP: usize = 32;

/// Tiles in others. Even with few weights: between tiles of different blocks more changes than between
/// neighbours of one.
const SHORT: usize = 8;

/// Weights of more bytes than this are not expected in the second-level cache.
const FAR: usize = 1 << 20;

impl ConvRun<'_> {
    /// Loop order: a strip of tiles for one block of weights, then the next block.
    pub(crate) fn part(&self, thread: usize, tiles: Range<usize>, blocks: Range<usize>) {
        let conv = self.conv;
        let (strip, pointers) = (conv.strip(), conv.pointers());
        let rows = self.threads.wrapping_add(thread * conv.thread_scratch()).cast::<*const u8>();
        let sums = rows.wrapping_add(STRIP * pointers).cast::<i32>();
        let rows_of = |i: usize| rows.wrapping_add(i * pointers);
        let mut first = tiles.start;
        while first < tiles.end {
            let last = (first + strip).min(tiles.end);
            let mut group_of_rows = usize::MAX;
            for block in blocks.clone() {
                let group = conv.plan.blocks[block].group;
                if group != group_of_rows {
                    for (i, tile) in (first..last).enumerate() {
                        // SAFETY: this thread's scratch has room for the pointers of a strip.
                        unsafe { self.find_rows(group, tile, rows_of(i)) };
                    }
                    group_of_rows = group;
                }
                let mut tile = self.tile_of(block, last - first);
                for (i, at) in (first..last).enumerate() {
                    tile.rows = rows_of(i);
                    // SAFETY: block and tile exist, rows were filled for them, `sums` lies behind the pointers.
                    unsafe { self.one_tile(block, at, &mut tile, sums) };
                }
            }
            first = last;
        }
    }

    /// What the tiles of a block have in common. While a strip of `tiles` uses one block of weights, it
    /// fetches the next one, a share in each tile: a network's weights have left the second-level cache since
    /// the last inference. Where they are few, the address stands still instead.
    fn tile_of(&self, block: usize, tiles: usize) -> Tile<'_> {
        let (conv, lanes) = (self.conv, self.conv.kernel.channels);
        let (start, bytes) = (conv.starts[block], conv.starts[block + 1] - conv.starts[block]);
        let Block { channel, channels, .. } = conv.plan.blocks[block];
        let (taps, steps) = (conv.plan.taps[0] * conv.plan.taps[1], conv.plan.steps);
        let weights = conv.weights[start..].as_ptr();
        Tile {
            rows: std::ptr::null(),
            offset: if conv.kernel.depthwise.is_some() { channel } else { 0 },
            taps,
            steps,
            weights,
            bias: conv.bias[block * lanes..].as_ptr(),
            scale: conv.scale[block * lanes..].as_ptr(),
            pixels: 0,
            channels,
            output: Output::Sums(std::ptr::null_mut()),
            prefetch: if conv.weights.len() < NEAR {
                (weights, 0)
            } else {
                (weights.wrapping_add(bytes), (bytes / tiles).div_ceil(taps * steps))
            },
        }
    }

    /// # Safety
    /// Block and tile exist; `tile.rows` is filled for them; `sums` has room for a tile.
    unsafe fn one_tile<'t>(&'t self, block: usize, at: usize, tile: &mut Tile<'t>, sums: *mut i32) {
        let (conv, lanes) = (self.conv, self.conv.kernel.channels);
        let (first, pixels) = self.pixels_of(at);
        tile.pixels = pixels;
        tile.output = match self.target {
            OutputTarget::Bytes { y, residual } if !conv.unbounded => {
                let channel = conv.plan.blocks[block].channel;
                Output::Bytes {
                    y: y.wrapping_add(first * conv.spec.out_stride + channel),
                    stride: conv.spec.out_stride,
                    requant: &conv.requant,
                    residual: residual
                        .map(|(r, add)| (r.wrapping_add(first * add.stride + channel), add)),
                }
            }
            OutputTarget::Bytes { .. } | OutputTarget::Floats { .. } => Output::Sums(sums),
        };
        // SAFETY: the kernel came from an `Isa`, which proves the CPU has it; pointers are as `Tile` documents:
        // rows end at most at the end of the input, behind which SLACK bytes are readable.
        unsafe { (conv.kernel.tile)(tile) };
        let (next, step) = tile.prefetch;
        tile.prefetch.0 = next.wrapping_add(step * tile.taps * tile.steps);
        if let Output::Sums(sums) = tile.output {
            // SAFETY: the tile has just written `pixels · lanes` sums.
            let sums = unsafe { std::slice::from_raw_parts(sums, pixels * lanes) };
            // SAFETY: this tile's part of the target is this part's alone and was checked for length in `run`.
            unsafe { self.finish(block, first, sums) };
        }
    }
}
