//! What a PRIOR checkpoint knows without further training: naming findings it was never taught
//! (zero-shot), and finding the report that belongs to an image (retrieval).
//!
//! Prototypes are mixed without noise, unless `released_quirks.noise` asks for it; then the caller seeds libtorch.

pub(crate) mod pages;
mod prompted;
mod retrieval;
mod zero_shot;

pub use prompted::{FindingFigures, Prompted, PromptedScores, prompted};
pub use retrieval::{AtK, Query, Retrieval, retrieval};
pub use zero_shot::{ImageScores, ZeroShot, zero_shot};

use crate::{
    pretrain::Pictures,
    prior::{Batch, Objective, Trained},
    text::Encoded,
};
use anyhow::Result;
use graph::Preprocess;
use tch::{Kind, Tensor};

/// Images or reports encoded at a time.
const BATCH: usize = 16;

/// `[N, D]`, length 1.
fn texts(trained: &Trained, reports: &[Encoded], objective: &Objective) -> Tensor {
    let rows: Vec<Tensor> = reports
        .chunks(BATCH)
        .map(|chunk| trained.prior.embed_reports(&batch(trained, chunk), objective))
        .collect();
    Tensor::cat(&rows, 0)
}

/// Reports without images.
fn batch(trained: &Trained, reports: &[Encoded]) -> Batch {
    let device = trained.store.device();
    Batch::new(Tensor::zeros([reports.len() as i64], (Kind::Float, device)), reports, device)
}

/// `[B, 1, H, W]` by `preprocess`.
fn pictures(
    trained: &Trained,
    preprocess: Preprocess,
    paths: &[&std::path::Path],
) -> Result<Tensor> {
    let pictures = Pictures::new(preprocess, None)?;
    let mut pixels = Vec::new();
    for path in paths {
        pixels.extend(pictures.normalised(pictures.read(path)?));
    }
    let (h, w) = (preprocess.height as i64, preprocess.width as i64);
    Ok(Tensor::from_slice(&pixels).view([-1, 1, h, w]).to_device(trained.store.device()))
}
