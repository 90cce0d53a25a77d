//! The words of a text encoder: the tokenizer's files of a Hugging Face folder, and the shape its
//! `config.json` tells.

use anyhow::{Context, Result, bail, ensure};
use checkpoint::prior::BertConfig;
use std::{fs, path::Path};

/// Files a checkpoint keeps, as trainer reads them.
#[derive(Debug)]
pub(crate) struct Words {
    /// Name and contents.
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    /// Pieces: ids go from 0 to one less.
    pub(crate) pieces: usize,
    /// `config.json`, if there is one.
    pub(crate) shape: Option<BertConfig>,
}

const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
/// Says whether a vocabulary is lower-cased.
const SETTINGS: &str = "tokenizer_config.json";
const SHAPE: &str = "config.json";

impl Words {
    /// `tokenizer.json`, or else `vocab.txt` with `tokenizer_config.json` where there is one.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        ensure!(folder.is_dir(), "no folder {}", folder.display());
        let shape = optional(&folder.join(SHAPE))?.map(|bytes| shape(&bytes));
        let shape = shape.transpose().with_context(|| folder.join(SHAPE).display().to_string())?;
        if let Some(bytes) = optional(&folder.join(TOKENIZER))? {
            let pieces = pieces_of_json(&bytes)
                .with_context(|| format!("cannot use {}", folder.join(TOKENIZER).display()))?;
            return Ok(Self { files: vec![(TOKENIZER, bytes)], pieces, shape });
        }
        let Some(bytes) = optional(&folder.join(VOCABULARY))? else {
            bail!("no tokenizer in {}: expected {TOKENIZER} or {VOCABULARY}", folder.display());
        };
        let text = str::from_utf8(&bytes)
            .with_context(|| format!("{} is not UTF-8", folder.join(VOCABULARY).display()))?;
        let pieces = text.lines().count();
        let settings = optional(&folder.join(SETTINGS))?.map(|bytes| (SETTINGS, bytes));
        let files = [(VOCABULARY, bytes)].into_iter().chain(settings).collect();
        Ok(Self { files, pieces, shape })
    }
}

fn optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn shape(bytes: &[u8]) -> Result<BertConfig> {
    let value: serde_json::Value = serde_json::from_slice(bytes).context("not JSON")?;
    if let Some(kind) = value.get("model_type").and_then(serde_json::Value::as_str) {
        ensure!(kind == "bert", "it describes a `{kind}`, expected a `bert`");
    }
    serde_json::from_value(value).context("it describes no BERT")
}

/// One more than the highest id.
fn pieces_of_json(bytes: &[u8]) -> Result<usize> {
    let value: serde_json::Value = serde_json::from_slice(bytes).context("not JSON")?;
    let vocabulary = value["model"]["vocab"].as_object().context("it has no model.vocab")?;
    let added = value["added_tokens"].as_array().into_iter().flatten().map(|token| &token["id"]);
    let last = vocabulary.values().chain(added).filter_map(serde_json::Value::as_u64).max();
    Ok(1 + last.context("model.vocab is empty")? as usize)
}
