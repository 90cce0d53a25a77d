//! Findings in words: int8 against float.

use super::{
    Line, Network,
    heat::{Place, places},
    lines::{line, means_line},
};
use crate::{
    passes::{
        interpreter::{Outputs, output},
        noise::Noise,
    },
    prompts::{fit::calibrated, float::FloatPrompt, text::TextEncoder},
    read::prior::Prior,
};
use anyhow::{Context, Result};
use graph::{LANGUAGE_GLOBAL, LANGUAGE_GLOBAL_PLACES, LANGUAGE_PLACES, Placement};
use kernels::{Isa, Pool};
use language::{Language, Prompt, Scorer};
use metrics::{figure, ranking::Ranking};
use records::Record;
use std::{collections::BTreeMap, sync::Arc};

const TASK: &str = "language";

/// Phrases of a bundle, ready to be asked of both networks.
pub(crate) struct Words<'a> {
    language: &'a Language,
    network: &'a Network,
    scorer: Scorer,
    float: Vec<FloatPrompt>,
    scale: f64,
    /// What the index calls the region of a finding, where not as the finding.
    regions: BTreeMap<String, String>,
    answers: Vec<Vec<Answer>>,
    noise: Noise,
}

/// Of one finding in one image: float's and int8's.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    patient: String,
    truth: Option<bool>,
    raw: [f32; 2],
    probability: [f32; 2],
    place: Option<Place>,
}

impl<'a> Words<'a> {
    /// Reads the phrases of `language` again, in float.
    pub(crate) fn new(
        language: &'a Language,
        network: &'a Network,
        prior: &Prior,
        regions: BTreeMap<String, String>,
    ) -> Result<Self> {
        let encoder = TextEncoder::new(prior)?;
        let float = language.prompts.iter().map(|prompt| {
            let (positive, negative) = (&prompt.positive_phrases, &prompt.negative_phrases);
            FloatPrompt::read(prior, &encoder, positive, negative)
        });
        let float = float.collect::<Result<Vec<_>>>()?;
        if let Some(other) =
            regions.keys().find(|name| language.prompts.iter().all(|prompt| prompt.name != **name))
        {
            anyhow::bail!(
                "--region names `{other}`, expected one of the bundle's findings in words"
            );
        }
        let (maps, pool) = (network.rounding()?.maps, Arc::new(Pool::new(1)));
        let alone = Language { bank: None, ..language.clone() };
        // A scorer of nothing has nothing to pack.
        let scorer = Scorer::new(&alone, &[], maps, Isa::best(), &pool)?;
        Ok(Self {
            answers: vec![Vec::new(); float.len()],
            scale: f64::from(prior.scale),
            language,
            network,
            scorer,
            float,
            regions,
            noise: Noise(1),
        })
    }

    /// Asks both networks' outputs for one image of `size`, rows and columns, which lies in the input as `placed`.
    pub(crate) fn ask(
        &mut self,
        record: &Record,
        [float, int8]: [&Outputs; 2],
        placed: &Placement,
    ) -> Result<()> {
        let space = self.language.space;
        let (global, places) = (output(float, LANGUAGE_GLOBAL)?, output(float, LANGUAGE_PLACES)?);
        let embedded = self.network.embedded(int8, &space)?;
        let said = self.scorer.score(embedded.image());
        for (at, said) in said.into_iter().enumerate() {
            let prompt = &self.language.prompts[at];
            let mut score = self.float[at].score(global, places, self.scale);
            if let Some(usual) = &self.language.usual {
                let map = output(float, LANGUAGE_GLOBAL_PLACES)?;
                score.heat = self.float[at].shares(map, usual, self.scale);
            }
            let raw = [score.raw as f32, said.raw];
            let heat = [score.heat.iter().map(|&x| x as f32).collect(), said.heat];
            let region = self.regions.get(&prompt.name).unwrap_or(&prompt.name);
            let mask = region_of(record, region, placed.source)
                .with_context(|| format!("image `{}`", record.id))?;
            let place = mask.map(|mask| Place::of(&heat, &mask, &space, placed, &mut self.noise));
            let probability = |raw: f32| prompt.calibration.map_or(raw, |p| calibrated(p, raw));
            self.answers[at].push(Answer {
                patient: record.group().to_owned(),
                truth: record.truth(&prompt.name).certain(),
                raw,
                probability: raw.map(probability),
                place,
            });
        }
        Ok(())
    }

    /// Every figure that the images allow.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let of = |(at, answers): (usize, &Vec<Answer>)| {
            let Prompt { name, threshold, .. } = &self.language.prompts[at];
            let mut lines = rankings(name, answers);
            // How often both decide alike, each with the bundle's calibration and threshold.
            let alike = answers.iter().map(|answer| {
                let [float, int8] = answer.probability.map(|probability| probability >= *threshold);
                (answer.patient.as_str(), [1.0, f64::from(u8::from(float == int8))])
            });
            let values: Vec<(&str, [f64; 2])> = alike.collect();
            let agreement = means_line(TASK, format!("agreement/{name}"), &values);
            lines.extend(agreement.map(|line| line.at([*threshold; 2])));
            let drawn = answers.iter().filter_map(|answer| Some((&*answer.patient, answer.place?)));
            lines.extend(places(TASK, name, drawn));
            lines
        };
        self.answers.iter().enumerate().flat_map(of).collect()
    }
}

/// The inside of a region somebody drew, or of its boxes; `None` where the image shows none.
fn region_of(record: &Record, name: &str, size: [usize; 2]) -> Result<Option<Vec<bool>>> {
    let boxed = || record.region(&format!("boxes.{name}"));
    let Some(region) = record.region(name).or_else(boxed) else { return Ok(None) };
    let mask = region.mask(size)?;
    Ok(mask.contains(&true).then_some(mask))
}

fn rankings(name: &str, answers: &[Answer]) -> Vec<Line> {
    let known = answers.iter().filter_map(|answer| Some((answer, answer.truth?)));
    let (known, truth): (Vec<&Answer>, Vec<bool>) = known.unzip();
    let patients: Vec<&str> = known.iter().map(|answer| answer.patient.as_str()).collect();
    let ranking = |side: usize| {
        let scores: Vec<f32> = known.iter().map(|answer| answer.raw[side]).collect();
        Ranking::new(&scores, &truth)
    };
    let rankings = [ranking(0), ranking(1)];
    let auroc = |weights: &[u32]| {
        let [float, int8] = rankings.each_ref().map(|ranking| ranking.weighted_auroc(weights));
        Some([float?, int8?])
    };
    let alone = |weights: &[u32]| rankings[1].weighted_auroc(weights);
    [
        line(TASK, figure::auroc(name), &patients, auroc),
        Line::of_one(TASK, format!("auroc-of-int8/{name}"), &patients, alone),
    ]
    .into_iter()
    .flatten()
    .collect()
}
