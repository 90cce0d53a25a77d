//! From an encoder (or from nothing) to a network for one task: what to learn, from which images, beginning with what.
//!
//! `tasks` knows what is learnt, `learn` how. One command for each task, with figures: `docs/tasks.md`.

use crate::{
    checkpoint,
    data::pictures::Pictures,
    device::DeviceArg,
    index::{self, Record, Selection, Split},
    learn::{
        Mode, Protocol, Recipe,
        fit::{Job, Outcome, fit},
        start::{Beginning, Start, data_digest, take_fraction},
    },
    metrics::runs::over_runs,
    tasks::{Material, TaskArg},
    terminal::Terminal,
};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use graph::{Head, Task};
use std::path::PathBuf;
use tch::Kind;

/// One run, or one for each of several seeds.
#[derive(Clone, Debug, Args)]
pub struct Finetuning {
    #[arg(long)]
    pub task: TaskArg,
    #[command(flatten)]
    beginning: Beginning,
    /// Index written by `trainer index`
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Folder of the new checkpoint
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Findings, regions or boxes to learn; default: every finding that train and val have both with and without
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    labels: Vec<String>,
    #[command(flatten)]
    pub selection: Selection,
    /// Settings of the literature, or `edge` for hundreds of images; single ones can be overridden below
    #[arg(long, default_value = "edge")]
    protocol: Protocol,
    #[arg(long)]
    mode: Option<Mode>,
    #[arg(long)]
    epochs: Option<usize>,
    #[arg(long)]
    batch: Option<usize>,
    /// Peak learning rate
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Epochs without a better one before stopping
    #[arg(long)]
    patience: Option<usize>,
    /// Blending of pictures, 0 to 1
    #[arg(long)]
    mix: Option<f64>,
    /// Decay of the average of weights, 0 to 1
    #[arg(long)]
    average: Option<f64>,
    /// Contrast and brightness either way
    #[arg(long)]
    light: Option<f64>,
    /// Share of the pictures with a blanked rectangle
    #[arg(long)]
    erase: Option<f64>,
    /// Share of the training patients to use
    #[arg(long, default_value_t = 1.0)]
    fraction: f64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// One run for each of these seeds, in DIR/seed-N
    #[arg(long, value_name = "A,B", value_delimiter = ',', conflicts_with = "seed")]
    seeds: Vec<u64>,
    /// Choose thresholds for this sensitivity on the val split instead of Youden's J
    #[arg(long, value_name = "SHARE")]
    target_sensitivity: Option<f64>,
    #[arg(long, default_value = "cpu")]
    pub device: DeviceArg,
    /// Type of the matrix products in training
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Go on where an interrupted run stopped
    #[arg(long)]
    resume: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Precision {
    F32,
    Bf16,
}

impl Finetuning {
    /// Trains; the folders of the checkpoints it leaves.
    pub fn run(self, terminal: &Terminal) -> Result<Vec<PathBuf>> {
        if self.seeds.is_empty() {
            self.train(terminal)?;
            return Ok(vec![self.out]);
        }
        let (mut metrics, mut folders) = (Vec::new(), Vec::new());
        for &seed in &self.seeds {
            let out = self.out.join(format!("seed-{seed}"));
            folders.push(out.clone());
            let run = Self { seed, out, seeds: Vec::new(), ..self.clone() };
            metrics.push(run.train(terminal)?);
        }
        if let Some(mean) = over_runs(&metrics) {
            terminal.json(&serde_json::json!({ "seeds": self.seeds, "validation": mean }))?;
            let (metric, runs) = (self.task.task().metric(), metrics.len());
            terminal.say(format!("validation {metric} over {runs} seeds: {mean}"))?;
        }
        Ok(folders)
    }

    /// One run; its validation metric.
    fn train(&self, terminal: &Terminal) -> Result<f64> {
        let outcome = self.fit(terminal)?;
        terminal.json(&outcome)?;
        terminal.say(format!(
            "{}: best epoch {} of {}, validation {} {:.3}, {:.0} s",
            self.out.display(),
            outcome.best_epoch,
            outcome.epochs,
            self.task.task().metric(),
            outcome.best.metric,
            outcome.seconds
        ))?;
        Ok(outcome.best.metric)
    }

    fn fit(&self, terminal: &Terminal) -> Result<Outcome> {
        ensure!(
            self.resume || !checkpoint::exists(&self.out),
            "{} holds a checkpoint already: continue it with --resume or choose another folder",
            self.out.display()
        );
        let device = self.device.open(0)?;
        let (task, protocol) = (self.task.task(), self.protocol);
        let records = self.selection.of(index::read(&self.data)?)?;
        let labels = task.labels(&records, &self.labels, protocol)?;
        let recipe = self.recipe(task.head(protocol), &labels)?;
        let Start { config, encoder, new_pool } =
            self.beginning.network(Head { task: task.head(protocol), labels: labels.clone() })?;
        ensure!(
            !new_pool || recipe.mode != Mode::Linear,
            "--mode linear learns the head alone, expected frozen or full with --pool attention: {} has no such pool to \
             keep",
            self.beginning.encoder
        );
        let part = |split| -> Vec<Record> {
            let of_split = records.iter().filter(|record| record.split == Some(split));
            let known = of_split.filter(|record| task.is_known(record, &labels, protocol));
            known.cloned().collect()
        };
        let train = take_fraction(part(Split::Train), recipe.fraction, recipe.seed);
        let val = part(Split::Val);
        for (records, split) in [(&train, Split::Train), (&val, Split::Val)] {
            ensure!(
                !records.is_empty(),
                "{}: the {split} split has no image with {}",
                self.data.display(),
                labels.join(", ")
            );
        }
        log::info!(
            "{}: {} images to learn from, {} to judge by, labels {}",
            self.data.display(),
            train.len(),
            val.len(),
            labels.join(", ")
        );
        let bar = terminal.progress(2 * (train.len() + val.len()) as u64).with_message("reading");
        let pictures = Pictures::open(&train, recipe.kept(config.preprocess)?, &bar)?;
        let objective = task.objective(&Material {
            labels: &labels,
            train: &train,
            val: &val,
            recipe: &recipe,
            preprocess: config.preprocess,
            target_sensitivity: self.target_sensitivity,
            bar: &bar,
        })?;
        bar.finish_and_clear();
        let digest = data_digest(&train, &val);
        let job = Job {
            recipe: &recipe,
            config: &config,
            encoder: encoder.as_ref(),
            new_pool,
            pictures: &pictures,
            out: &self.out,
            resume: self.resume,
            device,
            precision: (self.precision == Precision::Bf16).then_some(Kind::BFloat16),
            data_digest: &digest,
            training: self.training(&recipe, &train, &val)?,
        };
        fit(&job, objective.as_ref(), terminal)
    }

    /// The protocol's recipe with the user's changes.
    fn recipe(&self, task: Task, labels: &[String]) -> Result<Recipe> {
        let mut recipe = self.protocol.recipe(task);
        let sided = |label: &&String| {
            let label = label.to_ascii_lowercase();
            ["left", "right"].iter().any(|side| label.contains(side))
        };
        if let Some(label) = labels.iter().find(sided) {
            log::info!("pictures are not mirrored: `{label}` names a side");
            recipe.augmentation.flip = 0.0;
        }
        recipe.mode = self.mode.unwrap_or(recipe.mode);
        recipe.epochs = self.epochs.unwrap_or(recipe.epochs);
        recipe.batch = self.batch.unwrap_or(recipe.batch);
        recipe.rate = self.rate.unwrap_or(recipe.rate);
        recipe.weight_decay = self.weight_decay.unwrap_or(recipe.weight_decay);
        recipe.patience = self.patience.unwrap_or(recipe.patience);
        recipe.mix = self.mix.unwrap_or(recipe.mix);
        recipe.average = self.average.unwrap_or(recipe.average);
        recipe.augmentation.light = self.light.unwrap_or(recipe.augmentation.light);
        recipe.augmentation.erase = self.erase.unwrap_or(recipe.augmentation.erase);
        (recipe.fraction, recipe.seed) = (self.fraction, self.seed);
        let share = |value: f64| (0.0..=1.0).contains(&value);
        ensure!(
            recipe.mode != Mode::Linear || task == Task::Classification,
            "--mode linear is for classification: {task} reads whole feature maps, expected frozen or full"
        );
        ensure!(
            recipe.epochs > 0 && recipe.batch > 1,
            "expected at least one epoch of batches of two"
        );
        ensure!(
            recipe.fraction > 0.0 && share(recipe.fraction),
            "--fraction is a share above 0 up to 1"
        );
        ensure!(recipe.rate > 0.0, "--rate is a positive number");
        let shares = [recipe.mix, recipe.average, recipe.augmentation.erase];
        ensure!(
            shares.into_iter().all(share),
            "--mix, --average and --erase are shares from 0 to 1"
        );
        ensure!(
            self.target_sensitivity.is_none_or(share),
            "--target-sensitivity is a share from 0 to 1"
        );
        Ok(recipe)
    }

    /// `[training]` of `config.toml`: enough to do the run again.
    fn training(&self, recipe: &Recipe, train: &[Record], val: &[Record]) -> Result<toml::Table> {
        let mut table = toml::Table::try_from(recipe).context("the recipe is no TOML table")?;
        table.insert("encoder".into(), self.beginning.encoder.clone().into());
        table.insert(
            "precision".into(),
            if self.precision == Precision::Bf16 { "bf16" } else { "f32" }.into(),
        );
        table.insert("train_images".into(), (train.len() as i64).into());
        table.insert("val_images".into(), (val.len() as i64).into());
        table.extend(self.selection.table());
        Ok(table)
    }
}

#[cfg(test)]
mod tests;
