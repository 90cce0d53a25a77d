//! Convolutions that run as Winograd's: when they may and should, and their weights.

use super::fused::GROUP;
use super::tile_groups::{self, TileGroups};
use super::tile_order::TileOrder;
use super::{PATCH, POINTS, POWER_OF_TWO, WinogradKernels};
use crate::gemm::pack::WeightLayout;
use crate::gemm::packed::PackedConv;
use crate::gemm::tile::MicroKernel;
use crate::memory::Buffer;
use crate::spec::{ConvSpec, ConvWeights, absolute_sum, sum};

/// What a convolution needs to run in this form.
#[derive(Debug)]
pub(crate) struct WinogradPlan {
    pub(super) kernels: &'static WinogradKernels,
    /// Tiles of 4x4 outputs, and short ones.
    pub(super) order: TileOrder,
    /// Tiles that are transformed together.
    pub(super) strip: usize,
    /// For each strip, where a row of points is multiplied at a time.
    pub(super) groups: Vec<[Vec<TileGroups>; PATCH]>,
    /// Input channels, rounded up to whole chunks.
    pub(super) channels: usize,
    /// What the sums of all points but the centre start from.
    pub(super) zeros: Vec<i32>,
}

/// A strip's transformed inputs should stay near, and so should the sums of one block.
const STRIP_BYTES: usize = 460 << 10;
const STRIP: usize = 96;
const TAPS: usize = 9;
/// Fewer output channels would leave most of a register empty.
pub(super) const LANES: usize = 16;

impl WinogradPlan {
    /// The form for this convolution, if it gains by it and the sums stay exact.
    pub(crate) fn of(
        kernels: &'static WinogradKernels,
        spec: &ConvSpec,
        weights: &ConvWeights<'_>,
    ) -> Option<Self> {
        let fits = spec.kernel == [3, 3] && spec.stride == [1, 1] && spec.dilation == [1, 1];
        let chunk = kernels.chunk;
        if !fits || spec.groups > 1 || spec.in_channels < chunk || spec.out_channels < LANES {
            return None;
        }
        let order = TileOrder::new([spec.out_h(), spec.out_w()]);
        let count = order.count();
        let channels = spec.in_channels.next_multiple_of(chunk);
        let most = (STRIP_BYTES / (POINTS * 2 * channels)).clamp(kernels.product.pixels, STRIP);
        // An even number of strips, for two threads.
        let strips = count.div_ceil(most);
        let strips = if strips > 1 { strips.next_multiple_of(2) } else { 1 };
        let (strip, lanes) = (count.div_ceil(strips), kernels.product.channels);
        // Whole groups; what is left over makes a small strip more.
        let strip =
            if kernels.fused.is_some() && strips > 1 { strip / GROUP * GROUP } else { strip };
        let tiles = |first: usize| first..(first + strip).min(count);
        let groups: Vec<_> = kernels.fused.map_or(Vec::new(), |fused| {
            let strips = (0..count).step_by(strip).map(tiles);
            let pitches = [channels * size_of::<i16>(), of_rows(lanes)[1] * size_of::<i32>()];
            strips.map(|tiles| tile_groups::of_strip(fused, &order, &tiles, pitches)).collect()
        });
        let products = match kernels.fused {
            Some(fused) => groups.iter().map(|groups| tile_groups::cost(fused, groups)).sum(),
            None => order.products() as f64 + 150.0 * strips as f64,
        };
        if !pays(spec, products, count, kernels.plain) || !exact(spec, weights) {
            return None;
        }
        Some(Self { kernels, order, strip, groups, channels, zeros: vec![0; lanes] })
    }

    pub(crate) fn product(&self) -> &'static MicroKernel {
        self.kernels.product
    }

    /// Entries from one point to the next, of a strip's inputs and of a block's weights. Never a multiple of
    /// a page: points at such distances would push each other out of the first-level cache.
    pub(super) fn planes(&self) -> [usize; 2] {
        let lanes = self.kernels.product.channels;
        [self.strip * self.channels + 32, self.channels * lanes + 32]
    }

    /// Entries from one point's sums to the next point's, and from one tile's to the next tile's.
    pub(super) fn sums(&self) -> [usize; 2] {
        let lanes = self.kernels.product.channels;
        if self.kernels.fused.is_some() { of_rows(lanes) } else { [self.strip * lanes + 16, lanes] }
    }
}

/// See [`WinogradPlan::sums`], where a row of points is multiplied at a time.
fn of_rows(lanes: usize) -> [usize; 2] {
    [lanes, POINTS * lanes + 16]
}

/// Whether products and transforms of the tiles cost less than the plain convolution. In multiplications of
/// 16 bits for each pair of channels; a transform's share was fitted to measurements
/// (`cargo bench -p kernels`).
fn pays(spec: &ConvSpec, products: f64, tiles: usize, plain: usize) -> bool {
    let transforms = 140.0 / spec.out_channels as f64 + 260.0 / spec.in_channels as f64;
    products + tiles as f64 * transforms < (spec.out_pixels() * TAPS) as f64 / plain as f64
}

/// The power of two that is shifted out at the end, times every sum, fits 32 bits.
fn exact(spec: &ConvSpec, weights: &ConvWeights<'_>) -> bool {
    let per_channel = weights.weight.len() / spec.out_channels;
    let zero = i64::from(weights.x_zero);
    weights.weight.chunks_exact(per_channel).zip(weights.bias).all(|(w, bias)| {
        let (all, sum) = (absolute_sum(w), sum(w));
        let (positive, negative) = ((all + sum) / 2, (all - sum) / 2);
        // Activations less their zero point lie in −zero..=255 − zero.
        let most = positive * (255 - zero) + negative * zero;
        let least = negative * (255 - zero) + positive * zero;
        POWER_OF_TWO * (most.max(least) + i64::from(bias.unsigned_abs())) <= i64::from(i32::MAX)
    })
}

impl WinogradPlan {
    /// `[block][step][tap][channel][depth]`, and where each block begins. Where a row of points is multiplied
    /// at a time, a block is parted into halves of [`LANES`] channels.
    pub(crate) fn pack(
        &self,
        conv: &PackedConv,
        weights: &ConvWeights<'_>,
    ) -> (Buffer, Vec<usize>) {
        let (lanes, depth) = (conv.kernel.channels, conv.kernel.depth);
        let entry = |c: usize, tap: usize| {
            (c * TAPS + tap, (c / depth * TAPS + tap) * lanes * depth + c % depth)
        };
        let channels = 0..conv.spec.in_channels;
        let entries = channels.flat_map(|c| (0..TAPS).map(move |tap| entry(c, tap))).collect();
        let bytes = TAPS * self.channels * lanes;
        let layout = WeightLayout { entries, depth, bytes, taps: TAPS, arrange: None };
        let (mut packed, starts) = conv.scatter(weights, &layout);
        if self.kernels.fused.is_some() {
            packed.chunks_exact_mut(bytes).for_each(|block| part(block, LANES * depth));
        }
        (packed, starts)
    }
}

/// Brings every second piece of so many bytes to the second half.
fn part(block: &mut [u8], bytes: usize) {
    let pieces = block.to_vec();
    let (first, second) = block.split_at_mut(pieces.len() / 2);
    let halves = first.chunks_exact_mut(bytes).zip(second.chunks_exact_mut(bytes));
    for ((first, second), pair) in halves.zip(pieces.chunks_exact(2 * bytes)) {
        first.copy_from_slice(&pair[..bytes]);
        second.copy_from_slice(&pair[bytes..]);
    }
}

impl WinogradPlan {
    /// Steps of a product: those behind the last channel meet weights of zero.
    pub(super) fn product_steps(&self) -> usize {
        self.channels / self.kernels.product.depth
    }
}
