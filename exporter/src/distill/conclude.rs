//! Thresholds and figures of the finished student on the validation split: on the images, and by the criteria, that its
//! teacher's are of.

use super::{
    Data, Learner,
    student::{Student, labels},
    teacher::Teacher,
};
use anyhow::Result;
use graph::CheckpointConfig;
use metrics::{
    bootstrap::Patients, figure, operating::OperatingPoint, ranking::Ranking, threshold::Criterion,
};
use toml::Table;
use trainer::{
    learn::{Uncertain, conclusion},
    tasks::classification::{Targets, columns, logits},
};

/// `operating_points` and `metrics` of `config.toml`; empty where nothing is labelled.
pub(crate) fn tables(
    config: &CheckpointConfig,
    data: &Data,
    batch: usize,
    student: &Student,
    teacher: &Teacher,
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
    let (mut points, mut figures) = (Vec::new(), Vec::new());
    for (at, name) in labels.iter().enumerate() {
        let (known, truth) = targets.known(at);
        let judges = known.into_iter().zip(truth);
        let (images, truth): (Vec<usize>, Vec<bool>) =
            judges.filter(|(at, _)| teacher.selection.takes(&data.val_records[*at])).unzip();
        let scores: Vec<f32> = images.iter().map(|&image| scores[at][image]).collect();
        let taught = teacher.operating_points.iter().find(|point| point.name == *name);
        // A threshold that a person set for the teacher is not the student's.
        let criterion = taught.and_then(|point| point.criterion).unwrap_or(Criterion::Youden);
        let Some(threshold) = criterion.threshold(&scores, &truth) else { continue };
        points.push(OperatingPoint::new(name, threshold, criterion));
        let patients = Patients::new(images.iter().map(|&image| data.val_records[image].group()));
        let ranking = Ranking::new(&scores, &truth);
        let auroc = |weights: &[u32]| ranking.weighted_auroc(weights);
        let (n, metric) = (truth.len(), figure::auroc(name));
        figures.extend(trainer::learn::figure("classification", metric, n, auroc, &patients));
    }
    conclusion(&points, &figures)
}
