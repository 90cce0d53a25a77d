//! Findings in words: int8 against float, and where their heat maps lie beside what people drew.
//!
//! A heat map is judged twice: its highest place, by whether it lies in the region (the pointing game), and what of it is
//! above the middle between its least and its most, by IoU. Beside it stand two answers that look at nothing: the image's
//! centre, and a place by chance.

use super::{
    Line, Network,
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
use language::{Language, Scorer, Space};
use metrics::{bootstrap::weighted_mean, figure, overlap::Overlap, ranking::Ranking};
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

/// Heat maps beside the region. Of each pair the first is float's, then int8's, then the centre's, then chance's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    pointing: [f64; 4],
    iou: [f64; 4],
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
            let prompt = &self.language.prompts[at];
            let mut lines = rankings(&prompt.name, answers);
            lines.extend(agreement(&prompt.name, answers, prompt.threshold));
            lines.extend(places(&prompt.name, answers));
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

impl Place {
    fn of(
        heat: &[Vec<f32>; 2],
        mask: &[bool],
        space: &Space,
        placed: &Placement,
        noise: &mut Noise,
    ) -> Self {
        let [rows, columns] = placed.source;
        let share = mask.iter().filter(|inside| **inside).count() as f64 / mask.len() as f64;
        let hit = |at: Option<[usize; 2]>| {
            at.map_or(0.0, |[y, x]| f64::from(u8::from(mask[y * columns + x])))
        };
        let [float, int8] = heat.each_ref().map(|heat| hit(peak(heat, space, placed)));
        let pointing = [float, int8, hit(Some([rows / 2, columns / 2])), share];
        let [hot, int8] = heat.each_ref().map(|heat| hottest(heat, space, placed));
        let area = int8.iter().filter(|inside| **inside).count() as f64 / mask.len() as f64;
        // A rectangle of the image's aspect, as large as the hot part of the map.
        let side =
            |length: usize| ((length as f64 * area.sqrt()).round() as usize).clamp(1, length);
        let (height, width) = (side(rows), side(columns));
        let mut draw = |room: usize| noise.below(room as u64 + 1) as usize;
        let centred = [(rows - height) / 2, (columns - width) / 2];
        let drawn = [draw(rows - height), draw(columns - width)];
        let rectangle = |[top, left]: [usize; 2]| {
            let inside = |at: usize| {
                let (y, x) = (at / columns, at % columns);
                (top..top + height).contains(&y) && (left..left + width).contains(&x)
            };
            (0..mask.len()).map(inside).collect::<Vec<bool>>()
        };
        let iou = |inside: &[bool]| Overlap::of(inside, mask).iou();
        Self {
            pointing,
            iou: [iou(&hot), iou(&int8), iou(&rectangle(centred)), iou(&rectangle(drawn))],
        }
    }
}

/// Row and column, in pixels of the image, of the middle of the highest place; `None` where it lies beside the image. Of
/// equals the first.
fn peak(heat: &[f32], space: &Space, placed: &Placement) -> Option<[usize; 2]> {
    let [rows, columns] = space.grid.map(|side| side as usize);
    let best = (0..heat.len()).reduce(|best, at| if heat[at] > heat[best] { at } else { best })?;
    let middle =
        |at: usize, side: usize, pixels: usize| (at as f32 + 0.5) / side as f32 * pixels as f32;
    let y = middle(best / columns, rows, placed.input[0]);
    let x = middle(best % columns, columns, placed.input[1]);
    let [x, y, width, height] = placed.into_source([x - 0.5, y - 0.5, 1.0, 1.0])?;
    let within = |at: f32, side: usize| (at.max(0.0) as usize).min(side - 1);
    Some([within(y + height / 2.0, placed.source[0]), within(x + width / 2.0, placed.source[1])])
}

/// Where the map, drawn over the image bilinearly between the middles of its places, is above the middle between its least
/// and its most: `[source]`.
fn hottest(heat: &[f32], space: &Space, placed: &Placement) -> Vec<bool> {
    let [rows, columns] = space.grid.map(|side| side as usize);
    let least = heat.iter().copied().fold(f32::INFINITY, f32::min);
    let most = heat.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let level = least / 2.0 + most / 2.0;
    let [height, width] = placed.source;
    let along = |at: f64, side: usize| {
        let at = (at * side as f64 - 0.5).clamp(0.0, side as f64 - 1.0);
        let low = (at as usize).min(side.saturating_sub(2));
        (low, (low + 1).min(side - 1), (at - low as f64) as f32)
    };
    let share = |y: usize, x: usize| {
        let (y, x) = ((y as f64 + 0.5) / height as f64, (x as f64 + 0.5) / width as f64);
        placed.into_input([x, y, x, y])
    };
    let columns_at: Vec<_> = (0..width).map(|x| along(share(0, x)[0], columns)).collect();
    let mut inside = Vec::with_capacity(height * width);
    for y in 0..height {
        let (top, bottom, down) = along(share(y, 0)[1], rows);
        inside.extend(columns_at.iter().map(|&(left, right, across)| {
            let row = |y: usize| {
                let (a, b) = (heat[y * columns + left], heat[y * columns + right]);
                a + (b - a) * across
            };
            let (above, below) = (row(top), row(bottom));
            above + (below - above) * down > level
        }));
    }
    inside
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

/// How often both decide alike, each with the bundle's calibration and threshold.
fn agreement(name: &str, answers: &[Answer], threshold: f32) -> Option<Line> {
    let alike = |answer: &Answer| {
        let [float, int8] = answer.probability.map(|probability| probability >= threshold);
        [1.0, f64::from(u8::from(float == int8))]
    };
    let values: Vec<(&str, [f64; 2])> =
        answers.iter().map(|answer| (answer.patient.as_str(), alike(answer))).collect();
    let line = means_line(TASK, format!("agreement/{name}"), &values)?;
    Some(line.at([threshold; 2]))
}

fn places(name: &str, answers: &[Answer]) -> Vec<Line> {
    let known = answers.iter().filter_map(|answer| Some((answer.patient.as_str(), answer.place?)));
    let (patients, places): (Vec<&str>, Vec<Place>) = known.unzip();
    let mut lines = Vec::new();
    for (metric, of) in [
        ("pointing", (|place| place.pointing) as fn(&Place) -> [f64; 4]),
        ("iou", |place| place.iou),
    ] {
        let column = |at: usize| places.iter().map(|place| of(place)[at]).collect::<Vec<f64>>();
        let pairs = patients.iter().zip(&places);
        let pairs: Vec<(&str, [f64; 2])> = pairs
            .map(|(patient, place)| {
                let [float, int8, ..] = of(place);
                (*patient, [float, int8])
            })
            .collect();
        lines.extend(means_line(TASK, format!("{metric}/{name}"), &pairs));
        for (at, what) in [(1, "of-int8"), (2, "of-centre"), (3, "of-chance")] {
            let values = column(at);
            let mean = |weights: &[u32]| weighted_mean(&values, weights);
            let metric = format!("{metric}-{what}/{name}");
            lines.extend(Line::of_one(TASK, metric, &patients, mean));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::{Fit, Preprocess};

    fn space(rows: u32, columns: u32) -> Space {
        Space { id: [0; 32], width: 1, grid: [rows, columns] }
    }

    fn placed(fit: Fit, source: [usize; 2]) -> Placement {
        Preprocess { height: 64, width: 64, fit, ..Preprocess::PRIOR }.place(source)
    }

    #[test]
    fn the_highest_place_points_at_its_middle_in_the_image() {
        let heat = [0.1, 0.2, 0.9, 0.3];
        let place = |fit, source| peak(&heat, &space(2, 2), &placed(fit, source));
        assert_eq!(place(Fit::Stretch, [100, 40]), Some([75, 10]));
        // Half as wide as high: a padded image has black columns of 16 on both sides.
        assert_eq!(place(Fit::Pad, [128, 64]), Some([96, 0]));
        assert_eq!(peak(&[0.5; 4], &space(2, 2), &placed(Fit::Stretch, [8, 8])), Some([2, 2]));
    }

    #[test]
    fn the_hot_part_lies_around_the_highest_place() {
        let hot = hottest(&[0.0, 0.0, 0.0, 1.0], &space(2, 2), &placed(Fit::Stretch, [40, 80]));
        let at = |y: usize, x: usize| hot[y * 80 + x];
        assert!(at(39, 79) && at(30, 60) && !at(0, 0) && !at(39, 0) && !at(20, 40));
        // Between the middles the map rises evenly: half way down and three quarters across it is at 0.5 · 0.75.
        assert!(!at(20, 50) && at(29, 58));
    }

    #[test]
    fn a_perfect_map_beats_centre_and_chance() {
        let (rows, columns) = (56, 56);
        let inside = |at: usize| at / columns < 16 && at % columns < 16;
        let mask: Vec<bool> = (0..rows * columns).map(inside).collect();
        let mut heat = vec![0.1_f32; 49];
        for at in [0, 1, 7, 8] {
            heat[at] = 0.9;
        }
        let placed = placed(Fit::Stretch, [rows, columns]);
        let heats = [heat.clone(), heat];
        let place = Place::of(&heats, &mask, &space(7, 7), &placed, &mut Noise(3));
        assert_eq!(place.pointing[..3], [1.0, 1.0, 0.0]);
        assert!((place.pointing[3] - 256.0 / 3136.0).abs() < 1e-12);
        assert!(place.iou[1] > 0.7 && place.iou[2] < 0.1, "{:?}", place.iou);
        assert_eq!(place.iou[0], place.iou[1]);
    }
}
