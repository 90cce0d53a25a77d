//! The daemon on a configuration, for as long as a test takes: everything as it will be, and a door of its own for who
//! tests.
//!
//! The door is on loopback, plain, and lets one AE title in. So a test needs neither the certificate of a modality nor
//! a place in its list, and nobody else gets one.

use super::{
    kept::Kept,
    last_words,
    shared::Shared,
    sockets::{Ready, Sockets},
    tasks::Tasks,
};
use crate::{
    config::{Config, DicomConfig, Peer},
    dicom::{access::Access, listener},
    outbox::Outbox,
    shutdown::{self, Trigger},
    spool::Spool,
};
use anyhow::{Context, Result};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A daemon at work.
pub(crate) struct Trial {
    pub(crate) spool: Arc<Spool>,
    pub(crate) outbox: Arc<Outbox>,
    /// Where whoever tests sends to.
    pub(crate) door: SocketAddr,
    pub(crate) addresses: Ready,
    /// The bundle that answers, or why none does.
    pub(crate) bundle: Result<String, String>,
    trigger: Trigger,
    ended: JoinHandle<Result<()>>,
    shared: Shared,
}

impl Trial {
    /// Starts everything that `runtime serve` starts; `calling` may use the door.
    pub(crate) async fn start(path: &Path, config: &Config, calling: &str) -> Result<Self> {
        let (trigger, shutdown) = shutdown::channel();
        let kept = Kept::open(path, config)?;
        let (spool, outbox) = (kept.spool.clone(), kept.outbox.clone());
        let sockets = Sockets::bind(config).await?;
        let addresses = sockets.addresses.clone();
        let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port is free")?;
        let address = door.local_addr()?;
        let shared = Shared::load(config, kept, &shutdown).await?;
        let scp =
            shared.scp_for(config, Access::new(&alone(&config.dicom, calling))?, shutdown.clone());
        let tasks = Tasks::start(&shared, config, sockets, &shutdown)?;
        tokio::spawn(listener::run(door, scp));
        Ok(Self {
            spool,
            outbox,
            door: address,
            addresses,
            bundle: shared.bundle(),
            trigger,
            ended: tokio::spawn(tasks.ended()),
            shared,
        })
    }

    /// Whether it has ended by itself, which it must not.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_finished()
    }

    /// Stops it as SIGTERM would, and says how that went.
    pub(crate) async fn stop(self) -> Result<()> {
        self.trigger.stop();
        let ended = self.ended.await.context("the daemon panicked").flatten();
        last_words(self.shared, ended.is_ok()).await?;
        ended
    }
}

/// One AE title, without TLS.
fn alone(dicom: &DicomConfig, calling: &str) -> DicomConfig {
    let peer = Peer { ae_title: calling.to_owned(), address: None, certificate: None };
    DicomConfig { peers: vec![peer], tls: None, ..dicom.clone() }
}
