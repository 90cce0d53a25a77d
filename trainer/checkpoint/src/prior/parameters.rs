//! Names and shapes of everything a PRIOR model has, as the released code calls it.
//!
//! trainer's `Prior::new` makes exactly these (a test there holds it to this list), so weights from elsewhere
//! can be checked without libtorch.

use super::{BertConfig, PriorConfig};
use graph::{CheckpointError, Graph, Param};

/// Parameters and buffers of the model around the image encoder `graph`; one without a pooled embedding is refused.
pub fn parameters(graph: &Graph, config: &PriorConfig) -> Result<Vec<Param>, CheckpointError> {
    let (_, width) = graph.pooled()?;
    let d = config.embed as usize;
    let mut all: Vec<Param> = graph
        .params()
        .into_iter()
        .map(|param| {
            let name = match param.name.strip_prefix("attnpool.") {
                Some(rest) => format!("image_encoder.atten_pool.{rest}"),
                None => format!("image_encoder.encoder.{}", param.name),
            };
            Param { name, ..param }
        })
        .collect();
    let mut list = List(&mut all);
    list.bert("text_encoder.encoder", &config.text, false);
    list.linear("global_image_projection", width, d);
    list.linear("local_image_projection", width, d);
    list.linear("local_text_projection", config.text.hidden_size as usize, d);
    for name in ["k_proj", "q_proj", "v_proj", "c_proj"] {
        list.linear(&format!("global_text_attention.{name}"), d, d);
    }
    list.linear("predictor.0", d, d / 2);
    list.linear("predictor.2", d / 2, d);
    for name in ["query1", "key1", "value1", "query2", "key2", "value2"] {
        list.linear(&format!("local_cross_attention.{name}"), d, d);
    }
    list.trained("sentence_bank.embed.weight", &[config.prototypes as usize, d]);
    list.bert("sentence_decoder", &config.decoder(), true);
    list.trained("prototype_queries", &[1, config.queries as usize, d]);
    list.image_decoder(2 * d);
    list.trained("logit_scale", &[]);
    list.trained("local_logit_scale", &[]);
    Ok(all)
}

struct List<'a>(&'a mut Vec<Param>);

impl List<'_> {
    fn push(&mut self, name: impl Into<String>, shape: &[usize], trained: bool) {
        self.0.push(Param { name: name.into(), shape: shape.to_vec(), trained });
    }

    fn trained(&mut self, name: &str, shape: &[usize]) {
        self.push(name, shape, true);
    }

    fn linear(&mut self, name: &str, from: usize, to: usize) {
        self.push(format!("{name}.weight"), &[to, from], true);
        self.push(format!("{name}.bias"), &[to], true);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.push(format!("{name}.weight"), &[width], true);
        self.push(format!("{name}.bias"), &[width], true);
    }

    /// With words of its own, or (`decoder`) with attention to something else.
    fn bert(&mut self, name: &str, config: &BertConfig, decoder: bool) {
        let h = config.hidden_size as usize;
        let embedding = |list: &mut Self, what: &str, n: i64| {
            let name = format!("{name}.embeddings.{what}_embeddings.weight");
            list.push(name, &[n as usize, h], true);
        };
        if !decoder {
            embedding(self, "word", config.vocab_size);
        }
        embedding(self, "position", config.max_position_embeddings);
        embedding(self, "token_type", config.type_vocab_size);
        self.norm(&format!("{name}.embeddings.LayerNorm"), h);
        let attentions: &[&str] =
            if decoder { &["attention", "crossattention"] } else { &["attention"] };
        for layer in 0..config.num_hidden_layers {
            let name = format!("{name}.encoder.layer.{layer}");
            for attention in attentions {
                for part in ["query", "key", "value"] {
                    self.linear(&format!("{name}.{attention}.self.{part}"), h, h);
                }
                self.linear(&format!("{name}.{attention}.output.dense"), h, h);
                self.norm(&format!("{name}.{attention}.output.LayerNorm"), h);
            }
            let wide = config.intermediate_size as usize;
            self.linear(&format!("{name}.intermediate.dense"), h, wide);
            self.linear(&format!("{name}.output.dense"), wide, h);
            self.norm(&format!("{name}.output.LayerNorm"), h);
        }
    }

    /// From `channels` down to one, in five blocks of two convolutions.
    fn image_decoder(&mut self, channels: usize) {
        for block in 0..5 {
            let (from, to) = (channels >> block, channels >> (block + 1));
            for (conv, from) in [("conv1", from), ("conv2", to)] {
                let name = format!("image_decoder.blocks.{block}.{conv}");
                self.push(format!("{name}.0.weight"), &[to, from, 3, 3], true);
                self.norm(&format!("{name}.1"), to);
                self.push(format!("{name}.1.running_mean"), &[to], false);
                self.push(format!("{name}.1.running_var"), &[to], false);
            }
        }
        self.push("image_decoder.output_head.0.weight", &[1, channels >> 5, 3, 3], true);
        self.push("image_decoder.output_head.0.bias", &[1], true);
    }
}
