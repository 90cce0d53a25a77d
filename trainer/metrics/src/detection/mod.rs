//! Boxes: mean average precision as COCO counts it. [`Matched`] counts it, and FROC, for many weightings of the images.

mod matched;

pub use matched::Matched;

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Corners in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    pub x1: f64,
    pub y1: f64,
    pub x2: f64,
    pub y2: f64,
}

/// A predicted box.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub class: usize,
    pub score: f32,
    pub rect: Rect,
}

/// Predictions and truth of one image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageBoxes {
    pub detections: Vec<Detection>,
    pub truth: Vec<(usize, Rect)>,
}

/// Which images count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// All; a detection in an image without truth is a false positive.
    All,
    /// As MGCA's evaluator: images without detections or without truth are skipped, which flatters.
    MgcaCompat,
}

/// IoU thresholds of the RSNA challenge: .40, .45, … .75.
pub const RSNA_THRESHOLDS: [f64; 8] = [0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75];
/// False positives an image at which FROC is read.
pub const FROC_RATES: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];
/// Boxes that score less change no figure worth having, and there are many: nobody looks at them.
pub const LEAST_SCORE: f32 = 0.01;
/// COCO looks at no more detections of an image and class.
const MAX_DETECTIONS: usize = 100;

impl Rect {
    pub fn area(&self) -> f64 {
        (self.x2 - self.x1).max(0.0) * (self.y2 - self.y1).max(0.0)
    }

    pub fn iou(&self, other: &Self) -> f64 {
        let width = self.x2.min(other.x2) - self.x1.max(other.x1);
        let height = self.y2.min(other.y2) - self.y1.max(other.y1);
        let both = width.max(0.0) * height.max(0.0);
        let union = self.area() + other.area() - both;
        if union > 0.0 { both / union } else { 0.0 }
    }

    fn contains(&self, x: f64, y: f64) -> bool {
        (self.x1..=self.x2).contains(&x) && (self.y1..=self.y2).contains(&y)
    }
}

/// Mean over classes with truth and over `thresholds` of the 101-point interpolated average precision
/// (pycocotools, all areas, 100 detections). `None` where no class has truth.
///
/// For many weightings of the same images see [`Matched`].
pub fn mean_average_precision(
    images: &[&ImageBoxes],
    classes: Range<usize>,
    thresholds: &[f64],
    counting: Counting,
) -> Option<f64> {
    Matched::new(images, classes, thresholds)
        .mean_average_precision(&vec![1; images.len()], counting)
}

/// Recall and precision after every detection of a class, surest first; empty without truth or detections.
pub fn precision_recall(images: &[&ImageBoxes], class: usize, threshold: f64) -> Vec<(f64, f64)> {
    let total: usize = images.iter().map(|image| truth_of(image, class).len()).sum();
    if total == 0 {
        return Vec::new();
    }
    let mut calls: Vec<(f32, bool)> =
        images.iter().flat_map(|image| match_image(image, class, threshold)).collect();
    calls.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: ties stay in the order of the images
    let mut hits = 0usize;
    let point = |(at, &(_, hit)): (usize, &(f32, bool))| {
        hits += usize::from(hit);
        (hits as f64 / total as f64, hits as f64 / (at + 1) as f64)
    };
    calls.iter().enumerate().map(point).collect()
}

/// Each detection of one image, best first, with whether it finds a box nobody found before it.
fn match_image(image: &ImageBoxes, class: usize, threshold: f64) -> Vec<(f32, bool)> {
    let truth = truth_of(image, class);
    let mut taken = vec![false; truth.len()];
    let mut detections: Vec<&Detection> =
        image.detections.iter().filter(|detection| detection.class == class).collect();
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    detections.truncate(MAX_DETECTIONS);
    let mut find = |detection: &Detection| {
        // Of equally good boxes the last wins, as in pycocotools.
        let mut best = (threshold.min(1.0 - 1e-10), None);
        for (at, rect) in truth.iter().enumerate().filter(|(at, _)| !taken[*at]) {
            let iou = detection.rect.iou(rect);
            if iou >= best.0 {
                best = (iou, Some(at));
            }
        }
        best.1.inspect(|&at| taken[at] = true).is_some()
    };
    detections.into_iter().map(|detection| (detection.score, find(detection))).collect()
}

fn truth_of(image: &ImageBoxes, class: usize) -> Vec<Rect> {
    image.truth.iter().filter(|(own, _)| *own == class).map(|(_, rect)| *rect).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x1: f64, y1: f64, x2: f64, y2: f64) -> Rect {
        Rect { x1, y1, x2, y2 }
    }

    fn image(detections: &[(f32, Rect)], truth: &[Rect]) -> ImageBoxes {
        let detection = |&(score, rect)| Detection { class: 0, score, rect };
        ImageBoxes {
            detections: detections.iter().map(detection).collect(),
            truth: truth.iter().map(|&rect| (0, rect)).collect(),
        }
    }

    #[test]
    fn iou_is_worked_by_hand() {
        let (a, b) = (rect(0.0, 0.0, 2.0, 2.0), rect(1.0, 1.0, 3.0, 3.0));
        assert!((a.iou(&b) - 1.0 / 7.0).abs() < 1e-12);
        assert_eq!(a.iou(&rect(5.0, 5.0, 6.0, 6.0)), 0.0);
        assert_eq!(rect(1.0, 1.0, 1.0, 1.0).iou(&rect(1.0, 1.0, 1.0, 1.0)), 0.0);
    }

    #[test]
    fn a_perfect_detector_scores_one_and_a_blind_one_nothing() {
        let truth = rect(0.0, 0.0, 10.0, 10.0);
        let perfect = image(&[(0.9, truth)], &[truth]);
        let blind = image(&[], &[truth]);
        let map = |images: &[&ImageBoxes]| {
            mean_average_precision(images, 0..1, &RSNA_THRESHOLDS, Counting::All)
        };
        assert!((map(&[&perfect]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(map(&[&blind]), Some(0.0));
        assert_eq!(map(&[&image(&[(0.9, truth)], &[])]), None);
        assert_eq!(map(&[]), None);
    }

    #[test]
    fn a_second_box_on_the_same_truth_is_a_false_positive() {
        let (truth, other) = (rect(0.0, 0.0, 10.0, 10.0), rect(20.0, 0.0, 30.0, 10.0));
        let boxes = image(&[(0.9, truth), (0.8, truth), (0.7, other)], &[truth, other]);
        // precision 1 up to recall ½ (51 points), 2/3 up to 1 (50 points)
        let expected = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        let found = mean_average_precision(&[&boxes], 0..1, &[0.5], Counting::All);
        assert!((found.unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn skipping_images_as_mgca_does_flatters() {
        let truth = rect(0.0, 0.0, 10.0, 10.0);
        let images =
            [image(&[(0.9, truth)], &[truth]), image(&[], &[truth]), image(&[(0.95, truth)], &[])];
        let images: Vec<&ImageBoxes> = images.iter().collect();
        let map = |counting| mean_average_precision(&images, 0..1, &RSNA_THRESHOLDS, counting);
        assert!(map(Counting::All).unwrap() < 0.5);
        assert!((map(Counting::MgcaCompat).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_best_score_keeps_what_is_right_and_drops_the_rest() {
        let (truth, wrong) = (rect(0.0, 0.0, 10.0, 10.0), rect(50.0, 50.0, 60.0, 60.0));
        let images = [
            image(&[(0.9, truth), (0.3, wrong)], &[truth]),
            image(&[(0.6, truth), (0.2, wrong)], &[truth]),
        ];
        let images: Vec<&ImageBoxes> = images.iter().collect();
        let best = |images: &[&ImageBoxes], weights: &[u32]| {
            Matched::new(images, 0..1, &[0.4, 0.5]).best_score(0, 0.5, weights)
        };
        assert_eq!(best(&images, &[1, 1]), Some(0.6));
        assert_eq!(best(&images, &[1, 0]), Some(0.9));
        assert_eq!(best(&[&image(&[(0.9, wrong)], &[truth])], &[1]), None);
    }

    #[test]
    fn froc_reads_the_sensitivity_at_each_rate() {
        let truth = rect(0.0, 0.0, 10.0, 10.0);
        let wrong = rect(50.0, 50.0, 60.0, 60.0);
        let images = [
            image(&[(0.9, truth), (0.8, wrong), (0.5, truth)], &[truth]),
            image(&[(0.7, truth)], &[truth]),
        ];
        let images: Vec<&ImageBoxes> = images.iter().collect();
        // before the false positive: 1 of 2 found; half a false positive an image: both
        let froc = |images: &[&ImageBoxes]| {
            Matched::new(images, 0..1, &[]).froc(0, &vec![1; images.len()], &FROC_RATES)
        };
        assert_eq!(froc(&images).unwrap(), [0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(froc(&[]), None);
    }
}
