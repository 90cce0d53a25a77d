//! Images and languages of a seed: what a scorer is proved and measured with where there is no checkpoint.

use crate::image::Image;
use crate::section::{Bank, Language, Prompt, Side, Space, Vector};

/// An image whose codes follow from a seed alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialImage {
    /// `[D]`, −127 to 127.
    global: Vec<i16>,
    /// `[P, D]`, 0 to 255.
    places: Vec<u8>,
    /// `[P, D]`, 0 to 255.
    global_places: Vec<u8>,
}

impl TrialImage {
    pub fn new(space: &Space, seed: u64) -> Self {
        let mut bytes = Bytes(seed);
        let global = (0..space.width).map(|_| i16::from(bytes.next().max(1)) - 128).collect();
        let count = space.places() * space.width as usize;
        let mut map = || (0..count).map(|_| bytes.next()).collect();
        Self { global, places: map(), global_places: map() }
    }

    pub fn image(&self) -> Image<'_> {
        let global_places = Some(&self.global_places[..]);
        Image { global: &self.global, places: &self.places, global_places }
    }
}

impl Language {
    /// Findings `Finding 1`, … and prototypes of random vectors, half of them with a sentence: for tests and benchmarks.
    /// Their attention is neither all nor nothing on a [`TrialImage`] whose places have the scale 1/64.
    pub fn drawn(space: Space, findings: usize, prototypes: usize, seed: u64) -> Self {
        let mut draw = Draw { bytes: Bytes(seed), width: space.width as usize };
        let prompt = |number| Prompt {
            name: format!("Finding {number}"),
            code: None,
            positive_phrases: vec![format!("finding {number} is observed")],
            negative_phrases: vec![format!("no finding {number} is observed")],
            positive: draw.side(),
            negative: draw.side(),
            calibration: None,
            threshold: 0.5,
            chosen: "drawn".into(),
        };
        let prompts = (1..=findings).map(prompt).collect();
        let bank = (prototypes > 0).then(|| draw.bank(prototypes));
        Self { space, scale: 20.0, prompts, bank, usual: None }
    }

    /// The same, with heat maps of what places add to the global score.
    pub fn with_usual(self, seed: u64) -> Self {
        let mut draw = Draw { bytes: Bytes(seed), width: self.space.width as usize };
        let usual = (0..self.space.places()).map(|_| draw.vector(1.0)).collect();
        Self { usual: Some(usual), ..self }
    }
}

struct Draw {
    bytes: Bytes,
    width: usize,
}

impl Draw {
    /// About as long as this.
    fn vector(&mut self, length: f32) -> Vector {
        let values = (0..self.width).map(|_| self.bytes.next().clamp(1, 255)).collect::<Vec<u8>>();
        let values = values.into_iter().map(|byte| (i16::from(byte) - 128) as i8).collect();
        Vector { scale: length / (73.0 * (self.width as f32).sqrt()), values }
    }

    fn number(&mut self, most: f32) -> f32 {
        (f32::from(self.bytes.next()) - 127.5) / 127.5 * most
    }

    fn side(&mut self) -> Side {
        Side {
            text: self.vector(1.0),
            look: self.vector(2.0),
            look_bias: self.number(1.0),
            listen: self.vector(2.0),
            listen_bias: self.number(1.0),
        }
    }

    fn bank(&mut self, prototypes: usize) -> Bank {
        let width = self.width;
        let mut vectors = |count: usize, length: f32| -> Vec<Vector> {
            (0..count).map(|_| self.vector(length)).collect()
        };
        let (look, drawn) = (vectors(prototypes, 2.0), vectors(prototypes, 1.0));
        let value = vectors(width, 1.0);
        let sentence = |k: usize| k.is_multiple_of(2).then(|| format!("sentence {k} is observed"));
        Bank {
            look,
            look_bias: (0..prototypes).map(|_| self.number(1.0)).collect(),
            prototypes: drawn,
            value,
            value_bias: (0..width).map(|_| self.number(0.1)).collect(),
            sentences: (0..prototypes).map(sentence).collect(),
            reviewed: "0".repeat(64),
        }
    }
}

/// SplitMix64, its highest bytes. Packs in the field hold what came of it: it never changes.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 56) as u8
    }
}
