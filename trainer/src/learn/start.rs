//! What a run begins with: architecture and weights, and which share of the patients it learns from.

use crate::{checkpoint, index::Record};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use graph::{Backbone, CheckpointConfig, Fit, Head, ModelConfig, Pool, Preprocess};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};
use tch::Tensor;

#[derive(Clone, Debug, Args)]
pub(crate) struct Beginning {
    /// Checkpoint to begin with, or `none` for random weights
    #[arg(long, value_name = "DIR|none")]
    pub(crate) encoder: String,
    /// Architecture when there is no encoder: resnet18, resnet34, resnet50, mobilenetv2, densenet121 or
    /// efficientnet-b0
    #[arg(long, default_value = "resnet18")]
    arch: Backbone,
    /// Channels after the stem when there is no encoder
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// How the last feature map becomes one vector; default: as the encoder's, or mean. A new attention pool begins with
    /// random weights
    #[arg(long)]
    pool: Option<PoolArg>,
    /// Side of the network's input; default: the encoder's, or 224
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// How pictures that are not of its shape are fitted in, `stretch` or `pad`; default: as the encoder's, or stretch
    #[arg(long)]
    fit: Option<Fit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PoolArg {
    Mean,
    Attention,
}

impl PoolArg {
    fn pool(self) -> Pool {
        match self {
            Self::Mean => Pool::Mean,
            Self::Attention => Pool::Attention,
        }
    }
}

/// The network a run begins with.
pub(crate) struct Start {
    pub(crate) config: CheckpointConfig,
    /// Weights by graph name; none = from scratch.
    pub(crate) encoder: Option<HashMap<String, Tensor>>,
    /// The attention pool has no weights in the encoder: it is learnt like a head.
    pub(crate) new_pool: bool,
}

impl Beginning {
    /// Architecture and, with an encoder, the weights to begin with.
    pub(crate) fn network(&self, head: Head) -> Result<Start> {
        let asked = self.pool.map(PoolArg::pool);
        if self.encoder == "none" {
            let size = self.image_size.unwrap_or(Preprocess::PRIOR.height);
            let model = ModelConfig {
                width: self.width,
                heads: vec![head],
                ..ModelConfig::encoder(self.arch, asked.unwrap_or(Pool::Mean))
            };
            let fit = self.fit.unwrap_or_default();
            let preprocess = Preprocess { height: size, width: size, fit, ..Preprocess::PRIOR };
            let config = checked(CheckpointConfig { model, preprocess })?;
            return Ok(Start { config, encoder: None, new_pool: false });
        }
        let folder = Path::new(&self.encoder);
        let saved = checkpoint::load(folder)?;
        let mut config = saved.config.clone();
        config.model.heads = vec![head];
        let pool = asked.unwrap_or(config.model.pool);
        let new_pool = pool == Pool::Attention && config.model.pool == Pool::Mean;
        config.model.pool = pool;
        if let Some(size) = self.image_size {
            let fits = pool == Pool::Mean
                || new_pool
                || (size, size) == (config.preprocess.height, config.preprocess.width);
            ensure!(
                fits,
                "{}: an attention pool has positions for {}x{} pixels, not for {size}x{size} (--pool mean has none)",
                folder.display(),
                config.preprocess.height,
                config.preprocess.width
            );
            (config.preprocess.height, config.preprocess.width) = (size, size);
        }
        if let Some(fit) = self.fit {
            config.preprocess.fit = fit;
        }
        let encoder = Some(checkpoint::encoder_weights(&saved));
        Ok(Start { config: checked(config)?, encoder, new_pool })
    }
}

fn checked(config: CheckpointConfig) -> Result<CheckpointConfig> {
    config.graph()?.shapes()?;
    Ok(config)
}

/// A seeded share of the patients, at least one, with all their images.
pub fn take_fraction(mut records: Vec<Record>, fraction: f64, seed: u64) -> Vec<Record> {
    let groups: BTreeSet<String> = records.iter().map(|record| record.group().to_owned()).collect();
    let mut groups: Vec<String> = groups.into_iter().collect();
    groups.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    groups.truncate(((groups.len() as f64 * fraction).round() as usize).max(1));
    let kept: BTreeSet<String> = groups.into_iter().collect();
    records.retain(|record| kept.contains(record.group()));
    records
}

/// SHA-256 over what was trained and judged on: ids, labels and splits.
pub(crate) fn data_digest(train: &[Record], val: &[Record]) -> String {
    let mut hash = Sha256::new();
    for record in train.iter().chain(val) {
        // Where the files lie is no part of what they say.
        let labels =
            (&record.id, &record.split, &record.labels, &record.rsna, &record.covidx_class);
        hash.update(serde_json::to_vec(&labels).expect("records have string keys only"));
        let kinds = (record.lung_masks.len(), record.masks.iter().map(|mask| &mask.cls));
        let places = (&record.boxes, &record.lung_boxes, kinds.0, kinds.1.collect::<Vec<_>>());
        hash.update(serde_json::to_vec(&places).expect("records have string keys only"));
    }
    format!("{:x}", hash.finalize())
}
