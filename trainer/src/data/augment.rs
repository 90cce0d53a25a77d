//! Training pictures moved, stretched, lit differently; masks and boxes move with them.

use anyhow::{Result, ensure};
use graph::{Fit, Preprocess};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// How far a picture may be changed. Everything 0 leaves it alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Degrees either way.
    pub rotation: f64,
    /// Share of the side either way.
    pub shift: f64,
    /// Share either way: 0.1 is 0.9 to 1.1 times, each axis a little for itself.
    pub scale: f64,
    /// Share of the pictures mirrored; 0 where left and right mean something.
    pub flip: f64,
    /// Contrast factor and brightness offset either way, in deviations of the normalised picture.
    pub light: f64,
    /// Share of the pictures with a rectangle of up to a third of each side blanked.
    pub erase: f64,
    /// Random parts of larger pictures instead of whole ones, before all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
}

/// A random part of a picture, stretched to the network's input: torchvision's `RandomResizedCrop`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Side of the square, stretched or padded, that parts are cut from, in pixels.
    pub from: usize,
    /// Least share of its area; the largest is all of it.
    #[serde(alias = "least-area")]
    pub least_area: f64,
    /// Longest side over shortest, at most.
    pub aspect: f64,
}

impl Augmentation {
    pub const NONE: Self = Self {
        rotation: 0.0,
        shift: 0.0,
        scale: 0.0,
        flip: 0.0,
        light: 0.0,
        erase: 0.0,
        crop: None,
    };

    /// Fails on amounts that mean nothing.
    pub fn check(&self) -> Result<()> {
        for (name, amount) in [("rotation", self.rotation), ("shift", self.shift)] {
            ensure!(amount.is_finite() && amount >= 0.0, "{name} is {amount}, expected 0 or more");
        }
        // Beyond 1, contrast would turn black to white and size would turn around.
        for (name, share) in [
            ("scale", self.scale),
            ("light", self.light),
            ("flip", self.flip),
            ("erase", self.erase),
        ] {
            ensure!((0.0..=1.0).contains(&share), "{name} is {share}, expected 0 to 1");
        }
        let Some(Crop { from, least_area, aspect }) = self.crop else { return Ok(()) };
        ensure!(from > 0, "crop.from is 0, expected pixels");
        ensure!(
            least_area > 0.0 && least_area <= 1.0,
            "crop.least-area is {least_area}, expected above 0, up to 1"
        );
        ensure!(aspect.is_finite() && aspect >= 1.0, "crop.aspect is {aspect}, expected 1 or more");
        Ok(())
    }

    /// How training pictures are kept for a network fed by `preprocess`: larger than what it sees where parts are cut
    /// from them. Fails where a part would be of another aspect than the pictures of evaluation.
    pub fn kept(&self, preprocess: Preprocess) -> Result<Preprocess> {
        let Preprocess { height, width, fit, .. } = preprocess;
        let Some(Crop { from, .. }) = self.crop else { return Ok(preprocess) };
        ensure!(
            fit == Fit::Stretch || height == width,
            "the input is {height}x{width}, expected a square: parts of padded pictures are cut from squares"
        );
        Ok(Preprocess { height: from, width: from, ..preprocess })
    }
}

impl Crop {
    /// Left, top, width and height in pixels; the whole picture if ten draws do not fit.
    fn draw(&self, random: &mut ChaCha8Rng) -> [i64; 4] {
        let side = self.from as i64;
        for _ in 0..10 {
            let area = (side * side) as f64 * random.random_range(self.least_area..=1.0);
            let reach = self.aspect.ln();
            let ratio = random.random_range(-reach..=reach).exp();
            let width = (area * ratio).sqrt().round() as i64;
            let height = (area / ratio).sqrt().round() as i64;
            if (1..=side).contains(&width) && (1..=side).contains(&height) {
                let left = random.random_range(0..=side - width);
                return [left, random.random_range(0..=side - height), width, height];
            }
        }
        [0, 0, side, side]
    }
}

/// One draw for every picture of a batch.
#[derive(Debug)]
pub struct Moves {
    /// Rows and columns of the network's input.
    input: [usize; 2],
    /// What is left of larger pictures, and where.
    parts: Option<Parts>,
    /// From places of the new picture to places of the old, `[x', y'] = m·[x, y, 1]`, in −1…1 across the picture.
    matrices: Vec<[f64; 6]>,
    /// Contrast and offset.
    light: Vec<[f64; 2]>,
    /// Blanked `x1, y1, x2, y2` in −1…1.
    blank: Vec<Option<[f64; 4]>>,
}

/// Parts of square pictures: left, top, width, height of each in pixels of a picture of side `from`.
#[derive(Debug)]
struct Parts {
    from: usize,
    places: Vec<[i64; 4]>,
}

impl Moves {
    /// For `count` pictures that end as the network's `input` (rows, columns).
    pub fn draw(
        amount: &Augmentation,
        count: usize,
        input: [usize; 2],
        random: &mut ChaCha8Rng,
    ) -> Self {
        let aspect = input[1] as f64 / input[0] as f64;
        let parts = amount.crop.map(|crop| Parts {
            from: crop.from,
            places: (0..count).map(|_| crop.draw(random)).collect(),
        });
        let mut moves =
            Self { input, parts, matrices: Vec::new(), light: Vec::new(), blank: Vec::new() };
        for _ in 0..count {
            let mut either = |reach: f64| reach * random.random_range(-1.0..=1.0);
            let angle = either(amount.rotation).to_radians();
            let (sx, sy) = {
                let both = 1.0 + either(amount.scale);
                (both * (1.0 + either(amount.scale / 3.0)), both)
            };
            let shift = [2.0 * either(amount.shift), 2.0 * either(amount.shift)];
            let light = [1.0 + either(amount.light), either(amount.light)];
            let mirror = if random.random_bool(amount.flip) { -1.0 } else { 1.0 };
            let (sin, cos) = angle.sin_cos();
            // `aspect` = width / height: rotation happens in pixels, places are in shares of each side.
            moves.matrices.push([
                mirror * cos / sx,
                -sin / sy / aspect,
                shift[0],
                mirror * sin / sx * aspect,
                cos / sy,
                shift[1],
            ]);
            moves.light.push(light);
            moves.blank.push(random.random_bool(amount.erase).then(|| {
                let [w, h] = [random.random_range(0.1..0.33), random.random_range(0.1..0.33)];
                let x = random.random_range(-1.0..1.0 - 2.0 * w);
                let y = random.random_range(-1.0..1.0 - 2.0 * h);
                [x, y, x + 2.0 * w, y + 2.0 * h]
            }));
        }
        moves
    }

    /// `[B, 1, H, W]`, normalised → the same, changed; with a crop `[B, 1, from, from]` → `[B, 1, H, W]`.
    pub fn pictures(&self, pictures: &Tensor) -> Tensor {
        let pictures = &self.cut(pictures);
        let moved = pictures.grid_sampler(&self.grid(pictures), BILINEAR, BORDER, false);
        let column = |at: usize| {
            let values: Vec<f32> = self.light.iter().map(|light| light[at] as f32).collect();
            Tensor::from_slice(&values).view([-1, 1, 1, 1]).to_device(pictures.device())
        };
        let lit = moved * column(0) + column(1);
        self.erase(lit)
    }

    /// `[B, C, H, W]` of 0 and 1 → the same, moved, outside = 0. They may be smaller than the pictures, by the same factor
    /// before and after a crop.
    pub fn masks(&self, masks: &Tensor) -> Tensor {
        let masks = &self.cut(masks);
        masks.grid_sampler(&self.grid(masks), NEAREST, ZEROS, false)
    }

    /// A box `x1, y1, x2, y2` of picture `at` in shares of the sides: the rectangle around its moved corners,
    /// cut to the picture; `None` if less than a quarter of it is left.
    pub fn rectangle(&self, at: usize, corners: [f64; 4]) -> Option<[f64; 4]> {
        let [a, b, tx, c, d, ty] = self.matrices[at];
        let determinant = a * d - b * c;
        let [mut x1, mut y1, mut x2, mut y2] = corners;
        if let Some(Parts { from, places }) = &self.parts {
            // Shares of the part, not of the picture.
            let [left, top, width, height] = places[at].map(|pixels| pixels as f64 / *from as f64);
            [x1, x2] = [(x1 - left) / width, (x2 - left) / width];
            [y1, y2] = [(y1 - top) / height, (y2 - top) / height];
        }
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(|share| 2.0 * share - 1.0);
        let moved = [(x1, y1), (x2, y1), (x1, y2), (x2, y2)].map(|(x, y)| {
            let (x, y) = (x - tx, y - ty);
            ((d * x - b * y) / determinant, (a * y - c * x) / determinant)
        });
        let fold = |pick: fn(&(f64, f64)) -> f64, with: fn(f64, f64) -> f64, from: f64| {
            moved.iter().map(pick).fold(from, with)
        };
        let low = [fold(|p| p.0, f64::min, f64::MAX), fold(|p| p.1, f64::min, f64::MAX)];
        let high = [fold(|p| p.0, f64::max, f64::MIN), fold(|p| p.1, f64::max, f64::MIN)];
        let cut = [low[0], low[1], high[0], high[1]].map(|place| place.clamp(-1.0, 1.0));
        let area = |r: [f64; 4]| (r[2] - r[0]) * (r[3] - r[1]);
        let whole = area([low[0], low[1], high[0], high[1]]);
        (area(cut) >= 0.25 * whole && whole > 0.0).then(|| cut.map(|place| (place + 1.0) / 2.0))
    }

    /// The part of each picture, smoothly stretched to the input's share of the larger picture.
    fn cut(&self, pictures: &Tensor) -> Tensor {
        let Some(Parts { from, places }) = &self.parts else { return pictures.shallow_clone() };
        let (_, _, rows, columns) = pictures.size4().expect("pictures are [B, C, H, W]");
        let share = |pixels: i64, side: i64| pixels as f64 / *from as f64 * side as f64;
        let size = [share(self.input[0] as i64, rows), share(self.input[1] as i64, columns)]
            .map(|side| side.round() as i64);
        let part = |(at, &[left, top, width, height]): (usize, &[i64; 4])| {
            // Whole cells, where masks are coarser than the picture.
            let cells = |first: i64, length: i64, side: i64| {
                let first_cell = (share(first, side).round() as i64).min(side - 1);
                let end = (share(first + length, side).round() as i64).clamp(first_cell + 1, side);
                (first_cell, end - first_cell)
            };
            let ((y, h), (x, w)) = (cells(top, height, rows), cells(left, width, columns));
            pictures
                .narrow(0, at as i64, 1)
                .narrow(2, y, h)
                .narrow(3, x, w)
                .internal_upsample_bilinear2d_aa(size, false, None, None)
        };
        Tensor::cat(&places.iter().enumerate().map(part).collect::<Vec<_>>(), 0)
    }

    fn grid(&self, pictures: &Tensor) -> Tensor {
        let flat: Vec<f32> = self.matrices.iter().flatten().map(|&value| value as f32).collect();
        let theta = Tensor::from_slice(&flat).view([-1, 2, 3]).to_device(pictures.device());
        Tensor::affine_grid_generator(&theta, pictures.size(), false)
    }

    fn erase(&self, pictures: Tensor) -> Tensor {
        let (_, _, height, width) = pictures.size4().expect("pictures are [B, 1, H, W]");
        for (at, blank) in self.blank.iter().enumerate() {
            let Some([x1, y1, x2, y2]) = blank else { continue };
            let place = |share: f64, side: i64| ((share + 1.0) / 2.0 * side as f64) as i64;
            let (left, top) = (place(*x1, width), place(*y1, height));
            let (right, bottom) = (place(*x2, width), place(*y2, height));
            let _ = pictures
                .get(at as i64)
                .narrow(1, top, bottom - top)
                .narrow(2, left, right - left)
                .fill_(0.0);
        }
        pictures
    }
}

// grid_sampler's numbers for its modes.
const BILINEAR: i64 = 0;
const NEAREST: i64 = 1;
const ZEROS: i64 = 0;
const BORDER: i64 = 1;

/// Blends every picture with another of the batch; returns the partner's numbers and the share of the own picture.
pub fn mix(pictures: &Tensor, strength: f64, random: &mut ChaCha8Rng) -> (Tensor, Tensor, f64) {
    let partners = Tensor::randperm(pictures.size()[0], (Kind::Int64, Device::Cpu));
    let own = 1.0 - strength * random.random_range(0.0..0.5);
    let partners_there = partners.to_device(pictures.device());
    let mixed = pictures * own + pictures.index_select(0, &partners_there) * (1.0 - own);
    (mixed, partners_there, own)
}

#[cfg(test)]
mod tests;
