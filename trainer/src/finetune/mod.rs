//! `trainer finetune`: from an encoder (or from nothing) to a network for one task.
//!
//! ```text
//! recipe    how: protocol, mode, epochs, augmentation; saved as [training]
//! targets   truth of the index, unknown labels masked out
//! pictures  radiographs as network input, by the code that serves
//! augment   pictures, masks and boxes moved together
//! fit       the loop: best checkpoint, resume, early stop
//! ```
//!
//! Without weights to begin with, on the NIH part of cxr-mini, on one core (6 s an epoch when it is free):
//!
//! ```text
//! trainer index cxr-mini --root DATA --out index.jsonl
//! trainer finetune --task classification --encoder none --data index.jsonl --source nih-cxr14 \
//!     --labels Pneumonia --image-size 96 --width 32 --precision bf16 --out DIR
//! trainer evaluate --task classification --checkpoint DIR --data index.jsonl --source nih-cxr14 --report DIR/report
//! ```

pub mod augment;
mod classification;
mod fit;
pub mod pictures;
mod recipe;
mod schedule;
mod targets;

pub use classification::{columns, logits};
pub use fit::Outputs;
pub use recipe::{Mode, Protocol, Recipe, Select};
pub use targets::{Targets, Uncertain, choose_labels};

use crate::{
    checkpoint,
    device::DeviceArg,
    index::{self, Record, Split},
    metrics::threshold::Criterion,
    terminal::Terminal,
};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use classification::Classification;
use fit::{Job, fit};
use graph::{Backbone, CheckpointConfig, Head, ModelConfig, Pool, Preprocess, Task};
use pictures::Pictures;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};
use tch::{Kind, Tensor};

/// Trains a head, or everything, for one task
#[derive(Clone, Debug, Args)]
pub struct FinetuneArgs {
    #[arg(long)]
    task: TaskArg,
    /// Checkpoint to begin with, or `none` for random weights
    #[arg(long, value_name = "DIR|none")]
    encoder: String,
    /// Index written by `trainer index`
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Folder of the new checkpoint
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Findings to learn; default: every one that train and val have both with and without
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    labels: Vec<String>,
    /// Only images of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Settings of the literature, or `edge` for hundreds of images; single ones can be overridden below
    #[arg(long, default_value = "edge")]
    protocol: Protocol,
    #[arg(long)]
    mode: Option<Mode>,
    /// Architecture when there is no encoder
    #[arg(long, default_value = "resnet18")]
    arch: Arch,
    /// Channels after the stem when there is no encoder
    #[arg(long, default_value_t = 64)]
    width: usize,
    /// Side of the network's input; default: the encoder's, or 224
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
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
    /// Choose thresholds for this sensitivity on the val split instead of Youden's J
    #[arg(long, value_name = "SHARE")]
    target_sensitivity: Option<f64>,
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    /// Type of the matrix products in training
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Go on where an interrupted run stopped
    #[arg(long)]
    resume: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TaskArg {
    Classification,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Arch {
    Resnet18,
    Resnet34,
    Resnet50,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Precision {
    F32,
    Bf16,
}

impl FinetuneArgs {
    pub fn run(self, terminal: &Terminal) -> Result<()> {
        let device = self.device.open(0)?;
        let recipe = self.recipe()?;
        let records = self.records()?;
        let task = match self.task {
            TaskArg::Classification => Task::Classification,
        };
        let uncertain = recipe.protocol.uncertain();
        let labels = choose_labels(&records, &self.labels, uncertain)?;
        let (config, encoder) = self.network(Head { task, labels: labels.clone() })?;
        let known = |record: &&Record| {
            Targets::of(std::slice::from_ref(record), &labels, uncertain).truth[0]
                .iter()
                .any(Option::is_some)
        };
        let part = |split| -> Vec<Record> {
            let of_split = records.iter().filter(|record| record.split == Some(split));
            of_split.filter(known).cloned().collect()
        };
        let train = take_fraction(part(Split::Train), recipe.fraction, recipe.seed);
        let val = part(Split::Val);
        ensure!(!train.is_empty(), "{}: the train split is empty", self.data.display());
        ensure!(!val.is_empty(), "{}: the val split is empty", self.data.display());
        log::info!(
            "{}: {} images to learn from, {} to judge by, labels {}",
            self.data.display(),
            train.len(),
            val.len(),
            labels.join(", ")
        );

        let bar = terminal.progress((train.len() + val.len()) as u64).with_message("reading");
        let pictures = Pictures::open(&train, config.preprocess, &bar)?;
        let objective = Classification {
            train: Targets::of(&train, &labels, uncertain),
            val: Targets::of(&val, &labels, uncertain),
            val_pictures: Pictures::open(&val, config.preprocess, &bar)?,
            val_groups: val.iter().map(|record| record.group().to_owned()).collect(),
            smoothing: recipe.smoothing,
            criterion: match self.target_sensitivity {
                None => Criterion::Youden,
                Some(share) => Criterion::Sensitivity(share),
            },
            batch: recipe.batch,
        };
        bar.finish_and_clear();
        let digest = data_digest(&train, &val);
        let outcome = fit(
            &Job {
                recipe: &recipe,
                config: &config,
                encoder: encoder.as_ref(),
                pictures: &pictures,
                out: &self.out,
                resume: self.resume,
                device,
                precision: (self.precision == Precision::Bf16).then_some(Kind::BFloat16),
                data_digest: &digest,
                training: self.training(&recipe, &train, &val)?,
            },
            &objective,
            terminal,
        )?;
        terminal.json(&outcome)?;
        terminal.say(format!(
            "{}: best epoch {} of {}, validation AUROC {:.3}, {:.0} s",
            self.out.display(),
            outcome.best_epoch,
            outcome.epochs,
            outcome.best.metric,
            outcome.seconds
        ))?;
        Ok(())
    }

    /// The protocol's recipe with the user's changes.
    fn recipe(&self) -> Result<Recipe> {
        let mut recipe = self.protocol.recipe();
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

    fn records(&self) -> Result<Vec<Record>> {
        let mut records = index::read(&self.data)?;
        if let Some(source) = &self.source {
            let all: BTreeSet<String> =
                records.iter().map(|record| record.source.clone()).collect();
            records.retain(|record| record.source == *source);
            if records.is_empty() {
                let names: Vec<String> = all.into_iter().collect();
                bail!("no image is from `{source}`; the index has {}", names.join(", "));
            }
        }
        Ok(records)
    }

    /// Architecture and, with an encoder, the weights to begin with.
    fn network(&self, head: Head) -> Result<(CheckpointConfig, Option<HashMap<String, Tensor>>)> {
        if self.encoder == "none" {
            let size = self.image_size.unwrap_or(Preprocess::PRIOR.height);
            let backbone = match self.arch {
                Arch::Resnet18 => Backbone::Resnet18,
                Arch::Resnet34 => Backbone::Resnet34,
                Arch::Resnet50 => Backbone::Resnet50,
            };
            let model = ModelConfig {
                width: self.width,
                heads: vec![head],
                ..ModelConfig::encoder(backbone, Pool::Mean)
            };
            let preprocess = Preprocess { height: size, width: size, ..Preprocess::PRIOR };
            return Ok((checked(CheckpointConfig { model, preprocess })?, None));
        }
        let folder = Path::new(&self.encoder);
        let saved = checkpoint::load(folder)?;
        let mut config = saved.config.clone();
        config.model.heads = vec![head];
        if let Some(size) = self.image_size {
            let fits = config.model.pool == Pool::Mean
                || (size, size) == (config.preprocess.height, config.preprocess.width);
            ensure!(
                fits,
                "{}: an attention pool has positions for {}x{} pixels, not for {size}x{size}",
                folder.display(),
                config.preprocess.height,
                config.preprocess.width
            );
            (config.preprocess.height, config.preprocess.width) = (size, size);
        }
        Ok((checked(config)?, Some(checkpoint::encoder_weights(&saved))))
    }

    /// `[training]` of `config.toml`: enough to do the run again.
    fn training(&self, recipe: &Recipe, train: &[Record], val: &[Record]) -> Result<toml::Table> {
        let mut table = toml::Table::try_from(recipe).context("the recipe is no TOML table")?;
        table.insert("encoder".into(), self.encoder.clone().into());
        table.insert(
            "precision".into(),
            if self.precision == Precision::Bf16 { "bf16" } else { "f32" }.into(),
        );
        table.insert("train_images".into(), (train.len() as i64).into());
        table.insert("val_images".into(), (val.len() as i64).into());
        if let Some(source) = &self.source {
            table.insert("source".into(), source.clone().into());
        }
        Ok(table)
    }
}

fn checked(config: CheckpointConfig) -> Result<CheckpointConfig> {
    config.graph()?.shapes()?;
    Ok(config)
}

/// A seeded share of the patients, at least one, with all their images.
fn take_fraction(mut records: Vec<Record>, fraction: f64, seed: u64) -> Vec<Record> {
    let groups: BTreeSet<String> = records.iter().map(|record| record.group().to_owned()).collect();
    let mut groups: Vec<String> = groups.into_iter().collect();
    groups.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    groups.truncate(((groups.len() as f64 * fraction).round() as usize).max(1));
    let kept: BTreeSet<String> = groups.into_iter().collect();
    records.retain(|record| kept.contains(record.group()));
    records
}

/// SHA-256 over what was trained and judged on: ids, labels and splits.
fn data_digest(train: &[Record], val: &[Record]) -> String {
    let mut hash = Sha256::new();
    for record in train.iter().chain(val) {
        // Where the files lie is no part of what they say.
        let told = (&record.id, &record.split, &record.labels, &record.rsna, &record.covidx_class);
        hash.update(serde_json::to_vec(&told).expect("records have string keys only"));
    }
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests;
