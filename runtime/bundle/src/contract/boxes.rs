//! Heads that find boxes. Places and sides are in pixels of the network's input.

use serde::{Deserialize, Serialize};

/// What a head's outputs mean, and which of its boxes stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boxes {
    pub head: BoxHead,
    /// In the network's order, without a background; `None` for one that nobody looks at.
    pub labels: Vec<Option<String>>,
    /// Of two boxes of a label that overlap by more (intersection over union), the weaker goes.
    pub overlap: f32,
    /// At most so many boxes stay.
    pub keep: u32,
}

/// The published forms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxHead {
    /// One output a level, `[1, channels, rows, columns]`, finest level first or not.
    ///
    /// | version | channels |
    /// |---|---|
    /// | 3, 5 | for each anchor `x, y, w, h, object`, then the labels |
    /// | 8 | for each side (left, top, right, bottom) `bins` numbers, then the labels |
    YoloMaps {
        version: Yolo,
        outputs: Vec<String>,
        /// Width and height of each level's; none of version 8.
        anchors: Vec<Vec<[f32; 2]>>,
    },
    /// One output of decoded boxes, as Ultralytics exports them: `[1, boxes, x, y, w, h, object, labels…]` (versions 3 and
    /// 5) or `[1, x, y, w, h, labels…, boxes]` (version 8), places and sides in pixels, the others probabilities.
    YoloRows {
        version: Yolo,
        output: String,
    },
    // Bundles hold this as its position: append.
    Dense(Dense),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Yolo {
    V3,
    V5,
    V8,
}

/// Scores and boxes in outputs of their own: either one output for all levels, `[1, boxes, values]`, or one a level,
/// `[1, values, rows, columns]` with the values of each anchor together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dense {
    pub form: DenseForm,
    pub scores: Vec<String>,
    pub boxes: Vec<String>,
    /// Of FCOS alone.
    pub centreness: Vec<String>,
    /// Of each level; it has `⌈side / stride⌉` cells along a side.
    pub strides: Vec<u32>,
    /// Width and height of each level's; none of FCOS.
    pub anchors: Vec<Vec<[f32; 2]>>,
    /// Of `x, y, w, h`; ones of FCOS, which has none.
    pub variances: [f32; 4],
    /// Where the centre of a cell is, in cells from its corner: 0 or ½.
    pub centre: f32,
    /// Of FCOS: the network gives logarithms of distances.
    pub exponential: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DenseForm {
    /// Tian 2019: a sigmoid score a label, distances to the sides in strides, centre-ness.
    Fcos,
    /// Liu 2016: a softmax over background (first) and labels, boxes relative to anchors.
    Ssd,
    /// Lin 2017: a sigmoid score a label, boxes relative to anchors.
    Retinanet,
}

impl BoxHead {
    pub(super) fn names(&self) -> Vec<&str> {
        let all = match self {
            Self::YoloMaps { outputs, .. } => vec![outputs],
            Self::YoloRows { output, .. } => return vec![output],
            Self::Dense(dense) => vec![&dense.scores, &dense.boxes, &dense.centreness],
        };
        all.into_iter().flatten().map(String::as_str).collect()
    }
}

impl Dense {
    /// Boxes a cell of the level makes.
    pub fn boxes_per_cell(&self, level: usize) -> usize {
        if self.form == DenseForm::Fcos { 1 } else { self.anchors[level].len() }
    }

    /// Numbers a box has among the scores.
    pub fn scores_per_box(&self, labels: usize) -> usize {
        labels + usize::from(self.form == DenseForm::Ssd)
    }
}

impl Yolo {
    /// As the files that describe a network say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V3 => "yolov3",
            Self::V5 => "yolov5",
            Self::V8 => "yolov8",
        }
    }
}

impl DenseForm {
    /// As the files that describe a network say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fcos => "fcos",
            Self::Ssd => "ssd",
            Self::Retinanet => "retinanet",
        }
    }
}
