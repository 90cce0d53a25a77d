//! Weights as the kernels want them, and per-channel parameters with zero points folded in.

use super::packed::PackedConv;
use super::plan::{Block, TapSource};
use super::tile::{Activations, Arrange, DepthwiseWeights};
use crate::memory::Buffer;
use crate::spec::{ConvWeights, sum};

/// How a block's weights are laid out.
pub(crate) struct WeightLayout {
    /// Where a channel's weights lie in the file, and where those of a block's first channel go; the next
    /// channels' follow every `depth` bytes.
    pub(crate) entries: Vec<(usize, usize)>,
    pub(crate) depth: usize,
    /// Bytes of a block, and taps in it, before `arrange`.
    pub(crate) bytes: usize,
    pub(crate) taps: usize,
    pub(crate) arrange: Option<Arrange>,
}

impl PackedConv {
    /// Bytes of one block's weights before the kernel arranges them.
    fn block_bytes(&self) -> usize {
        let (taps, channels) = (self.plan.taps[0] * self.plan.taps[1], self.kernel.channels);
        match self.kernel.depthwise {
            None => taps * self.plan.steps * self.kernel.depth * channels,
            Some(DepthwiseWeights::Words) => taps * size_of::<i16>() * channels,
            Some(DepthwiseWeights::FourTaps) => taps.next_multiple_of(4) * channels,
            Some(DepthwiseWeights::FourTapsWide) => taps.next_multiple_of(4) * 2 * channels,
        }
    }

    /// Weights of a depthwise kernel, and where each block begins.
    pub(crate) fn depthwise_weights(
        &self,
        weights: &ConvWeights<'_>,
        form: DepthwiseWeights,
    ) -> (Buffer, Vec<usize>) {
        let (bytes, blocks, taps) = (self.block_bytes(), &self.plan.blocks, self.spec.taps());
        let mut packed = Buffer::zeroed(blocks.len() * bytes);
        for (&Block { channel, channels, .. }, to) in
            blocks.iter().zip(packed.chunks_exact_mut(bytes))
        {
            let from = &weights.weight[channel * taps..][..channels * taps];
            match form {
                DepthwiseWeights::Words => words(from, taps, self.kernel.channels, to),
                DepthwiseWeights::FourTaps => four_taps(from, taps, to),
                DepthwiseWeights::FourTapsWide => {
                    let mut narrow = vec![0; bytes / 2];
                    four_taps(from, taps, &mut narrow);
                    widen(&narrow, to);
                }
            }
        }
        (packed, (0..=blocks.len()).map(|block| block * bytes).collect())
    }

    /// `[block][tap][step][channel][depth]`, or what the kernel makes of it, and where each block begins.
    pub(crate) fn tile_weights(&self, weights: &ConvWeights<'_>) -> (Buffer, Vec<usize>) {
        let (depth, lanes) = (self.kernel.depth, self.kernel.channels);
        let in_group = self.spec.in_channels / self.spec.groups;
        let [kernel_h, kernel_w] = self.spec.kernel;
        // Entry `k` of a tap: where it lies among the weights of a channel, and in a packed block.
        let entry = |tap: usize, k: usize| {
            let (ky, kx, c) = match self.plan.input {
                TapSource::Direct | TapSource::Converted => (tap / kernel_w, tap % kernel_w, k),
                TapSource::Rows => (tap, k / in_group, k % in_group),
            };
            let step = tap * self.plan.steps + k / depth;
            ((c * kernel_h + ky) * kernel_w + kx, step * lanes * depth + k % depth)
        };
        let taps = self.plan.taps[0] * self.plan.taps[1];
        let entries = (0..taps).flat_map(|tap| (0..self.plan.run).map(move |k| (tap, k)));
        let entries: Vec<_> = entries.map(|(tap, k)| entry(tap, k)).collect();
        let arrange = self.kernel.arrange;
        self.scatter(
            weights,
            &WeightLayout { entries, bytes: self.block_bytes(), taps, depth, arrange },
        )
    }

    /// Blocks of weights, and where each begins.
    pub(crate) fn scatter(
        &self,
        weights: &ConvWeights<'_>,
        layout: &WeightLayout,
    ) -> (Buffer, Vec<usize>) {
        let (blocks, bytes) = (&self.plan.blocks, layout.bytes);
        let Some(arrange) = layout.arrange else {
            let mut packed = Buffer::zeroed(blocks.len() * bytes);
            for (block, to) in blocks.iter().zip(packed.chunks_exact_mut(bytes)) {
                self.scatter_block(block, weights, layout, to);
            }
            return (packed, (0..=blocks.len()).map(|block| block * bytes).collect());
        };
        let tap = bytes / layout.taps;
        let mut packed = Buffer::zeroed(blocks.len() * layout.taps * (arrange.most)(tap));
        let (mut plain, mut starts, mut end) = (vec![0; bytes], vec![0], 0);
        for block in blocks {
            plain.fill(0);
            self.scatter_block(block, weights, layout, &mut plain);
            for tap in plain.chunks_exact(tap) {
                end += (arrange.arrange)(tap, &mut packed[end..]);
            }
            starts.push(end);
        }
        packed.truncate(end);
        (packed, starts)
    }

    fn scatter_block(
        &self,
        block: &Block,
        weights: &ConvWeights<'_>,
        layout: &WeightLayout,
        to: &mut [u8],
    ) {
        let per_channel = weights.weight.len() / self.spec.out_channels;
        let from = &weights.weight[block.channel * per_channel..][..block.channels * per_channel];
        for &(first, at) in &layout.entries {
            let from = from[first..].iter().step_by(per_channel);
            to[at..].iter_mut().step_by(layout.depth).zip(from).for_each(|(to, w)| *to = *w as u8);
        }
    }

    /// Biases, times `factor`, and scales.
    pub(crate) fn pack_channels(&mut self, weights: &ConvWeights<'_>, factor: i32) {
        let entries = self.plan.blocks.len() * self.kernel.channels;
        (self.bias, self.scale) = (vec![0; entries], vec![0.0; entries]);
        let offset = if self.kernel.activations == Activations::Signed { 128 } else { 0 };
        let per_channel = weights.weight.len() / self.spec.out_channels;
        for (block, &Block { channel: first, channels, .. }) in self.plan.blocks.iter().enumerate()
        {
            for n in 0..channels {
                let (at, channel) = (block * self.kernel.channels + n, first + n);
                let w = &weights.weight[channel * per_channel..][..per_channel];
                let sum = sum(w) as i32;
                // Sums wrap around 2^32 on the way and end where the exact sum is, which fits (ConvWeights::check).
                let zero = (offset - i32::from(weights.x_zero)).wrapping_mul(sum);
                self.bias[at] = weights.bias[channel].wrapping_add(zero).wrapping_mul(factor);
                self.scale[at] = weights.scale[channel];
            }
        }
    }
}

/// Weights `[channel][tap]` of a block as [`DepthwiseWeights::Words`] of so many lanes.
fn words(weights: &[i8], taps: usize, lanes: usize, to: &mut [u8]) {
    for (at, w) in weights.iter().enumerate() {
        let at = (at % taps * lanes + at / taps) * 2;
        to[at..at + 2].copy_from_slice(&i16::from(*w).to_ne_bytes());
    }
}

/// Weights `[channel][tap]` of a block as [`DepthwiseWeights::FourTaps`], for channel `16·lane + 4·j + i`: the order
/// that unpacking bytes twice within lanes gives. A block of 32 or 16 channels at most has them twice or four times.
fn four_taps(weights: &[i8], taps: usize, to: &mut [u8]) {
    let channels = weights.len() / taps;
    let room = match channels {
        ..=16 => 16,
        17..=32 => 32,
        _ => 64,
    };
    for (at, to) in to.iter_mut().enumerate() {
        let (four, j, lane) = (at / 256, at / 64 % 4, at / 16 % 4);
        let (channel, tap) = ((16 * lane + 4 * j + at / 4 % 4) % room, 4 * four + at % 4);
        if channel < channels && tap < taps {
            *to = weights[channel * taps + tap] as u8;
        }
    }
}

/// As [`DepthwiseWeights::FourTapsWide`].
fn widen(narrow: &[u8], to: &mut [u8]) {
    for (register, to) in narrow.chunks_exact(32).zip(to.chunks_exact_mut(64)) {
        let (quads, _) = register.as_chunks::<4>();
        for (at, [a, b, c, d]) in quads.iter().enumerate() {
            for (place, pair) in [(4 * at, [a, c]), (32 + 4 * at, [b, d])] {
                let words = pair.map(|w| i16::from(*w as i8).to_ne_bytes());
                to[place..place + 4].copy_from_slice(words.as_flattened());
            }
        }
    }
}
