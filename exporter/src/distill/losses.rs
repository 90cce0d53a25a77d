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
use graph::Graph;
use tch::{Device, Kind, Reduction, Tensor, nn};
use trainer::finetune::Targets;

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
        let pooled = nn::linear(&root / "pooled", from, to, nn::LinearConfig::default());
        let local = STAGES
            .iter()
            .map(|stage| {
                let [from, to] = widths(stage)?;
                Ok(nn::conv2d(&root / *stage, from, to, 1, nn::ConvConfig::default()))
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
    let soft = |wanted: &Tensor, own: &Tensor| {
        own.binary_cross_entropy_with_logits::<Tensor>(
            &wanted.sigmoid(),
            None,
            None,
            Reduction::Mean,
        )
    };
    for head in ["classification", "segmentation"] {
        if let (Some(wanted), Some(own)) = (teacher.get(head), student.get(head)) {
            sum += soft(wanted, own);
        }
    }
    for level in 3..=5 {
        let name = format!("detection.p{level}");
        let (Some(wanted), Some(own)) = (teacher.get(&name), student.get(&name)) else { continue };
        // Channels: scores, four distances, centre-ness (graph::heads).
        let classes = wanted.size()[1] - 5;
        let part = |x: &Tensor, at, n| x.narrow(1, at, n);
        sum += soft(&part(wanted, 0, classes), &part(own, 0, classes));
        sum += soft(&part(wanted, classes + 4, 1), &part(own, classes + 4, 1));
        // Distances matter where the teacher sees something.
        let (weight, _) = part(wanted, 0, classes).sigmoid().max_dim(1, true);
        let off = part(wanted, classes, 4) - part(own, classes, 4);
        let total = weight.sum(Kind::Float).clamp_min(1e-3) * 4.0;
        sum += (off.abs() * &weight).sum(Kind::Float) / total;
    }
    sum
}

fn channels(graph: &Graph, output: &str) -> Result<i64> {
    let found = graph.outputs.iter().find(|known| known.name == output);
    let node = &found.with_context(|| format!("the network has no output `{output}`"))?.node;
    Ok(graph.shapes()?[node.as_str()][0] as i64)
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
