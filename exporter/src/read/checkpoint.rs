//! The network of a checkpoint: its image encoder and heads with weights in single precision.

use super::weights::{self, Weights};
use anyhow::{Context, Result};
use checkpoint::{CONFIG, MODEL};
use graph::{CheckpointConfig, Graph};
use metrics::operating::OperatingPoint;
use std::path::Path;

/// What trainer, `exporter distill` or `exporter import` left, ready to be exported.
pub(crate) struct Checkpoint {
    pub(crate) config: CheckpointConfig,
    /// The whole `config.toml`, tables of other owners included.
    pub(crate) document: toml::Table,
    pub(crate) graph: Graph,
    pub(crate) weights: Weights,
    /// SHA-256 of `model.safetensors`, hexadecimal.
    pub(crate) digest: String,
    /// Thresholds fitted in training.
    pub(crate) operating_points: Vec<OperatingPoint>,
}

impl Checkpoint {
    /// Reads a folder; a wrong architecture is reported with file, parameter and both shapes.
    ///
    /// Of a PRIOR pre-training its image encoder is taken, which is all of it that ships.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let saved = checkpoint::Checkpoint::open(folder)?;
        let bad_config = || format!("bad {}", folder.join(CONFIG).display());
        let graph = saved.config.graph().with_context(bad_config)?;
        graph.shapes().with_context(bad_config)?;
        if saved.is_prior() {
            log::info!("{} is a PRIOR model: its image encoder is taken", folder.display());
        }
        let bad_model = || folder.join(MODEL).display().to_string();
        let weights = weights::of(saved.encoder_weights()).with_context(bad_model)?;
        weights::check(&weights, &graph).with_context(bad_model)?;
        let operating_points = saved.operating_points()?;
        Ok(Self {
            config: saved.config,
            document: saved.tables,
            graph,
            weights,
            digest: saved.digest,
            operating_points,
        })
    }
}
