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
mod data;
mod job;
mod losses;
mod qat;
mod student;
mod teacher;

pub(crate) use data::Data;
pub(crate) use student::{Learner, Outputs, STAGES};

use anyhow::{Result, ensure};
use graph::{Backbone, CheckpointConfig, Graph, ModelConfig, Op, Output, Pool};
use indicatif::ProgressBar;
use job::Job;
use losses::Projections;
use qat::Rounded;
use serde::Serialize;
use std::path::{Path, PathBuf};
use student::Student;
use tch::{Device, Kind};
use teacher::Teacher;

/// How a student is taught.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) teacher: PathBuf,
    pub(crate) student: Backbone,
    pub(crate) pool: Pool,
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

/// Rounded weights only need to move by steps.
const QAT_RATE: f64 = 0.05;

/// Distills, rounds if asked to, and leaves the student's checkpoint in `recipe.out`.
pub(crate) fn distill(
    recipe: &Recipe,
    progress: impl Fn(u64) -> ProgressBar,
    report: impl Fn(&Epoch) -> Result<()>,
) -> Result<Outcome> {
    ensure!(
        same_folder(&recipe.teacher, &recipe.out) || !checkpoint::exists(&recipe.out),
        "{} holds a checkpoint already: choose another folder",
        recipe.out.display()
    );
    tch::manual_seed(recipe.seed as i64);
    let teacher = Teacher::open(&recipe.teacher, recipe.device, recipe.precision)?;
    let config = student_config(recipe, &teacher.config)?;
    let student = Student::new(&config, recipe.device, recipe.precision)?;
    if let Some(init) = &recipe.init {
        student.begin_with(init)?;
    }
    let data = Data::read(recipe, &config, &progress)?;
    let projections = Projections::new(&teacher.graph, &student.graph, recipe.device)?;
    let job =
        Job { recipe, teacher: &teacher, config: &config, data: &data, projections: &projections };

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

fn student_config(recipe: &Recipe, teacher: &CheckpointConfig) -> Result<CheckpointConfig> {
    let model = ModelConfig {
        backbone: recipe.student,
        width: recipe.width.unwrap_or(teacher.model.width),
        pool: recipe.pool,
        output_stride: teacher.model.output_stride,
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

/// Multiplications of convolutions, linear layers and attention pools (as the box computes them) for one image.
pub(crate) fn multiplications(graph: &Graph) -> Result<u64> {
    let shapes = graph.shapes()?;
    let of = |node: &graph::Node| -> u64 {
        let values: usize = shapes[node.name.as_str()].iter().product();
        let weights = node.params().into_iter().find(|param| param.name.ends_with(".weight"));
        match node.op {
            // Each value of the output is a sum over one row of the weights.
            Op::Conv2d { .. } | Op::Linear { .. } => weights.map_or(0, |weights| {
                (weights.shape[1..].iter().product::<usize>() * values) as u64
            }),
            Op::AttentionPool2d { channels, heads, tokens } => {
                (4 * channels * channels + 2 * heads * channels * (tokens + 1)) as u64
            }
            _ => 0,
        }
    };
    Ok(graph.nodes.iter().map(of).sum())
}

#[cfg(test)]
mod tests;
