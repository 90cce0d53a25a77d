//! How tiles and blocks are divided among threads.

use std::ops::Range;

use crate::memory::Pool;

/// How tiles and blocks are divided among parts: by blocks where weights are most of the traffic, else by tiles.
pub(crate) struct WorkSplit {
    tiles: usize,
    blocks: usize,
    parts: usize,
    by_block: bool,
}

impl WorkSplit {
    pub(crate) fn new(
        tiles: usize,
        blocks: usize,
        weight_bytes: usize,
        input_bytes: usize,
        threads: usize,
    ) -> Self {
        let by_block = tiles < threads || (weight_bytes > input_bytes && blocks >= threads);
        let cuttable = if by_block { blocks } else { tiles };
        // A few parts a thread, so that one whose core is busy elsewhere does not hold up the layer.
        let parts = if threads == 1 { 1 } else { cuttable.min(threads * 4) };
        Self { tiles, blocks, parts, by_block }
    }

    /// One part a thread where blocks are divided: for work on tiles that every part has to repeat.
    pub(crate) fn coarse(self, threads: usize) -> Self {
        if self.by_block { Self { parts: self.parts.min(threads), ..self } } else { self }
    }

    /// `part(thread, tiles, blocks)` for every part.
    pub(crate) fn run(&self, pool: &Pool, part: impl Fn(usize, Range<usize>, Range<usize>) + Sync) {
        pool.run(self.parts, |thread, i| {
            let (tiles, blocks) = self.part(i);
            part(thread, tiles, blocks);
        });
    }

    /// Tiles and blocks of a part.
    fn part(&self, i: usize) -> (Range<usize>, Range<usize>) {
        let cut = |n: usize| n * i / self.parts..n * (i + 1) / self.parts;
        if self.by_block {
            (0..self.tiles, cut(self.blocks))
        } else {
            (cut(self.tiles), 0..self.blocks)
        }
    }
}
