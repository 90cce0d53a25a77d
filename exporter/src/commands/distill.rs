//! `exporter distill`: a teacher and images to a student's checkpoint.

use crate::distill::{Recipe, distill};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use graph::{Backbone, Pool};
use std::path::PathBuf;
use tch::Kind;
use terminal::Terminal;
use trainer::device::DeviceArg;

/// Teaches a small network to see what a large one sees; images need no labels
#[derive(Debug, Args)]
pub(crate) struct Distill {
    /// Checkpoint of the teacher: PRIOR, or fine-tuned for tasks
    #[arg(long, value_name = "DIR")]
    teacher: PathBuf,
    /// Architecture: resnet18, resnet34, resnet50, mobilenetv2, densenet121 or efficientnet-b0
    #[arg(long)]
    student: Backbone,
    /// How the student makes one vector of its last feature map, whatever its teacher does
    #[arg(long, default_value = "mean")]
    pool: PoolArg,
    /// Index; its train split teaches, its val split chooses the best epoch
    #[arg(long, value_name = "INDEX")]
    data: PathBuf,
    /// Checkpoint folder of the student
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Channels after the stem [default: the teacher's]
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Checkpoint to begin with, as far as names and shapes fit
    #[arg(long, value_name = "DIR")]
    init: Option<PathBuf>,
    /// Learn from at most this many images, spread evenly
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
    #[arg(long, default_value_t = 60)]
    epochs: u64,
    /// Epochs of quantization-aware training afterwards
    #[arg(long, value_name = "EPOCHS", default_value_t = 0, default_missing_value = "5", num_args = 0..=1)]
    qat: u64,
    #[arg(long, default_value_t = 24)]
    batch: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 1e-3)]
    rate: f64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Type of the matrix products in training
    #[arg(long, default_value = "f32")]
    precision: Precision,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PoolArg {
    Mean,
    Attention,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Precision {
    F32,
    Bf16,
}

impl Distill {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        ensure!(self.epochs > 0 && self.batch > 1, "expected at least one epoch of batches of two");
        ensure!(self.rate > 0.0, "--rate is {}, expected a positive number", self.rate);
        let recipe = Recipe {
            student: self.student,
            pool: match self.pool {
                PoolArg::Mean => Pool::Mean,
                PoolArg::Attention => Pool::Attention,
            },
            precision: match self.precision {
                Precision::F32 => None,
                Precision::Bf16 => Some(Kind::BFloat16),
            },
            device: self.device.open(0)?,
            teacher: self.teacher,
            width: self.width,
            init: self.init,
            data: self.data,
            out: self.out.clone(),
            limit: self.limit,
            epochs: self.epochs,
            qat: self.qat,
            batch: self.batch,
            rate: self.rate,
            seed: self.seed,
        };
        let bar = |length| {
            let bar = terminal.progress(0).with_message("distilling");
            bar.set_length(length);
            bar
        };
        let outcome = distill(&recipe, bar, |epoch| {
            log::info!(
                "{} epoch {}: loss {:.4}, validation {:.4}{}",
                epoch.phase,
                epoch.epoch,
                epoch.train,
                epoch.validation.unwrap_or(f64::NAN),
                if epoch.best { ", best so far" } else { "" }
            );
            if terminal.json { terminal.print(epoch, "") } else { Ok(()) }
        })?;
        let share = |ours: u64, theirs: u64| 100.0 * ours as f64 / theirs as f64;
        let text = format!(
            "{}: {} of {:.1} % of the teacher's multiplications and {:.1} % of its parameters, best epoch {}, \
             validation loss {:.4}",
            self.out.display(),
            recipe.student,
            share(outcome.multiplications, outcome.teacher_multiplications),
            share(outcome.parameters as u64, outcome.teacher_parameters as u64),
            outcome.best_epoch,
            outcome.loss,
        );
        terminal.print(&outcome, &text)
    }
}
