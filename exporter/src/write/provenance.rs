//! What a manifest says of its network's origin, as data: the TOML text `provenance.training`.
//!
//! The tables of the checkpoint's `config.toml` that are not the network's description, and under `[quantize]` what
//! `quantize` did to the thresholds, and what of the network runs on integers. Bundles of before have no such table.

use super::operating_points::Refit;
use crate::read::checkpoint::Checkpoint;
use anyhow::{Context, Result};
use bundle::{Manifest, Provenance};
use records::Selection;
use serde::{Deserialize, Serialize};
use std::path::Path;
use toml::Table;

/// The table's name.
const QUANTIZE: &str = "quantize";
const TOOL: &str = concat!("exporter ", env!("CARGO_PKG_VERSION"));

/// What `quantize` did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantized {
    /// Thresholds and figures are of images from this source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// with these findings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    having: Vec<String>,
    /// Empty where calibration had no index.
    #[serde(default)]
    pub(crate) operating_points: Vec<Refit>,
    /// Bundles of before do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arithmetic: Option<Arithmetic>,
}

/// What of a network runs on integers, as the engine counted it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Arithmetic {
    /// Multiplications of one image.
    pub(crate) integer_multiplications: u64,
    pub(crate) float_multiplications: u64,
    /// ONNX nodes that run in float, asked for or not.
    pub(crate) float_nodes: Vec<String>,
}

impl Quantized {
    pub(crate) fn new(
        selection: &Selection,
        operating_points: Vec<Refit>,
        share: engine::IntegerShare,
    ) -> Self {
        let Selection { source, having } = selection.clone();
        let engine::IntegerShare { integer_macs, float_macs, float_nodes } = share;
        let arithmetic = Arithmetic {
            integer_multiplications: integer_macs,
            float_multiplications: float_macs,
            float_nodes,
        };
        Self { source, having, operating_points, arithmetic: Some(arithmetic) }
    }

    pub(crate) fn selection(&self) -> Selection {
        Selection { source: self.source.clone(), having: self.having.clone() }
    }

    /// `None` for bundles of before.
    pub(crate) fn of(manifest: &Manifest) -> Result<Option<Self>> {
        let table = table(manifest)?.get(QUANTIZE).cloned();
        let parsed = table.map(toml::Value::try_into).transpose();
        parsed.with_context(|| format!("the bundle's provenance: [{QUANTIZE}]"))
    }

    /// Writes itself into the manifest.
    pub(crate) fn add_to(&self, manifest: &mut Manifest) -> Result<()> {
        let mut table = table(manifest)?;
        table.insert(QUANTIZE.into(), toml::Value::try_from(self)?);
        manifest.provenance.training = toml::to_string(&table)?;
        Ok(())
    }
}

/// Of a network that comes from a checkpoint.
pub(crate) fn of(checkpoint: &Checkpoint) -> Result<Provenance> {
    let mut rest = checkpoint.document.clone();
    let own = ["model", "preprocess", "operating_points", "metrics", QUANTIZE];
    rest.retain(|table, _| !own.contains(&table));
    Ok(Provenance {
        tool: TOOL.into(),
        checkpoint_digest: checkpoint.digest.clone(),
        training: toml::to_string(&rest)?,
    })
}

/// Of a network of another tool: the file's name and digest.
pub(crate) fn of_foreign(file: &Path, digest: String, quantized: bool) -> Result<Provenance> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let about = Table::from_iter([
        ("file".into(), name.into()),
        ("came-quantized".into(), quantized.into()),
    ]);
    Ok(Provenance {
        tool: TOOL.into(),
        checkpoint_digest: digest,
        training: toml::to_string(&Table::from_iter([("foreign".into(), about.into())]))?,
    })
}

/// The file a network of another tool came in.
pub(crate) fn origin(manifest: &Manifest) -> Option<String> {
    let file = table(manifest).ok()?.get("foreign")?.get("file")?.as_str()?.to_owned();
    Some(file)
}

/// The whole text.
pub(crate) fn table(manifest: &Manifest) -> Result<Table> {
    manifest.provenance.training.parse().context("the bundle's provenance is no TOML")
}
