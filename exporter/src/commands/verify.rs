//! `exporter verify`: a bundle against the float checkpoint it was made of, on data.

use super::inspect::IntegerShare;
use crate::{
    checkpoint::Checkpoint,
    files, fold,
    images::spread,
    index,
    interpreter::Interpreter,
    network::Network,
    terminal::Terminal,
    verify::{self, Answer, LayerError, LayerErrors, Line, Page, Truth},
};
use anyhow::{Context, Result, ensure};
use bundle::{Bundle, section};
use clap::Args;
use std::{collections::HashMap, path::PathBuf};

/// Tensors shown in the summary.
const WORST: usize = 8;

/// Compares int8 with float on data: task metrics, agreement, error of every layer
#[derive(Debug, Args)]
pub(crate) struct Verify {
    bundle: PathBuf,
    /// Index of the data
    #[arg(long, value_name = "INDEX")]
    data: PathBuf,
    /// Float weights; a bundle does not carry them
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Part of the data to compare on
    #[arg(long, default_value = "test")]
    split: String,
    /// Compare on at most this many images, spread evenly
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// With --json: also one line for each quantized tensor
    #[arg(long)]
    layers: bool,
    /// Write a page with metrics, the worst tensors and what calibration saw
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
}

/// What both networks made of the data.
struct Comparison {
    lines: Vec<Line>,
    layers: Vec<LayerError>,
    share: IntegerShare,
    images: usize,
}

impl Verify {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let bundle = Bundle::open(&self.bundle)?;
        let comparison = self.compare(&bundle, terminal)?;
        if let Some(path) = &self.report {
            let page = verify::html(&Page {
                manifest: &bundle.manifest,
                digest: &bundle.digest(),
                lines: &comparison.lines,
                layers: &comparison.layers,
                split: &self.split,
                images: comparison.images,
                integer: [comparison.share.integer, comparison.share.all],
            });
            files::write(path, page.as_bytes())?;
        }
        if !terminal.json {
            return terminal.print(&(), &self.text(&comparison));
        }
        for line in &comparison.lines {
            terminal.print(line, "")?;
        }
        if self.layers {
            for layer in &comparison.layers {
                terminal.print(layer, "")?;
            }
        }
        Ok(())
    }

    fn compare(&self, bundle: &Bundle, terminal: Terminal) -> Result<Comparison> {
        let manifest = &bundle.manifest;
        let checkpoint = Checkpoint::open(&self.checkpoint)?;
        ensure!(
            checkpoint.digest == manifest.provenance.checkpoint_digest,
            "{}: weights have SHA-256 {}, but {} was made of {}",
            self.checkpoint.display(),
            checkpoint.digest,
            self.bundle.display(),
            manifest.provenance.checkpoint_digest
        );
        let onnx = bundle.require(section::MODEL)?;
        let network = Network::open(manifest, onnx)?;
        let (graph, weights) = fold::fold(&checkpoint.graph, &checkpoint.weights);
        let float = Interpreter::new(&graph, &weights)?;

        let records = self.records()?;
        let progress = terminal.progress("comparing");
        progress.set_length(records.len() as u64);
        let (mut answers, mut layers) = (Vec::new(), LayerErrors::default());
        for record in &records {
            let radiograph = radiograph::read_file(&record.image)?;
            let input = radiograph::network_input(&radiograph.image, &manifest.preprocess);
            let (int8, activations) = network.infer_all(&input)?;
            let activations: HashMap<&str, &[f32]> = activations
                .iter()
                .map(|activation| (activation.tensor.as_str(), activation.values.as_slice()))
                .collect();
            let outputs = float.run(&input, |tensor, values| {
                if let Some(int8) = activations.get(tensor) {
                    layers.add(tensor, values, int8);
                }
                None
            })?;
            for ((name, float), (_, int8)) in outputs.iter().zip(&int8) {
                layers.add(name, float, int8);
            }
            let size = [radiograph.image.height, radiograph.image.width];
            let truth = Truth::of(record, &manifest.model, size)
                .with_context(|| format!("image `{}`", record.id))?;
            answers.push(Answer::new(&graph, manifest, [outputs, int8], &truth, size)?);
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(Comparison {
            lines: verify::lines(manifest, &answers),
            layers: layers.worst_first(),
            share: IntegerShare::of(onnx)?,
            images: answers.len(),
        })
    }

    fn records(&self) -> Result<Vec<index::Record>> {
        let mut records = index::read(&self.data)?;
        records.retain(|record| record.split() == self.split);
        ensure!(
            !records.is_empty(),
            "{}: found no images of split `{}`, expected some",
            self.data.display(),
            self.split
        );
        Ok(spread(records, self.limit.unwrap_or(usize::MAX)))
    }

    fn text(&self, comparison: &Comparison) -> String {
        let Comparison { lines, layers, share, images } = comparison;
        let mut text = vec![
            format!("{} on {images} images ({})", self.bundle.display(), self.split),
            format!("integer share: {} of {} layers", share.integer, share.all),
            String::new(),
            format!(
                "{:<40} {:>8} {:>8} {:>9}  95 % interval",
                "metric", "float", "int8", "difference"
            ),
        ];
        for line in lines {
            text.push(format!(
                "{:<40} {:>8.4} {:>8.4} {:>+9.4}  {:+.4} to {:+.4}  n = {}",
                format!("{} {}", line.task, line.metric),
                line.float,
                line.int8,
                line.difference,
                line.interval[0],
                line.interval[1],
                line.n
            ));
        }
        text.push(format!("\nworst of {} tensors:", layers.len()));
        for LayerError { layer, sqnr_db, cosine } in layers.iter().take(WORST) {
            text.push(format!("{layer:<40} {sqnr_db:6.1} dB  cosine {cosine:.5}"));
        }
        text.join("\n")
    }
}
