//! What a PRIOR checkpoint knows without further training: naming findings it was never taught
//! (zero-shot), and finding the report that belongs to an image (retrieval).
//!
//! Deterministic: prototypes are mixed without noise.

use crate::{
    index::{Record, Split, Truth},
    metrics::{classes::ClassTable, ranking::Ranking},
    pretrain::{Pairs, Pictures},
    prior::{Batch, Objective, Trained},
    text::Encoded,
};
use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};
use tch::{Device, Kind, Tensor};

/// Images or reports encoded at a time.
const BATCH: usize = 16;
/// Places in the ranking that precision is reported for.
const TOP: [usize; 4] = [1, 5, 10, 100];
const REPLICATES: usize = 1000;

/// What `--task zero-shot` finds.
#[derive(Clone, Debug, Serialize)]
pub struct ZeroShot {
    pub task: &'static str,
    pub split: Split,
    pub images: usize,
    pub classes: Vec<String>,
    /// One class per image: the prompt that fits best.
    pub accuracy: Option<f64>,
    pub macro_precision: Option<f64>,
    pub macro_recall: Option<f64>,
    pub macro_f1: Option<f64>,
    pub kappa: Option<f64>,
    /// Of each class against the others.
    pub auroc: BTreeMap<String, Option<f64>>,
}

/// What `--task retrieval` finds.
#[derive(Clone, Debug, Serialize)]
pub struct Retrieval {
    pub task: &'static str,
    pub split: Split,
    /// Images asked with, and reports to choose from.
    pub pairs: usize,
    /// Share of the top K with the labels of the image.
    pub precision: Vec<AtK>,
    /// Share of images whose own report is among the top K.
    pub recall: Vec<AtK>,
}

/// A share with its 95 % interval (bootstrap over images), what blind choice gets, and what the same rankings get when each
/// is given to every image: one that puts the commonest class first for all of them beats chance, and has seen nothing.
#[derive(Clone, Debug, Serialize)]
pub struct AtK {
    pub k: usize,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub chance: f64,
    pub shuffled: f64,
}

/// Classifies images by the prompts "{class} is observed".
///
/// Uses images of `split` of which exactly one of `classes` is known to be true.
pub fn zero_shot(
    trained: &Trained,
    records: &[Record],
    split: Split,
    classes: &[String],
) -> Result<ZeroShot> {
    ensure!(classes.len() > 1, "zero-shot classification needs two classes or more");
    let mut images = Vec::new();
    let mut truth = Vec::new();
    for record in records.iter().filter(|record| record.split == Some(split)) {
        let holds = |class: &&String| record.truth(class) == Truth::Positive;
        let all: Vec<usize> = (0..classes.len()).filter(|&class| holds(&&classes[class])).collect();
        if let [class] = all[..] {
            images.push(record.image_path());
            truth.push(class);
        }
    }
    ensure!(!images.is_empty(), "no image of the {split} split has exactly one of {classes:?}");

    let prompts: Vec<Encoded> = classes
        .iter()
        .map(|class| trained.words.encode(&[format!("{class} is observed")], 64))
        .collect::<Result<_>>()?;
    let objective = trained.objective()?;
    let scores = tch::no_grad(|| -> Result<Tensor> {
        let text = texts(trained, &prompts, &objective);
        let mut rows = Vec::new();
        for chunk in images.chunks(BATCH) {
            let (global, places) = trained.prior.embed_images(&pictures(trained, chunk)?);
            let scale = trained.prior.zero_shot_scale();
            let global = (global.matmul(&text.transpose(0, 1)) * scale).softmax(-1, None);
            let local: Vec<Tensor> = prompts
                .iter()
                .map(|prompt| {
                    let prompt = batch(trained, std::slice::from_ref(prompt));
                    trained.prior.local_score(&places, &prompt, &objective)
                })
                .collect();
            rows.push(global + Tensor::stack(&local, 1).softmax(-1, None) * 0.5);
        }
        Ok(Tensor::cat(&rows, 0))
    })?;
    let predicted: Vec<i64> = Vec::try_from(&scores.argmax(-1, false).to_device(Device::Cpu))?;
    let predicted: Vec<usize> = predicted.into_iter().map(|class| class as usize).collect();
    let table = ClassTable::new(classes.len(), &predicted, &truth);
    let auroc = classes.iter().enumerate().map(|(class, name)| {
        let column = scores.select(1, class as i64).to_device(Device::Cpu).to_kind(Kind::Float);
        let column = Vec::<f32>::try_from(&column.contiguous()).context("scores are numbers")?;
        let own: Vec<bool> = truth.iter().map(|&t| t == class).collect();
        Ok((name.clone(), Ranking::new(&column, &own).auroc()))
    });
    Ok(ZeroShot {
        task: "zero-shot",
        split,
        images: images.len(),
        classes: classes.to_vec(),
        accuracy: table.accuracy(),
        macro_precision: table.macro_precision(),
        macro_recall: table.macro_recall(),
        macro_f1: table.macro_f1(),
        kappa: table.kappa(),
        auroc: auroc.collect::<Result<_>>()?,
    })
}

/// Ranks the reports of a split by how well they fit each of its images.
pub fn retrieval(trained: &Trained, records: &[Record], split: Split) -> Result<Retrieval> {
    let pairs = Pairs::of(records, 1, |record| record.split == Some(split)).all;
    ensure!(pairs.len() > 1, "the {split} split has {} images with reports", pairs.len());
    let labels: BTreeMap<&str, String> =
        records.iter().map(|record| (record.id.as_str(), positive(record))).collect();
    let class: Vec<&String> = pairs.iter().map(|pair| &labels[pair.id.as_str()]).collect();
    let group: Vec<&String> = pairs.iter().map(|pair| &pair.report_group).collect();

    let reports: Vec<Encoded> = pairs
        .iter()
        .map(|pair| trained.words.encode(&pair.sentences, 256))
        .collect::<Result<_>>()?;
    let objective = trained.objective()?;
    let similarity = tch::no_grad(|| -> Result<Tensor> {
        let text = texts(trained, &reports, &objective);
        let mut rows = Vec::new();
        for chunk in pairs.chunks(BATCH) {
            let paths: Vec<_> = chunk.iter().map(|pair| pair.images[0].as_path()).collect();
            let (global, _) = trained.prior.embed_images(&pictures(trained, &paths)?);
            rows.push(global.matmul(&text.transpose(0, 1)));
        }
        Ok(Tensor::cat(&rows, 0).to_device(Device::Cpu).to_kind(Kind::Float))
    })?;
    let n = pairs.len();
    let ranked: Vec<Vec<usize>> = (0..n)
        .map(|image| {
            let row = Vec::<f32>::try_from(&similarity.get(image as i64).contiguous())?;
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            Ok(order)
        })
        .collect::<Result<_>>()?;
    let ks: Vec<usize> = TOP.into_iter().filter(|&k| k <= n).collect();
    // Of an image, by the ranking made for `asked`.
    let share = |image: usize, asked: usize, k: usize| {
        let same = ranked[asked][..k].iter().filter(|&&report| class[report] == class[image]);
        same.count() as f64 / k as f64
    };
    let found = |image: usize, asked: usize, k: usize| {
        let own = |report: &usize| group[*report] == group[image];
        f64::from(u8::from(ranked[asked][..k].iter().any(own)))
    };
    let same = |of: &[&String], image: usize| of.iter().filter(|&&o| o == of[image]).count();
    let blind_share = |image: usize, _: usize| same(&class, image) as f64 / n as f64;
    let blind_found = |image: usize, k: usize| {
        // None of k drawn without return is one of the same text.
        let others = n - same(&group, image);
        1.0 - (0..k).map(|i| others.saturating_sub(i) as f64 / (n - i) as f64).product::<f64>()
    };
    Ok(Retrieval {
        task: "retrieval",
        split,
        pairs: n,
        precision: ks.iter().map(|&k| at_k(n, k, share, blind_share)).collect(),
        recall: ks.iter().map(|&k| at_k(n, k, found, blind_found)).collect(),
    })
}

impl fmt::Display for ZeroShot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent =
            |share: Option<f64>| share.map_or("-".into(), |s| format!("{:.1} %", 100.0 * s));
        let (accuracy, f1) = (percent(self.accuracy), percent(self.macro_f1));
        write!(f, "{} {} images: accuracy {accuracy}, macro F1 {f1}", self.images, self.split)?;
        self.auroc.iter().try_for_each(|(class, area)| match area {
            Some(area) => write!(f, "\n  {class}: AUROC {area:.3}"),
            None => write!(f, "\n  {class}: only one side present"),
        })
    }
}

impl fmt::Display for Retrieval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} pairs", self.pairs, self.split)?;
        for (name, all) in
            [("precision (same labels)", &self.precision), ("recall (own report)", &self.recall)]
        {
            for AtK { k, value, low, high, chance, shuffled } in all {
                write!(
                    f,
                    "\n  {name} at {k}: {value:.3} [{low:.3}, {high:.3}], chance {chance:.3}, shuffled {shuffled:.3}"
                )?;
            }
        }
        Ok(())
    }
}

fn at_k(
    n: usize,
    k: usize,
    value: impl Fn(usize, usize, usize) -> f64,
    chance: impl Fn(usize, usize) -> f64,
) -> AtK {
    let values: Vec<f64> = (0..n).map(|image| value(image, image, k)).collect();
    let everyone = (0..n * n).map(|at| value(at / n, at % n, k));
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / n as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(k as u64);
    let mut replicates: Vec<f64> = (0..REPLICATES)
        .map(|_| mean(&mut (0..n).map(|_| values[rng.random_range(0..n)])))
        .collect();
    replicates.sort_by(f64::total_cmp);
    AtK {
        k,
        value: mean(&mut values.iter().copied()),
        low: replicates[REPLICATES / 40],
        high: replicates[REPLICATES - 1 - REPLICATES / 40],
        chance: mean(&mut (0..n).map(|image| chance(image, k))),
        shuffled: everyone.sum::<f64>() / (n * n) as f64,
    }
}

fn positive(record: &Record) -> String {
    let names = record.labels.keys().filter(|name| record.truth(name) == Truth::Positive);
    names.cloned().collect::<Vec<_>>().join("|")
}

/// `[N, D]`, length 1.
fn texts(trained: &Trained, reports: &[Encoded], objective: &Objective) -> Tensor {
    let rows: Vec<Tensor> = reports
        .chunks(BATCH)
        .map(|chunk| trained.prior.embed_reports(&batch(trained, chunk), objective))
        .collect();
    Tensor::cat(&rows, 0)
}

/// Reports without images.
fn batch(trained: &Trained, reports: &[Encoded]) -> Batch {
    let device = trained.store.device();
    Batch::new(Tensor::zeros([reports.len() as i64], (Kind::Float, device)), reports, device)
}

/// `[B, 1, H, W]`, as the box would see them.
fn pictures(trained: &Trained, paths: &[&std::path::Path]) -> Result<Tensor> {
    let pictures = Pictures::new(trained.preprocess, None)?;
    let mut pixels = Vec::new();
    for path in paths {
        pixels.extend(pictures.normalised(pictures.read(path)?));
    }
    let (h, w) = (trained.preprocess.height as i64, trained.preprocess.width as i64);
    Ok(Tensor::from_slice(&pixels).view([-1, 1, h, w]).to_device(trained.store.device()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ranking_that_is_the_same_for_every_image_is_worth_no_more_than_shuffled() {
        // Three of four images are of class 0, and everybody gets one of theirs first.
        let class = [0, 0, 0, 1];
        let blind = |image: usize, _: usize| class.iter().filter(|&&c| c == class[image]).count();
        let first = |image: usize, _: usize, _: usize| f64::from(u8::from(class[image] == 0));
        let all = at_k(4, 1, first, |image, k| blind(image, k) as f64 / 4.0);
        assert_eq!((all.value, all.shuffled, all.chance), (0.75, 0.75, 0.625));
        let own = at_k(
            4,
            1,
            |image, asked, _| f64::from(u8::from(class[image] == class[asked])),
            |_, _| 0.0,
        );
        assert_eq!((own.value, own.shuffled), (1.0, 0.625));
    }
}
