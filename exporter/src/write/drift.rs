//! How the images of a calibration look to the network that ships: what a box compares its own with.

use crate::{
    read::images::{ImageSet, Input},
    verify::Network,
};
use anyhow::{Context, Result};
use bundle::Manifest;
use drift::{Effort, Frame, Gathered, LEAST_IMAGES, Reference, Seen};
use indicatif::ProgressBar;
use std::path::PathBuf;

/// How the inputs of a network are read.
pub(crate) fn frame(manifest: &Manifest) -> Frame {
    let preprocess = &manifest.preprocess;
    let grey = |x: f32| (x - preprocess.mean) / preprocess.std;
    Frame {
        height: preprocess.height as u32,
        width: preprocess.width as u32,
        black: grey(0.0),
        white: grey(1.0),
    }
}

/// The numbers of each image, in their order.
pub(crate) fn gather(
    network: &Network,
    manifest: &Manifest,
    images: &ImageSet,
    progress: &ProgressBar,
) -> Result<Vec<(PathBuf, Gathered)>> {
    progress.set_length(images.paths.len() as u64);
    let frame = frame(manifest);
    let of = |path: &PathBuf| {
        let Input { pixels, size, .. } = Input::read(path, &manifest.preprocess)?;
        let outputs = network.run(&pixels)?;
        let found = engine::interpret(&outputs, manifest, size)?;
        let scores = found.figures();
        progress.inc(1);
        let seen = Seen { input: pixels, embedding: found.embedding, scores };
        let gathered = Gathered::of(seen, &frame).with_context(|| path.display().to_string())?;
        Ok((path.clone(), gathered))
    };
    let all = images.paths.iter().map(of).collect();
    progress.finish_and_clear();
    all
}

/// The section of a bundle; none if there are too few images to say how they vary.
pub(crate) fn section(
    network: &Network,
    manifest: &Manifest,
    images: &ImageSet,
    progress: &ProgressBar,
) -> Result<Option<Vec<u8>>> {
    if images.paths.len() < LEAST_IMAGES {
        log::warn!(
            "{} calibration images, expected at least {LEAST_IMAGES} to notice drift on the box: the bundle is \
             without a reference for it",
            images.paths.len()
        );
        return Ok(None);
    }
    let gathered = gather(network, manifest, images, progress)?;
    reference(manifest, gathered).map(Some)
}

/// The section of a bundle, of what was gathered.
pub(crate) fn reference(
    manifest: &Manifest,
    gathered: Vec<(PathBuf, Gathered)>,
) -> Result<Vec<u8>> {
    let images: Vec<Gathered> = gathered.into_iter().map(|(_, gathered)| gathered).collect();
    let reference = Reference::build(frame(manifest), &images, Effort::FULL);
    Ok(reference.context("no reference for drift")?.to_bytes()?)
}
