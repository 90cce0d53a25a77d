//! What `runtime bench --end-to-end` says, to programs and to people.

use super::super::percentile;
use crate::{
    instances::Numbered,
    spool::{Stage, Way},
};
use anyhow::{Context, Result};
use results::{Kind, Record, Status};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _, time::Instant};

/// The JSON of `--end-to-end --json` (runtime/docs/bench.md): append only.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) bundle: String,
    pub(super) digest: String,
    pub(super) threads: u32,
    pub(super) isa: String,
    pub(super) processor: String,
    pub(super) rounds: u32,
    /// Where the spool was.
    pub(super) folder: String,
    /// The network alone, warm: median.
    pub(super) network_ms: f64,
    pub(super) files: Vec<File>,
    pub(super) peak_rss_mb: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct File {
    pub(super) file: String,
    pub(super) bytes: usize,
    pub(super) transfer_syntax: String,
    #[serde(serialize_with = "summed_up", rename = "stages")]
    pub(super) rounds: Vec<Round>,
}

/// The stages of one image in milliseconds, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Round(BTreeMap<&'static str, f64>);

/// Median and ninetieth percentile of a stage over the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Summary {
    p50: f64,
    p90: f64,
}

/// Names in the order of events; what each is.
const STAGES: [(&str, &str); 18] = [
    ("receive", "announced → last byte"),
    ("sync", "last byte → its file is on disk"),
    ("accept", "its file → its name is on disk, it is queued"),
    ("acknowledge", "last byte → the sender is told"),
    ("begin", "last byte → the worker looks at it"),
    ("parse", "the header alone, part of `read`"),
    ("read", "bytes → picture"),
    ("preprocess", "gate and picture → network input"),
    ("infer", "network and decoding"),
    ("analyse", "the three above, in all"),
    ("commit", "analysed and queued → the result is on disk"),
    ("answer", "last byte → the result is on disk"),
    ("make-sr", "the result is on disk → the SR is made"),
    ("sr", "last byte → the archive has the SR"),
    ("make-seg", "the SR is delivered → the SEG is made"),
    ("seg", "last byte → the archive has the SEG"),
    ("make-sc", "the object before it is delivered → the SC is made"),
    ("sc", "last byte → the archive has the SC"),
];

/// How many objects a result becomes.
pub(super) fn arrivals(record: &Record) -> usize {
    if record.status == Status::NotAnalysed {
        return 1;
    }
    let has_mask = record.all_masks().iter().any(|mask| mask.area_fraction > 0.0);
    2 + usize::from(has_mask)
}

impl Round {
    pub(super) fn of(
        way: &Way,
        record: &Record,
        taken: &[(Kind, Instant)],
        parse_ms: f64,
    ) -> Result<Self> {
        let between = |from, to| {
            let took = way.between(from, to).map(super::super::milliseconds);
            took.with_context(|| format!("the daemon did not note {from:?} and {to:?}"))
        };
        let ready = way.at(Stage::Accepted).max(way.at(Stage::Analysed));
        let committed = way.at(Stage::Committed).context("the result was not committed")?;
        let received = way.at(Stage::Received).context("nothing was received")?;
        let since =
            |at: Instant| super::super::milliseconds(at.saturating_duration_since(received));
        let took = record.milliseconds;
        let mut round = BTreeMap::from([
            ("receive", between(Stage::Opened, Stage::Received)?),
            ("sync", between(Stage::Received, Stage::Synced)?),
            ("accept", between(Stage::Synced, Stage::Accepted)?),
            ("acknowledge", between(Stage::Received, Stage::Acknowledged)?),
            ("begin", between(Stage::Received, Stage::Begun)?),
            ("parse", parse_ms),
            ("read", took.read),
            ("preprocess", took.preprocess),
            ("infer", took.infer),
            ("analyse", between(Stage::Begun, Stage::Analysed)?),
            ("answer", between(Stage::Received, Stage::Committed)?),
        ]);
        if let Some(ready) = ready {
            let commit = committed.saturating_duration_since(ready);
            round.insert("commit", super::super::milliseconds(commit));
        }
        let mut before = committed;
        for &(kind, at) in taken {
            let (make, deliver) = match kind {
                Kind::Sr => ("make-sr", "sr"),
                Kind::Seg => ("make-seg", "seg"),
                Kind::Sc => ("make-sc", "sc"),
                Kind::Heat => ("make-heat", "heat"),
            };
            if let Some(made) = way.at(Stage::Made(kind)) {
                let took = made.saturating_duration_since(before);
                round.insert(make, super::super::milliseconds(took));
            }
            round.insert(deliver, since(at));
            before = at;
        }
        Ok(Self(round))
    }
}

impl File {
    pub(super) fn of(object: &Numbered) -> Self {
        Self {
            file: object.path.display().to_string(),
            bytes: object.bytes.len(),
            transfer_syntax: object.syntax.uid().to_owned(),
            rounds: Vec::new(),
        }
    }
}

/// Each stage that every round has.
fn summary(rounds: &[Round]) -> BTreeMap<&'static str, Summary> {
    let of = |name: &'static str| {
        let mut times: Vec<f64> = rounds.iter().filter_map(|r| r.0.get(name).copied()).collect();
        if times.is_empty() || times.len() < rounds.len() {
            return None;
        }
        times.sort_by(f64::total_cmp);
        Some((name, Summary { p50: percentile(&times, 0.5), p90: percentile(&times, 0.9) }))
    };
    STAGES.iter().filter_map(|(name, _)| of(name)).collect()
}

fn summed_up<S: serde::Serializer>(rounds: &[Round], to: S) -> Result<S::Ok, S::Error> {
    summary(rounds).serialize(to)
}

impl Measured {
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let _ = writeln!(
                text,
                "{} · {:.1} MB · {}",
                file.file,
                file.bytes as f64 / 1e6,
                file.transfer_syntax
            );
            let _ = writeln!(text, "  {:>9} {:>9}", "p50 ms", "p90 ms");
            let stages = summary(&file.rounds);
            for (name, what) in STAGES {
                if let Some(Summary { p50, p90 }) = stages.get(name) {
                    let _ = writeln!(text, "  {p50:9.2} {p90:9.2}  {name:15} {what}");
                }
            }
            if let Some(answer) = stages.get("answer") {
                let times = answer.p50 / self.network_ms;
                let _ = writeln!(text, "  last byte to result: {times:.2} times the network alone");
            }
        }
        let Self {
            bundle, threads, isa, processor, rounds, folder, network_ms, peak_rss_mb, ..
        } = self;
        let _ = writeln!(
            text,
            "{bundle} · {threads} threads · {isa} on {processor} · {rounds} rounds · spool in {folder}\n\
             network alone {network_ms:.2} ms · {peak_rss_mb:.0} MB resident at most, sender and sink included"
        );
        text
    }
}
