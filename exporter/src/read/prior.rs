//! The text side of a PRIOR checkpoint: what reads words into the joint space, and what of images meets them there.

use super::weights::{self, Weights};
use anyhow::{Context, Result, ensure};
use checkpoint::prior::{self, Objective, PriorConfig, Quirks, Reading};
use checkpoint::{CheckpointError, MODEL};
use graph::{Graph, Op};
use sha2::{Digest, Sha256};
use std::{fs, io, path::Path};
use words::{FILES, Words};

/// Parameters that make the joint space, by how their names begin.
const SPACE: [&str; 8] = [
    "global_image_projection.",
    "global_text_attention.",
    "local_cross_attention.",
    "local_image_projection.",
    "local_text_projection.",
    "logit_scale",
    "sentence_bank.",
    "text_encoder.",
];
/// Nodes of the network's outputs in the joint space, and the layer of the checkpoint whose weights each has.
const OF_IMAGES: [(&str, &str); 3] = [
    (GLOBAL, GLOBAL),
    ("local_image_projection", "local_image_projection"),
    (GLOBAL_PLACES, GLOBAL),
];
pub(crate) const GLOBAL: &str = "global_image_projection";
pub(crate) const GLOBAL_PLACES: &str = "global_places_projection";

/// What a checkpoint knows of words.
pub(crate) struct Prior {
    pub(crate) config: PriorConfig,
    pub(crate) words: Words,
    /// How sentences are read: with prototypes or without, at which τ.
    pub(crate) objective: Objective,
    pub(crate) max_tokens: usize,
    /// Of the joint space, by PRIOR's names, all finite.
    pub(crate) weights: Weights,
    /// Factor of the global similarities.
    pub(crate) scale: f32,
    /// Names the joint space; see [`language::Space`].
    pub(crate) space: [u8; 32],
}

impl Prior {
    /// Reads a folder; a checkpoint without words, and one whose released quirks no int8 network can reproduce, are refused
    /// by name.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Self::of(&checkpoint::Checkpoint::open(folder)?)
    }

    /// [`Self::open`] of one that was read.
    pub(crate) fn of(saved: &checkpoint::Checkpoint) -> Result<Self> {
        let folder = saved.folder.as_path();
        let reading = Reading::of(folder, &saved.tables)?;
        let objective = reading.objective(&saved.state);
        let objective =
            objective.with_context(|| format!("{}: [training] has no stage", folder.display()))?;
        check_quirks(&reading.config.released_quirks)
            .with_context(|| format!("[prior] of {}", folder.join(checkpoint::CONFIG).display()))?;
        let bad_model = || folder.join(MODEL).display().to_string();
        let weights = of_space(saved, &reading.config).with_context(bad_model)?;
        let logarithm = weights["logit_scale"].values[0];
        // A defect of the released code, which its weights were measured with.
        let is_logarithm = reading.config.released_quirks.scale;
        let scale = if is_logarithm { logarithm } else { logarithm.exp() };
        ensure!(
            scale.is_finite() && scale > 0.0,
            "{}: logit_scale makes a factor of {scale}, expected a positive number",
            bad_model()
        );
        let space = space(folder, &weights, &reading, objective)?;
        Ok(Self {
            words: Words::open(folder)?,
            objective,
            max_tokens: reading.max_tokens(),
            config: reading.config,
            weights,
            scale,
            space,
        })
    }

    /// `D`
    pub(crate) fn width(&self) -> usize {
        self.config.embed as usize
    }

    /// The network with the projections into the joint space as outputs, and their weights beside `weights`; see
    /// `passes::shares` for what an attention pool takes besides.
    pub(crate) fn with_projections(
        &self,
        graph: &Graph,
        weights: &Weights,
    ) -> Result<(Graph, Weights)> {
        let graph = graph.with_language(self.width())?;
        let mut all = weights.clone();
        for node in &graph.nodes {
            let Some((_, layer)) = OF_IMAGES.iter().find(|(own, _)| *own == node.name) else {
                continue;
            };
            for param in node.params() {
                let part = param.name.strip_prefix(&node.name).expect("parameters have its name");
                let mut array = self.weights[&format!("{layer}{part}")].clone();
                // A linear layer at every place is a 1x1 convolution.
                if matches!(node.op, Op::Conv2d { .. }) && array.shape.len() == 2 {
                    array.shape.extend([1, 1]);
                }
                all.insert(param.name, array);
            }
        }
        weights::check(&all, &graph)?;
        Ok((graph, all))
    }
}

/// Answers of the int8 network are one value for one image, on places that are places.
fn check_quirks(quirks: &Quirks) -> Result<()> {
    for (name, present, why) in [
        ("layout", quirks.layout, "its places are no places of the image"),
        ("noise", quirks.noise, "its prototypes are mixed at random"),
        ("normalisation", quirks.normalisation, "its findings want images normalised otherwise"),
    ] {
        ensure!(
            !present,
            "released_quirks.{name} is on, expected off for findings in words: {why}"
        );
    }
    Ok(())
}

/// Parameters of the joint space, held to the shapes `[prior]` tells.
fn of_space(saved: &checkpoint::Checkpoint, config: &PriorConfig) -> Result<Weights> {
    let is_of_space = |name: &str| SPACE.iter().any(|prefix| name.starts_with(prefix));
    let graph = saved.config.graph()?;
    let params = prior::parameters(&graph, config)?;
    let params: Vec<_> = params.into_iter().filter(|param| is_of_space(&param.name)).collect();
    let tensors = saved.weights.iter().filter(|(name, _)| is_of_space(name));
    let weights =
        weights::of(tensors.map(|(name, tensor)| (name.clone(), tensor.clone())).collect())?;
    weights::check_params(&weights, &params, "PRIOR")?;
    Ok(weights)
}

/// SHA-256 over all that decides where an image and a phrase meet: parameters in the order of their names, the words, how
/// sentences are read.
fn space(
    folder: &Path,
    weights: &Weights,
    reading: &Reading,
    objective: Objective,
) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut add = |name: &str, bytes: &[u8]| {
        for part in [name.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    };
    for (name, array) in weights {
        let shape: Vec<u8> = array.shape.iter().flat_map(|&n| (n as u64).to_le_bytes()).collect();
        let values: Vec<u8> = array.values.iter().flat_map(|x| x.to_le_bytes()).collect();
        add(name, &[shape, values].concat());
    }
    for name in FILES {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => add(name, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(CheckpointError::Read { path, source }.into()),
        }
    }
    let prototypes = objective.weights.uses_prototypes();
    let tau = if prototypes { objective.tau.to_le_bytes().to_vec() } else { Vec::new() };
    add("tau", &tau);
    add("max-tokens", &(reading.max_tokens() as u64).to_le_bytes());
    let BertShape { heads, eps } = BertShape::of(&reading.config);
    add("text", &[heads.to_le_bytes(), eps.to_le_bytes()].concat());
    let quirks = reading.config.released_quirks;
    add("quirks", &[u8::from(quirks.prompt), u8::from(quirks.scale)]);
    Ok(hash.finalize().into())
}

/// What the shapes of a text encoder's parameters do not tell.
struct BertShape {
    heads: i64,
    eps: f64,
}

impl BertShape {
    fn of(config: &PriorConfig) -> Self {
        Self { heads: config.text.num_attention_heads, eps: config.text.layer_norm_eps }
    }
}
