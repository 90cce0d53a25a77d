//! A second bundle looks at the images that were answered. What it says goes nowhere but into the comparison.
//!
//! ```text
//! worker ─ offer(key), after the answer ─▶ [one waits] ─▶ thread ─ key ─▶ child process: work
//!                                                           │  ◀── record ──┘
//!                                     pair: what both said ─┤
//!                                                           ├─▶ kept: shadow.log, durable
//!                                                           └─▶ agreement: figures ─▶ page, metrics, report
//! ```
//!
//! Nothing here can hold up or change an answer: whatever goes wrong is counted and told, and the image is skipped.
//! An image is also skipped while others wait for their answers.
//!
//! Start at [`Shadow::offer`]; `pair` and `agreement` are pure.

mod agreement;
mod child;
mod figures;
mod html;
mod kept;
mod pair;
mod report;
mod work;

pub(crate) use agreement::{FindingSummary, Summary};
pub(crate) use report::ShadowVerb;

use crate::{
    config::{BundleConfig, ShadowConfig},
    metrics::Gauge,
    model::{self, BundleFile},
    profile::Threads,
    spool::{Key, Spool},
};
use agreement::Agreement;
use anyhow::{Context, Result};
use child::Child;
use kept::Kept;
use pair::Pair;
use results::{BundleId, Record};
use serde::Serialize;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};
use work::Order;

/// Where images are offered, and what came of it.
#[derive(Debug)]
pub(crate) struct Shadow {
    share: f64,
    offered: SyncSender<Key>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    status: Status,
    agreements: Vec<Agreement>,
}

/// How the shadow is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Status {
    /// The bundle that looks on.
    pub(crate) bundle: Option<BundleId>,
    /// Why there is none, or what went wrong last.
    pub(crate) reason: Option<String>,
    /// Images compared since the start.
    pub(crate) compared: u64,
    pub(crate) skipped: Skipped,
    /// Memory of its process.
    pub(crate) resident_bytes: u64,
}

/// Images that it should have looked at and did not, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    /// Images waited for their answers, or it was still at the one before.
    pub(crate) busy: u64,
    /// No bundle is loaded.
    pub(crate) not_ready: u64,
    /// It ended, hung or failed over the image, or the pair could not be kept.
    pub(crate) failed: u64,
}

impl Status {
    /// For `/metrics`: name, help, value.
    pub(crate) fn gauges(&self) -> [Gauge; 6] {
        let Skipped { busy, not_ready, failed } = self.skipped;
        [
            ("cxr_shadow_ready", "1 if a second bundle looks on", u64::from(self.bundle.is_some())),
            ("cxr_shadow_compared", "Images it looked at since the start", self.compared),
            ("cxr_shadow_skipped_busy", "Images it left out, since others waited", busy),
            (
                "cxr_shadow_skipped_not_ready",
                "Images it left out, since it was not loaded",
                not_ready,
            ),
            ("cxr_shadow_failed", "Images it failed over", failed),
            ("cxr_shadow_resident_bytes", "Memory of its process", self.resident_bytes),
        ]
    }
}

/// How often it is looked up which bundle it should be.
const LOOK: Duration = Duration::from_secs(1);

impl Shadow {
    /// Starts the thread; the bundle is loaded behind the daemon's start.
    pub(crate) fn start(
        config: &ShadowConfig,
        bundle: &BundleConfig,
        spool: Arc<Spool>,
        folder: PathBuf,
    ) -> Result<Self> {
        let (offered, keys) = mpsc::sync_channel(1);
        let state = Arc::<Mutex<State>>::default();
        let thread = Thread {
            config: config.clone(),
            bundle: bundle.clone(),
            spool,
            folder,
            state: state.clone(),
        };
        thread::Builder::new()
            .name("shadow".into())
            .spawn(move || thread.run(&keys))
            .context("cannot start the thread of the shadow")?;
        Ok(Self { share: config.share, offered, state })
    }

    /// An image was answered and analysed. Returns at once.
    pub(crate) fn offer(&self, key: &Key) {
        if is_chosen(key, self.share) && self.offered.try_send(key.clone()).is_err() {
            lock(&self.state).status.skipped.busy += 1;
        }
    }

    /// As long as it starts, `reason` is empty and there is no bundle.
    pub(crate) fn status(&self) -> Status {
        lock(&self.state).status.clone()
    }

    /// Figures of the two bundles that were compared last.
    pub(crate) fn summary(&self) -> Option<Summary> {
        lock(&self.state).agreements.last().map(Agreement::summary)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Counters and figures; a panic leaves them a pair short at worst.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By contents: the digest is as good as random, and the same image is chosen again.
fn is_chosen(key: &Key, share: f64) -> bool {
    (key.digest as f64) < share * u64::MAX as f64 || share >= 1.0
}

/// Whether a bundle would look on.
pub(crate) fn check(config: &ShadowConfig, bundle: &BundleConfig) -> Result<()> {
    let target = target(config, bundle)?.context(NOTHING_STAGED)?;
    model::load(bundle, &Threads::unbound(1), &target.file).map(drop)
}

const NOTHING_STAGED: &str = "the standby slot holds no whole bundle";

/// `None` if nothing is staged.
fn target(config: &ShadowConfig, bundle: &BundleConfig) -> Result<Option<Target>> {
    let Some(path) = &config.path else {
        let file = model::standby(bundle)?;
        return Ok(file.map(|file| Target { file, version: None }));
    };
    let about = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    let version = Some((about.len(), about.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
    let file = BundleFile { path: path.clone(), sha256: None };
    Ok(Some(Target { file, version }))
}

/// The bundle file that should look on, and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    file: BundleFile,
    /// Of a file without a digest: it may be replaced in place.
    version: Option<(u64, SystemTime)>,
}

#[derive(Debug)]
struct Thread {
    config: ShadowConfig,
    bundle: BundleConfig,
    spool: Arc<Spool>,
    /// Of the spool.
    folder: PathBuf,
    state: Arc<Mutex<State>>,
}

/// The process at work, or when the next one is tried.
#[derive(Debug, Default)]
struct Now {
    target: Option<Target>,
    child: Option<Child>,
    failures: u32,
    again: Option<Instant>,
}

impl Thread {
    fn run(self, keys: &Receiver<Key>) {
        let opened = kept::agreements(&self.folder)
            .and_then(|all| Ok((all, Kept::open(&self.folder, self.config.max_log_bytes)?)));
        let mut kept = match opened {
            Ok((agreements, kept)) => {
                lock(&self.state).agreements = agreements;
                kept
            }
            Err(error) => return self.tell(Some(format!("{error:#}"))),
        };
        let mut now = Now::default();
        loop {
            let key = match keys.recv_timeout(LOOK) {
                Ok(key) => Some(key),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let round = || self.round(&mut now, &mut kept, key.as_ref());
            if catch_unwind(AssertUnwindSafe(round)).is_err() {
                self.failed(&mut now, "comparing panicked".into());
            }
        }
    }

    fn round(&self, now: &mut Now, kept: &mut Kept, key: Option<&Key>) {
        self.refresh(now);
        let Some(key) = key else { return };
        let busy = {
            let counts = self.spool.counts();
            counts.waiting + counts.running > 0
        };
        let Some(child) = now.child.as_mut().filter(|_| !busy) else {
            let skipped = &mut lock(&self.state).status.skipped;
            *(if busy { &mut skipped.busy } else { &mut skipped.not_ready }) += 1;
            return;
        };
        let looked = child.look(key);
        let resident = child.resident().unwrap_or_default();
        match looked.and_then(|shadow| self.compare(key, &shadow, kept)) {
            Ok(pair) => {
                let mut state = lock(&self.state);
                kept::add(&mut state.agreements, &pair);
                state.status.compared += 1;
                state.status.resident_bytes = resident;
                state.status.reason = None;
                now.failures = 0;
            }
            Err(error) => self.failed(now, format!("{}: {error:#}", key.label())),
        }
    }

    fn compare(&self, key: &Key, shadow: &Record, kept: &mut Kept) -> Result<Pair> {
        let json = self.spool.result(key).context("its answer cannot be read")?;
        let answer: Record = serde_json::from_slice(&json).context("its answer is damaged")?;
        let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let pair = Pair::of(key.sequence, at, &answer, shadow)?;
        kept.add(&pair).context("the pair cannot be kept")?;
        Ok(pair)
    }

    /// Has the right bundle loaded, if there is one and it does not fail.
    fn refresh(&self, now: &mut Now) {
        let target = match target(&self.config, &self.bundle) {
            Ok(Some(target)) => target,
            Ok(None) => return self.without(now, NOTHING_STAGED.into()),
            Err(error) => return self.without(now, format!("{error:#}")),
        };
        let same = now.target.as_ref() == Some(&target);
        let waits = now.again.is_some_and(|again| Instant::now() < again);
        if same && (now.child.is_some() || waits) {
            return;
        }
        if !same {
            *now = Now { target: Some(target.clone()), ..Now::default() };
            lock(&self.state).status.bundle = None;
        }
        let images = self.folder.join("images");
        let memory = self.config.max_memory_bytes;
        match Child::start(&Order::new(&target.file, &self.bundle, images, memory)) {
            Ok(child) => {
                let BundleId { id, version, digest, .. } = &child.bundle;
                log::info!("bundle {id} {version} ({digest}) looks on");
                let mut state = lock(&self.state);
                state.status.bundle = Some(child.bundle.clone());
                state.status.resident_bytes = child.resident().unwrap_or_default();
                state.status.reason = None;
                (now.child, now.again) = (Some(child), None);
            }
            Err(error) => self.rest(now, format!("{error:#}")),
        }
    }

    fn without(&self, now: &mut Now, why: String) {
        *now = Now::default();
        self.tell(Some(why));
    }

    /// The image was not compared; the process is not to be trusted any more.
    fn failed(&self, now: &mut Now, why: String) {
        self.rest(now, why);
        lock(&self.state).status.skipped.failed += 1;
    }

    /// Nothing is loaded for a while, longer after each failure.
    fn rest(&self, now: &mut Now, why: String) {
        now.child = None;
        now.failures = now.failures.saturating_add(1);
        // 2, 4, 8 … seconds, at most ten minutes.
        let pause = Duration::from_secs((1 << now.failures.min(10)).min(600));
        now.again = Some(Instant::now() + pause);
        self.tell(Some(why));
    }

    fn tell(&self, reason: Option<String>) {
        let mut state = lock(&self.state);
        if let Some(why) = reason.as_ref().filter(|_| state.status.reason != reason) {
            log::warn!("nothing looks on: {why}");
        }
        let status = &mut state.status;
        (status.reason, status.bundle, status.resident_bytes) = (reason, None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::SpoolConfig, uid::Uid};

    fn key(digest: u64) -> Key {
        Key { sequence: 1, uid: Uid::parse("1.2").expect("a UID"), digest }
    }

    #[test]
    fn about_the_share_is_chosen_and_the_same_image_always_is() {
        let digests = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15); // spread over all values
        let chosen = (0..10_000).filter(|&n| is_chosen(&key(digests(n)), 0.25)).count();
        assert!((2400..2600).contains(&chosen), "{chosen}");
        assert!((0..10_000).all(|n| is_chosen(&key(digests(n)), 1.0)));
        assert!(is_chosen(&key(u64::MAX), 1.0) && !is_chosen(&key(u64::MAX), 0.999));
    }

    /// Answers come first: whoever waits for one is not held up by a comparison.
    #[test]
    fn an_image_is_left_out_while_another_one_waits() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&SpoolConfig::at(folder.path().to_owned())).unwrap();
        let store = |uid: &str| {
            let mut incoming = spool.begin().unwrap();
            incoming.write(uid.as_bytes()).unwrap();
            incoming.commit(Uid::parse(uid).unwrap()).unwrap().key().clone()
        };
        let (answered, waits) = (store("1.1"), store("1.2"));
        spool.take(Instant::now()).unwrap();
        spool.answer(&answered, b"{}").unwrap();
        spool.publish(&answered);
        let bundle = BundleConfig {
            path: Some(folder.path().join("none")),
            slots: None,
            trusted_keys: Vec::new(),
            keyring: None,
            allow_unsigned: true,
            poll_seconds: LOOK,
            test_seconds: LOOK,
        };
        let config = toml::from_str("path = \"none\"").unwrap();
        let thread = Thread {
            config,
            bundle,
            spool: Arc::new(spool),
            folder: folder.path().to_owned(),
            state: Arc::default(),
        };
        let mut kept = Kept::open(folder.path(), 1 << 20).unwrap();
        let mut round = || thread.round(&mut Now::default(), &mut kept, Some(&answered));
        round();
        thread.spool.take(Instant::now()).unwrap(); // it is being answered: no better
        round();
        let skipped = |thread: &Thread| lock(&thread.state).status.skipped;
        assert_eq!(skipped(&thread), Skipped { busy: 2, ..Skipped::default() });
        thread.spool.answer(&waits, b"{}").unwrap();
        thread.spool.publish(&waits);
        thread.round(&mut Now::default(), &mut kept, Some(&answered));
        assert_eq!(skipped(&thread), Skipped { busy: 2, not_ready: 1, failed: 0 });
    }
}
