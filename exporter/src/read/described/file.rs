//! `model.toml`, key by key.

use super::boxes::BoxesTable;
use anyhow::{Context, Result};
use bundle::Activation;
use graph::{Fit, PictureFilter};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ModelFile {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) licence: Option<String>,
    pub(super) intended_use: Option<String>,
    pub(super) architecture: Option<String>,
    pub(super) codes: Option<PathBuf>,
    #[serde(default)]
    pub(super) input: InputTable,
    pub(super) outputs: Option<Vec<OutputTable>>,
    pub(super) operating_points: Option<PointsTable>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct InputTable {
    /// Rows and columns.
    pub(super) size: Option<[usize; 2]>,
    pub(super) channels: Option<usize>,
    /// What black and white are before mean and deviation.
    pub(super) range: Option<[f64; 2]>,
    pub(super) mean: Option<Numbers>,
    pub(super) deviation: Option<Numbers>,
    pub(super) fit: Option<Fit>,
    pub(super) filter: Option<PictureFilter>,
    /// Whether bones are black.
    pub(super) inverted: Option<bool>,
}

/// One for all channels, or one for each.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a list with one for each channel")]
pub(super) enum Numbers {
    One(f64),
    Each(Vec<f64>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum OutputTable {
    Findings { name: Option<String>, labels: Vec<String>, activation: Activation },
    Masks { name: Option<String>, labels: Vec<String>, activation: Activation },
    Boxes(Box<BoxesTable>),
    Embedding { name: Option<String> },
    Unused { name: String },
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PointsTable {
    #[serde(default)]
    pub(super) thresholds: BTreeMap<String, f32>,
    pub(super) index: Option<PathBuf>,
}

impl ModelFile {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}
