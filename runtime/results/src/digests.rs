//! The digests of a record: of what it says, when and about what.
//!
//! Lists are hashed with lengths, so that nothing moves from one entry to the next; numbers by their bits.

use crate::{Account, Record, ResultsError, Status};
use sha2::{Digest, Sha256};

impl Record {
    /// The record with all digests of its account, if it has one. Call it when nothing changes any more.
    pub fn accounted(self) -> Result<Self, ResultsError> {
        let Some(account) = self.account.clone() else { return Ok(self) };
        let account = Account {
            masks: self.masks_digest()?,
            heat: self.heat_digest(),
            said: Some(self.said()),
            about: Some(self.about()),
            arrival: Some(self.arrival()),
            ..account
        };
        Ok(Self { account: Some(account), ..self })
    }

    /// Status, reason, bundle, findings, boxes, areas of masks.
    pub fn said(&self) -> String {
        let mut hash = Hash::new();
        hash.text(match self.status {
            Status::Analysed => "analysed",
            Status::NotAnalysed => "not analysed",
        });
        hash.optional(self.reason.as_deref());
        hash.optional(self.cause.as_deref());
        for text in [&self.bundle.id, &self.bundle.digest, &self.bundle.version] {
            hash.text(text);
        }
        hash.count(self.findings.len());
        for finding in &self.findings {
            hash.text(&finding.name);
            hash.number(finding.probability);
            hash.number(finding.threshold);
            hash.count(usize::from(finding.positive));
        }
        let masks = self.all_masks();
        hash.count(masks.len());
        for mask in masks {
            hash.text(&mask.name);
            // As it was written: a reader may be a bit off in the last place of 64.
            hash.number(mask.area_fraction as f32);
        }
        hash.count(usize::from(self.boxes.is_some()));
        hash.count(self.boxes.as_ref().map_or(0, Vec::len));
        for found in self.boxes.iter().flatten() {
            hash.text(&found.name);
            for number in [found.score, found.x, found.y, found.width, found.height] {
                hash.number(number);
            }
        }
        hash.optional(self.embedding_digest.as_deref());
        self.hash_language(&mut hash);
        hash.end()
    }

    /// Nothing where there is none: results of before keep their digests.
    fn hash_language(&self, hash: &mut Hash) {
        if !self.heat_maps.is_empty() {
            hash.text("heat maps");
            hash.count(self.heat_maps.len());
        }
        for heat in &self.heat_maps {
            hash.text(&heat.name);
            hash.count(heat.rows as usize);
            hash.count(heat.columns as usize);
            let place = [heat.x, heat.y, heat.most].into_iter().chain(heat.area);
            place.for_each(|number| hash.number(number));
        }
        if !self.nearest.is_empty() {
            hash.text("nearest sentences");
            hash.count(self.nearest.len());
        }
        for near in &self.nearest {
            hash.text(&near.sentence);
            [near.similarity, near.x, near.y].into_iter().for_each(|number| hash.number(number));
        }
    }

    /// When, about which study, with which settings.
    pub fn about(&self) -> String {
        let mut hash = Hash::new();
        hash.optional(self.analysed.as_deref());
        hash.optional(self.configuration.as_deref());
        let source = self.source.as_ref();
        for text in [
            source.map(|source| &*source.sop_class_uid),
            source.map(|source| &*source.study_instance_uid),
            source.map(|source| &*source.series_instance_uid),
            source.map(|source| &*source.sha256),
        ] {
            hash.optional(text);
        }
        hash.end()
    }

    /// How the image arrived, and under which name.
    pub fn arrival(&self) -> String {
        let mut hash = Hash::new();
        hash.optional(self.sop_instance_uid.as_deref());
        hash.optional(self.received.as_deref());
        hash.text(&self.file);
        hash.end()
    }

    /// Of every mask pixel by pixel; `None` without any.
    pub fn masks_digest(&self) -> Result<Option<String>, ResultsError> {
        if self.segments.is_empty() {
            return Ok(None);
        }
        let mut hash = Hash::new();
        for segment in &self.segments {
            hash.text(&segment.name);
            hash.count(segment.rows as usize);
            hash.count(segment.columns as usize);
            let bits = segment.packed()?;
            hash.count(bits.len());
            hash.0.update(&bits);
        }
        Ok(Some(hash.end()))
    }
}

impl Record {
    /// Of every heat map place by place; `None` without any.
    pub fn heat_digest(&self) -> Option<String> {
        if self.heat_maps.iter().all(|heat| heat.values.is_empty()) {
            return None;
        }
        let mut hash = Hash::new();
        for heat in &self.heat_maps {
            hash.text(&heat.name);
            hash.count(heat.rows as usize);
            hash.count(heat.columns as usize);
            hash.count(heat.values.len());
            heat.values.iter().for_each(|value| hash.number(*value));
        }
        Some(hash.end())
    }
}

/// SHA-256 over entries that cannot run into each other.
struct Hash(Sha256);

impl Hash {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.count(usize::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }

    fn number(&mut self, number: f32) {
        self.0.update(number.to_bits().to_le_bytes());
    }

    fn end(self) -> String {
        hex::encode(self.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BundleId, Finding, FoundBox, HeatMap, NearSentence};

    fn record() -> Record {
        let finding =
            Finding { name: "a".into(), probability: 0.25, threshold: 0.5, positive: false };
        let found =
            FoundBox { name: "b".into(), score: 0.5, x: 1.0, y: 2.0, width: 3.0, height: 4.0 };
        Record {
            status: Status::Analysed,
            reason: None,
            findings: vec![finding],
            boxes: Some(vec![found]),
            account: Some(Account::new("ab".repeat(32), Some("cd".repeat(32)))),
            ..Record::not_analysed("x.dcm".into(), BundleId::default(), String::new())
        }
    }

    #[test]
    fn every_part_of_what_is_said_changes_the_digest_and_nothing_else_does() {
        let said = record().said();
        let changes: [fn(&mut Record); 7] = [
            |record| record.findings[0].probability = f32::from_bits(0.25f32.to_bits() + 1),
            |record| record.findings[0].positive = true,
            |record| record.findings[0].name.push('b'),
            |record| record.boxes.as_mut().unwrap()[0].width = -3.0,
            |record| record.boxes = None,
            |record| record.bundle.digest = "00".into(),
            |record| record.embedding_digest = Some(String::new()),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut changed = record();
            change(&mut changed);
            assert_ne!(changed.said(), said, "change {at}");
        }
        let mut later = record();
        (later.milliseconds.total, later.file) = (5.0, "y.dcm".into());
        assert_eq!(later.said(), said);
        assert_ne!(later.arrival(), record().arrival());
    }

    fn with_language() -> Record {
        let heat = HeatMap {
            name: "a".into(),
            rows: 1,
            columns: 2,
            x: 3.0,
            y: 4.0,
            most: 0.75,
            area: [0.0, 0.0, 9.0, 9.0],
            values: vec![0.5, 0.75],
        };
        let near =
            NearSentence { sentence: "s is observed".into(), similarity: 0.5, x: 1.0, y: 2.0 };
        Record { heat_maps: vec![heat], nearest: vec![near], ..record() }
    }

    #[test]
    fn heat_maps_and_sentences_are_said_and_results_without_keep_their_digests() {
        // Made before results had heat maps.
        assert_eq!(
            record().said(),
            "20e36f9185aeee3c61de2002c1f84507f62fd1a5b15cf2b3a0c86c8be570ea30"
        );
        let said = with_language().said();
        assert_ne!(said, record().said());
        let changes: [fn(&mut Record); 6] = [
            |record| record.heat_maps[0].x = 3.5,
            |record| record.heat_maps[0].most = 0.5,
            |record| record.heat_maps[0].area[3] = 8.0,
            |record| record.nearest[0].sentence.push('!'),
            |record| record.nearest[0].similarity = 0.25,
            |record| record.nearest.clear(),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut changed = with_language();
            change(&mut changed);
            assert_ne!(changed.said(), said, "change {at}");
        }
        // What is shown has no values, so they have a digest of their own.
        assert_eq!(with_language().shown().said(), said);
        assert_eq!((record().heat_digest(), with_language().shown().heat_digest()), (None, None));
        let mut changed = with_language();
        changed.heat_maps[0].values[0] = 0.25;
        assert_ne!(changed.heat_digest(), with_language().heat_digest());
        let account = with_language().accounted().unwrap().account.unwrap();
        assert_eq!(account.heat, with_language().heat_digest());
    }

    #[test]
    fn an_account_survives_json_and_the_line_of_a_report() {
        let record = with_language().accounted().unwrap();
        let json = serde_json::to_string(&record).unwrap();
        let read: Record = serde_json::from_str(&json).unwrap();
        assert_eq!(read, record);
        let account = record.account.unwrap();
        assert_eq!(account.said, Some(read.said()));
        let settings = "ab".repeat(32);
        let line = account.line(Some(&settings));
        let expected = Account { said: None, arrival: None, ..account };
        assert_eq!(Account::of_line(&line), Some((expected, Some(settings))));
        assert_eq!(Account::of_line("SHA-256 00"), None);
        assert_eq!(Account::of_line(&line.replace("file=", "fily=")), None);
    }
}
