//! How far the student is from its teacher.
//!
//! ```text
//! pooled      1 − cosine of the embeddings                          what the picture is
//! local       1 − cosine at every place of C3, C4, C5               what is where
//! similarity  squared difference of the batch's cosine matrices     which pictures are alike (Tung & Mori 2019)
//! logits      cross-entropy with the teacher's probabilities        heads, on any image
//! labels      cross-entropy with the truth where it is known        heads, on labelled ones
//! ```

use super::{Outputs, STAGES};
use anyhow::{Context, Result};
use engine::decode::Detector;
use graph::Graph;
use tch::{Device, Kind, Reduction, Tensor, nn};
use trainer::{init, tasks::classification::Targets};

/// Shares of the sum. Similarities are of order 1e-3, so their factor is large, as in their paper.
const POOLED: f64 = 1.0;
const LOCAL: f64 = 1.0;
const SIMILARITY: f64 = 100.0;
const LOGITS: f64 = 1.0;
const LABELS: f64 = 0.5;

/// Linear maps from the student's channels to the teacher's; not part of what ships.
#[derive(Debug)]
pub(crate) struct Projections {
    store: nn::VarStore,
    pooled: nn::Linear,
    local: Vec<nn::Conv2D>,
}

impl Projections {
    pub(crate) fn new(teacher: &Graph, student: &Graph, device: Device) -> Result<Self> {
        let store = nn::VarStore::new(device);
        let widths = |name: &str| -> Result<[i64; 2]> {
            Ok([channels(student, name)?, channels(teacher, name)?])
        };
        let root = store.root();
        let [from, to] = widths("embedding")?;
        let pooled = init::linear(&(&root / "pooled"), from, to);
        let local = STAGES
            .iter()
            .map(|stage| {
                let [from, to] = widths(stage)?;
                Ok(init::conv2d(&(&root / *stage), [from, to], 1, true))
            })
            .collect::<Result<_>>()?;
        Ok(Self { store, pooled, local })
    }

    pub(crate) fn trained(&self) -> Vec<(String, Tensor)> {
        let mut all: Vec<_> = self.store.variables().into_iter().collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.into_iter().map(|(name, tensor)| (format!("projection.{name}"), tensor)).collect()
    }
}

/// Everything needed to compare two networks' outputs on the same images.
pub(crate) struct Losses<'a> {
    pub(crate) projections: &'a Projections,
    pub(crate) targets: &'a Targets,
}

impl Losses<'_> {
    /// The sum, `[]`; `numbers` are the training images, whose labels count where known.
    pub(crate) fn total(
        &self,
        teacher: &Outputs,
        student: &Outputs,
        numbers: Option<&[usize]>,
    ) -> Tensor {
        let pooled = student["embedding"].apply(&self.projections.pooled);
        let mut sum = apart(&teacher["embedding"], &pooled) * POOLED;
        for (stage, projection) in STAGES.iter().zip(&self.projections.local) {
            let own = student[*stage].apply(projection);
            sum += apart(&teacher[*stage], &own) * (LOCAL / STAGES.len() as f64);
        }
        sum += similarity(&teacher["c5"], &student["c5"]) * SIMILARITY;
        sum += logits(teacher, student) * LOGITS;
        if let (Some(numbers), Some(own)) = (numbers, student.get("classification")) {
            let (truth, weight) = self.targets.batch(numbers);
            let (truth, weight) = (truth.to_device(own.device()), weight.to_device(own.device()));
            let loss =
                own.binary_cross_entropy_with_logits::<Tensor>(&truth, None, None, Reduction::None);
            let known = weight.sum(Kind::Float).clamp_min(1.0);
            sum += (loss * weight).sum(Kind::Float) / known * LABELS;
        }
        sum
    }
}

/// Mean of 1 − cosine over the channels (axis 1).
fn apart(teacher: &Tensor, student: &Tensor) -> Tensor {
    let alike = Tensor::cosine_similarity(teacher, student, 1, 1e-6);
    1.0 - alike.mean(Kind::Float)
}

/// Mean squared difference of the matrices that say how alike the pictures of a batch are.
fn similarity(teacher: &Tensor, student: &Tensor) -> Tensor {
    let matrix = |x: &Tensor| {
        let rows = x.flatten(1, -1);
        let products = rows.matmul(&rows.tr());
        let norms = products.square().sum_dim_intlist(1, true, None).sqrt().clamp_min(1e-6);
        products / norms
    };
    (matrix(teacher) - matrix(student)).square().mean(Kind::Float)
}

/// Cross-entropy with the teacher's probabilities, over every head there is.
fn logits(teacher: &Outputs, student: &Outputs) -> Tensor {
    let mut sum = Tensor::zeros([], (Kind::Float, teacher["embedding"].device()));
    for head in ["classification", "segmentation"] {
        if let (Some(wanted), Some(own)) = (teacher.get(head), student.get(head)) {
            sum += soft(wanted, own).mean(Kind::Float);
        }
    }
    for kind in [Detector::AnchorFree, Detector::Yolov3] {
        for level in kind.levels() {
            let name = kind.output(level);
            if let (Some(wanted), Some(own)) = (teacher.get(&name), student.get(&name)) {
                sum += match kind {
                    Detector::AnchorFree => distances(wanted, own),
                    Detector::Yolov3 => anchored(wanted, own),
                };
            }
        }
    }
    sum
}

/// Cross-entropy of each number with the teacher's probability.
fn soft(wanted: &Tensor, own: &Tensor) -> Tensor {
    own.binary_cross_entropy_with_logits::<Tensor>(&wanted.sigmoid(), None, None, Reduction::None)
}

/// Mean of `each [B, n, h, w]` (or with an axis of anchors before `n`) where the teacher sees something: `seen` is 1 wide there.
fn where_seen(each: &Tensor, seen: &Tensor, axis: i64) -> Tensor {
    let total = seen.sum(Kind::Float).clamp_min(1e-3) * each.size()[axis as usize] as f64;
    (each * seen).sum(Kind::Float) / total
}

/// A level of the anchor-free head. Channels: scores, four distances, centre-ness (`graph::heads`).
fn distances(wanted: &Tensor, own: &Tensor) -> Tensor {
    let classes = wanted.size()[1] - 5;
    let part = |x: &Tensor, at, n| x.narrow(1, at, n);
    let cross = |at, n| soft(&part(wanted, at, n), &part(own, at, n)).mean(Kind::Float);
    let (seen, _) = part(wanted, 0, classes).sigmoid().max_dim(1, true);
    let off = (part(wanted, classes, 4) - part(own, classes, 4)).abs();
    cross(0, classes) + cross(classes + 4, 1) + where_seen(&off, &seen, 1)
}

/// A level of YOLOv3. Channels of each anchor: middle, logarithms of the sides, object, classes. Place and class matter
/// where the teacher sees an object.
fn anchored(wanted: &Tensor, own: &Tensor) -> Tensor {
    let (b, _, h, w) = wanted.size4().expect("images are [B, C, H, W]");
    let split = |x: &Tensor| x.view([b, graph::ANCHORS[0].len() as i64, -1, h, w]);
    let (wanted, own) = (split(wanted), split(own));
    let classes = wanted.size()[2] - 5;
    let part = |x: &Tensor, at, n| x.narrow(2, at, n);
    let cross = |at, n| soft(&part(&wanted, at, n), &part(&own, at, n));
    let seen = part(&wanted, 4, 1).sigmoid();
    let sides = (part(&wanted, 2, 2) - part(&own, 2, 2)).abs();
    cross(4, 1).mean(Kind::Float)
        + where_seen(&Tensor::cat(&[cross(0, 2), sides], 2), &seen, 2)
        + where_seen(&cross(5, classes), &seen, 2)
}

fn channels(graph: &Graph, output: &str) -> Result<i64> {
    let node = graph.output(output);
    let node = node.with_context(|| format!("the network has no output `{output}`"))?;
    Ok(graph.shapes()?[node][0] as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_student_that_sees_the_same_is_not_apart_and_alike() {
        let x = Tensor::rand([4, 6, 3, 3], (Kind::Float, Device::Cpu)) - 0.3;
        assert!(apart(&x, &(&x * 3.0)).double_value(&[]) < 1e-6);
        assert!(similarity(&x, &(&x * 3.0)).double_value(&[]) < 1e-12);
        let other = Tensor::rand([4, 6, 3, 3], (Kind::Float, Device::Cpu)) - 0.7;
        assert!(apart(&x, &other).double_value(&[]) > 0.1);
        assert!(similarity(&x, &other).double_value(&[]) > 1e-4);
    }

    #[test]
    fn a_student_that_calls_its_teachers_boxes_costs_least_whatever_the_detector() {
        tch::manual_seed(5);
        for (kind, channels) in [(Detector::AnchorFree, 7), (Detector::Yolov3, 21)] {
            let embedding =
                || ("embedding".to_owned(), Tensor::zeros([2, 4], (Kind::Float, Device::Cpu)));
            let level = || Tensor::randn([2, channels, 4, 4], (Kind::Float, Device::Cpu)) * 3.0;
            let outputs =
                |x: &Tensor| Outputs::from([embedding(), (kind.output(4), x.shallow_clone())]);
            let (theirs, other) = (level(), level());
            let cost = |own: &Tensor| logits(&outputs(&theirs), &outputs(own)).double_value(&[]);
            let nothing = logits(&Outputs::from([embedding()]), &Outputs::from([embedding()]));
            assert_eq!(nothing.double_value(&[]), 0.0);
            // Cross-entropy with itself is its entropy: no less is possible, and a step away costs more.
            let (same, near, far) = (cost(&theirs), cost(&(&theirs + 0.3)), cost(&other));
            assert!(0.0 < same && same < near && near < far, "{kind:?}: {same} {near} {far}");
            // Every channel pulls.
            let own = other.detach().set_requires_grad(true);
            logits(&outputs(&theirs), &outputs(&own)).backward();
            let pull =
                own.grad().abs().sum_dim_intlist([0_i64, 2, 3].as_slice(), false, Kind::Float);
            assert!(pull.min().double_value(&[]) > 0.0, "{kind:?}");
        }
    }

    #[test]
    fn similarity_of_two_pictures_is_what_one_computes_by_hand() {
        // Rows (1, 0) and (1, 1): products [[1, 1], [1, 2]], rows over √2 and √5.
        let teacher = Tensor::from_slice(&[1.0_f32, 0.0, 1.0, 1.0]).view([2, 2]);
        // Rows (1, 0) and (0, 1): the identity.
        let student = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 1.0]).view([2, 2]);
        let (a, b) = (0.5_f64.sqrt(), 0.2_f64.sqrt());
        let expected = ((a - 1.0).powi(2) + a * a + b * b + (2.0 * b - 1.0).powi(2)) / 4.0;
        assert!((similarity(&teacher, &student).double_value(&[]) - expected).abs() < 1e-6);
    }
}
