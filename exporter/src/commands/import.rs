//! `exporter import`: foreign weights to a checkpoint.

use crate::{files, import, terminal::Terminal, weights};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{fs, path::PathBuf};

/// Turns released PRIOR weights or torchvision ResNets into a checkpoint
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// State dict from torch.save, or a .safetensors file
    #[arg(long, value_name = "FILE")]
    pytorch: PathBuf,
    /// Checkpoint folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Side of the input images in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 224)]
    size: usize,
}

impl Import {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        ensure!(
            !self.out.exists(),
            "{}: found something, expected to make this folder",
            self.out.display()
        );
        let bytes = fs::read(&self.pytorch)
            .with_context(|| format!("cannot read {}", self.pytorch.display()))?;
        let foreign = import::read(&self.pytorch)?;
        let imported = import::convert(foreign, self.size, self.size)
            .with_context(|| self.pytorch.display().to_string())?;

        let mut document: toml::Table = toml::Table::try_from(&imported.config)?;
        let provenance = toml::Table::from_iter([
            ("imported_from".into(), file_name(&self.pytorch).into()),
            ("sha256".into(), hex::encode(Sha256::digest(&bytes)).into()),
        ]);
        document.insert("provenance".into(), provenance.into());
        let state = json!({ "step": 0, "epoch": 0, "stage": "imported" });

        // The folder appears whole or not at all.
        let aside = self.out.with_added_extension("part");
        let written =
            files::write(&aside.join("model.safetensors"), &weights::serialize(&imported.weights)?)
                .and_then(|()| {
                    files::write(&aside.join("config.toml"), toml::to_string(&document)?.as_bytes())
                })
                .and_then(|()| {
                    files::write(&aside.join("state.json"), state.to_string().as_bytes())
                })
                .and_then(|()| {
                    fs::rename(&aside, &self.out)
                        .with_context(|| format!("cannot make {}", self.out.display()))
                });
        if written.is_err() {
            // The error that matters is the one already at hand.
            let _ = fs::remove_dir_all(&aside);
        }
        written?;

        let model = &imported.config.model;
        let map: Vec<_> =
            imported.names.iter().map(|(theirs, ours)| json!([theirs, ours])).collect();
        let document = json!({
            "checkpoint": self.out, "backbone": model.backbone, "width": model.width,
            "pool": model.pool, "names": map, "dropped": imported.dropped,
        });
        let mut lines: Vec<String> =
            imported.names.iter().map(|(theirs, ours)| format!("{theirs} -> {ours}")).collect();
        lines.extend(imported.dropped.iter().map(|name| format!("{name} (dropped)")));
        lines.push(format!(
            "{}: {}, width {}, {} tensors, {} dropped",
            self.out.display(),
            model.backbone,
            model.width,
            imported.names.len(),
            imported.dropped.len()
        ));
        terminal.print(&document, &lines.join("\n"))
    }
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
