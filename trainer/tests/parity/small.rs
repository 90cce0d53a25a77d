//! The small PRIOR that PyTorch's vectors and its table of first weights belong to.

use graph::{Backbone, Graph, ModelConfig, Pool};
use trainer::{prior::PriorConfig, text::bert::BertConfig};

/// The image encoder, and everything around it, without dropout in the text encoder.
pub(crate) fn prior() -> (Graph, PriorConfig) {
    let encoder = ModelConfig::encoder(Backbone::Resnet50, Pool::Attention);
    let graph = ModelConfig { width: 8, ..encoder }.graph([1, 64, 64]).unwrap();
    let text = BertConfig {
        vocab_size: 200,
        hidden_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 128,
        max_position_embeddings: 64,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..BertConfig::BASE
    };
    let config = PriorConfig {
        embed: 64,
        prototypes: 32,
        queries: 8,
        decoder_layers: 2,
        decoder_heads: 4,
        decoder_intermediate: 128,
        decoder_positions: 64,
        ..PriorConfig::published(text)
    };
    (graph, config)
}
