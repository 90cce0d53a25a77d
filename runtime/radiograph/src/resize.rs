//! Resizing as two one-dimensional passes with weights computed once.
//!
//! ```text
//! rows of the picture ─▶ a ring of as many as one row of the result is made of
//!                          └─ weighted and added: vertical taps ─▶ one row ─▶ horizontal taps ─▶ result
//! ```
//!
//! The vertical pass comes first: it adds whole rows, which compilers vectorise without changing
//! the order of additions of any pixel. So the result has the same bits on every CPU. Each row of the
//! picture is made once, and no more of them are held than the ring has room for.

use crate::{rows::Rows, taps::Taps};
use std::ops::Range;

/// Part of a picture: what is resized, or what is made of the resized one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// First row and column.
    pub(crate) first: [usize; 2],
    /// Rows and columns.
    pub(crate) size: [usize; 2],
}

impl Window {
    /// `inner`, a window of this one, in the picture.
    fn within(self, inner: Self) -> Self {
        let first = [0, 1].map(|axis| self.first[axis] + inner.first[axis]);
        Self { first, size: inner.size }
    }

    /// The rows or columns.
    fn along(self, axis: usize) -> Range<usize> {
        self.first[axis]..self.first[axis] + self.size[axis]
    }

    fn rows(self, rows: &mut Rows<'_>, mut look: impl FnMut(&[f32])) {
        let mut row = vec![0.0; self.size[1]];
        for y in 0..self.size[0] {
            rows.read(self.first[0] + y, self.first[1], &mut row);
            look(&row);
        }
    }

    fn pixels(self, rows: &mut Rows<'_>) -> Vec<f32> {
        let mut pixels = Vec::with_capacity(self.size[0] * self.size[1]);
        self.rows(rows, |row| pixels.extend_from_slice(row));
        pixels
    }
}

/// Resizes to `[H, W]` with the triangle filter, widened when shrinking (antialiasing); makes `part` of it.
pub(crate) fn triangle(mut rows: Rows<'_>, from: Window, to: [usize; 2], part: Window) -> Vec<f32> {
    if from.size == to {
        return from.within(part).pixels(&mut rows);
    }
    let taps = [0, 1].map(|axis| Taps::triangles(from.size[axis], to[axis], part.along(axis)));
    separable(&mut rows, from, &taps, 0.0)
}

/// As scikit-image's `resize`: where it shrinks, blurred by a Gaussian of `(factor − 1) / 2` pixels, then linear between
/// pixels, with `outside` beside the picture; no pixel is darker or lighter than the picture's. Makes `part` of it.
pub(crate) fn gaussian(
    mut rows: Rows<'_>,
    from: Window,
    to: [usize; 2],
    part: Window,
    outside: f32,
) -> Vec<f32> {
    if from.size == to {
        return from.within(part).pixels(&mut rows);
    }
    // Where one side shrinks, both have their own sigma; where none does, there is no blur.
    let taps = [0, 1].map(|axis| Taps::gaussians(from.size[axis], to[axis], part.along(axis)));
    let mut resized = separable(&mut rows, from, &taps, outside);
    let mut ends = NO_ENDS;
    from.rows(&mut rows, |row| ends = with(ends, row));
    let [darkest, lightest] = with(NO_ENDS, &resized);
    if (darkest..=lightest).contains(&outside) {
        ends = with(ends, &[outside]);
    }
    let [low, high] = ends;
    resized.iter_mut().for_each(|x| *x = x.clamp(low, high));
    resized
}

/// The least and the largest of no pixels.
const NO_ENDS: [f32; 2] = [f32::INFINITY, f32::NEG_INFINITY];

/// The least and the largest with these among them.
fn with([low, high]: [f32; 2], pixels: &[f32]) -> [f32; 2] {
    pixels.iter().fold([low, high], |[low, high], x| [low.min(*x), high.max(*x)])
}

/// Rows first, then columns.
fn separable(rows: &mut Rows<'_>, from: Window, taps: &[Vec<Taps>; 2], outside: f32) -> Vec<f32> {
    let [down, across] = taps;
    // Room for all that any of `down` needs.
    let capacity = down.iter().map(|taps| taps.weights.len()).max().unwrap_or(0);
    let read = down.iter().map(|taps| taps.first).min().unwrap_or(0);
    let room = vec![0.0; capacity * from.size[1]];
    let mut ring = Ring { source: rows, from, rows: room, capacity, read };
    let mut sum = vec![0.0; from.size[1]];
    let mut out = Vec::with_capacity(down.len() * across.len()); // [H, W]
    for taps in down {
        ring.fill(taps.first + taps.weights.len());
        sum.fill(taps.beyond * outside);
        ring.add(taps, &mut sum);
        out.extend(across.iter().map(|taps| taps.dot(&sum, outside)));
    }
    out
}

/// The rows of a picture that were read last.
struct Ring<'r, 'a> {
    source: &'r mut Rows<'a>,
    from: Window,
    /// Row `y` is at `y % capacity`.
    rows: Vec<f32>,
    capacity: usize,
    /// The first that is not yet read.
    read: usize,
}

impl Ring<'_, '_> {
    /// Reads the rows before `end` that are not yet read.
    fn fill(&mut self, end: usize) {
        let ([y, x], width) = (self.from.first, self.from.size[1]);
        while self.read < end {
            let place = self.read % self.capacity * width;
            self.source.read(y + self.read, x, &mut self.rows[place..][..width]);
            self.read += 1;
        }
    }

    /// Adds the rows of `taps` to `sum`, one after the other.
    fn add(&self, taps: &Taps, sum: &mut [f32]) {
        let width = sum.len();
        let row = |y: usize| &self.rows[(taps.first + y) % self.capacity * width..][..width];
        let (fours, rest) = taps.weights.as_chunks::<4>();
        // Four rows at once, in their order: `sum` is loaded and stored once.
        for (at, [w, x, y, z]) in fours.iter().enumerate() {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| row(4 * at + i));
            for ((((sum, a), b), c), d) in sum.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *sum = *sum + w * a + x * b + y * c + z * d;
            }
        }
        for (at, weight) in rest.iter().enumerate() {
            let row = row(4 * fours.len() + at);
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
        }
    }
}
