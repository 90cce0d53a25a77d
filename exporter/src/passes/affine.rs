//! What multiplies and shifts each channel by constants: into the layer before it, or a layer of its own.
//!
//! ```text
//! Linear → · c                    the layer's weights and bias, each row times its factor
//! MatMul → · c (one number)       the layer that makes its left side, through views
//! BatchNorm2d alone               a convolution of one pixel, each channel its own group
//! image · [C, 1, 1]               likewise
//! ```

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
    // What became the identity.
    while let Some(at) = graph.nodes.iter().position(|node| is_identity(node, weights)) {
        let node = graph.nodes.remove(at);
        weights.remove(&format!("{}.constant", node.name));
        let source = &node.inputs[0];
        let inputs = graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        inputs.filter(|input| **input == node.name).for_each(|input| input.clone_from(source));
        let outputs = graph.outputs.iter_mut().filter(|output| output.node == node.name);
        outputs.for_each(|output| output.node.clone_from(source));
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
    if let Some(layer) = layer_before(graph, node, &factors) {
        let one = Array { shape: vec![1], values: vec![1.0] };
        scale_rows(weights, &layer, &factors.values);
        weights.insert(name, one);
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
    let alone = |name: &str| {
        graph.readers(name).count() == 1 && graph.outputs.iter().all(|output| output.node != name)
    };
    let mut name = &node.inputs[0];
    let single = factors.values.len() == 1;
    loop {
        let before = graph.node(name).filter(|_| alone(name))?;
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

fn scale_rows(weights: &mut Weights, layer: &str, factors: &[f32]) {
    for param in ["weight", "bias"] {
        let Some(array) = weights.get_mut(&format!("{layer}.{param}")) else { continue };
        let per_row = array.values.len() / array.shape[0];
        for (row, values) in array.values.chunks_mut(per_row).enumerate() {
            values.iter_mut().for_each(|value| *value *= factors[row % factors.len()]);
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

fn is_identity(node: &Node, weights: &Weights) -> bool {
    matches!(node.op, Op::MulConstant { .. })
        && weights[&format!("{}.constant", node.name)].values.iter().all(|&factor| factor == 1.0)
}
