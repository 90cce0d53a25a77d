//! Weights from elsewhere: PyTorch state dicts and safetensors, mapped to torchvision's names.
//!
//! Two layouts are known. torchvision's ResNets need nothing but the stem summed over RGB (a grey
//! picture shown three times gives the same sums) and the classifier of a thousand everyday things
//! dropped. PRIOR's name the image encoder `image_encoder.encoder.…` and its pool `image_encoder.atten_pool.…`, and
//! keep text encoder, decoders and projections beside them; those do not ship.

use crate::weights::{Array, Weights};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, pickle};
use graph::{Backbone, CheckpointConfig, ModelConfig, Pool, Preprocess};
use std::{fs::File, io::Read, path::Path};

/// What became of a foreign file.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) config: CheckpointConfig,
    pub(crate) weights: Weights,
    /// `(theirs, ours)` in our order.
    pub(crate) names: Vec<(String, String)>,
    /// Theirs without a place in the deployed network.
    pub(crate) dropped: Vec<String>,
}

/// Folders a state dict may stand in inside its file.
const KEYS: [&str; 3] = ["state_dict", "model", "model_state_dict"];

/// Prefixes before torchvision's names, longest first.
const PREFIXES: [&str; 8] = [
    "module.image_encoder.encoder.",
    "image_encoder.encoder.",
    "module.image_encoder.",
    "image_encoder.",
    "module.",
    "encoder.",
    "backbone.",
    "",
];

/// Reads `.safetensors` as such, everything else as a PyTorch file.
pub(crate) fn read(path: &Path) -> Result<Weights> {
    if path.extension().is_some_and(|ending| ending == "safetensors") {
        return Ok(crate::weights::read(path)?.0);
    }
    let mut magic = [0; 4];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        &magic == b"PK\x03\x04",
        "{}: begins with {magic:02x?}, expected a zip archive as torch.save writes since 1.6; load \
         and save it again with a newer PyTorch",
        path.display()
    );
    for key in [None].into_iter().chain(KEYS.map(Some)) {
        let tensors = pickle::read_all_with_key(path, key)
            .with_context(|| format!("{}: no PyTorch state dict", path.display()))
            .or_else(|error| if key.is_none() { Err(error) } else { Ok(Vec::new()) })?;
        if tensors.is_empty() {
            continue;
        }
        return tensors
            .into_iter()
            .filter(|(_, tensor)| tensor.dtype().is_float())
            .map(|(name, tensor)| {
                let shape = tensor.dims().to_vec();
                let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
                Ok((name, Array { shape, values }))
            })
            .collect();
    }
    bail!(
        "{}: found no tensors by name (a whole pickled module?), expected a state dict: \
         torch.save(model.state_dict(), …)",
        path.display()
    )
}

/// Recognises the architecture and gives every parameter our name.
pub(crate) fn convert(foreign: Weights, width: usize, height: usize) -> Result<Imported> {
    let prefix = PREFIXES
        .into_iter()
        .find(|prefix| foreign.contains_key(&format!("{prefix}conv1.weight")))
        .with_context(|| {
            let first = foreign.keys().next().map_or("nothing", String::as_str);
            format!("no ResNet: found `{first}` and others, expected `conv1.weight`")
        })?;
    let stem = &foreign[&format!("{prefix}conv1.weight")].shape;
    ensure!(stem.len() == 4, "`{prefix}conv1.weight` has shape {stem:?}, expected [O, I, 7, 7]");
    let pool_prefix = pool_prefix(&foreign, prefix);
    let pool = if pool_prefix.is_some() { Pool::Attention } else { Pool::Mean };
    let config = CheckpointConfig {
        model: ModelConfig {
            width: stem[0],
            ..ModelConfig::encoder(backbone(&foreign, prefix)?, pool)
        },
        preprocess: Preprocess { height, width, ..Preprocess::PRIOR },
    };
    let graph = config.graph()?;
    let mut imported =
        Imported { config, weights: Weights::new(), names: Vec::new(), dropped: Vec::new() };
    for param in graph.params() {
        let theirs = match (&pool_prefix, param.name.strip_prefix("attnpool.")) {
            (Some(prefix), Some(rest)) => format!("{prefix}{rest}"),
            _ => format!("{prefix}{}", param.name),
        };
        let Some(array) = foreign.get(&theirs) else {
            bail!("`{theirs}` of shape {:?} is missing, which a {} needs", param.shape, graph.name);
        };
        let array = if param.name == "conv1.weight" { grey_stem(array) } else { array.clone() };
        imported.weights.insert(param.name.clone(), array);
        imported.names.push((theirs, param.name));
    }
    let used = |name: &String| imported.names.iter().any(|(theirs, _)| theirs == name);
    imported.dropped = foreign.keys().filter(|name| !used(name)).cloned().collect();
    crate::weights::check(&imported.weights, &graph)?;
    Ok(imported)
}

/// Where the attention pool's parameters are: CLIP's name inside the encoder, or PRIOR's beside it.
fn pool_prefix(weights: &Weights, prefix: &str) -> Option<String> {
    let beside = prefix.strip_suffix("encoder.").unwrap_or(prefix);
    [format!("{prefix}attnpool."), format!("{beside}atten_pool."), format!("{prefix}atten_pool.")]
        .into_iter()
        .find(|pool| weights.contains_key(&format!("{pool}k_proj.weight")))
}

/// Told apart by what the last stage holds.
fn backbone(weights: &Weights, prefix: &str) -> Result<Backbone> {
    let has = |name: &str| weights.contains_key(&format!("{prefix}{name}"));
    match (has("layer1.0.conv3.weight"), has("layer3.5.conv1.weight"), has("layer3.6.conv1.weight"))
    {
        (true, true, false) => Ok(Backbone::Resnet50),
        (false, true, false) => Ok(Backbone::Resnet34),
        (false, false, false) => Ok(Backbone::Resnet18),
        _ => bail!("a ResNet of a depth we do not have, expected 18, 34 or 50"),
    }
}

/// Summed over the input's colours: the same answer a grey picture gets when shown as RGB.
fn grey_stem(rgb: &Array) -> Array {
    let [o, i, h, w] = rgb.shape[..] else { return rgb.clone() };
    let (plane, mut values) = (h * w, vec![0.0; o * h * w]);
    for (at, x) in rgb.values.iter().enumerate() {
        values[at / (i * plane) * plane + at % plane] += x;
    }
    Array { shape: vec![o, 1, h, w], values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn torchvision(prefix: &str) -> Weights {
        let config =
            ModelConfig { width: 8, ..ModelConfig::encoder(Backbone::Resnet18, Pool::Mean) };
        let graph = config.graph([3, 64, 64]).unwrap();
        fixtures::random(&graph, 3)
            .into_iter()
            .map(|(name, array)| (format!("{prefix}{name}"), array))
            .chain([("fc.weight".into(), Array { shape: vec![10, 64], values: vec![0.0; 640] })])
            .collect()
    }

    #[test]
    fn the_stem_is_summed_over_colours_and_the_classifier_dropped() {
        let foreign = torchvision("");
        let imported = convert(foreign.clone(), 64, 64).unwrap();
        let (rgb, grey) = (&foreign["conv1.weight"].values, &imported.weights["conv1.weight"]);
        assert_eq!(grey.shape, [8, 1, 7, 7]);
        assert_eq!(grey.values[50], rgb[147 + 1] + rgb[147 + 50] + rgb[147 + 99]);
        assert_eq!(imported.dropped, ["fc.weight"]);
        assert_eq!(imported.config.model.backbone, Backbone::Resnet18);
    }

    #[test]
    fn an_encoder_inside_a_larger_model_is_found_by_its_prefix() {
        let imported = convert(torchvision("image_encoder."), 64, 64).unwrap();
        assert_eq!(imported.names[0].0, "image_encoder.conv1.weight");
        assert_eq!(imported.names[0].1, "conv1.weight");
    }

    #[test]
    fn the_released_priors_attention_pool_lies_beside_its_encoder() {
        let config =
            ModelConfig { width: 8, ..ModelConfig::encoder(Backbone::Resnet50, Pool::Attention) };
        let graph = config.graph([1, 64, 64]).unwrap();
        let released = |name: String| match name.strip_prefix("attnpool.") {
            Some(rest) => format!("image_encoder.atten_pool.{rest}"),
            None => format!("image_encoder.encoder.{name}"),
        };
        let array = Array { shape: vec![1], values: vec![0.0] };
        let mut foreign: Weights = fixtures::random(&graph, 3)
            .into_iter()
            .map(|(name, array)| (released(name), array))
            .collect();
        foreign.insert("text_encoder.encoder.embeddings.LayerNorm.bias".into(), array.clone());
        foreign.insert("logit_scale".into(), array);
        let imported = convert(foreign, 64, 64).unwrap();
        assert_eq!(imported.config.model.pool, Pool::Attention);
        assert_eq!(imported.names.len(), graph.params().len());
        let pair =
            ("image_encoder.atten_pool.c_proj.bias".to_owned(), "attnpool.c_proj.bias".to_owned());
        assert!(imported.names.contains(&pair));
        assert_eq!(
            imported.dropped,
            ["logit_scale", "text_encoder.encoder.embeddings.LayerNorm.bias"]
        );
    }

    #[test]
    fn a_missing_parameter_is_named_with_its_shape() {
        let mut foreign = torchvision("");
        foreign.remove("layer4.1.bn2.bias");
        let error = convert(foreign, 64, 64).unwrap_err().to_string();
        assert!(error.contains("`layer4.1.bn2.bias` of shape [64]"), "{error}");
    }

    #[test]
    fn something_else_is_no_resnet() {
        let array = Array { shape: vec![1], values: vec![0.0] };
        let foreign = Weights::from([("transformer.h.0".to_owned(), array)]);
        let error = convert(foreign, 64, 64).unwrap_err().to_string();
        assert!(error.contains("no ResNet: found `transformer.h.0`"), "{error}");
    }
}
