//! Convolutions: weights packed at load, and the loops around a kernel's tile. The same for every instruction set.

use std::ops::Range;

use crate::buffer::{Buffer, SLACK};
use crate::isa::Isa;
use crate::pool::Pool;
use crate::scalar;
use crate::spec::{ConvSpec, ConvWeights, Residual, SpecError};
use crate::tile::{Kernel, Output, Requant, Tile};

/// A convolution ready to run on one instruction set.
#[derive(Debug)]
pub struct Conv {
    spec: ConvSpec,
    kernel: &'static Kernel,
    plan: Plan,
    /// `[block][tap][step][kernel.channels][depth]`
    weights: Buffer,
    /// `[block][kernel.channels]`, zero points folded in
    bias: Vec<i32>,
    /// `[block][kernel.channels]`
    scale: Vec<f32>,
    x_zero: u8,
    requant: Requant,
    residual: Option<Residual>,
    /// Some `sum · scale` may not fit an `i32`, where vector conversions and the definition differ.
    unbounded: bool,
    /// The row that a tap on padding reads.
    padding: Buffer,
}

/// How the convolution becomes taps and steps.
#[derive(Debug)]
struct Plan {
    /// Contiguous input bytes a tap reads.
    run: usize,
    taps: [usize; 2],
    steps: usize,
    /// Blocks of `kernel.channels` output channels in one group.
    blocks_per_group: usize,
    input: Source,
}

/// What the taps read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The input itself.
    Direct,
    /// A copy with padding written out and channels dense, so that a whole kernel row is one contiguous tap: for
    /// few channels, where single taps would be mostly rounding.
    Rows,
}

/// Memory that `run` works in. One serves any number of convolutions, one after the other.
#[derive(Debug)]
pub struct Scratch(Buffer);

impl Scratch {
    pub fn with_bytes(bytes: usize) -> Self {
        Self(Buffer::zeroed(bytes))
    }
}

impl Conv {
    /// Checks shapes and lays the weights out for `isa`.
    pub fn pack(
        isa: Isa,
        spec: &ConvSpec,
        weights: ConvWeights<'_>,
        residual: Option<Residual>,
    ) -> Result<Self, SpecError> {
        spec.check()?;
        weights.check(spec)?;
        residual.iter().try_for_each(|r| r.check(spec))?;
        let kernel = isa.kernel();
        let plan = Plan::new(spec, kernel);
        let mut packed = Self {
            kernel,
            x_zero: weights.x_zero,
            requant: Requant { zero: weights.y_zero, lo: weights.lo, hi: weights.hi },
            residual,
            unbounded: unbounded(spec, &weights),
            padding: Buffer::zeroed(plan.run * kernel.element()),
            weights: Buffer::zeroed(0),
            bias: Vec::new(),
            scale: Vec::new(),
            spec: spec.clone(),
            plan,
        };
        packed.pack_weights(&weights);
        packed.pack_channels(&weights);
        packed.fill_padding();
        Ok(packed)
    }

    pub fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    pub fn macs(&self) -> u64 {
        self.spec.macs()
    }

    /// Bytes that stay resident: packed weights and per-channel parameters.
    pub fn packed_bytes(&self) -> usize {
        self.weights.len() + self.padding.len() + self.bias.len() * 8
    }

    /// Bytes that [`Conv::run`] needs in its [`Scratch`] with a pool of `threads`.
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        self.input_scratch() + threads * self.thread_scratch()
    }

    /// `x` → `y`, adding `r` if the convolution was packed with a [`Residual`].
    ///
    /// # Panics
    /// If a slice is too short (`x` needs [`SLACK`]), `scratch` is smaller than [`Conv::scratch_bytes`], or `r` is given
    /// without a packed residual or the other way round.
    pub fn run(
        &self,
        x: &[u8],
        r: Option<&[u8]>,
        y: &mut [u8],
        pool: &Pool,
        scratch: &mut Scratch,
    ) {
        assert!(
            y.len() >= self.out_elements(),
            "output of {} bytes, expected {}",
            y.len(),
            self.out_elements()
        );
        let residual = match (&self.residual, r) {
            (None, None) => None,
            (Some(add), Some(r)) => {
                let expected = (self.spec.out_pixels() - 1) * add.stride + self.spec.out_channels;
                assert!(r.len() >= expected, "residual of {} bytes, expected {expected}", r.len());
                Some((r.as_ptr(), add))
            }
            (None, Some(_)) => {
                panic!("a residual is given, but the convolution was packed without one")
            }
            (Some(_), None) => {
                panic!("the convolution was packed with a residual, but none is given")
            }
        };
        self.drive(x, Target::Bytes { y: y.as_mut_ptr(), residual }, pool, scratch);
    }

    /// `x` → `y = sum · scale`, not requantized.
    ///
    /// # Panics
    /// As [`Conv::run`], and if the convolution was packed with a residual.
    pub fn run_f32(&self, x: &[u8], y: &mut [f32], pool: &Pool, scratch: &mut Scratch) {
        assert!(
            y.len() >= self.out_elements(),
            "output of {} floats, expected {}",
            y.len(),
            self.out_elements()
        );
        assert!(self.residual.is_none(), "a residual needs requantization");
        self.drive(x, Target::Floats(y.as_mut_ptr()), pool, scratch);
    }

    fn out_elements(&self) -> usize {
        (self.spec.out_pixels() - 1) * self.spec.out_stride + self.spec.out_channels
    }
}

// Packing.

impl Plan {
    fn new(spec: &ConvSpec, kernel: &Kernel) -> Self {
        let in_group = spec.in_channels / spec.groups;
        let row = spec.kernel[1] * in_group;
        // Few channels: a whole kernel row becomes one tap, at the price of a copy of the input.
        let rows = spec.groups == 1 && spec.dilation[1] == 1 && spec.kernel[1] > 1 && in_group < 16;
        let (input, run, taps) = if rows {
            (Source::Rows, row, [spec.kernel[0], 1])
        } else {
            (Source::Direct, in_group, spec.kernel)
        };
        let out_group = spec.out_channels / spec.groups;
        Self {
            run,
            taps,
            steps: run.div_ceil(kernel.depth),
            blocks_per_group: out_group.div_ceil(kernel.channels),
            input,
        }
    }

    fn taps(&self) -> usize {
        self.taps[0] * self.taps[1]
    }
}

impl Kernel {
    /// Bytes of an activation or a weight.
    fn element(&self) -> usize {
        if self.wide { 2 } else { 1 }
    }
}

impl Conv {
    fn blocks(&self) -> usize {
        self.plan.blocks_per_group * self.spec.groups
    }

    fn tiles(&self) -> usize {
        self.spec.out_pixels().div_ceil(self.kernel.pixels)
    }

    /// Bytes of one block's weights.
    fn block_bytes(&self) -> usize {
        self.plan.taps()
            * self.plan.steps
            * self.kernel.channels
            * self.kernel.depth
            * self.kernel.element()
    }

    /// First output channel of a block, and how many it has.
    fn block_channels(&self, block: usize) -> (usize, usize) {
        let out_group = self.spec.out_channels / self.spec.groups;
        let (group, inner) =
            (block / self.plan.blocks_per_group, block % self.plan.blocks_per_group);
        let first = inner * self.kernel.channels;
        (group * out_group + first, (out_group - first).min(self.kernel.channels))
    }

    fn pack_weights(&mut self, weights: &ConvWeights<'_>) {
        let (depth, lanes, element) =
            (self.kernel.depth, self.kernel.channels, self.kernel.element());
        let in_group = self.spec.in_channels / self.spec.groups;
        let [kernel_h, kernel_w] = self.spec.kernel;
        let mut packed = Buffer::zeroed(self.blocks() * self.block_bytes());
        for block in 0..self.blocks() {
            let (first, channels) = self.block_channels(block);
            for tap in 0..self.plan.taps() {
                for k in 0..self.plan.run {
                    let (ky, kx, c) = match self.plan.input {
                        Source::Direct => (tap / kernel_w, tap % kernel_w, k),
                        Source::Rows => (tap, k / in_group, k % in_group),
                    };
                    let step = (block * self.plan.taps() + tap) * self.plan.steps + k / depth;
                    for n in 0..channels {
                        let w = weights.weight
                            [(((first + n) * in_group + c) * kernel_h + ky) * kernel_w + kx];
                        let at = ((step * lanes + n) * depth + k % depth) * element;
                        packed[at..at + element]
                            .copy_from_slice(&i16::from(w).to_le_bytes()[..element]);
                    }
                }
            }
        }
        self.weights = packed;
    }

    fn pack_channels(&mut self, weights: &ConvWeights<'_>) {
        let entries = self.blocks() * self.kernel.channels;
        (self.bias, self.scale) = (vec![0; entries], vec![0.0; entries]);
        let offset = if self.kernel.signed { 128 } else { 0 };
        let per_channel = weights.weight.len() / self.spec.out_channels;
        for block in 0..self.blocks() {
            let (first, channels) = self.block_channels(block);
            for n in 0..channels {
                let (at, channel) = (block * self.kernel.channels + n, first + n);
                let w = &weights.weight[channel * per_channel..][..per_channel];
                let sum: i32 = w.iter().map(|w| i32::from(*w)).sum();
                // Sums wrap around 2^32 on the way and end where the exact sum is, which fits (ConvWeights::check).
                let zero = (offset - i32::from(weights.x_zero)).wrapping_mul(sum);
                self.bias[at] = weights.bias[channel].wrapping_add(zero);
                self.scale[at] = weights.scale[channel];
            }
        }
    }

    fn fill_padding(&mut self) {
        let element = self.kernel.element();
        for entry in self.padding.chunks_exact_mut(element) {
            entry.copy_from_slice(&i16::from(self.x_zero).to_le_bytes()[..element]);
        }
    }
}

/// Whether some `sum · scale` could exceed 2^30.
fn unbounded(spec: &ConvSpec, weights: &ConvWeights<'_>) -> bool {
    let per_channel = weights.weight.len() / spec.out_channels;
    weights.weight.chunks_exact(per_channel).zip(weights.bias).zip(weights.scale).any(
        |((w, bias), scale)| {
            let sum: f64 = w.iter().map(|w| f64::from(w.unsigned_abs()) * 255.0).sum();
            (sum + f64::from(bias.unsigned_abs())) * f64::from(*scale) > f64::from(1 << 30)
        },
    )
}

// Running.

#[derive(Clone, Copy)]
enum Target<'a> {
    Bytes { y: *mut u8, residual: Option<(*const u8, &'a Residual)> },
    Floats(*mut f32),
}

/// Pointers for one run; parts write disjoint tiles.
struct Run<'a> {
    conv: &'a Conv,
    /// First activation, and bytes from one pixel to the next.
    x: *const u8,
    pitch: usize,
    /// Whether padding is written out in what `x` points to.
    padded: bool,
    target: Target<'a>,
    threads: *mut u8,
}

// SAFETY: the threads of a pool read `x` and the convolution, write disjoint tiles of the target (a tile is one block of
// channels by a range of pixels, and `drive` gives each to one part), and use the scratch of their own thread.
unsafe impl Sync for Run<'_> {}

impl Conv {
    /// Bytes of the copy of the input that the plan asks for.
    fn input_scratch(&self) -> usize {
        let (height, width) = self.source_size();
        let bytes = match (self.plan.input, self.kernel.wide) {
            (Source::Direct, false) => return 0,
            (Source::Direct, true) => height * width * self.spec.in_channels * 2,
            (Source::Rows, _) => height * width * self.spec.in_channels * self.kernel.element(),
        };
        (bytes + SLACK).next_multiple_of(64)
    }

    /// Height and width of what the taps read.
    fn source_size(&self) -> (usize, usize) {
        let [top, left, bottom, right] = self.spec.padding;
        match self.plan.input {
            Source::Direct => (self.spec.in_h, self.spec.in_w),
            Source::Rows => (self.spec.in_h + top + bottom, self.spec.in_w + left + right),
        }
    }

    /// Bytes a thread needs: pointers of a tile, and its sums.
    fn thread_scratch(&self) -> usize {
        let pointers = self.plan.taps() * self.kernel.pixels * size_of::<*const u8>();
        (pointers + self.kernel.pixels * self.kernel.channels * 4 + 64).next_multiple_of(64)
    }

    fn drive(&self, x: &[u8], target: Target<'_>, pool: &Pool, scratch: &mut Scratch) {
        let spec = &self.spec;
        let needed = (spec.in_h * spec.in_w - 1) * spec.in_stride + spec.in_channels + SLACK;
        assert!(x.len() >= needed, "input of {} bytes, expected {needed} with slack", x.len());
        let needed = self.scratch_bytes(pool.threads());
        assert!(
            scratch.0.len() >= needed,
            "scratch of {} bytes, expected {needed}",
            scratch.0.len()
        );
        let (copy, threads) = scratch.0.split_at_mut(self.input_scratch());
        let copied = !copy.is_empty();
        if copied {
            self.copy_input(x, copy, pool);
        }
        let run = Run {
            conv: self,
            x: if copied { copy.as_ptr() } else { x.as_ptr() },
            pitch: if copied { spec.in_channels * self.kernel.element() } else { spec.in_stride },
            padded: self.plan.input == Source::Rows,
            target,
            threads: threads.as_mut_ptr(),
        };
        let cuts =
            Cuts::new(self.tiles(), self.blocks(), self.weights.len(), x.len(), pool.threads());
        pool.run(cuts.parts, |thread, part| {
            let (tiles, blocks) = cuts.part(part);
            run.part(thread, tiles, blocks);
        });
    }

    /// Writes the input as the taps want it: padded, dense, widened.
    fn copy_input(&self, x: &[u8], copy: &mut [u8], pool: &Pool) {
        let spec = &self.spec;
        let [top, left, ..] = if self.plan.input == Source::Rows { spec.padding } else { [0; 4] };
        let (height, width) = self.source_size();
        let (element, channels) = (self.kernel.element(), spec.in_channels);
        let pitch = width * channels * element;
        let wide_zero = u16::from(self.x_zero).to_le_bytes();
        pool.split_rows(&mut copy[..height * pitch], height, pitch, |rows, copy| {
            for (copy, row) in copy.chunks_exact_mut(pitch).zip(rows) {
                let inside = row.checked_sub(top).filter(|row| *row < spec.in_h);
                if inside.is_none() || width > spec.in_w {
                    copy.chunks_exact_mut(element)
                        .for_each(|e| e.copy_from_slice(&wide_zero[..element]));
                }
                let Some(row) = inside else { continue };
                let x = &x[row * spec.in_w * spec.in_stride..];
                let copy = &mut copy[left * channels * element..][..spec.in_w * channels * element];
                for (copy, x) in
                    copy.chunks_exact_mut(channels * element).zip(x.chunks(spec.in_stride))
                {
                    if element == 1 {
                        copy.copy_from_slice(&x[..channels]);
                    } else {
                        for (wide, x) in copy.chunks_exact_mut(2).zip(x) {
                            wide.copy_from_slice(&u16::from(*x).to_le_bytes());
                        }
                    }
                }
            }
        });
    }
}

/// How tiles and blocks are divided among parts: by blocks where weights are most of the traffic, else by tiles.
struct Cuts {
    tiles: usize,
    blocks: usize,
    parts: usize,
    by_block: bool,
}

impl Cuts {
    fn new(
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

impl Run<'_> {
    /// Loop order: a run of tiles for one block of weights, then the next block. The run is as long as its
    /// activations stay near, and longer the more there are weights to reuse.
    fn part(&self, thread: usize, tiles: Range<usize>, blocks: Range<usize>) {
        let weights = blocks.len() * self.conv.block_bytes();
        let together = match weights {
            0..0x8000 => 1,
            0x8000..0x10_0000 => 8,
            _ => tiles.len(),
        };
        let mut first = tiles.start;
        while first < tiles.end {
            let end = (first + together).min(tiles.end);
            if together == 1 {
                self.tile_of_blocks(thread, first, blocks.clone());
            } else {
                for block in blocks.clone() {
                    (first..end)
                        .for_each(|tile| self.tile_of_blocks(thread, tile, block..block + 1));
                }
            }
            first = end;
        }
    }

    /// One tile of pixels for several blocks of channels.
    fn tile_of_blocks(&self, thread: usize, tile: usize, blocks: Range<usize>) {
        let (conv, kernel) = (self.conv, self.conv.kernel);
        // Tiles of equal size (but for one pixel) rather than full ones and a remnant.
        let (all, tiles) = (conv.spec.out_pixels(), conv.tiles());
        let first = tile * all / tiles;
        let pixels = (tile + 1) * all / tiles - first;
        let scratch = self.threads.wrapping_add(thread * conv.thread_scratch());
        let rows = scratch.cast::<*const u8>();
        let sums = rows.wrapping_add(conv.plan.taps() * kernel.pixels).cast::<i32>();
        let mut group_of_rows = usize::MAX;
        for block in blocks {
            let group = block / conv.plan.blocks_per_group;
            if group != group_of_rows {
                // SAFETY: the scratch of this thread has room for the pointers (`thread_scratch`).
                unsafe { self.find_rows(group, first, pixels, rows) };
                group_of_rows = group;
            }
            // SAFETY: the block and the tile exist, `rows` was filled for them, `sums` lies behind the pointers.
            unsafe { self.one_tile(block, first, pixels, rows, sums) };
        }
    }

    /// Fills `rows[tap][pixel]` for `pixels` output pixels from `first`.
    ///
    /// # Safety
    /// `rows` has room for `taps · kernel.pixels` pointers.
    unsafe fn find_rows(&self, group: usize, first: usize, pixels: usize, rows: *mut *const u8) {
        let (spec, plan) = (&self.conv.spec, &self.conv.plan);
        let out_w = spec.out_w();
        let [top, left] = if self.padded { [0, 0] } else { [spec.padding[0], spec.padding[1]] };
        let (height, width) = self.conv.source_size();
        let base = self
            .x
            .wrapping_add(group * (spec.in_channels / spec.groups) * self.conv.kernel.element());
        for pixel in 0..pixels {
            let (y_out, x_out) = ((first + pixel) / out_w, (first + pixel) % out_w);
            let mut at = rows.wrapping_add(pixel);
            for ky in 0..plan.taps[0] {
                let row = (y_out * spec.stride[0] + ky * spec.dilation[0]).wrapping_sub(top);
                for kx in 0..plan.taps[1] {
                    let col = (x_out * spec.stride[1] + kx * spec.dilation[1]).wrapping_sub(left);
                    // Wrapped below zero is far above the size, too.
                    let inside = row < height && col < width;
                    let x = base.wrapping_add(
                        (row.wrapping_mul(width).wrapping_add(col)).wrapping_mul(self.pitch),
                    );
                    // SAFETY: `at` is entry `[tap][pixel]`.
                    unsafe { at.write(if inside { x } else { self.conv.padding.as_ptr() }) };
                    at = at.wrapping_add(self.conv.kernel.pixels);
                }
            }
        }
    }

    /// # Safety
    /// Block and pixels exist; `rows` is filled for them; `sums` has room for a tile.
    unsafe fn one_tile(
        &self,
        block: usize,
        first: usize,
        pixels: usize,
        rows: *const *const u8,
        sums: *mut i32,
    ) {
        let (conv, lanes) = (self.conv, self.conv.kernel.channels);
        let (channel, channels) = conv.block_channels(block);
        let at = first * conv.spec.out_stride + channel;
        let output = match self.target {
            Target::Bytes { y, residual } if !conv.unbounded => Output::Bytes {
                y: y.wrapping_add(at),
                stride: conv.spec.out_stride,
                requant: &conv.requant,
                residual: residual
                    .map(|(r, add)| (r.wrapping_add(first * add.stride + channel), add)),
            },
            Target::Bytes { .. } | Target::Floats(_) => Output::Sums(sums),
        };
        let tile = Tile {
            rows,
            taps: conv.plan.taps(),
            steps: conv.plan.steps,
            weights: conv.weights[block * conv.block_bytes()..].as_ptr(),
            bias: conv.bias[block * lanes..].as_ptr(),
            scale: conv.scale[block * lanes..].as_ptr(),
            pixels,
            channels,
            output,
        };
        // SAFETY: the kernel came from an `Isa`, which proves the CPU has it; pointers are as `Tile` documents:
        // rows end at most at the end of the input, behind which SLACK bytes are readable.
        unsafe { (conv.kernel.tile)(&tile) };
        if let Output::Sums(sums) = tile.output {
            // SAFETY: the tile has just written `pixels · lanes` sums.
            let sums = unsafe { std::slice::from_raw_parts(sums, pixels * lanes) };
            for (pixel, sums) in sums.chunks_exact(lanes).enumerate() {
                // SAFETY: this tile's part of the target is this part's alone and was checked for length in `run`.
                unsafe { self.finish(block, first + pixel, sums) };
            }
        }
    }

    /// Requantizes the sums of one pixel by the scalar definition, or multiplies only.
    ///
    /// # Safety
    /// Block and pixel exist, and no other thread writes them.
    unsafe fn finish(&self, block: usize, pixel: usize, sums: &[i32]) {
        let conv = self.conv;
        let (channel, channels) = conv.block_channels(block);
        let scale = &conv.scale[block * conv.kernel.channels..][..channels];
        let at = pixel * conv.spec.out_stride + channel;
        for (n, (sum, scale)) in sums.iter().zip(scale).enumerate() {
            let v = *sum as f32 * scale;
            match self.target {
                // SAFETY: as this function demands.
                Target::Floats(y) => unsafe { y.add(at + n).write(v) },
                Target::Bytes { y, residual } => {
                    let c =
                        scalar::requantize(v, conv.requant.zero, conv.requant.lo, conv.requant.hi);
                    let q = residual.map_or(c, |(r, add)| {
                        // SAFETY: the residual was checked for length in `run`.
                        let r = unsafe { *r.add(pixel * add.stride + channel + n) };
                        scalar::add_one(add, conv.requant.zero, c, r)
                    });
                    // SAFETY: as this function demands.
                    unsafe { y.add(at + n).write(q) };
                }
            }
        }
    }
}

/// A fully connected layer: a 1x1 convolution of one row of "pixels".
#[derive(Debug)]
pub struct Linear(Conv);

impl Linear {
    /// `weights.weight` is `[outputs, inputs]`; `rows` input vectors lie `inputs` bytes apart, results `outputs` apart.
    pub fn pack(
        isa: Isa,
        rows: usize,
        inputs: usize,
        outputs: usize,
        weights: ConvWeights<'_>,
    ) -> Result<Self, SpecError> {
        let spec = ConvSpec {
            in_channels: inputs,
            out_channels: outputs,
            groups: 1,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0; 4],
            dilation: [1, 1],
            in_h: 1,
            in_w: rows,
            in_stride: inputs,
            out_stride: outputs,
        };
        Conv::pack(isa, &spec, weights, None).map(Self)
    }

    /// The same as a convolution; all of [`Conv`]'s methods apply.
    pub fn as_conv(&self) -> &Conv {
        &self.0
    }

    pub fn run(&self, x: &[u8], y: &mut [u8], pool: &Pool, scratch: &mut Scratch) {
        self.0.run(x, None, y, pool, scratch);
    }

    pub fn run_f32(&self, x: &[u8], y: &mut [f32], pool: &Pool, scratch: &mut Scratch) {
        self.0.run_f32(x, y, pool, scratch);
    }
}
