//! The training loop every task shares.
//!
//! ```text
//! epoch   for each batch: move pictures · forward · loss · AdamW · average of weights
//! then    the objective judges the average on the validation split
//!         better than before → DIR is the new best checkpoint
//!         always             → DIR/resume is where to go on after a crash
//! end     the best checkpoint gets its thresholds and figures, DIR/resume goes
//! ```

use super::{
    augment::{self, Augmentation, Moves},
    pictures::{Pictures, indices},
    recipe::{Mode, Recipe, Select},
    schedule::Schedule,
};
use crate::{
    checkpoint::{self, State},
    network::Network,
    terminal::Terminal,
};
use anyhow::{Context, Result, ensure};
use graph::CheckpointConfig;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};
use tch::{Device, Kind, Tensor, nn};
use torch_ext::AdamW;

/// What the network gave, by output name.
pub type Outputs = HashMap<String, Tensor>;

/// What a task must say to be trained.
pub(super) trait Objective {
    /// Changes to the fresh head before the first step.
    fn begin(&self, _store: &nn::VarStore) {}

    /// Mean loss of a training batch, `[]`.
    fn loss(&self, outputs: &Outputs, batch: &Batch<'_>) -> Tensor;

    /// How good the network is on the validation split.
    fn judge(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<Judgement>;

    /// Tables for `config.toml`: thresholds and figures of the finished network on the validation split.
    fn conclude(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<toml::Table>;

    /// Whether pictures may be blended: only where truth can be blended too.
    fn mixes(&self) -> bool;
}

/// Which training pictures, how they were moved, and how they were blended.
pub(super) struct Batch<'a> {
    pub(super) numbers: &'a [usize],
    pub(super) moves: &'a Moves,
    /// Partner of each picture, and the share of the picture itself.
    pub(super) mix: Option<(Tensor, f64)>,
    pub(super) device: Device,
}

/// Validation after an epoch. `f1` only where the task has one.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Judgement {
    pub(super) loss: f64,
    /// Greater is better.
    pub(super) metric: f64,
    pub(super) f1: Option<f64>,
}

/// Everything fixed before the first step.
pub(super) struct Job<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) config: &'a CheckpointConfig,
    /// Weights to begin with, by graph name; none = from scratch.
    pub(super) encoder: Option<&'a HashMap<String, Tensor>>,
    pub(super) pictures: &'a Pictures,
    pub(super) out: &'a Path,
    pub(super) resume: bool,
    pub(super) device: Device,
    /// Type of the matrix products; `None` = f32.
    pub(super) precision: Option<Kind>,
    pub(super) data_digest: &'a str,
    /// Goes into `config.toml` as `[training]`.
    pub(super) training: toml::Table,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) best_epoch: u64,
    pub(super) best: Judgement,
    pub(super) epochs: u64,
    pub(super) steps: u64,
    pub(super) seconds: f64,
}

/// Trains; the best network is left in `job.out`.
pub(super) fn fit(
    job: &Job<'_>,
    objective: &dyn Objective,
    terminal: &Terminal,
) -> Result<Outcome> {
    let started = Instant::now();
    let mut run = Run::start(job, objective)?;
    let per_epoch = job.pictures.len().div_ceil(job.recipe.batch);
    let schedule = Schedule {
        peak: job.recipe.rate,
        warmup: (job.recipe.warmup_epochs * per_epoch as f64).round() as usize,
        steps: job.recipe.epochs * per_epoch,
    };
    let features = run.features()?;
    let progress = terminal.progress((job.recipe.epochs * per_epoch) as u64);
    progress.set_position(run.state.step);

    while !run.finished() {
        let loss = run.epoch(objective, &schedule, features.as_ref(), &progress)?;
        let judgement = objective.judge(&|images| run.judged(images))?;
        let better = run.note(judgement);
        progress.set_message(format!(
            "epoch {} loss {loss:.4} val loss {:.4} metric {:.4}",
            run.state.epoch, judgement.loss, judgement.metric
        ));
        log::info!(
            "epoch {}: loss {loss:.4}, validation loss {:.4}, metric {:.4}{}",
            run.state.epoch,
            judgement.loss,
            judgement.metric,
            if better { ", best so far" } else { "" }
        );
        terminal.json(&serde_json::json!({
            "epoch": run.state.epoch, "loss": loss, "validation": judgement, "best": better
        }))?;
        if better {
            checkpoint::save(job.out, &run.judged_weights(), &run.tables(), &run.state, None)?;
        }
        run.save_resume()?;
        #[cfg(test)]
        ensure!(STOP_AFTER.get() != Some(run.state.epoch), "stopped by the test");
    }
    progress.finish_and_clear();
    let (best_epoch, best) = run.best.context("the run had no epoch")?;
    run.conclude(objective)?;
    Ok(Outcome {
        best_epoch,
        best,
        epochs: run.state.epoch,
        steps: run.state.step,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// A network with its own variables.
struct Weights {
    store: nn::VarStore,
    network: Network,
}

impl Weights {
    fn fresh(config: &CheckpointConfig, device: Device) -> Result<Self> {
        let store = nn::VarStore::new(device);
        let network = Network::new(&store.root(), &config.graph()?)?;
        Ok(Self { store, network })
    }
}

struct Run<'a> {
    job: &'a Job<'a>,
    learner: Weights,
    /// Running average of the learner's weights: what is judged and saved.
    average: Weights,
    optimizer: AdamW,
    state: State,
    best: Option<(u64, Judgement)>,
}

impl<'a> Run<'a> {
    fn start(job: &'a Job<'a>, objective: &dyn Objective) -> Result<Self> {
        tch::manual_seed(job.recipe.seed as i64);
        let learner = Weights::fresh(job.config, job.device)?;
        if let Some(encoder) = job.encoder {
            checkpoint::assign(&learner.store, encoder, |name| !is_head(name))
                .context("the encoder's weights do not fit")?;
        }
        objective.begin(&learner.store);
        let average = Weights::fresh(job.config, job.device)?;
        tch::no_grad(|| copy(&average.store, &learner.store, 0.0));
        let mut trained = learner.store.variables();
        trained.retain(|name, variable| {
            variable.requires_grad() && (job.recipe.mode == Mode::Full || is_head(name))
        });
        for (name, variable) in learner.store.variables() {
            if !trained.contains_key(&name) {
                let _ = variable.set_requires_grad(false);
            }
        }
        let mut trained: Vec<_> = trained.into_iter().collect();
        trained.sort_by(|a, b| a.0.cmp(&b.0));
        let optimizer = AdamW::new(trained, job.recipe.weight_decay);
        let state = State {
            seed: job.recipe.seed,
            data_digest: job.data_digest.to_owned(),
            ..State::default()
        };
        let mut run = Self { job, learner, average, optimizer, state, best: None };
        if job.resume {
            run.resume()?;
        }
        Ok(run)
    }

    fn resume(&mut self) -> Result<()> {
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

    /// Embeddings of all training pictures, where only a linear head on them is trained.
    fn features(&self) -> Result<Option<Tensor>> {
        if self.job.recipe.mode != Mode::Linear {
            return Ok(None);
        }
        let all: Vec<usize> = (0..self.job.pictures.len()).collect();
        let parts: Result<Vec<Tensor>> = all
            .chunks(self.job.recipe.batch)
            .map(|numbers| {
                let images = self.job.pictures.batch(numbers)?.to_device(self.job.device);
                let outputs = tch::no_grad(|| self.forward(&self.learner.network, &images, false));
                Ok(outputs["embedding"].shallow_clone())
            })
            .collect();
        Ok(Some(Tensor::cat(&parts?, 0)))
    }

    /// One pass over the training pictures; returns the mean loss.
    fn epoch(
        &mut self,
        objective: &dyn Objective,
        schedule: &Schedule,
        features: Option<&Tensor>,
        progress: &indicatif::ProgressBar,
    ) -> Result<f64> {
        let recipe = self.job.recipe;
        // Chance depends on seed and epoch alone, so that a resumed run goes the same way.
        let mut random = ChaCha8Rng::seed_from_u64(recipe.seed);
        random.set_stream(self.state.epoch + 1);
        tch::manual_seed((recipe.seed * 100_003 + self.state.epoch) as i64);
        let mut order: Vec<usize> = (0..self.job.pictures.len()).collect();
        order.shuffle(&mut random);

        let (mut total, mut batches) = (0.0, 0);
        for numbers in order.chunks(recipe.batch) {
            let loss = self.step(numbers, objective, schedule, features, &mut random)?;
            total += loss;
            batches += 1;
            progress.inc(1);
        }
        self.state.epoch += 1;
        Ok(total / f64::from(batches))
    }

    fn step(
        &mut self,
        numbers: &[usize],
        objective: &dyn Objective,
        schedule: &Schedule,
        features: Option<&Tensor>,
        random: &mut ChaCha8Rng,
    ) -> Result<f64> {
        let recipe = self.job.recipe;
        let still = features.is_some();
        let amount = if still { &Augmentation::NONE } else { &recipe.augmentation };
        let aspect =
            self.job.config.preprocess.width as f64 / self.job.config.preprocess.height as f64;
        let moves = Moves::draw(amount, numbers.len(), aspect, random);
        let mut batch = Batch { numbers, moves: &moves, mix: None, device: self.job.device };
        let outputs = match features {
            Some(features) => {
                let rows = features.index_select(0, &indices(numbers).to_device(self.job.device));
                HashMap::from([("classification".to_owned(), self.linear(&rows))])
            }
            None => {
                let images = self.job.pictures.batch(numbers)?.to_device(self.job.device);
                let mut images = moves.pictures(&images);
                if recipe.mix > 0.0 && objective.mixes() {
                    let (mixed, partners, own) = augment::mix(&images, recipe.mix, random);
                    images = mixed;
                    batch.mix = Some((partners, own));
                }
                self.forward(&self.learner.network, &images, true)
            }
        };
        let loss = objective.loss(&outputs, &batch);
        let value = loss.double_value(&[]);
        ensure!(
            value.is_finite(),
            "loss is {value} at step {}: try a lower --rate",
            self.state.step
        );
        self.optimizer.clear_grads();
        loss.backward();
        let _norm = self.optimizer.clip_grad_norm(Some(CLIP_NORM))?;
        let never = Tensor::zeros([], (Kind::Float, self.job.device));
        self.optimizer.step(schedule.at(self.state.step as usize), &never)?;
        self.state.step += 1;
        // Early on the average follows closely: the first weights are noise.
        let decay =
            recipe.average.min((1.0 + self.state.step as f64) / (10.0 + self.state.step as f64));
        tch::no_grad(|| copy(&self.average.store, &self.learner.store, decay));
        Ok(value)
    }

    /// Nodes of a frozen encoder stay in evaluation mode.
    fn forward(&self, network: &Network, images: &Tensor, train: bool) -> Outputs {
        let full = self.job.recipe.mode == Mode::Full;
        let outputs = torch_ext::autocast(self.job.device, self.job.precision, || {
            network.forward_partly(images, |node| train && (full || is_head(node)))
        })
        .expect("autocast exists on every device libtorch runs on");
        outputs.into_iter().map(|(name, tensor)| (name, tensor.to_kind(Kind::Float))).collect()
    }

    fn linear(&self, features: &Tensor) -> Tensor {
        let variables = self.learner.store.variables();
        features.linear(&variables["fc.weight"], Some(&variables["fc.bias"]))
    }

    /// What the averaged network says.
    fn judged(&self, images: &Tensor) -> Outputs {
        let images = images.to_device(self.job.device);
        tch::no_grad(|| self.forward(&self.average.network, &images, false))
    }

    fn judged_weights(&self) -> Vec<(String, Tensor)> {
        checkpoint::variables(&self.average.store)
    }

    /// Remembers a judgement; whether it is the best so far.
    fn note(&mut self, judgement: Judgement) -> bool {
        let select = self.job.recipe.select;
        let better = self.best.is_none_or(|(_, best)| judgement.beats(&best, select));
        if better {
            self.best = Some((self.state.epoch, judgement));
        }
        self.state.extra.insert(
            "best".into(),
            serde_json::json!(self.best.map(|(epoch, judgement)| Best::of(epoch, judgement))),
        );
        better
    }

    fn finished(&self) -> bool {
        let waited = self.best.map_or(0, |(epoch, _)| self.state.epoch - epoch);
        self.state.epoch >= self.job.recipe.epochs as u64
            || waited >= self.job.recipe.patience as u64
    }

    fn tables(&self) -> toml::Table {
        let mut tables = checkpoint::config_tables(self.job.config);
        tables.insert("training".into(), self.job.training.clone().into());
        tables
    }

    fn resume_folder(&self) -> PathBuf {
        self.job.out.join("resume")
    }

    fn save_resume(&self) -> Result<()> {
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
    fn conclude(&mut self, objective: &dyn Objective) -> Result<()> {
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

impl Judgement {
    fn beats(&self, other: &Self, select: Select) -> bool {
        match select {
            Select::Loss => self.loss < other.loss,
            Select::Metric => self.metric > other.metric,
            Select::F1 => self.f1.unwrap_or(self.metric) > other.f1.unwrap_or(other.metric),
        }
    }
}

/// A judgement as `state.json` keeps it.
#[derive(Serialize, serde::Deserialize)]
struct Best {
    epoch: u64,
    loss: f64,
    metric: f64,
    f1: Option<f64>,
}

impl Best {
    fn of(epoch: u64, Judgement { loss, metric, f1 }: Judgement) -> Self {
        Self { epoch, loss, metric, f1 }
    }

    fn judgement(&self) -> Judgement {
        Judgement { loss: self.loss, metric: self.metric, f1: self.f1 }
    }
}

/// What is trained on top of the encoder, by the graph's names.
fn is_head(name: &str) -> bool {
    ["fc", "seg", "det", "yolo"].contains(&name.split('.').next().unwrap_or(name))
}

/// `to = decay·to + (1 − decay)·from`, batch statistics included.
fn copy(to: &nn::VarStore, from: &nn::VarStore, decay: f64) {
    let from = from.variables();
    for (name, variable) in to.variables() {
        let _ = variable.shallow_clone().lerp_(&from[&name], 1.0 - decay);
    }
}

// Lets a test kill a run after an epoch.
#[cfg(test)]
std::thread_local! {
    pub(super) static STOP_AFTER: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

const AVERAGE: &str = "average.";
/// Larger gradients are scaled down to this norm.
const CLIP_NORM: f64 = 5.0;
