//! Boxes from a YOLOv3 head (Redmon 2018).

use super::boxes::{Detection, Place};
use super::{Cells, sigmoid};
use graph::{ANCHOR_INPUT, ANCHORS};

/// Boxes of one level (3, 4 or 5) that score at least `threshold`, in pixels of a `height x width` network input.
///
/// Channels: for each anchor `x, y, w, h, object`, then the classes. The score is `σ(object) · σ(class)`; the centre lies
/// `σ(x), σ(y)` into its cell, the sides are `exp(w), exp(h)` times the anchor's.
///
/// # Panics
/// If `cells.data` is not `[anchors · (labels + 5), rows, columns]`, or there is no such level.
pub fn anchored_boxes(
    cells: Cells<'_>,
    level: usize,
    labels: &[String],
    threshold: f32,
    [height, width]: [usize; 2],
) -> Vec<Detection> {
    let Cells { data, rows, columns } = cells;
    let (plane, channels) = (rows * columns, labels.len() + 5);
    let anchors = ANCHORS[level - 3];
    assert_eq!(data.len(), anchors.len() * channels * plane, "{rows}x{columns} cells");
    let stride = [height as f32 / rows as f32, width as f32 / columns as f32];
    let mut found = Vec::new();
    for (number, [wide, high]) in anchors.into_iter().enumerate() {
        let sides = [wide * width as f32 / ANCHOR_INPUT, high * height as f32 / ANCHOR_INPUT];
        for at in 0..plane {
            let channel = |c: usize| data[(number * channels + c) * plane + at];
            let object = sigmoid(channel(4));
            for (class, name) in labels.iter().enumerate() {
                let score = object * sigmoid(channel(5 + class));
                if score.is_nan() || score < threshold {
                    continue;
                }
                let x = ((at % columns) as f32 + sigmoid(channel(0))) * stride[1];
                let y = ((at / columns) as f32 + sigmoid(channel(1))) * stride[0];
                let (w, h) = (libm::expf(channel(2)) * sides[0], libm::expf(channel(3)) * sides[1]);
                let place = Place {
                    left: x - w / 2.0,
                    top: y - h / 2.0,
                    right: x + w / 2.0,
                    bottom: y + h / 2.0,
                };
                found.push(place.detection(name, score, [height, width]));
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
        let Detection { x, y, width, height, score, .. } = found[0];
        // Centre (16, 48), 16 wide, 8 high.
        let expected = [8.0, 44.0, 16.0, 8.0];
        assert!([x, y, width, height].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4));
        assert!(score > 0.999);
    }
}
