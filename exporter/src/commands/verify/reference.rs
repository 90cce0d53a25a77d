//! The float network a bundle was made of, wherever it comes from.

use crate::{
    passes::shares,
    read::{checkpoint::Checkpoint, foreign, origin, prior::Prior, weights::Weights},
    write::{manifest, provenance::Quantized},
};
use anyhow::{Result, bail, ensure};
use bundle::{Bundle, Manifest, OperatingPoint};
use graph::{Graph, Task};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A float network with the thresholds it had.
pub(crate) struct Reference {
    pub(crate) graph: Graph,
    pub(crate) weights: Weights,
    pub(crate) points: Vec<OperatingPoint>,
    /// Where the bundle has a language head: what reads its phrases in float.
    pub(crate) prior: Option<Prior>,
}

impl Reference {
    /// The one at `given`, or looked for beside the bundle by its digest; `None` of a network that came quantized.
    pub(crate) fn of(
        path: &Path,
        bundle: &Bundle,
        checkpoint: Option<&Path>,
        model: Option<&Path>,
    ) -> Result<Option<Self>> {
        match &bundle.manifest.contract {
            None => {
                ensure!(
                    model.is_none(),
                    "{} was made of a checkpoint: expected no --model",
                    path.display()
                );
                Self::of_checkpoint(path, &bundle.manifest, checkpoint).map(Some)
            }
            Some(contract) => {
                ensure!(
                    checkpoint.is_none(),
                    "{} was made of an ONNX file: expected no --checkpoint",
                    path.display()
                );
                if contract.came_quantized {
                    ensure!(
                        model.is_none(),
                        "{} came quantized, so no file is known to be its float network: expected no --model",
                        path.display()
                    );
                    return Ok(None);
                }
                Self::of_file(path, &bundle.manifest, model).map(Some)
            }
        }
    }

    fn of_checkpoint(path: &Path, manifest: &Manifest, given: Option<&Path>) -> Result<Self> {
        let digest = &manifest.provenance.checkpoint_digest;
        let folder = match given {
            Some(folder) => folder.to_owned(),
            None => origin::checkpoint(path, digest)?,
        };
        let mut checkpoint = Checkpoint::open(&folder)?;
        if checkpoint.digest != *digest {
            bail!(
                "{}: weights have SHA-256 {}, but {} was made of {digest}",
                folder.display(),
                checkpoint.digest,
                path.display()
            );
        }
        let prior = manifest.head(Task::Language).map(|_| Prior::open(&folder)).transpose()?;
        if let Some(prior) = &prior {
            (checkpoint.graph, checkpoint.weights) =
                shares::with_projections(prior, &checkpoint.graph, &checkpoint.weights)?;
        }
        let heads = &checkpoint.config.model.heads;
        Ok(Self {
            prior,
            points: manifest::operating_points(&checkpoint.operating_points, heads),
            graph: checkpoint.graph,
            weights: checkpoint.weights,
        })
    }

    fn of_file(path: &Path, manifest: &Manifest, given: Option<&Path>) -> Result<Self> {
        let digest = &manifest.provenance.checkpoint_digest;
        let file: PathBuf = match given {
            Some(file) => file.to_owned(),
            None => origin::model(path, digest)?,
        };
        let found = origin::digest_of_model(&file)?;
        if found != *digest {
            bail!(
                "{}: SHA-256 is {found}, but {} was made of {digest}",
                file.display(),
                path.display()
            );
        }
        let foreign = foreign::open(&fs::canonicalize(&file)?)?;
        let points = before(manifest)?;
        Ok(Self { graph: foreign.graph, weights: foreign.weights, points, prior: None })
    }
}

/// Thresholds of before they were fitted on what int8 says.
fn before(manifest: &Manifest) -> Result<Vec<OperatingPoint>> {
    let refits = Quantized::of(manifest)?.map(|it| it.operating_points).unwrap_or_default();
    let before = |point: &OperatingPoint| {
        let refit = refits.iter().find(|refit| refit.name == point.name);
        let threshold = refit.map_or(point.threshold, |refit| refit.old);
        OperatingPoint { threshold, ..point.clone() }
    };
    Ok(manifest.operating_points.iter().map(before).collect())
}
