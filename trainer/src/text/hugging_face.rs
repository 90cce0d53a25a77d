//! A local Hugging Face folder of a BERT: its shape, its words, its weights.
//!
//! ```text
//! config.json                              shape
//! tokenizer.json | vocab.txt               words; a list is lower-cased unless tokenizer_config.json says otherwise
//! model.safetensors | pytorch_model.bin    weights, with or without the prefix `bert.`
//! ```

use super::{Words, bert::BertConfig};
use crate::checkpoint;
use anyhow::{Context, Result, ensure};
use std::{collections::HashMap, fs, path::Path};
use tch::{Kind, Tensor};

/// What such a folder holds.
#[derive(Debug)]
pub struct Pretrained {
    pub words: Words,
    pub config: BertConfig,
    /// `embeddings.…`, `encoder.…`; the pooler and task heads are not used.
    pub weights: HashMap<String, Tensor>,
}

impl Pretrained {
    pub fn open(folder: &Path) -> Result<Self> {
        let name = folder.display();
        ensure!(folder.is_dir(), "no folder {name}");
        let (words, config) = (Words::open(folder)?, shape(folder)?);
        ensure!(
            words.count() <= config.vocab_size,
            "the tokenizer of {name} has {} pieces, its BERT embeds {}",
            words.count(),
            config.vocab_size
        );
        Ok(Self { words, config, weights: weights(folder)? })
    }
}

fn shape(folder: &Path) -> Result<BertConfig> {
    let path = folder.join("config.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    // RoBERTa and others have the same fields and count positions otherwise.
    if let Some(kind) = value.get("model_type").and_then(serde_json::Value::as_str) {
        ensure!(kind == "bert", "{} describes a `{kind}`, expected a `bert`", path.display());
    }
    if let Some(act) = value.get("hidden_act").and_then(serde_json::Value::as_str) {
        ensure!(act == "gelu", "{}: hidden_act is `{act}`, expected `gelu`", path.display());
    }
    serde_json::from_value(value).with_context(|| format!("{} describes no BERT", path.display()))
}

fn weights(folder: &Path) -> Result<HashMap<String, Tensor>> {
    let (safe, torch) = (folder.join("model.safetensors"), folder.join("pytorch_model.bin"));
    let all = match (safe.is_file(), torch.is_file()) {
        (true, _) => checkpoint::read_tensors(&safe)?,
        (_, true) => checkpoint::read_torch_file(&torch)?,
        _ => anyhow::bail!(
            "no weights in {}: expected model.safetensors or pytorch_model.bin",
            folder.display()
        ),
    };
    let ours: HashMap<String, Tensor> = all
        .into_iter()
        .filter_map(|(name, tensor)| {
            // LayerNorm's parameters had TensorFlow's names in the first releases.
            let name = name.strip_prefix("bert.").unwrap_or(&name);
            let name = name
                .replace("LayerNorm.gamma", "LayerNorm.weight")
                .replace("LayerNorm.beta", "LayerNorm.bias");
            let kept = (name.starts_with("embeddings.") && !name.ends_with("position_ids"))
                || name.starts_with("encoder.");
            kept.then(|| (name, tensor.to_kind(Kind::Float)))
        })
        .collect();
    ensure!(!ours.is_empty(), "the weights in {} are not a BERT's", folder.display());
    Ok(ours)
}
