//! `exporter quantize`: a checkpoint and images to a signed bundle.

use super::keys;
use crate::{
    adaround, bias,
    calibrate::{self, Observations},
    checkpoint::Checkpoint,
    choose, equalize, files, fold, golden,
    images::ImageSet,
    network::Network,
    onnx::{Batch, quantized_model},
    package::{self, Identity},
    quantized::{Plan, Quantized},
    terminal::Terminal,
};
use anyhow::{Context, Result};
use bundle::section;
use calibration::{Method, Table};
use clap::Args;
use prost::Message;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Calibrates a checkpoint on images, rounds it to 8 bits and packs it into a bundle
#[derive(Debug, Args)]
pub(crate) struct Quantize {
    /// Round to 8-bit integers; the only arithmetic there is, so it must be asked for
    #[arg(long, required = true)]
    int8: bool,
    /// Checkpoint folder written by trainer or `exporter import`
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Folder of images, or an index (its test split is never used)
    #[arg(long, value_name = "DIR|INDEX")]
    calibration: PathBuf,
    #[command(flatten)]
    recipe: Recipe,
    /// Bundle to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Private key (PEM) to sign with, from `exporter keygen`
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    #[command(flatten)]
    identity: Identity,
}

/// How a network is rounded.
#[derive(Debug, Args)]
pub(crate) struct Recipe {
    /// How ranges are chosen: minmax, moving-average, percentile (or percentile:P), entropy, mse or auto
    #[arg(long, value_name = "METHOD", default_value = "mse")]
    observer: Method,
    /// Calibrate on at most this many images, spread evenly
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    images_limit: u64,
    /// Leave biases as they are instead of making up for the mean error of rounded weights
    #[arg(long)]
    no_bias_correction: bool,
    /// Even out the ranges of channels between layers first
    #[arg(long)]
    equalize: bool,
    /// Round weights by their effect on each layer's output instead of to the nearest (AdaRound)
    #[arg(long)]
    adaround: bool,
    /// Signed activations around 0, as TensorRT wants them
    #[arg(long)]
    symmetric: bool,
    /// Leave this convolution or linear layer in float; may be repeated. The bundle says so
    #[arg(long, value_name = "NODE")]
    float: Vec<String>,
}

/// A network on eight bits and how it came about.
pub(crate) struct Outcome {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) model: Quantized,
    pub(crate) observations: Observations,
    pub(crate) table: Table,
}

impl Recipe {
    /// Folds, observes, chooses ranges, rounds.
    pub(crate) fn quantize(
        &self,
        folder: &Path,
        images: &Path,
        terminal: Terminal,
    ) -> Result<Outcome> {
        let checkpoint = Checkpoint::open(folder)?;
        let (graph, weights) = fold::fold_batch_norms(&checkpoint.graph, &checkpoint.weights);
        let weights = if self.equalize { equalize::equalize(&graph, &weights) } else { weights };
        let plan = Plan::with_float(&graph, &self.float.iter().cloned().collect())
            .with_context(|| format!("{} cannot be quantized", folder.display()))?;
        let images = ImageSet::find(images, self.images_limit as usize)?;
        let preprocess = checkpoint.config.preprocess;
        let progress = terminal.progress("calibrating");
        let observe = |images: &ImageSet| {
            calibrate::observe(&graph, &weights, &plan, images, &preprocess, &progress)
        };
        let (observations, table) = if self.observer == Method::Auto {
            let (images, judges) = choose::split(&images);
            let observations = observe(&images)?;
            let judge =
                choose::Judge::new(&graph, &plan, &weights, &judges, &preprocess, self.symmetric)?;
            let progress = terminal.progress("choosing ranges");
            let table = choose::table(&judge, &observations, &preprocess, &progress)?;
            (observations, table)
        } else {
            let observations = observe(&images)?;
            let table = observations.table(&graph, self.observer, &preprocess, self.symmetric)?;
            (observations, table)
        };
        let mut model = Quantized::new(graph, plan, &weights, &choose::params(&table));
        model.signed = self.symmetric;
        if self.adaround {
            let progress = terminal.progress("rounding");
            let codes = adaround::round(&model, &weights, &images, &preprocess, &progress)?;
            adaround::apply(&mut model, &codes);
        }
        if !self.no_bias_correction {
            bias::correct(&mut model, &weights, &observations.means);
        }
        Ok(Outcome { checkpoint, model, observations, table })
    }
}

impl Quantize {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let key = self.sign.as_deref().map(keys::read_private).transpose()?;
        let outcome = self.recipe.quantize(&self.checkpoint, &self.calibration, terminal)?;
        let onnx = quantized_model(&outcome.model, Batch::One)?.encode_to_vec();
        let manifest = package::manifest(&outcome, self.recipe.observer, &self.identity)?;
        let preprocess = outcome.checkpoint.config.preprocess;
        let network = Network::open(&manifest, &onnx)?;
        let golden = golden::vectors(&preprocess, |input| network.infer(input))?;
        let sections = package::sections(&manifest, onnx, &golden)?;
        let bundle = bundle::Bundle::seal(manifest, sections, key.as_ref())?;
        let bytes = bundle.to_bytes()?;
        files::write(&self.out, &bytes)?;

        let manifest = &bundle.manifest;
        let model_size = bundle.require(section::MODEL)?.len();
        let document = json!({
            "bundle": self.out, "digest": bundle.digest(), "id": manifest.id,
            "version": manifest.version, "bytes": bytes.len(), "model_bytes": model_size,
            "signed": bundle.signature().is_some(), "observer": manifest.calibration.observer,
            "images": manifest.calibration.images,
        });
        let text = format!(
            "{}: {} {}, {:.1} MB, {}, calibrated on {} images ({})\ndigest {}",
            self.out.display(),
            manifest.id,
            manifest.version,
            bytes.len() as f64 / 1e6,
            if key.is_some() { "signed" } else { "not signed" },
            manifest.calibration.images,
            manifest.calibration.observer,
            bundle.digest(),
        );
        terminal.print(&document, &text)
    }
}
