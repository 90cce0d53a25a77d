//! A stand-in with the released names: a small model, and what the released code carries along unused.

use super::*;
use crate::read::weights::Array;
use graph::{Backbone, ModelConfig, Pool};
use std::fs;

/// Around a ResNet-50 of width 4 on 64 pixels, joint width 64.
fn stand_in(prefix: &str) -> Weights {
    let model =
        ModelConfig { width: 4, ..ModelConfig::encoder(Backbone::Resnet50, Pool::Attention) };
    let graph = model.graph([1, 64, 64]).unwrap();
    let mut all: Weights = prior::parameters(&graph, &config())
        .unwrap()
        .into_iter()
        .map(|param| {
            let count = param.shape.iter().product();
            let values = vec![0.5; count];
            (format!("{prefix}{}", param.name), Array { shape: param.shape, values })
        })
        .collect();
    for (name, shape) in [
        ("global_text_projection.weight", vec![64, 64]),
        ("global_text_projection.bias", vec![64]),
        ("text_encoder.encoder.pooler.dense.weight", vec![64, 64]),
        ("text_encoder.encoder.pooler.dense.bias", vec![64]),
        ("sentence_decoder.embeddings.word_embeddings.weight", vec![30, 64]),
    ] {
        let values = vec![0.0; shape.iter().product()];
        all.insert(format!("{prefix}{name}"), Array { shape, values });
    }
    all
}

fn config() -> PriorConfig {
    let text = BertConfig {
        vocab_size: 30,
        hidden_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 1,
        intermediate_size: 96,
        max_position_embeddings: 40,
        ..BertConfig::BASE
    };
    PriorConfig {
        embed: 64,
        prototypes: 16,
        queries: 4,
        decoder_layers: 2,
        decoder_heads: 1,
        decoder_intermediate: 80,
        decoder_positions: 24,
        released_quirks: Quirks::RELEASED,
        ..PriorConfig::published(text)
    }
}

fn words(pieces: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let list: Vec<String> = (0..pieces).map(|n| format!("word{n}")).collect();
    fs::write(folder.path().join("vocab.txt"), list.join("\n")).unwrap();
    folder
}

fn imported(foreign: Weights, folder: &Path) -> Result<Imported, String> {
    let options = Options { text_encoder: Some(folder.into()), ..Options::default() };
    super::super::convert(foreign, &options).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_released_model_is_whole_whatever_stands_before_its_names() {
    let words = words(30);
    for prefix in ["", "module.", "model.", "state_dict.model.module."] {
        let imported = imported(stand_in(prefix), words.path()).unwrap();
        let prior: PriorConfig = imported.tables["prior"].clone().try_into().unwrap();
        assert_eq!(prior, config());
        assert_eq!(imported.config.preprocess.height, 64);
        assert_eq!(imported.weights.len() + 5, stand_in("").len());
        assert!(imported.weights.contains_key("image_encoder.atten_pool.c_proj.bias"));
        let dropped: Vec<&str> =
            imported.dropped.iter().map(|name| &name[prefix.len()..]).collect();
        assert_eq!(dropped[0], "global_text_projection.bias");
        assert_eq!(dropped.len(), 5);
    }
}

#[test]
fn weights_of_the_repaired_method_carry_no_defects_of_the_released_code() {
    let mut foreign = stand_in("");
    foreign.retain(|name, _| !name.starts_with("global_text_projection"));
    let imported = imported(foreign, words(30).path()).unwrap();
    assert_eq!(imported.tables["prior"]["released_quirks"], false.into());
}

#[test]
fn without_words_it_says_what_is_missing() {
    let error = super::super::convert(stand_in(""), &Options::default()).unwrap_err().to_string();
    for part in ["--text-encoder", "vocab.txt", "--image-encoder-only"] {
        assert!(error.contains(part), "{error}");
    }
    let image = Options { image_encoder_only: true, ..Options::default() };
    let image = super::super::convert(stand_in(""), &image).unwrap();
    assert!(image.words.is_none() && image.weights.contains_key("attnpool.c_proj.bias"));
    let error = imported(stand_in(""), &words(30).path().join("absent")).unwrap_err();
    assert!(error.contains("absent"), "{error}");
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    let error = imported(stand_in(""), words(31).path()).unwrap_err();
    assert!(error.contains("31 pieces") && error.contains("embeds 30"), "{error}");

    let mut foreign = stand_in("m.");
    foreign.remove("m.predictor.2.bias");
    let error = imported(foreign, words(30).path()).unwrap_err();
    assert!(error.contains("`m.predictor.2.bias` of shape [64] is missing"), "{error}");

    let mut foreign = stand_in("");
    foreign.insert("predictor.2.bias".into(), Array { shape: vec![63], values: vec![0.0; 63] });
    let error = imported(foreign, words(30).path()).unwrap_err();
    assert!(error.contains("`predictor.2.bias` has shape [63]"), "{error}");

    let folder = words(30);
    let config = r#"{"vocab_size":30,"hidden_size":64,"num_hidden_layers":3,"num_attention_heads":2,
        "intermediate_size":96,"max_position_embeddings":40}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    let error = imported(stand_in(""), folder.path()).unwrap_err();
    assert!(error.contains("num_hidden_layers: 3"), "{error}");
    fs::write(folder.path().join("config.json"), config.replace(":3,", ":2,")).unwrap();
    let imported = imported(stand_in(""), folder.path()).unwrap();
    assert_eq!(imported.tables["prior"]["text"]["num_attention_heads"], 2.into());
}
