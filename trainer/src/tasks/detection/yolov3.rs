//! What a YOLOv3 head learns (Redmon 2018), as MGCA's downstream code weighs it; the inverse of
//! `engine::decode::anchored_boxes`.
//!
//! On every level the anchor most like a box, in the cell of its middle, learns it. Other anchors there that are like it too
//! learn nothing; all else learns that nothing is there.

use super::anchor_free::{Boxes, Grid};
use graph::{ANCHOR_INPUT, ANCHORS};
use tch::{Device, Kind, Reduction, Tensor};

/// Anchors this much like a box are not punished for seeing it.
const IGNORE: f64 = 0.5;
const PLACE_WEIGHT: f64 = 2.5;
const NOTHING_WEIGHT: f64 = 0.5;

/// Loss of a batch, `[]`, of the outputs `[B, 3·(5 + classes), rows, columns]` of every level.
pub(crate) fn loss(levels: &[(Grid, &Tensor)], truth: &[Boxes], classes: usize) -> Tensor {
    let each = levels.iter().map(|(grid, output)| level_loss(*grid, output, truth, classes));
    each.reduce(|a, b| a + b).expect("a detector has levels")
}

fn level_loss(grid: Grid, output: &Tensor, truth: &[Boxes], classes: usize) -> Tensor {
    let (b, a) = (truth.len() as i64, ANCHORS[0].len() as i64);
    let (rows, columns) = (grid.rows as i64, grid.columns as i64);
    let x = output.view([b, a, classes as i64 + 5, rows, columns]);
    let channel = |at: i64| x.select(2, at);
    let wanted = Wanted::of(grid, truth, classes, output.device());
    let cross = |logits: &Tensor, truth: &Tensor, weight: &Tensor| {
        let each =
            logits.binary_cross_entropy_with_logits::<Tensor>(truth, None, None, Reduction::None);
        (each * weight).sum(Kind::Float)
    };
    let count = wanted.object.sum(Kind::Float).clamp_min(1.0);
    let place = |at: i64| wanted.place.select(2, at);
    let middle = (0..2).map(|at| cross(&channel(at), &place(at), &wanted.object));
    let sides =
        (2..4).map(|at| ((channel(at) - place(at)).square() * &wanted.object).sum(Kind::Float));
    let places = middle.chain(sides).reduce(|a, b| a + b).expect("four of them") / &count;
    // Means over the cells that are asked, as the published code has it.
    let seen = cross(&channel(4), &wanted.object, &wanted.object) / &count;
    let unseen = cross(&channel(4), &wanted.object, &wanted.nothing)
        / wanted.nothing.sum(Kind::Float).clamp_min(1.0);
    let scores = x.narrow(2, 5, classes as i64);
    let named =
        cross(&scores, &wanted.classes, &wanted.object.unsqueeze(2)) / (&count * classes as f64);
    places * PLACE_WEIGHT + seen + unseen * NOTHING_WEIGHT + named
}

/// Targets of a level.
struct Wanted {
    /// `[B, A, h, w]`
    object: Tensor,
    /// `[B, A, h, w]`: neither an object nor almost one.
    nothing: Tensor,
    /// `[B, A, 4, h, w]`: middle in the cell, logarithms of the sides in anchors.
    place: Tensor,
    /// `[B, A, classes, h, w]`
    classes: Tensor,
}

impl Wanted {
    fn of(grid: Grid, truth: &[Boxes], classes: usize, device: Device) -> Self {
        let anchors =
            ANCHORS[grid.level - 3].map(|sides| sides.map(|x| f64::from(x / ANCHOR_INPUT)));
        let (a, plane) = (anchors.len(), grid.rows * grid.columns);
        let mut object = vec![0.0f32; truth.len() * a * plane];
        let mut nothing = vec![1.0f32; truth.len() * a * plane];
        let mut place = vec![0.5f32; truth.len() * a * 4 * plane];
        let mut named = vec![0.0f32; truth.len() * a * classes * plane];
        for (image, boxes) in truth.iter().enumerate() {
            for &(label, [x1, y1, x2, y2]) in boxes {
                let (w, h) = (x2 - x1, y2 - y1);
                let cx = (x1 + x2) / 2.0 * grid.columns as f64;
                let cy = (y1 + y2) / 2.0 * grid.rows as f64;
                let column = (cx as usize).min(grid.columns - 1);
                let row = (cy as usize).min(grid.rows - 1);
                let at = row * grid.columns + column;
                let alike = anchors.map(|[aw, ah]| {
                    let both = aw.min(w) * ah.min(h);
                    both / (aw * ah + w * h - both)
                });
                let best = (0..a).max_by(|&i, &j| alike[i].total_cmp(&alike[j])).expect("anchors");
                for other in (0..a).filter(|&other| other == best || alike[other] > IGNORE) {
                    nothing[(image * a + other) * plane + at] = 0.0;
                }
                let own = image * a + best;
                object[own * plane + at] = 1.0;
                let [aw, ah] = anchors[best];
                let values = [cx - column as f64, cy - row as f64, (w / aw).ln(), (h / ah).ln()];
                for (channel, value) in values.into_iter().enumerate() {
                    place[(own * 4 + channel) * plane + at] = value as f32;
                }
                named[(own * classes + label) * plane + at] = 1.0;
            }
        }
        let (b, a) = (truth.len() as i64, a as i64);
        let (rows, columns) = (grid.rows as i64, grid.columns as i64);
        let flat = |values: &[f32]| {
            Tensor::from_slice(values).view([b, a, rows, columns]).to_device(device)
        };
        let deep = |values: &[f32]| {
            Tensor::from_slice(values).view([b, a, -1, rows, columns]).to_device(device)
        };
        Self {
            object: flat(&object),
            nothing: flat(&nothing),
            place: deep(&place),
            classes: deep(&named),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::detection::loss::boxes_found;
    use engine::decode::Detector;

    const GRIDS: [Grid; 3] = [
        Grid { level: 3, rows: 28, columns: 28 },
        Grid { level: 4, rows: 14, columns: 14 },
        Grid { level: 5, rows: 7, columns: 7 },
    ];

    /// What a network says that has learnt these boxes perfectly.
    fn perfect(boxes: &Boxes, classes: usize) -> Vec<Tensor> {
        let image = |grid: &Grid| {
            let wanted = Wanted::of(*grid, std::slice::from_ref(boxes), classes, Device::Cpu);
            let logit = |x: Tensor| x.clamp(1e-4, 1.0 - 1e-4).logit(None);
            let place = Tensor::cat(
                &[logit(wanted.place.narrow(2, 0, 2)), wanted.place.narrow(2, 2, 2)],
                2,
            );
            let object = logit(wanted.object).unsqueeze(2);
            let parts = [place, object, logit(wanted.classes)];
            Tensor::cat(&parts, 2).flatten(1, 2)
        };
        GRIDS.iter().map(image).collect()
    }

    #[test]
    fn what_the_engine_decodes_is_what_was_to_be_learnt() {
        let boxes: Boxes = vec![(0, [0.05, 0.1, 0.45, 0.9]), (1, [0.6, 0.2, 0.72, 0.3])];
        let levels: Vec<_> = (3..).zip(perfect(&boxes, 2)).collect();
        let names = ["a".to_owned(), "b".to_owned()];
        let placed = graph::Preprocess::PRIOR.place([1000, 1000]);
        let found = boxes_found(Detector::Yolov3, &levels, 0, &names, 0.5, &placed).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        for (label, corners) in boxes {
            let [x1, y1, x2, y2] = corners.map(|share| 1000.0 * share as f32);
            let own = found.iter().find(|d| d.name == names[label]).unwrap();
            let theirs = [own.x, own.y, own.x + own.width, own.y + own.height];
            assert!(
                theirs.iter().zip([x1, y1, x2, y2]).all(|(a, b)| (a - b).abs() < 1.0),
                "{own:?}"
            );
        }
    }

    #[test]
    fn a_perfect_answer_costs_less_than_a_missing_one_and_no_box_is_no_division() {
        let boxes: Boxes = vec![(0, [0.05, 0.1, 0.45, 0.9])];
        let cost = |outputs: &[Tensor], truth: &Boxes| {
            let levels: Vec<_> = GRIDS.iter().copied().zip(outputs).collect();
            loss(&levels, std::slice::from_ref(truth), 1).double_value(&[])
        };
        let (right, missing) = (perfect(&boxes, 1), perfect(&vec![], 1));
        assert!(cost(&right, &boxes) + 1.0 < cost(&missing, &boxes));
        assert!((0.0..0.1).contains(&cost(&missing, &vec![])));
    }
}
