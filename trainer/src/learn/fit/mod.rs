//! The training loop every task shares.
//!
//! ```text
//! epoch   for each batch: move pictures · forward · loss · AdamW · average of weights
//! then    the objective judges the average on the validation split
//!         better than before → DIR is the new best checkpoint
//!         always             → DIR/resume is where to go on after a crash
//! end     the best checkpoint gets its thresholds and figures, DIR/resume goes
//! ```

mod objective;
mod saved;
mod weights;

pub(crate) use objective::{Batch, Judgement, Objective};

use super::{
    Outputs,
    recipe::{Mode, Recipe},
    rows,
    schedule::Schedule,
};
use crate::{
    checkpoint::{self, State},
    data::{
        augment::{self, Augmentation, Moves},
        pictures::{Pictures, indices},
    },
    device,
    network::Network,
    terminal::Terminal,
};
use anyhow::{Context, Result, ensure};
use graph::{CheckpointConfig, Preprocess};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::{collections::HashMap, path::Path, time::Instant};
use tch::{Device, Kind, Tensor};
use torch_ext::AdamW;
use weights::{Weights, copy, is_head};

/// Everything fixed before the first step.
pub(crate) struct Job<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) config: &'a CheckpointConfig,
    /// Weights to begin with, by graph name; none = from scratch.
    pub(crate) encoder: Option<&'a HashMap<String, Tensor>>,
    /// The attention pool is not among them: it is learnt like a head.
    pub(crate) new_pool: bool,
    pub(crate) pictures: &'a Pictures,
    pub(crate) out: &'a Path,
    pub(crate) resume: bool,
    pub(crate) device: Device,
    /// Type of the matrix products; `None` = f32.
    pub(crate) precision: Option<Kind>,
    pub(crate) data_digest: &'a str,
    /// Goes into `config.toml` as `[training]`.
    pub(crate) training: toml::Table,
}

impl Job<'_> {
    /// Whether a parameter or node is learnt from the beginning whatever the encoder knows.
    fn is_new(&self, name: &str) -> bool {
        is_head(name) || (self.new_pool && name.split('.').next() == Some("attnpool"))
    }
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) best_epoch: u64,
    pub(crate) best: Judgement,
    pub(crate) epochs: u64,
    pub(crate) steps: u64,
    pub(crate) seconds: f64,
}

/// Trains; the best network is left in `job.out`.
pub(crate) fn fit(
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
            checkpoint::assign(&learner.store, encoder, |name| !job.is_new(name))
                .context("the encoder's weights do not fit")?;
        }
        objective.begin(&learner.store);
        let average = Weights::fresh(job.config, job.device)?;
        tch::no_grad(|| copy(&average.store, &learner.store, 0.0));
        let mut trained = learner.store.variables();
        trained.retain(|name, variable| {
            variable.requires_grad() && (job.recipe.mode == Mode::Full || job.is_new(name))
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
            seed: Some(job.recipe.seed),
            data_digest: job.data_digest.to_owned(),
            ..State::default()
        };
        let mut run = Self { job, learner, average, optimizer, state, best: None };
        if job.resume {
            run.resume()?;
        }
        Ok(run)
    }

    /// Embeddings of all training pictures, where only a linear head on them is trained.
    fn features(&self) -> Result<Option<Tensor>> {
        if self.job.recipe.mode != Mode::Linear {
            return Ok(None);
        }
        let features = rows(self.job.pictures, self.job.recipe.batch, "embedding", &|images| {
            let images = images.to_device(self.job.device);
            tch::no_grad(|| self.forward(&self.learner.network, &images, false))
        })?;
        Ok(Some(features.to_device(self.job.device)))
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
        let Preprocess { height, width, .. } = self.job.config.preprocess;
        let moves = Moves::draw(amount, numbers.len(), [height, width], random);
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
        self.optimizer.clear_grads();
        loss.backward();
        let _norm = self.optimizer.clip_grad_norm(Some(CLIP_NORM))?;
        // A loss that is not finite changes no weight, and the device need not be asked before the end.
        let unfit = loss.isfinite().logical_not().to_kind(Kind::Float);
        self.optimizer.step(schedule.at(self.state.step as usize), &unfit)?;
        let value = device::download(&loss.detach()).double_value(&[]);
        ensure!(
            value.is_finite(),
            "loss is {value} at step {}: try a lower --rate",
            self.state.step
        );
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
            network.forward_partly(images, |node| train && (full || self.job.is_new(node)))
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

    fn finished(&self) -> bool {
        let waited = self.best.map_or(0, |(epoch, _)| self.state.epoch - epoch);
        self.state.epoch >= self.job.recipe.epochs as u64
            || waited >= self.job.recipe.patience as u64
    }
}

// Lets a test kill a run after an epoch.
#[cfg(test)]
std::thread_local! {
    pub(crate) static STOP_AFTER: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// Larger gradients are scaled down to this norm.
const CLIP_NORM: f64 = 5.0;
