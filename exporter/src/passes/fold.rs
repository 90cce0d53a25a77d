//! The network as int8 takes it: batch normalisation folded into the convolution before it, what eight bits have no form
//! for written out in operations they have.
//!
//! `γ·(conv(x) − μ)/√(σ² + ε) + β` is a convolution with weights `w·γ/√(σ² + ε)` and bias
//! `β + (b − μ)·γ/√(σ² + ε)`. The convolution keeps its name and gains a bias; what read the
//! normalisation reads the convolution.

use super::{affine, pool, replace, transposed};
use crate::read::weights::{Array, Weights};
use graph::{Graph, Op};

/// The same network with normalisations folded ([`fold_batch_norms`]), and attention pools ([`pool`]), transposed
/// convolutions ([`transposed`]) and what is affine for each channel ([`affine`]) written out.
pub(crate) fn fold(graph: &Graph, weights: &Weights) -> (Graph, Weights) {
    let (graph, weights) = fold_batch_norms(graph, weights);
    let (mut graph, mut weights) = pool::write_out(&graph, &weights);
    transposed::write_out(&mut graph, &mut weights);
    affine::write_out(&mut graph, &mut weights);
    (graph, weights)
}

/// The same network with every normalisation that directly follows a convolution folded.
///
/// One that follows anything else stays.
pub(crate) fn fold_batch_norms(graph: &Graph, weights: &Weights) -> (Graph, Weights) {
    let (mut graph, mut weights) = (graph.clone(), weights.clone());
    let foldable: Vec<(String, String, f64)> = graph
        .nodes
        .iter()
        .filter_map(|node| {
            let Op::BatchNorm2d { eps, .. } = node.op else { return None };
            let conv = graph.node(node.inputs.first()?)?;
            let alone = graph.only_reader(&conv.name).is_some();
            let is_conv = matches!(conv.op, Op::Conv2d { .. });
            (is_conv && alone).then(|| (conv.name.clone(), node.name.clone(), eps))
        })
        .collect();
    for (conv, norm, eps) in foldable {
        fold_weights(&mut weights, &conv, &norm, eps);
        graph.nodes.retain(|node| node.name != norm);
        for node in graph.nodes.iter_mut().filter(|node| node.name == conv) {
            if let Op::Conv2d { bias, .. } = &mut node.op {
                *bias = true;
            }
        }
        replace(&mut graph, &norm, &conv);
    }
    (graph, weights)
}

/// Weights of `graph` that [`fold`] to `folded`: normalisations that only add the bias.
#[cfg(feature = "distill")]
pub(crate) fn unfold(graph: &Graph, folded: &Weights) -> Weights {
    let folded = &pool::gather(graph, folded);
    let mut weights = Weights::new();
    for node in &graph.nodes {
        let Op::BatchNorm2d { channels, eps } = node.op else {
            let own = node.params().into_iter().map(|param| param.name);
            weights.extend(own.filter_map(|name| Some((name.clone(), folded.get(&name)?.clone()))));
            continue;
        };
        let mut put = |param: &str, values: Vec<f32>| {
            weights
                .insert(format!("{}.{param}", node.name), Array { shape: vec![channels], values });
        };
        put("weight", vec![1.0; channels]);
        put("bias", folded[&format!("{}.bias", node.inputs[0])].values.clone());
        put("running_mean", vec![0.0; channels]);
        put("running_var", vec![(1.0 - eps) as f32; channels]);
    }
    weights
}

fn fold_weights(weights: &mut Weights, conv: &str, norm: &str, eps: f64) {
    let mut take = |param: &str| {
        weights
            .remove(&format!("{norm}.{param}"))
            .expect("weights were checked against the graph")
            .values
    };
    let (gamma, beta) = (take("weight"), take("bias"));
    let (mean, variance) = (take("running_mean"), take("running_var"));
    let old_bias = weights.remove(&format!("{conv}.bias"));
    let kernel =
        weights.get_mut(&format!("{conv}.weight")).expect("weights were checked against the graph");
    let channels = gamma.len();
    let per_channel = kernel.values.len() / channels;
    let mut bias = Vec::with_capacity(channels);
    for (channel, kernel) in kernel.values.chunks_mut(per_channel).enumerate() {
        let gain = f64::from(gamma[channel]) / (f64::from(variance[channel]) + eps).sqrt();
        let old = old_bias.as_ref().map_or(0.0, |bias| f64::from(bias.values[channel]));
        let shift = f64::from(beta[channel]) + (old - f64::from(mean[channel])) * gain;
        bias.push(shift as f32);
        kernel.iter_mut().for_each(|w| *w = (f64::from(*w) * gain) as f32);
    }
    weights.insert(format!("{conv}.bias"), Array { shape: vec![channels], values: bias });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixtures, passes::interpreter::Interpreter, read::weights};
    use graph::Backbone;

    #[test]
    fn folding_keeps_the_float_outputs_of_every_head() {
        for backbone in [Backbone::Resnet18, Backbone::Resnet50] {
            let (graph, params) = fixtures::network(backbone, 7);
            let (folded, folded_params) = fold_batch_norms(&graph, &params);
            weights::check(&folded_params, &folded).unwrap();
            assert!(folded.nodes.iter().all(|n| !matches!(n.op, Op::BatchNorm2d { .. })));

            let image = fixtures::image(&graph, 3);
            let before = Interpreter::new(&graph, &params).unwrap().outputs(&image).unwrap();
            let after = Interpreter::new(&folded, &folded_params).unwrap().outputs(&image).unwrap();
            for ((name, a), (_, b)) in before.iter().zip(&after) {
                assert!(fixtures::relative_difference(a, b) < 1e-4, "{backbone} {name}");
            }
        }
    }

    #[cfg(feature = "distill")]
    #[test]
    fn unfolded_weights_fold_to_the_same() {
        let (graph, params) = fixtures::network(Backbone::Resnet18, 3);
        let (folded, once) = fold_batch_norms(&graph, &params);
        let unfolded = unfold(&graph, &once);
        weights::check(&unfolded, &graph).unwrap();
        let (_, twice) = fold_batch_norms(&graph, &unfolded);
        weights::check(&twice, &folded).unwrap();
        for (name, array) in &once {
            assert!(
                fixtures::relative_difference(&array.values, &twice[name].values) < 1e-6,
                "{name}"
            );
        }
    }

    #[test]
    fn a_normalisation_whose_convolution_is_read_elsewhere_stays() {
        let (mut graph, params) = fixtures::network(Backbone::Resnet18, 1);
        graph.outputs.push(graph::Output { name: "raw".into(), node: "conv1".into() });
        let (folded, _) = fold_batch_norms(&graph, &params);
        assert!(folded.node("bn1").is_some());
        assert!(folded.node("layer1.0.bn1").is_none());
    }
}
