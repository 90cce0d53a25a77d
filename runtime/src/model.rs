//! Which bundle answers: the configured file, or whatever the boot record calls active.
//!
//! The boot record decides, nothing else: if the bundle it names cannot be loaded, images wait and
//! `/health` says why. An answer from another bundle than the one that should run would be worse.

use crate::{
    analysis::Loaded,
    audit::{Audit, Event},
    config::BundleConfig,
    packs,
    profile::Threads,
    trust::{configured, trusted},
};
use anyhow::{Context, Result, bail};
use bundle::{Bundle, VerifyingKey};
use machine::Machine;
use protocol::{BootRecord, Candidate, Digest, SlotId, SlotState};
use results::PackId;
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// The bundle that answers, replaced while the daemon runs.
#[derive(Debug)]
pub(crate) struct Model {
    config: BundleConfig,
    /// Keys of the configuration; a keyring may add to them, and revoke them.
    configured: Vec<VerifyingKey>,
    threads: Threads,
    audit: Arc<Audit>,
    now: RwLock<Now>,
    tally: Mutex<Tally>,
    /// Rung when a bundle is to be loaded, was loaded, or failed.
    pub(crate) news: Notify,
}

#[derive(Clone, Debug, Default)]
struct Now {
    loaded: Option<(Arc<Loaded>, About)>,
    /// What was last tried, and when; not tried again until it changes or some time has passed.
    tried: Option<(Wanted, Instant)>,
    /// Why nothing is loaded, or why nobody knows whether something else should be.
    reason: Option<String>,
    on_trial: bool,
    /// When the golden vectors last came out right.
    tested: Option<Instant>,
}

/// What should run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    path: PathBuf,
    /// Who may have signed it. If that changes, the bundle is checked anew.
    trusted: Vec<VerifyingKey>,
    /// What the boot record says of it, if there is one.
    slot: Option<Candidate>,
}

/// What became of the bundle that should run, since it should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    of: Option<Candidate>,
    /// None: it does not answer.
    pub(crate) golden_vectors: u32,
    /// Seconds since the machine started.
    pub(crate) loaded_seconds: u64,
    pub(crate) answered: u64,
    pub(crate) failures: u64,
    pub(crate) failure: Option<String>,
}

/// What should run by the boot record, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obeyed {
    pub(crate) candidate: Candidate,
    pub(crate) on_trial: bool,
    pub(crate) tally: Tally,
}

/// A bundle, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct About {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) digest: String,
    /// What was added to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) packs: Vec<PackId>,
    pub(crate) slot: Option<String>,
    /// Key of a trusted signer, hexadecimal.
    pub(crate) signed_by: Option<String>,
}

/// What `/health` shows.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) bundle: Option<About>,
    /// Why there is none, or why it is not known whether another one should run.
    pub(crate) reason: Option<String>,
}

/// How long a bundle that could not be loaded is left alone.
const RETRY: Duration = Duration::from_secs(30);
/// How often at least a bundle on trial reproduces its golden vectors again.
const TRIAL_TEST: Duration = Duration::from_secs(60);
/// Longest reason kept of a failure, in bytes.
const FAILURE_LIMIT: usize = 2048;

impl Model {
    pub(crate) fn new(config: BundleConfig, threads: Threads, audit: Arc<Audit>) -> Result<Self> {
        let configured = configured(&config)?;
        let (now, tally, news) = (RwLock::default(), Mutex::default(), Notify::new());
        Ok(Self { config, configured, threads, audit, now, tally, news })
    }

    /// The bundle that answers.
    pub(crate) fn current(&self) -> Option<Arc<Loaded>> {
        self.now().loaded.as_ref().map(|(loaded, _)| loaded.clone())
    }

    pub(crate) fn status(&self) -> Status {
        let now = self.now();
        Status {
            bundle: now.loaded.as_ref().map(|(_, about)| about.clone()),
            reason: now.reason.clone(),
        }
    }

    /// Looks up what should run and loads it if it is not what runs. Blocks while loading.
    ///
    /// Fails if the configured file cannot be used; with slots, that is a state, not an error.
    pub(crate) fn refresh(&self) -> Result<()> {
        let wanted = wanted(&self.config, &self.configured);
        let before = self.now().clone();
        let on_trial = wanted.as_ref().map_or(before.on_trial, |(_, on_trial)| *on_trial);
        let next = match (wanted.map(|(wanted, _)| wanted), before.tried) {
            (Ok(Some(wanted)), Some((tried, at)))
                if tried == wanted && (before.loaded.is_some() || at.elapsed() < RETRY) =>
            {
                // What was said of a record that could not be read is over.
                let reason = before.reason.filter(|_| before.loaded.is_none());
                Now { tried: Some((tried, at)), reason, ..before }
            }
            (Ok(Some(wanted)), _) => self.load(wanted),
            (Ok(None), _) => {
                Now { reason: Some("no bundle was activated yet".into()), ..Now::default() }
            }
            // What runs goes on: that a record cannot be read says nothing against it.
            (Err(error), tried) => Now { tried, reason: Some(format!("{error:#}")), ..before },
        };
        if let Some(reason) = next.reason.as_deref().filter(|_| next.reason != self.now().reason) {
            let answers = if next.loaded.is_some() {
                "the loaded bundle goes on"
            } else {
                "no bundle answers"
            };
            log::warn!("{answers}: {reason}");
        }
        let about = |now: &Now| now.loaded.as_ref().map(|(_, about)| about.clone());
        if about(&next) != about(&self.now()) {
            let About { id, version, digest, slot, .. } = about(&next).unwrap_or_default();
            self.audit.write(Event::Bundle { id, version, digest, slot });
        }
        let next = Now { on_trial, ..next };
        let reason = next.reason.clone();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = next;
        match reason {
            Some(reason) if self.config.slots.is_none() => bail!(reason),
            _ => Ok(()),
        }
    }

    /// Loads the bundle anew at the next refresh: after a panic its state is not to be trusted.
    pub(crate) fn distrust(&self) {
        self.failed("the analysis of an image panicked");
        self.now.write().unwrap_or_else(PoisonError::into_inner).tried = None;
    }

    fn load(&self, wanted: Wanted) -> Now {
        if self.tally().of != wanted.slot {
            *self.tally() = Tally { of: wanted.slot, ..Tally::default() };
            // A bundle that ends the daemon while it loads is to be known by name.
            self.news.notify_one();
        }
        let loaded = open(&self.config, &self.threads, &wanted);
        let now = Instant::now();
        let tried = Some((wanted, now));
        match loaded {
            Ok((loaded, about, golden_vectors)) => {
                self.loaded(golden_vectors);
                let slot = about
                    .slot
                    .as_ref()
                    .map(|slot| format!(" from slot {slot}"))
                    .unwrap_or_default();
                log::info!(
                    "bundle {} {} ({}){slot} answers",
                    about.id,
                    about.version,
                    about.digest
                );
                let loaded = Some((Arc::new(loaded), about));
                Now { loaded, tried, tested: Some(now), ..Now::default() }
            }
            Err(error) => self.unusable(tried, format!("{error:#}")),
        }
    }

    fn loaded(&self, golden_vectors: u32) {
        let mut tally = self.tally();
        tally.golden_vectors = golden_vectors;
        tally.loaded_seconds = Machine::new("/".as_ref()).moment().uptime.as_secs();
        drop(tally);
        self.news.notify_one();
    }

    fn unusable(&self, tried: Option<(Wanted, Instant)>, reason: String) -> Now {
        self.tally().golden_vectors = 0;
        self.failed(&reason);
        Now { tried, reason: Some(reason), ..Now::default() }
    }

    /// Reproduces the golden vectors again if it is time to. A bundle that answers otherwise than it should is not
    /// asked any more.
    pub(crate) fn test_again(&self) {
        let now = self.now().clone();
        let (Some((loaded, _)), Some(tested)) = (&now.loaded, now.tested) else { return };
        let every = if now.on_trial { TRIAL_TEST } else { Duration::MAX };
        if tested.elapsed() < every.min(self.config.test_seconds) {
            return;
        }
        let next = match loaded.self_test() {
            Ok(_) => Now { tested: Some(Instant::now()), ..now },
            Err(error) => {
                let reason = format!("the loaded bundle is not used any more: {error:#}");
                log::error!("{reason}");
                let tried = now.tried.map(|(wanted, _)| (wanted, Instant::now()));
                Now { on_trial: now.on_trial, ..self.unusable(tried, reason) }
            }
        };
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// Counts an image that the bundle answered.
    pub(crate) fn answered(&self) {
        let mut tally = self.tally();
        tally.answered = tally.answered.saturating_add(1);
    }

    /// Counts a failure of the bundle. The reason must not quote an image.
    pub(crate) fn failed(&self, why: &str) {
        let mut tally = self.tally();
        tally.failures = tally.failures.saturating_add(1);
        let end = (0..=FAILURE_LIMIT.min(why.len())).rev().find(|&at| why.is_char_boundary(at));
        tally.failure = Some(why[..end.unwrap_or(0)].to_owned());
        drop(tally);
        self.news.notify_one();
    }

    /// What should run by the boot record, if there is one, and what became of it.
    pub(crate) fn obeyed(&self) -> Option<Obeyed> {
        let on_trial = self.now().on_trial;
        let tally = self.tally().clone();
        Some(Obeyed { candidate: tally.of?, on_trial, tally })
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> RwLockReadGuard<'_, Now> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a bundle could answer, and which; `None` if none was activated yet.
pub(crate) fn check(config: &BundleConfig, threads: &Threads) -> Result<Option<About>> {
    let (Some(wanted), _) = wanted(config, &configured(config)?)? else { return Ok(None) };
    open(config, threads, &wanted).map(|(_, about, _)| Some(about))
}

/// The file that should answer; `None` before the first activation.
pub(crate) fn active(config: &BundleConfig) -> Result<Option<BundleFile>> {
    let (wanted, _) = wanted(config, &configured(config)?)?;
    let file = |wanted: Wanted| {
        let sha256 = wanted.slot.map(|candidate| candidate.digest);
        BundleFile { path: wanted.path, sha256 }
    };
    Ok(wanted.map(file))
}

/// A file with a bundle, and what it must contain if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BundleFile {
    pub(crate) path: PathBuf,
    pub(crate) sha256: Option<Digest>,
}

/// Loads a bundle that those whom `config` trusts have signed, and has it prove itself.
pub(crate) fn load(
    config: &BundleConfig,
    threads: &Threads,
    file: &BundleFile,
) -> Result<(Loaded, About)> {
    let trusted = trusted(config, &configured(config)?)?;
    let (loaded, about, _) = read(config, &trusted, threads, file)?;
    Ok((loaded, about))
}

/// What lies in the slot that does not run, if it is whole.
pub(crate) fn standby(config: &BundleConfig) -> Result<Option<BundleFile>> {
    let folder = config.slots.as_ref().context("[bundle] has no slots")?;
    let Some(record) = record(folder)? else { return Ok(None) };
    let whole =
        |id: &SlotId| matches!(record.slot(*id).state, SlotState::Verified | SlotState::Confirmed);
    let idle = SlotId::ALL.into_iter().filter(|id| record.active != Some(*id)).find(whole);
    Ok(idle
        .map(|id| BundleFile { path: folder.join(id.file_name()), sha256: record.slot(id).sha256 }))
}

fn open(config: &BundleConfig, threads: &Threads, wanted: &Wanted) -> Result<(Loaded, About, u32)> {
    let sha256 = wanted.slot.map(|candidate| candidate.digest);
    let file = BundleFile { path: wanted.path.clone(), sha256 };
    let (loaded, about, golden_vectors) = read(config, &wanted.trusted, threads, &file)?;
    let slot = wanted.slot.map(|candidate| candidate.slot.to_string());
    Ok((loaded, About { slot, ..about }, golden_vectors))
}

fn read(
    config: &BundleConfig,
    trusted: &[VerifyingKey],
    threads: &Threads,
    BundleFile { path, sha256 }: &BundleFile,
) -> Result<(Loaded, About, u32)> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if let Some(expected) = *sha256 {
        let found = Digest(<sha2::Sha256 as sha2::Digest>::digest(&bytes).into());
        anyhow::ensure!(
            found == expected,
            "{}: SHA-256 is {found}, the boot record says {expected}",
            path.display()
        );
    }
    let bundle = Bundle::read(bytes).with_context(|| format!("{}", path.display()))?;
    let trust = bundle.check_signature(trusted);
    let signed_by =
        bundle.signature().filter(|_| trust.is_ok()).map(|s| hex::encode(s.key.as_bytes()));
    match trust {
        Err(error) if !config.allow_unsigned => {
            return Err(error).with_context(|| format!("{}", path.display()));
        }
        Err(error) => {
            log::warn!("{}: {error}; allowed by bundle.allow_unsigned", path.display())
        }
        Ok(()) => {}
    }
    let about = About {
        id: bundle.manifest.id.clone(),
        version: bundle.manifest.version.clone(),
        digest: bundle.digest(),
        packs: packs::names(&bundle),
        slot: None,
        signed_by,
    };
    let loaded = threads
        .bound(|| Loaded::new(&bundle, threads.count))
        .with_context(|| format!("{}", path.display()))?;
    let golden_vectors = loaded.self_test().with_context(|| format!("{}", path.display()))?;
    Ok((loaded, about, golden_vectors))
}

/// What should run, `None` before the first activation, and whether it is on trial.
fn wanted(config: &BundleConfig, configured: &[VerifyingKey]) -> Result<(Option<Wanted>, bool)> {
    let trusted = trusted(config, configured)?;
    let Some(folder) = &config.slots else {
        let path = config.path.clone().context("[bundle] has neither path nor slots")?;
        return Ok((Some(Wanted { path, trusted, slot: None }), false));
    };
    let Some(record) = record(folder)? else { return Ok((None, false)) };
    let wanted = record.to_run().map(|slot| Wanted {
        path: folder.join(slot.slot.file_name()),
        trusted,
        slot: Some(slot),
    });
    Ok((wanted, record.trial().is_some()))
}

/// The boot record; `None` before the first activation.
pub(crate) fn record(folder: &Path) -> Result<Option<BootRecord>> {
    let mut copies = [None, None];
    for (copy, name) in copies.iter_mut().zip(protocol::RECORD_FILES) {
        let path = folder.join(name);
        *copy = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
    }
    let present = copies.iter().any(Option::is_some);
    let newest = protocol::newest([copies[0].as_deref(), copies[1].as_deref()])
        .with_context(|| format!("{}: boot record", folder.display()))?;
    if newest.is_none() && present {
        bail!("{}: neither copy of the boot record is whole", folder.display());
    }
    Ok(newest)
}

#[cfg(test)]
mod tests;
