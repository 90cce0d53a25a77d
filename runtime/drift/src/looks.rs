//! One image in numbers.

use crate::{
    DriftError,
    pixels::{Frame, GREYS, Measured, PIXELS, pixels},
};
use serde::{Deserialize, Serialize};

/// What the network was shown of one image, and what it said.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// `[C, H, W]`, normalised.
    pub input: Vec<f32>,
    /// Empty if the network has none.
    pub embedding: Vec<f32>,
    /// By name, in the network's order: `score/Pneumonia`, `mask/left lung`.
    pub scores: Vec<(String, f32)>,
}

/// One image beside the reference: its features in the order of their names there, and its histogram of grey levels.
/// Nothing in it is about a patient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looks {
    pub features: Vec<f32>,
    /// Shares of its pixels, black to white.
    pub greys: [f32; GREYS],
}

/// [`Seen`] without the picture: what a reference is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gathered {
    pub(crate) pixels: [f32; PIXELS.len()],
    pub(crate) greys: [f32; GREYS],
    pub(crate) coarse: Vec<f32>,
    pub(crate) embedding: Vec<f32>,
    pub(crate) scores: Vec<(String, f32)>,
}

impl Gathered {
    /// The numbers of one image; refuses what is not finite.
    pub fn of(seen: Seen, frame: &Frame) -> Result<Self, DriftError> {
        let Measured { numbers, greys, coarse } = pixels(&seen.input, frame)?;
        if seen.embedding.iter().any(|x| !x.is_finite()) {
            return Err(DriftError::NotFinite { what: "the embedding".into() });
        }
        if let Some((name, _)) = seen.scores.iter().find(|(_, score)| !score.is_finite()) {
            return Err(DriftError::NotFinite { what: name.clone() });
        }
        Ok(Self { pixels: numbers, greys, coarse, embedding: seen.embedding, scores: seen.scores })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.scores.iter().map(|(name, _)| name.clone()).collect()
    }
}
