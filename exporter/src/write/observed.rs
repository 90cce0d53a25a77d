//! What images do to the tensors of a network that came quantized. It is not rounded here, so nothing follows from it; a
//! bundle has it to compare with what the box sees.

use super::manifest;
use crate::{
    read::images::{ImageSet, Input},
    verify::{Activation, Network},
};
use anyhow::{Context, Result};
use bundle::{Calibration, TensorRange};
use calibration::Observer;
use graph::Preprocess;
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use std::{collections::HashMap, path::Path};

/// What images do to every tensor whose codes the engine has: the histograms that a bundle carries. Ranges are the file's.
pub(crate) fn calibration(
    network: &Network,
    images: &Path,
    limit: usize,
    preprocess: &Preprocess,
    progress: &ProgressBar,
) -> Result<Calibration> {
    let images = ImageSet::find(images, limit)?;
    progress.set_length(images.paths.len() as u64);
    let mut tensors: Vec<(TensorRange, Observer)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut hash = Sha256::new();
    for path in &images.paths {
        let input = Input::read(path, preprocess)?;
        hash.update(input.digest);
        let seen = network.infer_all(&input.pixels);
        for activation in seen.with_context(|| path.display().to_string())?.1 {
            let at = *places.entry(activation.tensor.clone()).or_insert_with(|| {
                tensors.push((range(&activation), Observer::default()));
                tensors.len() - 1
            });
            tensors[at].1.observe(&activation.values);
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let with_histogram = |(mut tensor, observer): (TensorRange, Observer)| {
        let fail = || format!("tensor `{}`", tensor.name);
        let seen = observer.seen().with_context(fail)?;
        tensor.histogram = manifest::seen(observer.histogram(), seen);
        Ok(tensor)
    };
    Ok(Calibration {
        observer: "none: it came quantized".into(),
        images: images.paths.len() as u32,
        data_digest: hex::encode(hash.finalize()),
        tensors: tensors.into_iter().map(with_histogram).collect::<Result<_>>()?,
    })
}

/// All that a tensor's codes can say.
fn range(activation: &Activation) -> TensorRange {
    let [least, most] = if activation.signed { [-128, 127] } else { [0, 255] };
    let value = |code: i32| (code - activation.zero) as f32 * activation.scale;
    TensorRange {
        name: activation.tensor.clone(),
        min: value(least),
        max: value(most),
        scale: activation.scale,
        zero: activation.zero,
        histogram: bundle::Histogram { start: 0.0, step: 0.0, counts: Vec::new() },
    }
}
