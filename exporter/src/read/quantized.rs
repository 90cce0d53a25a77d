//! A network that came quantized, in QDQ form: it runs as it is, with its own scales. The engine is the judge of it.

use super::{
    described::Facts,
    images::{ImageSet, Input},
};
use crate::{verify::Network, write::manifest};
use anyhow::{Context, Result, bail};
use bundle::{Calibration, TensorRange};
use calibration::Observer;
use graph::Preprocess;
use indicatif::ProgressBar;
use prost::Message;
use sha2::{Digest, Sha256};
use std::{collections::HashMap, path::Path};
use tract_onnx::pb::{ModelProto, NodeProto};

/// Whether an ONNX file holds integers; other forms than QDQ are refused by the name of their node.
pub(crate) fn is_quantized(onnx: &[u8]) -> Result<bool> {
    let model = ModelProto::decode(onnx).context("not an ONNX file")?;
    let graph = model.graph.context("the ONNX file has no graph")?;
    let in_operators = |node: &&NodeProto| {
        let op = node.op_type.as_str();
        op.starts_with("QLinear")
            || matches!(op, "ConvInteger" | "MatMulInteger" | "DynamicQuantizeLinear")
    };
    if let Some(node) = graph.node.iter().find(in_operators) {
        bail!(
            "node `{}` is {}: expected a quantized network in QDQ form (QuantizeLinear, DequantizeLinear), as ONNX \
             Runtime's quant_format=QuantFormat.QDQ writes it",
            node.name,
            node.op_type
        );
    }
    Ok(graph.node.iter().any(|node| node.op_type == "DequantizeLinear"))
}

/// What a loaded network says of itself.
pub(crate) fn facts(network: &Network, onnx: &[u8]) -> Result<Facts> {
    let graph = ModelProto::decode(onnx)?.graph.context("the ONNX file has no graph")?;
    Ok(Facts {
        name: graph.name,
        input: network.input_shape(),
        outputs: graph.output.into_iter().map(|output| output.name).collect(),
        quantized: true,
    })
}

/// What images do to every tensor whose codes the engine has: the histograms that a bundle carries. Ranges are the file's.
pub(crate) fn observe(
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
fn range(activation: &crate::verify::Activation) -> TensorRange {
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
