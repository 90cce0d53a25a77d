//! `fleet`: a rollout in waves over an inventory, without a server.
//!
//! ```text
//! boxes.toml ─▶ waves (1, 5%, rest) ─▶ each box of a wave, several at a time (one) ─▶ state file (journal)
//!                                         too many failures in a wave: no further one begins
//! ```
//!
//! The boxes know what runs on them. So a rollout that was cut, or halted and begun again, asks each box first.

mod inventory;
mod journal;
mod one;
mod progress;
mod report;
mod waves;

use crate::Target;
use crate::keys::Keys;
use crate::output::{Ended, Output};
use anyhow::{Context, Error, Result};
use bundle::SealedPack;
use clap::Args;
use firmware_host::Kind;
use inventory::{Entry, Inventory};
use journal::{Journal, Outcome};
use language::Pack;
use one::{Order, What};
use progress::Progress;
use protocol::{Digest, Release, Standing};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};
use waves::Part;

/// Rolls a bundle or a pack out to the boxes of an inventory, wave by wave
#[derive(Debug, Args)]
pub(crate) struct Fleet {
    /// Written by `exporter quantize`; or a pack for the bundles that run, by `exporter prompts`
    bundle: PathBuf,
    /// The boxes: [[boxes]] with name and address
    #[arg(long, value_name = "FILE")]
    inventory: PathBuf,
    /// Sizes of the waves: counts, shares of all boxes, or the rest
    #[arg(long, value_name = "PARTS", default_value = "1,5%,rest", value_delimiter = ',')]
    waves: Vec<Part>,
    /// Failures in a wave, or a share of its boxes, after which nothing more begins
    #[arg(long, value_name = "PART", default_value = "1")]
    halt: Part,
    /// Boxes at a time
    #[arg(long, value_name = "COUNT", default_value = "8")]
    parallel: usize,
    /// How long a box runs the bundle on trial before it is asked to confirm
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    soak: Duration,
    /// A box that is not confirmed after so long has failed
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    limit: Duration,
    /// What was done so far; by default beside the inventory
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// A page with what came of it; by default beside the inventory
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Try the boxes again that failed before
    #[arg(long)]
    again: bool,
    /// Ask every box what it would do, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Give up on a box when it gives no sign of life for so long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Try again for so long when the link to a box breaks
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    retry: Duration,
    #[command(flatten)]
    keys: Keys,
}

impl Fleet {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let file = fs::read(&self.bundle)
            .with_context(|| format!("cannot read {}", self.bundle.display()))?;
        let sha256 = Digest(Sha256::digest(&file).into());
        let (what, release) = self.what(&file, sha256)?;
        let inventory = Inventory::read(&self.inventory)?;
        if self.dry_run {
            return self.rehearse(&inventory, sha256, (what, release), output);
        }
        let order = Order { file, what, soak: self.soak, limit: self.limit };
        let path = self.beside(self.state.as_ref(), "state.json");
        let mut journal = Journal::open(&path, &sha256.to_string(), self.split(&inventory))?;
        let anew = [Outcome::Unreachable, Outcome::Failed];
        journal.forget(if self.again { &anew } else { &anew[..1] });
        let waves = journal.waves().to_vec();
        let progress = Progress::new(inventory.boxes.len(), output);
        let journal = Mutex::new(journal);
        let rollout = Rollout { fleet: &self, order, journal, progress };
        let mut halted = None;
        for (at, wave) in waves.iter().enumerate() {
            let failed = rollout.wave((at + 1, waves.len()), &inventory.named(wave))?;
            if waves::is_halted(self.halt, failed, wave.len()) {
                halted = Some((at + 1, failed));
                break;
            }
        }
        rollout.progress.end();
        let journal = rollout.journal.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.report(&journal, sha256, halted, output)
    }

    /// What boxes know it by; of a bundle, its release.
    fn what(&self, file: &[u8], sha256: Digest) -> Result<(What, Option<Release>)> {
        if SealedPack::is_begun_by(file) {
            let unusable = || format!("{} is not a usable pack", self.bundle.display());
            let sealed = SealedPack::read(file).with_context(unusable)?;
            Pack::unseal(&sealed).with_context(unusable)?;
            return Ok((What::Pack(Digest(sealed.digest())), None));
        }
        let unusable = || format!("{} is not a usable bundle", self.bundle.display());
        let bundle = bundle::Bundle::read(file).with_context(unusable)?;
        let release = bundle.manifest.version.parse::<Release>();
        Ok((What::Bundle(sha256), Some(release.map_err(Error::msg).with_context(unusable)?)))
    }

    /// A file that was named, or one beside the inventory.
    fn beside(&self, named: Option<&PathBuf>, extension: &str) -> PathBuf {
        named.cloned().unwrap_or_else(|| self.inventory.with_added_extension(extension))
    }

    /// Names, wave by wave.
    fn split(&self, inventory: &Inventory) -> Vec<Vec<String>> {
        let mut names = inventory.boxes.iter().map(|entry| entry.name.clone());
        let sizes = waves::sizes(&self.waves, inventory.boxes.len());
        sizes.into_iter().map(|size| names.by_ref().take(size).collect()).collect()
    }

    fn target(&self, entry: &Entry) -> Target {
        let (timeout, retry) = (self.timeout, self.retry);
        let deadline = Duration::from_secs(600);
        let keys = self.keys.for_box(entry.key);
        Target { device: entry.address.clone(), keys, timeout, deadline, retry, record: None }
    }

    /// What each box would do.
    fn rehearse(
        &self,
        inventory: &Inventory,
        sha256: Digest,
        (what, release): (What, Option<Release>),
        output: Output,
    ) -> Result<()> {
        let mut boxes = Vec::new();
        for (at, wave) in self.split(inventory).iter().enumerate() {
            for entry in inventory.named(wave) {
                let seen = self.target(entry).with(|device| Ok(what.seen(device)?));
                let (would, runs) = match &seen {
                    Err(error) => (format!("unreachable: {error:#}"), String::new()),
                    Ok(seen) => (would(seen, release), one::running(&seen.record)),
                };
                boxes.push(
                    json!({ "name": entry.name, "wave": at + 1, "would": would, "now": runs }),
                );
            }
        }
        let lines: Vec<_> = boxes
            .iter()
            .map(|found| {
                let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
                format!(
                    "wave {}  {}  {}  {}",
                    found["wave"],
                    text("name"),
                    text("would"),
                    text("now")
                )
            })
            .collect();
        output.say(&lines.join("\n"), &json!({ "dry_run": true, "sha256": sha256, "boxes": boxes }))
    }

    fn report(
        &self,
        journal: &Journal,
        sha256: Digest,
        halted: Option<(usize, usize)>,
        output: Output,
    ) -> Result<()> {
        let (rows, path) =
            (report::rows(journal), self.beside(self.report.as_ref(), "report.html"));
        let why = halted.map(|(wave, failed)| {
            format!("wave {wave}: {failed} boxes failed, the limit is {}", self.halt)
        });
        let head = report::Head {
            bundle: &self.bundle.display().to_string(),
            sha256: &sha256.to_string(),
            at: &humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            halted: why.as_deref(),
        };
        durable::write(&path, report::page(&head, &rows).as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let document = json!({
            "bundle": self.bundle, "boxes": rows, "report": path,
            "halted": halted.map(|(wave, failed)| json!({ "wave": wave, "failed": failed })),
            "counts": report::counts(&rows),
        });
        let text = rows.iter().map(report::line).collect::<Vec<_>>().join("\n");
        output.say(&text, &document)?;
        let bad = rows.iter().filter(|row| row["good"] == false).count();
        match why {
            Some(why) => Err(Ended::new(Kind::Halted, format!("halted in {why}")).into()),
            None if bad > 0 => {
                let why = format!("{bad} of {} boxes did not take the bundle", rows.len());
                Err(Ended::new(Kind::Incomplete, why).into())
            }
            None => Ok(()),
        }
    }
}

fn would(one::Seen { record, standing, .. }: &one::Seen, release: Option<Release>) -> String {
    let allowed = release.map_or(Ok(()), |release| record.allows(release));
    match (standing, record.trial(), allowed) {
        (Standing::Runs(_), ..) => "nothing: it runs already".into(),
        (Standing::OnTrial(_), ..) => "confirm: it is on trial".into(),
        (_, Some((slot, _)), _) => format!("refuse: slot {slot} is on trial"),
        (_, _, Err(forbidden)) => format!("refuse: {forbidden}"),
        (Standing::Waits(slot) | Standing::Kept(slot), ..) => format!("activate slot {slot}"),
        (Standing::Absent | Standing::Bad(_), ..) => "push and activate".into(),
    }
}

/// A rollout under way.
struct Rollout<'a> {
    fleet: &'a Fleet,
    order: Order,
    journal: Mutex<Journal>,
    progress: Progress,
}

impl Rollout<'_> {
    /// Serves the boxes of a wave that were not served before; how many of the wave failed.
    fn wave(&self, (number, of): (usize, usize), boxes: &[&Entry]) -> Result<usize> {
        let is_open = |entry: &&Entry| self.is_open(entry);
        let (open, served): (Vec<&Entry>, Vec<&Entry>) = boxes.iter().copied().partition(is_open);
        served.iter().for_each(|entry| self.progress.done(&entry.name, None));
        if !open.is_empty() {
            self.progress.wave(number, of, open.len());
        }
        let (next, broken) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || -> Result<()> {
            while !broken.load(Ordering::Relaxed) && !self.is_halted(boxes) {
                let Some(entry) = open.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let step = |what: &str| self.progress.step(&entry.name, what);
                let fared = one::roll_out(&self.fleet.target(entry), &self.order, &step);
                let outcome = format!("{:?}: {}", fared.outcome, fared.detail);
                self.progress.done(&entry.name, Some(&outcome));
                let noted = self.journal().note(&entry.name, fared);
                noted.inspect_err(|_| broken.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let count = self.fleet.parallel.clamp(1, open.len().max(1));
            let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err(Error::msg("a worker panicked")))
            })
        })?;
        Ok(self.failed(boxes))
    }

    fn is_open(&self, entry: &Entry) -> bool {
        self.journal().fared(&entry.name).is_none()
    }

    fn failed(&self, boxes: &[&Entry]) -> usize {
        let journal = self.journal();
        let bad =
            |entry: &&&Entry| journal.fared(&entry.name).is_some_and(|f| !f.outcome.is_good());
        boxes.iter().filter(bad).count()
    }

    fn is_halted(&self, boxes: &[&Entry]) -> bool {
        waves::is_halted(self.fleet.halt, self.failed(boxes), boxes.len())
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
