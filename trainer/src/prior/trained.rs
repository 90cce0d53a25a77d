//! A PRIOR checkpoint opened for use.

use super::{Objective, Prior, PriorConfig, Weights};
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
    config: PriorConfig,
    training: Training,
    /// The whole of `config.toml`.
    pub tables: toml::Table,
    /// Owns the weights.
    pub store: nn::VarStore,
}

/// What of `[training]` in its `config.toml` matters afterwards.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Training {
    max_tokens: usize,
    stage: Vec<Stage>,
}

#[derive(Debug, serde::Deserialize)]
struct Stage {
    weights: Weights,
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
        let training: Training = checkpoint
            .tables
            .get("training")
            .with_context(|| format!("{name}/config.toml has no [training]"))?
            .clone()
            .try_into()
            .map_err(|e| anyhow!("[training] of {name}/config.toml: {}", one_line(&e)))?;
        let graph = checkpoint.config.graph().with_context(|| format!("{name}/config.toml"))?;
        let store = nn::VarStore::new(device);
        let prior = Prior::new(&store.root(), &graph, config.clone(), None)?;
        checkpoint::assign(&store, &checkpoint.weights, |_| true)
            .with_context(|| format!("{name}/model.safetensors does not fit its config.toml"))?;
        Ok(Self {
            prior,
            config,
            training,
            words: Words::open(folder)?,
            preprocess: checkpoint.config.preprocess,
            state: checkpoint.state,
            tables: checkpoint.tables,
            store,
        })
    }

    /// What the last stage at work made of sentences decides how they are read. Without noise.
    pub fn objective(&self) -> Result<Objective> {
        let stages = &self.training.stage;
        // `state.stage` is the stage at work, or the number of stages at the end.
        let at = match self.state.stage {
            checkpoint::Stage::Number(stage) => {
                stage.saturating_sub(usize::from(self.state.finished))
            }
            checkpoint::Stage::Imported => usize::MAX, // all are done
        };
        let stage = stages.get(at).or(stages.last()).context("no stage")?;
        Ok(Objective { weights: stage.weights, tau: 0.9 })
    }

    /// Tokens of a report that were read in training: places behind them were never learned.
    pub fn max_tokens(&self) -> usize {
        self.training.max_tokens
    }

    /// Sentences of a report that take part.
    pub fn sentences_read(&self, objective: &Objective) -> usize {
        if objective.weights.decodes_sentences() {
            self.config.queries as usize
        } else {
            usize::MAX
        }
    }
}
