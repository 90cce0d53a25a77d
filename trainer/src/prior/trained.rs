//! A PRIOR checkpoint opened for use.

use super::{Prior, PriorConfig};
use crate::{
    checkpoint::{self, one_line},
    text::wordpiece::Words,
};
use anyhow::{Context, Result, anyhow};
use graph::Preprocess;
use std::path::Path;
use tch::{Device, nn};

/// The model, its words, and what its images must look like.
#[derive(Debug)]
pub struct Trained {
    pub prior: Prior,
    pub words: Words,
    pub preprocess: Preprocess,
    pub state: checkpoint::State,
    /// The whole of `config.toml`.
    pub tables: toml::Table,
    /// Owns the weights.
    pub store: nn::VarStore,
}

impl Trained {
    /// Reads the checkpoint folder `trainer pretrain` wrote.
    pub fn open(folder: &Path, device: Device) -> Result<Self> {
        let checkpoint = checkpoint::load(folder)?;
        let name = folder.display();
        let table = checkpoint.tables.get("prior").with_context(|| {
            format!("{name} is no PRIOR checkpoint: config.toml has no [prior]")
        })?;
        let config: PriorConfig = table
            .clone()
            .try_into()
            .map_err(|e| anyhow!("[prior] of {name}/config.toml: {}", one_line(&e)))?;
        let graph = checkpoint.config.graph().with_context(|| format!("{name}/config.toml"))?;
        let store = nn::VarStore::new(device);
        let prior = Prior::new(&store.root(), &graph, config, None)?;
        checkpoint::assign(&store, &checkpoint.weights, |_| true)
            .with_context(|| format!("{name}/model.safetensors does not fit its config.toml"))?;
        Ok(Self {
            prior,
            words: Words::open(folder)?,
            preprocess: checkpoint.config.preprocess,
            state: checkpoint.state,
            tables: checkpoint.tables,
            store,
        })
    }
}
