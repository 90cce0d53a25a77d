//! Segmentation: overlap and cross-entropy per region, Dice on the validation split.

use super::truth::{Regions, mask_of};
use crate::{
    data::pictures::Pictures,
    index::Record,
    learn::{
        Outputs,
        fit::{Batch, Judgement, Objective},
        recipe::RegionLoss,
    },
    metrics::{
        bootstrap::{Patients, weighted_mean},
        figure,
        operating::OperatingPoint,
        overlap::{Overlap, best_threshold},
        threshold::Criterion,
    },
};
use anyhow::{Result, ensure};
use engine::decode::{self, MASK_THRESHOLDS};
use graph::Preprocess;
use tch::{Device, Kind, Reduction, Tensor};

/// Train and validation truth of a run.
pub(crate) struct Loss {
    pub(crate) labels: Vec<String>,
    pub(crate) loss: RegionLoss,
    pub(crate) train: Regions,
    pub(crate) val: Regions,
    pub(crate) val_pictures: Pictures,
    pub(crate) val_records: Vec<Record>,
    pub(crate) batch: usize,
}

impl Objective for Loss {
    fn loss(&self, outputs: &Outputs, batch: &Batch<'_>) -> Tensor {
        let (cover, known) = self.train.batch(batch.numbers);
        let cover = batch.moves.masks(&cover.to_device(batch.device));
        region_loss(&outputs["segmentation"], &cover, &known.to_device(batch.device), self.loss)
    }

    fn judge(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<Judgement> {
        let all: Vec<usize> = (0..self.val_pictures.len()).collect();
        let (mut loss, mut batches) = (0.0, 0.0);
        let (mut dice, mut count) = (0.0, 0.0);
        for numbers in all.chunks(self.batch) {
            let outputs = forward(&self.val_pictures.batch(numbers)?);
            let logits = outputs["segmentation"].to_device(Device::Cpu);
            let (cover, known) = self.val.batch(numbers);
            loss += region_loss(&logits, &cover, &known, self.loss).double_value(&[]);
            batches += 1.0;
            let each = hard_dice(&logits.ge(0.0), &cover.ge(0.5));
            dice += (each * &known).sum(Kind::Double).double_value(&[]);
            count += known.sum(Kind::Double).double_value(&[]);
        }
        ensure!(count > 0.0, "the val split has no mask of {}", self.labels.join(", "));
        Ok(Judgement { loss: loss / batches, metric: dice / count, f1: None })
    }

    /// Thresholds with the best mean Dice in pixels of the images.
    fn conclude(&self, forward: &dyn Fn(&Tensor) -> Outputs) -> Result<toml::Table> {
        let (mut points, mut figures) = (Vec::new(), Vec::new());
        let planes = planes(&self.val_pictures, self.batch, forward)?;
        for (label, name) in self.labels.iter().enumerate() {
            // Dice of every image with a known region, at every threshold.
            let (mut table, mut groups) = (Vec::new(), Vec::new());
            for (record, planes) in self.val_records.iter().zip(&planes) {
                let Some(truth) = mask_of(record, name)? else { continue };
                let inside: Vec<bool> = truth.pixels().iter().map(|&x| x > 0.5).collect();
                let at = |threshold| {
                    planes
                        .overlap(label, name, &inside, [truth.height, truth.width], threshold)
                        .dice()
                };
                table.push(MASK_THRESHOLDS.map(at));
                groups.push(record.group());
            }
            let Some(best) = best_threshold(&table, &vec![1; table.len()]) else { continue };
            points.push(OperatingPoint::new(name, MASK_THRESHOLDS[best], Criterion::Dice));
            let values: Vec<f64> = table.iter().map(|row| row[best]).collect();
            figures.extend(crate::learn::figure(
                "segmentation",
                figure::dice(name),
                values.len(),
                |weights| weighted_mean(&values, weights),
                &Patients::new(groups),
            ));
        }
        crate::learn::conclusion(&points, &figures)
    }

    fn mixes(&self) -> bool {
        false
    }
}

/// Logits of one image, `[L, rows, columns]`.
#[derive(Clone, Debug)]
pub(crate) struct Planes {
    /// How the image became the network's input.
    preprocess: Preprocess,
    logits: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl Planes {
    /// What the box would draw, in pixels of the image.
    pub(crate) fn mask(
        &self,
        label: usize,
        name: &str,
        size: [usize; 2],
        threshold: f32,
    ) -> decode::Mask {
        let plane = self.rows * self.columns;
        let own = &self.logits[label * plane..][..plane];
        let placed = self.preprocess.place(size);
        decode::mask(name, own, [self.rows, self.columns], &placed, threshold)
    }

    pub(crate) fn overlap(
        &self,
        label: usize,
        name: &str,
        truth: &[bool],
        size: [usize; 2],
        threshold: f32,
    ) -> Overlap {
        let mask = self.mask(label, name, size, threshold);
        let drawn: Vec<bool> = mask.data.iter().map(|&inside| inside == 1).collect();
        Overlap::of(&drawn, truth)
    }
}

/// The network's segmentation of every picture.
pub(crate) fn planes(
    pictures: &Pictures,
    batch: usize,
    forward: &dyn Fn(&Tensor) -> Outputs,
) -> Result<Vec<Planes>> {
    let all: Vec<usize> = (0..pictures.len()).collect();
    let mut planes = Vec::with_capacity(all.len());
    for numbers in all.chunks(batch) {
        let outputs = forward(&pictures.batch(numbers)?);
        let logits = outputs["segmentation"].to_device(Device::Cpu).to_kind(Kind::Float);
        let (count, _, rows, columns) = logits.size4()?;
        for at in 0..count {
            let logits = Vec::<f32>::try_from(logits.get(at).contiguous().flatten(0, -1))?;
            let (rows, columns) = (rows as usize, columns as usize);
            planes.push(Planes { preprocess: *pictures.preprocess(), logits, rows, columns });
        }
    }
    Ok(planes)
}

/// `logits, cover [B, L, h, w]`, `known [B, L]` → `[]`; regions nobody looked for pull at nothing.
fn region_loss(logits: &Tensor, cover: &Tensor, known: &Tensor, kind: RegionLoss) -> Tensor {
    const PLACES: [i64; 2] = [2, 3];
    let sum = |x: Tensor| x.sum_dim_intlist(PLACES.as_slice(), false, Kind::Float);
    let count = known.sum(Kind::Float).clamp_min(1.0);
    let each =
        logits.binary_cross_entropy_with_logits::<Tensor>(cover, None, None, Reduction::None);
    let inside = logits.sigmoid();
    // Dice of the batch, per region: an image without the region must not divide by nothing.
    let of_batch = |x: Tensor| (sum(x) * known).sum_dim_intlist(0, false, Kind::Float);
    let both = of_batch(&inside * cover);
    let either = of_batch(inside.shallow_clone()) + of_batch(cover.shallow_clone());
    let dice = (both * 2.0 + SMOOTH) / (either + SMOOTH);
    let mean = |x: Tensor| {
        (x.mean_dim(PLACES.as_slice(), false, Kind::Float) * known).sum(Kind::Float) / &count
    };
    match kind {
        RegionLoss::CrossEntropyDice => mean(each) - dice.mean(Kind::Float) + 1.0,
        RegionLoss::FocalLogDice => {
            let focal = each * (&inside - cover).square();
            mean(focal) * 10.0 - dice.log().mean(Kind::Float)
        }
    }
}

/// One pixel more on both sides.
const SMOOTH: f64 = 1.0;

/// `[B, L, h, w]` of yes and no → Dice `[B, L]`, 1 where both are empty.
fn hard_dice(drawn: &Tensor, truth: &Tensor) -> Tensor {
    let count = |x: Tensor| {
        x.to_kind(Kind::Double).sum_dim_intlist([2_i64, 3].as_slice(), false, Kind::Double)
    };
    let either = count(drawn.shallow_clone()) + count(truth.shallow_clone());
    let both = count(drawn.logical_and(truth)) * 2.0;
    both.where_self(&either.gt(0.0), &either.ones_like()) / either.clamp_min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).view([1, 1, 2, 2])
    }

    #[test]
    fn unknown_regions_pull_at_nothing() {
        let logits =
            Tensor::zeros([1, 2, 2, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let cover = Tensor::ones([1, 2, 2, 2], (Kind::Float, Device::Cpu));
        let known = Tensor::from_slice(&[1.0f32, 0.0]).view([1, 2]);
        for kind in [RegionLoss::CrossEntropyDice, RegionLoss::FocalLogDice] {
            region_loss(&logits, &cover, &known, kind).backward();
            let pull =
                logits.grad().abs().sum_dim_intlist([0_i64, 2, 3].as_slice(), false, Kind::Float);
            assert!(pull.double_value(&[0]) > 0.0 && pull.double_value(&[1]) == 0.0);
        }
    }

    #[test]
    fn both_losses_are_worked_by_hand() {
        // Probability ½ everywhere, half of the cells inside: Dice (2·1 + 1) / (2 + 2 + 1).
        let (logits, cover) = (grid(&[0.0; 4]), grid(&[1.0, 1.0, 0.0, 0.0]));
        let known = Tensor::from_slice(&[1.0f32]).view([1, 1]);
        let loss = |kind| region_loss(&logits, &cover, &known, kind).double_value(&[]);
        let (ln2, dice) = (2f64.ln(), 3.0 / 5.0);
        assert!((loss(RegionLoss::CrossEntropyDice) - (ln2 + 1.0 - dice)).abs() < 1e-6);
        let focal = 10.0 * ln2 * 0.25;
        assert!((loss(RegionLoss::FocalLogDice) - (focal - dice.ln())).abs() < 1e-6);
    }

    #[test]
    fn dice_of_the_grid_is_the_metrics_own() {
        let (a, b) = (grid(&[1.0, 1.0, 0.0, 0.0]), grid(&[1.0, 0.0, 1.0, 0.0]));
        let dice = |a: &Tensor, b: &Tensor| hard_dice(&a.gt(0.5), &b.gt(0.5)).double_value(&[0, 0]);
        let nothing = grid(&[0.0; 4]);
        assert_eq!((dice(&a, &b), dice(&nothing, &nothing), dice(&a, &nothing)), (0.5, 1.0, 0.0));
    }
}
