//! Which pictures and reports are learned from.

use crate::{
    index::Record,
    text::{report, wordpiece::Words},
};
use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// A picture and the sentences said about it.
#[derive(Clone, Debug)]
pub struct Pair {
    pub id: String,
    pub image: PathBuf,
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
    /// Pairs of the records `wanted` says yes to, with reports of `min_sentences` or more.
    pub fn of(records: &[Record], min_sentences: usize, wanted: impl Fn(&Record) -> bool) -> Self {
        let mut pairs = Self { all: Vec::new(), left_out: 0 };
        for record in records.iter().filter(|record| wanted(record)) {
            let text = record.findings_text.as_ref().or(record.report.as_ref());
            let sentences = text.map_or_else(Vec::new, |text| report::sentences(text));
            if sentences.len() < min_sentences.max(1) {
                pairs.left_out += 1;
                continue;
            }
            pairs.all.push(Pair {
                id: record.id.clone(),
                image: record.image_path().to_owned(),
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
