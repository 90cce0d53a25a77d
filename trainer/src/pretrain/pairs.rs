//! Which pictures and reports are learned from.

use crate::{
    index::Record,
    text::{Words, report},
};
use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, hash_map::Entry},
    path::PathBuf,
};

/// The pictures of a study and the sentences said about them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The first picture's.
    pub id: String,
    /// One of them is drawn each time; never empty.
    pub images: Vec<PathBuf>,
    pub sentences: Vec<String>,
    /// Equal for equal texts.
    pub report_group: String,
}

/// All pairs of one split, in the order of the index.
#[derive(Clone, Debug)]
pub struct Pairs {
    pub all: Vec<Pair>,
    /// Images without a report, or with too short a one.
    pub left_out: usize,
}

impl Pairs {
    /// Pairs of the records `wanted` says yes to, with reports of `min_sentences` or more. Pictures of one study share
    /// its pair.
    pub fn of(records: &[Record], min_sentences: usize, wanted: impl Fn(&Record) -> bool) -> Self {
        let mut pairs = Self { all: Vec::new(), left_out: 0 };
        let mut studies = HashMap::new();
        for record in records.iter().filter(|record| wanted(record)) {
            let text = record.findings_text.as_ref().or(record.report.as_ref());
            let sentences = text.map_or_else(Vec::new, |text| report::sentences(text));
            if sentences.len() < min_sentences.max(1) {
                pairs.left_out += 1;
                continue;
            }
            let study = record.study_id.as_deref().filter(|study| !study.is_empty());
            if let Some(study) = study {
                match studies.entry((record.patient_id.as_str(), study)) {
                    Entry::Occupied(known) => {
                        let pair: &mut Pair = &mut pairs.all[*known.get()];
                        if pair.sentences == sentences {
                            pair.images.push(record.image_path().to_owned());
                            continue;
                        }
                    }
                    Entry::Vacant(new) => {
                        new.insert(pairs.all.len());
                    }
                }
            }
            pairs.all.push(Pair {
                id: record.id.clone(),
                images: vec![record.image_path().to_owned()],
                report_group: record.report_group.clone().unwrap_or_else(|| sentences.join(" ")),
                sentences,
            });
        }
        pairs
    }

    /// What was learned from, in one number; paths do not count, so that data may move.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for pair in &self.all {
            hash.update(pair.id.as_bytes());
            hash.update([0]);
            if pair.images.len() > 1 {
                hash.update((pair.images.len() as u64).to_le_bytes());
            }
            for sentence in &pair.sentences {
                hash.update(sentence.as_bytes());
                hash.update([1]);
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Fails on a report none of whose words the vocabulary knows how to write.
    pub fn check(&self, words: &Words, batch: usize) -> Result<()> {
        ensure!(
            self.all.len() >= batch,
            "{} pairs with enough sentences ({} images without), expected at least one batch of {batch}",
            self.all.len(),
            self.left_out
        );
        for pair in &self.all {
            let report = words.encode(&pair.sentences, 64)?;
            ensure!(report.sentences > 0, "the report of {} has no tokens", pair.id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, study: Option<&str>, text: &str) -> Record {
        Record {
            id: id.into(),
            patient_id: "p".into(),
            study_id: study.map(str::to_owned),
            image: format!("{id}.png").into(),
            findings_text: Some(text.into()),
            ..Record::default()
        }
    }

    #[test]
    fn pictures_of_one_study_share_its_report_and_others_do_not() {
        let records = [
            record("a", Some("1"), "Clear. Normal."),
            record("b", Some("1"), "Clear. Normal."),
            record("c", Some("2"), "Clear. Normal."),
            record("d", None, "Clear. Normal."),
            record("e", Some("3"), "Short."),
        ];
        let pairs = Pairs::of(&records, 2, |_| true);
        let images: Vec<usize> = pairs.all.iter().map(|pair| pair.images.len()).collect();
        assert_eq!((images, pairs.left_out), (vec![2, 1, 1], 1));
        assert_ne!(pairs.digest(), Pairs::of(&records[1..], 2, |_| true).digest());
    }
}
