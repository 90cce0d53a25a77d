//! Multi-label classification: masked cross-entropy, AUROC, operating points.

use super::truth::Targets;
use crate::{
    data::pictures::Pictures,
    learn::{
        Outputs,
        fit::{Batch, Judgement, Objective},
        rows,
    },
    metrics::{
        bootstrap::Patients,
        figure,
        operating::OperatingPoint,
        ranking::Ranking,
        threshold::{Confusion, Criterion},
    },
};
use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

/// Train and validation truth of a run.
pub(crate) struct Loss {
    pub(crate) train: Targets,
    pub(crate) val: Targets,
    pub(crate) val_pictures: Pictures,
    pub(crate) val_groups: Vec<String>,
    pub(crate) smoothing: f64,
    pub(crate) criterion: Criterion,
    pub(crate) batch: usize,
}

impl Objective for Loss {
    fn loss(&self, outputs: &Outputs, batch: &Batch<'_>) -> Tensor {
        let logits = &outputs["classification"];
        let (truth, weight) = self.train.batch(batch.numbers);
        let (truth, weight) = (truth.to_device(batch.device), weight.to_device(batch.device));
        let truth = &truth * (1.0 - self.smoothing) + 0.5 * self.smoothing;
        let own = masked_loss(logits, &truth, &weight);
        match &batch.mix {
            None => own,
            Some((partners, share)) => {
                let (truth, weight) =
                    (truth.index_select(0, partners), weight.index_select(0, partners));
                own * *share + masked_loss(logits, &truth, &weight) * (1.0 - share)
            }
        }
    }

    fn judge(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<Judgement> {
        let logits = self.logits(forward)?;
        let all: Vec<usize> = (0..self.val_pictures.len()).collect();
        let (truth, weight) = self.val.batch(&all);
        let loss = masked_loss(&logits, &truth, &weight).double_value(&[]);
        let scores = columns(&logits.sigmoid());
        let (mut areas, mut f1s) = (Vec::new(), Vec::new());
        for (label, scores) in scores.iter().enumerate() {
            let (at, truth) = self.val.known(label);
            let scores: Vec<f32> = at.iter().map(|&at| scores[at]).collect();
            areas.extend(Ranking::new(&scores, &truth).auroc());
            f1s.extend(Confusion::at(0.5, &scores, &truth).f1());
        }
        ensure!(
            !areas.is_empty(),
            "the val split has no label that is both present and absent, so no AUROC to select by"
        );
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let f1 = (!f1s.is_empty()).then(|| mean(&f1s));
        Ok(Judgement { loss, metric: mean(&areas), f1 })
    }

    fn conclude(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<toml::Table> {
        let scores = columns(&self.logits(forward)?.sigmoid());
        let (mut points, mut figures) = (Vec::new(), Vec::new());
        for (label, scores) in scores.iter().enumerate() {
            let name = &self.val.labels[label];
            let (at, truth) = self.val.known(label);
            let scores: Vec<f32> = at.iter().map(|&at| scores[at]).collect();
            if let Some(threshold) = self.criterion.threshold(&scores, &truth) {
                points.push(OperatingPoint::new(name, threshold, self.criterion));
            }
            let groups = Patients::new(at.iter().map(|&at| self.val_groups[at].as_str()));
            let ranking = Ranking::new(&scores, &truth);
            figures.extend(crate::learn::figure(
                "classification",
                figure::auroc(name),
                truth.len(),
                |weights| ranking.weighted_auroc(weights),
                &groups,
            ));
        }
        crate::learn::conclusion(&points, &figures)
    }

    fn mixes(&self) -> bool {
        true
    }
}

impl Loss {
    /// `[N, L]` of the validation split, on the CPU.
    fn logits(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<Tensor> {
        logits(&self.val_pictures, self.batch, forward)
    }
}

/// `[N, L]` of all pictures, on the CPU.
pub fn logits(
    pictures: &Pictures,
    batch: usize,
    forward: &dyn Fn(&Tensor) -> Outputs,
) -> Result<Tensor> {
    rows(pictures, batch, "classification", forward)
}

/// `[N, L]` → L columns of N.
pub fn columns(scores: &Tensor) -> Vec<Vec<f32>> {
    let (_, labels) = scores.size2().expect("scores are [N, L]");
    (0..labels)
        .map(|label| {
            let column = scores.select(1, label).contiguous().to_kind(Kind::Float);
            Vec::try_from(column).expect("a column of f32")
        })
        .collect()
}

/// Binary cross-entropy over the known labels; 0 where none is known.
fn masked_loss(logits: &Tensor, truth: &Tensor, weight: &Tensor) -> Tensor {
    let loss =
        logits.binary_cross_entropy_with_logits::<Tensor>(truth, None, None, tch::Reduction::None);
    (loss * weight).sum(Kind::Float) / weight.sum(Kind::Float).clamp_min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_labels_pull_at_nothing() {
        let logits = Tensor::from_slice(&[2.0f32, -50.0]).view([1, 2]).set_requires_grad(true);
        let truth = Tensor::from_slice(&[1.0f32, 1.0]).view([1, 2]);
        let weight = Tensor::from_slice(&[1.0f32, 0.0]).view([1, 2]);
        let loss = masked_loss(&logits, &truth, &weight);
        assert!((loss.double_value(&[]) - (1.0 + (-2.0f64).exp()).ln()).abs() < 1e-6);
        loss.backward();
        assert_eq!(logits.grad().double_value(&[0, 1]), 0.0);
        let none = masked_loss(&logits, &truth, &weight.zeros_like());
        assert_eq!(none.double_value(&[]), 0.0);
    }
}
