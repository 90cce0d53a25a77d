//! A whole PRIOR, as the released code saves it: what a pre-training run of ours leaves, from weights alone.
//!
//! Shapes tell the configuration. They do not tell how many heads an attention has: those of the text encoder
//! are in its `config.json`, those of the sentence decoder are published as one for 64 channels.

use super::{Imported, Options, Words, architecture::Family, encoder};
use crate::read::weights::{self, Weights};
use anyhow::{Context, Result, bail, ensure};
use checkpoint::prior::{self, BertConfig, PriorConfig, Quirks, Tau};
use std::path::Path;

/// Tokens of a report the released code reads.
const MAX_TOKENS: i64 = 256;
/// Channels of an attention head in every published BERT.
const HEAD: i64 = 64;
/// A layer of the released code that it never uses; trainer's own checkpoints do not have it.
const RELEASED: &str = "global_text_projection.weight";

/// The model whose names begin with `root`, its image encoder's with `encoder`.
pub(super) fn convert(
    mut foreign: Weights,
    encoder: &str,
    root: &str,
    text_encoder: &Path,
    options: &Options,
) -> Result<Imported> {
    let words = Words::open(text_encoder)?;
    let mut image = encoder::convert(&foreign, (encoder, Family::ResNet), options.size)?;
    let shapes = Shapes { foreign: &foreign, root };
    let config = shapes.config(&words, options)?;
    ensure!(
        words.pieces as i64 <= config.text.vocab_size,
        "the tokenizer of {} has {} pieces, the text encoder embeds {}",
        text_encoder.display(),
        words.pieces,
        config.text.vocab_size
    );

    let graph = image.config.graph()?;
    let params = prior::parameters(&graph, &config)?;
    let (mut weights, mut names) = (Weights::new(), Vec::new());
    for param in &params {
        let name = checkpoint::encoder_name(&param.name, true);
        let of_image = name.and_then(|name| image.names.iter().find(|(_, ours)| *ours == name));
        let (theirs, array) = match of_image {
            // Its stem is summed, its pool may stand elsewhere.
            Some((theirs, ours)) => {
                foreign.remove(theirs);
                (theirs.clone(), image.weights.remove(ours))
            }
            None => {
                let theirs = format!("{root}{}", param.name);
                let array = foreign.remove(&theirs);
                (theirs, array)
            }
        };
        let mut array = array.with_context(|| missing(&theirs, &param.shape))?;
        if param.shape.is_empty() && array.shape == [1] {
            array.shape.clear(); // a scale saved as a list of one
        }
        weights.insert(param.name.clone(), array);
        names.push((theirs, param.name.clone()));
    }
    weights::check_params(&weights, &params, &format!("PRIOR around a {}", graph.name))?;
    let kind = format!(
        "PRIOR{}: {}, BERT of {} layers for {} pieces, {} prototypes",
        if config.released_quirks == Quirks::RELEASED {
            " as released (released_quirks = true)"
        } else {
            ""
        },
        image.kind,
        config.text.num_hidden_layers,
        config.text.vocab_size,
        config.prototypes
    );
    Ok(Imported {
        tables: tables(&config)?,
        weights,
        words: Some(words),
        dropped: foreign.into_keys().collect(),
        names,
        kind,
        config: image.config,
    })
}

/// `[prior]`, and of `[training]` what matters afterwards.
fn tables(config: &PriorConfig) -> Result<toml::Table> {
    let stage = toml::Table::from_iter([
        ("name".to_owned(), "reconstruction".into()),
        ("weights".to_owned(), toml::Value::try_from(prior::Weights::RECONSTRUCTION)?),
        ("tau".to_owned(), toml::Value::try_from(Tau::PUBLISHED)?),
    ]);
    let tokens = MAX_TOKENS.min(config.text.max_position_embeddings);
    let training = toml::Table::from_iter([
        ("max-tokens".to_owned(), tokens.into()),
        ("stage".to_owned(), toml::Value::Array(vec![stage.into()])),
    ]);
    Ok(toml::Table::from_iter([
        ("prior".to_owned(), toml::Value::try_from(config)?),
        ("training".to_owned(), training.into()),
    ]))
}

fn missing(name: &str, shape: &[usize]) -> String {
    format!("`{name}` of shape {shape:?} is missing, which a PRIOR needs; {IMAGE_ONLY}")
}

const IMAGE_ONLY: &str = "--image-encoder-only takes the image side alone";

/// What shapes tell.
struct Shapes<'a> {
    foreign: &'a Weights,
    root: &'a str,
}

impl Shapes<'_> {
    fn config(&self, words: &Words, options: &Options) -> Result<PriorConfig> {
        let embed = self.size("global_image_projection.weight", 0)?;
        ensure!(embed % 32 == 0, "the joint space is {embed} wide, expected a multiple of 32");
        let decoder_heads = match options.decoder_heads {
            Some(heads) => heads,
            None if embed % HEAD == 0 => embed / HEAD,
            None => bail!(
                "the sentence decoder is {embed} wide, which {HEAD} channels a head do not divide: give \
                 --decoder-heads"
            ),
        };
        ensure!(
            decoder_heads > 0 && embed % decoder_heads == 0,
            "--decoder-heads is {decoder_heads}, which does not divide {embed}"
        );
        let decoder = "sentence_decoder";
        Ok(PriorConfig {
            embed,
            prototypes: self.size("sentence_bank.embed.weight", 0)?,
            queries: self.size("prototype_queries", 1)?,
            decoder_layers: self.layers(decoder),
            decoder_heads,
            decoder_intermediate: self
                .size(&format!("{decoder}.encoder.layer.0.intermediate.dense.weight"), 0)?,
            decoder_positions: self
                .size(&format!("{decoder}.embeddings.position_embeddings.weight"), 0)?,
            released_quirks: match self.foreign.contains_key(&format!("{}{RELEASED}", self.root)) {
                true => Quirks::RELEASED,
                false => Quirks::default(),
            },
            ..PriorConfig::published(self.text(words)?)
        })
    }

    fn text(&self, words: &Words) -> Result<BertConfig> {
        let name = "text_encoder.encoder";
        let embedding = |what: &str| format!("{name}.embeddings.{what}_embeddings.weight");
        let hidden_size = self.size(&embedding("word"), 1)?;
        let shaped = BertConfig {
            vocab_size: self.size(&embedding("word"), 0)?,
            hidden_size,
            num_hidden_layers: self.layers(name),
            num_attention_heads: hidden_size / HEAD,
            intermediate_size: self
                .size(&format!("{name}.encoder.layer.0.intermediate.dense.weight"), 0)?,
            max_position_embeddings: self.size(&embedding("position"), 0)?,
            type_vocab_size: self.size(&embedding("token_type"), 0)?,
            layer_norm_eps: 1e-12,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
        };
        let Some(told) = &words.shape else {
            ensure!(
                hidden_size > 0 && hidden_size % HEAD == 0,
                "the text encoder is {hidden_size} wide, which {HEAD} channels a head do not divide: \
                 --text-encoder needs its config.json"
            );
            return Ok(shaped);
        };
        let same = BertConfig {
            num_attention_heads: told.num_attention_heads,
            layer_norm_eps: told.layer_norm_eps,
            hidden_dropout_prob: told.hidden_dropout_prob,
            attention_probs_dropout_prob: told.attention_probs_dropout_prob,
            ..shaped
        };
        ensure!(*told == same, "config.json of --text-encoder says {told:?}, the weights {same:?}");
        Ok(same)
    }

    fn size(&self, name: &str, axis: usize) -> Result<i64> {
        let name = format!("{}{name}", self.root);
        let shape = self.foreign.get(&name).map(|array| &array.shape);
        let size = shape.and_then(|shape| shape.get(axis));
        let size = size.with_context(|| {
            let found = shape.map_or("is missing".to_owned(), |shape| format!("is {shape:?}"));
            format!("`{name}` {found}, which a PRIOR needs; {IMAGE_ONLY}")
        })?;
        Ok(*size as i64)
    }

    fn layers(&self, name: &str) -> i64 {
        let of = |layer: &i64| {
            format!("{}{name}.encoder.layer.{layer}.attention.self.query.weight", self.root)
        };
        (0..).take_while(|layer| self.foreign.contains_key(&of(layer))).count() as i64
    }
}

#[cfg(test)]
mod tests;
