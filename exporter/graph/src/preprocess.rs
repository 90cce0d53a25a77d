//! From decoded pixels to the network's input.

use crate::{Fit, Placement};
use serde::{Deserialize, Serialize};

/// From decoded pixels in `[0, 1]` to the network's input. The only such description (DESIGN §4).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Rows of the network input.
    pub height: usize,
    /// Columns of the network input.
    pub width: usize,
    /// `(x − mean) / std` with `x` in `[0, 1]`; a negative `std` is of a network that wants bones black.
    pub mean: f32,
    pub std: f32,
    /// How pictures of another shape are brought to it; checkpoints of before do not say, and stretch.
    #[serde(default)]
    pub fit: Fit,
    /// How pictures of another size are brought to it.
    #[serde(default, skip_serializing_if = "PictureFilter::is_triangle")]
    pub filter: PictureFilter,
    /// The second and third channel of a network that takes three: the same grey picture, each normalised its own way.
    /// Networks of ours take one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<[Normalisation; 2]>,
}

/// `(x − mean) / std` of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    pub mean: f32,
    pub std: f32,
}

/// What a pixel of another size is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PictureFilter {
    /// A triangle, as wide as a new pixel: Pillow's `BILINEAR`, torchvision's `antialias=True`.
    #[default]
    Triangle,
    /// A Gaussian, then linear between pixels, with the mean beside the picture: scikit-image's `resize` of a normalised
    /// picture, which TorchXRayVision uses.
    // Bundles hold this as its position: append.
    Gaussian,
}

impl PictureFilter {
    fn is_triangle(&self) -> bool {
        *self == Self::Triangle
    }
}

impl Preprocess {
    /// PRIOR's: 224x224, normalised by the grey mean and deviation of MIMIC-CXR.
    pub const PRIOR: Self = Self {
        height: 224,
        width: 224,
        mean: 0.4755,
        std: 0.3011,
        fit: Fit::Stretch,
        filter: PictureFilter::Triangle,
        others: None,
    };

    /// Channels of the network's input: 1 or 3.
    pub fn channels(&self) -> usize {
        self.normalisations().count()
    }

    /// One for each channel.
    pub fn normalisations(&self) -> impl Iterator<Item = Normalisation> + use<> {
        let first = Normalisation { mean: self.mean, std: self.std };
        std::iter::once(first).chain(self.others.into_iter().flatten())
    }

    /// Pixels in `[0, 1]`, `[height, width]` → `[channels, height, width]`.
    pub fn normalised(&self, mut pixels: Vec<f32>) -> Vec<f32> {
        let grey = self.others.map(|_| pixels.clone());
        let normalise = |Normalisation { mean, std }: Normalisation, pixels: &mut [f32]| {
            pixels.iter_mut().for_each(|x| *x = (*x - mean) / std);
        };
        let mut each = self.normalisations();
        normalise(each.next().expect("there is a first channel"), &mut pixels);
        for (own, grey) in each.zip(grey.iter().cycle()) {
            let start = pixels.len();
            pixels.extend_from_slice(grey);
            normalise(own, &mut pixels[start..]);
        }
        pixels
    }

    /// Where a picture of `source` rows and columns (at least 1) lies in the input.
    pub fn place(&self, source: [usize; 2]) -> Placement {
        Placement::new(self.fit, source, [self.height, self.width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grey_picture_goes_into_every_channel_normalised_its_own_way() {
        let rgb = [(0.5, 0.25), (0.25, 0.5)].map(|(mean, std)| Normalisation { mean, std });
        let grey = Preprocess { mean: 0.0, std: 1.0, ..Preprocess::PRIOR };
        assert_eq!((grey.channels(), grey.normalised(vec![0.5, 1.0])), (1, vec![0.5, 1.0]));
        let colour = Preprocess { others: Some(rgb), ..grey };
        assert_eq!(colour.channels(), 3);
        assert_eq!(colour.normalised(vec![0.5, 1.0]), [0.5, 1.0, 0.0, 2.0, 0.5, 1.5]);
    }
}
