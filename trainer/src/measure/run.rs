//! One checkpoint on one part of an index: its images, what is said and written.

use super::{Evaluated, page::Subject, predictions::ImageAnswer};
use crate::{
    data::pictures::Pictures,
    device::DeviceArg,
    index::{self, Record, Selection, Split, write_whole},
    metrics::{Estimate, bootstrap::Resampling},
    terminal::Terminal,
};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Resamples of the patients, and images at a time, where nobody says otherwise.
pub const REPLICATES: usize = 2000;
pub const BATCH: usize = 32;

/// On what, and what is written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Index file.
    pub data: PathBuf,
    pub split: Split,
    pub selection: Selection,
    /// Folder of the page.
    pub report: Option<PathBuf>,
    /// File of [`super::predictions::Prediction`]s.
    pub predictions: Option<PathBuf>,
    pub resampling: Resampling,
    pub batch: usize,
    pub device: DeviceArg,
}

/// One checkpoint.
pub(crate) struct Run<'a> {
    pub(crate) checkpoint: &'a Path,
    pub(crate) report: Option<PathBuf>,
    pub(crate) asked: &'a Settings,
}

/// What is left when everything is printed.
pub(crate) struct Measured {
    /// Those worth a mean over runs.
    pub(crate) figures: Vec<(&'static str, f64)>,
    /// Empty unless predictions were asked for.
    pub(crate) answers: Vec<ImageAnswer>,
}

impl Run<'_> {
    pub(crate) fn open(&self) -> Result<Evaluated> {
        Evaluated::open(self.checkpoint, self.asked.device.open(0)?)
    }

    pub(crate) fn records(&self) -> Result<Vec<Record>> {
        Ok(self.asked.selection.of(index::read(&self.asked.data)?)?)
    }

    /// The split's images of which something is known, and their pictures.
    pub(crate) fn pictures(
        &self,
        evaluated: &Evaluated,
        labels: &[String],
        known: impl Fn(&Record) -> bool,
        terminal: &Terminal,
    ) -> Result<(Vec<Record>, Pictures)> {
        let mut records = self.records()?;
        records.retain(|record| record.split == Some(self.asked.split) && known(record));
        ensure!(
            !records.is_empty(),
            "{}: no image of the {} split has any of the labels {}",
            self.asked.data.display(),
            self.asked.split,
            labels.join(", ")
        );
        let bar = terminal.progress(records.len() as u64).with_message("reading");
        let pictures = Pictures::open(&records, evaluated.config.preprocess, &bar)?;
        bar.finish_and_clear();
        Ok((records, pictures))
    }

    pub(crate) fn say(
        &self,
        result: &(impl Serialize + fmt::Display),
        terminal: &Terminal,
    ) -> Result<()> {
        terminal.json(result)?;
        Ok(terminal.say(result.to_string())?)
    }

    /// What was said of each image, if anybody asked.
    pub(crate) fn answers(&self, of: impl FnOnce() -> Vec<ImageAnswer>) -> Vec<ImageAnswer> {
        self.asked.predictions.as_ref().map_or_else(Vec::new, |_| of())
    }

    pub(crate) fn report_folder(&self) -> Result<Option<&Path>> {
        if let Some(folder) = &self.report {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make folder {}", folder.display()))?;
        }
        Ok(self.report.as_deref())
    }

    pub(crate) fn subject(
        &self,
        task: &'static str,
        images: usize,
        patients: usize,
    ) -> Subject<'_> {
        let (checkpoint, data) = (self.checkpoint, &self.asked.data);
        Subject { task, checkpoint, data, split: self.asked.split, images, patients }
    }
}

/// Those that exist.
pub(crate) fn figures<const N: usize>(
    named: [(&'static str, Option<Estimate>); N],
) -> Vec<(&'static str, f64)> {
    named.into_iter().filter_map(|(name, estimate)| Some((name, estimate?.value))).collect()
}

/// JSON lines, whole or not at all.
pub(crate) fn write_lines(path: &Path, lines: &[impl Serialize]) -> Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).context("predictions have string keys only")?;
        text.push(b'\n');
    }
    Ok(write_whole(path, &text)?)
}
