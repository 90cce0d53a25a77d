//! Distillation: a small student learns to see what the teacher sees, from images alone.
//!
//! ```text
//! image ─┬─ teacher (frozen) ─▶ C3 C4 C5, embedding, logits ─┐
//!        │                                                   ├─ losses ─▶ student, projections
//!        └─ student ──────────▶ C3 C4 C5, embedding, logits ─┘
//! then, with --qat: the same on the folded student whose numbers are rounded as the box will
//! ```
//!
//! Projections bring the student's channels to the teacher's width; they stay behind.

mod conclude;
mod losses;
mod qat;
mod student;
mod teacher;

pub(crate) use student::{Learner, Outputs, STAGES};

use anyhow::{Context, Result, ensure};
use graph::{Backbone, CheckpointConfig, Graph, ModelConfig, Output, Pool};
use indicatif::ProgressBar;
use losses::{Losses, Projections};
use qat::Rounded;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::path::{Path, PathBuf};
use student::Student;
use tch::{Device, Kind, Tensor};
use teacher::Teacher;
use torch_ext::AdamW;
use trainer::{
    checkpoint::{self, State},
    finetune::{
        Targets, Uncertain,
        augment::{Augmentation, Moves},
        pictures::Pictures,
    },
    index::{self, Record, Split},
};

/// How a student is taught.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) teacher: PathBuf,
    pub(crate) student: Backbone,
    /// Channels after the stem; the teacher's where not given.
    pub(crate) width: Option<usize>,
    /// Weights to begin with, as far as their names and shapes are the student's.
    pub(crate) init: Option<PathBuf>,
    pub(crate) data: PathBuf,
    pub(crate) out: PathBuf,
    pub(crate) limit: usize,
    pub(crate) epochs: u64,
    pub(crate) qat: u64,
    pub(crate) batch: usize,
    pub(crate) rate: f64,
    pub(crate) seed: u64,
    pub(crate) device: Device,
    pub(crate) precision: Option<Kind>,
}

/// How it went.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) best_epoch: u64,
    /// On the validation split, as [`Losses::total`]; on the last epoch's images without one.
    pub(crate) loss: f64,
    pub(crate) train_images: usize,
    pub(crate) val_images: usize,
    pub(crate) parameters: usize,
    pub(crate) teacher_parameters: usize,
    pub(crate) multiplications: u64,
    pub(crate) teacher_multiplications: u64,
}

/// Mild: the teacher sees the same picture as the student, whatever was done to it.
const AUGMENTATION: Augmentation =
    Augmentation { rotation: 8.0, shift: 0.06, scale: 0.12, flip: 0.5, light: 0.15, erase: 0.0 };
const WEIGHT_DECAY: f64 = 0.02;
/// Rounded weights only need to move by steps.
const QAT_RATE: f64 = 0.05;
const CLIP_NORM: f64 = 5.0;
/// Images the ranges of `--qat` come from.
const QAT_CALIBRATION: usize = 64;

/// Distills, rounds if asked to, and leaves the student's checkpoint in `recipe.out`.
pub(crate) fn distill(
    recipe: &Recipe,
    progress: impl Fn(u64) -> ProgressBar,
    report: impl Fn(&Epoch) -> Result<()>,
) -> Result<Outcome> {
    tch::manual_seed(recipe.seed as i64);
    let teacher = Teacher::open(&recipe.teacher, recipe.device, recipe.precision)?;
    let config = student_config(recipe, &teacher.config)?;
    let student = Student::new(&config, recipe.device, recipe.precision)?;
    if let Some(init) = &recipe.init {
        student.begin_with(init)?;
    }
    let data = Data::read(recipe, &config, &progress)?;
    let job = Job { recipe, teacher: &teacher, config: &config, data: &data };

    let bar = progress(recipe.epochs * data.batches(recipe.batch) as u64);
    let (mut best_epoch, mut loss) =
        job.teach(&student, recipe.epochs, recipe.rate, &bar, &report)?;
    if recipe.qat > 0 {
        let rounded = Rounded::open(&recipe.out, &config, &data.calibration(), recipe.device)?;
        let bar = progress(recipe.qat * data.batches(recipe.batch) as u64);
        let rate = recipe.rate * QAT_RATE;
        let (epoch, rounded_loss) = job.teach(&rounded, recipe.qat, rate, &bar, &report)?;
        (best_epoch, loss) = (recipe.epochs + epoch, rounded_loss);
    }
    job.conclude(&student)?;
    Ok(Outcome {
        best_epoch,
        loss,
        train_images: data.train.len(),
        val_images: data.val.len(),
        parameters: parameters(&student.graph),
        teacher_parameters: parameters(&teacher.graph),
        multiplications: multiplications(&student.graph)?,
        teacher_multiplications: multiplications(&teacher.graph)?,
    })
}

/// One line while it runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Epoch {
    pub(crate) phase: &'static str,
    pub(crate) epoch: u64,
    pub(crate) train: f64,
    pub(crate) validation: Option<f64>,
    pub(crate) best: bool,
}

struct Job<'a> {
    recipe: &'a Recipe,
    teacher: &'a Teacher,
    config: &'a CheckpointConfig,
    data: &'a Data,
}

impl Job<'_> {
    /// Teaches `learner`; its best weights are left in `recipe.out`. Returns best epoch and its loss.
    fn teach(
        &self,
        learner: &dyn Learner,
        epochs: u64,
        rate: f64,
        bar: &ProgressBar,
        report: &impl Fn(&Epoch) -> Result<()>,
    ) -> Result<(u64, f64)> {
        let recipe = self.recipe;
        let projections = Projections::new(&self.teacher.graph, learner.graph(), recipe.device)?;
        let losses = Losses { projections: &projections, targets: &self.data.targets };
        let mut trained = learner.trained();
        trained.extend(projections.trained());
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
        let preprocess = &self.config.preprocess;
        let aspect = preprocess.width as f64 / preprocess.height as f64;
        let moves = Moves::draw(&AUGMENTATION, numbers.len(), aspect, random);
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
        let state = State { epoch, seed: self.recipe.seed, ..State::default() };
        checkpoint::save(&self.recipe.out, &learner.weights(), &self.tables()?, &state, None)
    }

    /// Gives the best student its thresholds and figures.
    fn conclude(&self, student: &Student) -> Result<()> {
        let best = checkpoint::load(&self.recipe.out)?;
        checkpoint::assign(&student.store, &best.weights, |_| true)?;
        let mut tables = self.tables()?;
        tables.extend(conclude::tables(self.config, self.data, self.recipe.batch, student)?);
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
        let mut tables = checkpoint::config_tables(self.config);
        tables.insert("training".into(), training.into());
        Ok(tables)
    }
}

/// Images to learn from and to judge by.
pub(crate) struct Data {
    train: Pictures,
    targets: Targets,
    paths: Vec<PathBuf>,
    val: Pictures,
    val_records: Vec<Record>,
}

impl Data {
    fn read(
        recipe: &Recipe,
        config: &CheckpointConfig,
        progress: &impl Fn(u64) -> ProgressBar,
    ) -> Result<Self> {
        let records = index::read(&recipe.data)?;
        let part = |split| -> Vec<Record> {
            records.iter().filter(|record| record.split == Some(split)).cloned().collect()
        };
        let train = crate::images::spread(part(Split::Train), recipe.limit);
        let val = part(Split::Val);
        ensure!(
            train.len() >= crate::images::LEAST,
            "{}: found {} images in the train split, expected at least {}",
            recipe.data.display(),
            train.len(),
            crate::images::LEAST
        );
        let labels = student::labels(&config.model);
        let bar = progress((train.len() + val.len()) as u64);
        let data = Self {
            targets: Targets::of(&train, labels, Uncertain::Unknown),
            paths: train.iter().map(|record| record.image_path().to_owned()).collect(),
            train: Pictures::open(&train, config.preprocess, &bar)?,
            val: Pictures::open(&val, config.preprocess, &bar)?,
            val_records: val,
        };
        bar.finish_and_clear();
        Ok(data)
    }

    /// Batches an epoch.
    fn batches(&self, batch: usize) -> usize {
        self.train.len().div_ceil(batch)
    }

    fn calibration(&self) -> Vec<PathBuf> {
        crate::images::spread(self.paths.clone(), QAT_CALIBRATION)
    }
}

fn student_config(recipe: &Recipe, teacher: &CheckpointConfig) -> Result<CheckpointConfig> {
    let model = ModelConfig {
        backbone: recipe.student,
        width: recipe.width.unwrap_or(teacher.model.width),
        // What int8 covers, whatever the teacher does.
        pool: Pool::Mean,
        heads: teacher.model.heads.clone(),
    };
    let config = CheckpointConfig { model, preprocess: teacher.preprocess };
    config.graph()?.shapes()?;
    ensure!(
        !same_folder(&recipe.teacher, &recipe.out),
        "{}: the student would replace its teacher",
        recipe.out.display()
    );
    Ok(config)
}

fn same_folder(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// `graph` with C3–C5 among its outputs, under the names of [`STAGES`].
pub(crate) fn with_features(config: &CheckpointConfig) -> Result<Graph> {
    let shape = [1, config.preprocess.height, config.preprocess.width];
    let mut graph = config.graph()?;
    let features = config.model.features(shape)?;
    for (name, node) in STAGES.iter().zip(&features[2..]) {
        graph.outputs.push(Output { name: (*name).into(), node: node.clone() });
    }
    Ok(graph)
}

fn parameters(graph: &Graph) -> usize {
    let params = graph.params();
    params.iter().filter(|p| p.trained).map(|p| p.shape.iter().product::<usize>()).sum()
}

/// Multiplications of convolutions and linear layers for one image.
pub(crate) fn multiplications(graph: &Graph) -> Result<u64> {
    let shapes = graph.shapes()?;
    let of = |node: &graph::Node| -> u64 {
        let places: usize = shapes[node.name.as_str()].iter().skip(1).product();
        let weights = node.params().into_iter().find(|param| param.name.ends_with(".weight"));
        let is_layer = matches!(node.op, graph::Op::Conv2d { .. } | graph::Op::Linear { .. });
        weights
            .filter(|_| is_layer)
            .map_or(0, |w| (w.shape.iter().product::<usize>() * places) as u64)
    };
    Ok(graph.nodes.iter().map(of).sum())
}

#[cfg(test)]
mod tests;
