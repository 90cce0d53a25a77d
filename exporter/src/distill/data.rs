//! What a student learns from and is judged by.

use super::{Recipe, student};
use anyhow::{Result, ensure};
use graph::CheckpointConfig;
use indicatif::ProgressBar;
use records::{Record, Split};
use std::path::PathBuf;
use trainer::{data::pictures::Pictures, learn::Uncertain, tasks::classification::Targets};

/// Images the ranges of `--qat` come from.
const QAT_CALIBRATION: usize = 64;

/// Images to learn from and to judge by.
pub(crate) struct Data {
    pub(crate) train: Pictures,
    pub(crate) targets: Targets,
    paths: Vec<PathBuf>,
    pub(crate) val: Pictures,
    pub(crate) val_records: Vec<Record>,
}

impl Data {
    pub(crate) fn read(
        recipe: &Recipe,
        config: &CheckpointConfig,
        progress: &impl Fn(u64) -> ProgressBar,
    ) -> Result<Self> {
        let records = records::read(&recipe.data)?;
        let part = |split| -> Vec<Record> {
            records.iter().filter(|record| record.split == Some(split)).cloned().collect()
        };
        let train = crate::read::images::spread(part(Split::Train), recipe.limit);
        let val = part(Split::Val);
        ensure!(
            train.len() >= crate::read::images::LEAST,
            "{}: found {} images in the train split, expected at least {}",
            recipe.data.display(),
            train.len(),
            crate::read::images::LEAST
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
    pub(crate) fn batches(&self, batch: usize) -> usize {
        self.train.len().div_ceil(batch)
    }

    pub(crate) fn calibration(&self) -> Vec<PathBuf> {
        crate::read::images::spread(self.paths.clone(), QAT_CALIBRATION)
    }
}
