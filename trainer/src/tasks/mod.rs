//! One task a folder: what its truth is, how it is learnt, measured and shown.
//!
//! ```text
//! truth    what people said, in the form the loss wants
//! loss     what is learnt from a batch, how an epoch is judged, thresholds in the end
//! figures  answers + truth → figures with intervals
//! page     the same as HTML
//! ```
//!
//! `Task` is what the rest asks; each folder's `mod.rs` answers. Masks and boxes are decoded by `engine`, so what is
//! measured is what the box shows.

pub mod classification;
pub mod detection;
pub mod segmentation;

use crate::{
    index::Record,
    learn::{Protocol, Recipe, fit::Objective},
    measure::{Measured, Run},
    terminal::Terminal,
};
use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use graph::Preprocess;
use indicatif::ProgressBar;
use std::collections::{BTreeMap, BTreeSet};

/// A task, from what people said of images to figures.
pub(crate) trait Task {
    /// What a network gets for it.
    fn head(&self, protocol: Protocol) -> graph::Task;

    /// The figure of the validation split, for people.
    fn metric(&self) -> &'static str;

    /// What is learnt, of what was asked for; an error names what there is.
    fn labels(
        &self,
        records: &[Record],
        asked: &[String],
        protocol: Protocol,
    ) -> Result<Vec<String>>;

    /// Whether anybody said anything of the labels.
    fn is_known(&self, record: &Record, labels: &[String], protocol: Protocol) -> bool;

    fn objective(&self, material: &Material<'_>) -> Result<Box<dyn Objective>>;

    /// Measures, prints and writes what was asked for.
    fn measure(&self, run: &Run<'_>, terminal: &Terminal) -> Result<Measured>;
}

/// What a run learns from.
pub(crate) struct Material<'a> {
    pub(crate) labels: &'a [String],
    pub(crate) train: &'a [Record],
    pub(crate) val: &'a [Record],
    pub(crate) recipe: &'a Recipe,
    /// Of the network; training pictures are kept as [`Recipe::kept`] says.
    pub(crate) preprocess: Preprocess,
    /// Classification: of thresholds, instead of Youden's J.
    pub(crate) target_sensitivity: Option<f64>,
    pub(crate) bar: &'a ProgressBar,
}

/// A task by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TaskArg {
    /// Findings of the whole image: `--labels Pneumonia,rsna.target`
    Classification,
    /// Regions: `--labels lung`, a class of masks, or `boxes.X` for the inside of boxes
    Segmentation,
    /// Boxes: `--labels "Left Lung,Right Lung"`
    Detection,
}

impl TaskArg {
    pub(crate) fn task(self) -> &'static dyn Task {
        match self {
            Self::Classification => &classification::Classification,
            Self::Segmentation => &segmentation::Segmentation,
            Self::Detection => &detection::Detection,
        }
    }
}

/// Rows and columns.
pub fn size_of_image(record: &Record) -> Result<[usize; 2]> {
    ensure!(
        record.width > 0 && record.height > 0,
        "`{}` has no width and height in the index, expected the pixels of its image",
        record.id
    );
    Ok([record.height as usize, record.width as usize])
}

/// Checks the names asked for against what `names` finds in the records, with `what` they are in messages.
pub(crate) fn choose(
    records: &[Record],
    asked: &[String],
    what: &str,
    names: impl Fn(&Record) -> BTreeSet<String>,
) -> Result<Vec<String>> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    records.iter().flat_map(names).for_each(|name| *counts.entry(name).or_default() += 1);
    let has: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} ({count} images)")).collect();
    let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
    ensure!(!asked.is_empty(), "--labels: name the {what} to learn; the index has {has}");
    for label in asked {
        if !counts.contains_key(label) {
            bail!("no image has {what} called `{label}`; the index has {has}");
        }
    }
    Ok(asked.to_vec())
}
