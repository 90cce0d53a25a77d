//! Crate `checkpoint` lists a PRIOR model's parameters without libtorch; the model itself is the judge.

use checkpoint::prior::parameters;
use graph::{Backbone, ModelConfig, Pool};
use std::collections::BTreeMap;
use tch::{Device, nn};
use trainer::prior::{Prior, PriorConfig};
use trainer::text::bert::BertConfig;

#[test]
fn the_list_of_parameters_is_what_the_model_makes() {
    let text = BertConfig {
        vocab_size: 50,
        hidden_size: 96,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        intermediate_size: 128,
        max_position_embeddings: 40,
        ..BertConfig::BASE
    };
    let small = PriorConfig {
        embed: 64,
        prototypes: 32,
        queries: 5,
        decoder_layers: 2,
        decoder_heads: 4,
        decoder_intermediate: 80,
        decoder_positions: 24,
        ..PriorConfig::published(text)
    };
    for (backbone, pool) in
        [(Backbone::Resnet50, Pool::Attention), (Backbone::Resnet18, Pool::Mean)]
    {
        let model = ModelConfig { width: 8, ..ModelConfig::encoder(backbone, pool) };
        let graph = model.graph([1, 64, 64]).unwrap();
        let store = nn::VarStore::new(Device::Cpu);
        let _prior = Prior::new(&store.root(), &graph, small.clone(), None).unwrap();
        let made: BTreeMap<String, Vec<usize>> = store
            .variables()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.size().iter().map(|&n| n as usize).collect()))
            .collect();
        let listed: BTreeMap<String, Vec<usize>> = parameters(&graph, &small)
            .unwrap()
            .into_iter()
            .map(|param| (param.name, param.shape))
            .collect();
        assert_eq!(listed, made, "{backbone}");
    }
}
