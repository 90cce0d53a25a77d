//! What is in an index, to look at before training on it.

use super::{Label, LeftOut, Record, Split};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub records: usize,
    pub patients: usize,
    pub splits: BTreeMap<String, SplitSummary>,
    pub left_out: LeftOut,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SplitSummary {
    pub records: usize,
    pub patients: usize,
    /// Images with a report, or the part of one that is about the picture.
    pub reports: usize,
    pub lung_masks: usize,
    pub lung_boxes: usize,
    pub boxes: usize,
    pub labels: BTreeMap<String, LabelCounts>,
}

/// Images in which a finding is stated; the rest is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LabelCounts {
    pub positive: usize,
    pub negative: usize,
    pub uncertain: usize,
}

impl Summary {
    pub fn of(records: &[Record], left_out: LeftOut) -> Self {
        let mut summary = Self {
            records: records.len(),
            patients: patients(records.iter()),
            splits: BTreeMap::new(),
            left_out,
        };
        let splits: BTreeSet<Option<Split>> = records.iter().map(|record| record.split).collect();
        for split in splits {
            let of_split = || records.iter().filter(move |record| record.split == split);
            let name = split.map_or("unsplit".to_owned(), |split| split.to_string());
            let mut part = SplitSummary { patients: patients(of_split()), ..Default::default() };
            for record in of_split() {
                let has_report = record.report.is_some() || record.findings_text.is_some();
                part.records += 1;
                part.reports += usize::from(has_report);
                part.lung_masks += usize::from(record.lung_masks.iter().any(|mask| mask.human()));
                part.lung_boxes += usize::from(record.lung_boxes.is_some());
                part.boxes += record.boxes.len();
                for (name, label) in &record.labels {
                    let counts = part.labels.entry(name.clone()).or_default();
                    match label {
                        Label::Positive => counts.positive += 1,
                        Label::Negative => counts.negative += 1,
                        Label::Uncertain => counts.uncertain += 1,
                    }
                }
            }
            summary.splits.insert(name, part);
        }
        summary
    }
}

fn patients<'a>(records: impl Iterator<Item = &'a Record>) -> usize {
    records.map(Record::group).collect::<BTreeSet<_>>().len()
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} images of {} patient groups", self.records, self.patients)?;
        for (name, part) in &self.splits {
            let SplitSummary { records, patients, reports, lung_masks, lung_boxes, boxes, labels } =
                part;
            write!(
                f,
                "\n{name}: {records} images, {patients} patient groups, {reports} reports, \
                 {lung_masks} with human lung masks, {lung_boxes} with lung boxes, {boxes} lesion boxes"
            )?;
            for (label, LabelCounts { positive, negative, uncertain }) in labels {
                write!(f, "\n  {label}: {positive} yes, {negative} no, {uncertain} uncertain")?;
            }
        }
        write!(f, "{}", self.left_out)
    }
}
