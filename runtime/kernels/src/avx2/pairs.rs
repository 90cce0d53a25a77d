//! Which channels `vpmaddubsw` may multiply side by side.
//!
//! It adds two neighbouring products of bytes in 16 bits and saturates. `x₀·w₀ + x₁·w₁` with `x` of 0..=255 fits as long
//! as the positive weights of the pair do not exceed 128 together, and the negative ones −128: 255 · 128 < 2¹⁵. That has to
//! hold in each of a block's output channels, and for about half of the neighbours of a network it does not. But the order
//! in which channels are added is free: among 16 neighbours nearly always there are eight pairs that are safe, a perfect matching
//! of a small graph. A byte shuffle brings the activations of a pixel into that order, once for all of a block's channels.
//! Two that find no partners (in no case can weights of 127) share a place with half of their weights, and come again in a
//! step at the end with the rest.
//!
//! ```text
//! a tap: steps, more steps: u32 · of each of those at the end, offset: u32, pattern: [u8; 4] · to a multiple of 64 bytes
//!        · pattern of each window: [u8; 32] · to a multiple of 64 bytes · weights of each step [channel][4]
//! ```
//!
//! A window is 32 activations of the tap, each half in the order of its half of the pattern; a step takes four of them. A step
//! at the end takes the four that its pattern picks of 16.

use super::{CHANNELS, DEPTH};

/// What the positive weights of a pair may add up to, and the negative ones without their sign.
const MOST: u8 = 128;
/// Activations in a window, and in each half of it, from which a shuffle can pick.
pub(super) const WINDOW: usize = 2 * HALF;
const HALF: usize = 16;
/// How many pairs a search tries before it is content with the best it found.
const TRIES: usize = 200;

/// `[channel][depth]`
type Weights = [u8; CHANNELS * DEPTH];

/// A tap's steps as they are found.
#[derive(Default)]
struct Steps {
    patterns: Vec<[u8; WINDOW]>,
    weights: Vec<Weights>,
    /// Those at the end: offset, pattern, weights.
    more: Vec<(u32, [u8; DEPTH], Weights)>,
}

/// Appends a tap's weights, `[step][channel][depth]`, to `packed` in an order that is safe.
pub(super) fn arrange(tap: &[u8], packed: &mut Vec<u8>) {
    let (steps, _) = tap.as_chunks::<{ CHANNELS * DEPTH }>();
    let mut found = Steps::default();
    found.weights.reserve(steps.len());
    for (window, steps) in steps.chunks(WINDOW / DEPTH).enumerate() {
        found.add(window * WINDOW, steps);
    }
    let Steps { patterns, weights, more } = found;
    let (start, [first, second]) = (packed.len(), places(weights.len(), more.len()));
    let counts = [weights.len(), more.len()].map(|n| u32::try_from(n).expect("few steps"));
    counts.iter().for_each(|n| packed.extend_from_slice(&n.to_ne_bytes()));
    for (offset, pattern, _) in &more {
        packed.extend_from_slice(&offset.to_ne_bytes());
        packed.extend_from_slice(pattern);
    }
    packed.resize(start + first, 0);
    patterns.iter().for_each(|pattern| packed.extend_from_slice(pattern));
    packed.resize(start + second, 0);
    let more = more.iter().map(|(.., weights)| weights);
    weights.iter().chain(more).for_each(|weights| packed.extend_from_slice(weights));
}

/// Bytes in front of the patterns, and of the weights.
#[inline]
pub(super) fn places(steps: usize, more: usize) -> [usize; 2] {
    let patterns = (8 + 8 * more).next_multiple_of(64);
    [patterns, (patterns + WINDOW * steps.div_ceil(WINDOW / DEPTH)).next_multiple_of(64)]
}

impl Steps {
    /// The steps of a window.
    fn add(&mut self, offset: usize, steps: &[Weights]) {
        let mut pattern = [0; WINDOW];
        for (half, steps) in steps.chunks(HALF / DEPTH).enumerate() {
            let half = HALF * half;
            let Half { weights, pairs, safe } = Half::of(steps);
            let (both, _) = pairs[..2 * steps.len()].as_chunks::<2>();
            for (step, both) in both.iter().enumerate() {
                pattern[half + DEPTH * step..][..DEPTH].copy_from_slice(both.as_flattened());
                let parts = [2 * step, 2 * step + 1].map(|pair| if pair < safe { ALL } else { HALVED });
                self.weights.push(of_step(&weights, *both, parts));
            }
            let offset = u32::try_from(offset + half).expect("fewer than 2³² channels");
            for both in pairs[safe..2 * steps.len()].chunks(2) {
                // A last one has itself beside it, weighing nothing.
                let (both, parts) = match both {
                    [a, b] => ([*a, *b], [REST, REST]),
                    _ => ([both[0]; 2], [REST, NOTHING]),
                };
                let weights = of_step(&weights, both, parts);
                let pattern = [both[0][0], both[0][1], both[1][0], both[1][1]];
                self.more.push((offset, pattern, weights));
            }
        }
        self.patterns.push(pattern);
    }
}

/// How much of its weights a pair has.
type Part = fn(i8) -> i8;
const ALL: Part = |w| w;
const HALVED: Part = |w| w / 2;
const REST: Part = |w| w - w / 2;
const NOTHING: Part = |_| 0;

/// The weights of a step of two pairs.
fn of_step(weights: &[[u8; CHANNELS]; HALF], pairs: [[u8; 2]; 2], parts: [Part; 2]) -> Weights {
    let of = |i: usize| {
        let part = parts[i / 2];
        weights[usize::from(pairs[i / 2][i % 2])].map(|w| part(w as i8) as u8)
    };
    let [p, q, r, s] = std::array::from_fn(of);
    let step: [[u8; DEPTH]; CHANNELS] = std::array::from_fn(|n| [p[n], q[n], r[n], s[n]]);
    step.as_flattened().try_into().expect("of a step's length")
}

fn is_safe(step: &Weights) -> bool {
    let mut most = 0;
    for [a, b] in step.as_chunks().0 {
        let (a, b) = (i16::from(*a as i8), i16::from(*b as i8));
        most = most.max(a.max(0) + b.max(0)).max(-(a.min(0) + b.min(0)));
    }
    most <= i16::from(MOST)
}

/// Half a window: its channels' weights, their pairs, and how many of these are safe; those come first.
struct Half {
    weights: [[u8; CHANNELS]; HALF],
    pairs: [[u8; 2]; HALF / 2],
    safe: usize,
}

impl Half {
    fn of(steps: &[Weights]) -> Self {
        let mut weights = [[0; CHANNELS]; HALF];
        for (step, weights) in steps.iter().zip(weights.chunks_exact_mut(DEPTH)) {
            for (n, entries) in step.as_chunks::<DEPTH>().0.iter().enumerate() {
                (0..DEPTH).for_each(|c| weights[c][n] = entries[c]);
            }
        }
        let channels = DEPTH * steps.len();
        if steps.iter().all(is_safe) {
            let pairs = std::array::from_fn(|i| [2 * i as u8, 2 * i as u8 + 1]);
            return Self { weights, pairs, safe: channels / 2 };
        }
        let Found { mut pairs, count: safe } = Graph::of(&weights[..channels]).pairs();
        let taken = pairs[..safe].as_flattened().iter().fold(0, |taken, c| taken | 1 << c);
        let mut left = (0..channels as u8).filter(|c| taken & 1u16 << c == 0);
        for pair in &mut pairs[safe..channels / 2] {
            *pair = [left.next(), left.next()].map(|c| c.expect("a pair for every two channels"));
        }
        Self { weights, pairs, safe }
    }
}

/// Which channels are safe side by side.
struct Graph {
    channels: usize,
    /// Bits.
    partners: [u16; HALF],
    best: Found,
}

#[derive(Clone, Copy, Default)]
struct Found {
    pairs: [[u8; 2]; HALF / 2],
    count: usize,
}

impl Graph {
    fn of(weights: &[[u8; CHANNELS]]) -> Self {
        // Without their sign: the positive weights, the negative ones.
        let mut sides = [[[0; CHANNELS]; 2]; HALF];
        for (sides, w) in sides.iter_mut().zip(weights) {
            let w = w.map(|w| w as i8);
            *sides = [w.map(|w| w.max(0) as u8), w.map(|w| w.min(0).unsigned_abs())];
        }
        let mut partners = [0; HALF];
        for a in 0..weights.len() {
            for b in 0..a {
                let mut most = 0;
                for (a, b) in sides[a].as_flattened().iter().zip(sides[b].as_flattened()) {
                    most = most.max(a.saturating_add(*b));
                }
                partners[a] |= u16::from(most <= MOST) << b;
                partners[b] |= u16::from(most <= MOST) << a;
            }
        }
        Self { channels: weights.len(), partners, best: Found::default() }
    }

    /// As many safe pairs as a short search finds.
    fn pairs(mut self) -> Found {
        let all = ((1u32 << self.channels) - 1) as u16;
        self.search(all, Found::default(), &mut { TRIES });
        self.best
    }

    /// Depth first, the channel with the fewest partners next: on graphs like these it hardly ever turns back. Whether the
    /// search is over.
    fn search(&mut self, free: u16, found: Found, tries: &mut usize) -> bool {
        if found.count > self.best.count {
            self.best = found;
        }
        let partners = |a: &usize| (self.partners[*a] & free).count_ones();
        let Some(a) = bits(free).filter(|a| partners(a) > 0).min_by_key(partners) else {
            return free == 0;
        };
        for b in bits(self.partners[a] & free) {
            if *tries == 0 {
                return true;
            }
            *tries -= 1;
            let mut found = found;
            found.pairs[found.count] = [a as u8, b as u8];
            found.count += 1;
            if self.search(free & !(1 << a | 1 << b), found, tries) {
                return true;
            }
        }
        false
    }
}

/// The positions of the bits that are set.
fn bits(mut of: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = of.trailing_zeros() as usize;
        of &= of.wrapping_sub(1);
        (at < 16).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// How many steps come at the end, and the weights that what is packed multiplies each activation by,
    /// `[activation][channel]`.
    fn unpack(packed: &[u8], activations: usize) -> (usize, Vec<[i32; CHANNELS]>) {
        let number = |at: usize| {
            let bytes = packed[at..at + 4].try_into().expect("four bytes");
            u32::from_ne_bytes(bytes) as usize
        };
        let (count, more) = (number(0), number(4));
        let [patterns, weights] = places(count, more);
        let steps = packed[weights..].as_chunks::<{ CHANNELS * DEPTH }>().0;
        assert_eq!((steps.len(), count), (count + more, activations / DEPTH));
        let mut sums = vec![[0; CHANNELS]; activations];
        for (i, step) in steps.iter().enumerate() {
            assert!(is_safe(step), "step {i} of {count} and {more}");
            for (j, w) in step.iter().enumerate() {
                let (offset, picked) = if i < count {
                    (i * DEPTH / HALF * HALF, packed[patterns + i * DEPTH + j % DEPTH])
                } else {
                    let at = 8 + 8 * (i - count);
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
        let mut packed = vec![0; 64];
        arrange(&tap, &mut packed);
        assert_eq!(packed.len() % 64, 0);
        let (more, sums) = unpack(&packed[64..], steps * DEPTH);
        for (k, sums) in sums.iter().enumerate() {
            let at = |n: usize| (k / DEPTH * CHANNELS + n) * DEPTH + k % DEPTH;
            let expected: [i32; CHANNELS] = std::array::from_fn(|n| i32::from(tap[at(n)] as i8));
            assert_eq!(*sums, expected, "activation {k}");
        }
        more
    }

    #[test]
    fn every_weight_is_multiplied_and_no_pair_overflows() {
        for seed in 0..60 {
            let random = &mut Random::new(seed);
            let steps = random.pick(&[1, 2, 3, 4, 5, 9, 16]);
            check(steps, || random.byte() as i8);
            check(steps, || random.pick(&[127, -127, -128, 0]));
            check(steps, || random.byte() as i8 / 2);
        }
        // No two of them are safe together.
        assert_eq!(check(8, || 127), 8);
        assert_eq!(check(1, || -128), 1);
    }

    #[test]
    fn bell_shaped_weights_need_no_step_twice() {
        let random = &mut Random::new(5);
        let mut bell = || (0..4).map(|_| i32::from(random.byte() as i8)).sum::<i32>() / 4;
        assert_eq!(check(256, || bell().clamp(-127, 127) as i8), 0);
    }
}
