//! What a run leaves on disk: the best checkpoint, and beside it where to go on after a crash.

use super::{Judgement, Objective, Run};
use crate::checkpoint::{self, State};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fs, path::PathBuf};
use tch::Tensor;

impl Run<'_> {
    pub(super) fn resume(&mut self) -> Result<()> {
        let folder = self.resume_folder();
        ensure!(
            checkpoint::exists(&folder),
            "nothing to resume: no unfinished run in {}",
            self.job.out.display()
        );
        let saved = checkpoint::load(&folder)?;
        ensure!(
            saved.state.data_digest == self.state.data_digest,
            "cannot resume {}: the index has changed since the run began",
            folder.display()
        );
        ensure!(
            saved.tables.get("training") == Some(&self.job.training.clone().into()),
            "cannot resume {}: the run was started with other settings",
            folder.display()
        );
        checkpoint::assign(&self.learner.store, &saved.weights, |_| true)?;
        let optimizer = checkpoint::load_optimizer(&folder)?;
        let (average, moments): (HashMap<_, _>, HashMap<_, _>) =
            optimizer.into_iter().partition(|(name, _)| name.starts_with(AVERAGE));
        let strip = |(name, tensor): (String, Tensor)| (name[AVERAGE.len()..].to_owned(), tensor);
        let average: HashMap<_, _> = average.into_iter().map(strip).collect();
        checkpoint::assign(&self.average.store, &average, |_| true)?;
        self.optimizer.load(&moments)?;
        self.best = saved
            .state
            .extra
            .get("best")
            .map(|best| serde_json::from_value::<Best>(best.clone()))
            .transpose()
            .with_context(|| format!("{} is damaged", folder.display()))?
            .map(|best| (best.epoch, best.judgement()));
        self.state = saved.state;
        Ok(())
    }

    /// Remembers a judgement; whether it is the best so far.
    pub(super) fn note(&mut self, judgement: Judgement) -> bool {
        let select = self.job.recipe.select;
        let better = self.best.is_none_or(|(_, best)| judgement.beats(&best, select));
        if better {
            self.best = Some((self.state.epoch, judgement));
        }
        let best = self.best.map(|(epoch, Judgement { loss, metric, f1 })| Best {
            epoch,
            loss,
            metric,
            f1,
        });
        self.state.extra.insert("best".into(), serde_json::json!(best));
        better
    }

    pub(super) fn tables(&self) -> toml::Table {
        let mut tables = checkpoint::config_tables(self.job.config);
        tables.insert("training".into(), self.job.training.clone().into());
        tables
    }

    fn resume_folder(&self) -> PathBuf {
        self.job.out.join("resume")
    }

    pub(super) fn save_resume(&self) -> Result<()> {
        let mut optimizer = self.optimizer.state();
        let average = checkpoint::variables(&self.average.store);
        optimizer.extend(average.into_iter().map(|(name, t)| (format!("{AVERAGE}{name}"), t)));
        checkpoint::save(
            &self.resume_folder(),
            &checkpoint::variables(&self.learner.store),
            &self.tables(),
            &self.state,
            Some(&optimizer),
        )
    }

    /// Gives the best checkpoint its thresholds and figures.
    pub(super) fn conclude(&mut self, objective: &dyn Objective) -> Result<()> {
        let best = checkpoint::load(self.job.out)?;
        checkpoint::assign(&self.average.store, &best.weights, |_| true)?;
        let mut tables = self.tables();
        tables.extend(objective.conclude(&|images| self.judged(images))?);
        let state = State { finished: true, ..best.state };
        checkpoint::save(self.job.out, &self.judged_weights(), &tables, &state, None)?;
        let resume = self.resume_folder();
        fs::remove_dir_all(&resume).with_context(|| format!("cannot remove {}", resume.display()))
    }
}

/// A judgement as `state.json` keeps it.
#[derive(Serialize, Deserialize)]
struct Best {
    epoch: u64,
    loss: f64,
    metric: f64,
    f1: Option<f64>,
}

impl Best {
    fn judgement(&self) -> Judgement {
        Judgement { loss: self.loss, metric: self.metric, f1: self.f1 }
    }
}

/// Prefix of the averaged weights among the optimizer's numbers.
const AVERAGE: &str = "average.";
