//! Networks of other tools: what the contract says of each output. A shape it does not fit is refused by name.

use super::{Plane, Score, cells, shape_error};
use crate::decode::dense::{Head, Values, dense_boxes, grid};
use crate::decode::yolo::{self, Map, map_boxes, row_boxes};
use crate::decode::{Candidate, Cells, Detection, best, sigmoid, softmax, strongest};
use crate::{EngineError, Output, Outputs};
use bundle::{Activation, BoxHead, Boxes, Contract, Dense, DenseForm, Meaning, Scores, Yolo};
use graph::Placement;

/// How far a number that is said to be a probability may lie outside 0 to 1: a rounding step of 8 bits.
const SLACK: f32 = 1.0 / 64.0;
/// More bins than any published version of YOLO has.
const MOST_BINS: usize = 64;

pub(super) fn scores(outputs: &Outputs, contract: &Contract) -> Result<Vec<Score>, EngineError> {
    let mut all = Vec::new();
    for meaning in &contract.outputs {
        let Meaning::Findings(scores) = meaning else { continue };
        let output = outputs.require(&scores.output)?;
        let labels = scores.labels.len();
        if !matches!(output.shape[..], [1, n] | [1, n, 1, 1] if n == labels) {
            return Err(shape_error(output, &format!("[1, {labels}], a number for each label")));
        }
        let probabilities = probabilities(output, &output.data, scores.activation)?;
        for ((label, &number), &probability) in
            scores.labels.iter().zip(&output.data).zip(&probabilities)
        {
            let Some(name) = label.clone() else { continue };
            // A softmax's order is not that of one of its logits.
            let is_softmax = scores.activation == Activation::Softmax;
            let rank = if is_softmax { probability } else { number };
            all.push(Score { name, rank, probability });
        }
    }
    Ok(all)
}

pub(super) fn planes(outputs: &Outputs, contract: &Contract) -> Result<Vec<Plane>, EngineError> {
    let mut all = Vec::new();
    for meaning in &contract.outputs {
        let Meaning::Masks(Scores { output, activation, labels }) = meaning else { continue };
        let output = outputs.require(output)?;
        let [rows, columns] = cells(output, labels.len())?;
        let plane = rows * columns;
        let probability = if *activation == Activation::Softmax {
            let mut all = vec![0.0; output.data.len()];
            for at in 0..plane {
                let of_pixel: Vec<f32> = output.data[at..].iter().step_by(plane).copied().collect();
                let of_pixel = probabilities(output, &of_pixel, *activation)?;
                of_pixel.iter().enumerate().for_each(|(label, x)| all[label * plane + at] = *x);
            }
            all
        } else {
            probabilities(output, &output.data, *activation)?
        };
        for (label, probability) in labels.iter().zip(probability.chunks_exact(plane)) {
            let Some(name) = label.clone() else { continue };
            all.push(Plane { name, rows, columns, probability: probability.to_vec() });
        }
    }
    Ok(all)
}

pub(super) fn embedding(contract: &Contract) -> Option<&str> {
    contract.outputs.iter().find_map(|meaning| match meaning {
        Meaning::Embedding { output } => Some(output.as_str()),
        _ => None,
    })
}

pub(super) fn boxes(
    outputs: &Outputs,
    contract: &Contract,
    least: impl Fn(&str) -> f32,
    placed: &Placement,
) -> Result<Option<Vec<Detection>>, EngineError> {
    let found = contract.outputs.iter().find_map(|meaning| match meaning {
        Meaning::Boxes(boxes) => Some(boxes),
        _ => None,
    });
    let Some(boxes) = found else { return Ok(None) };
    let lowest = boxes.labels.iter().flatten().map(|name| least(name)).fold(1.0, f32::min);
    let input = placed.input;
    let mut candidates = candidates(outputs, boxes, lowest, input)?;
    let name = |candidate: &Candidate| boxes.labels[candidate.class].as_deref();
    candidates.retain(|own| {
        name(own).is_some_and(|name| own.score >= least(name)) && own.place.is_seen(input)
    });
    strongest(&mut candidates, |own| own.score);
    let named = |own: &Candidate| Some(own.named(name(own)?, input));
    let found = candidates.iter().filter_map(named).collect();
    Ok(Some(best(found, boxes.overlap, boxes.keep as usize, placed)))
}

/// Numbers of one picture, or of one pixel of it, that exclude one another where they do.
fn probabilities(
    output: &Output,
    numbers: &[f32],
    activation: Activation,
) -> Result<Vec<f32>, EngineError> {
    let all = match activation {
        Activation::Sigmoid => numbers.iter().map(|&x| sigmoid(x)).collect(),
        Activation::Softmax => softmax(numbers),
        Activation::None => numbers.to_vec(),
    };
    // Written so that what is not a number is refused too.
    match all.iter().find(|x| !(-SLACK..=1.0 + SLACK).contains(*x)) {
        None => Ok(all.into_iter().map(|x| x.clamp(0.0, 1.0)).collect()),
        Some(&found) => Err(EngineError::Probability { name: output.name.clone(), found }),
    }
}

fn candidates(
    outputs: &Outputs,
    boxes: &Boxes,
    least: f32,
    input: [usize; 2],
) -> Result<Vec<Candidate>, EngineError> {
    let labels = boxes.labels.len();
    match &boxes.head {
        BoxHead::YoloMaps { version, outputs: names, anchors } => {
            let mut found = Vec::new();
            for (level, name) in names.iter().enumerate() {
                let anchors = anchors.get(level).map_or(&[][..], Vec::as_slice);
                let cells = yolo_cells(outputs.require(name)?, *version, anchors.len(), labels)?;
                found.extend(map_boxes(*version, Map { cells, anchors }, labels, least, input));
            }
            Ok(found)
        }
        BoxHead::YoloRows { version, output } => {
            yolo_rows(outputs.require(output)?, *version, labels, least)
        }
        BoxHead::Dense(dense) => {
            let head = dense_head(outputs, dense, labels, input)?;
            Ok(dense_boxes(dense, &head, labels, least, input))
        }
    }
}

fn yolo_cells(
    output: &Output,
    version: Yolo,
    anchors: usize,
    labels: usize,
) -> Result<Cells<'_>, EngineError> {
    let channels = yolo::channels(version, anchors, labels);
    let [rows, columns] = match version {
        Yolo::V3 | Yolo::V5 => cells(output, channels)?,
        Yolo::V8 => {
            let found = output.shape.get(1).copied().unwrap_or(0);
            let bins = found.saturating_sub(labels) / 4;
            if found != channels + 4 * bins || !(1..=MOST_BINS).contains(&bins) {
                let expected = format!("[1, 4 x bins + {labels}, rows, columns]");
                return Err(shape_error(output, &expected));
            }
            cells(output, found)?
        }
    };
    Ok(Cells { data: &output.data, rows, columns })
}

fn yolo_rows(
    output: &Output,
    version: Yolo,
    labels: usize,
    least: f32,
) -> Result<Vec<Candidate>, EngineError> {
    match (version, &output.shape[..]) {
        (Yolo::V3 | Yolo::V5, &[1, _, values]) if values == labels + 5 => {
            let rows = output.data.chunks_exact(values).map(<[f32]>::to_vec);
            Ok(row_boxes(version, rows, least))
        }
        (Yolo::V8, &[1, values, boxes]) if values == labels + 4 => {
            let row = |at: usize| output.data[at..].iter().step_by(boxes).copied().collect();
            Ok(row_boxes(version, (0..boxes).map(row), least))
        }
        (Yolo::V3 | Yolo::V5, _) => {
            Err(shape_error(output, &format!("[1, boxes, {}]", labels + 5)))
        }
        (Yolo::V8, _) => Err(shape_error(output, &format!("[1, {}, boxes]", labels + 4))),
    }
}

fn dense_head<'a>(
    outputs: &'a Outputs,
    dense: &Dense,
    labels: usize,
    input: [usize; 2],
) -> Result<Head<'a>, EngineError> {
    let values = |names: &[String], per_box| values(outputs, dense, names, per_box, input);
    Ok(Head {
        scores: values(&dense.scores, dense.scores_per_box(labels))?,
        boxes: values(&dense.boxes, 4)?,
        centreness: match dense.form {
            DenseForm::Fcos => Some(values(&dense.centreness, 1)?),
            DenseForm::Ssd | DenseForm::Retinanet => None,
        },
    })
}

/// Outputs of one kind; their rank says whether they hold all levels in rows or a level each in maps.
fn values<'a>(
    outputs: &'a Outputs,
    dense: &Dense,
    names: &[String],
    per_box: usize,
    input: [usize; 2],
) -> Result<Values<'a>, EngineError> {
    let all: Vec<&Output> =
        names.iter().map(|name| outputs.require(name)).collect::<Result<_, _>>()?;
    let grids: Vec<[usize; 2]> = dense.strides.iter().map(|&stride| grid(input, stride)).collect();
    let in_rows = all.len() == 1 && all[0].shape.len() == 3;
    if in_rows {
        let of_level = |(level, [rows, columns]): (usize, &[usize; 2])| {
            rows * columns * dense.boxes_per_cell(level)
        };
        let boxes: usize = grids.iter().enumerate().map(of_level).sum();
        if all[0].shape != [1, boxes, per_box] {
            return Err(shape_error(all[0], &format!("[1, {boxes}, {per_box}]")));
        }
    } else if all.len() != grids.len() {
        let expected = format!("[1, boxes, {per_box}], for it is of {} levels", grids.len());
        return Err(shape_error(all[0], &expected));
    } else {
        for (level, (output, [rows, columns])) in all.iter().zip(&grids).enumerate() {
            let expected = [1, dense.boxes_per_cell(level) * per_box, *rows, *columns];
            if output.shape != expected {
                return Err(shape_error(output, &format!("{expected:?}")));
            }
        }
    }
    let tensors = all.into_iter().map(|output| &output.data[..]).collect();
    Ok(Values { tensors, in_rows, per_box })
}
