//! What the daemon keeps on disk and what may be replaced while it runs: opened before anything listens.

use crate::{
    audit::{Audit, Event},
    config::Config,
    configuration::Configuration,
    current::Current,
    dicom::access::Access,
    exposures::Exposures,
    http::{Doors, rfc3339},
    logbook,
    outbox::{self, Outbox},
    reload::Reload,
    spool::Spool,
    tls::expiry::Configured,
};
use anyhow::{Context, Result};
use std::{path::Path, sync::Arc, time::SystemTime};
use tokio::{signal::unix, task::spawn_blocking};

/// Shared by all parts of the daemon.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) access: Arc<Current<Access>>,
    pub(super) doors: Arc<Current<Doors>>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) spool: Arc<Spool>,
    pub(super) audit: Arc<Audit>,
    pub(super) configuration: Arc<Configuration>,
    pub(super) certificates: Arc<Current<Vec<Configured>>>,
    pub(super) exposures: Option<Arc<Exposures>>,
}

impl Kept {
    /// Opens all of it. From now on SIGHUP reads the configuration in `path` again.
    pub(super) fn open(path: &Path, config: &Config) -> Result<Self> {
        let access = Arc::new(Current::new(Access::new(&config.dicom)?));
        let doors = Arc::new(Current::new(Doors::new(&config.http)?));
        // First of all: another daemon may work there.
        let outbox = Arc::new(Outbox::new(
            outbox::path_in(&config.spool.path),
            config.destinations.clone(),
            outbox::wall_clock(),
        ));
        let spool = Arc::new(Spool::open_with(&config.spool, outbox.clone())?);
        if let Some(slots) = &config.bundle.slots
            && let Err(error) = logbook::keep_in(slots)
        {
            log::warn!("{}: the agent cannot read our log: {error}", slots.display());
        }
        let audit = Arc::new(Audit::open(&config.spool.path)?);
        audit.write(Event::Start { version: env!("CARGO_PKG_VERSION") });
        let configuration = Arc::new(Configuration::new(rfc3339(SystemTime::now())));
        let certificates = Arc::new(Current::new(config.certificates()));
        let exposures = None;
        let mut kept =
            Self { access, doors, outbox, spool, audit, configuration, certificates, exposures };
        kept.reload_on_signal(path, config)?;
        if let Some(exposures) = config.exposures.clone() {
            let path = config.spool.path.join("exposures.json");
            let (spool, audit) = (kept.spool.clone(), kept.audit.clone());
            kept.exposures = Some(Arc::new(Exposures::open(exposures, spool, audit, path)?));
        }
        Ok(kept)
    }

    fn reload_on_signal(&self, path: &Path, config: &Config) -> Result<()> {
        let reload = Arc::new(Reload {
            path: path.to_owned(),
            running: config.clone(),
            access: self.access.clone(),
            doors: self.doors.clone(),
            outbox: self.outbox.clone(),
            configuration: self.configuration.clone(),
            certificates: self.certificates.clone(),
            audit: self.audit.clone(),
        });
        let hangup = unix::SignalKind::hangup();
        let mut hangup = unix::signal(hangup).context("cannot handle SIGHUP")?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                let reload = reload.clone();
                if spawn_blocking(move || reload.run()).await.is_err() {
                    log::error!("reading the configuration again panicked, the old one stays");
                }
            }
        });
        Ok(())
    }

    /// Says what the spool holds.
    pub(super) fn log_counts(&self, spool: &Path) {
        let counts = self.spool.counts();
        log::info!(
            "spool {}: {} waiting, {} answered",
            spool.display(),
            counts.waiting,
            counts.answered
        );
    }
}
