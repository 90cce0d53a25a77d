//! An image encoder: torchvision's networks with the stem summed over RGB (a grey picture shown three times gives
//! the same sums) and without the classifier of a thousand everyday things, and CLIP's attention pool if one is there.

use super::{Imported, architecture::Family};
use crate::read::weights::{self, Array, Weights};
use anyhow::{Result, bail, ensure};
use graph::{CheckpointConfig, ModelConfig, Pool, Preprocess};
use std::collections::BTreeSet;

/// The encoder whose names begin with `prefix`; of `size` pixels a side, or of what its pool expects.
pub(super) fn convert(
    foreign: &Weights,
    (prefix, family): (&str, Family),
    size: Option<usize>,
) -> Result<Imported> {
    let stem_name = family.stem();
    let stem = &foreign[&format!("{prefix}{stem_name}")].shape;
    ensure!(stem.len() == 4, "`{prefix}{stem_name}` has shape {stem:?}, expected [O, I, kH, kW]");
    ensure!(
        [1, 3].contains(&stem[1]),
        "`{prefix}{stem_name}` takes {} channels, expected 1 (grey) or 3 (RGB)",
        stem[1]
    );
    let pool_prefix = pool_prefix(foreign, prefix);
    let pool = if pool_prefix.is_some() { Pool::Attention } else { Pool::Mean };
    let side = match &pool_prefix {
        Some(pool) => size.or(side_of_positions(foreign, pool)),
        None => size,
    };
    let side = side.unwrap_or(Preprocess::PRIOR.height);
    let config = CheckpointConfig {
        model: ModelConfig {
            width: family.width(stem[0]),
            ..ModelConfig::encoder(family.backbone(foreign, prefix)?, pool)
        },
        preprocess: Preprocess { height: side, width: side, ..Preprocess::PRIOR },
    };
    let graph = config.graph()?;
    let (mut weights, mut names) = (Weights::new(), Vec::new());
    for param in graph.params() {
        let theirs = match (&pool_prefix, param.name.strip_prefix("attnpool.")) {
            (Some(prefix), Some(rest)) => format!("{prefix}{rest}"),
            _ => format!("{prefix}{}", param.name),
        };
        let Some(array) = foreign.get(&theirs) else {
            bail!("`{theirs}` of shape {:?} is missing, which a {} needs", param.shape, graph.name);
        };
        let array = if param.name == stem_name { grey_stem(array) } else { array.clone() };
        weights.insert(param.name.clone(), array);
        names.push((theirs, param.name));
    }
    weights::check(&weights, &graph)?;
    let dropped = rest(foreign, &names);
    let inside = |name: &&String| {
        let of_pool = pool_prefix.as_ref().is_some_and(|pool| name.starts_with(pool));
        of_pool || name.strip_prefix(prefix).is_some_and(|rest| family.computes_with(rest))
    };
    let foreign_parts: Vec<&String> = dropped.iter().filter(inside).collect();
    if let [first, ..] = foreign_parts[..] {
        bail!(
            "`{first}` is no part of torchvision's {} ({} such parameters): the file holds a network of another kind",
            graph.name,
            foreign_parts.len()
        );
    }
    Ok(Imported {
        tables: toml::Table::new(),
        weights,
        words: None,
        dropped,
        names,
        kind: format!("{}, width {}, {pool:?} pool", graph.name, config.model.width).to_lowercase(),
        config,
    })
}

/// What of `foreign` found no place.
fn rest(foreign: &Weights, names: &[(String, String)]) -> Vec<String> {
    let used: BTreeSet<&str> = names.iter().map(|(theirs, _)| theirs.as_str()).collect();
    foreign.keys().filter(|name| !used.contains(name.as_str())).cloned().collect()
}

/// Where the attention pool's parameters are: CLIP's name inside the encoder, or PRIOR's beside it.
fn pool_prefix(weights: &Weights, prefix: &str) -> Option<String> {
    let beside = prefix.strip_suffix("encoder.").unwrap_or(prefix);
    [format!("{prefix}attnpool."), format!("{beside}atten_pool."), format!("{prefix}atten_pool.")]
        .into_iter()
        .find(|pool| weights.contains_key(&format!("{pool}k_proj.weight")))
}

/// Pixels a side for which a pool has positions: one for each 32x32, and one for their mean.
fn side_of_positions(weights: &Weights, pool: &str) -> Option<usize> {
    let positions = weights.get(&format!("{pool}positional_embedding"))?.shape.first()?;
    let cells = positions.checked_sub(1)?;
    (cells.isqrt().pow(2) == cells).then(|| 32 * cells.isqrt())
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
    use graph::Backbone;

    fn torchvision() -> Weights {
        let config =
            ModelConfig { width: 8, ..ModelConfig::encoder(Backbone::Resnet18, Pool::Mean) };
        fixtures::random(&config.graph([3, 64, 64]).unwrap(), 3)
            .into_iter()
            .chain([("fc.weight".into(), Array { shape: vec![10, 64], values: vec![0.0; 640] })])
            .collect()
    }

    #[test]
    fn the_stem_is_summed_over_colours_and_the_classifier_dropped() {
        let foreign = torchvision();
        let imported = convert(&foreign, ("", Family::ResNet), None).unwrap();
        let (rgb, grey) = (&foreign["conv1.weight"].values, &imported.weights["conv1.weight"]);
        assert_eq!(grey.shape, [8, 1, 7, 7]);
        assert_eq!(grey.values[50], rgb[147 + 1] + rgb[147 + 50] + rgb[147 + 99]);
        assert_eq!(imported.dropped, ["fc.weight"]);
        assert_eq!(imported.config.model.backbone, Backbone::Resnet18);
        assert_eq!(imported.config.preprocess.height, 224);
    }

    #[test]
    fn the_released_priors_attention_pool_lies_beside_its_encoder_and_tells_the_size() {
        let config =
            ModelConfig { width: 8, ..ModelConfig::encoder(Backbone::Resnet50, Pool::Attention) };
        let graph = config.graph([1, 96, 96]).unwrap();
        let released = |name: String| match name.strip_prefix("attnpool.") {
            Some(rest) => format!("image_encoder.atten_pool.{rest}"),
            None => format!("image_encoder.encoder.{name}"),
        };
        let foreign: Weights = fixtures::random(&graph, 3)
            .into_iter()
            .map(|(name, array)| (released(name), array))
            .collect();
        let imported = convert(&foreign, ("image_encoder.encoder.", Family::ResNet), None).unwrap();
        assert_eq!(imported.config.model.pool, Pool::Attention);
        assert_eq!(imported.config.preprocess.height, 96);
        assert_eq!(imported.names.len(), graph.params().len());
        let pair =
            ("image_encoder.atten_pool.c_proj.bias".to_owned(), "attnpool.c_proj.bias".to_owned());
        assert!(imported.names.contains(&pair));
        assert!(imported.dropped.is_empty());
    }

    #[test]
    fn every_architecture_we_have_comes_back_under_whatever_prefix() {
        for backbone in Backbone::ALL {
            let config = ModelConfig { width: 16, ..ModelConfig::encoder(backbone, Pool::Mean) };
            let weights = fixtures::random(&config.graph([1, 64, 64]).unwrap(), 3);
            let theirs = |name: &str| match backbone {
                // As torchvision wrote it in 2017, and CheXNet's reproductions after it.
                Backbone::Densenet121 => {
                    let mut name = name.to_owned();
                    for part in ["norm1", "norm2", "conv1", "conv2"] {
                        let (kind, at) = part.split_at(4);
                        name = name.replace(&format!(".{part}."), &format!(".{kind}.{at}."));
                    }
                    format!("module.densenet121.{name}")
                }
                _ => format!("module.net.{name}"),
            };
            let foreign = weights.iter().map(|(name, array)| (theirs(name), array.clone()));
            let imported =
                super::super::convert(foreign.collect(), &super::super::Options::default())
                    .unwrap();
            assert_eq!(imported.config.model, config);
            assert_eq!(imported.weights, weights, "{backbone}");
        }
    }

    #[test]
    fn a_network_with_more_in_it_than_torchvisions_is_refused() {
        for name in [
            "layer1.0.se.fc1.weight",
            "conv1.bias",
            "layer4.2.conv1.weight",
            "layer2.0.conv1.lora_A.default.weight",
        ] {
            let mut foreign = torchvision();
            foreign.insert(name.into(), Array { shape: vec![1], values: vec![0.5] });
            let error = convert(&foreign, ("", Family::ResNet), None).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}` is no part of")), "{error}");
        }
        let mut foreign = torchvision();
        for name in ["layer1.0.conv1.total_ops", "total_params", "fc.0.weight", "projector.weight"]
        {
            foreign.insert(name.into(), Array { shape: vec![1], values: vec![0.0] });
        }
        let imported = convert(&foreign, ("", Family::ResNet), None).unwrap();
        assert_eq!(imported.dropped.len(), 5);
    }

    #[test]
    fn a_stem_that_is_neither_grey_nor_rgb_is_refused() {
        for channels in [2, 4, 9] {
            let mut foreign = torchvision();
            let stem =
                Array { shape: vec![8, channels, 7, 7], values: vec![0.1; 8 * channels * 49] };
            foreign.insert("conv1.weight".into(), stem);
            let error = convert(&foreign, ("", Family::ResNet), None).unwrap_err().to_string();
            assert!(error.contains(&format!("takes {channels} channels, expected 1")), "{error}");
        }
    }

    #[test]
    fn a_resnet_taken_apart_into_its_children_is_known_again() {
        let plain = convert(&torchvision(), ("", Family::ResNet), None).unwrap();
        let theirs = |name: &str| {
            let numbers = [("conv1.", "0."), ("bn1.", "1."), ("layer1.", "4."), ("layer2.", "5.")];
            let numbers = numbers.into_iter().chain([("layer3.", "6."), ("layer4.", "7.")]);
            let child = numbers.into_iter().find_map(|(own, number)| {
                Some(format!("backbone.{number}{}", name.strip_prefix(own)?))
            });
            child.unwrap_or_else(|| format!("backbone.{name}"))
        };
        let foreign: Weights =
            torchvision().into_iter().map(|(name, array)| (theirs(&name), array)).collect();
        assert!(foreign.contains_key("backbone.4.0.conv1.weight"));
        let imported = super::super::convert(foreign, &super::super::Options::default()).unwrap();
        assert_eq!((imported.weights, imported.config), (plain.weights, plain.config));
    }

    #[test]
    fn a_missing_parameter_is_named_with_its_shape() {
        let mut foreign = torchvision();
        foreign.remove("layer4.1.bn2.bias");
        let error = convert(&foreign, ("", Family::ResNet), None).unwrap_err().to_string();
        assert!(error.contains("`layer4.1.bn2.bias` of shape [64]"), "{error}");
    }
}
