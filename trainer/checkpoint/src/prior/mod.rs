//! `[prior]` of a pre-training checkpoint: what shapes the model, and what a stage asks of it.

mod parameters;
mod quirks;
mod reading;

pub use parameters::parameters;
pub use quirks::Quirks;
pub use reading::{BATCH, Objective, Reading, TAU};

use serde::{Deserialize, Serialize};
use std::fmt;

/// `[prior]` of a checkpoint: everything around the image encoder, which `[model]` describes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorConfig {
    /// `D`, the width images and texts meet in.
    pub embed: i64,
    /// `K`, sentences the memory bank can hold.
    pub prototypes: i64,
    /// `Q`, sentences the decoder writes.
    pub queries: i64,
    /// The sentence decoder: layers, heads, width inside a layer, positions.
    pub decoder_layers: i64,
    pub decoder_heads: i64,
    pub decoder_intermediate: i64,
    pub decoder_positions: i64,
    /// In the sentence decoder.
    pub dropout: f64,
    /// Share of the image's channels hidden from the image decoder.
    pub image_dropout: f64,
    /// Both learned logit scales begin at its inverse.
    pub temperature: f64,
    /// Which defects of the released code are reproduced.
    pub released_quirks: Quirks,
    pub text: BertConfig,
}

impl PriorConfig {
    /// As published, for a text encoder of this shape.
    pub fn published(text: BertConfig) -> Self {
        Self {
            embed: 768,
            prototypes: 512,
            queries: 16,
            decoder_layers: 8,
            decoder_heads: 12,
            decoder_intermediate: 3072,
            decoder_positions: 512,
            dropout: 0.1,
            image_dropout: 0.5,
            temperature: 0.01,
            released_quirks: Quirks::default(),
            text,
        }
    }

    /// Shape of the sentence decoder; it has no words of its own.
    pub fn decoder(&self) -> BertConfig {
        BertConfig {
            vocab_size: 0,
            hidden_size: self.embed,
            num_hidden_layers: self.decoder_layers,
            num_attention_heads: self.decoder_heads,
            intermediate_size: self.decoder_intermediate,
            max_position_embeddings: self.decoder_positions,
            hidden_dropout_prob: self.dropout,
            attention_probs_dropout_prob: self.dropout,
            ..BertConfig::BASE
        }
    }
}

/// The part of Hugging Face's `config.json` that shapes a BERT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    pub vocab_size: i64,
    pub hidden_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    pub intermediate_size: i64,
    pub max_position_embeddings: i64,
    #[serde(default = "usual_types")]
    pub type_vocab_size: i64,
    #[serde(default = "usual_eps")]
    pub layer_norm_eps: f64,
    /// After embeddings and every block.
    #[serde(default = "usual_dropout")]
    pub hidden_dropout_prob: f64,
    /// On attention weights.
    #[serde(default = "usual_dropout")]
    pub attention_probs_dropout_prob: f64,
}

impl BertConfig {
    /// BERT-base, uncased (Devlin 2019).
    pub const BASE: Self = Self {
        vocab_size: 30_522,
        hidden_size: 768,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        intermediate_size: 3072,
        max_position_embeddings: 512,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
    };
}

/// One term of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Term {
    /// `L_g`: image and report of a pair, among the batch.
    Global,
    /// `L_li`: places and what the report says of them.
    LocalImage,
    /// `L_lt`: sentences and what the image shows of them.
    LocalText,
    /// `L_proto`: sentences and their prototypes.
    Prototype,
    /// `L_rec`: the image redrawn.
    Image,
    /// `L_spg`: the sentences' prototypes foretold from the image.
    Sentence,
    /// `L_kl`: which prototypes were foretold.
    Divergence,
    /// `L_gpa`: the report made of foretold sentences.
    Report,
}

impl Term {
    pub const ALL: [Self; 8] = [
        Self::Global,
        Self::LocalImage,
        Self::LocalText,
        Self::Prototype,
        Self::Image,
        Self::Sentence,
        Self::Divergence,
        Self::Report,
    ];
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::LocalImage => "local-image",
            Self::LocalText => "local-text",
            Self::Prototype => "prototype",
            Self::Image => "image",
            Self::Sentence => "sentence",
            Self::Divergence => "divergence",
            Self::Report => "report",
        })
    }
}

/// The factor of each term; 0 leaves it, and what only it needs, out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Weights {
    pub global: f64,
    pub local_image: f64,
    pub local_text: f64,
    pub prototype: f64,
    pub image: f64,
    pub sentence: f64,
    pub divergence: f64,
    pub report: f64,
}

impl Weights {
    /// Of the last published stage.
    pub const RECONSTRUCTION: Self = Self {
        global: 10.0,
        local_image: 1.0,
        local_text: 1.0,
        prototype: 10.0,
        image: 1.0,
        sentence: 10.0,
        divergence: 1.0,
        report: 1.0,
    };

    pub fn of(&self, term: Term) -> f64 {
        match term {
            Term::Global => self.global,
            Term::LocalImage => self.local_image,
            Term::LocalText => self.local_text,
            Term::Prototype => self.prototype,
            Term::Image => self.image,
            Term::Sentence => self.sentence,
            Term::Divergence => self.divergence,
            Term::Report => self.report,
        }
    }

    /// Sentences are decoded, so at most `Q` of a report take part.
    pub fn decodes_sentences(&self) -> bool {
        self.sentence > 0.0 || self.divergence > 0.0 || self.report > 0.0
    }

    /// Sentences are replaced by prototypes.
    pub fn uses_prototypes(&self) -> bool {
        self.prototype > 0.0 || self.decodes_sentences()
    }
}

/// How that temperature falls over a stage, or (a quirk) over all stages with prototypes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Tau {
    Fixed(f64),
    /// Straight from this to a tenth of it.
    Linear(f64),
    /// By a constant factor from this to a tenth of it.
    Exponential(f64),
}

impl Default for Tau {
    fn default() -> Self {
        Self::PUBLISHED
    }
}

impl Tau {
    pub const PUBLISHED: Self = Self::Fixed(0.9);

    /// At `progress` from 0 (it begins to fall) to 1 (it has fallen).
    pub fn at(self, progress: f64) -> f64 {
        match self {
            Self::Fixed(tau) => tau,
            Self::Linear(tau) => tau * (1.0 - 0.9 * progress),
            Self::Exponential(tau) => tau * 0.1_f64.powf(progress),
        }
    }
}

fn usual_types() -> i64 {
    BertConfig::BASE.type_vocab_size
}

fn usual_eps() -> f64 {
    BertConfig::BASE.layer_norm_eps
}

fn usual_dropout() -> f64 {
    BertConfig::BASE.hidden_dropout_prob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_falling_temperatures_end_at_a_tenth() {
        for tau in [Tau::Linear(0.9), Tau::Exponential(0.9)] {
            assert_eq!(tau.at(0.0), 0.9);
            assert!((tau.at(1.0) - 0.09).abs() < 1e-12);
            assert!(tau.at(0.5) < 0.9 && tau.at(0.5) > 0.09);
        }
        assert_eq!(Tau::Fixed(0.9).at(1.0), 0.9);
    }
}
