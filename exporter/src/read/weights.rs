//! Parameters by name in single precision, checked against a graph.

use checkpoint::{Dtype, Tensor, Tensors};
use graph::{Graph, Param};
use std::collections::{BTreeMap, BTreeSet};
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
    #[error("parameter `{name}` is {found:?}, expected a float")]
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

/// In single precision; 64-bit counters (`num_batches_tracked`) are left out.
pub(crate) fn of(tensors: Tensors) -> Result<Weights, WeightsError> {
    let kept = |(name, _): &(String, Tensor)| !name.ends_with("num_batches_tracked");
    tensors
        .into_iter()
        .filter(kept)
        .map(|(name, tensor)| match tensor.to_f32() {
            Some(values) => Ok((name, Array { shape: tensor.shape().to_vec(), values })),
            None => Err(WeightsError::Type { name, found: tensor.dtype() }),
        })
        .collect()
}

/// As a checkpoint holds them.
pub(crate) fn tensors(weights: &Weights) -> Vec<(String, Tensor)> {
    let tensor = |array: &Array| Tensor::of_f32(array.shape.clone(), &array.values);
    weights.iter().map(|(name, array)| (name.clone(), tensor(array))).collect()
}

/// Holds `weights` to exactly the parameters of `graph`, all finite.
pub(crate) fn check(weights: &Weights, graph: &Graph) -> Result<(), WeightsError> {
    check_params(weights, &graph.params(), &graph.name)
}

/// Holds `weights` to exactly these parameters of an `architecture`, all finite.
pub(crate) fn check_params(
    weights: &Weights,
    params: &[Param],
    architecture: &str,
) -> Result<(), WeightsError> {
    let architecture = || architecture.to_owned();
    let known: BTreeSet<&str> = params.iter().map(|param| param.name.as_str()).collect();
    let absent: Vec<_> = params.iter().filter(|p| !weights.contains_key(&p.name)).collect();
    // A wrong shape tells more about what the file holds than a missing parameter, so it goes first.
    for param in params {
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
    let mut extra = weights.iter().filter(|(name, _)| !known.contains(name.as_str()));
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
