//! `exporter quantize`: a network and images to a signed bundle.
//!
//! ```text
//! --checkpoint                            ours    → a bundle
//! --model with --manifest or --preset     foreign → a bundle; of a float file, or of one that came quantized
//! --model alone                           bare    → an ONNX file in int8, which says nothing of its outputs
//! ```

mod bare;
mod foreign;
mod ours;

use crate::{
    calibrate::{Outcome, RoundingOptions, Sensitivity},
    read::{described::Preset, images::ImageSet, selected::Selected},
    verify::Network,
    write::{
        self,
        language::{Evidence, Fitted, Wording},
        manifest::Identity,
        operating_points::{Refit, Refitting},
        provenance::Quantized,
    },
};
use anyhow::{Result, ensure};
use bundle::{Bundle, Manifest, section};
use clap::Args;
use graph::Fit;
use metrics::operating::OperatingPoint;
use records::Split;
use serde_json::json;
use std::path::{Path, PathBuf};
use terminal::Terminal;
use toml::Table;

/// Calibrates a network on images, rounds it to 8 bits and packs it into a bundle
#[derive(Debug, Args)]
pub(crate) struct Quantize {
    /// Round to 8-bit integers; the only arithmetic there is, so it must be asked for
    #[arg(long, required = true)]
    int8: bool,
    /// Checkpoint folder written by trainer, `exporter distill` or `exporter import`
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    checkpoint: Option<PathBuf>,
    /// ONNX file of another tool instead, float or already quantized (QDQ); without --manifest or --preset, --out is an
    /// ONNX file too
    #[arg(long, value_name = "ONNX", conflicts_with = "checkpoint")]
    model: Option<PathBuf>,
    /// With --model: what its input takes and its outputs mean
    #[arg(long, value_name = "TOML", requires = "model", conflicts_with = "checkpoint")]
    manifest: Option<PathBuf>,
    /// With --model: a published network's input and labels, where --manifest does not say otherwise
    #[arg(long, value_name = "NAME", requires = "model", conflicts_with = "checkpoint")]
    preset: Option<Preset>,
    /// With --model alone: mean and deviation of its input, of pixels in 0 to 1
    #[arg(
        long,
        value_name = "MEAN,STD",
        requires = "model",
        conflicts_with_all = ["checkpoint", "manifest", "preset"],
        allow_hyphen_values = true,
        value_parser = mean_and_std
    )]
    normalise: Option<(f32, f32)>,
    /// With --model alone: how pictures that are not of its input's shape are fitted in, `stretch`, `pad`, `centre-crop` or
    /// `resize-crop:N` (the shorter side to N pixels, then the middle)
    #[arg(
        long,
        requires = "model",
        conflicts_with_all = ["checkpoint", "manifest", "preset"],
        default_value_t
    )]
    fit: Fit,
    /// With --checkpoint, of PRIOR: findings asked for in words, whose phrases the text encoder reads now
    #[arg(long, value_name = "TOML", requires = "checkpoint")]
    prompts: Option<PathBuf>,
    /// With --checkpoint, of PRIOR: reviewed sentences, one a line, of which an image's nearest are shown; no other ships
    #[arg(long, value_name = "TXT", requires = "checkpoint")]
    bank: Option<PathBuf>,
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
        let described = self.manifest.is_some() || self.preset.is_some();
        match (self.model.clone(), self.checkpoint.clone()) {
            (Some(model), _) if described => self.foreign(&model, terminal),
            (Some(model), _) => self.bare(&model, terminal),
            (None, Some(folder)) => self.ours(&folder, terminal),
            (None, None) => unreachable!("clap asks for one of them"),
        }
    }

    /// Thresholds of the int8 network, where `index` is one; what became of each. Those that were `fitted` before are by
    /// their criteria, on the images that `training` names.
    fn refit(
        &self,
        fitted: &[OperatingPoint],
        training: &Table,
        index: &Path,
        network: &Network,
        manifest: &mut Manifest,
        terminal: Terminal,
    ) -> Result<Vec<Refit>> {
        let selection = self.selected.or_trained(training)?;
        let refits = if index.is_dir() {
            ensure!(
                !self.selected.is_asked(),
                "{} is a folder: --source, --having and --unselected choose images of an index",
                index.display()
            );
            Vec::new()
        } else {
            let mut records = records::read(index)?;
            if self.selected.is_asked() {
                records = selection.of(records)?;
            }
            let (selection, split) = (&selection, Split::Val);
            let refitting = Refitting { network, fitted, records, selection, split, moves: true };
            refitting.run(manifest, &terminal.progress(0).with_message("fitting thresholds"))?
        };
        for refit in refits.iter().filter(|refit| refit.kept.is_some()) {
            log::warn!("{}", refit.text());
        }
        let share = network.integer_share();
        Quantized::new(&selection, refits.clone(), share).add_to(manifest)?;
        Ok(refits)
    }

    /// Probabilities and thresholds of findings in words, where `--calibration` is an index: on the images that `training`
    /// names, unless the user says otherwise.
    fn fit(
        &self,
        wording: &mut Wording,
        training: &Table,
        network: &Network,
        manifest: &mut Manifest,
        terminal: Terminal,
    ) -> Result<Vec<Fitted>> {
        if self.calibration.is_dir() {
            return Ok(wording.unfitted());
        }
        let (records, selection) =
            (records::read(&self.calibration)?, self.selected.or_trained(training)?);
        let (selection, split) = (&selection, Split::Val);
        let evidence = Evidence { network, manifest, records, selection, split };
        let progress = terminal.progress(0).with_message("fitting findings in words");
        let (fitted, metrics) = wording.fit(&evidence, &progress)?;
        manifest.metrics.extend(metrics);
        Ok(fitted)
    }

    /// What places of the calibration's images usually say of findings in words.
    fn look(
        &self,
        wording: &mut Wording,
        network: &Network,
        manifest: &Manifest,
        terminal: Terminal,
    ) -> Result<()> {
        let images = ImageSet::find(&self.calibration, self.rounding.images_limit())?;
        let progress = terminal.progress(0).with_message("looking at what is usual");
        wording.look(network, manifest, &images, &progress)
    }

    /// How the calibration's images look to the network that ships, if there are enough of them.
    fn reference(
        &self,
        network: &Network,
        manifest: &Manifest,
        terminal: Terminal,
    ) -> Result<Option<Vec<u8>>> {
        let images = ImageSet::find(&self.calibration, self.rounding.images_limit())?;
        let progress = terminal.progress(0).with_message("looking");
        write::drift::section(network, manifest, &images, &progress)
    }

    /// Writes the bundle and says what it is.
    fn conclude(
        &self,
        bundle: &Bundle,
        network: &Network,
        sensitivities: &[Sensitivity],
        (refits, fitted): (&[Refit], &[Fitted]),
        terminal: Terminal,
    ) -> Result<()> {
        let bytes = bundle.to_bytes()?;
        write::file(&self.out, &bytes)?;
        let share = network.integer_share();
        warn_of_float(&share);
        let manifest = &bundle.manifest;
        let model_size = bundle.require(section::MODEL)?.len();
        let document = json!({
            "bundle": self.out, "digest": bundle.digest(), "id": manifest.id,
            "version": manifest.version, "bytes": bytes.len(), "model_bytes": model_size,
            "signed": bundle.signature().is_some(), "observer": manifest.calibration.observer,
            "images": manifest.calibration.images, "float_nodes": manifest.float_nodes,
            "integer_share": share, "sensitivity": sensitivities, "operating_points": refits,
            "findings_in_words": fitted,
        });
        let refits = refits.iter().map(|refit| format!("\n{}", refit.text()));
        let fitted = fitted.iter().map(|fitted| format!("\n{}", fitted.text()));
        let thresholds: String = refits.chain(fitted).collect();
        let text = format!(
            "{}: {} {}, {:.1} MB, {}, calibrated on {} images ({})\ndigest {}{thresholds}{}",
            self.out.display(),
            manifest.id,
            manifest.version,
            bytes.len() as f64 / 1e6,
            if bundle.signature().is_some() { "signed" } else { "not signed" },
            manifest.calibration.images,
            manifest.calibration.observer,
            bundle.digest(),
            ranking(sensitivities),
        );
        terminal.print(&document, &text)
    }
}

/// An island in float is slow, and nobody asked for it: it is named.
fn warn_of_float(share: &engine::IntegerShare) {
    let nodes = &share.float_nodes;
    if !nodes.is_empty() {
        log::warn!("{} nodes run in float: {}", nodes.len(), nodes.join(", "));
    }
}

fn mean_and_std(text: &str) -> Result<(f32, f32), String> {
    let number = |text: &str| text.trim().parse().ok().filter(|x: &f32| x.is_finite());
    match text.split_once(',').map(|(mean, std)| (number(mean), number(std))) {
        Some((Some(mean), Some(std))) if std > 0.0 => Ok((mean, std)),
        _ => Err("expected a mean and a positive deviation, such as 0.449,0.226".into()),
    }
}

/// Layers left in float.
fn float_nodes(outcome: &Outcome) -> Vec<String> {
    outcome.model.plan.float().iter().cloned().collect()
}

/// The ten most sensitive layers, if they were ranked.
fn ranking(sensitivities: &[Sensitivity]) -> String {
    let line = |layer: &Sensitivity| {
        format!("\n{:<40} {:6.1} dB when it alone is rounded", layer.node, layer.sqnr_db)
    };
    sensitivities.iter().take(10).map(line).collect()
}
