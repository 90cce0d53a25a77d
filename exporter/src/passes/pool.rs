//! CLIP's attention pool as convolutions, two products of matrices and a softmax: what int8 covers.
//!
//! One query asks, the mean token's, so the pool need not project every token to a key and a value. In float these are
//! the same numbers, head by head (`d` channels a head, `x_0` the mean token, all tokens with their positions):
//!
//! ```text
//! score_t = (Wq x_0 + bq)·(Wk x_t + bk) / √d        u = Wkᵀ (Wq x_0 + bq) / √d       score_t = u·x_t + what all t share
//! answer  = Σ a_t (Wv x_t + bv),  a = softmax       c = Σ a_t x_t                     answer  = Wv c + bv,  as Σ a_t = 1
//! ```
//!
//! What all tokens share leaves a softmax as it is, so the key's bias goes. For 49 tokens of 2048 channels that is 18
//! million multiplications instead of 428 million, and every weight is read once. `Wk` and `Wv` are grouped
//! convolutions of one pixel:
//!
//! ```text
//! x [C,H,W] ─┬─ mean ─ + position ────────────── x_0 [C] ─ q_proj ─ question (Wkᵀ, groups) ─ u [heads, C]
//!            └─ patches [C,HW] + positions ─┐  │                                          │
//!                              columns [C, 1 + HW] ─────────────────────── MatMul ── similarities ─ attention (Softmax)
//!                                           └─ rows (transposed) ───────────────────────── MatMul ── average [heads, C]
//!                                                              c_proj ─ value (Wv, groups) ──┘
//! ```
//!
//! The similarities go into softmax as the sums they are: on eight bits one step of them is a factor of the shares (measured:
//! docs/quantization.md). Parts that do not mean what CLIP's of that name do have names of their own.

use crate::read::weights::{Array, Weights};
use graph::{Graph, Node, Op};

/// The sizes of a pool.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) tokens: usize,
}

/// The same network with every attention pool written out; its parts are called `{pool}.{part}`.
pub(crate) fn write_out(graph: &Graph, weights: &Weights) -> (Graph, Weights) {
    let (mut graph, mut weights) = (graph.clone(), weights.clone());
    let found = |(at, node): (usize, &Node)| Some((at, sizes(node)?));
    while let Some((at, sizes)) = graph.nodes.iter().enumerate().find_map(found) {
        let pool = graph.nodes.remove(at);
        let parts = parts(&pool, sizes);
        let last = parts[parts.len() - 1].name.clone();
        graph.nodes.splice(at..at, parts);
        super::replace(&mut graph, &pool.name, &last);
        write_out_weights(&mut weights, &pool.name, sizes);
    }
    (graph, weights)
}

/// Weights of the pools of `graph` from those of [`write_out`]: its inverse, with keys that have no bias.
#[cfg(feature = "distill")]
pub(crate) fn gather(graph: &Graph, written_out: &Weights) -> Weights {
    let mut weights = written_out.clone();
    for node in &graph.nodes {
        if let Some(sizes) = sizes(node) {
            gather_weights(&mut weights, &node.name, sizes);
        }
    }
    weights
}

pub(super) fn sizes(node: &Node) -> Option<Sizes> {
    let Op::AttentionPool2d { channels, heads, tokens } = node.op else { return None };
    Some(Sizes { channels, heads, tokens })
}

/// The nodes of a pool, in order; the last one makes `[C]`.
fn parts(pool: &Node, Sizes { channels: c, heads, tokens }: Sizes) -> Vec<Node> {
    let name = |part: &str| format!("{}.{part}", pool.name);
    let mut nodes = Vec::new();
    let mut push = |part: &str, op: Op, inputs: &[&str]| {
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        nodes.push(Node { name: name(part), op, inputs });
        name(part)
    };
    let shaped = |shape: &[usize]| Op::Reshape { shape: shape.to_vec() };
    let added = |shape: &[usize]| Op::AddConstant { shape: shape.to_vec() };
    let pixel =
        |inputs, outputs, groups, bias| Op::conv2d([inputs, outputs], 1, 1, 0, groups, bias);
    let x = &pool.inputs[0];
    let mean = push("mean", Op::GlobalAvgPool, &[x]);
    let mean = push("mean_column", shaped(&[c, 1]), &[&mean]);
    let query = push("query_token", added(&[c, 1]), &[&mean]);
    let patches = push("patches", shaped(&[c, tokens]), &[x]);
    let patches = push("patch_tokens", added(&[c, tokens]), &[&patches]);
    let all = push("columns", Op::Concat { axis: 1 }, &[&query, &patches]);

    let query = push("query_pixel", shaped(&[c, 1, 1]), &[&query]);
    let q = push("q_proj", pixel(c, c, 1, true), &[&query]);
    let u = push("question", pixel(c, heads * c, heads, false), &[&q]);
    let u = push("question_rows", shaped(&[heads, c]), &[&u]);
    let scores = push("similarities", Op::MatMul, &[&u, &all]);
    let shares = push("attention", Op::Softmax, &[&scores]);
    let rows = push("rows", Op::Transpose { order: vec![1, 0] }, &[&all]);
    let answers = push("average", Op::MatMul, &[&shares, &rows]);
    let answers = push("average_pixel", shaped(&[heads * c, 1, 1]), &[&answers]);
    let v = push("value", pixel(heads * c, c, heads, true), &[&answers]);
    let v = push("value_vector", shaped(&[c]), &[&v]);
    push("c_proj", Op::Linear { in_features: c, out_features: c }, &[&v]);
    nodes
}

fn write_out_weights(weights: &mut Weights, pool: &str, sizes: Sizes) {
    let Sizes { channels: c, heads, tokens } = sizes;
    let name = |part: &str| format!("{pool}.{part}");
    let mut take =
        |part: &str| weights.remove(&name(part)).expect("weights were checked against the graph");
    let position = take("positional_embedding").values;
    let [query, key, value, value_bias] =
        ["q_proj.weight", "k_proj.weight", "v_proj.weight", "v_proj.bias"]
            .map(|part| take(part).values);
    take("k_proj.bias");
    let mut put = |part: &str, shape: &[usize], values: Vec<f32>| {
        weights.insert(name(part), Array { shape: shape.to_vec(), values });
    };
    put("query_token.constant", &[c, 1], position[..c].to_vec());
    let patches = transposed(&position[c..], tokens, c);
    put("patch_tokens.constant", &[c, tokens], patches);
    // Head by head `[d, C]` becomes `[C, d]`.
    let d = c / heads;
    let scale = (d as f64).powf(-0.5);
    let questions = key.chunks(d * c).flat_map(|head| transposed(head, d, c));
    let questions = questions.map(|w| (f64::from(w) * scale) as f32).collect();
    put("question.weight", &[heads * c, d, 1, 1], questions);
    put("q_proj.weight", &[c, c, 1, 1], query);
    put("value.weight", &[c, c, 1, 1], value);
    put("value.bias", &[c], value_bias);
}

#[cfg(feature = "distill")]
fn gather_weights(weights: &mut Weights, pool: &str, sizes: Sizes) {
    let Sizes { channels: c, heads, tokens } = sizes;
    let name = |part: &str| format!("{pool}.{part}");
    let mut take = |part: &str| weights.remove(&name(part)).expect("`write_out` made it").values;
    let mut position = take("query_token.constant");
    position.extend(transposed(&take("patch_tokens.constant"), c, tokens));
    let [query, questions, value, value_bias] =
        ["q_proj.weight", "question.weight", "value.weight", "value.bias"].map(&mut take);
    let d = c / heads;
    let scale = (d as f64).sqrt();
    let key = questions.chunks(c * d).flat_map(|head| transposed(head, c, d));
    let key = key.map(|w| (f64::from(w) * scale) as f32).collect();
    let mut put = |part: &str, shape: &[usize], values: Vec<f32>| {
        weights.insert(name(part), Array { shape: shape.to_vec(), values });
    };
    put("positional_embedding", &[tokens + 1, c], position);
    put("k_proj.weight", &[c, c], key);
    put("k_proj.bias", &[c], vec![0.0; c]);
    put("q_proj.weight", &[c, c], query);
    put("v_proj.weight", &[c, c], value);
    put("v_proj.bias", &[c], value_bias);
}

/// `[rows, columns]` → `[columns, rows]`
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixtures, passes::interpreter::Interpreter, read::weights};
    use graph::Backbone;

    fn network(seed: u32) -> (Graph, Weights) {
        let config = fixtures::attention_config(Backbone::Resnet18);
        let graph = config.graph([1, 64, 96]).unwrap();
        let weights = fixtures::random(&graph, seed);
        (graph, weights)
    }

    #[test]
    fn a_pool_written_out_means_the_same() {
        for seed in 1..4 {
            let (graph, params) = network(seed);
            let (written, written_params) = write_out(&graph, &params);
            weights::check(&written_params, &written).unwrap();
            written.shapes().unwrap();
            assert!(written.nodes.iter().all(|n| !matches!(n.op, Op::AttentionPool2d { .. })));
            let image = fixtures::image(&graph, seed + 7);
            let before = Interpreter::new(&graph, &params).unwrap().outputs(&image).unwrap();
            let after = Interpreter::new(&written, &written_params).unwrap();
            for ((name, before), (_, after)) in before.iter().zip(&after.outputs(&image).unwrap()) {
                let difference = fixtures::relative_difference(before, after);
                assert!(difference < 1e-4, "{name}: {difference}");
            }
        }
    }

    #[cfg(feature = "distill")]
    #[test]
    fn weights_come_back_as_they_were_but_for_the_keys_bias() {
        let (graph, mut params) = network(5);
        let (_, written) = write_out(&graph, &params);
        let back = gather(&graph, &written);
        weights::check(&back, &graph).unwrap();
        params.get_mut("attnpool.k_proj.bias").unwrap().values.fill(0.0);
        for (name, array) in &params {
            let difference = fixtures::relative_difference(&array.values, &back[name].values);
            assert!(difference < 1e-6, "{name}: {difference}");
        }
    }
}
