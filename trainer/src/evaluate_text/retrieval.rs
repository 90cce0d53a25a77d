//! Finding the reports that fit an image.

use super::{BATCH, pictures, texts};
use crate::{
    index::{Record, Split, Truth},
    metrics::{
        Estimate,
        bootstrap::{Patients, Resampling},
    },
    pretrain::{Pair, Pairs},
    prior::Trained,
    text::Encoded,
};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::{collections::HashMap, fmt};
use tch::{Device, Kind, Tensor};

/// Places in the ranking that precision is reported for.
const TOP: [usize; 4] = [1, 5, 10, 100];

/// What `--task retrieval` finds.
#[derive(Clone, Debug, Serialize)]
pub struct Retrieval {
    pub task: &'static str,
    pub split: Split,
    /// Images asked with, and reports to choose from.
    pub pairs: usize,
    pub patients: usize,
    /// Share of the top K with the labels of the image.
    pub precision: Vec<AtK>,
    /// Share of images whose own report is among the top K.
    pub recall: Vec<AtK>,
    /// What the means of `precision` are made of, so that folds and seeds can be put together.
    pub queries: Vec<Query>,
}

/// A share with its 95 % interval, what blind choice gets, and what the same rankings get when each is given to every
/// image: one that puts the commonest class first for all of them beats chance, and has seen nothing.
#[derive(Clone, Debug, Serialize)]
pub struct AtK {
    pub k: usize,
    #[serde(flatten)]
    pub share: Estimate,
    pub chance: f64,
    /// The share less chance, image by image: an image of a common class has more of both.
    pub above_chance: Estimate,
    pub shuffled: f64,
    /// How much more its own ranking gives an image than those of all: what was seen in the images.
    pub lift: Estimate,
}

/// One image's share of each `precision`.
#[derive(Clone, Debug, Serialize)]
pub struct Query {
    pub id: String,
    pub patient: String,
    pub chance: f64,
    pub precision: Vec<f64>,
    pub shuffled: Vec<f64>,
    /// Findings the image is stated to have.
    #[serde(skip)]
    pub labels: Vec<String>,
    #[serde(skip)]
    pub report_group: String,
    /// The best reports, by the id of their image, with their cosines; as many as the largest K.
    #[serde(skip)]
    pub ranked: Vec<(String, f32)>,
}

/// Ranks the reports of a split by how well they fit each of its images.
pub fn retrieval(
    trained: &Trained,
    records: &[Record],
    split: Split,
    resampling: Resampling,
) -> Result<Retrieval> {
    let pairs = Pairs::of(records, 1, |record| record.split == Some(split)).all;
    ensure!(pairs.len() > 1, "the {split} split has {} images with reports", pairs.len());
    let known: HashMap<&str, &Record> =
        records.iter().map(|record| (record.id.as_str(), record)).collect();
    let of = |pair: &Pair| known[pair.id.as_str()];
    let patient: Vec<&str> = pairs.iter().map(|pair| of(pair).group()).collect();
    let class: Vec<Vec<String>> = pairs.iter().map(|pair| positive(of(pair))).collect();
    let group: Vec<&str> = pairs.iter().map(|pair| pair.report_group.as_str()).collect();

    let n = pairs.len();
    let cosines = cosines(trained, &pairs)?;
    let ranked: Vec<Vec<usize>> = cosines.iter().map(|row| best_first(row)).collect();
    let most = TOP[TOP.len() - 1];
    let top = |image: usize| {
        let reports = ranked[image].iter().take(most);
        reports.map(|&report| (pairs[report].id.clone(), cosines[image][report])).collect()
    };
    let blind_share = |image: usize, _| same(&class, image) as f64 / n as f64;
    let blind_found = |image: usize, k: usize| {
        // None of k drawn without return is one of the same text.
        let others = n - same(&group, image);
        1.0 - (0..k).map(|i| others.saturating_sub(i) as f64 / (n - i) as f64).product::<f64>()
    };
    let (mut precision, mut recall) = (Vec::new(), Vec::new());
    for k in TOP.into_iter().filter(|&k| k <= n) {
        let of_class = |image: usize, asked: usize| {
            let top = &ranked[asked][..k];
            top.iter().filter(|&&report| class[report] == class[image]).count() as f64 / k as f64
        };
        let own = |image: usize, asked: usize| {
            let top = &ranked[asked][..k];
            f64::from(u8::from(top.iter().any(|&report| group[report] == group[image])))
        };
        precision.push(Shares::of(n, k, of_class, blind_share));
        recall.push(Shares::of(n, k, own, blind_found));
    }
    let resample = Patients::new(patient.iter().copied());
    let at_k = |all: &[Shares]| -> Result<Vec<AtK>> {
        all.iter().map(|shares| shares.at_k(&resample, resampling).context("no interval")).collect()
    };
    let column = |image: usize, of: fn(&Shares) -> &[f64]| {
        precision.iter().map(|shares| of(shares)[image]).collect()
    };
    Ok(Retrieval {
        task: "retrieval",
        split,
        pairs: n,
        patients: resample.count(),
        precision: at_k(&precision)?,
        recall: at_k(&recall)?,
        queries: (0..n)
            .map(|image| Query {
                id: pairs[image].id.clone(),
                patient: patient[image].to_owned(),
                chance: blind_share(image, 1),
                precision: column(image, |shares| &shares.value),
                shuffled: column(image, |shares| &shares.shuffled),
                labels: class[image].clone(),
                report_group: pairs[image].report_group.clone(),
                ranked: top(image),
            })
            .collect(),
    })
}

/// `[image][report]`
fn cosines(trained: &Trained, pairs: &[Pair]) -> Result<Vec<Vec<f32>>> {
    let reports: Vec<Encoded> = pairs
        .iter()
        .map(|pair| trained.words.encode(&pair.sentences, trained.max_tokens()))
        .collect::<Result<_, _>>()?;
    let objective = trained.objective()?;
    let similarity = tch::no_grad(|| -> Result<Tensor> {
        let text = texts(trained, &reports, &objective);
        let mut rows = Vec::new();
        for chunk in pairs.chunks(BATCH) {
            let paths: Vec<_> = chunk.iter().map(|pair| pair.images[0].as_path()).collect();
            let (global, _) =
                trained.prior.embed_images(&pictures(trained, trained.preprocess, &paths)?);
            rows.push(global.matmul(&text.transpose(0, 1)));
        }
        Ok(Tensor::cat(&rows, 0).to_device(Device::Cpu).to_kind(Kind::Float))
    })?;
    let row = |image| Ok(Vec::<f32>::try_from(&similarity.get(image as i64).contiguous())?);
    (0..pairs.len()).map(row).collect()
}

/// Numbers of the reports; of equals the first of the index.
fn best_first(cosines: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cosines.len()).collect();
    order.sort_by(|&a, &b| cosines[b].total_cmp(&cosines[a]).then(a.cmp(&b)));
    order
}

/// What each image gets at one K.
struct Shares {
    k: usize,
    value: Vec<f64>,
    chance: Vec<f64>,
    shuffled: Vec<f64>,
}

impl Shares {
    /// From what image `i` gets of the ranking made for image `j`, `value(i, j)`, and what it gets of any, `chance(i, k)`.
    fn of(
        n: usize,
        k: usize,
        value: impl Fn(usize, usize) -> f64,
        chance: impl Fn(usize, usize) -> f64,
    ) -> Self {
        let everyone = |image| (0..n).map(|asked| value(image, asked)).sum::<f64>() / n as f64;
        Self {
            k,
            value: (0..n).map(|image| value(image, image)).collect(),
            chance: (0..n).map(|image| chance(image, k)).collect(),
            shuffled: (0..n).map(everyone).collect(),
        }
    }

    fn at_k(&self, patients: &Patients, resampling: Resampling) -> Option<AtK> {
        let above = |less: &[f64]| {
            let each: Vec<f64> = self.value.iter().zip(less).map(|(a, b)| a - b).collect();
            patients.mean(resampling, &each)
        };
        let plain = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        Some(AtK {
            k: self.k,
            share: patients.mean(resampling, &self.value)?,
            chance: plain(&self.chance),
            above_chance: above(&self.chance)?,
            shuffled: plain(&self.shuffled),
            lift: above(&self.shuffled)?,
        })
    }
}

fn same<T: PartialEq>(of: &[T], image: usize) -> usize {
    of.iter().filter(|&o| *o == of[image]).count()
}

fn positive(record: &Record) -> Vec<String> {
    let names = record.labels.keys().filter(|name| record.truth(name) == Truth::Positive);
    names.cloned().collect()
}

impl fmt::Display for Retrieval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pairs, split, patients, .. } = self;
        write!(f, "{pairs} {split} pairs of {patients} patients")?;
        for (name, all) in
            [("precision (same labels)", &self.precision), ("recall (own report)", &self.recall)]
        {
            for AtK { k, share, chance, above_chance, shuffled, lift } in all {
                write!(
                    f,
                    "\n  {name} at {k}: {share}, chance {chance:.3}, above it {above_chance}, shuffled {shuffled:.3}, lift {lift}"
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_1(value: impl Fn(usize, usize) -> f64) -> AtK {
        let chance = |image: usize, _| if image < 3 { 0.75 } else { 0.25 };
        let resampling = Resampling { replicates: 1000, seed: 1 };
        let patients = Patients::new(["a", "b", "c", "d"]);
        Shares::of(4, 1, value, chance).at_k(&patients, resampling).unwrap()
    }

    #[test]
    fn a_ranking_that_is_the_same_for_every_image_is_worth_no_more_than_shuffled() {
        // Three of four images are of class 0, and everybody gets one of theirs first.
        let class = [0, 0, 0, 1];
        let blind = at_1(|image, _| f64::from(u8::from(class[image] == 0)));
        assert_eq!((blind.share.value, blind.shuffled, blind.chance), (0.75, 0.75, 0.625));
        assert_eq!(blind.above_chance.value, 0.125);
        assert_eq!(blind.lift, Estimate { value: 0.0, low: 0.0, high: 0.0 });
        let seen = at_1(|image, asked| f64::from(u8::from(class[image] == class[asked])));
        assert_eq!((seen.share.value, seen.shuffled, seen.lift.value), (1.0, 0.625, 0.375));
        assert!(seen.lift.low > 0.0 && seen.lift.low < 0.375 && seen.lift.high > 0.375);
    }
}
