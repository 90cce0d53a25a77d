//! What was seen, on disk, so that a new process goes on where the last one ended.
//!
//! ```text
//! drift.reference   what the images were compared with: the section of the bundle
//! drift.log         one JSON object an image, flushed; with drift.log.old never longer than MAX_BYTES
//! ```
//!
//! The state is never written: it is made again of these.

use crate::looks::Known;
use ::drift::{Looks, Monitor};
use anyhow::{Context, Result, ensure};
use durable::Ring;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const LOG: &str = "drift.log";
const REFERENCE: &str = "drift.reference";
/// About 60,000 images.
const MAX_BYTES: u64 = 32 << 20;

/// One image. Nothing in it is about a patient.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// Seconds since 1970.
    pub(super) at: u64,
    /// The reference it was compared with, by its first digits.
    reference: String,
    pub(super) source: String,
    pub(super) looks: Looks,
}

/// The open log of one reference.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    ring: Ring,
    reference: String,
}

impl Kept {
    /// Goes on with `known` in `folder`; the state that the images of before lead to.
    pub(super) fn open(folder: &Path, known: &Known) -> Result<(Self, Monitor)> {
        let path = folder.join(REFERENCE);
        if fs::read(&path).ok().as_deref() != Some(&known.bytes) {
            let write = durable::write(&path, &known.bytes);
            write.with_context(|| format!("cannot write {}", path.display()))?;
        }
        let path = folder.join(LOG);
        let monitor = again(folder, known)?;
        let ring = Ring::open(&path, MAX_BYTES);
        let ring = ring.with_context(|| format!("cannot open {}", path.display()))?;
        Ok((Self { path, ring, reference: short(known) }, monitor))
    }

    /// After this returns, the image is counted after a power cut too.
    pub(super) fn add(&mut self, at: u64, source: &str, looks: &Looks) -> io::Result<()> {
        let (reference, source, looks) = (self.reference.clone(), source.into(), looks.clone());
        let line = serde_json::to_string(&Line { at, reference, source, looks })?;
        self.ring.append(&line)?;
        durable::sync_file(&self.path)
    }
}

/// The reference in a spool folder, and the state that its images lead to.
pub(super) fn read(folder: &Path) -> Result<(Known, Monitor)> {
    let path = folder.join(REFERENCE);
    ensure!(
        path.exists(),
        "{}: no {REFERENCE}: no bundle with a reference for drift ran here yet",
        folder.display()
    );
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let known = Known::of(&bytes).map_err(anyhow::Error::msg);
    let known = known.with_context(|| path.display().to_string())?;
    let monitor = again(folder, &known)?;
    Ok((known, monitor))
}

/// Everything that is kept of images that were compared with `known`. A line that a power cut tore is passed over.
fn again(folder: &Path, known: &Known) -> Result<Monitor> {
    let path = folder.join(LOG);
    let lines = durable::lines(&path, MAX_BYTES);
    let lines = lines.with_context(|| format!("cannot read {}", path.display()))?;
    let (mut monitor, wanted) = (Monitor::new(&known.reference), short(known));
    let mut broken = 0;
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let line: Line = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(_) => {
                broken += 1;
                continue;
            }
        };
        if line.reference == wanted {
            let observed = monitor.observe(&known.reference, line.at, &line.source, &line.looks);
            broken += u32::from(observed.is_err());
        }
    }
    if broken > 0 {
        log::warn!("{}: {broken} lines are no images, they do not count", path.display());
    }
    Ok(monitor)
}

fn short(known: &Known) -> String {
    known.digest.chars().take(16).collect()
}
