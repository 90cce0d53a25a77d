//! `exporter import`: foreign weights to a checkpoint.

use crate::{
    read::{
        import::{self, Imported, Options},
        weights,
    },
    write,
};
use anyhow::{Context, Result, ensure};
use checkpoint::State;
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
use terminal::Terminal;

/// Turns weights of other tools into a checkpoint: a released PRIOR, or a torchvision ResNet
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// State dict from torch.save (of any PyTorch), or a .safetensors file
    #[arg(long, value_name = "FILE")]
    pytorch: PathBuf,
    /// Checkpoint folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Side of the input images in pixels; default: what an attention pool has positions for, or 224
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Take only names that begin so, `student` for `student.conv1.weight`
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Words of a whole PRIOR: folder with vocab.txt or tokenizer.json, and config.json of its BERT where heads are
    /// not of 64 channels
    #[arg(long, value_name = "DIR", conflicts_with = "image_encoder_only")]
    text_encoder: Option<PathBuf>,
    /// Of a whole PRIOR only the image encoder
    #[arg(long)]
    image_encoder_only: bool,
    /// Heads of a PRIOR's sentence decoder; default: one for 64 channels, as published
    #[arg(long, value_name = "N", conflicts_with = "image_encoder_only")]
    decoder_heads: Option<i64>,
}

impl Import {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        ensure!(
            !self.out.exists(),
            "{}: found something, expected to make this folder",
            self.out.display()
        );
        let file = self.pytorch.display().to_string();
        let digest = digest(&self.pytorch).with_context(|| format!("cannot read {file}"))?;
        let ours = self.pytorch.ends_with(checkpoint::MODEL)
            && self.pytorch.parent().is_some_and(checkpoint::exists);
        if ours {
            log::warn!(
                "{file} is a checkpoint of ours, which every verb opens as it is: only its image encoder is \
                 imported"
            );
        }
        let options = Options {
            prefix: self.prefix,
            size: self.size,
            image_encoder_only: self.image_encoder_only || (ours && self.text_encoder.is_none()),
            text_encoder: self.text_encoder,
            decoder_heads: self.decoder_heads,
        };
        let imported = import::convert(import::read(&self.pytorch)?, &options).context(file)?;
        let provenance = toml::Table::from_iter([
            ("imported_from".into(), file_name(&self.pytorch).into()),
            ("sha256".into(), digest.into()),
        ]);
        write(&self.out, &imported, provenance).inspect_err(|_| {
            // The error that matters is the one already at hand.
            let _ = fs::remove_dir_all(&self.out);
        })?;
        report(&self.out, &imported, terminal)
    }
}

/// The folder counts once its weights do, so they go last.
fn write(out: &Path, imported: &Imported, provenance: toml::Table) -> Result<()> {
    for (name, bytes) in imported.words.iter().flat_map(|words| &words.files) {
        write::file(&out.join(name), bytes)?;
    }
    let mut tables = toml::Table::try_from(&imported.config)?;
    tables.extend(imported.tables.clone());
    tables.insert("provenance".into(), provenance.into());
    let weights = weights::tensors(&imported.weights);
    Ok(checkpoint::save(out, weights, &tables, &State::imported(), None)?)
}

/// One line of what is there, one of what is not; every name with `-v`.
fn report(out: &Path, imported: &Imported, terminal: Terminal) -> Result<()> {
    for (theirs, ours) in &imported.names {
        log::info!("{theirs} -> {ours}");
    }
    for name in &imported.dropped {
        log::info!("{name} (dropped)");
    }
    let model = &imported.config.model;
    let map: Vec<_> = imported.names.iter().map(|(theirs, ours)| json!([theirs, ours])).collect();
    let document = json!({
        "checkpoint": out, "backbone": model.backbone, "width": model.width, "pool": model.pool,
        "prior": imported.words.is_some(), "names": map, "dropped": imported.dropped,
    });
    let there = format!("{}: {}; {} tensors", out.display(), imported.kind, imported.names.len());
    terminal.print(&document, &format!("{there}\n{}", dropped(&imported.dropped)))
}

/// What found no place, by what its names begin with.
fn dropped(names: &[String]) -> String {
    if names.is_empty() {
        return "dropped nothing".into();
    }
    let by = |depth: usize| {
        let mut groups: BTreeMap<String, usize> = BTreeMap::new();
        for name in names {
            let parts: Vec<&str> = name.split('.').collect();
            let shown = parts.len().saturating_sub(1).clamp(1, depth);
            *groups.entry(parts[..shown].join(".")).or_default() += 1;
        }
        groups
    };
    let groups = [3, 2].into_iter().map(by).find(|groups| groups.len() <= 8);
    let groups = groups.unwrap_or_else(|| by(1));
    let groups: Vec<String> =
        groups.iter().map(|(group, count)| format!("{group} {count}")).collect();
    let shown = groups.len().min(8);
    let more = if groups.len() > shown { ", …" } else { "" };
    format!(
        "dropped {} tensors without a place in a checkpoint ({}{more}); -v lists them",
        names.len(),
        groups[..shown].join(", "),
    )
}

/// SHA-256 of a file that may be larger than memory, hexadecimal.
fn digest(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hex::encode(hash.finalize()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_one_line() {
        assert_eq!(dropped(&[]), "dropped nothing");
        let names = ["fc.bias", "fc.weight", "text_encoder.encoder.pooler.dense.bias", "scale"];
        assert_eq!(
            dropped(&names.map(str::to_owned)),
            "dropped 4 tensors without a place in a checkpoint (fc 2, scale 1, text_encoder.encoder.pooler 1); \
             -v lists them"
        );
        let many: Vec<String> = (0..500).map(|n| format!("p{n}.weight")).collect();
        assert!(dropped(&many).len() < 200 && !dropped(&many).contains('\n'));
    }
}
