//! SmoothQuant's migration (Xiao 2023): what a normalisation makes has a few channels far larger than the others, and
//! the linear layers that read it have even weights. Dividing channel `j` by `s_j` in the one and multiplying by it in
//! the others changes nothing in float, and the codes between, which all channels share, are used by all of them.
//!
//! `s_j = √(reach of x_j / reach of the weights that read x_j)`, the geometric middle between smoothing the activations
//! alone and the weights alone.

use crate::{
    passes::interpreter::Interpreter,
    read::{
        images::{ImageSet, Input},
        weights::Weights,
    },
};
use anyhow::{Context, Result};
use graph::{Graph, Node, Op, Preprocess};
use indicatif::ProgressBar;
use std::collections::BTreeMap;

/// The same network in float, with every normalisation of tokens that only linear layers read smoothed by what `images`
/// do to it. Networks without one are left as they are, without a look at the images.
pub(crate) fn smooth(
    graph: &Graph,
    weights: &mut Weights,
    images: &ImageSet,
    preprocess: &Preprocess,
    progress: &ProgressBar,
) -> Result<()> {
    let groups: Vec<(&Node, Vec<&Node>)> =
        graph.nodes.iter().filter_map(|norm| Some((norm, readers(graph, norm)?))).collect();
    if groups.is_empty() {
        return Ok(());
    }
    let mut reaches: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    for (norm, _) in &groups {
        let Op::LayerNorm { channels, .. } = norm.op else { continue };
        reaches.insert(&norm.name, vec![0.0; channels]);
    }
    let interpreter = Interpreter::new(graph, weights)?;
    progress.set_length(images.paths.len() as u64);
    for path in &images.paths {
        let input = Input::read(path, preprocess)?;
        let see = |tensor: &str, values: &[f32]| {
            if let Some(reach) = reaches.get_mut(tensor) {
                add(reach, values);
            }
            None
        };
        interpreter.run(&input.pixels, see).with_context(|| path.display().to_string())?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    for (norm, layers) in groups {
        migrate(weights, &norm.name, &layers, &reaches[norm.name.as_str()]);
    }
    Ok(())
}

/// The linear layers that alone read a normalisation of tokens.
fn readers<'a>(graph: &'a Graph, norm: &Node) -> Option<Vec<&'a Node>> {
    let readers: Vec<&Node> =
        graph.nodes.iter().filter(|node| node.inputs.contains(&norm.name)).collect();
    let linear = readers.iter().all(|reader| matches!(reader.op, Op::Linear { .. }));
    let is_output = graph.outputs.iter().any(|output| output.node == norm.name);
    let smooths = matches!(norm.op, Op::LayerNorm { .. }) && linear && !is_output;
    (smooths && !readers.is_empty()).then_some(readers)
}

/// Channels lie innermost.
fn add(reach: &mut [f32], values: &[f32]) {
    for row in values.chunks(reach.len()) {
        for (reach, x) in reach.iter_mut().zip(row) {
            *reach = reach.max(x.abs());
        }
    }
}

fn migrate(weights: &mut Weights, norm: &str, layers: &[&Node], reach: &[f32]) {
    let mut of_weights = vec![0.0_f32; reach.len()];
    for layer in layers {
        add(&mut of_weights, &weights[&format!("{}.weight", layer.name)].values);
    }
    let factors: Vec<f32> = reach
        .iter()
        .zip(&of_weights)
        .map(|(x, w)| (x / w).sqrt())
        // A dead channel stays as it is.
        .map(|factor| if factor.is_normal() { factor } else { 1.0 })
        .collect();
    for param in ["weight", "bias"] {
        let array = weights.get_mut(&format!("{norm}.{param}")).expect("weights were checked");
        array.values.iter_mut().zip(&factors).for_each(|(value, factor)| *value /= factor);
    }
    for layer in layers {
        let array =
            weights.get_mut(&format!("{}.weight", layer.name)).expect("weights were checked");
        for row in array.values.chunks_mut(factors.len()) {
            row.iter_mut().zip(&factors).for_each(|(weight, factor)| *weight *= factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{self, sketches},
        passes::{
            quantized::{Plan, Quantized},
            simulate::{Simulation, distortion},
        },
    };
    use calibration::{Method, Observer};
    use image::GrayImage;

    /// Noise over signal of the outputs on eight bits.
    fn noise(graph: &Graph, weights: &Weights, image: &[f32]) -> f64 {
        let plan = Plan::new(graph).unwrap();
        let mut observers: BTreeMap<String, Observer> = BTreeMap::new();
        let see = |tensor: &str, values: &[f32]| {
            observers.entry(tensor.into()).or_default().observe(values);
            None
        };
        let float = Interpreter::new(graph, weights).unwrap().run(image, see).unwrap();
        let owners = plan.tensors().iter().map(|tensor| plan.owner(tensor).to_owned());
        let params = owners
            .map(|owner| {
                let range = observers[&owner].range(Method::MinMax).unwrap();
                (owner, range.activation())
            })
            .collect();
        let model = Quantized::new(graph.clone(), plan, weights, &params);
        distortion(&float, &Simulation::new(&model).unwrap().run(image, |_, _| {}).unwrap())
    }

    #[test]
    fn channels_far_larger_than_the_others_cost_less_and_the_float_outputs_stay() {
        let (graph, mut weights) = sketches::tokens();
        for norm in graph.nodes.iter().filter(|node| matches!(node.op, Op::LayerNorm { .. })) {
            let gain = weights.get_mut(&format!("{}.weight", norm.name)).unwrap();
            gain.values[5] = 60.0;
            // What reads the channel makes up for it, as trained networks do.
            for layer in readers(&graph, norm).unwrap() {
                let name = format!("{}.weight", layer.name);
                let rows = weights.get_mut(&name).unwrap().values.chunks_mut(24);
                rows.for_each(|row| row[5] /= 60.0);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for seed in 0..8_u32 {
            let pixel = |x, y| image::Luma([((x * 31 + y * 17 + seed * 101) % 251) as u8]);
            let picture = GrayImage::from_fn(16, 16, pixel);
            picture.save(folder.path().join(format!("{seed}.png"))).unwrap();
        }
        let images = ImageSet::find(folder.path(), 8).unwrap();
        let preprocess = Preprocess { height: 16, width: 16, ..Preprocess::PRIOR };
        let mut smoothed = weights.clone();
        smooth(&graph, &mut smoothed, &images, &preprocess, &ProgressBar::hidden()).unwrap();

        let image = Input::read(&images.paths[0], &preprocess).unwrap().pixels;
        let outputs =
            |weights: &Weights| Interpreter::new(&graph, weights).unwrap().outputs(&image).unwrap();
        for ((name, before), (_, after)) in outputs(&weights).iter().zip(&outputs(&smoothed)) {
            assert!(fixtures::relative_difference(before, after) < 1e-5, "{name}");
        }
        let [before, after] = [&weights, &smoothed].map(|weights| noise(&graph, weights, &image));
        assert!(after < before / 4.0, "{after} {before}");
    }
}
