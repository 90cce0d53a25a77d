//! One image that two bundles looked at: what each said, and where they overlap. Pure.
//!
//! In every array of two the bundle that answered comes first, the one in the shadow second.

use engine::Detection;
use results::{BundleId, FoundBox, Record, ResultsError, Status};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A line of the shadow's log. Append fields only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pair {
    /// The image's number in the spool.
    pub(crate) image: u64,
    /// When they were compared, RFC 3339.
    pub(crate) at: String,
    pub(crate) bundles: [BundleId; 2],
    /// From the file to what was found.
    pub(crate) milliseconds: [f64; 2],
    /// Whether each let its network see the image.
    pub(crate) analysed: [bool; 2],
    #[serde(default)]
    pub(crate) findings: Vec<Judged>,
    #[serde(default)]
    pub(crate) masks: Vec<Covered>,
    #[serde(default)]
    pub(crate) boxes: Vec<Boxed>,
    /// Labels that only one of the two speaks of.
    #[serde(default)]
    pub(crate) alone: [Vec<String>; 2],
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) name: String,
    pub(crate) probability: [f32; 2],
    pub(crate) positive: [bool; 2],
}

/// One mask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Covered {
    pub(crate) name: String,
    pub(crate) pixels: [u64; 2],
    pub(crate) both: u64,
}

/// The boxes of one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Boxed {
    pub(crate) name: String,
    pub(crate) found: [u32; 2],
    /// Pairs of boxes that overlap by [`SAME`] or more, each box in one pair at most.
    pub(crate) same: u32,
    /// Sum of their intersections over unions.
    pub(crate) iou: f64,
}

/// Intersection over union from which two boxes are about one thing.
const SAME: f32 = 0.5;

impl Pair {
    /// Fails if a mask cannot be read, or the two are about pictures of different sizes.
    pub(crate) fn of(
        image: u64,
        at: String,
        answer: &Record,
        shadow: &Record,
    ) -> Result<Self, PairError> {
        let both = [answer, shadow];
        let analysed = both.map(|record| record.status == Status::Analysed);
        let mut pair = Self {
            image,
            at,
            bundles: both.map(|record| record.bundle.clone()),
            milliseconds: both.map(|record| record.milliseconds.total),
            analysed,
            findings: Vec::new(),
            masks: Vec::new(),
            boxes: Vec::new(),
            alone: Default::default(),
        };
        if analysed == [true, true] {
            pair.findings = findings(both);
            pair.masks = masks(both)?;
            pair.boxes = boxes(both);
            pair.alone = alone(both);
        }
        Ok(pair)
    }
}

fn findings([answer, shadow]: [&Record; 2]) -> Vec<Judged> {
    let judged = answer.findings.iter().filter_map(|a| {
        let b = shadow.findings.iter().find(|b| b.name == a.name)?;
        Some(Judged {
            name: a.name.clone(),
            probability: [a.probability, b.probability],
            positive: [a.positive, b.positive],
        })
    });
    judged.collect()
}

fn masks([answer, shadow]: [&Record; 2]) -> Result<Vec<Covered>, PairError> {
    let mut covered = Vec::new();
    for a in &answer.segments {
        let Some(b) = shadow.segments.iter().find(|b| b.name == a.name) else { continue };
        if [a.rows, a.columns] != [b.rows, b.columns] {
            let sizes = [a, b].map(|mask| [mask.rows, mask.columns]);
            return Err(PairError::Sizes { name: a.name.clone(), sizes });
        }
        // Eight pixels at a time: an image has millions, and this is done in the daemon.
        let (ours, theirs) = (a.packed()?, b.packed()?);
        let ones = |byte: u8| u64::from(byte.count_ones());
        let count = |packed: &[u8]| packed.iter().map(|&byte| ones(byte)).sum();
        covered.push(Covered {
            name: a.name.clone(),
            pixels: [count(&ours), count(&theirs)],
            both: ours.iter().zip(&theirs).map(|(a, b)| ones(a & b)).sum(),
        });
    }
    Ok(covered)
}

/// By label, where both have a detection head.
fn boxes([answer, shadow]: [&Record; 2]) -> Vec<Boxed> {
    let (Some(ours), Some(theirs)) = (&answer.boxes, &shadow.boxes) else { return Vec::new() };
    let names: BTreeSet<&str> =
        ours.iter().chain(theirs).map(|found| found.name.as_str()).collect();
    names
        .into_iter()
        .map(|name| matched(name, of_name(ours, name), of_name(theirs, name)))
        .collect()
}

fn of_name(boxes: &[FoundBox], name: &str) -> Vec<Detection> {
    let own = boxes.iter().filter(|found| found.name == name);
    own.map(|b| Detection {
        name: String::new(),
        score: b.score,
        x: b.x,
        y: b.y,
        width: b.width,
        height: b.height,
    })
    .collect()
}

/// Pairs boxes, those that overlap most first.
fn matched(name: &str, ours: Vec<Detection>, theirs: Vec<Detection>) -> Boxed {
    let mut near: Vec<(f32, usize, usize)> = Vec::new();
    for (i, a) in ours.iter().enumerate() {
        let ious = theirs.iter().enumerate().map(|(j, b)| (a.iou(b), i, j));
        near.extend(ious.filter(|(iou, ..)| *iou >= SAME));
    }
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut taken, mut same, mut sum) = ([BTreeSet::new(), BTreeSet::new()], 0, 0.0);
    for (iou, i, j) in near {
        if !taken[0].contains(&i) && !taken[1].contains(&j) {
            taken[0].insert(i);
            taken[1].insert(j);
            same += 1;
            sum += f64::from(iou);
        }
    }
    let found = [ours.len() as u32, theirs.len() as u32];
    Boxed { name: name.to_owned(), found, same, iou: sum }
}

fn alone([answer, shadow]: [&Record; 2]) -> [Vec<String>; 2] {
    // Labels of findings and masks. Of boxes only what was found is known, so they are not compared.
    let spoken_of = |record: &Record| -> BTreeSet<String> {
        let findings = record.findings.iter().map(|finding| finding.name.clone());
        findings.chain(record.segments.iter().map(|segment| segment.name.clone())).collect()
    };
    let [ours, theirs] = [answer, shadow].map(spoken_of);
    [ours.difference(&theirs).cloned().collect(), theirs.difference(&ours).cloned().collect()]
}

/// Why two results cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PairError {
    #[error(transparent)]
    Mask(#[from] ResultsError),
    #[error("mask `{name}`: rows and columns are {:?} and {:?}, expected the same", sizes[0], sizes[1])]
    Sizes { name: String, sizes: [[u32; 2]; 2] },
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use results::{Finding, Segment};

    /// What a bundle says: findings by probability, positive from ½ on; one mask; boxes by left edge.
    pub(crate) fn record(
        digest: &str,
        findings: &[(&str, f32)],
        mask: &[u8],
        boxes: &[f32],
    ) -> Record {
        let bundle = BundleId {
            id: "chest".into(),
            digest: digest.into(),
            version: "1.0.0".into(),
            packs: Vec::new(),
        };
        let finding = |&(name, probability): &(&str, f32)| Finding {
            name: name.into(),
            probability,
            threshold: 0.5,
            positive: probability >= 0.5,
        };
        let found = |&x: &f32| FoundBox {
            name: "nodule".into(),
            score: 0.9,
            x,
            y: 0.0,
            width: 10.0,
            height: 10.0,
        };
        Record {
            status: Status::Analysed,
            reason: None,
            findings: findings.iter().map(finding).collect(),
            segments: vec![Segment::pack("lung", [1, mask.len()], mask)],
            boxes: Some(boxes.iter().map(found).collect()),
            ..Record::not_analysed("x".into(), bundle, String::new())
        }
    }

    fn pair(answer: &Record, shadow: &Record) -> Result<Pair, PairError> {
        Pair::of(7, "2026-11-30T10:00:00Z".into(), answer, shadow)
    }

    #[test]
    fn findings_masks_and_boxes_of_one_name_are_compared() {
        let answer = record("a", &[("Edema", 0.9), ("Mass", 0.1)], &[1, 1, 0, 0], &[0.0, 50.0]);
        let shadow = record("b", &[("Edema", 0.4), ("Hernia", 0.1)], &[0, 1, 1, 1], &[2.0, 80.0]);
        let pair = pair(&answer, &shadow).unwrap();
        let edema =
            Judged { name: "Edema".into(), probability: [0.9, 0.4], positive: [true, false] };
        assert_eq!(pair.findings, [edema]);
        assert_eq!(pair.masks, [Covered { name: "lung".into(), pixels: [2, 3], both: 1 }]);
        // 8 of 12 columns in common.
        let nodule = &pair.boxes[0];
        assert_eq!((nodule.found, nodule.same), ([2, 2], 1));
        assert!((nodule.iou - 8.0 / 12.0).abs() < 1e-6, "{}", nodule.iou);
        assert_eq!(pair.alone, [vec!["Mass".to_owned()], vec!["Hernia".to_owned()]]);
        let line = serde_json::to_string(&pair).unwrap();
        assert_eq!(serde_json::from_str::<Pair>(&line).unwrap(), pair);
    }

    /// Two boxes of one bundle that both overlap one of the other are not both the same as it.
    #[test]
    fn a_box_is_paired_once_with_the_one_that_it_overlaps_most() {
        let answer = record("a", &[], &[0], &[0.0, 1.0]);
        let shadow = record("b", &[], &[0], &[1.0]);
        let found = &pair(&answer, &shadow).unwrap().boxes[0];
        assert_eq!((found.found, found.same, found.iou), ([2, 1], 1, 1.0));
    }

    #[test]
    fn what_one_of_them_did_not_look_at_is_not_compared() {
        let answer = record("a", &[("Edema", 0.9)], &[1], &[]);
        let bundle = BundleId { digest: "b".into(), ..BundleId::default() };
        let shadow = Record::not_analysed("x".into(), bundle, "why".into());
        let pair = pair(&answer, &shadow).unwrap();
        assert_eq!(pair.analysed, [true, false]);
        assert!(pair.findings.is_empty() && pair.masks.is_empty() && pair.boxes.is_empty());
    }

    #[test]
    fn masks_of_different_pictures_are_refused_by_name() {
        let error =
            pair(&record("a", &[], &[1, 0], &[]), &record("b", &[], &[1], &[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mask `lung`: rows and columns are [1, 2] and [1, 1], expected the same"
        );
    }
}
