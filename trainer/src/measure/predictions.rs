//! `--predictions FILE`: what a checkpoint said of each image, one JSON object a line, so that another program can
//! compute every figure again. The fields are documented in `docs/tasks.md`.

use crate::{
    index::{Record, Split},
    metrics::detection::Rect,
};
use serde::Serialize;

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Prediction {
    /// The folder, as the command line names it.
    pub checkpoint: String,
    pub split: Split,
    #[serde(flatten)]
    pub answer: ImageAnswer,
}

/// What was said of one image.
#[derive(Clone, Debug, Serialize)]
pub struct ImageAnswer {
    /// Of the image's record in the index.
    pub id: String,
    /// What intervals resample: the patient, or the group of patients who share pictures.
    pub patient: String,
    #[serde(flatten)]
    pub answer: Answer,
}

/// What each task says of an image.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "task", rename_all = "kebab-case")]
pub enum Answer {
    Classification {
        findings: Vec<Finding>,
    },
    Linear {
        findings: Vec<Finding>,
    },
    Segmentation {
        regions: Vec<Region>,
    },
    Detection(Boxes),
    ZeroShot {
        scores: Vec<Score>,
        truth: String,
    },
    #[serde(rename = "zero-shot")]
    Prompts {
        findings: Vec<ScoredFinding>,
    },
    Retrieval(Ranked),
}

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub name: String,
    /// In `[0, 1]`.
    pub probability: f32,
    /// From which probability on the finding is called.
    pub threshold: f32,
    /// `null` where nobody said.
    pub truth: Option<bool>,
}

/// A finding that phrases ask for.
#[derive(Clone, Debug, Serialize)]
pub struct ScoredFinding {
    pub name: String,
    /// In `[0, 1]`, not calibrated.
    pub score: f32,
    /// `null` where nobody said.
    pub truth: Option<bool>,
}

/// A region somebody looked for, in pixels of the image.
#[derive(Clone, Debug, Serialize)]
pub struct Region {
    pub name: String,
    pub threshold: f32,
    pub dice: f64,
    pub iou: f64,
    /// Pixels drawn, and pixels of the truth.
    pub area: u64,
    pub true_area: u64,
    pub mask: RunLengths,
    pub truth: RunLengths,
}

/// A mask as COCO's uncompressed run lengths: down the columns from left to right, the first run is outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunLengths {
    /// Rows and columns.
    pub size: [usize; 2],
    pub counts: Vec<u32>,
}

/// Boxes in pixels of the image; `x, y` is the top left corner.
#[derive(Clone, Debug, Serialize)]
pub struct Boxes {
    pub labels: Vec<BoxLabel>,
    /// Down to a score of 0.01, at most 100.
    pub boxes: Vec<ScoredBox>,
    pub truth: Vec<NamedBox>,
}

#[derive(Clone, Debug, Serialize)]
pub struct BoxLabel {
    pub name: String,
    /// From which score on the box is shown; `null` where none was fitted.
    pub threshold: Option<f32>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ScoredBox {
    pub score: f32,
    #[serde(flatten)]
    pub place: NamedBox,
}

#[derive(Clone, Debug, Serialize)]
pub struct NamedBox {
    pub name: String,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Score {
    pub name: String,
    pub score: f32,
}

/// An image of a pair, and the reports that fit it best.
#[derive(Clone, Debug, Serialize)]
pub struct Ranked {
    /// Findings of the image: a report is of its class if its own image has the same.
    pub labels: Vec<String>,
    /// Equal for equal texts.
    pub report_group: String,
    /// Best first, as many as the figures look at; `id` is the report's image.
    pub ranked: Vec<RankedReport>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RankedReport {
    pub id: String,
    /// Cosine of image and report.
    pub score: f32,
}

impl ImageAnswer {
    pub(crate) fn of(record: &Record, answer: Answer) -> Self {
        Self { id: record.id.clone(), patient: record.group().to_owned(), answer }
    }
}

impl NamedBox {
    pub(crate) fn of(name: &str, &Rect { x1, y1, x2, y2 }: &Rect) -> Self {
        Self { name: name.to_owned(), x: x1, y: y1, width: x2 - x1, height: y2 - y1 }
    }
}

impl RunLengths {
    /// `inside` row after row. Panics unless it has `rows × columns` pixels.
    pub fn of(inside: &[bool], [rows, columns]: [usize; 2]) -> Self {
        assert_eq!(inside.len(), rows * columns, "a mask of {rows}x{columns}");
        let (mut counts, mut now) = (vec![0u32], false);
        for column in 0..columns {
            for row in 0..rows {
                if inside[row * columns + column] != now {
                    now = !now;
                    counts.push(0);
                }
                *counts.last_mut().expect("never empty") += 1;
            }
        }
        Self { size: [rows, columns], counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_go_down_the_columns_and_begin_outside() {
        // pycocotools: frPyObjects({"size": [2, 3], "counts": [0, 1, 2, 2, 1]}) decodes to these rows.
        let inside = [true, false, true, false, true, false];
        let runs = RunLengths::of(&inside, [2, 3]);
        assert_eq!((runs.size, &runs.counts[..]), ([2, 3], &[0, 1, 2, 2, 1][..]));
        assert_eq!(RunLengths::of(&[false; 6], [2, 3]).counts, [6]);
    }

    #[test]
    fn a_line_says_task_image_and_answer_on_one_level() {
        let record = Record { id: "a".into(), patient_id: "p".into(), ..Record::default() };
        let finding =
            Finding { name: "Mass".into(), probability: 0.1, threshold: 0.5, truth: None };
        let answer = Answer::Linear { findings: vec![finding] };
        let answer = ImageAnswer::of(&record, answer);
        let line = Prediction { checkpoint: "c".into(), split: Split::Test, answer };
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"checkpoint":"c","split":"test","id":"a","patient":"p","task":"linear","findings":[{"name":"Mass","probability":0.1,"threshold":0.5,"truth":null}]}"#
        );
    }
}
