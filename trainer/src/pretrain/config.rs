//! The training configuration, as the TOML file says it.

use crate::{
    checkpoint::one_line,
    data::augment::{Augmentation, Crop},
    prior::{PriorConfig, Quirks, Tau, Weights},
    text::bert::BertConfig,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use graph::{Backbone, CheckpointConfig, ModelConfig, OutputStride, Pool, Preprocess};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};
use tch::{Device, Kind};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PretrainConfig {
    pub seed: u64,
    /// Pairs a step of one process sees at a time.
    pub batch: usize,
    /// Batches whose gradients are added up before the optimizer steps.
    #[serde(default = "one")]
    pub accumulate: usize,
    #[serde(default)]
    pub precision: Precision,
    /// Convolutions on channels-last memory.
    #[serde(default)]
    pub channels_last: bool,
    pub weight_decay: f64,
    /// Longest gradient let through.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// Reports are cut after this many tokens.
    pub max_tokens: usize,
    /// Shorter reports are left out.
    #[serde(default = "one")]
    pub min_sentences: usize,
    /// Largest rotation either way, in degrees.
    pub rotation: f64,
    /// Mirror half of the images.
    pub flip: bool,
    /// Contrast and brightness either way, in deviations of the normalised image.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub light: f64,
    /// Share of the images with a rectangle of up to a third of each side blanked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub erase: f64,
    /// Random parts of larger images instead of whole ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// Share of a report's words left out each time it is seen.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hide_words: f64,
    /// The text encoder stays as it was given; what reads its words learns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub freeze_text: bool,
    /// Threads that read and prepare images.
    #[serde(default = "two")]
    pub workers: usize,
    /// Optimizer steps between checkpoints; each epoch ends with one anyway.
    #[serde(default)]
    pub checkpoint_every: Option<u64>,
    pub model: Architecture,
    pub preprocess: Preprocess,
    pub joint: Joint,
    /// Shape of a text encoder trained from scratch; a Hugging Face folder brings its own.
    pub text: TextShape,
    pub stage: Vec<Stage>,
}

/// `[model]`: the image encoder, and whether to copy the released code's defects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    pub backbone: Backbone,
    pub width: usize,
    pub pool: Pool,
    #[serde(default, skip_serializing_if = "OutputStride::is_published")]
    pub output_stride: OutputStride,
    #[serde(default)]
    pub released_quirks: Quirks,
}

/// `[joint]`: where images and texts meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Joint {
    pub embed: i64,
    pub prototypes: i64,
    pub queries: i64,
    pub decoder_layers: i64,
    pub decoder_heads: i64,
    pub decoder_intermediate: i64,
    pub dropout: f64,
    pub image_dropout: f64,
    pub temperature: f64,
}

/// `[text]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TextShape {
    /// Pieces of a vocabulary built from the reports, at most.
    pub vocabulary: usize,
    pub hidden: i64,
    pub layers: i64,
    pub heads: i64,
    pub intermediate: i64,
}

/// `[[stage]]`: what is minimised, for how long, how fast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Stage {
    pub name: String,
    pub epochs: u64,
    pub learning_rate: LearningRate,
    pub weights: Weights,
    /// Temperature of the prototypes' softmax.
    #[serde(default)]
    pub tau: Tau,
}

/// Linear from `start` to `peak` over the warm-up, then a cosine down to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LearningRate {
    pub start: f64,
    pub peak: f64,
    pub end: f64,
    pub warm_up_epochs: u64,
}

/// What matrix products and convolutions are computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    #[default]
    F32,
    /// On a card that has no bf16, f16 with a loss scale.
    Bf16,
    /// With a loss scale that keeps small gradients above zero.
    F16,
}

impl Precision {
    pub fn autocast(self) -> Option<Kind> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(Kind::BFloat16),
            Self::F16 => Some(Kind::Half),
        }
    }

    /// What this device can do of it: cards before compute capability 8 have no bf16.
    pub fn on(self, device: Device) -> Result<Self> {
        let (Self::Bf16, Device::Cuda(index)) = (self, device) else { return Ok(self) };
        let (major, minor) = torch_ext::cuda_capability(index)?;
        if major >= 8 {
            return Ok(self);
        }
        log::warn!(
            "cuda:{index} (compute capability {major}.{minor}) has no bf16: f16 with a loss scale"
        );
        Ok(Self::F16)
    }
}

impl PretrainConfig {
    /// Reads a file and applies `key=value` changes, `stage.0.epochs=2` among them.
    pub fn read(path: &Path, changes: &[String]) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.display();
        let mut table: toml::Table =
            text.parse().map_err(|e| anyhow!("{name} is not TOML: {}", one_line(&e)))?;
        for change in changes {
            set(&mut table, change).with_context(|| format!("cannot apply --set {change}"))?;
        }
        let config: Self = table
            .try_into()
            .map_err(|e| anyhow!("{name} is no training configuration: {}", one_line(&e)))?;
        config.check().with_context(|| format!("{name} cannot be trained"))?;
        Ok(config)
    }

    /// `[model]` and `[preprocess]` of the checkpoint this run makes.
    pub fn checkpoint(&self) -> CheckpointConfig {
        let Architecture { backbone, width, pool, output_stride, .. } = self.model;
        CheckpointConfig {
            model: ModelConfig { backbone, width, pool, output_stride, heads: Vec::new() },
            preprocess: self.preprocess,
        }
    }

    /// What may be done to a picture.
    pub fn augmentation(&self) -> Augmentation {
        Augmentation {
            rotation: self.rotation,
            flip: if self.flip { 0.5 } else { 0.0 },
            light: self.light,
            erase: self.erase,
            crop: self.crop,
            ..Augmentation::NONE
        }
    }

    /// How pictures are kept for training: larger than the network's input where parts are cut from them.
    pub fn kept(&self) -> Result<Preprocess> {
        self.augmentation().kept(self.preprocess)
    }

    /// `[prior]` of the checkpoint, around a text encoder of this shape.
    pub fn prior(&self, text: BertConfig) -> PriorConfig {
        let joint = &self.joint;
        PriorConfig {
            embed: joint.embed,
            prototypes: joint.prototypes,
            queries: joint.queries,
            decoder_layers: joint.decoder_layers,
            decoder_heads: joint.decoder_heads,
            decoder_intermediate: joint.decoder_intermediate,
            decoder_positions: joint.queries.max(512),
            dropout: joint.dropout,
            image_dropout: joint.image_dropout,
            temperature: joint.temperature,
            released_quirks: self.model.released_quirks,
            text,
        }
    }

    /// A text encoder from scratch for a vocabulary of this size.
    pub fn text_encoder(&self, pieces: i64) -> BertConfig {
        BertConfig {
            vocab_size: pieces,
            hidden_size: self.text.hidden,
            num_hidden_layers: self.text.layers,
            num_attention_heads: self.text.heads,
            intermediate_size: self.text.intermediate,
            max_position_embeddings: self.max_tokens.max(512) as i64,
            hidden_dropout_prob: self.joint.dropout,
            attention_probs_dropout_prob: self.joint.dropout,
            ..BertConfig::BASE
        }
    }

    fn check(&self) -> Result<()> {
        self.checkpoint().graph()?;
        ensure!(
            self.batch >= 2,
            "batch is {}, expected 2 or more: a pair needs another",
            self.batch
        );
        ensure!(self.accumulate >= 1 && self.workers >= 1, "accumulate and workers begin at 1");
        ensure!(self.max_tokens >= 3, "max-tokens is {}, expected 3 or more", self.max_tokens);
        ensure!(
            (0.0..1.0).contains(&self.hide_words),
            "hide-words is {}, expected 0 or more and below 1",
            self.hide_words
        );
        ensure!(!self.stage.is_empty(), "no [[stage]]");
        ensure!(
            !self.model.released_quirks.nearest
                || (self.light == 0.0 && self.erase == 0.0 && self.crop.is_none()),
            "the released code knows no light, erase or crop: leave them out or released_quirks.nearest"
        );
        self.augmentation().check()?;
        self.kept()?;
        let (joint, text) = (&self.joint, &self.text);
        ensure!(
            joint.embed > 0 && joint.embed % 32 == 0,
            "joint.embed is {}, expected a multiple of 32",
            joint.embed
        );
        for (name, width, heads) in [
            ("joint.decoder-heads", joint.embed, joint.decoder_heads),
            ("text.heads", text.hidden, text.heads),
        ] {
            ensure!(
                heads > 0 && width % heads == 0,
                "{name} is {heads}, which does not divide {width}"
            );
        }
        ensure!(joint.prototypes > 0 && joint.queries > 0, "prototypes and queries begin at 1");
        for stage in &self.stage {
            let LearningRate { start, peak, end, .. } = stage.learning_rate;
            let rates = [start, peak, end];
            if rates.iter().any(|rate| !rate.is_finite() || *rate < 0.0) {
                bail!("stage {}: learning rates are {rates:?}", stage.name);
            }
            let w = &stage.weights;
            ensure!(
                w.global > 0.0 || w.local_text > 0.0 || w.local_image > 0.0,
                "stage {} aligns nothing",
                stage.name
            );
            ensure!(
                w.image == 0.0 || self.model.output_stride.is_published(),
                "stage {} draws images again, whose decoder is built for model.output_stride = 32: set its weights.image to 0",
                stage.name
            );
        }
        Ok(())
    }
}

/// `a.b.0.c=value`: the value is TOML, or else text.
fn set(table: &mut toml::Table, change: &str) -> Result<()> {
    let (path, value) = change.split_once('=').context("expected key=value")?;
    let parsed: Result<toml::Table, _> = format!("v = {value}").parse();
    let value = match parsed {
        Ok(mut one) => one.remove("v").expect("just written"),
        Err(_) => toml::Value::String(value.to_owned()),
    };
    let keys: Vec<&str> = path.trim().split('.').collect();
    let (last, folders) = keys.split_last().expect("split gives one part at least");
    let missing = |key: &str| format!("there is no `{key}`");
    let Some((first, rest)) = folders.split_first() else {
        table.insert((*last).to_owned(), value);
        return Ok(());
    };
    let mut at = table.get_mut(*first).with_context(|| missing(first))?;
    for key in rest {
        at = match at {
            toml::Value::Array(list) => key
                .parse::<usize>()
                .ok()
                .and_then(|n| list.get_mut(n))
                .with_context(|| missing(key))?,
            toml::Value::Table(table) => table.get_mut(*key).with_context(|| missing(key))?,
            _ => bail!(missing(key)),
        };
    }
    match at {
        toml::Value::Table(table) => table.insert((*last).to_owned(), value),
        _ => bail!("`{}` holds no keys", folders.join(".")),
    };
    Ok(())
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn one() -> usize {
    1
}

fn two() -> usize {
    2
}

#[cfg(test)]
mod tests;
