//! `runtime serve`: DICOM in, findings out over HTTP.
//!
//! ```text
//! dicom::listener ─▶ spool (folder = queue) ─▶ worker thread ─▶ spool ─▶ http
//!                                                  ▲
//!                                model: configured file or active slot
//! ```

use crate::{
    audit::{Audit, Event},
    config::Config,
    configuration::Configuration,
    current::Current,
    dicom::{access::Access, listener, scp::Scp},
    exposures::Exposures,
    health::{self, Progress, Watched, Word},
    heartbeat::Heartbeat,
    http::{self, Doors, Parts, rfc3339},
    logbook,
    metrics::Metrics,
    model::Model,
    notify::Notifier,
    outbox::{self, Outbox, SpoolSource},
    panics_without_their_words,
    pictures::Pictures,
    reload::Reload,
    running::Reporter,
    shadow::Shadow,
    shutdown::{self, Shutdown, Trigger},
    spool::Spool,
    tls::expiry::Watch,
    trouble::Trouble,
    worker::Worker,
};
use anyhow::{Context, Result, ensure};
use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    signal::unix,
    task::{JoinHandle, spawn_blocking},
};

/// Where the daemon can be reached; what `--ready-file` gets.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Ready {
    dicom: SocketAddr,
    http: SocketAddr,
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(
    path: &Path,
    config: Config,
    ready_file: Option<&Path>,
    on_ready: impl FnOnce(&Ready),
) -> Result<()> {
    panics_without_their_words();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let ended = runtime.block_on(async {
        let (trigger, shutdown) = shutdown::channel();
        stop_on_signals(trigger)?;
        run(path, config, shutdown, |ready| {
            if let Some(path) = ready_file {
                let json = serde_json::to_vec(ready).context("cannot encode the addresses")?;
                durable::write(path, &json)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            on_ready(ready);
            Ok(())
        })
        .await
    });
    // Whoever still works would hold up the end for ever; the spool survives that like a power cut.
    runtime.shutdown_timeout(Duration::from_secs(5));
    ended
}

/// The daemon: listens, loads the bundle, says that it is ready, and works until shutdown.
pub(crate) async fn run(
    path: &Path,
    config: Config,
    shutdown: Shutdown,
    ready: impl FnOnce(&Ready) -> Result<()>,
) -> Result<()> {
    for destination in &config.destinations {
        destination.connector()?;
    }
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
    reload_on_signal(Reload {
        path: path.to_owned(),
        running: config.clone(),
        access: access.clone(),
        doors: doors.clone(),
        outbox: outbox.clone(),
        configuration: configuration.clone(),
        certificates: certificates.clone(),
        audit: audit.clone(),
    })?;
    let exposures = config.exposures.clone().map(|exposures| {
        let path = config.spool.path.join("exposures.json");
        Exposures::open(exposures, spool.clone(), audit.clone(), path).map(Arc::new)
    });
    let exposures = exposures.transpose()?;
    let notifier = Notifier::from_env().context("NOTIFY_SOCKET cannot be used")?;
    let dicom = bind("dicom", config.dicom.listen).await?;
    let http = bind("http", config.http.listen).await?;
    let addresses = Ready { dicom: dicom.local_addr()?, http: http.local_addr()? };
    if config.dicom.peers.is_empty() && !addresses.dicom.ip().is_loopback() {
        log::warn!(
            "nobody but this machine may send images to {}: nobody stands under [[dicom.peers]]",
            addresses.dicom
        );
    }
    if !addresses.http.ip().is_loopback() && config.http.tls.is_none() {
        log::warn!("passwords and findings go in the clear to whoever reaches {}", addresses.http);
    }

    let counts = spool.counts();
    log::info!(
        "spool {}: {} waiting, {} answered",
        config.spool.path.display(),
        counts.waiting,
        counts.answered
    );
    let model = Arc::new(Model::new(config.bundle.clone(), config.worker.threads, audit.clone())?);
    let metrics = Arc::new(Metrics::default());
    {
        let model = model.clone();
        spawn_blocking(move || model.refresh()).await.context("loading the bundle panicked")??;
    }

    outbox.audit_to(audit.clone());
    let source = SpoolSource { spool: spool.clone(), overlay_pixels: config.worker.overlay_pixels };
    let deliveries = tokio::spawn(outbox.clone().run(
        config.dicom.ae_title.clone(),
        Arc::new(source),
        shutdown.clone(),
    ));
    let shadow = config.shadow.as_ref().map(|shadow| {
        Shadow::start(shadow, &config.bundle, spool.clone(), config.spool.path.clone())
    });
    let shadow = shadow.transpose()?.map(Arc::new);
    let trouble = Arc::new(Trouble::default());
    let heartbeat = Arc::new(Heartbeat::new());
    let watched = Arc::new(Watched {
        spool: spool.clone(),
        metrics: metrics.clone(),
        model: model.clone(),
        trouble: trouble.clone(),
        heartbeat: heartbeat.clone(),
        audit: audit.clone(),
        outbox: outbox.clone(),
        exposures: exposures.clone(),
        shadow: shadow.clone(),
        certificates,
        expiry: Watch::default(),
        worker_limit: config.worker.stuck_seconds,
        progress: Mutex::new(Progress::new()),
    });
    let parts = Parts {
        audit: audit.clone(),
        spool: spool.clone(),
        metrics: metrics.clone(),
        watched: watched.clone(),
        pictures: Arc::new(Pictures::new(spool.clone(), config.worker.overlay_pixels)?),
        ae_title: config.dicom.ae_title.clone(),
        started: Instant::now(),
        doors,
        configuration,
        outbox: outbox.clone(),
        shadow: shadow.clone(),
        shutdown: shutdown.clone(),
    };
    let limit = config.worker.stuck_seconds;
    if let Some(slots) = config.bundle.slots {
        let reporter = Reporter::new(slots, model.clone(), heartbeat.clone(), limit);
        tokio::spawn(Arc::new(reporter).run(shutdown.clone()));
    }
    let worker = Worker {
        poll: config.bundle.poll_seconds,
        config: config.worker,
        spool: spool.clone(),
        model,
        metrics: metrics.clone(),
        trouble,
        heartbeat: heartbeat.clone(),
        audit: audit.clone(),
        outbox: outbox.clone(),
        shadow,
    };
    tokio::spawn(tidy(spool.clone(), audit.clone(), shutdown.clone()));
    if let Some(exposures) = exposures {
        let watched = watched.clone();
        let is_healthy = move || health::judge(&watched.facts()).word == Word::Ok;
        tokio::spawn(exposures.run(is_healthy, shutdown.clone()));
    }
    let scp = Arc::new(Scp {
        config: config.dicom,
        access,
        spool,
        metrics,
        audit: audit.clone(),
        reports: outbox,
        shutdown: shutdown.clone(),
    });
    let web = tokio::spawn(http::run(http, parts, config.http));
    let runtime = Handle::current();
    let stop = shutdown.clone();
    let work = spawn_blocking(move || worker.run(&runtime, &stop));
    log::info!("DICOM on {}, HTTP on {}", addresses.dicom, addresses.http);
    ready(&addresses)?;
    notifier.ready();
    let notifier = Arc::new(notifier);
    tokio::spawn(feed_watchdog(notifier.clone(), watched));

    let connections = web.abort_handle();
    let listening = async {
        listener::run(dicom, scp).await;
        Ok(())
    };
    let work = async {
        tokio::select! {
            ended = still_needed("the worker", work, &shutdown) => ended,
            () = told_to_stop_but_stuck(&heartbeat, limit, &shutdown) => Ok(()),
        }
    };
    let deliveries = still_needed("the outbox", deliveries, &shutdown);
    let web = async {
        still_needed("the web server", web, &shutdown).await?;
        std::future::pending().await
    };
    let ended = tokio::select! {
        // Both: objects on their way are taken, and the image under way is answered.
        ended = async { tokio::try_join!(listening, work, deliveries) } => ended.map(|_| ()),
        ended = web => ended,
    };
    notifier.stopping();
    // Open keep-alive connections do not hold up a stop.
    connections.abort();
    audit.write(Event::Stop);
    spawn_blocking(move || audit.flush()).await.context("the audit log panicked")?;
    ended?;
    log::info!("stopped");
    Ok(())
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

/// Tells systemd that all is well as long as the worker moves, if it wants to know.
async fn feed_watchdog(notifier: Arc<Notifier>, watched: Arc<Watched>) {
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

/// Returns if a stop was asked for and the worker does not move: nothing would come of waiting for it.
async fn told_to_stop_but_stuck(heartbeat: &Heartbeat, limit: Duration, shutdown: &Shutdown) {
    shutdown.cancelled().await;
    while heartbeat.late(Instant::now()) <= limit {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    log::error!("the worker does not move: stopping without it");
}

/// Waits for the end of a part of the daemon: an error unless the whole was told to stop.
async fn still_needed<T>(what: &str, part: JoinHandle<T>, shutdown: &Shutdown) -> Result<()> {
    part.await.with_context(|| format!("{what} panicked"))?;
    ensure!(shutdown.is_cancelled(), "{what} ended by itself");
    Ok(())
}

async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for {what}"))
}

/// SIGHUP reads the configuration again.
fn reload_on_signal(reload: Reload) -> Result<()> {
    let reload = Arc::new(reload);
    let mut hangup = unix::signal(unix::SignalKind::hangup()).context("cannot handle SIGHUP")?;
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

/// SIGTERM and SIGINT stop gracefully.
fn stop_on_signals(trigger: Trigger) -> Result<()> {
    let mut terminate =
        unix::signal(unix::SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt =
        unix::signal(unix::SignalKind::interrupt()).context("cannot handle SIGINT")?;
    tokio::spawn(async move {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        log::info!("{signal}: stopping");
        trigger.stop();
        // Keeps the trigger: a dropped one would also mean stop.
        std::future::pending::<()>().await;
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
