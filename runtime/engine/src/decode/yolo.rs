//! Boxes from YOLO heads of any version: maps of cells, or rows that the network has decoded itself.

use super::boxes::{Candidate, Place};
use super::{Cells, sigmoid, softmax};
use bundle::Yolo;
use graph::{ANCHOR_INPUT, ANCHORS};

/// One level's cells and the anchors they have, width and height in pixels of the network's input; none of version 8.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map<'a> {
    pub(crate) cells: Cells<'a>,
    pub(crate) anchors: &'a [[f32; 2]],
}

/// Boxes of one level that score at least `least`, in pixels of a `height x width` network input.
///
/// | version | centre in its cell | sides | score |
/// |---|---|---|---|
/// | 3 (Redmon 2018) | `σ(x), σ(y)` | `exp(w), exp(h)` times the anchor's | `σ(object) · σ(label)` |
/// | 5 (Ultralytics) | `2σ(x) − ½, 2σ(y) − ½` | `(2σ(w))², (2σ(h))²` times the anchor's | `σ(object) · σ(label)` |
/// | 8 (Ultralytics) | ½, ½ | to each side, the mean of a softmax over its bins, in cells | `σ(label)` |
///
/// # Panics
/// If the map does not have the version's channels.
pub(crate) fn map_boxes(
    version: Yolo,
    map: Map<'_>,
    labels: usize,
    least: f32,
    input: [usize; 2],
) -> Vec<Candidate> {
    match version {
        Yolo::V3 | Yolo::V5 => anchored(version, map, labels, least, input),
        Yolo::V8 => anchor_free(map.cells, labels, least, input),
    }
}

/// Channels of a level with so many labels; of version 8 what stands beside the bins.
pub(crate) fn channels(version: Yolo, anchors: usize, labels: usize) -> usize {
    match version {
        Yolo::V3 | Yolo::V5 => anchors * (labels + 5),
        Yolo::V8 => labels,
    }
}

/// Boxes of one level (3, 4 or 5) of a YOLOv3 head of ours, whose anchors scale with the input.
///
/// # Panics
/// If `cells.data` is not `[anchors · (labels + 5), rows, columns]`, or there is no such level.
pub fn anchored_boxes(
    cells: Cells<'_>,
    level: usize,
    labels: &[String],
    threshold: f32,
    [height, width]: [usize; 2],
) -> Vec<super::Detection> {
    let anchors = ANCHORS[level - 3].map(|[wide, high]| {
        [wide * width as f32 / ANCHOR_INPUT, high * height as f32 / ANCHOR_INPUT]
    });
    let map = Map { cells, anchors: &anchors };
    let found = anchored(Yolo::V3, map, labels.len(), threshold, [height, width]);
    found.into_iter().map(|own| own.named(&labels[own.class], [height, width])).collect()
}

fn anchored(
    version: Yolo,
    Map { cells: Cells { data, rows, columns }, anchors }: Map<'_>,
    labels: usize,
    least: f32,
    [height, width]: [usize; 2],
) -> Vec<Candidate> {
    let (plane, channels) = (rows * columns, labels + 5);
    assert_eq!(data.len(), anchors.len() * channels * plane, "{rows}x{columns} cells");
    let stride = [height as f32 / rows as f32, width as f32 / columns as f32];
    let mut found = Vec::new();
    for (number, sides) in anchors.iter().enumerate() {
        for at in 0..plane {
            let channel = |c: usize| data[(number * channels + c) * plane + at];
            let object = sigmoid(channel(4));
            for class in 0..labels {
                let score = object * sigmoid(channel(5 + class));
                if score.is_nan() || score < least {
                    continue;
                }
                let cell = [(at % columns) as f32, (at / columns) as f32];
                let t = [0, 1, 2, 3].map(channel);
                let ([x, y], [w, h]) = match version {
                    Yolo::V3 => v3(cell, t, *sides),
                    Yolo::V5 | Yolo::V8 => v5(cell, t, *sides),
                };
                let place = Place::around([x * stride[1], y * stride[0]], [w, h]);
                found.push(Candidate { class, score, place });
            }
        }
    }
    found
}

/// Centre in cells, sides in pixels.
fn v3([column, row]: [f32; 2], [x, y, w, h]: [f32; 4], sides: [f32; 2]) -> ([f32; 2], [f32; 2]) {
    let centre = [column + sigmoid(x), row + sigmoid(y)];
    (centre, [libm::expf(w) * sides[0], libm::expf(h) * sides[1]])
}

fn v5([column, row]: [f32; 2], [x, y, w, h]: [f32; 4], sides: [f32; 2]) -> ([f32; 2], [f32; 2]) {
    let centre = |cell: f32, t: f32| 2.0 * sigmoid(t) - 0.5 + cell;
    let side = |t: f32, anchor: f32| {
        let twice = 2.0 * sigmoid(t);
        twice * twice * anchor
    };
    ([centre(column, x), centre(row, y)], [side(w, sides[0]), side(h, sides[1])])
}

fn anchor_free(
    Cells { data, rows, columns }: Cells<'_>,
    labels: usize,
    least: f32,
    [height, width]: [usize; 2],
) -> Vec<Candidate> {
    let plane = rows * columns;
    let bins = (data.len() / plane - labels) / 4;
    assert!(bins > 0 && data.len() == plane * (4 * bins + labels), "{rows}x{columns} cells");
    let stride = [height as f32 / rows as f32, width as f32 / columns as f32];
    let mut found = Vec::new();
    for at in 0..plane {
        let channel = |c: usize| data[c * plane + at];
        for class in 0..labels {
            let score = sigmoid(channel(4 * bins + class));
            if score.is_nan() || score < least {
                continue;
            }
            // The expected bin of a distribution (Li 2020); one bin is the distance itself.
            let distance = |side: usize| {
                let of_side: Vec<f32> = (side * bins..(side + 1) * bins).map(channel).collect();
                if let [distance] = of_side[..] {
                    return distance;
                }
                let shares = softmax(&of_side);
                shares.iter().enumerate().fold(0.0, |sum, (bin, share)| sum + bin as f32 * share)
            };
            let [x, y] = [(at % columns) as f32 + 0.5, (at / columns) as f32 + 0.5];
            let place = Place {
                left: (x - distance(0)) * stride[1],
                top: (y - distance(1)) * stride[0],
                right: (x + distance(2)) * stride[1],
                bottom: (y + distance(3)) * stride[0],
            };
            found.push(Candidate { class, score, place });
        }
    }
    found
}

/// Boxes that the network has decoded, `values` of one after the other: centre and sides in pixels, then (versions 3 and
/// 5) the object's probability, then the labels'.
pub(crate) fn row_boxes(
    version: Yolo,
    rows: impl Iterator<Item = Vec<f32>>,
    least: f32,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    for row in rows {
        let (place, scores) = row.split_at(4);
        let (object, scores) = match version {
            Yolo::V3 | Yolo::V5 => (scores[0], &scores[1..]),
            Yolo::V8 => (1.0, scores),
        };
        for (class, score) in scores.iter().enumerate() {
            let score = object * score;
            if score >= least {
                let place = Place::around([place[0], place[1]], [place[2], place[3]]);
                found.push(Candidate { class, score, place });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_becomes_the_box_around_its_centre() {
        // 1 class, 2x2 cells over 64x64; the third anchor of level 5 in cell (1, 0) is sure.
        let mut data = vec![-20.0; 3 * 6 * 4];
        let mut set = |channel: usize, value: f32| data[(2 * 6 + channel) * 4 + 2] = value;
        (0..4).for_each(|channel| set(channel, 0.0));
        set(2, (416.0_f32 / 373.0 / 4.0).ln()); // a quarter of the width
        set(3, (416.0_f32 / 326.0 / 8.0).ln()); // an eighth of the height
        set(4, 20.0);
        set(5, 20.0);
        let cells = Cells { data: &data, rows: 2, columns: 2 };
        let found = anchored_boxes(cells, 5, &["opacity".into()], 0.5, [64, 64]);
        assert_eq!(found.len(), 1);
        let super::super::Detection { x, y, width, height, score, .. } = found[0];
        // Centre (16, 48), 16 wide, 8 high.
        let expected = [8.0, 44.0, 16.0, 8.0];
        assert!([x, y, width, height].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4));
        assert!(score > 0.999);
    }
}
