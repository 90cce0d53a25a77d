//! Naming findings that were never taught.

use super::{BATCH, batch, pictures, texts};
use crate::{
    index::{Record, Split, Truth},
    metrics::{classes::ClassTable, ranking::Ranking},
    prior::Trained,
    text::Encoded,
};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use tch::{Device, Kind, Tensor};

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
    pub patients: usize,
    /// What the figures are made of.
    #[serde(skip)]
    pub answers: Vec<ImageScores>,
}

/// One image's fit with each class, in the order of the classes.
#[derive(Clone, Debug)]
pub struct ImageScores {
    pub id: String,
    pub patient: String,
    /// Number of the true class.
    pub truth: usize,
    pub scores: Vec<f32>,
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
    let (mut images, mut asked, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    for record in records.iter().filter(|record| record.split == Some(split)) {
        let holds = |class: &&String| record.truth(class) == Truth::Positive;
        let all: Vec<usize> = (0..classes.len()).filter(|&class| holds(&&classes[class])).collect();
        if let [class] = all[..] {
            images.push(record.image_path());
            asked.push(record);
            truth.push(class);
        }
    }
    ensure!(!images.is_empty(), "no image of the {split} split has exactly one of {classes:?}");

    let prompts: Vec<Encoded> =
        classes.iter().map(|class| trained.prompt(class)).collect::<Result<_>>()?;
    let (objective, preprocess) = (trained.objective()?, trained.zero_shot_preprocess());
    let scores = tch::no_grad(|| -> Result<Tensor> {
        let text = texts(trained, &prompts, &objective);
        let mut rows = Vec::new();
        for chunk in images.chunks(BATCH) {
            let (global, places) =
                trained.prior.embed_images(&pictures(trained, preprocess, chunk)?);
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
    let flat = scores.to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]);
    let flat = Vec::<f32>::try_from(flat).context("scores are numbers")?;
    let rows: Vec<&[f32]> = flat.chunks_exact(classes.len()).collect();
    let auroc = classes.iter().enumerate().map(|(class, name)| {
        let column: Vec<f32> = rows.iter().map(|row| row[class]).collect();
        let own: Vec<bool> = truth.iter().map(|&t| t == class).collect();
        (name.clone(), Ranking::new(&column, &own).auroc())
    });
    let answer = |((record, &truth), scores): ((&&Record, &usize), &&[f32])| ImageScores {
        id: record.id.clone(),
        patient: record.group().to_owned(),
        truth,
        scores: scores.to_vec(),
    };
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
        auroc: auroc.collect(),
        patients: asked.iter().map(|record| record.group()).collect::<BTreeSet<_>>().len(),
        answers: asked.iter().zip(&truth).zip(&rows).map(answer).collect(),
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
