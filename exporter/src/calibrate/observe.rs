//! One pass of the float network over the calibration images, and the ranges that follow from it.

use crate::{
    passes::{
        interpreter::Interpreter,
        quantized::{Plan, is_layer},
    },
    read::{
        images::{ImageSet, Input},
        weights::Weights,
    },
};
use anyhow::{Context, Result};
use calibration::{Entry, Method, Observer, Range, Table};
use graph::{Graph, Node, Op, Preprocess, Unary};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// What the images did to every tensor that owns codes.
#[derive(Clone, Debug)]
pub(crate) struct Observations {
    pub(crate) observers: BTreeMap<String, Observer>,
    /// Mean of each channel of what layers read.
    pub(crate) means: BTreeMap<String, Vec<f64>>,
    pub(crate) images: usize,
    /// SHA-256 over the images' digests, in order.
    pub(crate) digest: [u8; 32],
}

/// Runs `images` through a folded network.
pub(crate) fn observe(
    graph: &Graph,
    weights: &Weights,
    plan: &Plan,
    images: &ImageSet,
    preprocess: &Preprocess,
    progress: &ProgressBar,
) -> Result<Observations> {
    let interpreter = Interpreter::new(graph, weights)?;
    let mut observers: HashMap<&str, Observer> = plan
        .tensors()
        .iter()
        .filter(|tensor| plan.owner(tensor) == tensor.as_str())
        .map(|tensor| (tensor.as_str(), Observer::default()))
        .collect();
    let mut means = ChannelMeans::new(graph)?;
    let mut hash = Sha256::new();
    progress.set_length(images.paths.len() as u64);
    for path in &images.paths {
        let input = Input::read(path, preprocess)?;
        hash.update(input.digest);
        let see = |tensor: &str, values: &[f32]| {
            if let Some(observer) = observers.get_mut(tensor) {
                observer.observe(values);
            }
            means.add(tensor, values);
            None
        };
        interpreter.run(&input.pixels, see).with_context(|| path.display().to_string())?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    let count = images.paths.len();
    let mean = |sums: Sums| sums.of_channel.iter().map(|sum| sum / count as f64).collect();
    Ok(Observations {
        observers: observers.into_iter().map(|(name, observer)| (name.into(), observer)).collect(),
        means: means.sums.into_iter().map(|(tensor, sums)| (tensor, mean(sums))).collect(),
        images: count,
        digest: hash.finalize().into(),
    })
}

impl Observations {
    /// Ranges of all tensors by one method, `symmetric` ones with the code of 0 in the middle.
    ///
    /// Where a range is known, it is not observed: see [`known_range`].
    pub(crate) fn table(
        &self,
        graph: &Graph,
        method: Method,
        preprocess: &Preprocess,
        symmetric: bool,
    ) -> Result<Table> {
        let mut table = Table::default();
        for (tensor, observer) in &self.observers {
            let fail = || format!("tensor `{tensor}` cannot be calibrated");
            let seen = observer.seen().with_context(fail)?;
            let (method, mut range) = match known_range(graph, tensor, preprocess) {
                Some(range) => (Method::MinMax, range),
                None => (method, observer.range(method).with_context(fail)?),
            };
            if graph.node(tensor).is_some_and(|node| node.op == Op::Relu6) {
                range.hi = range.hi.min(6.0);
            }
            let entry = Entry {
                method,
                range,
                params: if symmetric { range.symmetric() } else { range.activation() },
                seen,
                count: observer.histogram().total(),
            };
            table.tensors.insert(tensor.clone(), entry);
        }
        Ok(table)
    }
}

/// Sums of each channel's mean, image by image.
struct ChannelMeans {
    sums: BTreeMap<String, Sums>,
}

struct Sums {
    of_channel: Vec<f64>,
    /// Channels lie innermost, as those of tokens do.
    innermost: bool,
}

impl ChannelMeans {
    fn new(graph: &Graph) -> Result<Self> {
        let shapes = graph.shapes()?;
        let sums = |node: &Node| {
            let shape = &shapes[node.inputs[0].as_str()];
            let innermost = matches!(node.op, Op::Linear { .. });
            let channels = if innermost { shape.last() } else { shape.first() };
            Sums { of_channel: vec![0.0; channels.copied().unwrap_or(1)], innermost }
        };
        let layers = graph.nodes.iter().filter(|node| is_layer(node));
        Ok(Self { sums: layers.map(|node| (node.inputs[0].clone(), sums(node))).collect() })
    }

    /// `values` of one image, `[C, …]` or `[…, C]`.
    fn add(&mut self, tensor: &str, values: &[f32]) {
        let Some(Sums { of_channel, innermost }) = self.sums.get_mut(tensor) else { return };
        let per_channel = values.len() / of_channel.len();
        if *innermost {
            for row in values.chunks(of_channel.len()) {
                for (sum, &x) in of_channel.iter_mut().zip(row) {
                    *sum += f64::from(x) / per_channel as f64;
                }
            }
            return;
        }
        for (sum, channel) in of_channel.iter_mut().zip(values.chunks(per_channel)) {
            *sum += channel.iter().map(|&x| f64::from(x)).sum::<f64>() / per_channel as f64;
        }
    }
}

/// Pixels are in `[0, 1]` before normalisation, and so are the shares a softmax gives and the gates of a sigmoid: one that
/// calibration did not see must not be cut.
fn known_range(graph: &Graph, tensor: &str, preprocess: &Preprocess) -> Option<Range> {
    if tensor == graph.input {
        let ends = preprocess.normalised(vec![0.0, 1.0]); // of every channel
        let [lo, hi] = [f32::min, f32::max].map(|of| ends.iter().copied().fold(ends[0], of));
        return Some(Range { lo, hi }.with_zero());
    }
    let gate = |function: &Unary| matches!(function, Unary::Sigmoid | Unary::HardSigmoid { .. });
    let is_share = match &graph.node(tensor)?.op {
        Op::Softmax => true,
        Op::Unary { function } => gate(function),
        _ => false,
    };
    is_share.then_some(Range { lo: 0.0, hi: 1.0 })
}
