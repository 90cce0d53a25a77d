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
    /// As the kernel wants them, block behind block.
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
    /// Contiguous activations a tap reads.
    run: usize,
    taps: [usize; 2],
    /// Steps of a tap, or of all taps together if the kernel wants them gathered.
    steps: usize,
    /// Blocks of up to `kernel.channels` output channels of one group.
    blocks: Vec<Block>,
    out_w: usize,
    /// Tiles, of equal size (but for one pixel) rather than full ones and a remnant: `longer` tiles of `least + 1`
    /// pixels, then tiles of `least`.
    tiles: usize,
    least: usize,
    longer: usize,
    out_pixels: usize,
    /// Output pixel `p` reads input pixel `p` and nothing else.
    pointwise: bool,
    input: Source,
    /// Bytes from the first tap's activations to each tap's.
    offsets: Vec<usize>,
    /// Bytes from one pixel to the next in what the taps read.
    pitch: usize,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    group: usize,
    /// First output channel.
    channel: usize,
    channels: usize,
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
        let kernel = isa.kernel_for(spec, weights.weight);
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
        packed.weights = if kernel.depthwise {
            packed.depthwise_weights(&weights)
        } else {
            packed.tile_weights(&weights)
        };
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
        // A depthwise kernel takes whole rows of channels, as if there were one group.
        let groups = if kernel.depthwise { 1 } else { spec.groups };
        let (in_group, out_group) = (spec.in_channels / groups, spec.out_channels / groups);
        let row = spec.kernel[1] * in_group;
        // Few channels: a whole kernel row becomes one tap, at the price of a copy of the input.
        let rows = spec.groups == 1 && spec.dilation[1] == 1 && spec.kernel[1] > 1 && in_group < 16;
        let (input, run, taps) = if rows {
            (Source::Rows, row, [spec.kernel[0], 1])
        } else {
            (Source::Direct, in_group, spec.kernel)
        };
        let block = |group: usize, inner: usize| Block {
            group,
            channel: group * out_group + inner,
            channels: (out_group - inner).min(kernel.channels),
        };
        let blocks = (0..groups).flat_map(|group| {
            (0..out_group).step_by(kernel.channels).map(move |inner| block(group, inner))
        });
        let (pitch, width) = match input {
            Source::Direct if !kernel.wide => (spec.in_stride, spec.in_w),
            Source::Direct => (spec.in_channels * kernel.element(), spec.in_w),
            Source::Rows => {
                (spec.in_channels * kernel.element(), spec.in_w + spec.padding[1] + spec.padding[3])
            }
        };
        let offset =
            |ky: usize, kx: usize| (ky * spec.dilation[0] * width + kx * spec.dilation[1]) * pitch;
        let offsets = (0..taps[0]).flat_map(|ky| (0..taps[1]).map(move |kx| offset(ky, kx)));
        let out_pixels = spec.out_pixels();
        let tiles = out_pixels.div_ceil(kernel.pixels);
        Self {
            run,
            taps,
            steps: match kernel.gathered {
                None if kernel.depthwise => 1,
                None => run.div_ceil(kernel.depth),
                Some(multiple) => {
                    (run * taps[0] * taps[1]).div_ceil(kernel.depth).next_multiple_of(multiple)
                }
            },
            blocks: blocks.collect(),
            out_w: spec.out_w(),
            tiles,
            // Kernels that want rows gathered are at their best with full tiles: those can do without the copy.
            least: if kernel.gathered.is_some() { kernel.pixels } else { out_pixels / tiles },
            longer: if kernel.gathered.is_some() { 0 } else { out_pixels % tiles },
            out_pixels,
            pointwise: spec.kernel == [1, 1] && spec.stride == [1, 1] && spec.padding == [0; 4],
            input,
            offsets: offsets.collect(),
            pitch,
        }
    }

    /// What the kernel sees: one tap if they are gathered.
    fn kernel_taps(&self, kernel: &Kernel) -> usize {
        if kernel.gathered.is_some() { 1 } else { self.taps[0] * self.taps[1] }
    }
}

impl Kernel {
    /// Bytes of an activation or a weight.
    fn element(&self) -> usize {
        if self.wide { 2 } else { 1 }
    }
}

impl Conv {
    /// Bytes of a row of activations as the kernel's steps read it.
    fn row_bytes(&self) -> usize {
        self.plan.steps * self.kernel.depth * self.kernel.element()
    }

    /// Bytes of one block's weights.
    fn block_bytes(&self) -> usize {
        let weight = if self.kernel.depthwise { 2 } else { self.row_bytes() };
        self.plan.kernel_taps(self.kernel) * weight * self.kernel.channels
    }

    /// `[block][tap][channel]` of `i16`
    fn depthwise_weights(&self, weights: &ConvWeights<'_>) -> Buffer {
        let mut packed = Buffer::zeroed(self.plan.blocks.len() * self.block_bytes());
        let taps = self.spec.taps();
        for (block, &Block { channel, channels, .. }) in self.plan.blocks.iter().enumerate() {
            for tap in 0..taps {
                for n in 0..channels {
                    let w = i16::from(weights.weight[(channel + n) * taps + tap]);
                    let at = ((block * taps + tap) * self.kernel.channels + n) * 2;
                    packed[at..at + 2].copy_from_slice(&w.to_ne_bytes());
                }
            }
        }
        packed
    }

    /// `[block][tap][step][channel][depth]`
    fn tile_weights(&self, weights: &ConvWeights<'_>) -> Buffer {
        let (depth, lanes, element) =
            (self.kernel.depth, self.kernel.channels, self.kernel.element());
        let in_group = self.spec.in_channels / self.spec.groups;
        let [kernel_h, kernel_w] = self.spec.kernel;
        let (gathered, kernel_taps) =
            (self.kernel.gathered.is_some(), self.plan.kernel_taps(self.kernel));
        let mut packed = Buffer::zeroed(self.plan.blocks.len() * self.block_bytes());
        for (block, &Block { channel, channels, .. }) in self.plan.blocks.iter().enumerate() {
            for tap in 0..self.plan.taps[0] * self.plan.taps[1] {
                for k in 0..self.plan.run {
                    let (ky, kx, c) = match self.plan.input {
                        Source::Direct => (tap / kernel_w, tap % kernel_w, k),
                        Source::Rows => (tap, k / in_group, k % in_group),
                    };
                    // Entry `k` of a tap, or of all taps in a row.
                    let (tap, k) = if gathered { (0, tap * self.plan.run + k) } else { (tap, k) };
                    let step = (block * kernel_taps + tap) * self.plan.steps + k / depth;
                    for n in 0..channels {
                        let w = weights.weight
                            [(((channel + n) * in_group + c) * kernel_h + ky) * kernel_w + kx];
                        let at = ((step * lanes + n) * depth + k % depth) * element;
                        packed[at..at + element]
                            .copy_from_slice(&i16::from(w).to_le_bytes()[..element]);
                    }
                }
            }
        }
        packed
    }

    fn pack_channels(&mut self, weights: &ConvWeights<'_>) {
        let entries = self.plan.blocks.len() * self.kernel.channels;
        (self.bias, self.scale) = (vec![0; entries], vec![0.0; entries]);
        let offset = if self.kernel.signed { 128 } else { 0 };
        let per_channel = weights.weight.len() / self.spec.out_channels;
        for (block, &Block { channel: first, channels, .. }) in self.plan.blocks.iter().enumerate()
        {
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

    /// Bytes a thread needs: pointers of a strip of tiles, the sums of one tile, and room for gathered rows.
    fn thread_scratch(&self) -> usize {
        let sums = self.kernel.pixels * self.kernel.channels * size_of::<i32>();
        let panel = if self.kernel.gathered.is_some() {
            STRIP.min(self.strip()) * self.panel_bytes() + SLACK
        } else {
            0
        };
        (STRIP * self.pointers() * size_of::<*const u8>() + sums + panel).next_multiple_of(64)
    }

    /// Row pointers of one tile.
    fn pointers(&self) -> usize {
        (self.plan.kernel_taps(self.kernel) * self.kernel.pixels).next_multiple_of(8)
    }

    /// Bytes of a tile's gathered rows.
    fn panel_bytes(&self) -> usize {
        self.kernel.pixels * self.row_bytes()
    }

    /// Tiles that take turns with one block of weights. A strip's activations stay near; it is longer the more weights
    /// there are to reuse.
    fn strip(&self) -> usize {
        let strip = match self.weights.len() {
            0..NEAR => 1,
            NEAR..FAR => 8,
            _ => STRIP,
        };
        if self.kernel.gathered.is_some() {
            strip.min((PANELS / self.panel_bytes()).max(1))
        } else {
            strip
        }
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
            pitch: self.plan.pitch,
            padded: self.plan.input == Source::Rows,
            target,
            threads: threads.as_mut_ptr(),
        };
        let cuts = Cuts::new(
            self.plan.tiles,
            self.plan.blocks.len(),
            self.weights.len(),
            x.len(),
            pool.threads(),
        );
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
                if element == 1 && spec.in_stride == channels {
                    copy.copy_from_slice(&x[..spec.in_w * channels]);
                    continue;
                }
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

/// Tiles in the longest strip.
const STRIP: usize = 32;

/// Weights of fewer bytes than this stay in the first-level cache beside activations.
const NEAR: usize = 1 << 15;

/// Weights of more bytes than this are not expected in the second-level cache.
const FAR: usize = 1 << 20;

/// Bytes of gathered rows that a strip may have: they should stay in the second-level cache.
const PANELS: usize = 640 << 10;

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
    /// Loop order: a strip of tiles for one block of weights, then the next block.
    fn part(&self, thread: usize, tiles: Range<usize>, blocks: Range<usize>) {
        let (conv, kernel) = (self.conv, self.conv.kernel);
        let (strip, pointers) = (conv.strip(), conv.pointers());
        let rows = self.threads.wrapping_add(thread * conv.thread_scratch()).cast::<*const u8>();
        let sums = rows.wrapping_add(STRIP * pointers).cast::<i32>();
        let panels = sums.wrapping_add(kernel.pixels * kernel.channels).cast::<u8>();
        let rows_of = |i: usize| rows.wrapping_add(i * pointers);
        // SAFETY: the kernel came from an `Isa`, which proves the CPU has it.
        unsafe { (kernel.enter)() };
        let mut first = tiles.start;
        while first < tiles.end {
            let last = (first + strip).min(tiles.end);
            let mut group_of_rows = usize::MAX;
            for block in blocks.clone() {
                let group = conv.plan.blocks[block].group;
                if group != group_of_rows {
                    for (i, tile) in (first..last).enumerate() {
                        // SAFETY: this thread's scratch has room for the pointers and panels of a strip.
                        unsafe {
                            if kernel.gathered.is_some() {
                                self.gather_rows(
                                    group,
                                    tile,
                                    rows_of(i),
                                    panels.add(i * conv.panel_bytes()),
                                );
                            } else {
                                self.find_rows(group, tile, rows_of(i));
                            }
                        }
                    }
                    group_of_rows = group;
                }
                for (i, tile) in (first..last).enumerate() {
                    let next = self.prefetch(block, i, last - first);
                    // SAFETY: block and tile exist, rows were filled for them, `sums` lies behind the pointers.
                    unsafe { self.one_tile(block, tile, rows_of(i), sums, next) };
                }
            }
            first = last;
        }
        // SAFETY: as for `enter`.
        unsafe { (kernel.leave)() };
    }

    /// While a strip uses one block of weights, it fetches the next one, a share in each tile: a network's weights have
    /// left the second-level cache since the last inference. Where they are few, the address stands still instead.
    fn prefetch(&self, block: usize, tile: usize, tiles: usize) -> (*const u8, usize) {
        let (conv, bytes) = (self.conv, self.conv.block_bytes());
        let weights = conv.weights.as_ptr();
        if conv.weights.len() < NEAR {
            return (weights.wrapping_add(block * bytes), 0);
        }
        let steps = conv.plan.kernel_taps(conv.kernel) * conv.plan.steps;
        let next = weights.wrapping_add((block + 1) * bytes);
        (next.wrapping_add(tile * bytes / tiles), (bytes / tiles).div_ceil(steps))
    }

    /// Copies the taps of each pixel of a tile together, row behind row, and points to the rows; or points into the
    /// input, where that is the same.
    ///
    /// # Safety
    /// `rows` has room for `kernel.pixels` pointers, `panel` for `panel_bytes` and [`SLACK`].
    unsafe fn gather_rows(&self, group: usize, tile: usize, rows: *mut *const u8, panel: *mut u8) {
        let (conv, plan) = (self.conv, &self.conv.plan);
        let (first, pixels) = self.pixels_of(tile);
        let row_bytes = conv.row_bytes();
        // The kernel reads whole multiples of 16 rows: only a full tile of the input is sure to have them.
        if plan.pointwise && pixels == conv.kernel.pixels {
            // SAFETY: as this function demands.
            return unsafe { self.find_rows(group, tile, rows) };
        }
        for pixel in 0..conv.kernel.pixels {
            // SAFETY: as this function demands.
            unsafe { rows.add(pixel).write(panel.add(pixel * row_bytes)) };
        }
        self.each_tap(group, first, pixels, |pixel, tap, x| {
            // SAFETY: whole chunks are copied, up to 63 bytes too much: the input has SLACK, and behind a row's last tap
            // comes the next row, which is written later, or the panel's SLACK. So rows must be written in order.
            unsafe { copy_chunks(x, panel.add(pixel * row_bytes + tap * plan.run), plan.run) };
        });
    }

    /// First pixel of a tile, and how many it has.
    fn pixels_of(&self, tile: usize) -> (usize, usize) {
        let plan = &self.conv.plan;
        let first = tile * plan.least + tile.min(plan.longer);
        (first, (plan.least + usize::from(tile < plan.longer)).min(plan.out_pixels - first))
    }

    /// Fills `rows[tap][pixel]` for the pixels of a tile.
    ///
    /// # Safety
    /// `rows` has room for `taps · kernel.pixels` pointers.
    unsafe fn find_rows(&self, group: usize, tile: usize, rows: *mut *const u8) {
        let (first, pixels) = self.pixels_of(tile);
        if self.conv.plan.pointwise {
            let x = self.group_start(group).wrapping_add(first * self.pitch);
            for pixel in 0..pixels {
                // SAFETY: entry `[0][pixel]`.
                unsafe { rows.add(pixel).write(x.wrapping_add(pixel * self.pitch)) };
            }
            return;
        }
        self.each_tap(group, first, pixels, |pixel, tap, x| {
            // SAFETY: entry `[tap][pixel]`.
            unsafe { rows.add(tap * self.conv.kernel.pixels + pixel).write(x) };
        });
    }

    fn group_start(&self, group: usize) -> *const u8 {
        let spec = &self.conv.spec;
        self.x.wrapping_add(group * (spec.in_channels / spec.groups) * self.conv.kernel.element())
    }

    /// `visit(pixel, tap, activations under the tap)`, pixel by pixel.
    #[inline(always)]
    fn each_tap(
        &self,
        group: usize,
        first: usize,
        pixels: usize,
        mut visit: impl FnMut(usize, usize, *const u8),
    ) {
        // Copies of what the loops need: behind the visitor's writes through pointers, nothing borrowed stays in registers.
        let Run { conv, pitch, padded, .. } = *self;
        let ([down, right], [row_step, col_step]) = (conv.spec.stride, conv.spec.dilation);
        let ([taps_h, taps_w], out_w) = (conv.plan.taps, conv.plan.out_w);
        let [top, left] =
            if padded { [0, 0] } else { [conv.spec.padding[0], conv.spec.padding[1]] };
        let ((height, width), padding) = (conv.source_size(), conv.padding.as_ptr());
        let (base, row_bytes, offsets) =
            (self.group_start(group), width * pitch, conv.plan.offsets.as_slice());
        // Where the first tap may lie so that all are inside; where padding is written out, that is everywhere.
        let rows_inside = height.saturating_sub((taps_h - 1) * row_step);
        let cols_inside =
            if padded { width } else { width.saturating_sub((taps_w - 1) * col_step) };
        let (mut y_out, mut x_out) = (first / out_w, first % out_w);
        for pixel in 0..pixels {
            // Wrapped below zero is far above the size, too.
            let (row, col) = ((y_out * down).wrapping_sub(top), (x_out * right).wrapping_sub(left));
            let x = base
                .wrapping_add(row.wrapping_mul(row_bytes))
                .wrapping_add(col.wrapping_mul(pitch));
            if row < rows_inside && col < cols_inside {
                for (tap, offset) in offsets.iter().enumerate() {
                    visit(pixel, tap, x.wrapping_add(*offset));
                }
            } else {
                for (tap, offset) in offsets.iter().enumerate() {
                    let (row, col) = (tap / taps_w * row_step, tap % taps_w * col_step);
                    let (row, col) = (
                        (y_out * down + row).wrapping_sub(top),
                        (x_out * right + col).wrapping_sub(left),
                    );
                    let inside = row < height && col < width;
                    visit(pixel, tap, if inside { x.wrapping_add(*offset) } else { padding });
                }
            }
            x_out += 1;
            if x_out == out_w {
                (x_out, y_out) = (0, y_out + 1);
            }
        }
    }

    /// # Safety
    /// Block and tile exist; `rows` is filled for them; `sums` has room for a tile.
    unsafe fn one_tile(
        &self,
        block: usize,
        tile: usize,
        rows: *const *const u8,
        sums: *mut i32,
        prefetch: (*const u8, usize),
    ) {
        let (conv, lanes) = (self.conv, self.conv.kernel.channels);
        let (first, pixels) = self.pixels_of(tile);
        let Block { channel, channels, .. } = conv.plan.blocks[block];
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
            offset: if conv.kernel.depthwise { channel } else { 0 },
            taps: conv.plan.kernel_taps(conv.kernel),
            steps: conv.plan.steps,
            weights: conv.weights[block * conv.block_bytes()..].as_ptr(),
            bias: conv.bias[block * lanes..].as_ptr(),
            scale: conv.scale[block * lanes..].as_ptr(),
            pixels,
            channels,
            output,
            prefetch,
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
        let Block { channel, channels, .. } = conv.plan.blocks[block];
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

/// Copies `len` bytes and what is behind them, up to whole chunks: of 16 bytes for short runs, else of 64.
///
/// # Safety
/// `len + 63` bytes can be read at `from` and written at `to`.
#[inline(always)]
unsafe fn copy_chunks(from: *const u8, to: *mut u8, len: usize) {
    #[inline(always)]
    unsafe fn copy<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
        let mut at = 0;
        while at < len {
            // SAFETY: as `copy_chunks` demands: the chunk begins before `len` and is at most 64 long.
            unsafe {
                to.add(at)
                    .cast::<[u8; N]>()
                    .write_unaligned(from.add(at).cast::<[u8; N]>().read_unaligned())
            };
            at += N;
        }
    }
    // SAFETY: as this function demands.
    unsafe { if len <= 32 { copy::<16>(from, to, len) } else { copy::<64>(from, to, len) } }
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
