//! `runtime serve`: DICOM in, findings out over HTTP.
//!
//! ```text
//! dicom::listener ─▶ spool (folder = queue) ─▶ worker thread ─▶ spool ─▶ http
//!                                                  ▲
//!                                model: configured file or active slot
//! ```
//!
//! [`run`] goes through its modules in this order: `kept` is on disk, `sockets` listen, `shared` has the bundle,
//! `tasks` are at work. `trial` is all of it for a test.

mod kept;
mod shared;
mod sockets;
mod tasks;
mod trial;

pub(crate) use trial::Trial;

use crate::{
    audit::Event,
    config::Config,
    notify::Notifier,
    panics_without_their_words,
    shutdown::{self, Shutdown, Trigger},
};
use anyhow::{Context, Result};
use kept::Kept;
use shared::Shared;
pub(crate) use sockets::Ready;
use sockets::Sockets;
use std::{path::Path, sync::Arc, time::Duration};
use tasks::Tasks;
use tokio::{signal::unix, task::spawn_blocking};

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
    let kept = Kept::open(path, &config)?;
    let notifier = Notifier::from_env().context("NOTIFY_SOCKET cannot be used")?;
    let sockets = Sockets::bind(&config).await?;
    let addresses = Ready { stages: kept.spool.stages.clone(), ..sockets.addresses.clone() };
    kept.log_counts(&config.spool.path);
    let shared = Shared::load(&config, kept, &shutdown).await?;
    let tasks = Tasks::start(&shared, &config, sockets, &shutdown)?;
    log::info!("DICOM on {}, HTTP on {}", addresses.dicom, addresses.http);
    ready(&addresses)?;
    notifier.ready();
    let notifier = Arc::new(notifier);
    tokio::spawn(tasks::feed_watchdog(notifier.clone(), shared.watched.clone()));

    let connections = tasks.connections();
    let ended = tasks.ended().await;
    notifier.stopping();
    connections.abort();
    last_words(shared, ended.is_ok()).await?;
    ended?;
    log::info!("stopped");
    Ok(())
}

/// What is written down at the end: that it came, and, if it was asked for, that it is none of the bundle's doing.
async fn last_words(shared: Shared, asked_for: bool) -> Result<()> {
    let audit = shared.kept.audit;
    audit.write(Event::Stop);
    let reporter = shared.reporter.filter(|_| asked_for);
    let say = move || {
        audit.flush();
        reporter.iter().for_each(|reporter| reporter.stopped());
    };
    spawn_blocking(say).await.context("the last words panicked")
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
