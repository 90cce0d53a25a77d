//! Which pixels of a line make one pixel of a resized line, and with which weights.

use std::ops::Range;

/// The source pixels that make one destination pixel, and their weights, which with `beyond` add up to 1.
pub(crate) struct Taps {
    pub(crate) first: usize,
    pub(crate) weights: Vec<f32>,
    /// Weight of what lies beside the picture.
    pub(crate) beyond: f32,
}

impl Taps {
    /// One for each pixel in `part` of `to` pixels that are made from `from` pixels.
    pub(crate) fn triangles(from: usize, to: usize, part: Range<usize>) -> Vec<Self> {
        let scale = from as f64 / to as f64; // source pixels per destination pixel
        let support = scale.max(1.0); // pixels that it reaches to either side
        let around = |i: usize| {
            let center = (i as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let raw: Vec<f64> = (first..end)
                .map(|x| (1.0 - ((x as f64 + 0.5 - center) / support).abs()).max(0.0))
                .collect();
            let total: f64 = raw.iter().sum();
            Self { first, weights: raw.iter().map(|w| (w / total) as f32).collect(), beyond: 0.0 }
        };
        part.map(around).collect()
    }

    pub(crate) fn gaussians(from: usize, to: usize, part: Range<usize>) -> Vec<Self> {
        let scale = from as f64 / to as f64;
        let kernel = kernel(((scale - 1.0) / 2.0).max(0.0));
        let radius = (kernel.len() / 2) as i64;
        // Linear between the blurred pixels on either side, a pixel's centre being a whole number.
        let around = |i: usize| {
            let place = (i as f64 + 0.5) * scale - 0.5;
            let (lower, fraction) = (place.floor() as i64, place - place.floor());
            let weight = |x: i64| {
                let of = |at: i64| usize::try_from(at).ok().and_then(|at| kernel.get(at));
                let [left, right] = [x - lower + radius, x - lower - 1 + radius].map(of);
                left.map_or(0.0, |w| w * (1.0 - fraction)) + right.map_or(0.0, |w| w * fraction)
            };
            let reach = lower - radius..=lower + 1 + radius;
            let inside = 0..from as i64;
            let first = (*reach.start()).clamp(0, from as i64) as usize;
            let beyond: f64 = reach.clone().filter(|x| !inside.contains(x)).map(weight).sum();
            let weights = reach.filter(|x| inside.contains(x)).map(|x| weight(x) as f32).collect();
            Self { first, weights, beyond: beyond as f32 }
        };
        part.map(around).collect()
    }

    pub(crate) fn dot(&self, row: &[f32], outside: f32) -> f32 {
        let mut sum = self.beyond * outside;
        for (x, weight) in row[self.first..].iter().zip(&self.weights) {
            sum += weight * x;
        }
        sum
    }
}

/// A Gaussian cut off at four deviations, which adds up to 1.
fn kernel(sigma: f64) -> Vec<f64> {
    if sigma <= 1e-15 {
        return vec![1.0];
    }
    let radius = (4.0 * sigma + 0.5) as i64;
    let raw: Vec<f64> =
        (-radius..=radius).map(|x| libm::exp(-0.5 / (sigma * sigma) * (x * x) as f64)).collect();
    let total: f64 = raw.iter().sum();
    raw.iter().map(|w| w / total).collect()
}
