//! All levels of a detector → boxes of the source image.

use super::{Cells, Detection, anchored_boxes, boxes, suppress};
use graph::{ANCHORS, Placement, Task};
use std::ops::RangeInclusive;

/// Overlap above which the weaker of two boxes goes, and how many may stay.
const OVERLAP: f32 = 0.5;
const MOST_BOXES: usize = 100;

/// What a detection head's channels mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// Distances to the four edges, and centre-ness.
    AnchorFree,
    Yolov3,
}

/// The cells on C3, C4 or C5.
#[derive(Clone, Copy, Debug)]
pub struct Level<'a> {
    pub number: usize,
    pub cells: Cells<'a>,
}

impl Detector {
    /// `None` for tasks that find no boxes.
    pub fn of(task: Task) -> Option<Self> {
        match task {
            Task::Detection => Some(Self::AnchorFree),
            Task::Yolov3 | Task::Yolov3Relu => Some(Self::Yolov3),
            Task::Classification | Task::Segmentation | Task::Language => None,
        }
    }

    pub fn levels(self) -> RangeInclusive<usize> {
        3..=5
    }

    /// Name of the network's output for a level.
    pub fn output(self, level: usize) -> String {
        match self {
            Self::AnchorFree => format!("detection.p{level}"),
            Self::Yolov3 => format!("yolov3.p{level}"),
        }
    }

    /// Name of the layer that makes it.
    pub fn last_layer(self, level: usize) -> String {
        match self {
            Self::AnchorFree => format!("det.p{level}.out"),
            Self::Yolov3 => format!("yolo.p{level}.out"),
        }
    }

    /// Channels of each level.
    pub fn channels(self, classes: usize) -> usize {
        match self {
            Self::AnchorFree => classes + 5,
            Self::Yolov3 => ANCHORS[0].len() * (classes + 5),
        }
    }
}

/// Boxes that score at least `least(name)`, weaker ones on the same thing suppressed, best first, in pixels of the
/// source image that lies in the network's input as `placed`.
///
/// # Panics
/// If a level does not have the detector's channels.
pub fn detect(
    kind: Detector,
    levels: &[Level<'_>],
    labels: &[String],
    least: impl Fn(&str) -> f32,
    placed: &Placement,
) -> Vec<Detection> {
    let input = placed.input;
    let lowest = labels.iter().map(|name| least(name)).fold(1.0, f32::min);
    let mut found: Vec<Detection> = levels
        .iter()
        .flat_map(|level| match kind {
            Detector::AnchorFree => boxes(level.cells, labels, lowest, input),
            Detector::Yolov3 => anchored_boxes(level.cells, level.number, labels, lowest, input),
        })
        .collect();
    found.retain(|detection| detection.score >= least(&detection.name));
    best(found, OVERLAP, MOST_BOXES, placed)
}

/// What [`suppress`] leaves of boxes of the input, in pixels of the source.
pub(crate) fn best(
    found: Vec<Detection>,
    overlap: f32,
    keep: usize,
    placed: &Placement,
) -> Vec<Detection> {
    let in_source = |d: Detection| {
        let [x, y, width, height] = placed.into_source([d.x, d.y, d.width, d.height])?;
        Some(Detection { x, y, width, height, ..d })
    };
    suppress(found, overlap, keep).into_iter().filter_map(in_source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::{Fit, Preprocess};

    #[test]
    fn levels_meet_in_one_suppression_and_boxes_are_the_sources() {
        // The same 32x32 box around (16, 16) from a cell of stride 32 and, less sure, from one of stride 16.
        let cells = |rows: usize, at: usize, distances: [f32; 4], score: f32| {
            let plane = rows * rows;
            let mut data = vec![-20.0; 6 * plane];
            data[at] = score;
            distances
                .iter()
                .enumerate()
                .for_each(|(side, d)| data[(1 + side) * plane + at] = d.ln());
            data[5 * plane + at] = 20.0;
            data
        };
        let coarse = cells(2, 0, [0.5; 4], 5.0);
        let fine = cells(4, 0, [0.5, 0.5, 1.5, 1.5], 2.0);
        let levels = [
            Level { number: 4, cells: Cells { data: &fine, rows: 4, columns: 4 } },
            Level { number: 5, cells: Cells { data: &coarse, rows: 2, columns: 2 } },
        ];
        let labels = ["a".to_owned()];
        let kind = Detector::AnchorFree;
        let placed = |fit, source| {
            Preprocess { height: 64, width: 64, fit, ..Preprocess::PRIOR }.place(source)
        };
        let stretched = placed(Fit::Stretch, [128, 32]);
        let found = detect(kind, &levels, &labels, |_| 0.5, &stretched);
        let [Detection { x, y, width, height, .. }] = found[..] else { panic!("{found:?}") };
        assert_eq!((x, y, width, height), (0.0, 0.0, 16.0, 64.0));
        assert!(detect(kind, &levels, &labels, |_| 0.999, &stretched).is_empty());
        // Half of it lies left of a picture that takes columns 16 to 48.
        let found = detect(kind, &levels, &labels, |_| 0.5, &placed(Fit::Pad, [128, 64]));
        let [Detection { x, y, width, height, .. }] = found[..] else { panic!("{found:?}") };
        assert_eq!((x, y, width, height), (0.0, 0.0, 32.0, 64.0));
    }
}
