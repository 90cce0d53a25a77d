//! A PRIOR checkpoint opened for use.

use super::{Objective, Prior};
use crate::{
    checkpoint::{self, State},
    text::{Encoded, Words},
};
use ::checkpoint::prior::Reading;
use anyhow::{Context, Result};
use graph::Preprocess;
use std::path::Path;
use tch::{Device, nn};

/// The model, its words, and what its images must look like.
#[derive(Debug)]
pub struct Trained {
    pub prior: Prior,
    pub words: Words,
    pub preprocess: Preprocess,
    pub state: State,
    reading: Reading,
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
        let reading = Reading::of(folder, &checkpoint.tables)?;
        let graph = checkpoint.config.graph().with_context(|| format!("{name}/config.toml"))?;
        let store = nn::VarStore::new(device);
        let prior = Prior::new(&store.root(), &graph, reading.config.clone(), None)?;
        checkpoint::assign(&store, &checkpoint.weights, |_| true)
            .with_context(|| format!("{name}/model.safetensors does not fit its config.toml"))?;
        Ok(Self {
            prior,
            reading,
            words: Words::open(folder)?,
            preprocess: checkpoint.config.preprocess,
            state: checkpoint.state,
            tables: checkpoint.tables,
            store,
        })
    }

    /// What the last step made of sentences decides how they are read, at the τ it had.
    pub fn objective(&self) -> Result<Objective> {
        self.reading.objective(&self.state).context("no stage")
    }

    /// "{class} is observed" in tokens, as [`Self::phrase`].
    pub fn prompt(&self, class: &str) -> Result<Encoded> {
        self.phrase(&format!("{class} is observed"))
    }

    /// One sentence in tokens, without `[CLS]` and, but for a quirk, `[SEP]`.
    pub fn phrase(&self, phrase: &str) -> Result<Encoded> {
        let end_counts = self.reading.config.released_quirks.prompt;
        Ok(self.words.prompt(phrase, self.max_tokens(), end_counts)?)
    }

    /// What images of a zero-shot question must look like.
    pub fn zero_shot_preprocess(&self) -> Preprocess {
        match self.reading.config.released_quirks.normalisation {
            true => Preprocess { mean: 0.506_273, std: 0.289_468, ..self.preprocess }, // CheXpert's
            false => self.preprocess,
        }
    }

    /// Tokens of a report that were read in training: places behind them were never learned.
    pub fn max_tokens(&self) -> usize {
        self.reading.max_tokens()
    }

    /// Sentences of a report that take part.
    pub fn sentences_read(&self, objective: &Objective) -> usize {
        if objective.weights.decodes_sentences() {
            self.reading.config.queries as usize
        } else {
            usize::MAX
        }
    }
}
