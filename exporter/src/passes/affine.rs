//! What multiplies and shifts each channel by constants: into the layer before it, or a layer of its own.
//!
//! ```text
//! Linear → · c                    the layer's weights and bias, each row times its factor
//! MatMul → · c (one number)       the layer that makes its left side, through views
//! a part of Linear → · c          the rows of that part: queries of a layer that makes keys and values too
//! BatchNorm2d alone               a convolution of one pixel, each channel its own group
//! image · [C, 1, 1]               likewise
//! ```

use super::{replace, rows};
use crate::read::weights::{Array, Weights};
use graph::{Graph, Node, Op};

/// Rewrites normalisations that [`super::fold::fold_batch_norms`] left, and products with constants where a layer can take
/// them. What is left stays as it is.
pub(crate) fn write_out(graph: &mut Graph, weights: &mut Weights) {
    for at in 0..graph.nodes.len() {
        match graph.nodes[at].op {
            Op::BatchNorm2d { eps, .. } => of_norm(&mut graph.nodes[at], weights, eps),
            Op::MulConstant { .. } => of_product(graph, weights, at),
            _ => {}
        }
    }
    let is_identity = |node: &Node, weights: &Weights| {
        let ones = |constant: &Array| constant.values.iter().all(|&factor| factor == 1.0);
        matches!(node.op, Op::MulConstant { .. })
            && ones(&weights[&format!("{}.constant", node.name)])
    };
    while let Some(at) = graph.nodes.iter().position(|node| is_identity(node, weights)) {
        let node = graph.nodes.remove(at);
        weights.remove(&format!("{}.constant", node.name));
        replace(graph, &node.name, &node.inputs[0]);
    }
}

fn of_norm(node: &mut Node, weights: &mut Weights, eps: f64) {
    let mut take = |param: &str| {
        let array = weights.remove(&format!("{}.{param}", node.name));
        array.expect("weights were checked against the graph").values
    };
    let [gamma, beta, mean, variance] =
        ["weight", "bias", "running_mean", "running_var"].map(&mut take);
    let (gain, shift) = (0..gamma.len())
        .map(|at| {
            let gain = f64::from(gamma[at]) / (f64::from(variance[at]) + eps).sqrt();
            (gain as f32, (f64::from(beta[at]) - f64::from(mean[at]) * gain) as f32)
        })
        .unzip();
    as_pixels(node, weights, gain, Some(shift));
}

fn of_product(graph: &mut Graph, weights: &mut Weights, at: usize) {
    let node = &graph.nodes[at];
    let name = format!("{}.constant", node.name);
    let factors = weights[&name].clone();
    let scaled = if let Some(layer) = layer_before(graph, node, &factors) {
        scale_rows(weights, &layer, |row| factors.values[row % factors.values.len()]);
        true
    } else if let (&[factor], Some((layer, rows))) =
        (&factors.values[..], rows::behind(graph, node))
    {
        scale_rows(weights, &layer.name, |row| if rows.contains(&row) { factor } else { 1.0 });
        true
    } else {
        false
    };
    if scaled {
        weights.insert(name, Array { shape: vec![1], values: vec![1.0] });
        graph.nodes[at].op = Op::MulConstant { shape: vec![1] };
    } else if let [channels, 1, 1] = factors.shape[..]
        && channels > 1
    {
        weights.remove(&name);
        as_pixels(&mut graph.nodes[at], weights, factors.values, None);
    }
}

/// The layer whose weights can take `factors`: one for all or one a row, with nothing between but views and, for one
/// number, products whose left side they scale.
fn layer_before(graph: &Graph, node: &Node, factors: &Array) -> Option<String> {
    let mut name = &node.inputs[0];
    let single = factors.values.len() == 1;
    loop {
        let before = graph.node(name).filter(|_| graph.only_reader(name).is_some())?;
        match &before.op {
            Op::Reshape { .. } | Op::Transpose { .. } | Op::MatMul if single => {
                name = &before.inputs[0]
            }
            Op::Linear { out_features, .. } => {
                let rows = factors.values.len() == *out_features
                    && factors.shape.last() == Some(out_features);
                return (single || rows).then(|| before.name.clone());
            }
            Op::Conv2d { out_channels, .. } => {
                let rows = factors.shape == [*out_channels, 1, 1];
                return (single || rows).then(|| before.name.clone());
            }
            _ => return None,
        }
    }
}

fn scale_rows(weights: &mut Weights, layer: &str, factor: impl Fn(usize) -> f32) {
    for param in ["weight", "bias"] {
        let Some(array) = weights.get_mut(&format!("{layer}.{param}")) else { continue };
        let per_row = array.values.len() / array.shape[0];
        for (row, values) in array.values.chunks_mut(per_row).enumerate() {
            values.iter_mut().for_each(|value| *value *= factor(row));
        }
    }
}

/// `node` as a convolution of one pixel, each channel alone.
fn as_pixels(node: &mut Node, weights: &mut Weights, gain: Vec<f32>, shift: Option<Vec<f32>>) {
    let channels = gain.len();
    node.op = Op::conv2d([channels; 2], 1, 1, 0, channels, shift.is_some());
    let weight = Array { shape: vec![channels, 1, 1, 1], values: gain };
    weights.insert(format!("{}.weight", node.name), weight);
    if let Some(values) = shift {
        weights.insert(format!("{}.bias", node.name), Array { shape: vec![channels], values });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{self, sketches},
        passes::interpreter::Interpreter,
        read::weights,
    };

    #[test]
    fn what_is_written_out_means_the_same_and_leaves_no_gain_alone() {
        for (graph, params) in sketches::all() {
            let (mut written, mut written_params) = (graph.clone(), params.clone());
            write_out(&mut written, &mut written_params);
            weights::check(&written_params, &written).unwrap();
            let gains =
                |node: &&Node| matches!(node.op, Op::BatchNorm2d { .. } | Op::MulConstant { .. });
            assert!(!written.nodes.iter().any(|node| gains(&node)), "{}", graph.name);
            let image = fixtures::image(&graph, 3);
            let outputs = |graph: &Graph, params: &Weights| {
                Interpreter::new(graph, params).unwrap().outputs(&image).unwrap()
            };
            let (before, after) = (outputs(&graph, &params), outputs(&written, &written_params));
            for ((name, before), (_, after)) in before.iter().zip(&after) {
                let difference = fixtures::relative_difference(before, after);
                assert!(difference < 1e-5, "{} {name}: {difference}", graph.name);
            }
        }
    }
}
