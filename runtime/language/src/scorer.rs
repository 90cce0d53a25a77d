//! Scores of an image that an int8 network has embedded: exact integer products, then `f32` in a fixed order.
//!
//! ```text
//! V [P, D] u8 ──▶ one product with all vectors of all findings (kernels) ──▶ [4 · findings, P] f32 ──▶ σ, means
//! v [D]      ──▶ products with text⁺, text⁻ in i64 ──▶ cosines
//! G [P, D] u8 ──▶ `shares` ──▶ heat maps, where the language has them
//! ```

use crate::LanguageError;
use crate::image::{Codes, Image, MapCodes};
use crate::nearest::{Near, Prototypes};
use crate::numbers::{logit, mean, sigmoid};
use crate::products::Products;
use crate::section::{Language, Pack, Platt, Prompt, Side, Space, Vector};
use crate::shares::Shares;
use kernels::{Isa, Pool};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the phrases of one finding say of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub name: String,
    /// PRIOR's score, between 0 and 1, before calibration.
    pub raw: f32,
    /// In `[0, 1]`.
    pub probability: f32,
    /// Positive from here on.
    pub threshold: f32,
    pub positive: bool,
    /// Where it is seen, `[h, w]`, in `[0, 1]`: what each place adds to the score, or how much the phrases for it attend
    /// to the place ([`Language::usual`]).
    pub heat: Vec<f32>,
}

/// Findings and sentences, packed for one network and one instruction set.
pub struct Scorer {
    space: Space,
    prompts: Vec<Packed>,
    /// `None` without prompts: a bank alone.
    products: Option<Products>,
    shares: Option<Shares>,
    prototypes: Option<Prototypes>,
    pool: Arc<Pool>,
}

/// A prompt without what the products have of it.
struct Packed {
    name: String,
    scale: f32,
    positive: PackedSide,
    negative: PackedSide,
    calibration: Option<Platt>,
    threshold: f32,
}

struct PackedSide {
    text: Vector,
    look_bias: f32,
    listen_bias: f32,
}

/// Channels of the product for each finding: look and listen of either side.
const CHANNELS: usize = 4;

impl Scorer {
    /// The findings of `language`, then those of `packs` in their order, for a network that gives places as `codes`.
    pub fn new(
        language: &Language,
        packs: &[Pack],
        codes: impl Into<MapCodes>,
        isa: Isa,
        pool: &Arc<Pool>,
    ) -> Result<Self, LanguageError> {
        language.check()?;
        let MapCodes { places: codes, global_places } = codes.into();
        let mut all: Vec<(f32, &Prompt)> =
            language.prompts.iter().map(|prompt| (language.scale, prompt)).collect();
        for pack in packs {
            pack.check()?;
            if pack.space != language.space {
                return Err(LanguageError::OtherSpace {
                    pack: pack.name.clone(),
                    found: pack.space.to_string(),
                    expected: language.space.to_string(),
                });
            }
            all.extend(pack.prompts.iter().map(|prompt| (pack.scale, prompt)));
        }
        let bank = language.bank.as_ref();
        let prototypes = bank
            .map(|bank| Prototypes::pack(bank, &language.space, codes, isa, pool))
            .transpose()?;
        let mut scorer = Self::pack(language.space, &all, prototypes.flatten(), codes, isa, pool)?;
        if let (Some(usual), false) = (&language.usual, all.is_empty()) {
            let codes = global_places.ok_or_else(Shares::no_codes)?;
            scorer.shares = Some(Shares::pack(&all, usual, &language.space, codes, isa, pool)?);
        }
        Ok(scorer)
    }

    /// The findings of a pack alone, whose heat maps are the local attention.
    pub fn of_pack(
        pack: &Pack,
        codes: Codes,
        isa: Isa,
        pool: &Arc<Pool>,
    ) -> Result<Self, LanguageError> {
        pack.check()?;
        let all: Vec<_> = pack.prompts.iter().map(|prompt| (pack.scale, prompt)).collect();
        Self::pack(pack.space, &all, None, codes, isa, pool)
    }

    fn pack(
        space: Space,
        prompts: &[(f32, &Prompt)],
        prototypes: Option<Prototypes>,
        codes: Codes,
        isa: Isa,
        pool: &Arc<Pool>,
    ) -> Result<Self, LanguageError> {
        let mut names = BTreeSet::new();
        if let Some((_, again)) = prompts.iter().find(|(_, prompt)| !names.insert(&prompt.name)) {
            return Err(LanguageError::Twice { name: again.name.clone() });
        }
        let vectors: Vec<&Vector> = prompts
            .iter()
            .flat_map(|(_, prompt)| [&prompt.positive, &prompt.negative])
            .flat_map(|side| [&side.look, &side.listen])
            .collect();
        let products = match vectors[..] {
            [] => None,
            _ => Some(Products::pack(&vectors, &space, codes, isa, pool)?),
        };
        let prompts = prompts.iter().map(|&(scale, prompt)| Packed::of(scale, prompt)).collect();
        Ok(Self { space, prompts, products, shares: None, prototypes, pool: pool.clone() })
    }

    pub fn space(&self) -> &Space {
        &self.space
    }

    /// One answer for each finding, in order.
    ///
    /// # Panics
    /// If the image is not of this space, or lacks what the language needs of it.
    pub fn score(&mut self, image: Image<'_>) -> Vec<Said> {
        image.check(&self.space);
        let Some(products) = &mut self.products else { return Vec::new() };
        let places = self.space.places();
        let products = products.run(image.places, &self.pool);
        let squares: i64 = image.global.iter().map(|&q| i64::from(q) * i64::from(q)).sum();
        let length = (squares as f32).sqrt();
        let of = |(prompt, products): (&Packed, &[f32])| {
            prompt.score(image.global, length, products, places)
        };
        let products = products.chunks_exact(CHANNELS * places);
        let mut said: Vec<Said> = self.prompts.iter().zip(products).map(of).collect();
        if let Some(shares) = &mut self.shares {
            let map = image.global_places.expect("a network whose language has shares tells them");
            for (said, heat) in said.iter_mut().zip(shares.heat(map, &self.pool)) {
                said.heat = heat;
            }
        }
        said
    }

    /// The `count` nearest sentences of the bank, nearest first; fewer where it has fewer.
    ///
    /// # Panics
    /// If the image is not of this space.
    pub fn nearest(&mut self, image: Image<'_>, count: usize) -> Vec<Near> {
        image.check(&self.space);
        self.prototypes
            .as_mut()
            .map_or_else(Vec::new, |prototypes| prototypes.nearest(image.places, count, &self.pool))
    }
}

impl Packed {
    fn of(scale: f32, prompt: &Prompt) -> Self {
        let side = |side: &Side| PackedSide {
            text: side.text.clone(),
            look_bias: side.look_bias,
            listen_bias: side.listen_bias,
        };
        Self {
            name: prompt.name.clone(),
            scale,
            positive: side(&prompt.positive),
            negative: side(&prompt.negative),
            calibration: prompt.calibration,
            threshold: prompt.threshold,
        }
    }

    /// `products [4, P]`: look and listen of the positive side, then of the negative one.
    fn score(&self, global: &[i16], length: f32, products: &[f32], places: usize) -> Said {
        let (positive, negative) = products.split_at(2 * places);
        let heat = self.positive.heat(positive);
        let against = self.negative.heat(negative);
        let mean = |heat: &[f32]| mean(heat.iter().copied());
        let cosines = self.positive.cosine(global, length) - self.negative.cosine(global, length);
        let local = sigmoid(mean(&heat) - mean(&against));
        let raw = (sigmoid(self.scale * cosines) + 0.5 * local) / 1.5;
        // The local part keeps `raw` away from 0 and 1, so its logit is a number.
        let calibrated = |platt: Platt| sigmoid(platt.slope * logit(raw) + platt.offset);
        let probability = self.calibration.map_or(raw, calibrated);
        let (name, threshold) = (self.name.clone(), self.threshold);
        Said { name, raw, probability, threshold, positive: probability >= threshold, heat }
    }
}

impl PackedSide {
    /// `products [2, P]` → `[P]`.
    fn heat(&self, products: &[f32]) -> Vec<f32> {
        let (look, listen) = products.split_at(products.len() / 2);
        let place = |(look, listen): (&f32, &f32)| {
            0.5 * (sigmoid(look + self.look_bias) + sigmoid(listen + self.listen_bias))
        };
        look.iter().zip(listen).map(place).collect()
    }

    /// Of an image without a direction, 0.
    fn cosine(&self, global: &[i16], length: f32) -> f32 {
        let products = self.text.values.iter().zip(global);
        let sum: i64 = products.map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
        if length > 0.0 { (sum as f32 * self.text.scale / length).clamp(-1.0, 1.0) } else { 0.0 }
    }
}
