//! Where an archive sends what a C-MOVE names: the daemon's own SCP, on a spool that nobody works on.

use crate::{
    audit::Audit,
    config::{DicomConfig, SpoolConfig},
    current::Current,
    dicom::{access::Access, listener, scp::Scp},
    metrics::Metrics,
    outbox::{self, Outbox},
    shutdown::{self, Trigger},
    spool::Spool,
    uid::Uid,
};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{net::TcpListener, task::JoinHandle};

pub(super) struct Door {
    spool: Arc<Spool>,
    trigger: Trigger,
    ended: JoinHandle<()>,
}

impl Door {
    /// Lets in whom `config` names; what they send goes to `folder`.
    pub(super) async fn open(config: &DicomConfig, folder: &Path) -> Result<Self> {
        let path = folder.join("door");
        let text = format!("path = {path:?}\n");
        let spool: SpoolConfig = toml::from_str(&text).context("our own configuration")?;
        // It delivers nothing, and has asked nobody for storage commitment.
        let outbox =
            Arc::new(Outbox::new(outbox::path_in(&path), Vec::new(), outbox::wall_clock()));
        let spool = Arc::new(Spool::open_with(&spool, outbox.clone())?);
        let access = Arc::new(Current::new(Access::new(config)?));
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("[pacs]: cannot listen at {}", config.listen))?;
        let (trigger, shutdown) = shutdown::channel();
        let scp = Arc::new(Scp {
            config: config.clone(),
            access,
            spool: spool.clone(),
            metrics: Arc::<Metrics>::default(),
            audit: Arc::new(Audit::open(&path)?),
            reports: outbox,
            shutdown,
        });
        Ok(Self { spool, trigger, ended: tokio::spawn(listener::run(listener, scp)) })
    }

    /// Grows with every object that comes.
    pub(super) fn came(&self) -> u64 {
        self.spool.next_sequence()
    }

    pub(super) fn file(&self, instance: &Uid) -> Option<PathBuf> {
        let newest = self.spool.revisions(instance).into_iter().next()?;
        Some(self.spool.image_path(&newest.key))
    }

    /// Lets nobody in any more; how many objects came.
    pub(super) async fn close(self) -> u64 {
        self.trigger.stop();
        let _ = self.ended.await;
        self.spool.from(0, usize::MAX).len() as u64
    }
}
