//! Which channels `vpmaddubsw` may multiply side by side.
//!
//! It adds two neighbouring products of bytes in 16 bits and saturates. `x₀·w₀ + x₁·w₁` with `x` of 0..=255 fits as long
//! as the positive weights of the pair do not exceed 128 together, and the negative ones −128: 255 · 128 < 2¹⁵. That has to
//! hold in each of a block's output channels, and for about half of the neighbours of a network it does not. But the order
//! in which channels are added is free: among the 16 of a window nearly always there are eight pairs that are safe, a
//! perfect matching of a small graph, and a byte shuffle of the activations brings them together. Where there are none (as
//! when all weights are 127), a step is done twice, with the weights in two halves.
//!
//! ```text
//! a tap:   shuffled, straight: u32 · entries · to a multiple of 64 bytes · weights [step][channel][4]
//! entries: offset: u32, pattern: [u8; 4] of each shuffled step; offset: u32 of each straight one
//! ```
//!
//! A straight step multiplies four activations as they lie; a shuffled one the four that its pattern picks of 16.

use super::{CHANNELS, DEPTH};

/// What the positive weights of a pair may add up to, and the negative ones without their sign.
const MOST: u8 = 128;
/// Activations that a shuffle can pick from.
const WINDOW: usize = 16;
/// How many pairs a search tries before it is content with the best it found.
const TRIES: usize = 200;

/// `[channel][depth]`
type Weights = [u8; CHANNELS * DEPTH];

struct Step {
    offset: usize,
    pattern: [u8; DEPTH],
    weights: Weights,
}

/// Appends a tap's weights, `[step][channel][depth]`, to `packed` in an order that is safe. `LEAST` steps are shuffled
/// where there are so many, if need be by a pattern that leaves everything in place.
pub(crate) fn arrange<const LEAST: usize>(tap: &[u8], packed: &mut Vec<u8>) {
    let (steps, _) = tap.as_chunks::<{ CHANNELS * DEPTH }>();
    let (mut straight, mut shuffled) = (Vec::with_capacity(steps.len()), Vec::new());
    for (window, steps) in steps.chunks(WINDOW / DEPTH).enumerate() {
        arrange_window(window * WINDOW, steps, &mut straight, &mut shuffled);
    }
    while shuffled.len() < LEAST {
        let Some(step) = straight.pop() else { break };
        shuffled.push(step);
    }
    let mut entry = |entry: [u8; 4]| packed.extend_from_slice(&entry);
    let number = |n: usize| u32::try_from(n).expect("fewer than 2³² channels").to_ne_bytes();
    entry(number(shuffled.len()));
    entry(number(straight.len()));
    for step in &shuffled {
        entry(number(step.offset));
        entry(step.pattern);
    }
    straight.iter().for_each(|step| entry(number(step.offset)));
    packed.resize(packed.len().next_multiple_of(64), 0);
    shuffled.iter().chain(&straight).for_each(|step| packed.extend_from_slice(&step.weights));
}

/// Bytes in front of a tap's weights.
pub(super) fn head(straight: usize, shuffled: usize) -> usize {
    (8 + 4 * straight + 8 * shuffled).next_multiple_of(64)
}

fn arrange_window(
    offset: usize,
    steps: &[Weights],
    straight: &mut Vec<Step>,
    shuffled: &mut Vec<Step>,
) {
    let mut safe = 0;
    steps.iter().enumerate().for_each(|(i, step)| safe |= u16::from(is_safe(step)) << i);
    if safe.count_ones() as usize != steps.len() {
        // The steps that are not safe as they are, and then one by one of those that are, until all find a partner.
        let mut graph = Graph::new(steps);
        (0..steps.len()).filter(|step| safe & 1 << step == 0).for_each(|step| graph.admit(step));
        while !graph.pair_up() && safe != 0 {
            graph.admit(safe.trailing_zeros() as usize);
            safe &= safe - 1;
        }
        graph.steps(offset, shuffled);
    }
    straight.extend(bits(safe).map(|step| Step {
        offset: offset + step * DEPTH,
        pattern: std::array::from_fn(|i| i as u8),
        weights: steps[step],
    }));
}

fn is_safe(step: &Weights) -> bool {
    let mut most = 0;
    for [a, b] in step.as_chunks().0 {
        let (a, b) = (i16::from(*a as i8), i16::from(*b as i8));
        most = most.max(a.max(0) + b.max(0)).max(-(a.min(0) + b.min(0)));
    }
    most <= i16::from(MOST)
}

/// Channels of a window, and which of them are safe side by side.
struct Graph {
    weights: [[u8; CHANNELS]; WINDOW],
    /// Without their sign: the positive weights, the negative ones.
    sides: [[[u8; CHANNELS]; 2]; WINDOW],
    /// Those that are to be paired.
    free: u16,
    partners: [u16; WINDOW],
    best: Pairs,
}

#[derive(Clone, Copy, Default)]
struct Pairs {
    pairs: [[u8; 2]; WINDOW / 2],
    count: usize,
}

impl Graph {
    fn new(steps: &[Weights]) -> Self {
        let mut weights = [[0; CHANNELS]; WINDOW];
        for (step, weights) in steps.iter().zip(weights.chunks_exact_mut(DEPTH)) {
            for (n, entries) in step.as_chunks::<DEPTH>().0.iter().enumerate() {
                (0..DEPTH).for_each(|c| weights[c][n] = entries[c]);
            }
        }
        let sides = weights.map(|w| {
            let w = w.map(|w| w as i8);
            [w.map(|w| w.max(0) as u8), w.map(|w| w.min(0).unsigned_abs())]
        });
        Self { weights, sides, free: 0, partners: [0; WINDOW], best: Pairs::default() }
    }

    /// The channels of a step are to be paired, too.
    fn admit(&mut self, step: usize) {
        for a in DEPTH * step..DEPTH * (step + 1) {
            for b in bits(self.free) {
                let mut most = 0;
                for (a, b) in self.sides[a].as_flattened().iter().zip(self.sides[b].as_flattened())
                {
                    most = most.max(a.saturating_add(*b));
                }
                self.partners[a] |= u16::from(most <= MOST) << b;
                self.partners[b] |= u16::from(most <= MOST) << a;
            }
            self.free |= 1 << a;
        }
    }

    /// Whether each channel found a partner.
    fn pair_up(&mut self) -> bool {
        self.best = Pairs::default();
        self.search(self.free, Pairs::default(), &mut { TRIES });
        2 * self.best.count == self.free.count_ones() as usize
    }

    /// Depth first, the channel with the fewest partners next: on graphs like these it hardly ever turns back. Whether the
    /// search is over.
    fn search(&mut self, free: u16, found: Pairs, tries: &mut usize) -> bool {
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

    /// The steps of the pairs that were found; those left over are paired as they come, and their weights halved.
    fn steps(&self, offset: usize, steps: &mut Vec<Step>) {
        let Pairs { mut pairs, count: safe } = self.best;
        let taken = pairs[..safe].as_flattened().iter().fold(0, |taken, c| taken | 1 << c);
        let mut left = bits(self.free & !taken).map(|c| c as u8);
        let mut count = safe;
        while let (Some(a), Some(b)) = (left.next(), left.next()) {
            pairs[count] = [a, b];
            count += 1;
        }
        for (i, [[a, b], [c, d]]) in pairs[..count].as_chunks().0.iter().enumerate() {
            let pattern = [*a, *b, *c, *d];
            let [p, q, r, s] = pattern.map(|c| &self.weights[usize::from(c)]);
            let mut weights = [[0; DEPTH]; CHANNELS];
            for n in 0..CHANNELS {
                weights[n] = [p[n], q[n], r[n], s[n]];
            }
            let mut step = |weights: [[u8; DEPTH]; CHANNELS]| {
                let weights = weights.as_flattened().try_into().expect("of a step's length");
                steps.push(Step { offset, pattern, weights });
            };
            if 2 * i + 2 <= safe {
                step(weights);
                continue;
            }
            let half = |w: u8| (w as i8 / 2) as u8;
            step(weights.map(|w| w.map(half)));
            step(weights.map(|w| w.map(|w| w.wrapping_sub(half(w)))));
        }
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

    /// `[straight, shuffled]`, and the weights that what is packed multiplies each activation by, `[activation][channel]`.
    fn unpack(packed: &[u8], activations: usize) -> ([usize; 2], Vec<[i32; CHANNELS]>) {
        let number = |at: usize| {
            let bytes = packed[at..at + 4].try_into().expect("four bytes");
            u32::from_ne_bytes(bytes) as usize
        };
        let (shuffled, straight) = (number(0), number(4));
        let mut sums = vec![[0; CHANNELS]; activations];
        let steps = packed[head(straight, shuffled)..].as_chunks::<{ CHANNELS * DEPTH }>().0;
        assert_eq!(steps.len(), straight + shuffled);
        for (i, step) in steps.iter().enumerate() {
            assert!(is_safe(step), "step {i} of {straight} and {shuffled}");
            let at = 8 + if i < shuffled { 8 * i } else { 8 * shuffled + 4 * (i - shuffled) };
            for (j, w) in step.iter().enumerate() {
                let picked =
                    if i < shuffled { packed[at + 4 + j % DEPTH].into() } else { j % DEPTH };
                // A window may reach behind the last activation: there only zeros are multiplied.
                if let Some(sums) = sums.get_mut(number(at) + picked) {
                    sums[j / DEPTH] += i32::from(*w as i8);
                } else {
                    assert_eq!(*w, 0);
                }
            }
        }
        ([straight, shuffled], sums)
    }

    fn check<const LEAST: usize>(steps: usize, mut weight: impl FnMut() -> i8) -> [usize; 2] {
        let tap: Vec<u8> = (0..steps * CHANNELS * DEPTH).map(|_| weight() as u8).collect();
        let mut packed = vec![0; 64];
        arrange::<LEAST>(&tap, &mut packed);
        assert_eq!(packed.len() % 64, 0);
        let (counts, sums) = unpack(&packed[64..], steps * DEPTH);
        for (k, sums) in sums.iter().enumerate() {
            let at = |n: usize| (k / DEPTH * CHANNELS + n) * DEPTH + k % DEPTH;
            let expected: [i32; CHANNELS] = std::array::from_fn(|n| i32::from(tap[at(n)] as i8));
            assert_eq!(*sums, expected, "activation {k}");
        }
        counts
    }

    #[test]
    fn every_weight_is_multiplied_and_no_pair_overflows() {
        for seed in 0..60 {
            let random = &mut Random::new(seed);
            let steps = random.pick(&[1, 2, 3, 4, 5, 9, 16]);
            check::<0>(steps, || random.byte() as i8);
            check::<0>(steps, || random.pick(&[127, -127, -128, 0]));
            check::<0>(steps, || random.byte() as i8 / 2);
            let [_, shuffled] = check::<5>(steps, || random.byte() as i8 / 2);
            assert!(shuffled >= steps.min(5), "{shuffled} of {steps} steps are shuffled");
        }
        // No two of them are safe together.
        assert_eq!(check::<0>(4, || 127), [0, 8]);
        assert_eq!(check::<0>(1, || -128), [0, 2]);
    }

    #[test]
    fn bell_shaped_weights_need_no_step_twice() {
        let random = &mut Random::new(5);
        let mut bell = || (0..4).map(|_| i32::from(random.byte() as i8)).sum::<i32>() / 4;
        let [straight, shuffled] = check::<0>(256, || bell().clamp(-127, 127) as i8);
        assert_eq!(straight + shuffled, 256);
        assert!(straight > 64, "{straight} straight steps of 256");
        assert_eq!(check::<0>(64, || bell() as i8 / 2), [64, 0]);
    }
}
