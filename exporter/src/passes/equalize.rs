//! Cross-layer equalization: moves scale between two layers so that their channels' ranges agree.
//!
//! With a ReLU, leaky or not, between them, `relu(s·x) = s·relu(x)` for `s > 0`: dividing output channel `i` of the
//! first layer by `s_i` and multiplying what the second reads of it by `s_i` changes nothing in
//! float. `s_i = √(r1_i / r2_i)` makes both ranges `√(r1_i·r2_i)` (Nagel et al. 2019, §4.1). The codes
//! of the tensor between are shared by all channels, so channels of like range waste fewer of them.

use crate::read::weights::Weights;
use graph::{Graph, Node, Op};

/// The same network in float, with every pair of layers equalized that only a ReLU separates.
pub(crate) fn equalize(graph: &Graph, weights: &Weights) -> Weights {
    let mut weights = weights.clone();
    for first in &graph.nodes {
        if let Some(second) = partner(graph, first) {
            equalize_pair(&mut weights, &first.name, &second.name);
        }
    }
    weights
}

/// The layer that alone reads `first`, through one ReLU.
fn partner<'a>(graph: &'a Graph, first: &Node) -> Option<&'a Node> {
    let is_plain = |node: &Node| matches!(node.op, Op::Conv2d { groups: 1, .. });
    let is_relu = |node: &&Node| matches!(node.op, Op::Relu | Op::LeakyRelu { .. });
    let relu = graph.only_reader(&first.name).filter(is_relu)?;
    graph.only_reader(&relu.name).filter(|second| is_plain(first) && is_plain(second))
}

fn equalize_pair(weights: &mut Weights, first: &str, second: &str) {
    let factors = {
        let (a, b) = (&weights[&format!("{first}.weight")], &weights[&format!("{second}.weight")]);
        let per_output = a.values.len() / a.shape[0];
        let taps = b.shape[2] * b.shape[3];
        (0..a.shape[0])
            .map(|i| {
                let r1 = reach(&a.values[i * per_output..][..per_output]);
                let columns = b.values.chunks(b.shape[1] * taps);
                let r2 = columns.map(|row| reach(&row[i * taps..][..taps])).fold(0.0, f32::max);
                let factor = (r1 / r2).sqrt();
                // A dead channel stays as it is.
                if factor.is_normal() { factor } else { 1.0 }
            })
            .collect::<Vec<f32>>()
    };
    for param in ["weight", "bias"] {
        if let Some(array) = weights.get_mut(&format!("{first}.{param}")) {
            let per_output = array.values.len() / factors.len();
            for (channel, factor) in array.values.chunks_mut(per_output).zip(&factors) {
                channel.iter_mut().for_each(|w| *w /= factor);
            }
        }
    }
    if let Some(array) = weights.get_mut(&format!("{second}.weight")) {
        let taps = array.shape[2] * array.shape[3];
        for (at, kernel) in array.values.chunks_mut(taps).enumerate() {
            kernel.iter_mut().for_each(|w| *w *= factors[at % factors.len()]);
        }
    }
}

fn reach(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |reach, x| reach.max(x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures,
        passes::{fold, interpreter::Interpreter},
        read::weights::Array,
    };
    use graph::Backbone;

    #[test]
    fn equalizing_keeps_the_float_outputs() {
        let (graph, weights) = fixtures::network(Backbone::Resnet50, 21);
        let (graph, weights) = fold::fold_batch_norms(&graph, &weights);
        let equalized = equalize(&graph, &weights);
        assert_ne!(weights, equalized);

        let image = fixtures::image(&graph, 4);
        let before = Interpreter::new(&graph, &weights).unwrap().outputs(&image).unwrap();
        let after = Interpreter::new(&graph, &equalized).unwrap().outputs(&image).unwrap();
        for ((name, a), (_, b)) in before.iter().zip(&after) {
            assert!(fixtures::relative_difference(a, b) < 1e-4, "{name}");
        }
    }

    #[test]
    fn a_pair_has_one_range_a_channel_afterwards() {
        let array = |shape: &[usize], values: &[f32]| Array {
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        let mut weights = Weights::from([
            ("a.weight".to_owned(), array(&[2, 1, 1, 1], &[8.0, 0.5])),
            ("a.bias".to_owned(), array(&[2], &[4.0, 1.0])),
            ("b.weight".to_owned(), array(&[1, 2, 1, 1], &[2.0, 2.0])),
        ]);
        equalize_pair(&mut weights, "a", "b");
        assert_eq!(weights["a.weight"].values, [4.0, 1.0]);
        assert_eq!(weights["a.bias"].values, [2.0, 2.0]);
        assert_eq!(weights["b.weight"].values, [4.0, 1.0]);
    }
}
