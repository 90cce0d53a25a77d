//! One patient's build, and the places that follow from it.
//!
//! The picture shows the patient from the front: the patient's right lung lies on the left of the picture.

use super::canvas::{Dice, sigmoid};
use std::f32::consts::PI;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Right,
    Left,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Right, Self::Left];

    /// Direction in the picture, from the middle outwards.
    pub(super) fn sign(self) -> f32 {
        match self {
            Self::Right => -1.0,
            Self::Left => 1.0,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Left => "left",
        }
    }
}

/// Lengths in units of the picture's height.
#[derive(Clone, Debug)]
pub(super) struct Anatomy {
    pub(super) female: bool,
    /// Middle of the spine.
    pub(super) middle: f32,
    /// Top of the lungs.
    pub(super) apex: f32,
    /// Half width of the rib cage where it is widest.
    pub(super) half_width: f32,
    /// Height of the widest place.
    pub(super) widest: f32,
    /// Tops of the right and left diaphragm.
    pub(super) dome: [f32; 2],
    pub(super) dome_depth: f32,
    pub(super) mediastinum: f32,
    pub(super) heart: Heart,
    pub(super) body: f32,
    pub(super) shoulder: f32,
    pub(super) rib_spacing: f32,
    pub(super) rib_drop: f32,
    pub(super) clavicle_tilt: f32,
}

/// A tilted ellipse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heart {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) across: f32,
    pub(super) along: f32,
}

const HEART_TILT: (f32, f32) = (0.819, 0.574); // cos and sin of 35°

impl Anatomy {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let middle = dice.range(0.47, 0.53);
        let half_width = dice.range(0.33, 0.385);
        let dome = dice.range(0.70, 0.78);
        let along = half_width * dice.range(0.44, 0.52);
        let heart = Heart {
            x: middle + half_width * dice.range(0.13, 0.19),
            y: dome - dice.range(0.06, 0.09),
            across: along * dice.range(0.68, 0.78),
            along,
        };
        Self {
            female: dice.chance(0.48),
            middle,
            apex: dice.range(0.08, 0.13),
            half_width,
            widest: dice.range(0.62, 0.68),
            dome: [dome, dome + dice.range(0.005, 0.035)],
            dome_depth: dice.range(0.09, 0.14),
            mediastinum: dice.range(0.050, 0.066),
            heart,
            body: half_width + dice.range(0.055, 0.12),
            shoulder: dice.range(0.10, 0.17),
            rib_spacing: dice.range(0.066, 0.076),
            rib_drop: dice.range(0.10, 0.16),
            clavicle_tilt: dice.range(0.05, 0.11),
        }
    }

    /// The same patient on another day: a little turned, breathed in more or less, nearer or farther.
    pub(super) fn again(&self, dice: &mut Dice, supine: bool) -> Self {
        let mut other = self.clone();
        let breath = dice.range(-0.015, 0.02) + if supine { -0.03 } else { 0.0 };
        let shift = dice.range(-0.02, 0.02);
        let size = dice.range(0.96, 1.03);
        other.middle += shift;
        other.heart.x += shift;
        other.dome = [self.dome[0] + breath, self.dome[1] + breath];
        other.heart.y += breath * 0.8;
        other.half_width *= size;
        other.body *= size;
        if supine {
            // Nearer to the tube, the heart throws a larger shadow.
            other.heart.across *= 1.07;
            other.heart.along *= 1.07;
            other.mediastinum *= 1.1;
        }
        other
    }

    /// Half width of the rib cage at a height, 0 above it.
    pub(super) fn rib_cage(&self, y: f32) -> f32 {
        let up = (self.widest - y) / (self.widest - self.apex);
        if up >= 1.0 {
            return 0.0;
        }
        let narrowing = if up > 0.0 { libm::powf(up, 2.6) } else { 0.08 * up * up };
        self.half_width * libm::powf(1.0 - narrowing, 1.0 / 2.2)
    }

    /// Height of the diaphragm: a dome that falls towards the ribs and the spine.
    pub(super) fn diaphragm(&self, side: Side, x: f32) -> f32 {
        let out = (x - self.middle) * side.sign() / self.half_width;
        let from_top = (out - 0.48) / 0.52;
        let fall =
            if from_top > 0.0 { libm::powf(from_top, 2.4) } else { 0.55 * from_top * from_top };
        self.dome[usize::from(side == Side::Left)] + self.dome_depth * fall
    }

    /// 1 inside the lung, 0 outside, soft by about two pixels of 512; the heart is not lung.
    pub(super) fn lung(&self, side: Side, x: f32, y: f32) -> f32 {
        let out = (x - self.middle) * side.sign();
        if out < 0.0 || y < self.apex {
            return 0.0;
        }
        let soft = 0.004;
        let hilum = libm::expf(-libm::powf((y - 0.45) / 0.09, 2.0));
        let inner = self.mediastinum * (0.85 + 0.25 * hilum + 0.35 * ((y - 0.5).max(0.0)));
        let ribs = sigmoid((self.rib_cage(y) - out) / soft);
        let base = sigmoid((self.diaphragm(side, x) - y) / soft);
        let middle = sigmoid((out - inner) / (soft * 1.5));
        ribs * base * middle * (1.0 - self.heart_shadow(x, y))
    }

    pub(super) fn heart_shadow(&self, x: f32, y: f32) -> f32 {
        let Heart { x: hx, y: hy, across, along } = self.heart;
        let (dx, dy) = (x - hx, y - hy);
        let (u, v) = (dx * HEART_TILT.0 + dy * HEART_TILT.1, dy * HEART_TILT.0 - dx * HEART_TILT.1);
        let main = ((u / along) * (u / along) + (v / across) * (v / across)).sqrt();
        // Right atrium, which shows right of the spine.
        let (ax, ay) = (x - (self.middle - self.mediastinum * 0.35), y - hy);
        let atrium = ((ax / (across * 0.62)) * (ax / (across * 0.62))
            + (ay / (across * 0.95)) * (ay / (across * 0.95)))
            .sqrt();
        sigmoid((1.0 - main.min(atrium)) * across / 0.006)
    }

    /// Width of the heart over the width of the chest, as radiologists measure it.
    pub(super) fn cardiothoracic_ratio(&self) -> f32 {
        let Heart { x, across, along, .. } = self.heart;
        let reach = ((along * HEART_TILT.0) * (along * HEART_TILT.0)
            + (across * HEART_TILT.1) * (across * HEART_TILT.1))
            .sqrt();
        let left = x + reach - self.middle;
        let right = (self.mediastinum * 0.35 + across * 0.62).max(self.middle - (x - reach));
        (left + right) / (2.0 * self.half_width)
    }

    /// 1 where there is body, 0 in the air beside it.
    pub(super) fn body_shadow(&self, x: f32, y: f32) -> f32 {
        let out = (x - self.middle).abs();
        let neck = 0.15 + 0.5 * libm::powf((y / self.shoulder.max(0.01)).min(1.6), 2.2);
        let torso = self.body + 0.10 * sigmoid((0.34 - y) / 0.035) - 0.03 * (y - 0.6).max(0.0);
        let edge = if y < self.shoulder { neck.min(torso + 0.06) } else { torso };
        sigmoid((edge - out) / 0.008)
    }

    /// A rib's middle line from the spine outwards; `front` ones run the other way.
    pub(super) fn rib(&self, side: Side, number: usize, front: bool) -> Vec<(f32, f32)> {
        let start = self.apex + 0.028 + self.rib_spacing * number as f32;
        let place = |step: usize| {
            let u = step as f32 / 32.0;
            let (u, y) = if front {
                let u = 0.38 + 0.60 * u;
                (u, start + 0.16 + self.rib_drop * (0.95 - u) * 1.2)
            } else {
                let rise = 0.022 * libm::sinf(PI * (u * 1.3).min(1.0));
                (0.10 + 0.90 * u, start - rise + self.rib_drop * libm::powf(u, 2.2))
            };
            let cage = self.rib_cage(y.max(self.apex + 0.03)) + 0.006;
            (self.middle + side.sign() * cage * u, y)
        };
        (0..=32).map(place).collect()
    }

    pub(super) fn clavicle(&self, side: Side) -> Vec<(f32, f32)> {
        let place = |step: usize| {
            let u = step as f32 / 24.0;
            let x = self.middle + side.sign() * (0.035 + u * (self.half_width + 0.03));
            let bend = 0.012 * libm::sinf(2.0 * PI * u);
            (x, self.apex + 0.075 - self.clavicle_tilt * u + bend)
        };
        (0..=24).map(place).collect()
    }
}
