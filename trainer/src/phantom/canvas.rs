//! A grey picture one can add soft shapes to.
//!
//! Every function is `libm` and plain f32 arithmetic, so that a seed draws the same picture on every CPU.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `[H, W]` values, row by row. Places are given in units of the height; x reaches `width / height`.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<f32>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, values: vec![0.0; width * height] }
    }

    /// Sets every pixel from its place.
    pub(super) fn fill(&mut self, value: impl Fn(f32, f32) -> f32) {
        let scale = 1.0 / self.height as f32;
        for (row, line) in self.values.chunks_exact_mut(self.width).enumerate() {
            let y = (row as f32 + 0.5) * scale;
            for (column, pixel) in line.iter_mut().enumerate() {
                *pixel = value((column as f32 + 0.5) * scale, y);
            }
        }
    }

    /// Adds `amount(dx, dy)` around a place, within `reach` of it.
    pub(super) fn stamp(&mut self, x: f32, y: f32, reach: f32, amount: impl Fn(f32, f32) -> f32) {
        let scale = self.height as f32;
        let span = |centre: f32, limit: usize| {
            let low = ((centre - reach) * scale).max(0.0) as usize;
            let high = ((centre + reach) * scale).max(0.0) as usize + 1;
            low.min(limit)..high.min(limit)
        };
        for row in span(y, self.height) {
            let dy = (row as f32 + 0.5) / scale - y;
            for column in span(x, self.width) {
                let dx = (column as f32 + 0.5) / scale - x;
                self.values[row * self.width + column] += amount(dx, dy);
            }
        }
    }

    /// A soft disc: `amount` in the middle, a Gaussian of deviation `radius`.
    pub(super) fn blob(&mut self, x: f32, y: f32, radius: f32, amount: f32) {
        let k = -0.5 / (radius * radius);
        self.stamp(x, y, 3.0 * radius, |dx, dy| amount * libm::expf(k * (dx * dx + dy * dy)));
    }

    /// A tube seen from the side along `path`: brighter walls around a paler middle, as bone looks.
    pub(super) fn tube(&mut self, path: &[(f32, f32)], half_width: f32, amount: f32) {
        let soft = 0.0025;
        let profile = |distance: f32| {
            let inside = sigmoid((half_width - distance) / soft);
            let wall = (distance - half_width * 0.8) / (half_width * 0.25);
            amount * inside * (0.65 + 0.45 * libm::expf(-wall * wall))
        };
        for (at, line) in path.windows(2).enumerate() {
            let ((x1, y1), (x2, y2)) = (line[0], line[1]);
            let (lx, ly) = (x2 - x1, y2 - y1);
            let length2 = (lx * lx + ly * ly).max(1e-12);
            let reach = length2.sqrt() / 2.0 + half_width + 4.0 * soft;
            let last = at + 2 == path.len();
            let (mx, my) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
            self.stamp(mx, my, reach, |dx, dy| {
                let (px, py) = (mx + dx - x1, my + dy - y1);
                let along = (px * lx + py * ly) / length2;
                // Each piece owns its half-open stretch, so that joints are not drawn twice.
                if !(0.0..=1.0).contains(&along) || (along == 1.0 && !last) {
                    return 0.0;
                }
                profile((px * ly - py * lx).abs() / length2.sqrt())
            });
        }
    }

    /// The value at a place, 0 outside.
    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let (column, row) = (x * self.height as f32, y * self.height as f32);
        if column < 0.0 || row < 0.0 || column >= self.width as f32 || row >= self.height as f32 {
            return 0.0;
        }
        self.values[row as usize * self.width + column as usize]
    }

    /// Smallest box `x, y, w, h` in pixels around what exceeds `level`.
    pub(super) fn bounds(&self, level: f32) -> Option<[usize; 4]> {
        let above = self.values.iter().enumerate().filter(|(_, value)| **value > level);
        let (mut x, mut y) = ((usize::MAX, 0), (usize::MAX, 0));
        for (at, _) in above {
            let (column, row) = (at % self.width, at / self.width);
            x = (x.0.min(column), x.1.max(column));
            y = (y.0.min(row), y.1.max(row));
        }
        (x.0 <= x.1).then(|| [x.0, y.0, x.1 - x.0 + 1, y.1 - y.0 + 1])
    }
}

/// Cloudy texture in about `[-1, 1]`: value noise in `octaves`, the coarsest with cells of `cell`.
#[derive(Clone, Debug)]
pub(super) struct Clouds {
    lattice: Vec<f32>,
    cell: f32,
    octaves: usize,
}

const LATTICE: usize = 64;

impl Clouds {
    pub(super) fn new(dice: &mut Dice, cell: f32, octaves: usize) -> Self {
        let lattice = (0..LATTICE * LATTICE).map(|_| dice.range(-1.0, 1.0)).collect();
        Self { lattice, cell, octaves }
    }

    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let (mut sum, mut weight, mut cell) = (0.0, 1.0, self.cell);
        for octave in 0..self.octaves {
            let shift = octave as f32 * 17.3;
            sum += weight * self.smooth(x / cell + shift, y / cell + shift);
            weight *= 0.5;
            cell *= 0.5;
        }
        sum * 0.75
    }

    fn smooth(&self, x: f32, y: f32) -> f32 {
        let (x0, y0) = (x.floor(), y.floor());
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (fx, fy) = (ease(x - x0), ease(y - y0));
        let knot = |dx: i64, dy: i64| {
            let wrap = |v: f32, d: i64| (v as i64 + d).rem_euclid(LATTICE as i64) as usize;
            self.lattice[wrap(y0, dy) * LATTICE + wrap(x0, dx)]
        };
        let top = knot(0, 0) + (knot(1, 0) - knot(0, 0)) * fx;
        let bottom = knot(0, 1) + (knot(1, 1) - knot(0, 1)) * fx;
        top + (bottom - top) * fy
    }
}

/// Chance, the same everywhere for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// Independent of every other `(seed, stream)`.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        Self(random)
    }

    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        // 24 bits: every value exact in f32, no rounding that could differ.
        low + (high - low) * (self.0.random::<u32>() >> 8) as f32 / 16_777_216.0
    }

    pub(super) fn chance(&mut self, share: f32) -> bool {
        self.range(0.0, 1.0) < share
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.0.random_range(0..from.len() as u32) as usize]
    }

    /// Near enough to a normal deviate: the sum of four uniform ones, deviation 1.
    pub(super) fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.range(-1.0, 1.0)).sum();
        sum * 0.866_025_4
    }
}

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}
