//! A PRIOR checkpoint opened for use.

use super::{Objective, Prior, PriorConfig, Tau, Weights};
use crate::{
    checkpoint::{self, State, one_line},
    text::{Encoded, wordpiece::Words},
};
use anyhow::{Context, Result, anyhow};
use graph::Preprocess;
use std::path::Path;
use tch::{Device, nn};

/// Keys of `state.json`: batches of the epoch already used, and τ of the last step.
pub(crate) const BATCH: &str = "batch_in_epoch";
pub(crate) const TAU: &str = "tau";

/// The model, its words, and what its images must look like.
#[derive(Debug)]
pub struct Trained {
    pub prior: Prior,
    pub words: Words,
    pub preprocess: Preprocess,
    pub state: State,
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
    #[serde(default)]
    epochs: u64,
    #[serde(default)]
    tau: Tau,
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

    /// What the last step made of sentences decides how they are read, at the τ it had.
    pub fn objective(&self) -> Result<Objective> {
        last_objective(&self.training.stage, &self.state).context("no stage")
    }

    /// "{class} is observed" in tokens: one sentence, without `[CLS]` and, but for a quirk, `[SEP]`.
    pub fn prompt(&self, class: &str) -> Result<Encoded> {
        let mut prompt = self.words.encode(&[format!("{class} is observed")], self.max_tokens())?;
        if let (true, Some(end)) = (self.config.released_quirks.prompt, prompt.sentence.last_mut())
        {
            *end = 1;
        }
        Ok(prompt)
    }

    /// What images of a zero-shot question must look like.
    pub fn zero_shot_preprocess(&self) -> Preprocess {
        match self.config.released_quirks.normalisation {
            true => Preprocess { mean: 0.506_273, std: 0.289_468, ..self.preprocess }, // CheXpert's
            false => self.preprocess,
        }
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

/// What the last step minimised: the stage at work or, where that has not begun, the last that did anything. A step writes its
/// τ down; checkpoints of before have none, so there it is what the schedule of the stage had come to.
fn last_objective(stages: &[Stage], state: &State) -> Option<Objective> {
    let noted = |key: &str| state.extra.get(key).and_then(serde_json::Value::as_f64);
    let begun = state.epoch > 0 || noted(BATCH).is_some_and(|batches| batches > 0.0);
    let at = match state.stage {
        checkpoint::Stage::Number(at) => at,
        checkpoint::Stage::Imported => stages.len(), // all are done
    };
    let at_work = stages.get(at).filter(|_| begun);
    let behind = &stages[..at.min(stages.len())];
    let done = || behind.iter().rfind(|stage| stage.epochs > 0);
    // Without a single step, as around weights from elsewhere, it is the stage that would come.
    let stage = at_work.or_else(done).or(stages.get(at)).or(stages.last())?;
    let progress = at_work.map_or(1.0, |stage| state.epoch as f64 / stage.epochs.max(1) as f64);
    let tau = noted(TAU).unwrap_or_else(|| stage.tau.at(progress));
    Some(Objective { weights: stage.weights, tau })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three stages whose weight of the global term is their number, the second with a falling τ.
    fn stages() -> Vec<Stage> {
        let stage = |number: u32, epochs, tau| Stage {
            weights: Weights { global: f64::from(number), ..Weights::default() },
            epochs,
            tau,
        };
        vec![
            stage(1, 2, Tau::Fixed(0.9)),
            stage(2, 4, Tau::Linear(0.5)),
            stage(3, 2, Tau::Fixed(0.2)),
        ]
    }

    fn last(stages: &[Stage], stage: usize, epoch: u64, extra: serde_json::Value) -> (f64, f64) {
        let serde_json::Value::Object(extra) = extra else { panic!("{extra} is no object") };
        let finished = stage == stages.len();
        let stage = checkpoint::Stage::Number(stage);
        let state = State { stage, epoch, finished, extra, ..State::default() };
        let Objective { weights, tau } = last_objective(stages, &state).unwrap();
        (weights.global, tau)
    }

    #[test]
    fn the_objective_is_the_last_steps_wherever_a_run_stands() {
        let noted = |batch: u64, tau: f64| serde_json::json!({ BATCH: batch, TAU: tau });
        assert_eq!(last(&stages(), 3, 0, noted(0, 0.2)), (3.0, 0.2));
        assert_eq!(last(&stages(), 1, 1, noted(3, 0.31)), (2.0, 0.31));
        assert_eq!(last(&stages(), 1, 0, noted(3, 0.48)), (2.0, 0.48));
        // The third stage is next, but no step was made in it.
        assert_eq!(last(&stages(), 2, 0, noted(0, 0.06)), (2.0, 0.06));
        // Nothing was learned in a stage of no epochs.
        let mut without = stages();
        without[2].epochs = 0;
        assert_eq!(last(&without, 3, 0, noted(0, 0.06)), (2.0, 0.06));
    }

    #[test]
    fn a_checkpoint_of_before_mixes_at_what_its_schedule_had_come_to() {
        let old = |batch: u64| serde_json::json!({ BATCH: batch });
        assert_eq!(last(&stages(), 3, 0, old(0)), (3.0, 0.2));
        let (stage, tau) = last(&stages(), 2, 0, old(0));
        assert!(stage == 2.0 && (tau - 0.05).abs() < 1e-12, "{stage} {tau}");
        let (stage, tau) = last(&stages(), 1, 2, old(0));
        assert!(stage == 2.0 && (tau - 0.275).abs() < 1e-12, "{stage} {tau}");
        // Weights put into a folder of a run without steps.
        let mut none = stages();
        none.iter_mut().for_each(|stage| stage.epochs = 0);
        assert_eq!(last(&none, 3, 0, old(0)), (3.0, 0.2));
        let imported = last_objective(&stages(), &State::imported()).unwrap();
        assert_eq!((imported.weights.global, imported.tau), (3.0, 0.2));
    }
}
