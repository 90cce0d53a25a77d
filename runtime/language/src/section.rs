//! What a bundle's section `language.bin` says, and what a pack adds to it. Postcard sends fields by position: what is added stands at the end, under
//! a new format (`wire.rs`).

use bundle::LabelCode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Everything a box needs to score phrases and find sentences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Language {
    pub space: Space,
    /// Factor of the difference of the two global similarities: the checkpoint's `exp(logit_scale)`.
    pub scale: f32,
    pub prompts: Vec<Prompt>,
    pub bank: Option<Bank>,
    /// What places usually say, `[P]` of `[D]`: the mean of `G_p / |v|` over images that nobody chose for a finding. With it,
    /// heat maps are what places add to the global score; without, they are the local attention.
    #[serde(skip)] // of the second format, where it stands behind the rest
    pub usual: Option<Vec<Vector>>,
}

/// The space that images and texts share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// SHA-256 over the tensors of the checkpoint that make the space, and its tokenizer.
    pub id: [u8; 32],
    /// `D`.
    pub width: u32,
    /// Rows and columns of places, `[h, w]`.
    pub grid: [u32; 2],
}

/// `[D]`: `values · scale`. Values are −127 to 127.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vector {
    pub scale: f32,
    pub values: Vec<i8>,
}

/// Phrases for a finding, or against it, averaged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Mean of the phrases' unit embeddings: its dot product with a unit vector is the mean cosine.
    pub text: Vector,
    /// `W_kᵀ q(s) / √D`: how much the phrase looks at a place is `σ(look·V_p + look_bias)`.
    pub look: Vector,
    pub look_bias: f32,
    /// `W_qᵀ k(s) / √D`: how much a place listens to the phrase is `σ(listen·V_p + listen_bias)`.
    pub listen: Vector,
    pub listen_bias: f32,
}

/// `σ(slope · logit(raw) + offset)`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Platt {
    /// Positive: calibration does not turn the order round.
    pub slope: f32,
    pub offset: f32,
}

/// A finding described by phrases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Unique among all findings of a network.
    pub name: String,
    #[serde(with = "crate::code")]
    pub code: Option<LabelCode>,
    pub positive_phrases: Vec<String>,
    pub negative_phrases: Vec<String>,
    pub positive: Side,
    pub negative: Side,
    /// `None`: the raw score is shown.
    pub calibration: Option<Platt>,
    /// Positive from here on, a probability.
    pub threshold: f32,
    /// How the threshold was chosen, for people.
    pub chosen: String,
}

/// Prototypes of the training reports' sentences: what the nearest sentences are found among.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bank {
    /// `[K]` of `[D]`: how much a prototype looks at a place is `σ(look·V_p + look_bias)`.
    pub look: Vec<Vector>,
    pub look_bias: Vec<f32>,
    /// `[K]` of `[D]`.
    pub prototypes: Vec<Vector>,
    /// `W_v [D, D]`, by rows: what a place says is `value · V_p + value_bias`.
    pub value: Vec<Vector>,
    pub value_bias: Vec<f32>,
    /// `[K]`: a reviewed sentence for each prototype that has one.
    pub sentences: Vec<Option<String>>,
    /// SHA-256 of the file of reviewed sentences, hexadecimal.
    pub reviewed: String,
}

/// Findings that travel without a network, for boxes whose network has their space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pack {
    /// A newer version of the same name replaces it.
    pub name: String,
    pub version: String,
    pub space: Space,
    /// As [`Language::scale`].
    pub scale: f32,
    pub prompts: Vec<Prompt>,
    /// Who uses the pack proves itself by reproducing their bits.
    pub golden: Vec<PackGolden>,
}

/// Answers to a [`crate::TrialImage`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackGolden {
    pub seed: u64,
    /// Codes of the trial image's places.
    pub scale: f32,
    pub zero: u8,
    /// Of each prompt: raw score and probability.
    pub scores: Vec<[f32; 2]>,
    /// Of each prompt: its heat map, `[h, w]`.
    pub heat: Vec<Vec<f32>>,
}

impl Space {
    /// `P`.
    pub fn places(&self) -> usize {
        self.grid[0] as usize * self.grid[1] as usize
    }
}

impl Vector {
    /// To the nearest eighth-bit code, symmetric; what is all zeros stays so.
    ///
    /// # Panics
    /// If a value is not finite.
    pub fn quantize(values: &[f32]) -> Self {
        assert!(values.iter().all(|x| x.is_finite()), "vectors are finite");
        let most = values.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        // Below this, the quotients would lose digits or overflow.
        if most < f32::MIN_POSITIVE * 127.0 {
            return Self { scale: 1.0, values: vec![0; values.len()] };
        }
        let scale = most / 127.0;
        let code = |x: &f32| (x / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
        Self { scale, values: values.iter().map(code).collect() }
    }

    /// The real values.
    pub fn dequantized(&self) -> Vec<f32> {
        self.values.iter().map(|&q| f32::from(q) * self.scale).collect()
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.grid;
        write!(f, "{} ({} wide, {rows}x{columns} places)", hex::encode(&self.id[..8]), self.width)
    }
}
