//! The lessons: epochs, steps, and what is kept of them.

use super::{
    Data, Epoch, Learner, Recipe, conclude,
    losses::{Losses, Projections},
    student::Student,
    teacher::Teacher,
};
use anyhow::{Context, Result, ensure};
use graph::{CheckpointConfig, Preprocess};
use indicatif::ProgressBar;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};
use torch_ext::AdamW;
use trainer::{
    checkpoint::{self, State},
    data::augment::{Augmentation, Moves},
};

/// Mild: the teacher sees the same picture as the student, whatever was done to it.
const AUGMENTATION: Augmentation = Augmentation {
    rotation: 8.0,
    shift: 0.06,
    scale: 0.12,
    flip: 0.5,
    light: 0.15,
    ..Augmentation::NONE
};
const WEIGHT_DECAY: f64 = 0.02;
const CLIP_NORM: f64 = 5.0;

/// One student before its teacher.
pub(crate) struct Job<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) teacher: &'a Teacher,
    pub(crate) config: &'a CheckpointConfig,
    pub(crate) data: &'a Data,
    /// They learn along, from the first lesson to the last.
    pub(crate) projections: &'a Projections,
}

impl Job<'_> {
    /// Teaches `learner`; its best weights are left in `recipe.out`. Returns best epoch and its loss.
    pub(crate) fn teach(
        &self,
        learner: &dyn Learner,
        epochs: u64,
        rate: f64,
        bar: &ProgressBar,
        report: &impl Fn(&Epoch) -> Result<()>,
    ) -> Result<(u64, f64)> {
        let recipe = self.recipe;
        let losses = Losses { projections: self.projections, targets: &self.data.targets };
        let mut trained = learner.trained();
        trained.extend(self.projections.trained());
        let mut optimizer = AdamW::new(trained, WEIGHT_DECAY);
        let steps = epochs * self.data.batches(recipe.batch) as u64;
        let mut best: Option<(u64, f64)> = None;
        for epoch in 1..=epochs {
            let mut random = ChaCha8Rng::seed_from_u64(recipe.seed);
            random.set_stream(epoch);
            let mut order: Vec<usize> = (0..self.data.train.len()).collect();
            order.shuffle(&mut random);
            let (mut sum, mut count) = (0.0, 0.0);
            // Batch statistics of one image are none.
            for numbers in order.chunks(recipe.batch).filter(|numbers| numbers.len() > 1) {
                let done = bar.position() as f64 / steps as f64;
                let rate = rate * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
                sum += self.step(learner, &losses, numbers, &mut optimizer, rate, &mut random)?;
                count += 1.0;
                bar.inc(1);
            }
            let validation = self.validate(learner, &losses)?;
            let judged = validation.unwrap_or(sum / count);
            let better = best.is_none_or(|(_, least)| judged < least);
            if better {
                best = Some((epoch, judged));
                self.save(learner, epoch)?;
            }
            let line = Epoch {
                phase: learner.phase(),
                epoch,
                train: sum / count,
                validation,
                best: better,
            };
            report(&line)?;
        }
        bar.finish_and_clear();
        best.context("no epoch was run")
    }

    fn step(
        &self,
        learner: &dyn Learner,
        losses: &Losses<'_>,
        numbers: &[usize],
        optimizer: &mut AdamW,
        rate: f64,
        random: &mut ChaCha8Rng,
    ) -> Result<f64> {
        let Preprocess { height, width, .. } = self.config.preprocess;
        let moves = Moves::draw(&AUGMENTATION, numbers.len(), [height, width], random);
        let images = self.data.train.batch(numbers)?.to_device(self.recipe.device);
        let images = moves.pictures(&images);
        let wanted = self.teacher.outputs(&images);
        let loss = losses.total(&wanted, &learner.forward(&images, true), Some(numbers));
        let value = loss.double_value(&[]);
        ensure!(value.is_finite(), "the loss is {value}: try a lower --rate");
        optimizer.clear_grads();
        loss.backward();
        let _norm = optimizer.clip_grad_norm(Some(CLIP_NORM))?;
        let never = Tensor::zeros([], (Kind::Float, self.recipe.device));
        optimizer.step(rate, &never)?;
        Ok(value)
    }

    /// Mean loss without labels on the validation split, if there is one.
    fn validate(&self, learner: &dyn Learner, losses: &Losses<'_>) -> Result<Option<f64>> {
        let all: Vec<usize> = (0..self.data.val.len()).collect();
        let (mut sum, mut count) = (0.0, 0.0);
        for numbers in all.chunks(self.recipe.batch).filter(|numbers| numbers.len() > 1) {
            let images = self.data.val.batch(numbers)?.to_device(self.recipe.device);
            let wanted = self.teacher.outputs(&images);
            let loss =
                tch::no_grad(|| losses.total(&wanted, &learner.forward(&images, false), None));
            sum += loss.double_value(&[]) * numbers.len() as f64;
            count += numbers.len() as f64;
        }
        Ok((count > 0.0).then(|| sum / count))
    }

    fn save(&self, learner: &dyn Learner, epoch: u64) -> Result<()> {
        let state = State { epoch, seed: Some(self.recipe.seed), ..State::default() };
        checkpoint::save(&self.recipe.out, &learner.weights(), &self.tables()?, &state, None)
    }

    /// Gives the best student its thresholds and figures.
    pub(crate) fn conclude(&self, student: &Student) -> Result<()> {
        let best = checkpoint::load(&self.recipe.out)?;
        checkpoint::assign(&student.store, &best.weights, |_| true)?;
        let mut tables = self.tables()?;
        let (data, batch) = (self.data, self.recipe.batch);
        tables.extend(conclude::tables(self.config, data, batch, student, self.teacher)?);
        let state = State { finished: true, ..best.state };
        checkpoint::save(&self.recipe.out, &student.weights(), &tables, &state, None)
    }

    fn tables(&self) -> Result<toml::Table> {
        let recipe = self.recipe;
        let mut training = toml::Table::new();
        training.insert("distilled_from".into(), self.teacher.digest.clone().into());
        training.insert("teacher".into(), self.teacher.graph.name.clone().into());
        for (name, value) in [("epochs", recipe.epochs), ("qat_epochs", recipe.qat)] {
            training.insert(name.into(), (value as i64).into());
        }
        training.insert("rate".into(), recipe.rate.into());
        training.insert("batch".into(), (recipe.batch as i64).into());
        training.insert("seed".into(), (recipe.seed as i64).into());
        training.insert("train_images".into(), (self.data.train.len() as i64).into());
        // What thresholds are of, here and when they are fitted anew.
        training.extend(self.teacher.selection.table());
        let mut tables = checkpoint::config_tables(self.config);
        tables.insert("training".into(), training.into());
        Ok(tables)
    }
}
