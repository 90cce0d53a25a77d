//! `exporter quantize`: a checkpoint and images to a signed bundle, or a foreign ONNX file to one in int8.

use crate::{
    calibrate::{self, Outcome, RoundingOptions, Sensitivity, Source},
    read::{checkpoint::Checkpoint, foreign, selected::Selected},
    verify::Network,
    write::{
        self, codes,
        manifest::{self, Identity},
        onnx::{Batch, quantized_model},
        operating_points::{Refit, Refitting},
        package,
        provenance::Quantized,
    },
};
use anyhow::{Context, Result, bail, ensure};
use bundle::{Manifest, section};
use clap::Args;
use engine::{Engine, Options};
use graph::{Fit, Preprocess};
use prost::Message;
use serde_json::json;
use std::path::{Path, PathBuf};
use terminal::Terminal;

/// Calibrates a network on images, rounds it to 8 bits and packs it into a bundle
#[derive(Debug, Args)]
pub(crate) struct Quantize {
    /// Round to 8-bit integers; the only arithmetic there is, so it must be asked for
    #[arg(long, required = true)]
    int8: bool,
    /// Checkpoint folder written by trainer, `exporter distill` or `exporter import`
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    checkpoint: Option<PathBuf>,
    /// Float ONNX file of another tool instead; --out is then an ONNX file too
    #[arg(long, value_name = "ONNX", conflicts_with_all = ["checkpoint", "sign"])]
    model: Option<PathBuf>,
    /// With --model: mean and deviation of its input, of pixels in 0 to 1
    #[arg(
        long,
        value_name = "MEAN,STD",
        requires = "model",
        conflicts_with = "checkpoint",
        allow_hyphen_values = true,
        value_parser = mean_and_std
    )]
    normalise: Option<(f32, f32)>,
    /// With --model: how pictures that are not of its input's shape are fitted in, `stretch` or `pad`
    #[arg(long, requires = "model", conflicts_with = "checkpoint", default_value_t)]
    fit: Fit,
    /// Folder of images, or an index (its test split is never used)
    #[arg(long, value_name = "DIR|INDEX")]
    calibration: PathBuf,
    /// Which images of the index thresholds are fitted on; default: those the checkpoint was trained on
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    rounding: RoundingOptions,
    /// Bundle to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Private key (PEM) to sign with, from `exporter keygen`
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    #[command(flatten)]
    identity: Identity,
}

impl Quantize {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        match (&self.model, &self.checkpoint) {
            (Some(model), _) => self.foreign(model, terminal),
            (None, Some(folder)) => self.bundle(folder, terminal),
            (None, None) => unreachable!("clap asks for one of them"),
        }
    }

    fn bundle(&self, folder: &Path, terminal: Terminal) -> Result<()> {
        let key = self.sign.as_deref().map(keyring::read_private_key).transpose()?;
        let checkpoint = Checkpoint::open(folder)?;
        let codes = codes::of(&checkpoint.config.model, self.identity.codes.as_deref())?;
        let source = Source::of(&checkpoint, folder);
        let outcome = calibrate::quantize(&self.rounding, &source, &self.calibration, terminal)?;
        let onnx = quantized_model(&outcome.model, Batch::One)?.encode_to_vec();
        let mut manifest = manifest::of(&checkpoint, &outcome, &self.identity)?;
        let network = Network::open(&manifest, &onnx)?;
        let refits = self.refit(&checkpoint, &network, &mut manifest, terminal)?;
        let bundle = package::seal(manifest, onnx, &network, &codes, key.as_ref())?;
        let bytes = bundle.to_bytes()?;
        write::file(&self.out, &bytes)?;

        let manifest = &bundle.manifest;
        let model_size = bundle.require(section::MODEL)?.len();
        let document = json!({
            "bundle": self.out, "digest": bundle.digest(), "id": manifest.id,
            "version": manifest.version, "bytes": bytes.len(), "model_bytes": model_size,
            "signed": bundle.signature().is_some(), "observer": manifest.calibration.observer,
            "images": manifest.calibration.images, "float_nodes": manifest.float_nodes,
            "sensitivity": outcome.sensitivities, "operating_points": refits,
        });
        let refits: String = refits.iter().map(|refit| format!("\n{}", refit.text())).collect();
        let text = format!(
            "{}: {} {}, {:.1} MB, {}, calibrated on {} images ({})\ndigest {}{refits}{}",
            self.out.display(),
            manifest.id,
            manifest.version,
            bytes.len() as f64 / 1e6,
            if key.is_some() { "signed" } else { "not signed" },
            manifest.calibration.images,
            manifest.calibration.observer,
            bundle.digest(),
            ranking(&outcome),
        );
        terminal.print(&document, &text)
    }

    /// Thresholds of the int8 network, where calibration has an index; what became of each.
    fn refit(
        &self,
        checkpoint: &Checkpoint,
        network: &Network,
        manifest: &mut Manifest,
        terminal: Terminal,
    ) -> Result<Vec<Refit>> {
        let selection = self.selected.or_trained(&checkpoint.document)?;
        let refits = if self.calibration.is_dir() {
            ensure!(
                !self.selected.is_asked(),
                "{} is a folder: --source, --having and --unselected choose images of an index",
                self.calibration.display()
            );
            Vec::new()
        } else {
            let mut records = records::read(&self.calibration)?;
            if self.selected.is_asked() {
                records = selection.of(records)?;
            }
            let (graph, fitted) = (&checkpoint.graph, checkpoint.operating_points.as_slice());
            let refitting = Refitting { graph, network, fitted, records, selection: &selection };
            refitting.run(manifest, &terminal.progress(0).with_message("fitting thresholds"))?
        };
        for refit in refits.iter().filter(|refit| refit.kept.is_some()) {
            log::warn!("{}", refit.text());
        }
        Quantized::new(&selection, refits.clone()).add_to(manifest)?;
        Ok(refits)
    }

    fn foreign(&self, path: &Path, terminal: Terminal) -> Result<()> {
        if self.out.extension().is_none_or(|ending| ending != "onnx") {
            bail!(
                "{}: a foreign model becomes an ONNX file, expected a name that ends in .onnx (a bundle says what \
                 its outputs mean, which the file does not)",
                self.out.display()
            );
        }
        let foreign = foreign::open(path)?;
        let [_, height, width] = foreign.graph.input_shape;
        let Preprocess { mean, std, .. } = Preprocess::PRIOR;
        let (mean, std) = self.normalise.unwrap_or((mean, std));
        let source = Source {
            path,
            graph: &foreign.graph,
            weights: &foreign.weights,
            preprocess: Preprocess { height, width, mean, std, fit: self.fit, ..Preprocess::PRIOR },
            config: None,
        };
        let outcome = calibrate::quantize(&self.rounding, &source, &self.calibration, terminal)?;
        let onnx = quantized_model(&outcome.model, Batch::One)?.encode_to_vec();
        let float: Vec<String> = outcome.model.plan.float().iter().cloned().collect();
        // What the box would refuse is no result.
        let engine = Engine::from_onnx(&onnx, &float, &Options::threads(1))
            .context("the engine refuses the network")?;
        write::file(&self.out, &onnx)?;
        let document = json!({
            "file": self.out, "bytes": onnx.len(), "layers": outcome.model.layers.len(),
            "float_nodes": float, "observer": outcome.chosen.to_string(), "images": outcome.observations.images,
            "integer_share": engine.integer_share(), "sensitivity": outcome.sensitivities,
        });
        let text = format!(
            "{}: {:.1} MB, {} layers on integers, {} in float, calibrated on {} images ({}){}",
            self.out.display(),
            onnx.len() as f64 / 1e6,
            outcome.model.layers.len(),
            float.len(),
            outcome.observations.images,
            outcome.chosen,
            ranking(&outcome),
        );
        terminal.print(&document, &text)
    }
}

fn mean_and_std(text: &str) -> Result<(f32, f32), String> {
    let number = |text: &str| text.trim().parse().ok().filter(|x: &f32| x.is_finite());
    match text.split_once(',').map(|(mean, std)| (number(mean), number(std))) {
        Some((Some(mean), Some(std))) if std > 0.0 => Ok((mean, std)),
        _ => Err("expected a mean and a positive deviation, such as 0.449,0.226".into()),
    }
}

/// The ten most sensitive layers, if they were ranked.
fn ranking(outcome: &Outcome) -> String {
    let line = |layer: &Sensitivity| {
        format!("\n{:<40} {:6.1} dB when it alone is rounded", layer.node, layer.sqnr_db)
    };
    outcome.sensitivities.iter().take(10).map(line).collect()
}
