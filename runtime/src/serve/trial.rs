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
    dicom::{
        access::Access,
        listener,
        scu::{self, Association, Object, Proposal},
    },
    model::About,
    outbox::Outbox,
    shutdown::{self, Trigger},
    spool::{Key, Spool, State},
    uid::Uid,
};
use anyhow::{Context, Result, ensure};
use results::Record;
use std::{
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A daemon at work.
pub(crate) struct Trial {
    pub(crate) spool: Arc<Spool>,
    pub(crate) outbox: Arc<Outbox>,
    /// Where whoever tests sends to, and by which names.
    door: scu::Peer,
    pub(crate) addresses: Ready,
    /// The bundle that answers, or why none does.
    pub(crate) bundle: Result<About, String>,
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
        // One AE title, without TLS.
        let caller = Peer { ae_title: calling.to_owned(), address: None, certificate: None };
        let alone = DicomConfig { peers: vec![caller], tls: None, ..config.dicom.clone() };
        let scp = shared.scp_for(config, Access::new(&alone)?, shutdown.clone());
        let tasks = Tasks::start(&shared, config, sockets, &shutdown)?;
        tokio::spawn(listener::run(door, scp));
        Ok(Self {
            spool,
            outbox,
            door: scu::Peer {
                calling: calling.to_owned(),
                called: config.dicom.ae_title.clone(),
                address: address.to_string(),
                tls: None,
                timeout: TIMEOUT,
            },
            addresses,
            bundle: shared.bundle(),
            trigger,
            ended: tokio::spawn(tasks.ended()),
            shared,
        })
    }

    /// Sends an object by C-STORE, in an association of its own, as a modality would.
    pub(crate) async fn store(
        &self,
        syntaxes: &'static [&'static str],
        class: &'static str,
        (instance, dataset): (&str, &[u8]),
    ) -> Result<()> {
        let proposal = Proposal { class, syntaxes };
        let mut association = Association::open(&self.door, &[proposal]).await?;
        let object = Object { class, instance, dataset, urgent: false };
        let response = association.store(&object).await;
        association.release().await;
        let response = response?;
        let (status, comment) = (response.status, response.comment);
        ensure!(
            status == 0,
            "C-STORE was answered with status {status:04X} {comment}, expected 0000"
        );
        Ok(())
    }

    /// The answer to an image, once it is there; none in time, or the daemon has ended.
    pub(crate) async fn answer(
        &self,
        instance: &str,
        wait: Duration,
    ) -> Result<Option<(Key, Record)>> {
        let uid = Uid::parse(instance)?;
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.has_ended() {
            let entries = self.spool.revisions(&uid);
            if let Some(entry) = entries.iter().find(|entry| entry.state == State::Answered) {
                let json = self.spool.result(&entry.key).context("cannot read the answer")?;
                let record = serde_json::from_slice(&json).context("the answer is damaged")?;
                return Ok(Some((entry.key.clone(), record)));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(None)
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

/// How often it is looked whether an answer is there.
const LOOK: Duration = Duration::from_millis(5);
/// Of one message on the way to the door.
const TIMEOUT: Duration = Duration::from_secs(30);
