//! Which bundle answers: the configured file, or whatever the boot record calls active.
//!
//! The boot record decides, nothing else: if the bundle it names cannot be loaded, images wait and
//! `/health` says why. An answer from another bundle than the one that should run would be worse.

use crate::{
    analysis::Loaded,
    audit::{Audit, Event},
    config::{BundleConfig, is_hex_key},
};
use anyhow::{Context, Result, bail};
use bundle::{Bundle, VerifyingKey};
use serde::Serialize;
use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

/// The bundle that answers, replaced while the daemon runs.
#[derive(Debug)]
pub(crate) struct Model {
    config: BundleConfig,
    trusted: Vec<VerifyingKey>,
    threads: usize,
    audit: Arc<Audit>,
    now: RwLock<Now>,
}

#[derive(Clone, Debug, Default)]
struct Now {
    loaded: Option<(Arc<Loaded>, About)>,
    /// What was last tried, and when; not tried again until it changes or some time has passed.
    tried: Option<(Wanted, Instant)>,
    /// Why nothing is loaded, or why nobody knows whether something else should be.
    reason: Option<String>,
}

/// What should run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    path: PathBuf,
    slot: Option<String>,
    /// SHA-256 of the file, if the boot record says so.
    sha256: Option<String>,
}

/// A bundle, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct About {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) digest: String,
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

impl Model {
    pub(crate) fn new(config: BundleConfig, threads: usize, audit: Arc<Audit>) -> Result<Self> {
        let trusted = trusted(&config)?;
        Ok(Self { config, trusted, threads, audit, now: RwLock::default() })
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
        let wanted = wanted(&self.config);
        let before = self.now().clone();
        let next = match (wanted, before.tried) {
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
        let reason = next.reason.clone();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = next;
        match reason {
            Some(reason) if self.config.slots.is_none() => bail!(reason),
            _ => Ok(()),
        }
    }

    /// Loads the bundle anew at the next refresh: after a panic its state is not to be trusted.
    pub(crate) fn distrust(&self) {
        self.now.write().unwrap_or_else(PoisonError::into_inner).tried = None;
    }

    fn load(&self, wanted: Wanted) -> Now {
        let loaded = open(&self.config, &self.trusted, self.threads, &wanted);
        let tried = Some((wanted, Instant::now()));
        match loaded {
            Ok((loaded, about)) => {
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
                Now { loaded: Some((Arc::new(loaded), about)), tried, reason: None }
            }
            Err(error) => Now { loaded: None, tried, reason: Some(format!("{error:#}")) },
        }
    }

    fn now(&self) -> RwLockReadGuard<'_, Now> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a bundle could answer, and which; `None` if none was activated yet.
pub(crate) fn check(config: &BundleConfig, threads: usize) -> Result<Option<About>> {
    let trusted = trusted(config)?;
    let Some(wanted) = wanted(config)? else { return Ok(None) };
    open(config, &trusted, threads, &wanted).map(|(_, about)| Some(about))
}

fn trusted(config: &BundleConfig) -> Result<Vec<VerifyingKey>> {
    config.trusted_keys.iter().map(|key| verifying_key(key)).collect()
}

fn open(
    config: &BundleConfig,
    trusted: &[VerifyingKey],
    threads: usize,
    wanted: &Wanted,
) -> Result<(Loaded, About)> {
    let path = &wanted.path;
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if let Some(expected) = &wanted.sha256 {
        let found = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        anyhow::ensure!(
            found == *expected,
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
        slot: wanted.slot.clone(),
        signed_by,
    };
    let loaded = Loaded::new(&bundle, threads).with_context(|| format!("{}", path.display()))?;
    loaded.self_test(&bundle).with_context(|| format!("{}", path.display()))?;
    Ok((loaded, about))
}

/// `None` before the first activation.
fn wanted(config: &BundleConfig) -> Result<Option<Wanted>> {
    let Some(folder) = &config.slots else {
        let path = config.path.clone().context("[bundle] has neither path nor slots")?;
        return Ok(Some(Wanted { path, slot: None, sha256: None }));
    };
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
    let Some(record) = newest else {
        if present {
            bail!("{}: neither copy of the boot record is whole", folder.display());
        }
        return Ok(None);
    };
    Ok(record.running().map(|(id, slot)| Wanted {
        path: folder.join(id.file_name()),
        slot: Some(id.to_string()),
        sha256: slot.sha256.map(|digest| digest.to_string()),
    }))
}

/// A key from its hexadecimal form, or from a file with that or PEM in it.
fn verifying_key(key: &str) -> Result<VerifyingKey> {
    let text = if is_hex_key(key) {
        key.to_owned()
    } else {
        fs::read_to_string(key).with_context(|| format!("cannot read the key {key}"))?
    };
    bundle::public_key(&text).with_context(|| format!("trusted key {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a panic its state is not to be trusted: the next attempt is not made with the same one.
    #[test]
    fn what_is_distrusted_is_loaded_anew_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chest.bundle");
        let config = BundleConfig {
            path: Some(path.clone()),
            slots: None,
            trusted_keys: Vec::new(),
            allow_unsigned: true,
            poll_seconds: Duration::from_secs(1),
        };
        let audit = Arc::new(Audit::open(folder.path()).unwrap());
        let model = Model::new(config, 1, audit).unwrap();
        let reason = || model.refresh().unwrap_err().to_string();
        assert!(reason().contains("cannot read"));
        fs::write(&path, b"no bundle").unwrap();
        assert!(reason().contains("cannot read"), "not tried again so soon");
        model.distrust();
        let why = reason();
        assert!(!why.contains("cannot read") && why.contains("chest.bundle"), "{why}");
    }
}
