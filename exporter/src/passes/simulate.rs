//! The quantized network in float: weights and activations rounded to what their codes stand for.
//!
//! Not bit-exact (sums are in f32), but close enough to choose ranges and biases by, on anything
//! the float interpreter can run.

use super::{
    interpreter::{Interpreter, Outputs},
    quantized::Quantized,
};
use crate::read::weights::{Array, Weights};
use anyhow::Result;

/// A quantized network that runs on the float interpreter.
pub(crate) struct Simulation<'a> {
    model: &'a Quantized,
    interpreter: Interpreter<'a>,
}

impl<'a> Simulation<'a> {
    pub(crate) fn new(model: &'a Quantized) -> Result<Self> {
        let interpreter = Interpreter::new(&model.graph, &rounded_weights(model))?;
        Ok(Self { model, interpreter })
    }

    /// Outputs for one image `[C, H, W]`; `seen` is shown every tensor, rounded where it is.
    pub(crate) fn run(&self, image: &[f32], mut seen: impl FnMut(&str, &[f32])) -> Result<Outputs> {
        self.interpreter.run(image, |tensor, values| {
            let rounded = self
                .model
                .activations
                .get(tensor)
                .map(|params| values.iter().map(|&x| params.round_trip(x)).collect::<Vec<_>>());
            seen(tensor, rounded.as_deref().unwrap_or(values));
            rounded
        })
    }
}

/// What the codes of weights, biases and constants stand for.
fn rounded_weights(model: &Quantized) -> Weights {
    let mut weights = Weights::new();
    for (node, layer) in &model.layers {
        let scales = &layer.weights.scales;
        let per_channel = layer.weights.values.len() / scales.len();
        let values = layer
            .weights
            .values
            .chunks(per_channel)
            .zip(scales)
            .flat_map(|(channel, scale)| channel.iter().map(move |&q| f32::from(q) * scale))
            .collect();
        weights.insert(format!("{node}.weight"), Array { shape: layer.shape.clone(), values });
        let bias = layer.bias.iter().zip(&layer.bias_scales).map(|(&q, scale)| q as f32 * scale);
        let bias = Array { shape: vec![scales.len()], values: bias.collect() };
        weights.insert(format!("{node}.bias"), bias);
    }
    for (node, [weight, bias]) in &model.float_layers {
        weights.insert(format!("{node}.weight"), weight.clone());
        weights.insert(format!("{node}.bias"), bias.clone());
    }
    for (node, constant) in &model.constants {
        let values = constant.codes.iter().map(|&q| constant.params.dequantize(q)).collect();
        let array = Array { shape: constant.shape.clone(), values };
        weights.insert(format!("{node}.constant"), array);
    }
    weights
}

/// Noise over signal, averaged over the outputs; both in the same order.
pub(crate) fn distortion(float: &[(String, Vec<f32>)], int8: &[(String, Vec<f32>)]) -> f64 {
    let of = |float: &[f32], int8: &[f32]| {
        let square = |x: f32| f64::from(x) * f64::from(x);
        let noise: f64 = float.iter().zip(int8).map(|(x, y)| square(x - y)).sum();
        noise / float.iter().map(|&x| square(x)).sum::<f64>().max(f64::MIN_POSITIVE)
    };
    let sum: f64 = float.iter().zip(int8).map(|((_, float), (_, int8))| of(float, int8)).sum();
    sum / float.len() as f64
}
