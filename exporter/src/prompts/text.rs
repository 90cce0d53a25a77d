//! The text encoder of PRIOR on candle: phrases into the joint space. trainer's `prior/model.rs` is the same with autograd.
//!
//! ```text
//! tokens ─ BERT ─ local_text_projection ─ mean of the sentence's tokens ─ raw
//!                                        raw ─ (prototypes, if training had them) ─ s [D]
//!                                        s ─ report_pool ─ t [D]
//! ```
//!
//! A phrase is one sentence. Of one sentence the pool's tokens are all alike, so its softmax is even and `t = c(v(s))`.

use super::linear::{Linear, unit};
use crate::read::{prior::Prior, weights::Array};
use anyhow::{Context, Result, ensure};
use candle_core::{D, Device, Tensor};
use checkpoint::prior::BertConfig;
use std::collections::HashMap;
use words::Encoded;

/// A phrase in the joint space.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Phrase {
    /// `s [D]`: its one sentence, as the local attention reads it.
    pub(crate) sentence: Vec<f64>,
    /// `t [D]`, of length 1.
    pub(crate) text: Vec<f64>,
    /// Similarity to each prototype `[K]`, and to each their cosine; empty where training had none.
    pub(crate) prototypes: Vec<[f64; 2]>,
}

/// Reads phrases.
pub(crate) struct TextEncoder<'a> {
    prior: &'a Prior,
    bert: Bert<'a>,
}

impl<'a> TextEncoder<'a> {
    pub(crate) fn new(prior: &'a Prior) -> Result<Self> {
        let config = &prior.config.text;
        ensure!(
            config.num_attention_heads > 0 && config.hidden_size % config.num_attention_heads == 0,
            "[prior].text has {} heads, which do not divide {}",
            config.num_attention_heads,
            config.hidden_size
        );
        let pieces = prior.words.count();
        ensure!(
            pieces <= config.vocab_size,
            "the tokenizer has {pieces} pieces, the text encoder embeds {}",
            config.vocab_size
        );
        Ok(Self { prior, bert: Bert::new(prior)? })
    }

    /// Reads one phrase, as `trainer evaluate --task zero-shot` reads a prompt.
    pub(crate) fn read(&self, phrase: &str) -> Result<Phrase> {
        let Self { prior, .. } = self;
        let end_counts = prior.config.released_quirks.prompt;
        // Positions behind those learned have no embedding.
        let limit = prior.max_tokens.min(prior.config.text.max_position_embeddings as usize);
        let prompt = prior.words.prompt(phrase, limit, end_counts)?;
        let raw = self.sentence(&prompt).with_context(|| format!("cannot read `{phrase}`"))?;
        let (sentence, prototypes) = if prior.objective.weights.uses_prototypes() {
            self.prototype(&raw)?
        } else {
            (raw, Vec::new())
        };
        let pool =
            |name: &str| Linear::of(&prior.weights, &format!("global_text_attention.{name}"));
        let text = pool("c_proj")?.apply(&pool("v_proj")?.apply(&sentence));
        Ok(Phrase { text: unit(&text), sentence, prototypes })
    }

    /// Mean of the sentence's tokens, narrowed: `[D]`.
    fn sentence(&self, prompt: &Encoded) -> Result<Vec<f64>> {
        let hidden = self.bert.forward(&prompt.ids)?; // [T, H]
        let own: Vec<&Vec<f32>> = (hidden.iter().zip(&prompt.sentence))
            .filter_map(|(token, &sentence)| (sentence == 1).then_some(token))
            .collect();
        let width = self.prior.config.text.hidden_size as usize;
        let mean = |at: usize| {
            own.iter().map(|token| f64::from(token[at])).sum::<f64>() / own.len() as f64
        };
        let mean: Vec<f64> = (0..width).map(mean).collect();
        // The projection is linear, so that the mean may come first.
        Ok(Linear::of(&self.prior.weights, "local_text_projection")?.apply(&mean))
    }

    /// The mixture of prototypes for a sentence, and how alike it is to each.
    fn prototype(&self, raw: &[f64]) -> Result<(Vec<f64>, Vec<[f64; 2]>)> {
        let bank = &self.prior.weights["sentence_bank.embed.weight"];
        let rows: Vec<&[f32]> = bank.values.chunks_exact(raw.len()).collect();
        let norm = |x: f64| x.sqrt().max(1e-12);
        let length = norm(raw.iter().map(|x| x * x).sum());
        let alike = |row: &&[f32]| {
            let (mut dot, mut square) = (0.0, 0.0);
            for (&x, &y) in row.iter().zip(raw) {
                dot += f64::from(x) * y;
                square += f64::from(x) * f64::from(x);
            }
            [dot, dot / (length * norm(square))]
        };
        let alike: Vec<[f64; 2]> = rows.iter().map(alike).collect();
        let most = alike.iter().map(|[logit, _]| *logit).fold(f64::NEG_INFINITY, f64::max);
        let share = |[logit, _]: &[f64; 2]| ((logit - most) / self.prior.objective.tau).exp();
        let shares: Vec<f64> = alike.iter().map(share).collect();
        let total: f64 = shares.iter().sum();
        let mut mixed = vec![0.0; raw.len()];
        for (row, share) in rows.iter().zip(&shares) {
            mixed.iter_mut().zip(*row).for_each(|(to, &x)| *to += share / total * f64::from(x));
        }
        Ok((mixed, alike))
    }
}

/// BERT (Devlin 2019) by Hugging Face's names under `text_encoder.encoder`, in evaluation.
struct Bert<'a> {
    config: &'a BertConfig,
    params: HashMap<&'a str, Tensor>,
}

impl<'a> Bert<'a> {
    fn new(prior: &'a Prior) -> Result<Self> {
        let own = |name: &'a String| name.strip_prefix("text_encoder.encoder.");
        let params = prior.weights.iter().filter_map(|(name, array)| Some((own(name)?, array)));
        let tensor = |(name, array): (&'a str, &Array)| {
            let tensor = Tensor::from_slice(&array.values, array.shape.as_slice(), &Device::Cpu)?;
            Ok((name, tensor))
        };
        let params = params.map(tensor).collect::<Result<_>>()?;
        Ok(Self { config: &prior.config.text, params })
    }

    /// One vector a token: `[T, H]`. One row, so nothing is padding.
    fn forward(&self, ids: &[i64]) -> Result<Vec<Vec<f32>>> {
        let places: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        let words = self.param("embeddings.word_embeddings.weight")?;
        let words = words.index_select(&Tensor::new(places, &Device::Cpu)?, 0)?;
        let positions = self.param("embeddings.position_embeddings.weight")?;
        let kind = self.param("embeddings.token_type_embeddings.weight")?.get(0)?;
        let x = (words + positions.narrow(0, 0, ids.len())?)?.broadcast_add(&kind)?;
        let mut x = self.norm("embeddings.LayerNorm", &x)?;
        for layer in 0..self.config.num_hidden_layers {
            x = self.layer(&format!("encoder.layer.{layer}"), &x)?;
        }
        Ok(x.to_vec2()?)
    }

    /// `[T, H]` → `[T, H]`
    fn layer(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let attended = self.attention(&format!("{name}.attention.self"), x)?;
        let attended = self.linear(&format!("{name}.attention.output.dense"), &attended)?;
        let x = self.norm(&format!("{name}.attention.output.LayerNorm"), &(x + attended)?)?;
        let wide = self.linear(&format!("{name}.intermediate.dense"), &x)?.gelu_erf()?;
        let narrow = self.linear(&format!("{name}.output.dense"), &wide)?;
        self.norm(&format!("{name}.output.LayerNorm"), &(x + narrow)?)
    }

    fn attention(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let heads = self.config.num_attention_heads as usize;
        let split = |part: &str| -> Result<Tensor> {
            let y = self.linear(&format!("{name}.{part}"), x)?;
            Ok(y.reshape((tokens, heads, hidden / heads))?.transpose(0, 1)?.contiguous()?)
        };
        let (q, k, v) = (split("query")?, split("key")?, split("value")?);
        let scale = ((hidden / heads) as f64).powf(-0.5);
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * scale)?;
        let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let shares = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
        Ok(shares.matmul(&v)?.transpose(0, 1)?.reshape((tokens, hidden))?)
    }

    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let weight = self.param(&format!("{name}.weight"))?.t()?;
        Ok(x.matmul(&weight)?.broadcast_add(self.param(&format!("{name}.bias"))?)?)
    }

    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let y = centred.broadcast_div(&(variance + self.config.layer_norm_eps)?.sqrt()?)?;
        let y = y.broadcast_mul(self.param(&format!("{name}.weight"))?)?;
        Ok(y.broadcast_add(self.param(&format!("{name}.bias"))?)?)
    }

    fn param(&self, name: &str) -> Result<&Tensor> {
        self.params.get(name).with_context(|| format!("`text_encoder.encoder.{name}` is missing"))
    }
}
