//! Weights from elsewhere: PyTorch state dicts and safetensors, given our names.
//!
//! ```text
//! names    whose they are: where in the file an image encoder stands, and whether a whole PRIOR is around it
//! architecture  which networks there are, and how each is known
//! encoder  torchvision's networks, with or without CLIP's attention pool → a network that ships
//! prior    the released PRIOR: image and text side, prototypes, decoders → a pre-training checkpoint
//! words    the tokenizer that belongs to it
//! ```

mod architecture;
mod encoder;
mod names;
mod prior;
mod words;

pub(crate) use words::Words;

use crate::read::weights::{self, Weights};
use anyhow::{Context, Result};
use checkpoint::torch_file;
use graph::CheckpointConfig;
use names::Found;
use std::path::{Path, PathBuf};

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Only names that begin so, and without it.
    pub(crate) prefix: Option<String>,
    /// Side of the input in pixels; default: what the attention pool has positions for, or 224.
    pub(crate) size: Option<usize>,
    /// Folder with the words of a PRIOR's text encoder.
    pub(crate) text_encoder: Option<PathBuf>,
    /// Leave everything but the image encoder of a PRIOR.
    pub(crate) image_encoder_only: bool,
    /// Of a PRIOR's sentence decoder, which its weights do not tell; default: one for 64 channels, as published.
    pub(crate) decoder_heads: Option<i64>,
}

/// What became of a foreign file.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) config: CheckpointConfig,
    /// Tables of `config.toml` beside the network's description.
    pub(crate) tables: toml::Table,
    pub(crate) weights: Weights,
    /// Of a whole PRIOR.
    pub(crate) words: Option<Words>,
    /// `(theirs, ours)` in our order.
    pub(crate) names: Vec<(String, String)>,
    /// Theirs without a place in the checkpoint.
    pub(crate) dropped: Vec<String>,
    /// What it is, in a line.
    pub(crate) kind: String,
}

/// Reads what begins as safetensors do as such, everything else as a file of `torch.save`: names are often wrong. Integers
/// (counters) are left out.
pub(crate) fn read(path: &Path) -> Result<Weights> {
    let cannot = || format!("cannot read {}", path.display());
    let mut tensors = if checkpoint::is_safetensors(path).with_context(cannot)? {
        checkpoint::read_tensors(path)?
    } else {
        torch_file::read(path)?
    };
    tensors.retain(|_, tensor| tensor.is_float());
    Ok(weights::of(tensors)?)
}

/// Recognises the architecture and gives every parameter our name.
pub(crate) fn convert(foreign: Weights, options: &Options) -> Result<Imported> {
    let foreign = names::under(architecture::renamed(foreign), options.prefix.as_deref())?;
    let Found { encoder, family, prior } = names::find(&foreign)?;
    match prior {
        Some(root) if !options.image_encoder_only => {
            let folder = options.text_encoder.as_deref().context(
                "it holds a whole PRIOR, whose reports need the words its text encoder was trained with: give \
                 --text-encoder DIR with vocab.txt or tokenizer.json (of Bio_ClinicalBERT for the released \
                 weights), or --image-encoder-only",
            )?;
            prior::convert(foreign, &encoder, &root, folder, options)
        }
        _ => encoder::convert(&foreign, (&encoder, family), options.size),
    }
}

#[cfg(test)]
mod tests;
