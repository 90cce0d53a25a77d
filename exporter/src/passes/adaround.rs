//! AdaRound: weights rounded up or down by what that does to the layer's output, not to the nearest.
//!
//! For a layer with inputs `x` (patches, `[K]`) the output error of rounding `w` to `ŵ` is
//! `e·C·eᵀ` with `e = ŵ − w` and `C = E[x·xᵀ]` (Nagel et al. 2020, eq. 9). Each weight has two choices.
//! The paper relaxes them to a sigmoid and runs ten thousand gradient steps; the problem is quadratic, so
//! here single weights change sides as long as that lowers the error, in fixed order: exact, no settings,
//! never worse than nearest.
//!
//! ```text
//! changing e_k by δ changes e·C·eᵀ by  2δ·(e·C)_k + δ²·C_kk       checked for every weight, K at a time
//! ```

use super::{
    interpreter::Interpreter,
    quantized::{Layer, Quantized},
};
use crate::read::{
    images::{ImageSet, Input},
    weights::Weights,
};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use graph::{Graph, Node, Op, Preprocess};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Codes of the layers' weights.
pub(crate) type Codes = BTreeMap<String, Vec<i8>>;

/// Patches of one image that count: neighbours tell the same.
const PATCHES: usize = 48;
/// Images that count; the second moments of more are hardly different.
const IMAGES: usize = 64;
/// Sweeps over the weights; later ones change next to nothing.
const SWEEPS: usize = 4;
/// Share of the mean variance added to each, against directions no patch showed.
const DAMPING: f32 = 0.01;

/// Better codes for every integer layer of `model`, judged on `images`.
pub(crate) fn round(
    model: &Quantized,
    weights: &Weights,
    images: &ImageSet,
    preprocess: &Preprocess,
    progress: &ProgressBar,
) -> Result<Codes> {
    let graph = &model.graph;
    let layers: Vec<&Node> =
        graph.nodes.iter().filter(|node| model.layers.contains_key(&node.name)).collect();
    let images = crate::read::images::spread(images.paths.clone(), IMAGES);
    progress.set_length((images.len() + layers.len()) as u64);
    let patches = gather(graph, weights, &layers, &images, preprocess, progress)?;
    let mut codes = Codes::new();
    for node in layers {
        let layer = &model.layers[&node.name];
        let float = &weights[&format!("{}.weight", node.name)].values;
        codes.insert(node.name.clone(), layer_codes(layer, float, &patches[&node.name])?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(codes)
}

/// Puts `codes` in place of nearest rounding.
pub(crate) fn apply(model: &mut Quantized, codes: &Codes) {
    for (node, layer) in &mut model.layers {
        if let Some(codes) = codes.get(node) {
            layer.weights.values.clone_from(codes);
        }
    }
}

/// What a layer's kernels see: `[group][patch · K]`.
struct Patches {
    depth: usize,
    groups: Vec<Vec<f32>>,
}

fn gather(
    graph: &Graph,
    weights: &Weights,
    layers: &[&Node],
    images: &[std::path::PathBuf],
    preprocess: &Preprocess,
    progress: &ProgressBar,
) -> Result<BTreeMap<String, Patches>> {
    let interpreter = Interpreter::new(graph, weights)?;
    let shapes = graph.shapes()?;
    let mut patches: BTreeMap<String, Patches> = BTreeMap::new();
    for path in images {
        let input = Input::read(path, preprocess)?;
        let see = |tensor: &str, values: &[f32]| {
            for node in layers.iter().filter(|node| node.inputs[0] == tensor) {
                let window = Window::of(node, &shapes[tensor]);
                let own = patches.entry(node.name.clone()).or_insert_with(|| window.none());
                window.add(values, own);
            }
            None
        };
        interpreter.run(&input.pixels, see).with_context(|| path.display().to_string())?;
        progress.inc(1);
    }
    Ok(patches)
}

/// How a layer's kernels lie on its input.
struct Window {
    /// `[C, H, W]`
    input: [usize; 3],
    /// How far its values lie apart along each axis.
    steps: [usize; 3],
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Top, left, bottom, right.
    padding: [usize; 4],
    dilation: [usize; 2],
    groups: usize,
}

impl Window {
    fn of(node: &Node, shape: &[usize]) -> Self {
        let (input, steps) = match (&node.op, shape) {
            (Op::Conv2d { .. }, &[c, h, w]) => ([c, h, w], [h * w, w, 1]),
            // Rows of tokens, channels innermost.
            (_, [rows @ .., c]) => ([*c, rows.iter().product(), 1], [1, *c, 1]),
            _ => unreachable!("what a layer reads has axes"),
        };
        match node.op {
            Op::Conv2d { kernel, stride, padding, dilation, groups, .. } => {
                Self { input, steps, kernel, stride, padding, dilation, groups }
            }
            _ => Self {
                input,
                steps,
                kernel: [1; 2],
                stride: [1; 2],
                padding: [0; 4],
                dilation: [1; 2],
                groups: 1,
            },
        }
    }

    fn none(&self) -> Patches {
        let depth = self.input[0] / self.groups * self.kernel[0] * self.kernel[1];
        Patches { depth, groups: vec![Vec::new(); self.groups] }
    }

    /// Appends at most [`PATCHES`] patches of one image, spread evenly.
    fn add(&self, values: &[f32], patches: &mut Patches) {
        let [channels, height, width] = self.input;
        let (rows, columns) = (self.count(0, height), self.count(1, width));
        let count = (rows * columns).min(PATCHES);
        let per_group = channels / self.groups;
        for at in (0..count).map(|at| at * rows * columns / count) {
            let (row, column) = (at / columns, at % columns);
            for (group, out) in patches.groups.iter_mut().enumerate() {
                for channel in group * per_group..(group + 1) * per_group {
                    for y in (0..self.kernel[0]).map(|k| self.source(0, row, k, height)) {
                        for x in (0..self.kernel[1]).map(|k| self.source(1, column, k, width)) {
                            let inside = y.zip(x);
                            let value = |(y, x)| {
                                values[channel * self.steps[0]
                                    + y * self.steps[1]
                                    + x * self.steps[2]]
                            };
                            out.push(inside.map_or(0.0, value));
                        }
                    }
                }
            }
        }
    }

    /// Outputs along an axis of `size`.
    fn count(&self, axis: usize, size: usize) -> usize {
        let span = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
        (size + self.padding[axis] + self.padding[axis + 2] - span) / self.stride[axis] + 1
    }

    /// What tap `k` of output `at` reads, unless it is border.
    fn source(&self, axis: usize, at: usize, k: usize, size: usize) -> Option<usize> {
        let place = at * self.stride[axis] + k * self.dilation[axis];
        place.checked_sub(self.padding[axis]).filter(|&place| place < size)
    }
}

fn layer_codes(layer: &Layer, float: &[f32], patches: &Patches) -> Result<Vec<i8>> {
    let depth = patches.depth;
    let rows_per_group = layer.shape[0] / patches.groups.len();
    let mut codes = layer.weights.values.clone();
    for (group, patches) in patches.groups.iter().enumerate() {
        let moments = second_moments(patches, depth)?;
        let first = group * rows_per_group;
        codes[first * depth..(first + rows_per_group) * depth]
            .par_chunks_mut(depth)
            .enumerate()
            .for_each(|(row, codes)| {
                let row = first + row;
                let wanted = &float[row * depth..(row + 1) * depth];
                improve(codes, wanted, layer.weights.scales[row], &moments);
            });
    }
    Ok(codes)
}

/// `C = E[x·xᵀ]`, damped, `[K · K]`.
fn second_moments(patches: &[f32], depth: usize) -> Result<Vec<f32>> {
    let count = patches.len() / depth;
    let x = Tensor::from_slice(patches, (count, depth), &Device::Cpu)?;
    let product = (x.t()?.contiguous()?.matmul(&x)? / count as f64)?;
    let mut moments: Vec<f32> = product.flatten_all()?.to_vec1()?;
    let mean = (0..depth).map(|k| moments[k * depth + k]).sum::<f32>() / depth as f32;
    (0..depth).for_each(|k| moments[k * depth + k] += DAMPING * mean);
    Ok(moments)
}

/// Moves single codes to the other side of their weight while that lowers `e·C·eᵀ`.
fn improve(codes: &mut [i8], wanted: &[f32], scale: f32, moments: &[f32]) {
    let depth = codes.len();
    let mut error: Vec<f32> =
        codes.iter().zip(wanted).map(|(&q, w)| f32::from(q) * scale - w).collect();
    // e·C, kept up to date.
    let mut pull = vec![0.0_f32; depth];
    for (e, row) in error.iter().zip(moments.chunks(depth)) {
        pull.iter_mut().zip(row).for_each(|(pull, c)| *pull += e * c);
    }
    for _ in 0..SWEEPS {
        let mut changed = false;
        for k in 0..depth {
            // Only the two neighbours of the weight are choices, so a code moves against its error.
            let step: i8 = if error[k] > 0.0 { -1 } else { 1 };
            let moved = i16::from(codes[k]) + i16::from(step);
            let delta = f32::from(step) * scale;
            let gain = 2.0 * delta * pull[k] + delta * delta * moments[k * depth + k];
            let neighbours = (error[k] + delta).abs() < scale;
            if gain < 0.0 && neighbours && (-127..=127).contains(&moved) {
                codes[k] = moved as i8;
                error[k] += delta;
                let row = &moments[k * depth..(k + 1) * depth];
                pull.iter_mut().zip(row).for_each(|(pull, c)| *pull += delta * c);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    /// `e·C·eᵀ` in f64.
    fn output_error(codes: &[i8], wanted: &[f32], scale: f32, moments: &[f32]) -> f64 {
        let depth = codes.len();
        let error: Vec<f64> = codes
            .iter()
            .zip(wanted)
            .map(|(&q, &w)| f64::from(q) * f64::from(scale) - f64::from(w))
            .collect();
        (0..depth * depth)
            .map(|at| error[at / depth] * f64::from(moments[at]) * error[at % depth])
            .sum()
    }

    fn case(seed: u32) -> (Vec<f32>, Vec<f32>) {
        let graph = graph::ModelConfig::encoder(graph::Backbone::Resnet18, graph::Pool::Mean)
            .graph([1, 32, 32])
            .unwrap();
        let noise = fixtures::image(&graph, seed);
        let patches: Vec<f32> = noise.iter().copied().take(1008).collect();
        let wanted: Vec<f32> = noise.iter().rev().copied().take(8).collect();
        (second_moments(&patches, 8).unwrap(), wanted)
    }

    #[test]
    fn the_output_error_is_the_least_of_all_single_changes_and_below_nearest() {
        let mut better = 0;
        for seed in 1..20 {
            let (moments, wanted) = case(seed);
            let scale = 0.05;
            let nearest: Vec<i8> =
                wanted.iter().map(|w| (w / scale).round_ties_even() as i8).collect();
            let mut codes = nearest.clone();
            improve(&mut codes, &wanted, scale, &moments);
            let error = |codes: &[i8]| output_error(codes, &wanted, scale, &moments);
            assert!(error(&codes) <= error(&nearest) * (1.0 + 1e-5), "seed {seed}");
            better += usize::from(error(&codes) < 0.95 * error(&nearest));
            for (q, w) in codes.iter().zip(&wanted) {
                assert!((f32::from(*q) * scale - w).abs() < scale * 1.001, "a neighbour of {w}");
            }
        }
        assert!(better > 5, "{better} of 19 improved");
    }

    #[test]
    fn a_patch_is_what_the_kernel_lies_on() {
        let window = Window {
            input: [1, 3, 3],
            steps: [9, 3, 1],
            kernel: [3; 2],
            stride: [2; 2],
            padding: [1; 4],
            dilation: [1; 2],
            groups: 1,
        };
        let mut patches = window.none();
        let values: Vec<f32> = (1..=9).map(|x| x as f32).collect();
        window.add(&values, &mut patches);
        assert_eq!(patches.groups[0].len(), 4 * 9);
        assert_eq!(patches.groups[0][..9], [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 4.0, 5.0]);
        assert_eq!(patches.groups[0][27..], [5.0, 6.0, 0.0, 8.0, 9.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
