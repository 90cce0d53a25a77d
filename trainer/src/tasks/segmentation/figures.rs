//! Every number of a segmentation network, with intervals by patient.

use super::{loss::Planes, truth::mask_of};
use crate::{
    index::{Record, Split},
    measure::{
        predictions::{Answer, ImageAnswer, Region, RunLengths},
        sheet::{Case, Drawing},
        shown,
    },
    metrics::{
        Estimate,
        bootstrap::{Patients, Resampling, weighted_mean},
        overlap::Overlap,
    },
};
use anyhow::Result;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What `trainer evaluate --task segmentation --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentationResult {
    pub task: &'static str,
    pub split: Split,
    pub images: usize,
    pub patients: usize,
    pub regions: Vec<RegionResult>,
}

/// Means over images, in pixels of the images themselves.
#[derive(Clone, Debug, Serialize)]
pub struct RegionResult {
    pub name: String,
    /// Where somebody looked for the region, and where it is not.
    pub images: usize,
    pub empty: usize,
    pub threshold: f32,
    pub threshold_fitted: bool,
    /// With the empty images: 1 where nothing is drawn, 0 where something is.
    pub dice: Option<Estimate>,
    pub iou: Option<Estimate>,
    /// Without the empty images.
    pub dice_present: Option<Estimate>,
    pub iou_present: Option<Estimate>,
}

/// Overlap of one region in one image.
pub(crate) struct Judged<'a> {
    pub(crate) record: &'a Record,
    pub(crate) label: usize,
    pub(crate) overlap: Overlap,
    /// What was drawn and what is true, where it was to be kept.
    pub(crate) masks: Option<[RunLengths; 2]>,
}

/// Every region somebody looked for; `keep` the masks too.
pub(crate) fn judge<'a>(
    records: &'a [Record],
    planes: &[Planes],
    labels: &[String],
    thresholds: &BTreeMap<String, f32>,
    keep: bool,
) -> Result<Vec<Judged<'a>>> {
    let mut judged = Vec::new();
    for (record, planes) in records.iter().zip(planes) {
        for (label, name) in labels.iter().enumerate() {
            let Some(truth) = mask_of(record, name)? else { continue };
            let inside: Vec<bool> = truth.pixels().iter().map(|&x| x > 0.5).collect();
            let threshold = thresholds.get(name).copied().unwrap_or(0.5);
            let size = [truth.height, truth.width];
            let mask = planes.mask(label, name, size, threshold);
            let drawn: Vec<bool> = mask.data.iter().map(|&inside| inside == 1).collect();
            let overlap = Overlap::of(&drawn, &inside);
            let masks = keep.then(|| [&drawn, &inside].map(|mask| RunLengths::of(mask, size)));
            judged.push(Judged { record, label, overlap, masks });
        }
    }
    Ok(judged)
}

impl SegmentationResult {
    pub(crate) fn of(
        judged: &[Judged<'_>],
        labels: &[String],
        thresholds: &BTreeMap<String, f32>,
        resampling: Resampling,
        split: Split,
    ) -> Self {
        let region = |(label, name): (usize, &String)| {
            let own: Vec<&Judged<'_>> = judged.iter().filter(|j| j.label == label).collect();
            let present: Vec<&Judged<'_>> =
                own.iter().copied().filter(|j| j.overlap.truth > 0).collect();
            let mean = |of: &[&Judged<'_>], value: fn(&Overlap) -> f64| {
                let values: Vec<f64> = of.iter().map(|j| value(&j.overlap)).collect();
                let patients = Patients::new(of.iter().map(|j| j.record.group()));
                patients.estimate(resampling, |weights| weighted_mean(&values, weights))
            };
            RegionResult {
                name: name.clone(),
                images: own.len(),
                empty: own.len() - present.len(),
                threshold: thresholds.get(name).copied().unwrap_or(0.5),
                threshold_fitted: thresholds.contains_key(name),
                dice: mean(&own, Overlap::dice),
                iou: mean(&own, Overlap::iou),
                dice_present: mean(&present, Overlap::dice),
                iou_present: mean(&present, Overlap::iou),
            }
        };
        let ids: BTreeSet<&str> = judged.iter().map(|j| j.record.id.as_str()).collect();
        let patients: BTreeSet<&str> = judged.iter().map(|j| j.record.group()).collect();
        Self {
            task: "segmentation",
            split,
            images: ids.len(),
            patients: patients.len(),
            regions: labels.iter().enumerate().map(region).collect(),
        }
    }
}

/// Every image with its regions, from what [`judge`] kept.
pub(crate) fn answers(
    judged: Vec<Judged<'_>>,
    labels: &[String],
    thresholds: &BTreeMap<String, f32>,
) -> Vec<ImageAnswer> {
    let mut images: Vec<(&Record, Vec<Region>)> = Vec::new();
    for Judged { record, label, overlap, masks } in judged {
        let [mask, truth] = masks.expect("masks are kept for predictions");
        let name = labels[label].clone();
        let region = Region {
            threshold: thresholds.get(&name).copied().unwrap_or(0.5),
            name,
            dice: overlap.dice(),
            iou: overlap.iou(),
            area: overlap.predicted,
            true_area: overlap.truth,
            mask,
            truth,
        };
        // Regions of one image follow each other.
        match images.last_mut() {
            Some((known, regions)) if std::ptr::eq(*known, record) => regions.push(region),
            _ => images.push((record, vec![region])),
        }
    }
    let answer = |(record, regions)| ImageAnswer::of(record, Answer::Segmentation { regions });
    images.into_iter().map(answer).collect()
}

/// Cases with their outlines: truth and what was drawn.
pub(crate) fn cases(
    judged: &[Judged<'_>],
    records: &[Record],
    planes: &[Planes],
    labels: &[String],
    thresholds: &BTreeMap<String, f32>,
) -> Result<Vec<Case>> {
    let picked = crate::measure::sheet::pick(judged, |j| j.overlap.dice());
    let case = |(rank, j): (&'static str, &Judged<'_>)| -> Result<Case> {
        let name = &labels[j.label];
        let at = records.iter().position(|r| r.id == j.record.id).expect("judged images are these");
        let truth = mask_of(j.record, name)?.expect("judged regions are known");
        let size = [truth.height, truth.width];
        let threshold = thresholds.get(name).copied().unwrap_or(0.5);
        let mask = planes[at].mask(j.label, name, size, threshold);
        Ok(Case {
            image: j.record.image.clone(),
            caption: format!("{rank}: {}, {name}, Dice {:.3}", j.record.id, j.overlap.dice()),
            truth: vec![Drawing::mask(truth.pixels().iter().map(|&x| x > 0.5).collect(), size)],
            ours: vec![Drawing::mask(mask.data.iter().map(|&x| x == 1).collect(), size)],
        })
    };
    picked.into_iter().map(case).collect()
}

impl fmt::Display for SegmentationResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} split: {} images of {} patients, 95 % intervals by patient",
            self.split, self.images, self.patients
        )?;
        for region in &self.regions {
            let RegionResult { name, images, empty, threshold, .. } = region;
            write!(
                f,
                "\n{name} ({images} images, {empty} without) at {threshold:.2}: Dice {}, IoU {}",
                shown(region.dice),
                shown(region.iou)
            )?;
            if *empty > 0 {
                write!(
                    f,
                    "\n  images with it alone: Dice {}, IoU {}",
                    shown(region.dice_present),
                    shown(region.iou_present)
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_images_count_in_one_mean_and_not_in_the_other() {
        let records: Vec<Record> = ["a", "b", "c"]
            .map(|id| Record { id: id.into(), patient_id: id.into(), ..Record::default() })
            .to_vec();
        let overlaps = [
            Overlap { both: 5, predicted: 10, truth: 10 },
            Overlap { both: 0, predicted: 0, truth: 0 },
            Overlap { both: 0, predicted: 3, truth: 0 },
        ];
        let judged: Vec<Judged<'_>> = records
            .iter()
            .zip(overlaps)
            .map(|(record, overlap)| Judged { record, label: 0, overlap, masks: None })
            .collect();
        let resampling = Resampling { replicates: 200, seed: 1 };
        let result = SegmentationResult::of(
            &judged,
            &["x".into(), "never looked for".into()],
            &BTreeMap::new(),
            resampling,
            Split::Test,
        );
        let [region, other] = &result.regions[..] else { panic!("two regions") };
        assert_eq!((region.images, region.empty), (3, 2));
        assert!((region.dice.unwrap().value - 0.5).abs() < 1e-12);
        assert!((region.dice_present.unwrap().value - 0.5).abs() < 1e-12);
        assert!((region.iou.unwrap().value - (1.0 / 3.0 + 1.0) / 3.0).abs() < 1e-12);
        assert!((region.iou_present.unwrap().value - 1.0 / 3.0).abs() < 1e-12);
        assert!(other.images == 0 && other.dice.is_none());
    }
}
