//! A checkpoint folder: `config.toml`, `model.safetensors`, `state.json` (DESIGN §6).

use crate::weights::{self, Weights};
use anyhow::{Context, Result, bail, ensure};
use graph::{CheckpointConfig, Graph};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

/// What trainer left: architecture, weights, and what it says of them.
pub(crate) struct Checkpoint {
    pub(crate) config: CheckpointConfig,
    /// The whole `config.toml`, tables of other owners included.
    pub(crate) document: toml::Table,
    /// `state.json`, if there is one.
    pub(crate) state: serde_json::Value,
    pub(crate) graph: Graph,
    pub(crate) weights: Weights,
    /// SHA-256 of `model.safetensors`, hexadecimal.
    pub(crate) digest: String,
}

/// A fitted threshold in `config.toml`, `operating_points = [{ name, threshold }]`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FittedPoint {
    pub(crate) name: String,
    pub(crate) threshold: f32,
    #[serde(default = "fitted_by_trainer")]
    pub(crate) chosen: String,
}

impl Checkpoint {
    /// Reads a folder; a wrong architecture is reported with file, parameter and both shapes.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let found = if folder.exists() { "a file" } else { "nothing" };
            bail!("{}: found {found}, expected a checkpoint folder", folder.display());
        }
        let config_path = folder.join("config.toml");
        let text = fs::read_to_string(&config_path)
            .with_context(|| format!("cannot read {}", config_path.display()))?;
        let parsed = || -> Result<(CheckpointConfig, toml::Table, Graph)> {
            let document: toml::Table = toml::from_str(&text)?;
            let config: CheckpointConfig = toml::from_str(&text)?;
            let graph = config.graph().map_err(anyhow::Error::from)?;
            graph.shapes().map_err(anyhow::Error::from)?;
            Ok((config, document, graph))
        };
        let (config, document, graph) =
            parsed().with_context(|| format!("bad {}", config_path.display()))?;

        let path = folder.join("model.safetensors");
        let (weights, bytes) = weights::read(&path)?;
        weights::check(&weights, &graph).with_context(|| path.display().to_string())?;

        let state_path = folder.join("state.json");
        let state = match fs::read(&state_path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("bad {}", state_path.display()))?,
            Err(_) => serde_json::Value::Null,
        };
        let digest = hex::encode(Sha256::digest(&bytes));
        Ok(Self { config, document, state, graph, weights, digest })
    }

    /// Thresholds fitted in training: `operating_points` of `config.toml`.
    pub(crate) fn operating_points(&self) -> Result<Vec<FittedPoint>> {
        let Some(points) = self.document.get("operating_points") else {
            return Ok(Vec::new());
        };
        let points: Vec<FittedPoint> = points
            .clone()
            .try_into()
            .context("config.toml: operating_points is no list of {name, threshold}")?;
        for FittedPoint { name, threshold, .. } in &points {
            ensure!(
                (0.0..=1.0).contains(threshold),
                "config.toml: the threshold of `{name}` is {threshold}, expected 0 to 1"
            );
        }
        Ok(points)
    }
}

fn fitted_by_trainer() -> String {
    "fitted by trainer on its validation split".into()
}
