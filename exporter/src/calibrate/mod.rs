//! From a float network and images to eight bits.
//!
//! ```text
//! fold ─▶ equalize? ─▶ smooth ─▶ observe ─▶ search: ranges ─▶ adaround? ─▶ bias ─▶ float layers, if the task asks for them
//! passes  passes       passes    here       choose            passes       passes  here
//!                                              └─────── evaluate_candidate: what each costs the task ───────┘
//! ```
//!
//! [`quantize`] walks this line from left to right.

mod choose;
mod evaluate_candidate;
mod observe;
mod options;
mod outcome;
mod search;

pub(crate) use evaluate_candidate::{Evaluator, Sensitivity};
pub(crate) use observe::{Observations, observe};
pub(crate) use options::RoundingOptions;
pub(crate) use outcome::Outcome;

use crate::{
    passes::{equalize, fold, quantized::Plan, smooth},
    read::{
        checkpoint::Checkpoint,
        images::{ImageSet, LEAST},
        weights::Weights,
    },
};
use anyhow::{Context, Result};
use bundle::Manifest;
use calibration::Method;
use graph::{Graph, Preprocess};
use search::Search;
use std::path::Path;
use terminal::Terminal;

/// A float network to round.
pub(crate) struct Source<'a> {
    /// Where it was read from.
    pub(crate) path: &'a Path,
    pub(crate) graph: &'a Graph,
    pub(crate) weights: &'a Weights,
    pub(crate) preprocess: Preprocess,
    /// What the outputs mean: with it the task judges, not only the outputs.
    pub(crate) meaning: Option<Manifest>,
}

impl<'a> Source<'a> {
    pub(crate) fn of(checkpoint: &'a Checkpoint, folder: &'a Path) -> Self {
        let config = &checkpoint.config;
        Self {
            path: folder,
            graph: &checkpoint.graph,
            weights: &checkpoint.weights,
            preprocess: config.preprocess,
            // No more than decoding a network of ours needs.
            meaning: Some(Manifest::new("", "", config.model.clone(), config.preprocess)),
        }
    }
}

/// Rounds a network; an error names the file it is from.
pub(crate) fn quantize(
    options: &RoundingOptions,
    source: &Source<'_>,
    images: &Path,
    terminal: Terminal,
) -> Result<Outcome> {
    let fail = || format!("{} cannot be quantized", source.path.display());
    rounded(options, source, images, terminal).with_context(fail)
}

fn rounded(
    options: &RoundingOptions,
    source: &Source<'_>,
    images: &Path,
    terminal: Terminal,
) -> Result<Outcome> {
    options.check()?;
    let (graph, weights) = fold::fold(source.graph, source.weights);
    let mut weights = if options.equalize { equalize::equalize(&graph, &weights) } else { weights };
    let plan = Plan::with_float(&graph, &options.float.iter().cloned().collect())?;
    let images = ImageSet::find(images, options.images_limit as usize)?;
    let ours = source.meaning.as_ref().filter(|meaning| meaning.contract.is_none());
    let detects = ours.is_some_and(|meaning| meaning.model.detector().is_some());
    let Judged { images, judges, by_their_own } = judged(options, detects, images);
    // Ranges of every tensor, whatever stays in float in the end.
    let everything = Plan::new(&graph)?;
    let progress = terminal.progress(0).with_message("calibrating");
    let preprocess = &source.preprocess;
    let smoothing = terminal.progress(0).with_message("smoothing");
    smooth::smooth(&graph, &mut weights, &images, preprocess, &smoothing)?;
    let observations = observe(&graph, &weights, &everything, &images, preprocess, &progress)?;
    let evaluator = Evaluator::new(&graph, &weights, &judges, preprocess, source.meaning.as_ref())?;
    let search = Search {
        options,
        graph: &graph,
        weights: &weights,
        preprocess,
        detects,
        images: &images,
        observations,
        evaluator: &evaluator,
        judged_by_their_own: by_their_own,
        terminal,
    };
    search.run(&plan)
}

/// Images that calibrate, and those that compare candidates.
struct Judged {
    images: ImageSet,
    judges: ImageSet,
    by_their_own: bool,
}

/// Whoever chooses a method by one or two images chooses by chance: where fewer than [`LEAST`] could be held out, all
/// calibrate and all judge.
fn judged(options: &RoundingOptions, detects: bool, images: ImageSet) -> Judged {
    if !options.compares(detects) {
        return Judged { images, judges: ImageSet::none(), by_their_own: false };
    }
    let (calibrate, judges) = images.hold_out();
    if options.observer == Method::Auto && judges.paths.len() < LEAST {
        log::warn!(
            "{} images: too few to hold some out, so methods are compared on those that calibrate",
            images.paths.len()
        );
        return Judged { judges: images.clone(), images, by_their_own: true };
    }
    Judged { images: calibrate, judges, by_their_own: false }
}
