//! Training pictures moved, stretched, lit differently; masks and boxes move with them.

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
}

impl Augmentation {
    pub const NONE: Self =
        Self { rotation: 0.0, shift: 0.0, scale: 0.0, flip: 0.0, light: 0.0, erase: 0.0 };
}

/// One draw for every picture of a batch.
#[derive(Debug)]
pub struct Moves {
    /// From places of the new picture to places of the old, `[x', y'] = m·[x, y, 1]`, in −1…1 across the picture.
    matrices: Vec<[f64; 6]>,
    /// Contrast and offset.
    light: Vec<[f64; 2]>,
    /// Blanked `x1, y1, x2, y2` in −1…1.
    blank: Vec<Option<[f64; 4]>>,
}

impl Moves {
    pub fn draw(amount: &Augmentation, count: usize, aspect: f64, random: &mut ChaCha8Rng) -> Self {
        let mut moves = Self { matrices: Vec::new(), light: Vec::new(), blank: Vec::new() };
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

    /// `[B, 1, H, W]`, normalised → the same, changed.
    pub fn pictures(&self, pictures: &Tensor) -> Tensor {
        let moved = pictures.grid_sampler(&self.grid(pictures), BILINEAR, BORDER, false);
        let column = |at: usize| {
            let values: Vec<f32> = self.light.iter().map(|light| light[at] as f32).collect();
            Tensor::from_slice(&values).view([-1, 1, 1, 1]).to_device(pictures.device())
        };
        let lit = moved * column(0) + column(1);
        self.erase(lit)
    }

    /// `[B, C, H, W]` of 0 and 1 → the same, moved, outside = 0.
    pub fn masks(&self, masks: &Tensor) -> Tensor {
        masks.grid_sampler(&self.grid(masks), NEAREST, ZEROS, false)
    }

    /// A box `x1, y1, x2, y2` of picture `at` in shares of the sides: the rectangle around its moved corners,
    /// cut to the picture; `None` if less than a quarter of it is left.
    pub fn rectangle(&self, at: usize, corners: [f64; 4]) -> Option<[f64; 4]> {
        let [a, b, tx, c, d, ty] = self.matrices[at];
        let determinant = a * d - b * c;
        let [x1, y1, x2, y2] = corners.map(|share| 2.0 * share - 1.0);
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
mod tests {
    use super::*;
    use rand::SeedableRng;

    const STRONG: Augmentation =
        Augmentation { rotation: 15.0, shift: 0.1, scale: 0.2, flip: 0.5, light: 0.0, erase: 0.0 };

    /// A picture that is 1 inside a rectangle (in shares), 0 outside.
    fn drawn([x1, y1, x2, y2]: [f64; 4], height: i64, width: i64) -> Tensor {
        let picture = Tensor::zeros([1, 1, height, width], (Kind::Float, Device::Cpu));
        let at = |share: f64, side: i64| (share * side as f64).round() as i64;
        let (x, y) = (at(x1, width), at(y1, height));
        let _ = picture.narrow(2, y, at(y2, height) - y).narrow(3, x, at(x2, width) - x).fill_(1.0);
        picture
    }

    /// The rectangle around all pixels above one half, in shares.
    fn found(picture: &Tensor) -> [f64; 4] {
        let (_, _, height, width) = picture.size4().unwrap();
        let extent = |dimension: i64, side: i64| {
            let any = picture.gt(0.5).any_dim(dimension, false).squeeze();
            let places = Vec::<i64>::try_from(any.nonzero().squeeze_dim(1)).unwrap();
            (places[0] as f64 / side as f64, (places[places.len() - 1] + 1) as f64 / side as f64)
        };
        let ((x1, x2), (y1, y2)) = (extent(2, width), extent(3, height));
        [x1, y1, x2, y2]
    }

    #[test]
    fn boxes_and_masks_follow_the_picture() {
        let rectangle = [0.30, 0.35, 0.55, 0.70];
        for seed in 0..20 {
            let (height, width) = (160, 224);
            let aspect = width as f64 / height as f64;
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let moves = Moves::draw(&STRONG, 1, aspect, &mut random);
            let picture = drawn(rectangle, height, width);
            let (moved, mask) = (moves.pictures(&picture), moves.masks(&picture));
            let expected = moves.rectangle(0, rectangle).unwrap();
            for (seen, expected) in found(&moved).iter().zip(expected) {
                assert!((seen - expected).abs() < 0.02, "seed {seed}: {seen} vs {expected}");
            }
            let same = moved.gt(0.5).eq_tensor(&mask.gt(0.5)).to_kind(Kind::Float);
            assert!(same.mean(Kind::Float).double_value(&[]) > 0.985);
        }
    }

    #[test]
    fn no_augmentation_changes_nothing() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let moves = Moves::draw(&Augmentation::NONE, 1, 1.0, &mut random);
        let picture = drawn([0.2, 0.2, 0.6, 0.5], 64, 64);
        let difference = (moves.pictures(&picture) - &picture).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "{difference}");
        let back = moves.rectangle(0, [0.2, 0.2, 0.6, 0.5]).unwrap();
        assert!(back.iter().zip([0.2, 0.2, 0.6, 0.5]).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn a_box_pushed_out_of_the_picture_is_gone() {
        let far = Moves {
            matrices: vec![[1.0, 0.0, 1.5, 0.0, 1.0, 0.0]],
            light: vec![[1.0, 0.0]],
            blank: vec![None],
        };
        assert_eq!(far.rectangle(0, [0.0, 0.0, 0.3, 0.3]), None);
    }
}
