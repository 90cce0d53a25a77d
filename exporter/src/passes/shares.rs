//! What each place adds to an attention pool, with the attention of the one image taken as it is: the pool is then a sum
//! over tokens, and the mean token a mean over places, so every place has a share, and their mean is the pool, exactly.
//!
//! With `f_p` the map, `x_p = f_p + e_p` its tokens, `x_0 = mean_p f_p + e_0`, `a` the attention of a head and `P` places:
//!
//! ```text
//! pool    = Wc·(Wv Σ_t a_t x_t + bv) + bc                                          t = 0, 1 … P
//! share_p = Wc·(P a_p Wv (f_p + e_p) + a_0 Wv (f_p + e_0) + bv) + bc              mean_p share_p = pool
//! G_p     = Wg share_p + bg = P·Wg Wc·(a_p n_p + a_0/P m_p) + Wg (Wc bv + bc) + bg
//! ```
//!
//! `m_p = Wv (f_p + e_0)` is a convolution of one pixel, `n_p` that and a constant, and what makes `G_p` of them another
//! convolution, so all of it is what eight bits cover. Names are those of [`pool::write_out`]:
//!
//! ```text
//! attention [heads, 1 + P] ─┬─ place_shares (a_p, of each channel) [C, H, W] ──── Mul ─ place_parts ─┐
//!                           │                             m + constant = n [C, H, W] ──┘              Add ─ Conv ─ G
//!                           └─ mean_share (a_0/P, of each channel) [C, 1, 1] ── Mul ─ mean_parts ─────┘
//! x [C, H, W] ─────────────── mean_values (Wv) = m [C, H, W] ─────────────────────┘
//! ```

use super::pool::{self, Sizes};
use crate::read::prior::{GLOBAL, GLOBAL_PLACES, Prior};
use crate::read::weights::{Array, Weights};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use graph::{Graph, LANGUAGE_GLOBAL_PLACES, Node, Op, Output};

/// The network with the projections into the joint space as outputs, and its weights; an attention pool written out, so
/// that the shares of its places can be told.
pub(crate) fn with_projections(
    prior: &Prior,
    graph: &Graph,
    weights: &Weights,
) -> Result<(Graph, Weights)> {
    let (graph, weights) = prior.with_projections(graph, weights)?;
    let (pool, _) = graph.pooled()?;
    if let Op::AttentionPool2d { .. } = pool.op {
        return with_shares(&graph, &weights, &pool.name, GLOBAL, GLOBAL_PLACES);
    }
    Ok((graph, weights))
}

/// The node that makes the values of a pool's places ends with this.
const VALUES: &str = ".mean_values";

/// Largest code of the weights that make values: seven bits. What a place adds is rounded far more coarsely behind them, and
/// two neighbours of at most 64 each are what AVX2 multiplies side by side, whatever the weights are. Those of a pool are
/// nearly uniform, so that with eight bits every fourth pair is not, and the widest layer of shares took three times as long.
pub(super) const MOST: i8 = 64;

pub(super) fn makes_values(layer: &str) -> bool {
    layer.ends_with(VALUES)
}

/// The same network with the attention pool `pool` written out and [`LANGUAGE_GLOBAL_PLACES`] as one more output, by a node
/// called `name`; `global` is the layer on the pool that its places go through.
fn with_shares(
    graph: &Graph,
    weights: &Weights,
    pool: &str,
    global: &str,
    name: &str,
) -> Result<(Graph, Weights)> {
    let pool = graph.node(pool).expect("the caller found it");
    let sizes = pool::sizes(pool).expect("it is an attention pool");
    let shapes = graph.shapes().expect("the graph was checked");
    let map = shapes[pool.inputs[0].as_str()].clone();
    let of = |node: &str, part: &str| &weights[&format!("{node}.{part}")].values;
    let own = |part: &str| of(&pool.name, part);
    let (c, width) = (sizes.channels, of(global, "bias").len());

    let value = matrix(own("v_proj.weight"), c)?;
    let [joint, last] = [matrix(of(global, "weight"), width)?, matrix(own("c_proj.weight"), c)?];
    let positions = matrix(own("positional_embedding"), 1 + sizes.tokens)?.t()?;
    let (mean, places) = (positions.narrow(1, 0, 1)?, positions.narrow(1, 1, sizes.tokens)?);
    let apart = value.matmul(&places.broadcast_sub(&mean)?)?;
    let joined = (joint.matmul(&last)? * sizes.tokens as f64)?;
    let column = |values: &[f32]| matrix(values, values.len());
    let rest = (last.matmul(&column(own("v_proj.bias"))?)? + column(own("c_proj.bias"))?)?;
    let rest = (joint.matmul(&rest)? + column(of(global, "bias"))?)?;

    let (parts, all) = (parts(pool, sizes, &map, width, name), pool.name.clone());
    let (mut graph, mut written_out) = pool::write_out(graph, weights);
    graph.nodes.extend(parts);
    graph.outputs.push(Output { name: LANGUAGE_GLOBAL_PLACES.into(), node: name.into() });
    let mut put = |param: String, shape: &[usize], values: Vec<f32>| {
        written_out.insert(param, Array { shape: shape.to_vec(), values });
    };
    put(format!("{all}{VALUES}.weight"), &[c, c, 1, 1], own("v_proj.weight").clone());
    put(format!("{all}{VALUES}.bias"), &[c], numbers(&value.matmul(&mean)?)?);
    put(format!("{all}.place_values.constant"), &map, numbers(&apart)?);
    put(format!("{all}.place_shares.weight"), &[c, 1, 1, 1], vec![1.0; c]);
    let share = 1.0 / sizes.tokens as f32;
    put(format!("{all}.mean_share.weight"), &[c, 1, 1, 1], vec![share; c]);
    put(format!("{name}.weight"), &[width, c, 1, 1], numbers(&joined)?);
    put(format!("{name}.bias"), &[width], numbers(&rest)?);
    Ok((graph, written_out))
}

/// `[rows, …]` in double precision: sums over channels are rounded to `f32` once, at the end.
fn matrix(values: &[f32], rows: usize) -> Result<Tensor> {
    let shape = (rows, values.len() / rows);
    Ok(Tensor::from_slice(values, shape, &Device::Cpu)?.to_dtype(DType::F64)?)
}

fn numbers(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// The nodes behind those of [`pool::write_out`], in order; the last one makes `[width, H, W]`.
fn parts(pool: &Node, sizes: Sizes, map: &[usize], width: usize, last: &str) -> Vec<Node> {
    let Sizes { channels: c, heads, tokens } = sizes;
    let name = |part: &str| format!("{}.{part}", pool.name);
    let mut nodes = Vec::new();
    let mut push = |name: String, op: Op, inputs: &[&str]| {
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        nodes.push(Node { name: name.clone(), op, inputs });
        name
    };
    let shaped = |shape: &[usize]| Op::Reshape { shape: shape.to_vec() };
    let part = |start, end| Op::Slice { axis: 1, start, end, step: 1 };
    let pixel =
        |inputs, outputs, groups, bias| Op::conv2d([inputs, outputs], 1, 1, 0, groups, bias);
    let attention = name("attention");

    // Of each head's channels the same number: a convolution of one pixel, as products repeat no groups of channels.
    let values = format!("{}{VALUES}", pool.name);
    let values = push(values, pixel(c, c, 1, true), &[&pool.inputs[0]]);
    let share = push(name("mean_attention"), part(0, 1), &[&attention]);
    let share = push(name("mean_pixel"), shaped(&[heads, 1, 1]), &[&share]);
    let share = push(name("mean_share"), pixel(heads, c, heads, false), &[&share]);
    let mean = push(name("mean_parts"), Op::Mul, &[&values, &share]);

    let values = push(name("place_values"), Op::AddConstant { shape: map.to_vec() }, &[&values]);
    let shares = push(name("place_attention"), part(1, 1 + tokens), &[&attention]);
    let shares = push(name("place_pixels"), shaped(&[heads, map[1], map[2]]), &[&shares]);
    let shares = push(name("place_shares"), pixel(heads, c, heads, false), &[&shares]);
    let own = push(name("place_parts"), Op::Mul, &[&values, &shares]);
    let parts = push(name("parts"), Op::Add, &[&own, &mean]);
    push(last.to_owned(), pixel(c, width, 1, true), &[&parts]);
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures,
        passes::interpreter::{Interpreter, output},
        read::weights,
    };
    use graph::{Backbone, LANGUAGE_GLOBAL};

    #[test]
    fn shares_of_places_add_up_to_the_pool_and_leave_it_as_it_was() {
        for seed in 1..4 {
            // 2x3 places.
            let config = fixtures::attention_config(Backbone::Resnet18);
            let graph = config.graph([1, 64, 96]).unwrap().with_language(16).unwrap();
            let params = fixtures::random(&graph, seed);
            let global = "global_image_projection";
            let (shared, shared_params) =
                with_shares(&graph, &params, "attnpool", global, "own").unwrap();
            weights::check(&shared_params, &shared).unwrap();
            assert_eq!(shared.shapes().unwrap()["own"], [16, 2, 3]);
            let image = fixtures::image(&graph, seed + 7);
            let before = Interpreter::new(&graph, &params).unwrap().outputs(&image).unwrap();
            let after = Interpreter::new(&shared, &shared_params).unwrap();
            let after = after.outputs(&image).unwrap();
            for (name, before) in &before {
                let difference =
                    fixtures::relative_difference(before, output(&after, name).unwrap());
                assert!(difference < 1e-4, "{name}: {difference}");
            }
            let shares = output(&after, LANGUAGE_GLOBAL_PLACES).unwrap();
            let mean: Vec<f32> =
                shares.chunks_exact(6).map(|row| row.iter().sum::<f32>() / 6.0).collect();
            let whole = output(&after, LANGUAGE_GLOBAL).unwrap();
            let difference = fixtures::relative_difference(whole, &mean);
            assert!(difference < 1e-5, "{difference}");
        }
    }
}
