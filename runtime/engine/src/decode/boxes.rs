//! Boxes from an anchor-free head in the manner of FCOS (Tian 2019).

use super::sigmoid;
use std::cmp::Ordering;

/// One level of the head: channels are `classes` scores, then the distances to the left, top, right
/// and bottom edges (logarithms, in units of the stride), then centre-ness.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a> {
    /// `[classes + 5, rows, columns]`
    pub data: &'a [f32],
    pub rows: usize,
    pub columns: usize,
}

/// A box with its top left corner; pixels of whatever image the caller scales to.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Detection {
    pub name: String,
    /// In `[0, 1]`.
    pub score: f32,
    pub x: f32,
    pub y: f32,
    pub width: f32,
    pub height: f32,
}

impl Detection {
    /// Area of the intersection over that of the union.
    pub fn iou(&self, other: &Self) -> f32 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        let both = width * height;
        both / (self.width * self.height + other.width * other.height - both)
    }
}

/// Boxes of one level that score at least `threshold`, in pixels of a `height x width` network input.
///
/// The score is `√(σ(class) · σ(centre-ness))`; distances are `exp(d) · stride` from the cell's centre.
///
/// # Panics
/// If `cells.data` is not `[labels + 5, rows, columns]`.
pub fn boxes(
    cells: Cells<'_>,
    labels: &[String],
    threshold: f32,
    [height, width]: [usize; 2],
) -> Vec<Detection> {
    let Cells { data, rows, columns } = cells;
    let plane = rows * columns;
    assert_eq!(data.len(), (labels.len() + 5) * plane, "{rows}x{columns} cells");
    let (stride_y, stride_x) = (height as f32 / rows as f32, width as f32 / columns as f32);
    let mut found = Vec::new();
    for at in 0..plane {
        let channel = |c: usize| data[c * plane + at];
        let centred = sigmoid(channel(labels.len() + 4));
        for (class, name) in labels.iter().enumerate() {
            let score = libm::sqrtf(sigmoid(channel(class)) * centred);
            if score.is_nan() || score < threshold {
                continue;
            }
            let x = ((at % columns) as f32 + 0.5) * stride_x;
            let y = ((at / columns) as f32 + 0.5) * stride_y;
            let distance = |side: usize| libm::expf(channel(labels.len() + side));
            let place = Place {
                left: x - distance(0) * stride_x,
                top: y - distance(1) * stride_y,
                right: x + distance(2) * stride_x,
                bottom: y + distance(3) * stride_y,
            };
            found.push(place.detection(name, score, [height, width]));
        }
    }
    found
}

/// A box of one class, before it is cut to the image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) class: usize,
    pub(crate) score: f32,
    pub(crate) place: Place,
}

impl Candidate {
    pub(crate) fn named(&self, name: &str, input: [usize; 2]) -> Detection {
        self.place.detection(name, self.score, input)
    }
}

/// Where a box is, before it is cut to the image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) left: f32,
    pub(crate) top: f32,
    pub(crate) right: f32,
    pub(crate) bottom: f32,
}

impl Place {
    /// Of a box with these `[x, y]` and `[width, height]`.
    pub(super) fn around([x, y]: [f32; 2], [w, h]: [f32; 2]) -> Self {
        Self { left: x - w / 2.0, top: y - h / 2.0, right: x + w / 2.0, bottom: y + h / 2.0 }
    }

    /// Whether all of it is known, and some of it lies within the image.
    pub(crate) fn is_seen(&self, [height, width]: [usize; 2]) -> bool {
        let Self { left, top, right, bottom } = *self;
        let within = |first: f32, last: f32, side: usize| {
            let (first, last) = (first.max(0.0), last.min(side as f32));
            last > first
        };
        let known = [left, top, right, bottom].iter().all(|x| !x.is_nan());
        known && within(left, right, width) && within(top, bottom, height)
    }

    pub(super) fn detection(
        &self,
        name: &str,
        score: f32,
        [height, width]: [usize; 2],
    ) -> Detection {
        let (left, top) = (self.left.max(0.0), self.top.max(0.0));
        let (right, bottom) = (self.right.min(width as f32), self.bottom.min(height as f32));
        let name = name.to_owned();
        Detection { name, score, x: left, y: top, width: right - left, height: bottom - top }
    }
}

/// Greedy non-maximum suppression within each class: best first, at most `keep` boxes, none that
/// overlaps a better one of its class by more than `overlap` (intersection over union).
pub fn suppress(mut found: Vec<Detection>, overlap: f32, keep: usize) -> Vec<Detection> {
    strongest(&mut found, |detection| detection.score);
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in found {
        let covered = kept
            .iter()
            .any(|better| better.name == candidate.name && better.iou(&candidate) > overlap);
        if !covered {
            kept.push(candidate);
        }
        if kept.len() == keep {
            break;
        }
    }
    kept
}

/// Best first, and no more than are looked at: beyond this, quadratic work would take longer than the network.
pub(crate) fn strongest<T>(found: &mut Vec<T>, score: impl Fn(&T) -> f32) {
    // Stable, and total: equal scores stay in the order of the cells.
    found.sort_by(|a, b| score(b).partial_cmp(&score(a)).unwrap_or(Ordering::Equal));
    found.truncate(CANDIDATES);
}

const CANDIDATES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(name: &str, score: f32, x: f32, width: f32) -> Detection {
        Detection { name: name.into(), score, x, y: 0.0, width, height: 10.0 }
    }

    #[test]
    fn a_cell_becomes_the_box_around_its_centre() {
        // 1 class, 2x2 cells over 64x64: stride 32; cell (1, 0) is sure, one stride to each side.
        let mut data = vec![-20.0; 6 * 4];
        data[2] = 20.0; // class
        (1..5).for_each(|side| data[side * 4 + 2] = 0.0); // e^0 = one stride
        data[5 * 4 + 2] = 20.0; // centre-ness
        let cells = Cells { data: &data, rows: 2, columns: 2 };
        let found = boxes(cells, &["opacity".into()], 0.5, [64, 64]);
        assert_eq!(found.len(), 1);
        let Detection { x, y, width, height, score, .. } = found[0];
        // Centre (16, 48); the left and bottom sides stop at the image.
        assert_eq!((x, y, width, height), (0.0, 16.0, 48.0, 48.0));
        assert!(score > 0.999);
    }

    #[test]
    fn suppression_keeps_the_best_of_each_class() {
        let found = vec![
            detection("a", 0.6, 1.0, 10.0),
            detection("a", 0.9, 0.0, 10.0),
            detection("b", 0.5, 0.0, 10.0),
            detection("a", 0.4, 50.0, 10.0),
        ];
        let kept = suppress(found, 0.5, 10);
        let names: Vec<_> = kept.iter().map(|d| (d.name.as_str(), d.score)).collect();
        assert_eq!(names, [("a", 0.9), ("b", 0.5), ("a", 0.4)]);
    }

    #[test]
    fn no_more_boxes_than_asked_for() {
        let found = (0..50).map(|i| detection("a", 0.5, 100.0 * i as f32, 10.0)).collect();
        assert_eq!(suppress(found, 0.5, 7).len(), 7);
    }

    #[test]
    fn what_is_not_a_number_is_no_detection() {
        let data = vec![f32::NAN; 6];
        let cells = Cells { data: &data, rows: 1, columns: 1 };
        assert!(boxes(cells, &["a".into()], 0.0, [32, 32]).is_empty());
    }
}
