//! Boxes from heads with scores and boxes in outputs of their own: FCOS, SSD, RetinaNet, as torchvision defines them.

use super::boxes::{Candidate, Place};
use super::{sigmoid, softmax};
use bundle::{Dense, DenseForm};

/// One kind of value, such as the scores: `per_box` numbers for each box.
#[derive(Clone, Debug)]
pub(crate) struct Values<'a> {
    /// One tensor of all levels, or one a level.
    pub(crate) tensors: Vec<&'a [f32]>,
    /// `[boxes, per_box]`; otherwise each level's `[boxes of a cell · per_box, rows, columns]`.
    pub(crate) in_rows: bool,
    pub(crate) per_box: usize,
}

/// What the outputs of a head hold.
pub(crate) struct Head<'a> {
    pub(crate) scores: Values<'a>,
    pub(crate) boxes: Values<'a>,
    /// Of FCOS.
    pub(crate) centreness: Option<Values<'a>>,
}

/// A box of a level: the cell it belongs to, and which of the cell's it is.
#[derive(Clone, Copy)]
struct At {
    level: usize,
    /// Cells of the level.
    cells: usize,
    /// Boxes of the levels before.
    before: usize,
    boxes_per_cell: usize,
    cell: usize,
    number: usize,
}

/// `exp` of more than this would be a side of over 1000 pixels for 16: torchvision's limit.
const MOST: f32 = 4.135_166_6; // ln(1000 / 16)

/// Rows and columns of a level over an input.
pub(crate) fn grid([height, width]: [usize; 2], stride: u32) -> [usize; 2] {
    [height, width].map(|side| side.div_ceil(stride as usize))
}

/// Boxes of all levels that score at least `least`, in pixels of the network's `input`.
///
/// | form | score | box |
/// |---|---|---|
/// | FCOS | `√(σ(label) · σ(centre-ness))` | centre of the cell, less and plus distances in strides |
/// | SSD | softmax over background and labels | of the anchor: `x·v·w + centre`, `exp(min(w·v, ln 62.5))·w` |
/// | RetinaNet | `σ(label)` | the same |
///
/// Cells are a stride apart in SSD, `⌊side / cells⌋` in the others, as in torchvision.
///
/// # Panics
/// If the values are not as many as the head's levels ask for.
pub(crate) fn dense_boxes(
    dense: &Dense,
    head: &Head<'_>,
    labels: usize,
    least: f32,
    input: [usize; 2],
) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut before = 0;
    for (level, &stride) in dense.strides.iter().enumerate() {
        let [rows, columns] = grid(input, stride);
        let boxes_per_cell = dense.boxes_per_cell(level);
        let step = match dense.form {
            DenseForm::Ssd => [stride as f32; 2],
            DenseForm::Fcos | DenseForm::Retinanet => {
                [(input[0] / rows) as f32, (input[1] / columns) as f32]
            }
        };
        let cells = rows * columns;
        for cell in 0..cells {
            let [column, row] = [(cell % columns) as f32, (cell / columns) as f32];
            let centre = [(column + dense.centre) * step[1], (row + dense.centre) * step[0]];
            for number in 0..boxes_per_cell {
                let at = At { level, cells, before, boxes_per_cell, cell, number };
                for (class, score) in scores(dense.form, head, at, labels).into_iter().enumerate() {
                    if score >= least {
                        let place = place(dense, head, at, centre);
                        found.push(Candidate { class, score, place });
                    }
                }
            }
        }
        before += cells * boxes_per_cell;
    }
    found
}

impl Values<'_> {
    fn get(&self, at: At, value: usize) -> f32 {
        let At { level, cells, before, boxes_per_cell, cell, number } = at;
        if self.in_rows {
            self.tensors[0][(before + cell * boxes_per_cell + number) * self.per_box + value]
        } else {
            self.tensors[level][(number * self.per_box + value) * cells + cell]
        }
    }
}

fn scores(form: DenseForm, head: &Head<'_>, at: At, labels: usize) -> Vec<f32> {
    match form {
        DenseForm::Ssd => {
            let all: Vec<f32> = (0..=labels).map(|class| head.scores.get(at, class)).collect();
            softmax(&all).split_off(1)
        }
        DenseForm::Retinanet => {
            (0..labels).map(|class| sigmoid(head.scores.get(at, class))).collect()
        }
        DenseForm::Fcos => {
            let centreness = head.centreness.as_ref().expect("the contract was checked");
            let centred = sigmoid(centreness.get(at, 0));
            let score = |class| libm::sqrtf(sigmoid(head.scores.get(at, class)) * centred);
            (0..labels).map(score).collect()
        }
    }
}

fn place(dense: &Dense, head: &Head<'_>, at: At, [x, y]: [f32; 2]) -> Place {
    let t = [0, 1, 2, 3].map(|value| head.boxes.get(at, value));
    if dense.form == DenseForm::Fcos {
        let stride = dense.strides[at.level] as f32;
        let distance = |t: f32| if dense.exponential { libm::expf(t) * stride } else { t * stride };
        let [left, top, right, bottom] = t.map(distance);
        return Place { left: x - left, top: y - top, right: x + right, bottom: y + bottom };
    }
    let [width, height] = dense.anchors[at.level][at.number];
    let [vx, vy, vw, vh] = dense.variances;
    let side = |t: f32, variance: f32, side: f32| libm::expf((t * variance).min(MOST)) * side;
    let centre = [t[0] * vx * width + x, t[1] * vy * height + y];
    Place::around(centre, [side(t[2], vw, width), side(t[3], vh, height)])
}
