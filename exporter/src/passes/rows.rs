//! Which rows of a linear layer a tensor behind it shows, where only views and slices lie between: a layer that makes
//! queries, keys and values at once is read in three parts.

use graph::{Graph, Node, Op};
use std::collections::{BTreeSet, HashMap};

/// The layer that makes what `node` reads, and its rows there, if nothing but `node` reads those rows.
pub(super) fn behind<'a>(graph: &'a Graph, node: &Node) -> Option<(&'a Node, BTreeSet<usize>)> {
    let mut name = node.inputs.first()?;
    let layer = loop {
        let before = graph.node(name)?;
        match before.op {
            Op::Linear { .. } => break before,
            _ if moves(&before.op) => name = before.inputs.first()?,
            _ => return None,
        }
    };
    let leaves = leaves(graph, layer)?;
    let own = leaves.iter().find(|(reader, _)| *reader == node.name)?.1.clone();
    let others = leaves.iter().filter(|(reader, _)| *reader != node.name);
    let apart = others.into_iter().all(|(_, rows)| rows.is_disjoint(&own));
    apart.then_some((layer, own))
}

/// Operations that place values and change none.
fn moves(op: &Op) -> bool {
    matches!(op, Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. })
}

/// Everything that reads the layer's values through views and slices, and the rows it sees.
fn leaves<'a>(graph: &'a Graph, layer: &Node) -> Option<Vec<(&'a str, BTreeSet<usize>)>> {
    let shape = graph.shapes().ok()?.remove(layer.name.as_str())?;
    let rows = *shape.last()?;
    let indices = (0..shape.iter().product()).map(|at: usize| at % rows).collect();
    let mut seen = HashMap::from([(layer.name.as_str(), Indices { shape, values: indices })]);
    let mut leaves = Vec::new();
    for node in &graph.nodes {
        for input in &node.inputs {
            let Some(read) = seen.get(input.as_str()) else { continue };
            if moves(&node.op) {
                let moved = read.moved(&node.op);
                seen.insert(&node.name, moved);
            } else {
                leaves.push((node.name.as_str(), read.values.iter().copied().collect()));
            }
        }
    }
    let is_output = graph.outputs.iter().any(|output| seen.contains_key(output.node.as_str()));
    (!is_output).then_some(leaves)
}

/// For each place of a tensor the row that made its value.
struct Indices {
    shape: Vec<usize>,
    values: Vec<usize>,
}

impl Indices {
    fn moved(&self, op: &Op) -> Self {
        match op {
            Op::Reshape { shape } => Self { shape: shape.clone(), values: self.values.clone() },
            Op::Transpose { order } => {
                let shape: Vec<usize> = order.iter().map(|&axis| self.shape[axis]).collect();
                let steps: Vec<usize> = order.iter().map(|&axis| self.step(axis)).collect();
                Self { values: self.read(&shape, &steps, 0), shape }
            }
            Op::Slice { axis, start, end, step } => {
                let mut shape = self.shape.clone();
                shape[*axis] = (end - start).div_ceil(*step);
                let mut steps: Vec<usize> = (0..shape.len()).map(|axis| self.step(axis)).collect();
                let first = start * steps[*axis];
                steps[*axis] *= step;
                Self { values: self.read(&shape, &steps, first), shape }
            }
            _ => unreachable!("the caller asked `moves`"),
        }
    }

    /// How far neighbours along an axis lie apart.
    fn step(&self, axis: usize) -> usize {
        self.shape[axis + 1..].iter().product()
    }

    /// The values of a tensor of `shape` that lies in this one with these steps.
    fn read(&self, shape: &[usize], steps: &[usize], first: usize) -> Vec<usize> {
        let at = |mut place: usize| {
            let sides = shape.iter().zip(steps).rev();
            let offset = sides.fold(0, |offset, (&side, step)| {
                let offset = offset + place % side * step;
                place /= side;
                offset
            });
            self.values[first + offset]
        };
        (0..shape.iter().product()).map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::Output;

    fn node(name: &str, op: Op, inputs: &[&str]) -> Node {
        Node { name: name.into(), op, inputs: inputs.iter().map(|&input| input.into()).collect() }
    }

    /// Three tokens of six channels: two heads of queries, keys and values of one channel each, as timm splits them.
    fn attention() -> Graph {
        let part = |at| Op::Slice { axis: 0, start: at, end: at + 1, step: 1 };
        let head = || Op::Reshape { shape: vec![2, 3, 1] };
        Graph {
            name: "attention".into(),
            input: "tokens".into(),
            input_shape: [1, 3, 4],
            nodes: vec![
                node("flat", Op::Reshape { shape: vec![3, 4] }, &["tokens"]),
                node("qkv", Op::Linear { in_features: 4, out_features: 6 }, &["flat"]),
                node("split", Op::Reshape { shape: vec![3, 3, 2, 1] }, &["qkv"]),
                node("parts", Op::Transpose { order: vec![1, 2, 0, 3] }, &["split"]),
                node("q", part(0), &["parts"]),
                node("q.heads", head(), &["q"]),
                node("scaled", Op::MulConstant { shape: vec![1] }, &["q.heads"]),
                node("k", part(1), &["parts"]),
                node("k.heads", head(), &["k"]),
                node("k.turned", Op::Transpose { order: vec![0, 2, 1] }, &["k.heads"]),
                node("scores", Op::MatMul, &["scaled", "k.turned"]),
            ],
            outputs: vec![Output { name: "scores".into(), node: "scores".into() }],
        }
    }

    #[test]
    fn the_rows_of_one_part_are_found_through_views_and_slices() {
        let graph = attention();
        graph.shapes().unwrap();
        let (layer, rows) = behind(&graph, graph.node("scaled").unwrap()).unwrap();
        assert_eq!((layer.name.as_str(), rows), ("qkv", BTreeSet::from([0, 1])));
    }

    #[test]
    fn rows_that_something_else_reads_too_are_not_given_out() {
        let mut graph = attention();
        graph.nodes.push(node("again", Op::Softmax, &["q.heads"]));
        assert!(behind(&graph, graph.node("scaled").unwrap()).is_none());
        let mut graph = attention();
        graph.outputs.push(Output { name: "all".into(), node: "parts".into() });
        assert!(behind(&graph, graph.node("scaled").unwrap()).is_none());
    }
}
