//! A whole run: stages, epochs, checkpoints.

use super::{
    Loading, Outcome, Pairs, Pictures, PretrainConfig, Schedule, Stage, Trainer, loader::Prepared,
    scale::LossScale,
};
use crate::{
    checkpoint::{self, State},
    prior::{BATCH, Objective, Prior, PriorConfig, TAU},
    text::Words,
};
use anyhow::{Context, Result, bail, ensure};
use std::{collections::HashMap, fs, path::PathBuf, rc::Rc, sync::Arc};
use tch::{Device, Tensor, nn};
use torch_ext::Group;

/// What a run is made of.
#[derive(Debug)]
pub struct Setup {
    pub config: PretrainConfig,
    pub pairs: Pairs,
    pub words: Words,
    /// Shape of the text encoder.
    pub prior: PriorConfig,
    /// Weights to begin with, by the model's own names; the rest is drawn from the seed.
    pub start: HashMap<String, Tensor>,
    /// Resized pictures are kept here.
    pub cache: Option<PathBuf>,
    /// Checkpoint folder.
    pub out: PathBuf,
    pub device: Device,
    pub group: Option<Rc<Group>>,
}

/// A run under way.
#[derive(Debug)]
pub struct Run {
    config: PretrainConfig,
    trainer: Trainer,
    loading: Arc<Loading>,
    tables: toml::Table,
    state: State,
    /// Batches of the current epoch already used.
    batch: usize,
    out: PathBuf,
    group: Option<Rc<Group>>,
}

/// What happened at one step.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    pub stage: &'a Stage,
    /// Counted from 0 within the stage.
    pub epoch: u64,
    /// Counted from 1 over all stages.
    pub step: u64,
    pub steps: u64,
    pub rate: f64,
    pub tau: f64,
    pub outcome: &'a Outcome,
    /// Pairs of all processes in this step.
    pub pairs: usize,
}

/// Where the text encoder's weights are.
pub(crate) const TEXT_ENCODER: &str = "text_encoder.encoder.";
const SCALE: &str = "loss_scale";

impl Run {
    /// A run at its first step, or, with `resume`, where its checkpoint stands.
    pub fn new(setup: Setup, resume: bool) -> Result<Self> {
        let Setup { config, pairs, words, prior, start, cache, out, device, group } = setup;
        let (rank, world) = group.as_ref().map_or((0, 1), |g| (g.rank as usize, g.world as usize));
        pairs.check(&words, config.batch * world * config.accumulate)?;
        let state =
            State { seed: Some(config.seed), data_digest: pairs.digest(), ..State::default() };

        let checkpoint = config.checkpoint();
        let mut tables = checkpoint::config_tables(&checkpoint);
        tables.insert("prior".into(), toml::Value::try_from(&prior)?);
        tables.insert("training".into(), toml::Value::try_from(&config)?);

        tch::manual_seed(config.seed as i64);
        let store = nn::VarStore::new(device);
        let model = Prior::new(&store.root(), &checkpoint.graph()?, prior, group.clone())?;
        checkpoint::assign(&store, &start, |name| start.contains_key(name))
            .context("cannot begin with these weights")?;
        if config.freeze_text {
            freeze(&store, TEXT_ENCODER);
        }
        let trainer = Trainer::new(model, store, &config, group.clone())?;

        fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        let loading = Arc::new(Loading {
            pictures: Pictures::new(config.kept()?, cache)?,
            augmentation: config.augmentation(),
            input: [config.preprocess.height, config.preprocess.width],
            batch: config.batch,
            max_tokens: config.max_tokens,
            hide_words: config.hide_words,
            quirks: config.model.released_quirks,
            seed: config.seed,
            rank,
            world,
            workers: config.workers,
            words,
            pairs,
        });
        let mut run = Self { config, trainer, loading, tables, state, batch: 0, out, group };
        if resume {
            run.resume()?;
        } else if run.first() {
            let path = run.out.join(words::FILE);
            fs::write(&path, run.loading.words.to_json()?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(run)
    }

    /// Trains to the end, telling `watch` about every step; it may end the run early by saying `false`.
    pub fn train(&mut self, mut watch: impl FnMut(&Progress<'_>) -> Result<bool>) -> Result<()> {
        while self.stage_at_work() < self.config.stage.len() {
            if !self.stage(&mut watch)? {
                return Ok(());
            }
        }
        self.state.finished = true;
        self.save()
    }

    /// Optimizer steps of all stages.
    pub fn steps(&self) -> u64 {
        self.config.stage.iter().map(|stage| stage.epochs * self.steps_per_epoch()).sum()
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Writes the checkpoint.
    pub fn save(&mut self) -> Result<()> {
        if !self.first() {
            return Ok(());
        }
        self.state.extra.insert(BATCH.into(), self.batch.into());
        if let Some(scale) = self.trainer.scale() {
            self.state.extra.insert(SCALE.into(), serde_json::to_value(scale.state())?);
        }
        let weights = checkpoint::variables(&self.trainer.store);
        let optimizer = self.trainer.optimizer().state();
        checkpoint::save(&self.out, &weights, &self.tables, &self.state, Some(&optimizer))
    }

    /// The rest of the current stage; `false` if the watcher ended the run.
    fn stage(&mut self, watch: &mut impl FnMut(&Progress<'_>) -> Result<bool>) -> Result<bool> {
        let at = self.stage_at_work();
        let stage = self.config.stage[at].clone();
        let mut schedule = Schedule::new(stage.learning_rate, stage.epochs, self.full_steps());
        if self.loading.quirks.warm_up {
            schedule = schedule.early();
        }
        while self.state.epoch < stage.epochs {
            if !self.epoch(&stage, &schedule, watch)? {
                return Ok(false);
            }
            self.state.epoch += 1;
            self.batch = 0;
            if self.state.epoch == stage.epochs {
                self.state.stage = checkpoint::Stage::Number(at + 1);
                self.state.epoch = 0;
                self.trainer.reset_optimizer();
                self.save()?;
                return Ok(true);
            }
            self.save()?;
        }
        self.state.stage = checkpoint::Stage::Number(at + 1); // a stage of no epochs
        self.state.epoch = 0;
        Ok(true)
    }

    /// The rest of the current epoch.
    fn epoch(
        &mut self,
        stage: &Stage,
        schedule: &Schedule,
        watch: &mut impl FnMut(&Progress<'_>) -> Result<bool>,
    ) -> Result<bool> {
        // Every epoch of every stage has its own number, and so its own order and augmentation.
        let number = (self.stage_at_work() as u64) << 32 | self.state.epoch;
        let accumulate = self.config.accumulate;
        let mut batches = self.loading.epoch(number, self.batch);
        for _ in self.batch / accumulate..self.steps_per_epoch() as usize {
            let joined: Vec<Prepared> = batches.by_ref().take(accumulate).collect::<Result<_>>()?;
            let within =
                self.state.epoch * self.steps_per_epoch() + (self.batch / accumulate) as u64;
            let rate = schedule.at(within);
            let tau = stage.tau.at(self.fallen(schedule, within));
            let objective = Objective { weights: stage.weights, tau };
            let outcome = self
                .trainer
                .step(&joined, &objective, rate, self.state.step)
                .with_context(|| format!("stage {} stopped", stage.name))?;
            self.state.step += 1;
            self.state.extra.insert(TAU.into(), tau.into());
            self.batch += accumulate;
            let progress = Progress {
                stage,
                epoch: self.state.epoch,
                step: self.state.step,
                steps: self.steps(),
                rate,
                tau,
                outcome: &outcome,
                pairs: joined.iter().map(|b| b.ids.len()).sum::<usize>() * self.loading.world,
            };
            if !watch(&progress)? {
                self.save()?;
                return Ok(false);
            }
            if self
                .config
                .checkpoint_every
                .is_some_and(|n| n > 0 && self.state.step.is_multiple_of(n))
            {
                self.save()?;
            }
        }
        Ok(true)
    }

    fn resume(&mut self) -> Result<()> {
        let folder = self.out.clone();
        let name = folder.display();
        ensure!(checkpoint::exists(&folder), "no checkpoint to resume in {name}");
        let saved = checkpoint::load(&folder)?;
        ensure!(
            saved.state.stage != checkpoint::Stage::Imported,
            "{name} holds imported weights, expected a run to resume"
        );
        if comparable(&saved.tables) != comparable(&self.tables) {
            bail!("the run in {name} has another configuration; start it anew in another folder");
        }
        if saved.state.data_digest != self.state.data_digest {
            bail!(
                "the run in {name} was trained on other data: {}, now {}",
                saved.state.data_digest,
                self.state.data_digest
            );
        }
        checkpoint::assign(&self.trainer.store, &saved.weights, |_| true)
            .with_context(|| format!("cannot resume {name}"))?;
        self.trainer
            .optimizer()
            .load(&checkpoint::load_optimizer(&folder)?)
            .with_context(|| format!("cannot resume {name}: optimizer.safetensors"))?;
        let batch = saved.state.extra.get(BATCH).and_then(serde_json::Value::as_u64);
        self.batch = batch.with_context(|| format!("{name}/state.json has no {BATCH}"))? as usize;
        if let (Some(scale), Some(saved)) = (self.trainer.scale(), saved.state.extra.get(SCALE)) {
            let saved = serde_json::from_value(saved.clone())
                .with_context(|| format!("{name}/state.json: {SCALE}"))?;
            *scale = LossScale::restore(saved);
        }
        self.state = saved.state;
        Ok(())
    }

    fn stage_at_work(&self) -> usize {
        match self.state.stage {
            checkpoint::Stage::Number(stage) => stage,
            checkpoint::Stage::Imported => unreachable!("`resume` refuses imported weights"),
        }
    }

    fn steps_per_epoch(&self) -> u64 {
        (self.loading.batches() / self.config.accumulate) as u64
    }

    /// Steps of an epoch that schedules count: a smaller last batch is none of them.
    fn full_steps(&self) -> u64 {
        (self.loading.full_batches() / self.config.accumulate) as u64
    }

    /// Share of its fall that τ has behind it before step `within` of the stage at work.
    fn fallen(&self, schedule: &Schedule, within: u64) -> f64 {
        if !self.loading.quirks.tau {
            return schedule.progress(within);
        }
        let steps = |stages: &[Stage]| -> u64 {
            let mixing = stages.iter().filter(|stage| stage.weights.uses_prototypes());
            mixing.map(|stage| stage.epochs * self.full_steps()).sum()
        };
        let (stages, at) = (&self.config.stage, self.stage_at_work());
        (steps(&stages[..at]) + within) as f64 / steps(stages).max(1) as f64
    }

    /// Only one process writes.
    fn first(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.rank == 0)
    }
}

/// Weights whose names begin so learn no more.
fn freeze(store: &nn::VarStore, prefix: &str) {
    for (name, tensor) in store.variables() {
        if name.starts_with(prefix) {
            let _ = tensor.set_requires_grad(false);
        }
    }
}

/// A configuration without what changes no number: how many threads prepare batches, how often is saved.
fn comparable(tables: &toml::Table) -> toml::Table {
    let mut tables = tables.clone();
    if let Some(toml::Value::Table(training)) = tables.get_mut("training") {
        training.remove("workers");
        training.remove("checkpoint-every");
    }
    tables
}
