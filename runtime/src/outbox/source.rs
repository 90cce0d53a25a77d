//! Where objects come from: the spool's results and images.

use super::{
    Answer, Row,
    rows::{PARKED, Past},
    state::Millis,
};
use crate::{
    device, overlay, pictures,
    spool::{Key, Spool, Stage, State},
};
use anyhow::{Context, Result};
use image::RgbImage;
use results::{HeatMap, Kind, Record, Status};
use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// What the outbox needs to know of the rest of the daemon.
pub(crate) trait Source: Send + Sync {
    /// Keys of all answered images.
    fn answered(&self) -> Vec<String>;

    /// Whether the image is still there.
    fn holds(&self, key: &str) -> bool;

    /// What the answer to an image is and what can be made of it.
    fn answer(&self, key: &str) -> Result<Answer>;

    /// The object to send: a Part 10 file in explicit VR little endian. `None`: there is nothing of that kind
    /// to send. The same row gives the same bytes.
    fn make(&self, row: &Row) -> Result<Option<Vec<u8>>>;
}

/// The daemon's answers.
#[derive(Debug)]
pub(crate) struct SpoolSource {
    pub(crate) spool: Arc<Spool>,
    /// Longer side of the radiograph in a Secondary Capture.
    pub(crate) overlay_pixels: u32,
}

impl Source for SpoolSource {
    fn answered(&self) -> Vec<String> {
        let all = self.spool.newest(usize::MAX);
        let answered = all.iter().rev().filter(|entry| entry.state == State::Answered);
        answered.map(|entry| entry.key.name()).collect()
    }

    fn holds(&self, key: &str) -> bool {
        let key = Key::of_file(Path::new(key));
        // What is no key of ours is not ours to remove.
        key.is_none_or(|key| self.spool.holds(&key))
    }

    fn answer(&self, key: &str) -> Result<Answer> {
        let (key, record) = self.record(key)?;
        let source = key.uid.to_string();
        let object = |kind: Kind| {
            let object = results::sop_instance_uid(kind, &record, &source);
            (kind, kind.sop_class_uid().to_owned(), object)
        };
        // From before results became objects: nothing can be made of it.
        let kinds = if record.analysed.is_some() { &Kind::ALL[..] } else { &[] };
        Ok(Answer {
            digest: format!("{:016x}", key.digest),
            positive: record.is_positive(),
            parked: record.parked,
            objects: kinds.iter().copied().map(object).collect(),
            past: self.past(&key, &record),
            source,
        })
    }

    fn make(&self, row: &Row) -> Result<Option<Vec<u8>>> {
        let (key, record) = self.record(&row.key)?;
        let path = self.spool.image_path(&key);
        let image = fs::read(&path).context("cannot read the image")?;
        let pixels = record.overlay_pixels.unwrap_or(self.overlay_pixels);
        // The overlay, drawn again from what the record holds.
        let drawing = || -> Result<RgbImage> {
            let picture = radiograph::read(&image)?.image;
            record.heat_maps.iter().try_for_each(HeatMap::check)?;
            let masks = record.segments.iter().map(pictures::mask).collect::<Result<Vec<_>>>()?;
            overlay::rgb(&picture, &masks, &record, pixels).context("the overlay has no pixels")
        };
        let object = results::object(row.kind, &record, &image, device::this_box(), drawing)?;
        let Some(object) = object else { return Ok(None) };
        // Another answer since: that one is routed by itself.
        anyhow::ensure!(object.sop_instance_uid == row.object, "the image was answered again");
        self.spool.stages.mark(key.sequence, Stage::Made(row.kind), Instant::now());
        Ok(Some(object.bytes))
    }
}

impl SpoolSource {
    fn record(&self, key: &str) -> Result<(Key, Record)> {
        let key = Key::of_file(Path::new(key)).context("no key of the spool")?;
        let json = self.spool.result(&key).context("cannot read the result")?;
        Ok((key, serde_json::from_slice(&json).context("the result is damaged")?))
    }

    /// Times are those of the files: when the image was moved in, and when its answer was.
    fn past(&self, key: &Key, record: &Record) -> Option<Past> {
        let (received, answered) = self.spool.times(key)?;
        let (received, answered) = (millis(received)?, millis(answered)?);
        let findings = record.findings.iter().map(|f| (f.name.clone(), f.probability, f.positive));
        Some(Past {
            received,
            waited: (answered - received).max(0),
            outcome: outcome(record).to_owned(),
            bundle: record.bundle.digest.clone(),
            findings: findings.collect(),
        })
    }
}

/// Milliseconds since 1970.
fn millis(time: SystemTime) -> Option<Millis> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_millis() as Millis)
}

/// One word for what became of an image.
fn outcome(record: &Record) -> &str {
    match record.status {
        Status::Analysed => "analysed",
        Status::NotAnalysed if record.parked => PARKED,
        Status::NotAnalysed => record.cause.as_deref().unwrap_or("unknown"),
    }
}
