//! A pre-training checkpoint given where a network that ships is asked for.

use super::*;
use crate::read::weights;
use checkpoint::{State, Tensor};
use graph::{CheckpointConfig, Pool, Preprocess};

#[test]
fn of_a_prior_checkpoint_the_image_encoder_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let [encoder, prior] = ["encoder", "prior"].map(|name| folder.path().join(name));
    let model =
        ModelConfig { width: 8, ..ModelConfig::encoder(Backbone::Resnet18, Pool::Attention) };
    let preprocess = Preprocess { height: 64, width: 64, ..Preprocess::PRIOR };
    let config = CheckpointConfig { model, preprocess };
    let params = fixtures::random(&config.graph().unwrap(), 5);
    fixtures::save(&encoder, &config, &params);

    let mut all: Vec<(String, Tensor)> = weights::tensors(&params)
        .into_iter()
        .map(|(name, tensor)| match name.strip_prefix("attnpool.") {
            Some(rest) => (format!("image_encoder.atten_pool.{rest}"), tensor),
            None => (format!("image_encoder.encoder.{name}"), tensor),
        })
        .collect();
    all.push(("logit_scale".into(), Tensor::of_f32(vec![], &[4.6])));
    let tables = toml::Table::try_from(&config).unwrap();
    checkpoint::save(&prior, all, &tables, &State::default(), None).unwrap();

    let onnx = |checkpoint: &Path| {
        let out = checkpoint.with_extension("onnx");
        run(&[&"onnx", &"--checkpoint", &checkpoint, &"--out", &out]).unwrap();
        fs::read(out).unwrap()
    };
    assert!(onnx(&encoder) == onnx(&prior));
}
