//! The samples of one code-block (T.814 clause 7).
//!
//! The cleanup pass walks over quads, two by two samples, from left to right and row by row of quads.
//! Three streams speak in turn: runs say whether a quad without significant neighbours has a significant
//! sample, codes say which ones and bound their magnitudes, and the last stream has signs and what is left
//! of magnitudes. [`refine`](super::refine) adds what two more passes say.

use super::{
    bits::{Backward, Forward, Runs},
    coded::{Coded, LARGEST, PLANES},
    codes::Quad,
    refine,
};

/// Fills `samples`, row by row; an error says what is wrong with the block.
pub(super) fn decode(block: &Coded<'_>, samples: &mut Vec<u32>) -> Result<(), &'static str> {
    samples.resize(block.stride() * block.height.next_multiple_of(2), 0);
    let Some(plane) = (block.planes.min(PLANES)).checked_sub(1 + block.missing) else {
        return Err("has more zero bit-planes than its band has planes");
    };
    cleanup(block, plane, samples)?;
    match (block.passes, plane) {
        (1, _) => Ok(()),
        (2 | 3, 1..) => {
            refine::refine(block, plane, samples);
            Ok(())
        }
        (2 | 3, 0) => Err("is refined below its last bit-plane"),
        _ => Err("has more than three passes, which are not supported"),
    }
}

/// What is known above a row of quads: one more on the left, and enough on the right.
struct Above {
    /// Significant samples of each quad.
    significant: [u8; LARGEST / 2 + 3],
    /// Of each sample in the row just above: bits that its magnitude needs, and one more; 0 for zero.
    lengths: [u8; LARGEST + 5],
}

fn cleanup(block: &Coded<'_>, plane: u32, samples: &mut [u32]) -> Result<(), &'static str> {
    let Streams { mut runs, mut codes, mut magnitudes } = Streams::split(block.cleanup)?;
    let quads = block.width.div_ceil(2);
    let longest = block.missing + 2;
    let mut above = Above { significant: [0; LARGEST / 2 + 3], lengths: [0; LARGEST + 5] };
    for (row, rows) in samples.chunks_exact_mut(2 * block.stride()).enumerate() {
        let (upper, lower) = rows.split_at_mut(block.stride());
        let below = if 2 * row + 1 == block.height { 0b1010 } else { 0 };
        let mut left = 0; // significant samples of the quad to the left
        let mut corner = 0; // those of the quad above it
        let mut corner_length = 0; // of the sample above on the left, before this row took its place
        let pairs = upper.as_chunks_mut::<4>().0.iter_mut().zip(lower.as_chunks_mut::<4>().0);
        for (first, (upper, lower)) in (0..).step_by(2).zip(pairs) {
            let mut pair = [Quad::EMPTY; 2];
            for (at, quad) in pair.iter_mut().enumerate().take(quads - first) {
                let [over, right] =
                    [1, 2].map(|next| u32::from(above.significant[first + at + next]));
                let context = match row {
                    0 => (left | left >> 1) & 1 | left >> 1 & 6,
                    _ => {
                        (corner >> 3 | over >> 1) & 1
                            | (left >> 1 | left >> 2) & 2
                            | (over >> 1 | right << 1) & 4
                    }
                };
                if context != 0 || runs.next() {
                    *quad = Quad::find(row == 0, context, codes.peek());
                    codes.skip(quad.length());
                }
                (corner, left) = (over, quad.significant());
                above.significant[first + at + 1] = left as u8;
            }
            if pair.iter().all(|quad| quad.significant() == 0) {
                (*upper, *lower) = ([0; 4], [0; 4]);
                corner_length = above.lengths[2 * first + 4];
                above.lengths[2 * first + 1..2 * first + 5].fill(0);
                continue;
            }
            let offsets = offsets(row == 0, pair, &mut runs, &mut codes);
            let beyond = match block.width - 2 * first {
                1 => [below | 0b1100, 0],
                3 => [below, below | 0b1100],
                _ => [below; 2],
            };
            let is_beyond = |at: usize| pair[at].significant() & beyond[at] != 0;
            if is_beyond(0) || is_beyond(1) {
                return Err("has samples beyond its edge");
            }
            for at in 0..2 {
                let (quad, column) = (pair[at], 2 * (first + at));
                let [one, two, next] = [1, 2, 3].map(|next| above.lengths[column + next]);
                let around = corner_length.max(one).max(two).max(next);
                corner_length = two;
                let is_bounded_above = row > 0 && !quad.significant().is_power_of_two();
                let least = if is_bounded_above { u32::from(around).max(2) - 1 } else { 1 };
                let length = least + offsets[at];
                if length > longest {
                    return Err("has a magnitude of more bits than its band");
                }
                let (found, lengths) = values(quad, length, plane, &mut magnitudes);
                let place = 2 * at;
                (upper[place], upper[place + 1]) = (found[0], found[2]);
                (lower[place], lower[place + 1]) = (found[1], found[3]);
                above.lengths[column + 1] = lengths[0];
                above.lengths[column + 2] = lengths[1];
            }
        }
    }
    Ok(())
}

/// The samples of a quad, and how long the lower two are.
#[inline(always)]
fn values(
    quad: Quad,
    length: u32,
    plane: u32,
    magnitudes: &mut Forward<'_>,
) -> ([u32; 4], [u8; 2]) {
    let mut samples = [0; 4];
    let mut lengths = [0; 4];
    for (at, sample) in samples.iter_mut().enumerate() {
        // Without branches: which samples are significant is as good as noise.
        let is_significant = 0u32.wrapping_sub(quad.significant() >> at & 1);
        let sent = (length - (quad.known() >> at & 1)) & is_significant;
        // Twice the magnitude less one, and the sign in the last place.
        let code = (quad.known_ones() >> at & 1) << sent | magnitudes.take(sent);
        let odd = (code | 1) & is_significant;
        *sample = (code << 31 | (odd + 2) << plane) & is_significant;
        lengths[at] = (u32::BITS - odd.leading_zeros()) as u8;
    }
    (samples, [lengths[1], lengths[3]])
}

/// How many bits more than the least the magnitudes of each quad may have.
#[inline(always)]
fn offsets(
    is_first_row: bool,
    quads: [Quad; 2],
    runs: &mut Runs<'_>,
    codes: &mut Backward<'_>,
) -> [u32; 2] {
    let has_offset = quads.map(Quad::has_offset);
    if has_offset == [false, false] {
        return [0, 0];
    }
    let is_joint = is_first_row && has_offset == [true, true];
    let more = if is_joint && runs.next() { 2 } else { 0 };
    codes.peek(); // enough for all of it: two prefixes, two suffixes and two extensions are 24 bits
    let first = if has_offset[0] { prefix(codes) } else { 0 };
    let second = match has_offset[1] {
        false => 0,
        true if is_joint && more == 0 && first > 2 => codes.take_seen(1) + 1,
        true => prefix(codes),
    };
    let ends = [first, second].map(|prefix| match prefix {
        3 => codes.take_seen(1),
        5 => codes.take_seen(5),
        _ => 0,
    });
    let far = ends.map(|end| if end >= 28 { 4 * codes.take_seen(4) } else { 0 });
    [first + ends[0] + far[0] + more, second + ends[1] + far[1] + more]
}

#[inline(always)]
fn prefix(codes: &mut Backward<'_>) -> u32 {
    // By the next three bits: the prefix, and its length.
    const PREFIXES: [(u32, u32); 8] =
        [(5, 3), (1, 1), (2, 2), (1, 1), (3, 3), (1, 1), (2, 2), (1, 1)];
    let (prefix, length) = PREFIXES[(codes.seen() & 7) as usize];
    codes.skip(length);
    prefix
}

struct Streams<'a> {
    runs: Runs<'a>,
    codes: Backward<'a>,
    magnitudes: Forward<'a>,
}

impl<'a> Streams<'a> {
    /// Magnitudes come first; runs grow from their end on, and codes from the end of all backwards.
    fn split(cleanup: &'a [u8]) -> Result<Self, &'static str> {
        let [.., before, last] = *cleanup else { return Err("is shorter than two bytes") };
        let shared = usize::from(last) << 4 | usize::from(before & 15);
        if !(2..4080).contains(&shared) || shared > cleanup.len() {
            return Err("says that its codes are longer than it is");
        }
        let (magnitudes, rest) = cleanup.split_at(cleanup.len() - shared);
        let between = &rest[..shared - 2];
        Ok(Self {
            runs: Runs::new(between, before),
            codes: Backward::from_upper_half(between, before),
            magnitudes: Forward::new(magnitudes, 0xFF),
        })
    }
}
