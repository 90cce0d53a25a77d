//! How texts of a PRIOR checkpoint are read: as the last step of its training read them.

use super::{PriorConfig, Tau, Weights};
use crate::{CONFIG, CheckpointError, Stage as AtStage, State, one_line};
use serde::{Deserialize, de::DeserializeOwned};
use std::path::Path;

/// Keys of `state.json`: batches of the epoch already used, and τ of the last step.
pub const BATCH: &str = "batch_in_epoch";
pub const TAU: &str = "tau";

/// What one step minimises.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    pub weights: Weights,
    /// Temperature of the prototypes' softmax at this step.
    pub tau: f64,
}

/// `[prior]` of a `config.toml`, and what of `[training]` matters afterwards.
#[derive(Clone, Debug)]
pub struct Reading {
    pub config: PriorConfig,
    training: Training,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Training {
    max_tokens: usize,
    stage: Vec<Stage>,
}

#[derive(Clone, Debug, Deserialize)]
struct Stage {
    weights: Weights,
    #[serde(default)]
    epochs: u64,
    #[serde(default)]
    tau: Tau,
}

impl Reading {
    /// Of `tables`, the `config.toml` of `folder`; a checkpoint that is no PRIOR's is refused by name.
    pub fn of(folder: &Path, tables: &toml::Table) -> Result<Self, CheckpointError> {
        if !tables.contains_key("prior") {
            return Err(CheckpointError::NoPrior { folder: folder.into() });
        }
        let config = table(folder, tables, "prior")?;
        Ok(Self { config, training: table(folder, tables, "training")? })
    }

    /// What the last step made of sentences decides how they are read, at the τ it had; `None` without any stage.
    pub fn objective(&self, state: &State) -> Option<Objective> {
        last_objective(&self.training.stage, state)
    }

    /// Tokens of a report that were read in training: places behind them were never learned.
    pub fn max_tokens(&self) -> usize {
        self.training.max_tokens
    }
}

fn table<T: DeserializeOwned>(
    folder: &Path,
    tables: &toml::Table,
    name: &'static str,
) -> Result<T, CheckpointError> {
    let bad = |reason| CheckpointError::Table { path: folder.join(CONFIG), name, reason };
    let table = tables.get(name).ok_or_else(|| bad("it is missing".to_owned()))?;
    table.clone().try_into().map_err(|error| bad(one_line(&error)))
}

/// What the last step minimised: the stage at work or, where that has not begun, the last that did anything. A step writes its
/// τ down; checkpoints of before have none, so there it is what the schedule of the stage had come to.
fn last_objective(stages: &[Stage], state: &State) -> Option<Objective> {
    let noted = |key: &str| state.extra.get(key).and_then(serde_json::Value::as_f64);
    let begun = state.epoch > 0 || noted(BATCH).is_some_and(|batches| batches > 0.0);
    let at = match state.stage {
        AtStage::Number(at) => at,
        AtStage::Imported => stages.len(), // all are done
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
        let stage = AtStage::Number(stage);
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
