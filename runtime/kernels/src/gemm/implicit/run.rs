//! The loops around the products, and their overlap: while one product is multiplied, earlier ones become bytes.

use std::ops::Range;

use super::{ImplicitGemm, InputLayout};
use crate::gemm::packed::PackedConv;
use crate::gemm::plan::NEAR;
use crate::gemm::run::{ConvRun, OutputTarget};
use crate::gemm::strided::{EpilogueConstants, Product};
use crate::memory::SLACK;

/// Neighbouring pixels that take turns with one block of weights: their activations stay near.
const STRIP: usize = 256;

/// One product's sums on their way to bytes.
#[derive(Debug, Clone, Copy)]
struct Unfinished {
    block: usize,
    /// First product of the grid that the sums are of, the first that is not another's already, and the end.
    first: usize,
    new: usize,
    end: usize,
    sums: *mut i32,
}

impl ImplicitGemm {
    /// Bytes that a thread needs: the sums of two products and a row to spare for pairs, and a block's bias in rows.
    pub(crate) fn thread_scratch(&self) -> usize {
        let bias = self.kernel.rows / 2 * self.kernel.channels * size_of::<i32>();
        (2 * self.sums_bytes() + bias).next_multiple_of(64)
    }

    fn sums_bytes(&self) -> usize {
        (self.kernel.rows + 1) * self.kernel.channels * size_of::<i32>()
    }

    /// Products in a tile: one register's where there are too few for two.
    fn tile_rows(&self) -> usize {
        let rows = self.kernel.rows;
        if self.count < rows { rows / 2 } else { rows }
    }

    pub(crate) fn tiles(&self) -> usize {
        self.count.div_ceil(self.tile_rows())
    }

    /// First product of a tile, first that no tile before it has, end, and whether half a tile is enough.
    /// Behind the end of the input itself nothing can be read: there the last tile begins earlier.
    fn tile(&self, at: usize) -> (usize, usize, usize, bool) {
        let new = at * self.tile_rows();
        let end = (new + self.tile_rows()).min(self.count);
        let half = end - new <= self.kernel.rows / 2;
        let rows = if half { self.kernel.rows / 2 } else { self.kernel.rows };
        let first = match self.input {
            InputLayout::Direct => new.min(self.count - rows),
            _ => new,
        };
        (first, new, end, half)
    }

    /// Tiles by blocks of output channels.
    pub(crate) fn part(
        &self,
        run: &ConvRun<'_>,
        thread: usize,
        tiles: Range<usize>,
        blocks: Range<usize>,
    ) {
        let scratch = run.threads.wrapping_add(thread * self.thread_scratch());
        let mut sums = [0, 1].map(|i| scratch.wrapping_add(i * self.sums_bytes()).cast());
        let bias: *mut i32 = scratch.wrapping_add(2 * self.sums_bytes()).cast();
        let mut waiting: Option<Unfinished> = None;
        let constants = (self.kernel.constants)(&run.conv.requant, run.conv.residual.as_ref());
        // SAFETY: the kernel came from an `Isa`, which proves the CPU has it; tiles and blocks exist and are this
        // part's; the scratch is this thread's.
        unsafe {
            (self.kernel.enter)();
            let mut first = tiles.start;
            while first < tiles.end {
                let last = (first + STRIP / self.kernel.rows).min(tiles.end);
                for block in blocks.clone() {
                    let (mut ahead, further) = self.ahead(run.conv, block, last - first);
                    // The bias of the block, in every row that a register loads.
                    let lanes = self.kernel.channels;
                    let of_block = &run.conv.bias[block * lanes..][..lanes];
                    for row in 0..self.kernel.rows / 2 {
                        bias.add(row * lanes).copy_from_nonoverlapping(of_block.as_ptr(), lanes);
                    }
                    let mut at = first;
                    while at < last {
                        let (first, new, end, half) = self.tile(at);
                        if new % self.across >= self.wanted
                            && end - new <= self.across - new % self.across
                        {
                            at += 1; // nothing of it is wanted
                            continue;
                        }
                        let next = Unfinished { block, first, new, end, sums: sums[0] };
                        let count = self.run_of(run, block, at, last);
                        let rest = (bias.cast_const(), half, (ahead, further));
                        let product = self.product(run, &next, count, sums, rest);
                        self.multiply(run, &product, &next, waiting.take(), &constants);
                        (self.kernel.store)(&product);
                        if count % 2 == 1 {
                            sums.reverse();
                        }
                        // What waits is the last of a run.
                        let behind = (count - 1) * self.kernel.rows;
                        let (first, new, end) = (first + behind, new + behind, end + behind);
                        waiting = Some(Unfinished { block, first, new, end, sums: sums[1] });
                        ahead =
                            ahead.wrapping_add(count * further * self.taps.len() * self.steps());
                        at += count;
                    }
                }
                first = last;
            }
            if let Some(done) = waiting {
                self.finish(run, &done);
            }
            (self.kernel.leave)();
        }
    }

    /// The next block's weights, a share of which comes near at each step of a strip of `tiles`.
    fn ahead(&self, conv: &PackedConv, block: usize, tiles: usize) -> (*const u8, usize) {
        let next = conv.weights.as_ptr().wrapping_add(conv.starts[block + 1]);
        let bytes = conv.starts[block + 1] - conv.starts[block];
        let steps = tiles * self.taps.len() * self.steps();
        (next, if conv.weights.len() < NEAR { 0 } else { bytes.div_ceil(steps) })
    }

    /// How many products from tile `at` on, before `last`, are one run: whole ones of whole blocks that become bytes.
    fn run_of(&self, run: &ConvRun<'_>, block: usize, at: usize, last: usize) -> usize {
        let bytes = matches!(run.target, OutputTarget::Bytes { .. });
        let whole_block = run.conv.plan.blocks[block].channels == self.kernel.channels;
        if !self.kernel.runs || !bytes || !whole_block {
            return 1;
        }
        let whole = last.min(self.count / self.kernel.rows).saturating_sub(at);
        let in_row = if self.is_flat() {
            whole
        } else {
            self.wanted.saturating_sub(at * self.kernel.rows % self.across) / self.kernel.rows
        };
        whole.min(in_row).max(1)
    }

    fn product<'a>(
        &'a self,
        run: &ConvRun<'_>,
        next: &Unfinished,
        count: usize,
        sums: [*mut i32; 2],
        (bias, half, ahead): (*const i32, bool, (*const u8, usize)),
    ) -> Product<'a> {
        Product {
            count,
            x: run.x.wrapping_add(next.first * self.pitch),
            pitch: self.pitch,
            taps: &self.taps,
            steps: self.steps(),
            weights: run.conv.weights[run.conv.starts[next.block]..].as_ptr(),
            bias,
            half,
            sums,
            ahead,
        }
    }

    /// Multiplies, and brings the sums of an earlier product to bytes: meanwhile, where they are of neighbours.
    ///
    /// # Safety
    /// The kernel was entered; the product's block exists, its pixels can be read, and its bias is the block's; the
    /// earlier sums are there, and their outputs are this part's alone.
    unsafe fn multiply(
        &self,
        run: &ConvRun<'_>,
        product: &Product<'_>,
        next: &Unfinished,
        done: Option<Unfinished>,
        constants: &EpilogueConstants,
    ) {
        let neighbours = done.filter(|done| {
            let one_row =
                self.is_flat() || done.new % self.across + done.end - done.new <= self.wanted;
            matches!(run.target, OutputTarget::Bytes { .. }) && one_row
        });
        // SAFETY: the caller vouches for the kernel, the product and both sums. Behind the last pixel of the input,
        // SLACK bytes can be read, of which a step needs fewer than its depth; behind a copy, the pixels of a whole
        // product. Outputs and residuals were checked for length in `Conv::run`.
        unsafe {
            let (first, _) = self.place(next, next.new);
            let own = run.outputs(next.block, first, self.kernel.rows);
            if let Some(done) = neighbours {
                let (first, sums) = self.place(&done, done.new);
                let tile = run.outputs(done.block, first, done.end - done.new);
                return (self.kernel.multiply)(product, Some((&tile, sums)), &own, constants);
            }
            // A run writes over the sums that wait.
            if let Some(done) = done {
                self.finish(run, &done);
            }
            (self.kernel.multiply)(product, None, &own, constants);
        }
    }

    /// The first pixel of the outputs of products from `at` on, and where their sums lie.
    fn place(&self, of: &Unfinished, at: usize) -> (usize, *const i32) {
        let first = if self.is_flat() {
            at // a division for each product would be felt
        } else {
            at / self.across * self.wanted + at % self.across
        };
        (first, of.sums.wrapping_add((at - of.first) * self.kernel.channels))
    }

    /// # Safety
    /// The sums are there, and their outputs are this part's alone.
    unsafe fn finish(&self, run: &ConvRun<'_>, done: &Unfinished) {
        let mut at = done.new;
        while at < done.end {
            let column = at % self.across;
            let left = (self.across - column).min(done.end - at);
            let pixels = self.wanted.saturating_sub(column).min(left);
            if pixels > 0 {
                let (first, sums) = self.place(done, at);
                // SAFETY: the caller vouches for sums and outputs, which were checked for length in `Conv::run` as
                // residuals were; the row to spare makes odd ends even.
                unsafe { run.write_sums(self.kernel.finish, done.block, first, pixels, sums) };
            }
            at += left;
        }
    }
}

const _: () = assert!(SLACK >= 64, "a step may read past the last pixel");
