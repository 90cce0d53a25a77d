//! Thresholds and figures of the finished student on the validation split.

use super::{Data, Learner, student::Student, student::labels};
use anyhow::Result;
use graph::CheckpointConfig;
use toml::{Table, Value, value::Array};
use trainer::{
    finetune::{Targets, Uncertain, columns, logits},
    metrics::{
        bootstrap::{Patients, Resampling},
        ranking::Ranking,
        threshold::Criterion,
    },
};

/// `operating_points` and `metrics` of `config.toml`; empty where nothing is labelled.
pub(crate) fn tables(
    config: &CheckpointConfig,
    data: &Data,
    batch: usize,
    student: &Student,
) -> Result<Table> {
    let labels = labels(&config.model);
    if labels.is_empty() || data.val.is_empty() {
        return Ok(Table::new());
    }
    let targets = Targets::of(&data.val_records, labels, Uncertain::Unknown);
    let forward = |images: &tch::Tensor| {
        tch::no_grad(|| student.forward(&images.to_device(student.store.device()), false))
    };
    let scores = columns(&logits(&data.val, batch, &forward)?.sigmoid());
    let (mut points, mut figures) = (Array::new(), Array::new());
    for (at, name) in labels.iter().enumerate() {
        let (known, truth) = targets.known(at);
        let scores: Vec<f32> = known.iter().map(|&image| scores[at][image]).collect();
        let Some(threshold) = Criterion::Youden.threshold(&scores, &truth) else { continue };
        points.push(Value::Table(Table::from_iter([
            ("name".into(), Value::from(name.clone())),
            ("threshold".into(), f64::from(threshold).into()),
            ("chosen".into(), "Youden's J on the val split".into()),
        ])));
        let patients = Patients::new(known.iter().map(|&image| data.val_records[image].group()));
        let ranking = Ranking::new(&scores, &truth);
        let resampling = Resampling { replicates: 1000, seed: 0 };
        let auroc = patients.estimate(resampling, |weights| ranking.weighted_auroc(weights));
        figures.extend(auroc.map(|auroc| {
            Value::Table(Table::from_iter([
                ("task".into(), Value::from("classification")),
                ("metric".into(), format!("AUROC {name}").into()),
                ("data".into(), "the index of this run".into()),
                ("split".into(), "val".into()),
                ("value".into(), auroc.value.into()),
                ("interval".into(), vec![auroc.low, auroc.high].into()),
                ("n".into(), (truth.len() as i64).into()),
            ]))
        }));
    }
    Ok(Table::from_iter([
        ("operating_points".into(), Value::Array(points)),
        ("metrics".into(), Value::Array(figures)),
    ]))
}
