//! Bias correction: rounding weights shifts a layer's mean output; its bias takes the shift back.
//!
//! A rounded kernel `ŵ` answers an input of mean `E[x]` with `Σ (w − ŵ)·E[x]` too little, a constant
//! for each output channel (Nagel et al. 2019, §4.2). Borders are treated as if they went on.

use super::quantized::Quantized;
use crate::read::weights::Weights;
use calibration::quantize_bias;
use graph::Op;
use std::collections::BTreeMap;

/// Rounds every bias anew, with the mean error of its rounded weights added.
///
/// `means` has the mean of each channel of every tensor a layer reads.
pub(crate) fn correct(
    model: &mut Quantized,
    weights: &Weights,
    means: &BTreeMap<String, Vec<f64>>,
) {
    for node in &model.graph.nodes {
        let Some(layer) = model.layers.get_mut(&node.name) else { continue };
        let mean = &means[&node.inputs[0]];
        let kernel = &weights[&format!("{}.weight", node.name)].values;
        let zeros = vec![0.0; layer.weights.scales.len()];
        let bias = weights.get(&format!("{}.bias", node.name)).map_or(&zeros, |bias| &bias.values);
        let per_channel = kernel.len() / zeros.len();
        let groups = if let Op::Conv2d { groups, .. } = node.op { groups } else { 1 };
        let (inputs, outputs) = (mean.len() / groups, zeros.len() / groups); // of a group
        let taps = per_channel / inputs;
        let corrected: Vec<f32> = bias
            .iter()
            .enumerate()
            .map(|(o, &bias)| {
                let scale = f64::from(layer.weights.scales[o]);
                let first = o / outputs * inputs; // the first input channel that it reads
                let missing: f64 = (0..per_channel)
                    .map(|at| {
                        let rounded = f64::from(layer.weights.values[o * per_channel + at]) * scale;
                        let error = f64::from(kernel[o * per_channel + at]) - rounded;
                        error * mean[first + at / taps]
                    })
                    .sum();
                (f64::from(bias) + missing) as f32
            })
            .collect();
        let input = model.activations[&node.inputs[0]];
        layer.bias = quantize_bias(&corrected, &layer.weights.scales, input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures,
        passes::{interpreter::Interpreter, quantized::Plan, simulate::Simulation},
    };
    use calibration::Range;
    use graph::{Graph, Node, Output};

    /// One pointwise layer on three channels of different brightness.
    fn layer() -> Graph {
        let op = Op::conv2d([3, 16], 1, 1, 0, 1, true);
        Graph {
            name: "layer".into(),
            input: "image".into(),
            input_shape: [3, 8, 8],
            nodes: vec![Node { name: "conv".into(), op, inputs: vec!["image".into()] }],
            outputs: vec![Output { name: "out".into(), node: "conv".into() }],
        }
    }

    fn channel_means(values: &[f32]) -> Vec<f64> {
        values.chunks(64).map(|c| c.iter().map(|&x| f64::from(x)).sum::<f64>() / 64.0).collect()
    }

    #[test]
    fn the_mean_of_every_output_channel_returns_to_floats() {
        let graph = layer();
        let weights = fixtures::random(&graph, 5);
        let input = Range { lo: -3.0, hi: 6.0 }.activation();
        // On the codes' grid, so that only the weights are rounded.
        let brightness = |at: usize| (at / 64) as f32;
        let image = fixtures::image(&graph, 5);
        let image: Vec<f32> =
            image.iter().enumerate().map(|(at, x)| input.round_trip(x + brightness(at))).collect();
        let means = BTreeMap::from([("image".to_owned(), channel_means(&image))]);
        let plan = Plan::new(&graph).unwrap();
        let params = BTreeMap::from([("image".to_owned(), input)]);
        let mut model = Quantized::new(graph.clone(), plan, &weights, &params);

        let float = Interpreter::new(&graph, &weights).unwrap().outputs(&image).unwrap();
        let float = channel_means(&float[0].1);
        let error = |model: &Quantized| -> f64 {
            let outputs = Simulation::new(model).unwrap().run(&image, |_, _| {}).unwrap();
            let means = channel_means(&outputs[0].1);
            means.iter().zip(&float).map(|(a, b)| (a - b).abs()).sum()
        };
        let before = error(&model);
        correct(&mut model, &weights, &means);
        assert!(error(&model) < before / 10.0, "{before} {}", error(&model));
    }
}
