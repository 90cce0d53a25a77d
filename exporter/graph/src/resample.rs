//! Where each row (or column) of a resized image is read from.

use serde::{Deserialize, Serialize};

/// How `Resize` reads rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resample {
    pub filter: Filter,
    pub coordinates: Coordinates,
    /// Size after over before, rows and columns, as the file says it: it need not be the ratio of the sizes.
    pub scale: [f32; 2],
}

/// ONNX `mode`, with `nearest_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    Linear,
    NearestRoundPreferFloor,
    NearestRoundPreferCeil,
    NearestFloor,
    NearestCeil,
}

/// ONNX `coordinate_transformation_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coordinates {
    HalfPixel,
    PytorchHalfPixel,
    HalfPixelSymmetric,
    AlignCorners,
    Asymmetric,
}

/// What one output reads: two neighbours, and how far it lies from the first towards the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    pub lower: usize,
    pub upper: usize,
    /// 0 to 1; 0 where one source is taken as it is.
    pub fraction: f32,
}

impl Resample {
    /// One tap for each of the `to` outputs of an axis (0 rows, 1 columns) of `from` sources. In f32 and in this order, as
    /// ONNX Runtime computes them.
    pub fn taps(&self, axis: usize, from: usize, to: usize) -> Vec<Tap> {
        (0..to).map(|at| self.tap(self.source(axis, at, from, to), from)).collect()
    }

    fn source(&self, axis: usize, at: usize, from: usize, to: usize) -> f32 {
        let (x, scale) = (at as f32, self.scale[axis]);
        match self.coordinates {
            Coordinates::HalfPixel => (x + 0.5) / scale - 0.5,
            Coordinates::PytorchHalfPixel if to > 1 => (x + 0.5) / scale - 0.5,
            Coordinates::AlignCorners if to > 1 => x * (from - 1) as f32 / (to - 1) as f32,
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners => 0.0,
            Coordinates::Asymmetric => x / scale,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = to as f32 / (scale * from as f32);
                let centre = from as f32 / 2.0;
                // ONNX Runtime's last steps are in double precision here, and only here.
                let offset = f64::from(centre * (1.0 - adjustment));
                (offset + (f64::from(x) + 0.5) / f64::from(scale) - 0.5) as f32
            }
        }
    }

    fn tap(&self, x: f32, from: usize) -> Tap {
        let last = (from - 1) as f32;
        let one = |x: f32| {
            let at = x.clamp(0.0, last) as usize;
            Tap { lower: at, upper: at, fraction: 0.0 }
        };
        match self.filter {
            Filter::Linear => {
                let x = x.clamp(0.0, last);
                let lower = x as usize;
                let upper = (lower + 1).min(from - 1);
                Tap { lower, upper, fraction: x - lower as f32 }
            }
            Filter::NearestRoundPreferFloor => one((x - 0.5).ceil()),
            Filter::NearestRoundPreferCeil => one((x + 0.5).floor()),
            Filter::NearestFloor => one(x.floor()),
            Filter::NearestCeil => one(x.ceil()),
        }
    }
}
