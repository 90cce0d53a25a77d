//! What systemd is told of the agent: ready, and alive as long as the watch over the trial moves.

use super::{Agent, watch};
use anyhow::{Context, Result};
use machine::{heartbeat::Heartbeat, notify::Notifier};
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// A watch so late is stuck: longer than the check of a large bundle on a slow card, which it waits for.
const STUCK: Duration = Duration::from_secs(120);

/// The watch at work, and who is told so.
pub(super) struct Alive {
    notifier: Notifier,
    heartbeat: Arc<Heartbeat>,
}

impl Alive {
    /// Starts the watch.
    pub(super) fn start(agent: &Arc<Agent>) -> Result<Self> {
        let notifier = Notifier::from_env().context("NOTIFY_SOCKET cannot be used")?;
        let heartbeat = Arc::new(Heartbeat::new());
        let (watched, beats) = (Arc::clone(agent), Arc::clone(&heartbeat));
        let thread = thread::Builder::new().name("watch".into());
        thread.spawn(move || watch::watch(&watched, &beats))?;
        Ok(Self { notifier, heartbeat })
    }

    /// To be called once peers are served; from then on the watchdog is fed, if there is one.
    pub(super) fn ready(self) -> Result<()> {
        self.notifier.ready();
        if let Some(pause) = self.notifier.watchdog {
            let thread = thread::Builder::new().name("watchdog".into());
            thread.spawn(move || {
                loop {
                    let late = self.heartbeat.late(Instant::now());
                    if late <= STUCK {
                        self.notifier.alive();
                    } else {
                        log::error!(
                            "systemd's watchdog is not fed: the watch has not moved for {late:.0?}"
                        );
                    }
                    thread::sleep(pause);
                }
            })?;
        }
        Ok(())
    }
}
