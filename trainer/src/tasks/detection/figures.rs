//! Every number of a detector, with intervals by patient.

use crate::{
    index::{Record, Split},
    measure::{
        predictions::{Answer, BoxLabel, Boxes, ImageAnswer, NamedBox, ScoredBox},
        sheet::{Case, Drawing},
        shown,
    },
    metrics::{
        Estimate,
        bootstrap::{Patients, Resampling},
        detection::{
            Counting, FROC_RATES, ImageBoxes, Matched, RSNA_THRESHOLDS, mean_average_precision,
        },
        ranking::Ranking,
    },
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What `trainer evaluate --task detection --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct DetectionResult {
    pub task: &'static str,
    pub split: Split,
    pub images: usize,
    pub patients: usize,
    /// Images without any true box.
    pub empty: usize,
    /// Mean average precision at IoU .40, .45, … .75 over all images.
    pub map: Option<Estimate>,
    /// The same without the images that have no box, true or called, as MGCA's evaluator counts. It flatters.
    pub map_mgca_compat: Option<Estimate>,
    /// Whether an image has anything, ranked by its surest box. `None` where all have, or none.
    pub image_auroc: Option<Estimate>,
    pub classes: Vec<ClassResult>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ClassResult {
    pub name: String,
    pub boxes: usize,
    /// Mean over the same thresholds, and at IoU ½.
    pub ap: Option<f64>,
    pub ap50: Option<f64>,
    /// Share of the boxes found (by their middle) at ⅛, ¼, ½, 1, 2, 4, 8 false ones an image, and its mean.
    pub froc: Option<Vec<f64>>,
    pub froc_mean: Option<Estimate>,
    /// From which score on the box shows it.
    pub threshold: Option<f32>,
}

impl DetectionResult {
    pub(crate) fn of(
        images: &[ImageBoxes],
        groups: &[&str],
        labels: &[String],
        thresholds: &BTreeMap<String, f32>,
        resampling: Resampling,
        split: Split,
    ) -> Self {
        let patients = Patients::new(groups.iter().copied());
        let all: Vec<&ImageBoxes> = images.iter().collect();
        let matched = Matched::new(&all, 0..labels.len(), &RSNA_THRESHOLDS);
        let map = |counting| {
            patients.estimate(resampling, |w| matched.mean_average_precision(w, counting))
        };
        let surest =
            |image: &ImageBoxes| image.detections.iter().map(|d| d.score).fold(0.0, f32::max);
        let scores: Vec<f32> = images.iter().map(surest).collect();
        let truth: Vec<bool> = images.iter().map(|image| !image.truth.is_empty()).collect();
        let ranking = Ranking::new(&scores, &truth);
        let ones = vec![1; images.len()];
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let class = |(class, name): (usize, &String)| {
            let precisions = matched.average_precisions(class, &ones);
            let half = RSNA_THRESHOLDS.iter().position(|&threshold| threshold == 0.5);
            let half = half.expect("the challenge's thresholds hold one half");
            let froc = |weights: &[u32]| matched.froc(class, weights, &FROC_RATES);
            ClassResult {
                name: name.clone(),
                boxes: all.iter().flat_map(|i| &i.truth).filter(|(own, _)| *own == class).count(),
                ap: precisions.as_deref().map(mean),
                ap50: precisions.as_ref().map(|values| values[half]),
                froc: froc(&ones),
                froc_mean: patients.estimate(resampling, |w| froc(w).as_deref().map(mean)),
                threshold: thresholds.get(name).copied(),
            }
        };
        let unique: BTreeSet<&str> = groups.iter().copied().collect();
        Self {
            task: "detection",
            split,
            images: images.len(),
            patients: unique.len(),
            empty: truth.iter().filter(|&&there| !there).count(),
            map: map(Counting::All),
            map_mgca_compat: map(Counting::MgcaCompat),
            image_auroc: patients.estimate(resampling, |w| ranking.weighted_auroc(w)),
            classes: labels.iter().enumerate().map(class).collect(),
        }
    }
}

/// Every image with the boxes called and the true ones.
pub(crate) fn answers(
    images: &[ImageBoxes],
    records: &[Record],
    labels: &[String],
    thresholds: &BTreeMap<String, f32>,
) -> Vec<ImageAnswer> {
    let own: Vec<BoxLabel> = labels
        .iter()
        .map(|name| BoxLabel { name: name.clone(), threshold: thresholds.get(name).copied() })
        .collect();
    let boxes = |image: &ImageBoxes| Boxes {
        labels: own.clone(),
        boxes: (image.detections.iter())
            .map(|d| ScoredBox { score: d.score, place: NamedBox::of(&labels[d.class], &d.rect) })
            .collect(),
        truth: (image.truth.iter())
            .map(|(class, rect)| NamedBox::of(&labels[*class], rect))
            .collect(),
    };
    let images = images.iter().zip(records);
    images.map(|(image, record)| ImageAnswer::of(record, Answer::Detection(boxes(image)))).collect()
}

/// Cases with their boxes; ranked by the mean precision of the image alone.
pub(crate) fn cases(
    images: &[ImageBoxes],
    records: &[Record],
    labels: &[String],
    thresholds: &BTreeMap<String, f32>,
) -> Vec<Case> {
    let ranked: Vec<(usize, f64)> = images
        .iter()
        .enumerate()
        .filter(|(_, image)| !image.truth.is_empty())
        .map(|(at, image)| {
            let classes = 0..labels.len();
            let own = mean_average_precision(&[image], classes, &RSNA_THRESHOLDS, Counting::All);
            (at, own.unwrap_or(0.0))
        })
        .collect();
    let shown = |class: usize| thresholds.get(&labels[class]).copied().unwrap_or(0.5);
    let case = |(rank, &(at, value)): (&'static str, &(usize, f64))| {
        let called = || images[at].detections.iter().filter(|d| d.score >= shown(d.class));
        let names: Vec<String> =
            called().map(|d| format!("{} {:.2}", labels[d.class], d.score)).collect();
        let names = if names.is_empty() { "nothing".into() } else { names.join(", ") };
        Case {
            image: records[at].image.clone(),
            caption: format!("{rank}: {}, mAP {value:.3}; called {names}", records[at].id),
            truth: images[at].truth.iter().map(|(_, rect)| Drawing::Rectangle(*rect)).collect(),
            ours: called().map(|d| Drawing::Rectangle(d.rect)).collect(),
        }
    };
    crate::measure::sheet::pick(&ranked, |(_, value)| *value).into_iter().map(case).collect()
}

impl fmt::Display for DetectionResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        write!(
            f,
            "{} split: {} images of {} patients, {} without a box, 95 % intervals by patient\n\
             mAP .40-.75 {} (mgca-compat {}), image AUROC {}",
            self.split,
            self.images,
            self.patients,
            self.empty,
            shown(self.map),
            shown(self.map_mgca_compat),
            shown(self.image_auroc)
        )?;
        for class in &self.classes {
            write!(
                f,
                "\n{} ({} boxes): AP {}, AP50 {}, FROC {}",
                class.name,
                class.boxes,
                number(class.ap),
                number(class.ap50),
                shown(class.froc_mean)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::detection::{Detection, Rect};

    #[test]
    fn images_without_boxes_count_unless_asked_otherwise() {
        let truth = Rect { x1: 0.0, y1: 0.0, x2: 10.0, y2: 10.0 };
        let call = |score| Detection { class: 0, score, rect: truth };
        let pair = [
            ImageBoxes { detections: vec![call(0.6)], truth: vec![(0, truth)] },
            ImageBoxes { detections: vec![call(0.9)], truth: vec![] },
        ];
        let images = [pair.clone(), pair.clone(), pair.clone(), pair].concat();
        let result = DetectionResult::of(
            &images,
            &["a", "b", "c", "d", "e", "f", "g", "h"],
            &["x".into()],
            &BTreeMap::new(),
            Resampling { replicates: 50, seed: 1 },
            Split::Test,
        );
        assert_eq!((result.images, result.empty), (8, 4));
        assert!((result.map.unwrap().value - 0.5).abs() < 1e-9);
        assert!((result.map_mgca_compat.unwrap().value - 1.0).abs() < 1e-9);
        assert_eq!(result.image_auroc.unwrap().value, 0.0);
        let froc = result.classes[0].froc.as_ref().unwrap();
        assert_eq!(froc[..3], [0.0, 0.0, 1.0]);
    }
}
