//! Parameters by name: read from safetensors, checked against a graph, written back.

use graph::Graph;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{collections::BTreeMap, path::Path};
use thiserror::Error;

/// A dense f32 array, row major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Parameters and buffers of a network, by full name (`layer1.0.conv1.weight`).
pub(crate) type Weights = BTreeMap<String, Array>;

/// Why weights do not fit a network.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum WeightsError {
    #[error("not a safetensors file")]
    Format(#[from] safetensors::SafeTensorError),

    #[error("parameter `{name}` is {found:?}, expected F32")]
    Type { name: String, found: Dtype },

    #[error(
        "parameter `{name}` has shape {found:?}, but a {architecture} as in config.toml needs \
         {expected:?}"
    )]
    Shape { name: String, architecture: String, found: Vec<usize>, expected: Vec<usize> },

    #[error(
        "parameter `{name}` of shape {expected:?} is missing ({missing} of {total} are), which a \
         {architecture} as in config.toml needs"
    )]
    Missing {
        name: String,
        architecture: String,
        expected: Vec<usize>,
        missing: usize,
        total: usize,
    },

    #[error(
        "parameter `{name}` of shape {found:?} is not part of a {architecture} as in config.toml \
         ({extra} such parameters)"
    )]
    Extra { name: String, architecture: String, found: Vec<usize>, extra: usize },

    #[error("parameter `{name}` holds {count} values that are NaN or infinite, expected none")]
    NonFinite { name: String, count: usize },
}

/// The tensors of a safetensors file; 64-bit counters (`num_batches_tracked`) are left out.
pub(crate) fn parse(bytes: &[u8]) -> Result<Weights, WeightsError> {
    let mut weights = Weights::new();
    for (name, view) in SafeTensors::deserialize(bytes)?.tensors() {
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        if view.dtype() != Dtype::F32 {
            return Err(WeightsError::Type { name, found: view.dtype() });
        }
        let (chunks, _) = view.data().as_chunks::<4>();
        let values = chunks.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        weights.insert(name, Array { shape: view.shape().to_vec(), values });
    }
    Ok(weights)
}

/// A safetensors file of `weights`.
pub(crate) fn serialize(weights: &Weights) -> Result<Vec<u8>, WeightsError> {
    let bytes: Vec<Vec<u8>> = weights
        .values()
        .map(|array| array.values.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views = weights
        .iter()
        .zip(&bytes)
        .map(|((name, array), bytes)| {
            Ok((name, TensorView::new(Dtype::F32, array.shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, WeightsError>>()?;
    Ok(safetensors::serialize(views, None)?)
}

/// Holds `weights` to exactly the parameters of `graph`, all finite.
pub(crate) fn check(weights: &Weights, graph: &Graph) -> Result<(), WeightsError> {
    let params = graph.params();
    let architecture = || graph.name.clone();
    let absent: Vec<_> = params.iter().filter(|p| !weights.contains_key(&p.name)).collect();
    // A wrong shape tells more about what the file holds than a missing parameter, so it goes first.
    for param in &params {
        let Some(array) = weights.get(&param.name) else { continue };
        if array.shape != param.shape {
            return Err(WeightsError::Shape {
                name: param.name.clone(),
                architecture: architecture(),
                found: array.shape.clone(),
                expected: param.shape.clone(),
            });
        }
    }
    if let Some(first) = absent.first() {
        return Err(WeightsError::Missing {
            name: first.name.clone(),
            architecture: architecture(),
            expected: first.shape.clone(),
            missing: absent.len(),
            total: params.len(),
        });
    }
    let mut extra = weights.iter().filter(|(name, _)| params.iter().all(|p| p.name != **name));
    if let Some((name, array)) = extra.next() {
        return Err(WeightsError::Extra {
            name: name.clone(),
            architecture: architecture(),
            found: array.shape.clone(),
            extra: 1 + extra.count(),
        });
    }
    for (name, array) in weights {
        let count = array.values.iter().filter(|x| !x.is_finite()).count();
        if count > 0 {
            return Err(WeightsError::NonFinite { name: name.clone(), count });
        }
    }
    Ok(())
}

/// Reads and parses a file of weights.
pub(crate) fn read(path: &Path) -> anyhow::Result<(Weights, Vec<u8>)> {
    use anyhow::Context;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let weights = parse(&bytes).with_context(|| path.display().to_string())?;
    Ok((weights, bytes))
}
