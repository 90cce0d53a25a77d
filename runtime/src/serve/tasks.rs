//! The parts of the daemon at work, and how they end.
//!
//! Worker, outbox and web server must not end by themselves: if one does, the daemon does, and systemd starts a
//! new one.

use super::{shared::Shared, sockets::Sockets};
use crate::{
    audit::{Audit, Event},
    config::Config,
    dicom::{listener, scp::Scp},
    forced::Forced,
    health::{self, Watched, Word},
    heartbeat::Heartbeat,
    http,
    notify::Notifier,
    shutdown::Shutdown,
    spool::Spool,
};
use anyhow::{Context, Result, ensure};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    task::{AbortHandle, JoinHandle, spawn_blocking},
};

/// All parts; the DICOM listener begins with [`Tasks::ended`].
pub(super) struct Tasks {
    deliveries: JoinHandle<()>,
    web: JoinHandle<io::Result<()>>,
    work: JoinHandle<()>,
    dicom: TcpListener,
    scp: Arc<Scp>,
    heartbeat: Arc<Heartbeat>,
    worker_limit: Duration,
    shutdown: Shutdown,
}

impl Tasks {
    pub(super) fn start(
        shared: &Shared,
        config: &Config,
        sockets: Sockets,
        shutdown: &Shutdown,
    ) -> Result<Self> {
        let (kept, stop) = (&shared.kept, || shutdown.clone());
        let outbox = kept.outbox.clone();
        let calling = config.dicom.ae_title.clone();
        let deliveries = tokio::spawn(outbox.run(calling, shared.source(config), stop()));
        let parts = shared.parts(config, stop())?;
        if let Some(slots) = &config.bundle.slots {
            let forced = Forced::open(slots, &config.spool.path, kept.audit.clone())?;
            tokio::spawn(forced.run(stop()));
        }
        tokio::spawn(tidy(kept.spool.clone(), kept.audit.clone(), stop()));
        if let Some(exposures) = kept.exposures.clone() {
            let watched = shared.watched.clone();
            let is_healthy = move || health::judge(&watched.facts()).word == Word::Ok;
            tokio::spawn(exposures.run(is_healthy, stop()));
        }
        let web = tokio::spawn(http::run(sockets.http, parts, config.http.clone()));
        let (worker, runtime, told) = (shared.worker(config), Handle::current(), stop());
        Ok(Self {
            deliveries,
            web,
            work: spawn_blocking(move || worker.run(&runtime, &told)),
            dicom: sockets.dicom,
            scp: shared.scp(config, stop()),
            heartbeat: shared.heartbeat.clone(),
            worker_limit: config.worker.stuck_seconds,
            shutdown: stop(),
        })
    }

    /// Ends the web server with the connections that are kept alive: they do not hold up a stop.
    pub(super) fn connections(&self) -> AbortHandle {
        self.web.abort_handle()
    }

    /// Serves until shutdown, or until a part ends that must not.
    pub(super) async fn ended(self) -> Result<()> {
        let shutdown = &self.shutdown;
        let listening = async {
            listener::run(self.dicom, self.scp).await;
            Ok(())
        };
        // A stop was asked for and the worker does not move: nothing would come of waiting for it.
        let stuck = async {
            shutdown.cancelled().await;
            while self.heartbeat.late(Instant::now()) <= self.worker_limit {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            log::error!("the worker does not move: stopping without it");
        };
        let work = async {
            tokio::select! {
                ended = still_needed("the worker", self.work, shutdown) => ended,
                () = stuck => Ok(()),
            }
        };
        let deliveries = still_needed("the outbox", self.deliveries, shutdown);
        let web = async {
            still_needed("the web server", self.web, shutdown).await?;
            std::future::pending().await
        };
        tokio::select! {
            // Both: objects on their way are taken, and the image under way is answered.
            ended = async { tokio::try_join!(listening, work, deliveries) } => ended.map(|_| ()),
            ended = web => ended,
        }
    }
}

/// Tells systemd that all is well as long as the worker moves, if it wants to know.
pub(super) async fn feed_watchdog(notifier: Arc<Notifier>, watched: Arc<Watched>) {
    let Some(pause) = notifier.watchdog else { return };
    loop {
        let watched = watched.clone();
        match spawn_blocking(move || health::judge(&watched.facts())).await {
            Ok(health) if health.stuck => log::error!("systemd's watchdog is not fed: stuck"),
            Ok(_) => notifier.alive(),
            Err(error) => log::error!("looking at the health panicked: {error}"),
        }
        tokio::time::sleep(pause).await;
    }
}

/// Removes what has been kept long enough, once a second until shutdown.
async fn tidy(spool: Arc<Spool>, audit: Arc<Audit>, shutdown: Shutdown) {
    while !shutdown.is_cancelled() {
        let spool = spool.clone();
        match spawn_blocking(move || spool.tidy(SystemTime::now(), Instant::now())).await {
            Ok(images) if images.is_empty() => {}
            Ok(images) => {
                log::info!("{} images were purged", images.len());
                audit.write(Event::Purge { images });
            }
            Err(error) => log::error!("tidying the spool panicked: {error}"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Waits for the end of a part of the daemon: an error unless the whole was told to stop.
async fn still_needed<T>(what: &str, part: JoinHandle<T>, shutdown: &Shutdown) -> Result<()> {
    part.await.with_context(|| format!("{what} panicked"))?;
    ensure!(shutdown.is_cancelled(), "{what} ended by itself");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown;

    /// A dead worker once left a daemon that accepted images for ever and answered none.
    #[tokio::test]
    async fn a_part_that_ends_by_itself_ends_the_daemon_and_one_that_was_told_to_does_not() {
        let (trigger, shutdown) = shutdown::channel();
        let said = |ended: Result<()>| format!("{:#}", ended.unwrap_err());
        let panics = spawn_blocking(|| panic!("a surprise"));
        let ended = still_needed::<()>("the worker", panics, &shutdown).await;
        assert!(said(ended).starts_with("the worker panicked: "));
        let ends = spawn_blocking(|| ());
        let ended = still_needed("the worker", ends, &shutdown).await;
        assert_eq!(said(ended), "the worker ended by itself");
        trigger.stop();
        let ends = spawn_blocking(|| ());
        still_needed("the worker", ends, &shutdown).await.unwrap();
    }
}
