//! Findings asked for in words, each for itself: what `exporter quantize --prompts` puts on a box, in float.
//!
//! The formula is PRIOR's of two classes, the finding and its absence. A side averages its phrases: cosines and, before the
//! sigmoid, the logits of both attention maps.

use super::{BATCH, batch, pictures, texts};
use crate::{
    index::{Record, Split},
    metrics::{
        Estimate,
        bootstrap::{Patients, Resampling},
        ranking::Ranking,
    },
    prior::{Objective, Trained},
    text::Encoded,
};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::{collections::BTreeSet, fmt};
use tch::{Device, Kind, Tensor};
use words::Finding;

/// What `--task zero-shot --prompts` finds.
#[derive(Clone, Debug, Serialize)]
pub struct Prompted {
    pub task: &'static str,
    pub split: Split,
    /// Of which anything that was asked for is known.
    pub images: usize,
    pub patients: usize,
    pub findings: Vec<FindingFigures>,
    /// What the figures are made of.
    #[serde(skip)]
    pub answers: Vec<PromptedScores>,
}

/// One finding, on the images of which it is known whether they have it.
#[derive(Clone, Debug, Serialize)]
pub struct FindingFigures {
    pub name: String,
    pub images: usize,
    pub positive: usize,
    /// `None` where only one side is present.
    pub auroc: Option<Estimate>,
    pub average_precision: Option<Estimate>,
}

/// One image's scores, in the order of the findings.
#[derive(Clone, Debug)]
pub struct PromptedScores {
    pub id: String,
    pub patient: String,
    /// `(g + ½·local) / 1.5`, in `[0, 1]`.
    pub scores: Vec<f32>,
    /// `None` where nobody is certain.
    pub truth: Vec<Option<bool>>,
}

/// Scores every image of `split` of which at least one of `findings` is known.
pub fn prompted(
    trained: &Trained,
    records: &[Record],
    split: Split,
    findings: &[Finding],
    resampling: Resampling,
) -> Result<Prompted> {
    let truth = |record: &Record| -> Vec<Option<bool>> {
        findings.iter().map(|finding| record.truth(&finding.name).certain()).collect()
    };
    let known: Vec<(&Record, Vec<Option<bool>>)> = records
        .iter()
        .filter(|record| record.split == Some(split))
        .map(|record| (record, truth(record)))
        .filter(|(_, truth)| truth.iter().any(Option::is_some))
        .collect();
    let names: Vec<&str> = findings.iter().map(|finding| finding.name.as_str()).collect();
    ensure!(!known.is_empty(), "no image of the {split} split says anything of {names:?}");

    let objective = trained.objective()?;
    let answers = tch::no_grad(|| -> Result<Vec<PromptedScores>> {
        let sides = findings.iter().map(|finding| Sides::of(trained, finding, &objective));
        let sides = sides.collect::<Result<Vec<_>>>()?;
        let preprocess = trained.zero_shot_preprocess();
        let mut answers = Vec::new();
        for chunk in known.chunks(BATCH) {
            let paths: Vec<_> = chunk.iter().map(|(record, _)| record.image_path()).collect();
            let images = trained.prior.embed_images(&pictures(trained, preprocess, &paths)?);
            let columns = sides.iter().map(|sides| sides.score(trained, &images, &objective));
            let columns = columns.collect::<Result<Vec<Vec<f32>>>>()?;
            answers.extend(chunk.iter().enumerate().map(|(at, (record, truth))| PromptedScores {
                id: record.id.clone(),
                patient: record.group().to_owned(),
                scores: columns.iter().map(|column| column[at]).collect(),
                truth: truth.clone(),
            }));
        }
        Ok(answers)
    })?;
    let patients: BTreeSet<&str> = answers.iter().map(|own| own.patient.as_str()).collect();
    Ok(Prompted {
        task: "zero-shot",
        split,
        images: answers.len(),
        patients: patients.len(),
        findings: (names.iter().enumerate())
            .map(|(at, name)| FindingFigures::of(name, at, &answers, resampling))
            .collect(),
        answers,
    })
}

impl FindingFigures {
    fn of(name: &str, at: usize, answers: &[PromptedScores], resampling: Resampling) -> Self {
        let known = answers.iter().filter_map(|own| Some((own, own.truth[at]?)));
        let (known, truth): (Vec<&PromptedScores>, Vec<bool>) = known.unzip();
        let scores: Vec<f32> = known.iter().map(|own| own.scores[at]).collect();
        let ranking = Ranking::new(&scores, &truth);
        let patients = Patients::new(known.iter().map(|own| own.patient.as_str()));
        let positive = truth.iter().filter(|truth| **truth).count();
        let both = positive > 0 && positive < truth.len();
        let estimate = |of: &dyn Fn(&[u32]) -> Option<f64>| {
            both.then(|| patients.estimate(resampling, of)).flatten()
        };
        Self {
            name: name.to_owned(),
            images: truth.len(),
            positive,
            auroc: estimate(&|weights| ranking.weighted_auroc(weights)),
            average_precision: estimate(&|weights| ranking.weighted_average_precision(weights)),
        }
    }
}

/// The phrases of a finding, read.
struct Sides {
    positive: Side,
    negative: Side,
}

struct Side {
    phrases: Vec<Encoded>,
    /// Mean of the phrases' `t` of length 1, `[D]`.
    text: Tensor,
}

impl Sides {
    fn of(trained: &Trained, finding: &Finding, objective: &Objective) -> Result<Self> {
        let side = |phrases: &[String]| -> Result<Side> {
            let phrases = phrases.iter().map(|phrase| trained.phrase(phrase));
            let phrases: Vec<Encoded> = phrases.collect::<Result<_>>()?;
            let text = texts(trained, &phrases, objective).mean_dim(0, false, None);
            Ok(Side { phrases, text })
        };
        Ok(Self { positive: side(&finding.positive)?, negative: side(&finding.negative)? })
    }

    /// Of images `v [B, D]` of length 1 and places `[B, P, D]`.
    fn score(
        &self,
        trained: &Trained,
        (global, places): &(Tensor, Tensor),
        objective: &Objective,
    ) -> Result<Vec<f32>> {
        let cosine = |side: &Side| global.matmul(&side.text);
        let local = |side: &Side| -> Result<Tensor> {
            let mut sum: Option<[Tensor; 2]> = None;
            for phrase in &side.phrases {
                let phrase = batch(trained, std::slice::from_ref(phrase));
                let [look, listen] = trained.prior.local_logits(places, &phrase, objective);
                sum = Some(match sum {
                    None => [look, listen],
                    Some([a, b]) => [a + look, b + listen],
                });
            }
            let maps = sum.ok_or_else(|| anyhow::anyhow!("no phrases"))?;
            let count = side.phrases.len() as f64;
            let [look, listen] = maps.map(|sum| (sum / count).sigmoid().mean_dim(1, false, None));
            Ok((look + listen) / 2.0)
        };
        let whole =
            (cosine(&self.positive) - cosine(&self.negative)) * trained.prior.zero_shot_scale();
        let local = local(&self.positive)? - local(&self.negative)?;
        let raw = (whole.sigmoid() + local.sigmoid() * 0.5) / 1.5;
        let raw = raw.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
        Ok(Vec::<f32>::try_from(&raw)?)
    }
}

impl fmt::Display for Prompted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, split, patients, .. } = self;
        write!(f, "{images} {split} images of {patients} patients")?;
        for FindingFigures { name, images, positive, auroc, average_precision } in &self.findings {
            write!(f, "\n  {name} ({positive} of {images})")?;
            match (auroc, average_precision) {
                (Some(auroc), Some(precision)) => {
                    write!(f, ": AUROC {auroc}, AP {precision}")?;
                }
                _ => write!(f, ": only one side present")?,
            }
        }
        Ok(())
    }
}
