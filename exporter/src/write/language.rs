//! Findings in words for a bundle or a pack: phrases read, folded, and fitted on what the int8 network says of images.
//!
//! ```text
//! findings.toml ─ text encoder ─▶ prompts ─┐
//! reviewed sentences ────────────▶ bank ───┴▶ Wording ─ fit on val ─▶ section language.bin
//! ```

use super::{codes, usual};
use crate::{
    passes::shares,
    prompts::{
        bank,
        fit::{self, Known},
        fold::{self, Folded},
        text::TextEncoder,
    },
    read::{
        checkpoint::Checkpoint,
        images::{ImageSet, Input},
        prior::Prior,
    },
    verify::Network,
};
use anyhow::{Context, Result};
use bundle::{Manifest, Metric};
use graph::{Graph, Head, Task};
use indicatif::ProgressBar;
use kernels::{Isa, Pool};
use language::{Bank, Language, Platt, Prompt, Scorer, Space, Vector};
use metrics::{
    bootstrap::{Patients, Resampling},
    figure,
    ranking::Ranking,
};
use records::{Record, Selection, Split};
use serde::Serialize;
use std::{collections::BTreeSet, path::Path, sync::Arc};

/// What is asked of images in words.
pub(crate) struct Wording {
    space: Space,
    scale: f32,
    findings: Vec<Folded>,
    bank: Option<Bank>,
    usual: Option<Vec<Vector>>,
}

/// What became of one finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Fitted {
    pub(crate) name: String,
    pub(crate) threshold: f32,
    /// Slope and offset of the sigmoid; absent where the raw score is shown.
    pub(crate) calibration: Option<[f32; 2]>,
    pub(crate) chosen: String,
    /// Images of which it is known.
    pub(crate) n: usize,
}

/// Images whose truth is known, and the network that looks at them.
pub(crate) struct Evidence<'a> {
    pub(crate) network: &'a Network,
    pub(crate) manifest: &'a Manifest,
    pub(crate) records: Vec<Record>,
    pub(crate) selection: &'a Selection,
    pub(crate) split: Split,
}

impl Wording {
    /// Reads a findings.toml and a list of reviewed sentences, of which at least one is given, for the checkpoint in
    /// `folder`, and gives its network the outputs they need.
    pub(crate) fn of(
        folder: &Path,
        checkpoint: &mut Checkpoint,
        findings: Option<&Path>,
        sentences: Option<&Path>,
    ) -> Result<Self> {
        let prior = Prior::open(folder)?;
        let taken = taken(&checkpoint.config.model.heads);
        let taken: BTreeSet<&str> = taken.iter().map(String::as_str).collect();
        let (graph, weights) =
            shares::with_projections(&prior, &checkpoint.graph, &checkpoint.weights)?;
        let encoder = TextEncoder::new(&prior)?;
        let bank = sentences.map(|path| bank::bank(&prior, &encoder, path)).transpose()?;
        let wording = Self { bank, ..Self::read(&prior, &encoder, &graph, findings, &taken)? };
        (checkpoint.graph, checkpoint.weights) = (graph, weights);
        checkpoint.config.model.heads.push(Head { task: Task::Language, labels: Vec::new() });
        Ok(wording)
    }

    /// Of a findings.toml alone; no finding may have a name in `taken`. `graph` has a language head.
    pub(crate) fn read(
        prior: &Prior,
        encoder: &TextEncoder<'_>,
        graph: &Graph,
        findings: Option<&Path>,
        taken: &BTreeSet<&str>,
    ) -> Result<Self> {
        let folded = |path: &Path| -> Result<Vec<Folded>> {
            let findings = words::findings(path)?;
            fold::findings(prior, encoder, &findings, taken, codes::known)
                .with_context(|| path.display().to_string())
        };
        Ok(Self {
            space: fold::space(prior, graph)?,
            scale: prior.scale,
            findings: findings.map(folded).transpose()?.unwrap_or_default(),
            bank: None,
            usual: None,
        })
    }

    /// Looks at images as they come, so that heat maps can be told against what is usual; where the network tells what its
    /// places add to the score.
    pub(crate) fn look(
        &mut self,
        network: &Network,
        manifest: &Manifest,
        images: &ImageSet,
        progress: &ProgressBar,
    ) -> Result<()> {
        let preprocess = &manifest.preprocess;
        self.usual = usual::usual(network, &self.space, images, preprocess, progress)?;
        Ok(())
    }

    pub(crate) fn language(&self) -> Language {
        Language {
            space: self.space,
            scale: self.scale,
            prompts: self.findings.iter().map(|folded| folded.prompt.clone()).collect(),
            bank: self.bank.clone(),
            usual: self.usual.clone(),
        }
    }

    /// Fits probabilities and thresholds where `evidence` suffices; says what became of each finding, and measures them.
    pub(crate) fn fit(
        &mut self,
        evidence: &Evidence<'_>,
        progress: &ProgressBar,
    ) -> Result<(Vec<Fitted>, Vec<Metric>)> {
        let known = self.known(evidence, progress)?;
        let (mut all, mut metrics) = (Vec::new(), Vec::new());
        for (folded, known) in self.findings.iter_mut().zip(known) {
            folded.fit(&known, evidence.split);
            all.push(Fitted::of(&folded.prompt, known.len()));
            metrics.extend(measured(&folded.prompt.name, &known, evidence));
        }
        Ok((all, metrics))
    }

    /// What is shipped where nobody has images with truth.
    pub(crate) fn unfitted(&self) -> Vec<Fitted> {
        self.findings.iter().map(|folded| Fitted::of(&folded.prompt, 0)).collect()
    }

    /// By finding: the raw scores of the images of which it is known.
    fn known(&self, evidence: &Evidence<'_>, progress: &ProgressBar) -> Result<Vec<Vec<Known>>> {
        let Evidence { network, manifest, records, selection, split } = evidence;
        let language = Language { bank: None, usual: None, ..self.language() };
        let mut all: Vec<Vec<Known>> = vec![Vec::new(); self.findings.len()];
        if all.is_empty() {
            return Ok(all);
        }
        let (pool, maps) = (Arc::new(Pool::new(1)), network.rounding()?.maps);
        let mut scorer = Scorer::new(&language, &[], maps, Isa::best(), &pool)?;
        let truth =
            |record: &Record, at: usize| record.truth(&self.findings[at].prompt.name).certain();
        let judges = records.iter().filter(|record| {
            record.part() == *split
                && selection.takes(record)
                && (0..all.len()).any(|at| truth(record, at).is_some())
        });
        let judges: Vec<&Record> = judges.collect();
        progress.set_length(judges.len() as u64);
        for record in judges {
            let of_image = || format!("image `{}`", record.id);
            let input = Input::read(&record.image, &manifest.preprocess)?;
            let outputs = network.infer(&input.pixels).with_context(of_image)?;
            let embedded = network.embedded(&outputs, &self.space).with_context(of_image)?;
            for (at, said) in scorer.score(embedded.image()).iter().enumerate() {
                let Some(positive) = truth(record, at) else { continue };
                let patient = record.group().to_owned();
                all[at].push(Known { patient, raw: said.raw, positive });
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(all)
    }
}

impl Folded {
    fn fit(&mut self, known: &[Known], split: Split) {
        let prompt = &mut self.prompt;
        let reason = match fit::platt(known) {
            Ok(platt) => {
                prompt.calibration = Some(platt);
                let probability = |image: &Known| fit::calibrated(platt, image.raw);
                let probabilities: Vec<f32> = known.iter().map(probability).collect();
                let truth: Vec<bool> = known.iter().map(|image| image.positive).collect();
                match fit::threshold(&probabilities, &truth) {
                    Some(_) if self.by_hand => return,
                    Some(threshold) => {
                        prompt.threshold = threshold;
                        prompt.chosen =
                            format!("Youden's J on the {split} split (n = {}), int8", known.len());
                        return;
                    }
                    None => "Youden's J chooses none on these images".to_owned(),
                }
            }
            Err(reason) => reason,
        };
        log::warn!("finding `{}` is not fitted: {reason}", prompt.name);
        prompt.chosen = match self.by_hand {
            true => format!("{}; the score is not calibrated: {reason}", prompt.chosen),
            false => format!("{}; {reason}", fold::UNFITTED),
        };
    }
}

impl Fitted {
    fn of(prompt: &Prompt, n: usize) -> Self {
        Self {
            name: prompt.name.clone(),
            threshold: prompt.threshold,
            calibration: prompt.calibration.map(|Platt { slope, offset }| [slope, offset]),
            chosen: prompt.chosen.clone(),
            n,
        }
    }

    /// One line for people.
    pub(crate) fn text(&self) -> String {
        let Self { name, threshold, chosen, .. } = self;
        format!("finding in words {name}: threshold {threshold:.4} ({chosen})")
    }
}

/// AUROC with its interval, where both kinds of images are there.
fn measured(name: &str, known: &[Known], evidence: &Evidence<'_>) -> Option<Metric> {
    let scores: Vec<f32> = known.iter().map(|image| image.raw).collect();
    let truth: Vec<bool> = known.iter().map(|image| image.positive).collect();
    let ranking = Ranking::new(&scores, &truth);
    let patients = Patients::new(known.iter().map(|image| image.patient.as_str()));
    let of = |weights: &[u32]| ranking.weighted_auroc(weights);
    let estimate = patients.estimate(Resampling::STANDARD, of)?;
    Some(Metric {
        task: Task::Language.to_string(),
        metric: figure::auroc(name),
        data: format!("the calibration index, {}", evidence.selection),
        split: evidence.split.to_string(),
        value: estimate.value,
        interval: [estimate.low, estimate.high],
        n: known.len() as u32,
        arithmetic: "int8".into(),
    })
}

/// Names that findings of the network's own heads have.
fn taken(heads: &[Head]) -> BTreeSet<String> {
    heads.iter().flat_map(|head| &head.labels).cloned().collect()
}
