//! What the parts of the daemon share once a bundle is loaded, and each part made of it.

use super::kept::Kept;
use crate::{
    config::Config,
    current::Current,
    dicom::{access::Access, scp::Scp},
    drift::Drift,
    health::{Progress, Watched},
    heartbeat::Heartbeat,
    http::Parts,
    metrics::Metrics,
    model::{About, Model, Status},
    outbox::SpoolSource,
    pictures::Pictures,
    profile::Compute,
    running::Reporter,
    shadow::Shadow,
    shutdown::Shutdown,
    tls::expiry::Watch,
    trouble::Trouble,
    worker::{Seen, Worker},
};
use anyhow::{Context, Result};
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};
use tokio::task::spawn_blocking;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) kept: Kept,
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) watched: Arc<Watched>,
    /// Tells the agent what runs; none where no agent fills slots.
    pub(super) reporter: Option<Arc<Reporter>>,
    compute: Arc<Compute>,
    model: Arc<Model>,
    metrics: Arc<Metrics>,
    trouble: Arc<Trouble>,
    shadow: Option<Arc<Shadow>>,
    drift: Arc<Drift>,
}

impl Shared {
    /// Loads the bundle; starts the one in the shadow.
    pub(super) async fn load(config: &Config, kept: Kept, shutdown: &Shutdown) -> Result<Self> {
        let compute = Arc::new(Compute::new(&config.worker));
        compute.log();
        let (bundle, threads) = (config.bundle.clone(), compute.threads.clone());
        let model = Arc::new(Model::new(bundle, threads, kept.audit.clone())?);
        let heartbeat = Arc::new(Heartbeat::new());
        let reporter = config.bundle.slots.clone().map(|slots| {
            let limit = config.worker.stuck_seconds;
            Arc::new(Reporter::new(slots, model.clone(), heartbeat.clone(), limit))
        });
        // Before the bundle: one that ends the daemon while it loads is to be known by name.
        if let Some(reporter) = reporter.clone() {
            tokio::spawn(reporter.run(shutdown.clone()));
        }
        let first = model.clone();
        spawn_blocking(move || first.refresh()).await.context("loading the bundle panicked")??;
        kept.outbox.audit_to(kept.audit.clone());
        let shadow = config.shadow.as_ref().map(|shadow| {
            let folder = config.spool.path.clone();
            Shadow::start(shadow, &config.bundle, kept.spool.clone(), folder).map(Arc::new)
        });
        let shadow = shadow.transpose()?;
        let answering = model.clone();
        let known = move || answering.current().map(|loaded| loaded.known());
        let drift = Drift::start(config.spool.path.clone(), kept.audit.clone(), Box::new(known));
        let drift = Arc::new(drift?);
        let (metrics, trouble) = (Arc::<Metrics>::default(), Arc::<Trouble>::default());
        let watched = Arc::new(Watched {
            spool: kept.spool.clone(),
            metrics: metrics.clone(),
            model: model.clone(),
            trouble: trouble.clone(),
            heartbeat: heartbeat.clone(),
            audit: kept.audit.clone(),
            outbox: kept.outbox.clone(),
            exposures: kept.exposures.clone(),
            shadow: shadow.clone(),
            drift: drift.clone(),
            certificates: kept.certificates.clone(),
            expiry: Watch::default(),
            compute: compute.clone(),
            worker_limit: config.worker.stuck_seconds,
            progress: Mutex::new(Progress::new()),
        });
        Ok(Self {
            kept,
            heartbeat,
            watched,
            reporter,
            compute,
            model,
            metrics,
            trouble,
            shadow,
            drift,
        })
    }

    /// Where the outbox finds what it delivers.
    pub(super) fn source(&self, config: &Config) -> Arc<SpoolSource> {
        let overlay_pixels = config.worker.overlay_pixels;
        Arc::new(SpoolSource { spool: self.kept.spool.clone(), overlay_pixels })
    }

    /// What the page shows.
    pub(super) fn parts(&self, config: &Config, shutdown: Shutdown) -> Result<Parts> {
        let Kept { spool, audit, outbox, doors, configuration, .. } = self.kept.clone();
        let pictures = Pictures::new(spool.clone(), config.worker.overlay_pixels)?;
        Ok(Parts {
            audit,
            spool,
            metrics: self.metrics.clone(),
            watched: self.watched.clone(),
            pictures: Arc::new(pictures),
            ae_title: config.dicom.ae_title.clone(),
            started: Instant::now(),
            doors,
            configuration,
            outbox,
            shadow: self.shadow.clone(),
            drift: self.drift.clone(),
            shutdown,
        })
    }

    pub(super) fn worker(&self, config: &Config) -> Worker {
        let Kept { spool, audit, outbox, .. } = self.kept.clone();
        Worker {
            config: config.worker.clone(),
            poll: config.bundle.poll_seconds,
            spool,
            compute: self.compute.clone(),
            model: self.model.clone(),
            metrics: self.metrics.clone(),
            trouble: self.trouble.clone(),
            heartbeat: self.heartbeat.clone(),
            audit,
            outbox,
            shadow: self.shadow.clone(),
            seen: Seen::default(),
            drift: self.drift.clone(),
        }
    }

    /// The bundle that answers, or why none does.
    pub(super) fn bundle(&self) -> Result<About, String> {
        let Status { bundle, reason } = self.model.status();
        bundle.ok_or_else(|| reason.unwrap_or_else(|| "no bundle answers".into()))
    }

    pub(super) fn scp(&self, config: &Config, shutdown: Shutdown) -> Arc<Scp> {
        self.provider(config, self.kept.access.clone(), shutdown)
    }

    /// The same with another list of who may send.
    pub(super) fn scp_for(&self, config: &Config, access: Access, shutdown: Shutdown) -> Arc<Scp> {
        self.provider(config, Arc::new(Current::new(access)), shutdown)
    }

    fn provider(
        &self,
        config: &Config,
        access: Arc<Current<Access>>,
        shutdown: Shutdown,
    ) -> Arc<Scp> {
        let Kept { spool, audit, outbox, .. } = self.kept.clone();
        Arc::new(Scp {
            config: config.dicom.clone(),
            access,
            spool,
            metrics: self.metrics.clone(),
            audit,
            reports: outbox,
            shutdown,
        })
    }
}
