//! Networks of ours: outputs `classification`, `segmentation`, `detection.p3`, … whose heads the manifest names.

use super::{Plane, Score, cells, shape_error};
use crate::decode::{self, Cells, Detection, Detector, Level, sigmoid};
use crate::{EngineError, Outputs};
use bundle::Manifest;
use graph::{Placement, Task};

pub(super) fn scores(outputs: &Outputs, manifest: &Manifest) -> Result<Vec<Score>, EngineError> {
    let Some(head) = manifest.head(Task::Classification) else { return Ok(Vec::new()) };
    let logits = outputs.require("classification")?;
    if logits.data.len() != head.labels.len() {
        return Err(shape_error(logits, &format!("[1, {}]", head.labels.len())));
    }
    let score = |(name, &logit): (&String, &f32)| Score {
        name: name.clone(),
        rank: logit,
        probability: sigmoid(logit),
    };
    Ok(head.labels.iter().zip(&logits.data).map(score).collect())
}

pub(super) fn planes(outputs: &Outputs, manifest: &Manifest) -> Result<Vec<Plane>, EngineError> {
    let Some(head) = manifest.head(Task::Segmentation) else { return Ok(Vec::new()) };
    let logits = outputs.require("segmentation")?;
    let [rows, columns] = cells(logits, head.labels.len())?;
    let plane = |(name, plane): (&String, &[f32])| Plane {
        name: name.clone(),
        rows,
        columns,
        probability: plane.iter().map(|&x| sigmoid(x)).collect(),
    };
    Ok(head.labels.iter().zip(logits.data.chunks_exact(rows * columns)).map(plane).collect())
}

pub(super) fn boxes(
    outputs: &Outputs,
    manifest: &Manifest,
    placed: &Placement,
) -> Result<Option<Vec<Detection>>, EngineError> {
    let heads = manifest.model.heads.iter();
    let detectors = heads.filter_map(|head| Some((head, Detector::of(head.task)?)));
    let mut all: Option<Vec<Detection>> = None;
    for (head, kind) in detectors {
        let channels = kind.channels(head.labels.len());
        let mut levels = Vec::new();
        for number in kind.levels() {
            let output = outputs.require(&kind.output(number))?;
            let [rows, columns] = cells(output, channels)?;
            levels.push(Level { number, cells: Cells { data: &output.data, rows, columns } });
        }
        let least = |name: &str| manifest.threshold(name);
        let found = decode::detect(kind, &levels, &head.labels, least, placed);
        all.get_or_insert_default().extend(found);
    }
    Ok(all)
}
