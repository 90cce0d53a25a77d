//! How ranges are chosen, on networks that know nothing and pictures that are too few.

use super::recipes::{noise, outcome};
use crate::fixtures;
use graph::{Backbone, ModelConfig, Pool};

/// Decibels of the outputs' signal over what rounding does to them, on the eight pictures that calibrated.
fn decibels(model: &ModelConfig, observer: &str) -> f64 {
    let (_folder, checkpoint, images) = fixtures::workplace_of(model.clone());
    let args = ["--int8-detection", "--observer", observer];
    -10.0 * noise(&checkpoint, &images, &outcome(&checkpoint, &images, &args).unwrap()).log10()
}

/// One held-out picture chose methods and tensors once, and its outputs came out far worse than by the smallest and
/// largest value.
#[test]
fn auto_is_never_clearly_worse_than_the_smallest_and_largest_value() {
    let encoder = |backbone| ModelConfig { width: 8, ..ModelConfig::encoder(backbone, Pool::Mean) };
    let models = [encoder(Backbone::Densenet121), encoder(Backbone::Mobilenetv2)];
    for model in models {
        let [minmax, auto] = ["minmax", "auto"].map(|observer| decibels(&model, observer));
        assert!(
            auto > minmax - 0.5,
            "{}: auto {auto:.2} dB, minmax {minmax:.2} dB",
            model.backbone
        );
    }
}
