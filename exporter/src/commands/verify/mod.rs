//! `exporter verify`: a bundle against the float network it was made of, on data.

mod reference;

use super::inspect::IntegerShare;
use crate::{
    passes::{fold, interpreter::Interpreter},
    read::{images::spread, selected::Selected},
    verify::{
        self, Answer, LayerError, LayerErrors, Line, Network, Page, Shapes, Side, Sides, Truth,
        Words,
    },
    write::{
        self,
        operating_points::Refitting,
        provenance::{self, Quantized},
    },
};
use anyhow::{Context, Result, ensure};
use bundle::{Bundle, Manifest, OperatingPoint, section};
use clap::Args;
use language::{Carrier, Language};
use records::{Record, Selection, Split};
use reference::Reference;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};
use terminal::Terminal;

/// Tensors shown in the summary.
const WORST: usize = 8;

/// Compares int8 with float on data: task metrics, agreement, error of every layer
#[derive(Debug, Args)]
pub(crate) struct Verify {
    bundle: PathBuf,
    /// Index of the data
    #[arg(long, value_name = "INDEX")]
    data: PathBuf,
    /// Float weights, which a bundle does not carry; default: the checkpoint it was made of, looked for by digest in the
    /// bundle's folder and in this one
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// The same of a network of another tool: the float ONNX file it was made of
    #[arg(long, value_name = "ONNX", conflicts_with = "checkpoint")]
    model: Option<PathBuf>,
    /// Part of the data to compare on
    #[arg(long, default_value = "test")]
    split: Split,
    /// Which of its images; default: those thresholds were fitted on
    #[command(flatten)]
    selected: Selected,
    /// Compare on at most this many images, spread evenly
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// What the index calls the region of a finding in words, where not as the finding: `Effusion=pleural_effusion`,
    /// `Pneumonia=boxes.Lung Opacity`; may be given often
    #[arg(long = "region", value_name = "FINDING=REGION", value_parser = region)]
    regions: Vec<(String, String)>,
    /// With --json: also one line for each quantized tensor
    #[arg(long)]
    layers: bool,
    /// Write a page with metrics, the worst tensors and what calibration saw
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
}

/// What both networks made of the data.
struct Comparison {
    /// Which images of the split.
    selection: Selection,
    lines: Vec<Line>,
    layers: Vec<LayerError>,
    share: IntegerShare,
    images: usize,
}

impl Verify {
    pub(crate) fn run(self, terminal: Terminal) -> Result<()> {
        let bundle = Bundle::open(&self.bundle)?;
        let (checkpoint, model) = (self.checkpoint.as_deref(), self.model.as_deref());
        let network = Network::open(&bundle.manifest.float_nodes, bundle.require(section::MODEL)?)?;
        let comparison = match Reference::of(&self.bundle, &bundle, checkpoint, model)? {
            Some(reference) => self.beside(&bundle, &network, &reference, terminal)?,
            None => self.alone(&bundle, &network, terminal)?,
        };
        if let Some(path) = &self.report {
            let page = verify::html(&Page {
                manifest: &bundle.manifest,
                digest: &bundle.digest(),
                lines: &comparison.lines,
                layers: &comparison.layers,
                split: &format!("{}, {}", self.split, comparison.selection),
                images: comparison.images,
                integer: [comparison.share.integer, comparison.share.all],
            });
            write::file(path, page.as_bytes())?;
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

    /// Figures of a network whose float one nobody knows.
    fn alone(&self, bundle: &Bundle, network: &Network, terminal: Terminal) -> Result<Comparison> {
        log::warn!(
            "{}: it came quantized, so its figures stand alone: no float network, no agreement, no error of layers",
            self.bundle.display()
        );
        let (selection, records) = self.records(&bundle.manifest)?;
        let images = records.len();
        let mut manifest = Manifest { metrics: Vec::new(), ..bundle.manifest.clone() };
        let measuring = Refitting {
            network,
            fitted: &[],
            records,
            selection: &selection,
            split: self.split,
            moves: false,
        };
        measuring.run(&mut manifest, &terminal.progress(0).with_message("measuring"))?;
        Ok(Comparison {
            lines: manifest.metrics.into_iter().map(Line::alone).collect(),
            layers: Vec::new(),
            share: IntegerShare::of(bundle.require(section::MODEL)?, &network.integer_share())?,
            selection,
            images,
        })
    }

    fn beside(
        &self,
        bundle: &Bundle,
        network: &Network,
        reference: &Reference,
        terminal: Terminal,
    ) -> Result<Comparison> {
        let manifest = &bundle.manifest;
        let side = |points: &[OperatingPoint]| Side::new(manifest, points.to_vec());
        let sides =
            Sides { float: side(&reference.points), int8: side(&manifest.operating_points) };
        let (graph, weights) = fold::fold(&reference.graph, &reference.weights);
        let float = Interpreter::new(&graph, &weights)?;
        let shapes = Shapes::of(&graph)?;

        let language = Carrier::from(bundle).language()?;
        let mut words = self.words(language.as_ref(), network, reference)?;
        let (selection, records) = self.records(manifest)?;
        let progress = terminal.progress(0).with_message("comparing");
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
            if let Some(words) = &mut words {
                words.ask(record, [&outputs, &int8], &manifest.preprocess.place(size))?;
            }
            let truth = Truth::of(record, &manifest.model, size)
                .with_context(|| format!("image `{}`", record.id))?;
            answers.push(Answer::new(&shapes, &sides, [outputs, int8], &truth, size)?);
            progress.inc(1);
        }
        progress.finish_and_clear();
        let mut lines = verify::lines(&sides, &answers);
        lines.extend(words.iter().flat_map(Words::lines));
        Ok(Comparison {
            selection,
            lines,
            layers: layers.worst_first(),
            share: IntegerShare::of(bundle.require(section::MODEL)?, &network.integer_share())?,
            images: answers.len(),
        })
    }

    /// The findings in words of a bundle that has some, ready for both networks.
    fn words<'a>(
        &self,
        language: Option<&'a Language>,
        network: &'a Network,
        reference: &Reference,
    ) -> Result<Option<Words<'a>>> {
        let regions: BTreeMap<String, String> = self.regions.iter().cloned().collect();
        match (language, &reference.prior) {
            (Some(language), Some(prior)) => {
                ensure!(
                    prior.space == language.space.id,
                    "the checkpoint's joint space is another than the bundle's"
                );
                Words::new(language, network, prior, regions).map(Some)
            }
            _ => {
                ensure!(
                    regions.is_empty(),
                    "--region is for findings in words, which the bundle lacks"
                );
                Ok(None)
            }
        }
    }

    /// Images of the split that thresholds are for, unless the user says otherwise.
    fn records(&self, manifest: &Manifest) -> Result<(Selection, Vec<Record>)> {
        let mut records = records::read(&self.data)?;
        records.retain(|record| record.part() == self.split);
        ensure!(
            !records.is_empty(),
            "{}: found no images of split `{}`, expected some",
            self.data.display(),
            self.split
        );
        let selection = match Quantized::of(manifest)? {
            Some(quantized) if !self.selected.is_asked() => quantized.selection(),
            _ => self.selected.or_trained(&provenance::table(manifest)?)?,
        };
        let records = selection.of(records).with_context(|| {
            format!(
                "{}, split {}: the network is for {selection}; choose others with --source and --having, or \
                 --unselected",
                self.data.display(),
                self.split
            )
        })?;
        Ok((selection, spread(records, self.limit.unwrap_or(usize::MAX))))
    }

    fn text(&self, comparison: &Comparison) -> String {
        let Comparison { selection, lines, layers, share, images } = comparison;
        let mut text = vec![
            format!("{} on {images} images ({}, {selection})", self.bundle.display(), self.split),
            format!("integer share: {share}"),
            String::new(),
            format!(
                "{:<40} {:>8} {:>8} {:>9}  95 % interval",
                "metric", "float", "int8", "difference"
            ),
        ];
        for line in lines {
            let at = line.thresholds.map_or(String::new(), |[float, int8]| {
                format!(", float at {float:.3}, int8 at {int8:.3}")
            });
            text.push(format!(
                "{:<40} {:>8} {:>8.4} {:>9}  {:+.4} to {:+.4}  n = {}{at}",
                format!("{} {}", line.task, line.metric),
                line.float.map_or("-".into(), |float| format!("{float:.4}")),
                line.int8,
                line.difference.map_or("-".into(), |difference| format!("{difference:+.4}")),
                line.interval[0],
                line.interval[1],
                line.n
            ));
        }
        if !layers.is_empty() {
            text.push(format!("\nworst of {} tensors:", layers.len()));
        }
        for LayerError { layer, sqnr_db, cosine } in layers.iter().take(WORST) {
            text.push(format!("{layer:<40} {sqnr_db:6.1} dB  cosine {cosine:.5}"));
        }
        text.join("\n")
    }
}

fn region(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((finding, region)) if !finding.is_empty() && !region.is_empty() => {
            Ok((finding.to_owned(), region.to_owned()))
        }
        _ => Err("expected a finding and what the index calls its region, FINDING=REGION".into()),
    }
}
