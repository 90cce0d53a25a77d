//! What the anchor-free detector learns (FCOS, Tian 2019), the inverse of `engine::decode::boxes`.
//!
//! A cell near the middle of a box learns its class, its four edges, and how central it is. The coarser the
//! level, the larger its boxes: a cell should see all of what it names.

use tch::{Device, Kind, Reduction, Tensor};

/// Label and corners `x1, y1, x2, y2` in shares of the image's sides.
pub(crate) type Boxes = Vec<(usize, [f64; 4])>;

/// Cells of one level: rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) level: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// What a cell must say.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    label: usize,
    /// Distances left, top, right, bottom in strides.
    edges: [f64; 4],
}

/// Cells up to this many strides from the middle of a box learn it.
const RADIUS: f64 = 1.5;
/// Largest distance to an edge a level learns, in strides; each level begins where the finer one ends.
const REACH: f64 = 4.0;
/// Focal loss (Lin 2017).
const ALPHA: f64 = 0.25;
/// The share of cells with something, as the last layer's bias first says it.
pub(crate) const FIRST_SCORE: f64 = 0.02;

/// Loss of a batch, `[]`: class, edges and centre-ness of the outputs `[B, classes + 5, rows, columns]` of every level.
pub(crate) fn loss(levels: &[(Grid, &Tensor)], truth: &[Boxes], classes: usize) -> Tensor {
    let device = levels[0].1.device();
    let flat = |at: i64, count: i64| {
        let parts: Vec<Tensor> =
            levels.iter().map(|(_, x)| x.narrow(1, at, count).flatten(2, 3)).collect();
        Tensor::cat(&parts, 2) // [B, count, cells]
    };
    let grids: Vec<Grid> = levels.iter().map(|(grid, _)| *grid).collect();
    let wanted = Wanted::of(&grids, truth, classes, device);
    let n = classes as i64;
    let count = wanted.positive.sum(Kind::Float).clamp_min(1.0);

    let logits = flat(0, n);
    let each = logits.binary_cross_entropy_with_logits::<Tensor>(
        &wanted.scores,
        None,
        None,
        Reduction::None,
    );
    let wrong = (logits.sigmoid() - &wanted.scores).abs();
    let focus = &wanted.scores * (2.0 * ALPHA - 1.0) + (1.0 - ALPHA);
    let scores = (each * wrong.square() * focus).sum(Kind::Float) / &count;
    let overlap = giou(&flat(n, 4).clamp_max(8.0).exp(), &wanted.edges);
    let weight = &wanted.centre * &wanted.positive;
    let edges =
        ((-overlap + 1.0) * &weight).sum(Kind::Float) / weight.sum(Kind::Float).clamp_min(1e-6);
    let centre = flat(n + 4, 1).binary_cross_entropy_with_logits::<Tensor>(
        &wanted.centre,
        None,
        None,
        Reduction::None,
    );
    scores + edges + (centre * &wanted.positive).sum(Kind::Float) / count
}

/// Targets of all cells of a batch.
struct Wanted {
    /// `[B, classes, cells]`
    scores: Tensor,
    /// `[B, 4, cells]`, 1 where there is nothing.
    edges: Tensor,
    /// `[B, 1, cells]`
    centre: Tensor,
    /// `[B, 1, cells]`
    positive: Tensor,
}

impl Wanted {
    fn of(grids: &[Grid], truth: &[Boxes], classes: usize, device: Device) -> Self {
        let cells: usize = grids.iter().map(|grid| grid.rows * grid.columns).sum();
        let mut scores = vec![0.0f32; truth.len() * classes * cells];
        let mut edges = vec![1.0f32; truth.len() * 4 * cells];
        let mut centre = vec![0.0f32; truth.len() * cells];
        let mut positive = vec![0.0f32; truth.len() * cells];
        for (image, boxes) in truth.iter().enumerate() {
            let all = grids.iter().flat_map(|grid| assign(*grid, boxes));
            for (at, cell) in all.enumerate().filter_map(|(at, cell)| Some((at, cell?))) {
                scores[(image * classes + cell.label) * cells + at] = 1.0;
                for (side, edge) in cell.edges.iter().enumerate() {
                    edges[(image * 4 + side) * cells + at] = *edge as f32;
                }
                centre[image * cells + at] = cell.centred() as f32;
                positive[image * cells + at] = 1.0;
            }
        }
        let tensor = |values: &[f32], channels: usize| {
            let shape = [truth.len() as i64, channels as i64, cells as i64];
            Tensor::from_slice(values).view(shape).to_device(device)
        };
        Self {
            scores: tensor(&scores, classes),
            edges: tensor(&edges, 4),
            centre: tensor(&centre, 1),
            positive: tensor(&positive, 1),
        }
    }
}

/// What each cell of a level must say, row by row; of several boxes the smallest.
fn assign(grid: Grid, boxes: &Boxes) -> Vec<Option<Cell>> {
    let (rows, columns) = (grid.rows as f64, grid.columns as f64);
    let [least, most] = match grid.level {
        3 => [0.0, REACH],
        4 => [REACH / 2.0, REACH],
        _ => [REACH / 2.0, f64::INFINITY],
    };
    let mut sorted: Vec<_> = boxes
        .iter()
        .map(|&(label, [x1, y1, x2, y2])| {
            (label, [x1 * columns, y1 * rows, x2 * columns, y2 * rows])
        })
        .collect();
    let area = |b: &[f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    sorted.sort_by(|a, b| area(&a.1).total_cmp(&area(&b.1)));
    let places = (0..grid.rows * grid.columns)
        .map(|at| ((at % grid.columns) as f64 + 0.5, (at / grid.columns) as f64 + 0.5));
    let say = |(x, y): (f64, f64)| {
        sorted.iter().find_map(|&(label, [x1, y1, x2, y2])| {
            let edges = [x - x1, y - y1, x2 - x, y2 - y];
            let near =
                (x - (x1 + x2) / 2.0).abs() <= RADIUS && (y - (y1 + y2) / 2.0).abs() <= RADIUS;
            let inside = edges.iter().all(|&edge| edge > 0.0);
            let far = edges.iter().copied().fold(0.0, f64::max);
            (near && inside && far >= least && far < most).then_some(Cell { label, edges })
        })
    };
    places.map(say).collect()
}

impl Cell {
    /// 1 in the middle of the box, 0 at its edge.
    fn centred(&self) -> f64 {
        let [l, t, r, b] = self.edges;
        (l.min(r) / l.max(r) * (t.min(b) / t.max(b))).sqrt()
    }
}

/// Generalised intersection over union (Rezatofighi 2019) of boxes around one place, both `[B, 4, cells]` distances.
fn giou(ours: &Tensor, theirs: &Tensor) -> Tensor {
    let side = |x: &Tensor, at: i64| x.narrow(1, at, 1);
    let span = |pick: &dyn Fn(i64) -> Tensor, at: i64| pick(at) + pick(at + 2);
    let area = |pick: &dyn Fn(i64) -> Tensor| span(pick, 0) * span(pick, 1);
    let both = area(&|at| side(ours, at).minimum(&side(theirs, at)));
    let hull = area(&|at| side(ours, at).maximum(&side(theirs, at)));
    let union = area(&|at| side(ours, at)) + area(&|at| side(theirs, at)) - &both;
    &both / &union - (&hull - &union) / &hull
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::detection::loss::boxes_found;
    use engine::decode::Detector;
    use graph::{Fit, Preprocess};

    const GRIDS: [Grid; 3] = [
        Grid { level: 3, rows: 20, columns: 28 },
        Grid { level: 4, rows: 10, columns: 14 },
        Grid { level: 5, rows: 5, columns: 7 },
    ];

    /// Outputs of a network that has learnt these boxes perfectly.
    fn perfect(boxes: &Boxes, classes: usize) -> Vec<Tensor> {
        let image = |grid: &Grid| {
            let plane = grid.rows * grid.columns;
            let mut data = vec![-9.0f32; (classes + 5) * plane];
            for (at, cell) in assign(*grid, boxes).into_iter().enumerate() {
                let Some(cell) = cell else { continue };
                data[cell.label * plane + at] = 9.0;
                for (side, edge) in cell.edges.iter().enumerate() {
                    data[(classes + side) * plane + at] = edge.ln() as f32;
                }
                let centred = cell.centred().clamp(1e-4, 1.0 - 1e-4);
                data[(classes + 4) * plane + at] = (centred / (1.0 - centred)).ln() as f32;
            }
            let shape = [1, classes as i64 + 5, grid.rows as i64, grid.columns as i64];
            Tensor::from_slice(&data).view(shape)
        };
        GRIDS.iter().map(image).collect()
    }

    #[test]
    fn what_the_engine_decodes_is_what_was_to_be_learnt() {
        // A large, a middling and a small box of a picture in a 160x224 input.
        let boxes: Boxes = vec![
            (0, [0.05, 0.1, 0.45, 0.9]),
            (1, [0.55, 0.2, 0.8, 0.5]),
            (1, [0.7, 0.7, 0.8, 0.85]),
        ];
        for (fit, source) in
            [(Fit::Stretch, [1000, 1000]), (Fit::Pad, [1000, 900]), (Fit::Pad, [500, 900])]
        {
            let placed = Preprocess { height: 160, fit, ..Preprocess::PRIOR }.place(source);
            let in_input = boxes.iter().map(|&(label, b)| (label, placed.into_input(b))).collect();
            let levels: Vec<_> = (3..).zip(perfect(&in_input, 2)).collect();
            let names = ["a".to_owned(), "b".to_owned()];
            let found =
                boxes_found(Detector::AnchorFree, &levels, 0, &names, 0.3, &placed).unwrap();
            assert_eq!(found.len(), 3, "{found:?}");
            for &(label, [x1, y1, x2, y2]) in &boxes {
                let near = |a: f32, share: f64, axis: usize| {
                    (f64::from(a) - share * source[axis] as f64).abs() < 1.0
                };
                let same = found.iter().filter(|d| {
                    d.name == names[label]
                        && near(d.x, x1, 1)
                        && near(d.y, y1, 0)
                        && near(d.x + d.width, x2, 1)
                        && near(d.y + d.height, y2, 0)
                });
                assert_eq!(same.count(), 1, "{fit} {found:?}");
            }
        }
    }

    #[test]
    fn a_perfect_answer_costs_less_than_a_wrong_or_a_missing_one() {
        let boxes: Boxes = vec![(0, [0.05, 0.1, 0.45, 0.9])];
        let shifted: Boxes = vec![(0, [0.15, 0.1, 0.55, 0.9])];
        let cost = |outputs: &[Tensor]| {
            let levels: Vec<_> = GRIDS.iter().copied().zip(outputs).collect();
            loss(&levels, std::slice::from_ref(&boxes), 1).double_value(&[])
        };
        let (right, wrong, none) =
            (cost(&perfect(&boxes, 1)), cost(&perfect(&shifted, 1)), cost(&perfect(&vec![], 1)));
        assert!(
            right.is_finite() && right + 0.1 < wrong && right + 0.1 < none,
            "{right} {wrong} {none}"
        );
    }

    #[test]
    fn an_image_without_boxes_has_a_finite_loss() {
        let outputs = perfect(&vec![], 1);
        let levels: Vec<_> = GRIDS.iter().copied().zip(&outputs).collect();
        let cost = loss(&levels, &[vec![]], 1).double_value(&[]);
        assert!((0.0..0.01).contains(&cost), "{cost}");
    }

    #[test]
    fn generalised_overlap_is_worked_by_hand() {
        let around = |sides: [f32; 4]| Tensor::from_slice(&sides).view([1, 4, 1]);
        let value = |a, b| giou(&around(a), &around(b)).double_value(&[0, 0, 0]);
        assert!((value([1.0; 4], [1.0; 4]) - 1.0).abs() < 1e-6);
        // 4x2 and 2x4 crossing: 4 of 12, in a hull of 16.
        let crossing = value([2.0, 1.0, 2.0, 1.0], [1.0, 2.0, 1.0, 2.0]);
        assert!((crossing - (4.0 / 12.0 - 4.0 / 16.0)).abs() < 1e-6);
    }
}
