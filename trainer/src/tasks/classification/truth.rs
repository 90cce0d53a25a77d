//! Multi-label truth of classification, with unknown labels masked out.

use crate::{
    index::{Record, Split, Truth},
    learn::Uncertain,
};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeSet;
use tch::Tensor;

/// Truth of every record for the labels of the head; `None` = unknown.
#[derive(Clone, Debug)]
pub struct Targets {
    pub labels: Vec<String>,
    /// `[record][label]`
    pub truth: Vec<Vec<Option<bool>>>,
}

impl Targets {
    pub fn of(records: &[Record], labels: &[String], uncertain: Uncertain) -> Self {
        let known = |record: &Record, label: &String| match record.truth(label) {
            Truth::Positive => Some(true),
            Truth::Negative => Some(false),
            Truth::Unknown => None,
            Truth::Uncertain => match uncertain {
                Uncertain::Unknown => None,
                Uncertain::Zero => Some(false),
                Uncertain::One => Some(true),
                Uncertain::Mgca => {
                    let mgca = ["Atelectasis", "Edema", "Effusion", "Pleural Effusion"];
                    Some(mgca.contains(&label.as_str()))
                }
            },
        };
        let truth = records
            .iter()
            .map(|record| labels.iter().map(|label| known(record, label)).collect())
            .collect();
        Self { labels: labels.to_vec(), truth }
    }

    /// Known truth of one label: positions of the records, and what is true there.
    pub fn known(&self, label: usize) -> (Vec<usize>, Vec<bool>) {
        let known = self.truth.iter().enumerate();
        known.filter_map(|(at, row)| Some((at, row[label]?))).unzip()
    }

    /// Images with and without the finding.
    pub fn counts(&self, label: usize) -> [usize; 2] {
        let (_, truth) = self.known(label);
        let positive = truth.iter().filter(|&&t| t).count();
        [positive, truth.len() - positive]
    }

    /// `[B, L]` truth (unknown = 0) and `[B, L]` weight (unknown = 0).
    pub fn batch(&self, numbers: &[usize]) -> (Tensor, Tensor) {
        let rows = || numbers.iter().flat_map(|&number| &self.truth[number]);
        let shape = [numbers.len() as i64, self.labels.len() as i64];
        let flat = |value: fn(&Option<bool>) -> f32| {
            Tensor::from_slice(&rows().map(value).collect::<Vec<f32>>()).view(shape)
        };
        (
            flat(|truth| f32::from(u8::from(*truth == Some(true)))),
            flat(|truth| f32::from(u8::from(truth.is_some()))),
        )
    }
}

/// The labels to learn: those asked for, or every finding that is both there and absent in train and in val.
pub fn choose_labels(
    records: &[Record],
    asked: &[String],
    uncertain: Uncertain,
) -> Result<Vec<String>> {
    let known: BTreeSet<String> =
        records.iter().flat_map(|record| record.labels.keys()).cloned().collect();
    let part = |split: Split| -> Vec<Record> {
        records.iter().filter(|record| record.split == Some(split)).cloned().collect()
    };
    let (train, val) = (part(Split::Train), part(Split::Val));
    let counts = |records: &[Record], label: &String| {
        Targets::of(records, std::slice::from_ref(label), uncertain).counts(0)
    };
    let learnable = |label: &&String| {
        [&train, &val].iter().all(|part| counts(part, label).iter().all(|&count| count > 0))
    };
    if asked.is_empty() {
        let labels: Vec<String> = known.iter().filter(learnable).cloned().collect();
        ensure!(
            !labels.is_empty(),
            "no finding is both present and absent in the train split and in the val split"
        );
        return Ok(labels);
    }
    for label in asked {
        let stated = records.iter().any(|record| record.truth(label) != Truth::Unknown);
        if !stated {
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            bail!("no image has a label `{label}`; the index has {}", names.join(", "));
        }
        let [positive, negative] = counts(&train, label);
        ensure!(
            positive > 0 && negative > 0,
            "`{label}` is present in {positive} and absent in {negative} images of the train split, expected both"
        );
    }
    Ok(asked.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Label;

    fn record(id: &str, split: Split, labels: &[(&str, Label)]) -> Record {
        Record {
            id: id.into(),
            split: Some(split),
            labels: labels.iter().map(|(name, label)| ((*name).to_owned(), *label)).collect(),
            ..Record::default()
        }
    }

    #[test]
    fn absent_labels_are_masked_out_not_negative() {
        let records = [
            record("a", Split::Train, &[("Mass", Label::Positive)]),
            record("b", Split::Train, &[("Edema", Label::Negative), ("Mass", Label::Uncertain)]),
        ];
        let labels = ["Edema".to_owned(), "Mass".to_owned()];
        let targets = Targets::of(&records, &labels, Uncertain::Unknown);
        assert_eq!(targets.truth, [[None, Some(true)], [Some(false), None]]);
        let (truth, weight) = targets.batch(&[1, 0]);
        assert_eq!(Vec::<f32>::try_from(truth.flatten(0, 1)).unwrap(), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(Vec::<f32>::try_from(weight.flatten(0, 1)).unwrap(), [1.0, 0.0, 0.0, 1.0]);
        let mgca = Targets::of(&records, &labels, Uncertain::Mgca);
        assert_eq!(mgca.truth[1][1], Some(false));
    }

    #[test]
    fn a_wrong_label_name_is_answered_with_the_right_ones() {
        let records = [record("a", Split::Train, &[("Mass", Label::Positive)])];
        let error = choose_labels(&records, &["Pneumnia".into()], Uncertain::Unknown).unwrap_err();
        assert_eq!(error.to_string(), "no image has a label `Pneumnia`; the index has Mass");
        let error = choose_labels(&records, &["Mass".into()], Uncertain::Unknown).unwrap_err();
        assert!(error.to_string().contains("present in 1 and absent in 0"), "{error}");
    }

    #[test]
    fn without_a_wish_every_learnable_finding_is_learnt() {
        use Label::{Negative as No, Positive as Yes};
        let records = [
            record("a", Split::Train, &[("Mass", Yes), ("Edema", No)]),
            record("b", Split::Train, &[("Mass", No), ("Edema", No)]),
            record("c", Split::Val, &[("Mass", No), ("Edema", Yes)]),
            record("d", Split::Val, &[("Mass", Yes), ("Edema", No)]),
        ];
        assert_eq!(choose_labels(&records, &[], Uncertain::Unknown).unwrap(), ["Mass"]);
    }
}
