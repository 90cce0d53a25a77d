//! Which channels `vpmaddubsw` may multiply side by side.
//!
//! It adds two neighbouring products of bytes in 16 bits and saturates. `x₀·w₀ + x₁·w₁` with `x` of 0..=255
//! fits as long as the positive weights of the pair do not exceed 128 together, and the negative ones −128:
//! 255 · 128 < 2¹⁵. That has to hold in each of a block's output channels, and for a third of the neighbours
//! of a network it does not. But the order in which channels are added is free: 16 neighbours can mostly be
//! paired so that all pairs are safe. A byte shuffle brings the activations of a pixel into that order, once
//! for all of a block's channels. Two that find no partners (in no case can weights of 127) share a place
//! with half of their weights, and come again in a step at the end with the rest. Where so many would come again that
//! products of 16 bits are quicker, which fit always, the tap keeps its weights in pairs for those instead.
//!
//! ```text
//! a tap: steps, more steps, 0: u32, to 64 bytes
//!        pattern of each window: [u8; 32], to a multiple of 64 bytes
//!        weights of each step, and of each more: [channel][4]
//!        of each more, offset: u32, pattern: [u8; 4], to a multiple of 64 bytes
//! or     steps, 0, 1: u32, to 64 bytes
//!        weights of each step: [half][channel][2]
//! ```
//!
//! A window is 32 activations of the tap, each half in the order of its half of the pattern; a step takes
//! four of them. One of those at the end takes the four that its pattern picks of the 16 from its offset on.

use super::{CHANNELS, DEPTH};
use crate::gemm::interleave::interleave;
use crate::gemm::tile::Arrange;

pub(super) const ARRANGE: Arrange = Arrange { most, arrange };

/// What the positive weights of a pair may add up to, and the negative ones without their sign.
const MOST: u8 = 128;
/// Activations in a window, and in each half of it, from which a shuffle can pick.
pub(super) const WINDOW: usize = 2 * HALF;
const HALF: usize = 16;
/// How often channels change partners before pairs that are not safe are left so.
const ROUNDS: usize = 24;

/// A tap is multiplied in 16 bits if more than one step in so many would come twice: on bytes, a step takes 7 instructions a
/// pixel, of which 4 multiply, in 16 bits 10 and 4.
const FEW: usize = 4;

/// `[channel][depth]`
type StepWeights = [u8; CHANNELS * DEPTH];

/// Bytes of a tap before its patterns, or its weights of 16 bits.
pub(super) const HEADER: usize = 64;

/// Where a tap's patterns, weights, and entries of those at the end lie, and where it ends.
#[inline]
pub(super) fn places(steps: usize, more: usize) -> [usize; 4] {
    let patterns = HEADER;
    let weights = patterns + (DEPTH * steps).next_multiple_of(64);
    let entries = weights + size_of::<StepWeights>() * (steps + more);
    [patterns, weights, entries, entries + (8 * more).next_multiple_of(64)]
}

/// Bytes that a tap of so many takes at most.
fn most(tap: usize) -> usize {
    let steps = tap / size_of::<StepWeights>();
    let [.., end] = places(steps, steps);
    end
}

/// See [`Arrange`].
fn arrange(tap: &[u8], to: &mut [u8]) -> usize {
    let (steps, _) = tap.as_chunks::<{ CHANNELS * DEPTH }>();
    let [patterns, weights, ..] = places(steps.len(), 0);
    let mut more = Vec::new();
    for (i, steps) in steps.chunks(HALF / DEPTH).enumerate() {
        let mut half = HalfWindow::of(steps);
        half.pair_up();
        let (pairs, safe) = half.in_order();
        let of = |pair: usize, part| {
            pairs.get(pair).map_or(ChannelPair::NONE, |p| ChannelPair { channels: *p, part })
        };
        for step in 0..steps.len() {
            let part =
                |pair| of(pair, if pair < safe { WeightPart::All } else { WeightPart::Half });
            let both = [part(2 * step), part(2 * step + 1)];
            let at = i * (HALF / DEPTH) + step;
            to[patterns + DEPTH * at..][..DEPTH].copy_from_slice(&pattern(both));
            to[weights + size_of::<StepWeights>() * at..][..size_of::<StepWeights>()]
                .copy_from_slice(&half.step(both));
        }
        for pair in (safe..pairs.len()).step_by(2) {
            let both = [of(pair, WeightPart::Rest), of(pair + 1, WeightPart::Rest)];
            more.push((i * HALF, pattern(both), half.step(both)));
        }
    }
    if FEW * more.len() > steps.len() {
        return in_words(steps, to);
    }
    let [.., entries, end] = places(steps.len(), more.len());
    let mut put = |at: usize, bytes: &[u8]| to[at..][..bytes.len()].copy_from_slice(bytes);
    put(0, header(steps.len(), more.len(), false).as_flattened());
    for (i, (offset, pattern, w)) in more.iter().enumerate() {
        put(weights + size_of::<StepWeights>() * (steps.len() + i), w);
        put(entries + 8 * i, &number(*offset));
        put(entries + 8 * i + 4, pattern);
    }
    end
}

/// The numbers that a tap begins with.
fn header(steps: usize, more: usize, words: bool) -> [[u8; 4]; 3] {
    [steps, more, words.into()].map(number)
}

fn number(n: usize) -> [u8; 4] {
    u32::try_from(n).expect("fewer than 2³² channels").to_ne_bytes()
}

/// Writes a tap for products of 16 bits: each step's first two activations, then the others, of all channels.
fn in_words(steps: &[StepWeights], to: &mut [u8]) -> usize {
    to[..12].copy_from_slice(header(steps.len(), 0, true).as_flattened());
    let (to_steps, _) = to[HEADER..].as_chunks_mut::<{ CHANNELS * DEPTH }>();
    for (step, to) in steps.iter().zip(to_steps) {
        let (first, others) = to.split_at_mut(CHANNELS * DEPTH / 2);
        let halves = first.as_chunks_mut::<2>().0.iter_mut().zip(others.as_chunks_mut::<2>().0);
        for ([a, b, c, d], (first, others)) in step.as_chunks().0.iter().zip(halves) {
            (*first, *others) = ([*a, *b], [*c, *d]);
        }
    }
    HEADER + steps.as_flattened().len()
}

#[derive(Clone, Copy)]
struct ChannelPair {
    channels: [u8; 2],
    part: WeightPart,
}

impl ChannelPair {
    /// What stands beside a last pair.
    const NONE: Self = Self { channels: [0; 2], part: WeightPart::Nothing };
}

/// How much of its weights.
#[derive(Clone, Copy)]
enum WeightPart {
    All,
    Half,
    Rest,
    Nothing,
}

fn pattern([a, b]: [ChannelPair; 2]) -> [u8; DEPTH] {
    [a.channels[0], a.channels[1], b.channels[0], b.channels[1]]
}

/// Half a window.
struct HalfWindow {
    weights: [[u8; CHANNELS]; HALF],
    /// Without their sign: the positive weights, the negative ones.
    sides: [[[u8; CHANNELS]; 2]; HALF],
    pairs: [CheckedPair; HALF / 2],
    count: usize,
}

/// Two channels, and whether they are safe side by side.
type CheckedPair = ([u8; 2], bool);

impl HalfWindow {
    /// Neighbours are pairs at first.
    fn of(steps: &[StepWeights]) -> Self {
        let mut weights = [[0; CHANNELS]; HALF];
        for (step, weights) in steps.iter().zip(weights.as_chunks_mut().0) {
            *weights = by_channel(step);
        }
        let sides = weights.map(|w| {
            let w = w.map(|w| w as i8);
            [w.map(|w| w.max(0) as u8), w.map(|w| w.min(0).unsigned_abs())]
        });
        let pairs = std::array::from_fn(|i| {
            let pair = [2 * i as u8, 2 * i as u8 + 1];
            (pair, are_safe(&sides, pair))
        });
        Self { weights, sides, pairs, count: DEPTH / 2 * steps.len() }
    }

    /// Two pairs change partners where that makes more of them safe, or as many but others.
    fn pair_up(&mut self) {
        for round in 0..ROUNDS {
            let pairs = &self.pairs[..self.count];
            let Some(i) = pairs.iter().position(|(_, safe)| !safe) else { return };
            let mut best: Option<(i8, usize, [CheckedPair; 2])> = None;
            for j in (0..self.count).map(|j| (j + round) % self.count).filter(|j| *j != i) {
                let (([a, b], _), ([c, d], before)) = (pairs[i], pairs[j]);
                for both in [[[a, c], [b, d]], [[a, d], [b, c]]] {
                    let safe = both.map(|pair| are_safe(&self.sides, pair));
                    let gain = i8::from(safe[0]) + i8::from(safe[1]) - i8::from(before);
                    if gain >= 0 && best.is_none_or(|(most, ..)| gain > most) {
                        best = Some((gain, j, [(both[0], safe[0]), (both[1], safe[1])]));
                    }
                }
                if best.is_some_and(|(gain, ..)| gain > 0) {
                    break;
                }
            }
            let Some((_, j, both)) = best else { return };
            [self.pairs[i], self.pairs[j]] = both;
        }
    }

    /// The pairs, those that are safe first, and how many that are.
    fn in_order(&self) -> (Vec<[u8; 2]>, usize) {
        let pairs = &self.pairs[..self.count];
        let of =
            |which: bool| pairs.iter().filter(move |(_, safe)| *safe == which).map(|(p, _)| *p);
        (of(true).chain(of(false)).collect(), of(true).count())
    }

    /// The weights of a step of two pairs.
    fn step(&self, pairs: [ChannelPair; 2]) -> StepWeights {
        let of = |i: usize| {
            let weights = self.weights[usize::from(pairs[i / 2].channels[i % 2])];
            match pairs[i / 2].part {
                WeightPart::All => weights,
                WeightPart::Half => weights.map(|w| (w as i8 / 2) as u8),
                WeightPart::Rest => weights.map(|w| w.wrapping_sub((w as i8 / 2) as u8)),
                WeightPart::Nothing => [0; CHANNELS],
            }
        };
        let [p, q, r, s] = std::array::from_fn(of);
        let [low, high] = [interleave(p, r), interleave(q, s)];
        let [first, second] = [interleave(low[0], high[0]), interleave(low[1], high[1])];
        let mut step = [0; CHANNELS * DEPTH];
        step.copy_from_slice([first, second].as_flattened().as_flattened());
        step
    }
}

fn are_safe(sides: &[[[u8; CHANNELS]; 2]; HALF], pair: [u8; 2]) -> bool {
    let [a, b] = pair.map(|c| sides[usize::from(c)].as_flattened());
    let mut most = 0;
    for (a, b) in a.iter().zip(b) {
        most = most.max(a.saturating_add(*b));
    }
    most <= MOST
}

/// `[channel][depth]` → `[depth][channel]`: four times, the first half is interleaved with the second.
fn by_channel(step: &StepWeights) -> [[u8; CHANNELS]; DEPTH] {
    let mut rows = [[0; CHANNELS]; DEPTH];
    rows.as_flattened_mut().copy_from_slice(step);
    for _ in 0..CHANNELS.ilog2() {
        let [[first, second], [third, fourth]] =
            [interleave(rows[0], rows[2]), interleave(rows[1], rows[3])];
        rows = [first, second, third, fourth];
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn is_safe(step: &StepWeights) -> bool {
        let mut most = 0;
        for [a, b] in step.as_chunks().0 {
            let (a, b) = (i16::from(*a as i8), i16::from(*b as i8));
            most = most.max(a.max(0) + b.max(0)).max(-(a.min(0) + b.min(0)));
        }
        most <= i16::from(MOST)
    }

    /// How many steps come at the end, none in words, and the weights that what is packed multiplies each activation by,
    /// `[activation][channel]`.
    fn unpack(packed: &[u8], activations: usize) -> (usize, Vec<[i32; CHANNELS]>) {
        let number = |at: usize| {
            let bytes = packed[at..at + 4].try_into().expect("four bytes");
            u32::from_ne_bytes(bytes) as usize
        };
        let (count, more) = (number(0), number(4));
        let mut sums = vec![[0; CHANNELS]; activations];
        assert_eq!(count, activations / DEPTH);
        if number(8) == 1 {
            assert_eq!((more, packed.len()), (0, HEADER + size_of::<StepWeights>() * count));
            for (i, w) in packed[HEADER..].iter().enumerate() {
                let (half, channel) = (i / (2 * CHANNELS), i / 2 % CHANNELS);
                sums[2 * half + i % 2][channel] += i32::from(*w as i8);
            }
            return (0, sums);
        }
        let [patterns, weights, entries, end] = places(count, more);
        assert_eq!(end, packed.len());
        let steps = packed[weights..entries].as_chunks::<{ CHANNELS * DEPTH }>().0;
        for (i, step) in steps.iter().enumerate() {
            assert!(is_safe(step), "step {i} of {count} and {more}");
            for (j, w) in step.iter().enumerate() {
                let (offset, picked) = if i < count {
                    (i * DEPTH / HALF * HALF, packed[patterns + i * DEPTH + j % DEPTH])
                } else {
                    let at = entries + 8 * (i - count);
                    (number(at), packed[at + 4 + j % DEPTH])
                };
                sums[offset + usize::from(picked)][j / DEPTH] += i32::from(*w as i8);
            }
        }
        (more, sums)
    }

    /// How many steps come at the end of so many.
    fn check(steps: usize, mut weight: impl FnMut() -> i8) -> usize {
        let tap: Vec<u8> = (0..steps * CHANNELS * DEPTH).map(|_| weight() as u8).collect();
        let mut packed = vec![0; most(tap.len())];
        let len = arrange(&tap, &mut packed);
        assert_eq!(len % 64, 0);
        let (more, sums) = unpack(&packed[..len], steps * DEPTH);
        for (k, sums) in sums.iter().enumerate() {
            let at = |n: usize| (k / DEPTH * CHANNELS + n) * DEPTH + k % DEPTH;
            let expected: [i32; CHANNELS] = std::array::from_fn(|n| i32::from(tap[at(n)] as i8));
            assert_eq!(*sums, expected, "activation {k}");
        }
        more
    }

    #[test]
    fn every_weight_is_multiplied_and_no_pair_overflows() {
        let mut more = 0;
        for seed in 0..60 {
            let random = &mut Random::new(seed);
            let steps = random.pick(&[1, 2, 3, 4, 5, 9, 16]);
            check(steps, || random.byte() as i8);
            check(steps, || random.pick(&[127, -127, -128, 0]));
            check(steps, || random.byte() as i8 / 2);
            more += check(steps, || ((random.byte() as i8) / 2) + (random.byte() as i8) / 2);
        }
        assert!(more > 0, "some pairs are not safe, and too few for words");
        // No two of them are safe together: in words.
        assert_eq!(check(8, || 127), 0);
        assert_eq!(check(1, || -128), 0);
    }

    #[test]
    fn bell_shaped_weights_need_no_step_twice() {
        let random = &mut Random::new(5);
        let mut bell = || (0..4).map(|_| i32::from(random.byte() as i8)).sum::<i32>() / 4;
        assert_eq!(check(256, || bell().clamp(-127, 127) as i8), 0);
    }
}
