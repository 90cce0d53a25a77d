//! From a float network and images to eight bits: the passes, in order.
//!
//! ```text
//! fold ─▶ equalize? ─▶ observe ─▶ ranges ─▶ round ─▶ adaround? ─▶ bias ─▶ float layers, if the task asks for them
//! ```

use crate::{
    calibrate::{self, Observations},
    choose::{self, Choice},
    judge::{self, Judge, Sensitivity},
    passes::{
        adaround, bias, equalize, fold,
        quantized::{Plan, Quantized, is_layer},
    },
    read::{checkpoint::Checkpoint, images::ImageSet, weights::Weights},
    terminal::Terminal,
    verify,
};
use anyhow::{Context, Result, ensure};
use calibration::{Method, Table};
use clap::Args;
use engine::decode::Detector;
use graph::{CheckpointConfig, Graph, Node, Preprocess};
use std::{collections::BTreeSet, path::Path};

/// How a network is rounded.
#[derive(Debug, Args)]
pub(crate) struct Recipe {
    /// How ranges are chosen: minmax, moving-average, percentile (or percentile:P), entropy, mse, image-mse or auto
    #[arg(long, value_name = "METHOD", default_value_t = Method::USUAL)]
    pub(crate) observer: Method,
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
    pub(crate) symmetric: bool,
    /// Leave this convolution or linear layer in float; may be repeated. The bundle says so
    #[arg(long, value_name = "NODE")]
    float: Vec<String>,
    /// Leave the most sensitive layers in float until no task loses more than this share of its metric
    #[arg(long, value_name = "SHARE")]
    max_drop: Option<f64>,
    /// Rank layers by the noise that rounding each alone brings
    #[arg(long)]
    sensitivity: bool,
    /// Keep all of detection on integers: its coarsest level, and its last convolutions even where that costs more than 1 %
    #[arg(long)]
    int8_detection: bool,
}

/// A float network to round.
pub(crate) struct Source<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) weights: &'a Weights,
    pub(crate) preprocess: Preprocess,
    /// With it the task judges, not only the outputs.
    pub(crate) config: Option<&'a CheckpointConfig>,
}

impl Source<'_> {
    /// Whether a head of ours finds boxes.
    fn detects(&self) -> bool {
        self.config.is_some_and(|config| config.model.detector().is_some())
    }
}

/// A network on eight bits and how it came about.
pub(crate) struct Outcome {
    pub(crate) model: Quantized,
    pub(crate) observations: Observations,
    pub(crate) table: Table,
    /// What the ranges, and layers left in float, were chosen by.
    pub(crate) chosen: String,
    /// Asked for by `--sensitivity` or needed for `--max-drop`.
    pub(crate) sensitivities: Vec<Sensitivity>,
}

/// More than this share of detection's metric is too much for its last convolutions.
const DETECTION_DROP: f64 = 0.01;

impl Recipe {
    /// Rounds the network of a checkpoint, with its task as a judge.
    pub(crate) fn of_checkpoint(
        &self,
        folder: &Path,
        checkpoint: &Checkpoint,
        images: &Path,
        terminal: Terminal,
    ) -> Result<Outcome> {
        let source = Source {
            graph: &checkpoint.graph,
            weights: &checkpoint.weights,
            preprocess: checkpoint.config.preprocess,
            config: Some(&checkpoint.config),
        };
        self.quantize(&source, images, terminal)
            .with_context(|| format!("{} cannot be quantized", folder.display()))
    }

    pub(crate) fn quantize(
        &self,
        source: &Source<'_>,
        images: &Path,
        terminal: Terminal,
    ) -> Result<Outcome> {
        if let Some(share) = self.max_drop {
            ensure!(
                (0.0..1.0).contains(&share),
                "--max-drop is {share}, expected a share from 0 to 1"
            );
        }
        let (graph, weights) = fold::fold(source.graph, source.weights);
        let weights = if self.equalize { equalize::equalize(&graph, &weights) } else { weights };
        let float: BTreeSet<String> = self.float.iter().cloned().collect();
        let plan = Plan::with_float(&graph, &float)?;
        let images = ImageSet::find(images, self.images_limit as usize)?;
        let (images, judges) =
            if self.judges(source) { choose::split(&images) } else { (images, ImageSet::none()) };
        // Ranges of every tensor, whatever stays in float in the end.
        let everything = Plan::new(&graph)?;
        let progress = terminal.progress("calibrating");
        let preprocess = source.preprocess;
        let observations =
            calibrate::observe(&graph, &weights, &everything, &images, &preprocess, &progress)?;
        let judge = Judge::new(&graph, &weights, &judges, &preprocess, source.config)?;
        let (table, mut chosen) = if self.observer == Method::Auto {
            let choice = Choice {
                judge: &judge,
                plan: &plan,
                weights: &weights,
                observations: &observations,
                preprocess: &preprocess,
                symmetric: self.symmetric,
            };
            let (table, why) = choice.table(&terminal.progress("choosing ranges"))?;
            (table, format!("auto: {why}"))
        } else {
            let table = observations.table(&graph, self.observer, &preprocess, self.symmetric)?;
            (table, self.observer.to_string())
        };
        let mut rounding = Rounding {
            recipe: self,
            graph: &graph,
            weights: &weights,
            table: &table,
            codes: None,
            detects: source.detects(),
        };
        if self.adaround {
            let nearest =
                Quantized::new(graph.clone(), everything, &weights, &judge::params(&table));
            let progress = terminal.progress("rounding");
            let codes = adaround::round(&nearest, &weights, &images, &preprocess, &progress)?;
            rounding.codes = Some(codes);
            chosen += ", adaround";
        }
        let mut sensitivities = Vec::new();
        if self.sensitivity || self.max_drop.is_some() {
            let progress = terminal.progress("ranking layers");
            sensitivities = judge.sensitivities(&judge::params(&table), &progress)?;
        }
        let model = rounding.with_float_layers(
            float,
            &judge,
            &observations,
            &sensitivities,
            &mut chosen,
        )?;
        Ok(Outcome { model, observations, table, chosen, sensitivities })
    }

    /// Whether some images must be kept from calibration.
    fn judges(&self, source: &Source<'_>) -> bool {
        self.observer == Method::Auto
            || self.sensitivity
            || self.max_drop.is_some()
            || (source.detects() && !self.int8_detection)
    }
}

/// Everything rounding needs but the choice of float layers.
struct Rounding<'a> {
    recipe: &'a Recipe,
    graph: &'a Graph,
    weights: &'a Weights,
    table: &'a Table,
    codes: Option<adaround::Codes>,
    /// A head of ours finds boxes; names of a foreign network say nothing.
    detects: bool,
}

impl Rounding<'_> {
    /// Rounds; adds float layers where detection or `--max-drop` ask for them, and says so in `chosen`.
    fn with_float_layers(
        &self,
        mut float: BTreeSet<String>,
        judge: &Judge<'_>,
        observations: &Observations,
        sensitivities: &[Sensitivity],
        chosen: &mut String,
    ) -> Result<Quantized> {
        let coarsest = self.coarsest_level();
        if !coarsest.is_empty() {
            *chosen += "; detection's coarsest level in float";
            float.extend(coarsest);
        }
        let mut model = self.model(&float, observations)?;
        let last: Vec<String> = [Detector::AnchorFree, Detector::Yolov3]
            .into_iter()
            .flat_map(|kind| kind.levels().map(move |level| kind.last_layer(level)))
            .filter(|name| self.graph.node(name).is_some())
            .collect();
        if !last.is_empty() && !self.recipe.int8_detection {
            let lines = judge.lines(&model)?;
            let lines: Vec<_> = lines.into_iter().filter(verify::Line::is_of_boxes).collect();
            if let Some((drop, task)) = verify::worst_drop(&lines)
                && drop > DETECTION_DROP
            {
                *chosen += &format!("; detection's last convolutions in float ({task} -{drop:.4})");
                float.extend(last);
                model = self.model(&float, observations)?;
            }
        }
        let Some(budget) = self.recipe.max_drop else { return Ok(model) };
        let (mut drop, mut task) = judge.drop(&model)?;
        for layer in sensitivities {
            if drop <= budget {
                break;
            }
            log::info!(
                "{task} loses {drop:.4}: `{}` ({:.1} dB) in float",
                layer.node,
                layer.sqnr_db
            );
            float.insert(layer.node.clone());
            model = self.model(&float, observations)?;
            (drop, task) = judge.drop(&model)?;
        }
        ensure!(
            drop <= budget,
            "--max-drop {budget}: {task} still loses {drop:.4} with every layer in float; activations alone cost that"
        );
        *chosen += &format!(
            "; {} layers in float for --max-drop {budget} ({task} -{drop:.4})",
            float.len()
        );
        Ok(model)
    }

    /// Layers of the anchor-free head on C5: its activations have the heaviest tails, a few large objects are found on
    /// its few cells, and it is the cheapest level. Rounding its activations costs most of what int8 costs boxes.
    fn coarsest_level(&self) -> Vec<String> {
        if !self.detects || self.recipe.int8_detection {
            return Vec::new();
        }
        let of_level = |node: &&Node| node.name.starts_with("det.p5.") && is_layer(node);
        self.graph.nodes.iter().filter(of_level).map(|node| node.name.clone()).collect()
    }

    fn model(&self, float: &BTreeSet<String>, observations: &Observations) -> Result<Quantized> {
        let plan = Plan::with_float(self.graph, float).context("the layers in float")?;
        let params = judge::params(self.table);
        let mut model = Quantized::new(self.graph.clone(), plan, self.weights, &params);
        model.signed = self.recipe.symmetric;
        if let Some(codes) = &self.codes {
            adaround::apply(&mut model, codes);
        }
        if !self.recipe.no_bias_correction {
            bias::correct(&mut model, self.weights, &observations.means);
        }
        Ok(model)
    }
}
