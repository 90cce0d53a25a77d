//! What leaves the box: each object of each answer, to each destination that wants it, until it is there.
//!
//! ```text
//! worker ─ answered(key) ─▶ router ─ rows ─▶ database ◀─ runtime queue, page
//!                             │                 ▲ │
//!                      spool: result            │ ▼
//!                                             courier, one for each destination ─▶ C-STORE, STOW-RS
//!                                               ▲
//!               N-EVENT-REPORT (own or new association)
//! ```
//!
//! `state` what becomes of a delivery; pure. `verdict` what an answer means; pure. `route` who gets what; pure.
//! `database`, `questions`, `rows`, `noted`, `history` SQL. `desk` what people ask and decide, `decisions` how that gets into the audit log. `source` makes the objects. `courier` brings them. Start at [`Outbox::run`].
//!
//! Nothing here is in the way of an acknowledgement or of an answer: the router works behind the worker, and
//! what it missed (a crash, a full disk, a broken database) it finds in the spool at the next start.

mod courier;
mod database;
mod decisions;
mod desk;
mod history;
mod noted;
mod questions;
mod route;
mod rows;
mod source;
mod state;
mod stow;
mod verdict;

pub(crate) use courier::Courier;
pub(crate) use database::{Database, DatabaseError};
pub(crate) use desk::{drop_row, hold, retry};
pub(crate) use route::Answer;
pub(crate) use rows::{Backlog, Filter, Row};
pub(crate) use source::{Source, SpoolSource};
pub(crate) use state::{Millis, State};

use crate::{
    audit::{self, Audit},
    config::Destination,
    dicom::{
        command::Status,
        commitment::{Report, Reports, why},
    },
    shutdown::Shutdown,
};
use rows::Answered;
use state::{Event, Policy};
use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Notify, watch},
    task::{JoinSet, spawn_blocking},
};

/// Milliseconds since 1970, by the clock on the wall; in tests by one that the test sets.
pub(crate) type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

pub(crate) fn wall_clock() -> Clock {
    Arc::new(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
    })
}

/// The outbox. Shared by worker, couriers, SCP, page.
pub(crate) struct Outbox {
    path: PathBuf,
    clock: Clock,
    seed: u64,
    /// `None`: not opened yet, or given up as broken. Whoever needs it opens it.
    database: Mutex<Option<Database>>,
    destinations: watch::Sender<Arc<[Destination]>>,
    /// Answered since the router last looked.
    answered: Mutex<Vec<String>>,
    /// The database knows less than the spool.
    behind: AtomicBool,
    /// Rung when an answer is there to be routed.
    news: Notify,
    /// Rung when something may be due.
    due: Notify,
    /// Opened after us, since the spool is.
    audit: OnceLock<Arc<Audit>>,
}

/// How long deliveries are remembered after they came to their end and their image went.
const KEPT: Millis = 90 * 24 * 3600 * 1000;
/// How long a courier sleeps at most: `runtime queue` works on the database without telling us.
const LOOK: Duration = Duration::from_secs(1);

impl Outbox {
    pub(crate) fn new(path: PathBuf, destinations: Vec<Destination>, clock: Clock) -> Self {
        Self {
            path,
            clock,
            // Boxes that were switched on together must not come back in step.
            seed: RandomState::new().build_hasher().finish(),
            database: Mutex::default(),
            destinations: watch::Sender::new(destinations.into()),
            answered: Mutex::default(),
            behind: AtomicBool::new(true),
            news: Notify::new(),
            due: Notify::new(),
            audit: OnceLock::new(),
        }
    }

    /// Where deliveries are written down from now on.
    pub(crate) fn audit_to(&self, audit: Arc<Audit>) {
        let _ = self.audit.set(audit);
    }

    fn write_down(&self, row: &Row, outcome: &str) {
        let Some(audit) = self.audit.get() else { return };
        audit.write(audit::Event::Delivery {
            image: row.image(),
            kind: row.kind.to_string(),
            destination: row.via.clone(),
            outcome: outcome.to_owned(),
        });
    }

    pub(crate) fn destinations(&self) -> Arc<[Destination]> {
        self.destinations.borrow().clone()
    }

    /// An image has been answered. Returns at once.
    pub(crate) fn answered(&self, key: String) {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        self.news.notify_one();
    }

    /// Routes answers and delivers, until shutdown.
    pub(crate) async fn run(
        self: Arc<Self>,
        calling: String,
        source: Arc<dyn Source>,
        shutdown: Shutdown,
    ) {
        let mut changed = self.destinations.subscribe();
        let router = tokio::spawn(self.clone().route(source.clone(), shutdown.clone()));
        let decisions = tokio::spawn(self.clone().watch_decisions(shutdown.clone()));
        while !shutdown.is_cancelled() {
            let destinations = changed.borrow_and_update().clone();
            let (stop, stopped) = crate::shutdown::channel();
            let mut couriers = JoinSet::new();
            for destination in destinations.iter() {
                let courier = Courier {
                    outbox: self.clone(),
                    destination: destination.clone(),
                    calling: calling.clone(),
                    source: source.clone(),
                };
                couriers.spawn(courier.run(stopped.clone()));
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = changed.changed() => {}
                Some(ended) = couriers.join_next() => {
                    log::error!("a courier ended by itself: {ended:?}");
                    tokio::time::sleep(LOOK).await;
                }
            }
            stop.stop();
            while couriers.join_next().await.is_some() {}
        }
        let _ = (router.await, decisions.await);
    }

    /// Notes where new answers go.
    async fn route(self: Arc<Self>, source: Arc<dyn Source>, shutdown: Shutdown) {
        while !shutdown.is_cancelled() {
            let (outbox, source) = (self.clone(), source.clone());
            let routed = spawn_blocking(move || {
                outbox.route_new(&*source)?;
                outbox.prune(&*source)
            })
            .await;
            let trouble = match routed {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panic) => Some(format!("the router panicked: {panic}")),
            };
            let pause = match trouble {
                None => Duration::from_secs(3600),
                Some(trouble) => {
                    self.behind.store(true, Ordering::Relaxed);
                    log::error!("results wait, cannot note where they go: {trouble}");
                    Duration::from_secs(5)
                }
            };
            tokio::select! {
                () = self.news.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Notes where the answers go that came since the last time, or all that the database does not know.
    pub(crate) fn route_new(&self, source: &dyn Source) -> Result<(), DatabaseError> {
        let destinations = self.destinations();
        let mut keys = {
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *answered)
        };
        let now = (self.clock)();
        // Opening may find that the database is new, and so that we are behind.
        self.with(|_| Ok(()))?;
        if self.behind.swap(false, Ordering::Relaxed) {
            let configured: Vec<String> = destinations.iter().map(|d| d.name.clone()).collect();
            let stranded = self.with(|database| database.strand(&configured, now))?;
            if stranded > 0 {
                log::error!("{stranded} deliveries are for destinations that are not configured");
            }
            keys = self.with(|database| database.unknown(source.answered()))?;
        }
        for some in keys.chunks(64) {
            let mut images: Vec<Answered> = Vec::with_capacity(some.len());
            for key in some {
                match source.answer(key) {
                    Ok(answer) => images.push(route::route(key, &answer, &destinations)),
                    Err(error) => {
                        let image = rows::label(key);
                        log::error!("{image}: its answer cannot be delivered: {error:#}");
                    }
                }
            }
            let new = self.with(|database| database.register(&images, now))?;
            log::debug!("{new} new deliveries");
        }
        if !keys.is_empty() {
            self.due.notify_waiters();
        }
        Ok(())
    }

    /// Forgets deliveries that came to their end long ago, of images that are gone.
    pub(crate) fn prune(&self, source: &dyn Source) -> Result<(), DatabaseError> {
        let until = (self.clock)() - KEPT;
        loop {
            let removed = self.with(|database| database.prune(until, |key| !source.holds(key)))?;
            if removed == 0 {
                return Ok(());
            }
            log::info!("{removed} deliveries of images that are gone are forgotten");
        }
    }

    /// Takes in a report about storage commitment from `peer`, an AE title; what to answer.
    fn reported(&self, peer: &str, report: &Report) -> Status {
        let (destinations, now) = (self.destinations(), (self.clock)());
        let taken = self.with(|database| {
            let rows = database.asked(&report.transaction)?;
            let of_peer =
                |row: &Row| destinations.iter().find(|d| d.name == row.via && d.commits_as(peer));
            if rows.is_empty() || rows.iter().any(|row| of_peer(row).is_none()) {
                return Ok(false);
            }
            for row in rows {
                let Some(destination) = of_peer(&row) else { continue };
                let policy = Policy::of(destination);
                let failed = report.failed.iter().find(|(uid, _)| *uid == row.object);
                let event = if let Some((_, reason)) = failed {
                    // Of an earlier question: the object may have been sent again since.
                    if row.progress.transaction.as_ref() != Some(&report.transaction) {
                        continue;
                    }
                    log::warn!("{}: {}: {}", row.via, row.label(), why(*reason));
                    Event::Lost(why(*reason))
                } else if report.committed.contains(&row.object) {
                    Event::Committed
                } else {
                    continue;
                };
                let said = if failed.is_some() { "not committed" } else { "committed" };
                database.apply(row.id, event, now, policy)?;
                self.write_down(&row, said);
            }
            Ok(true)
        });
        match taken {
            Ok(true) => {
                self.due.notify_waiters();
                Status::success()
            }
            Ok(false) => {
                log::warn!("{peer:?} reports on {}, which it was not asked", report.transaction);
                Status::failure(Status::INVALID_ARGUMENT, "unknown transaction")
            }
            Err(error) => {
                log::error!("a report of {peer:?} is lost: {error}");
                Status::failure(Status::PROCESSING_FAILURE, "cannot note it")
            }
        }
    }

    /// Does something with the database, which is opened if it must be; blocks.
    fn with<T>(
        &self,
        act: impl FnOnce(&mut Database) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let mut open = self.lock();
        if open.is_none() {
            let (database, is_new) = Database::open(&self.path, self.seed)?;
            if is_new {
                self.behind.store(true, Ordering::Relaxed);
                self.news.notify_one();
            }
            *open = Some(database);
        }
        let Some(database) = open.as_mut() else { unreachable!("opened above") };
        let done = act(database);
        if let Err(error) = &done
            && error.is_broken()
        {
            log::error!("{error}: set aside, and made again from the spool");
            *open = None; // closed before it is moved
            database::set_aside(&self.path)?;
            self.behind.store(true, Ordering::Relaxed);
            self.news.notify_one();
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, Option<Database>> {
        // Transactions that a panic cuts off are rolled back.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reports for Outbox {
    fn expects(&self, peer: &str) -> bool {
        self.destinations().iter().any(|destination| destination.commits_as(peer))
    }

    fn take(&self, peer: &str, report: &Report) -> Status {
        self.reported(peer, report)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The database in a spool folder.
pub(crate) fn path_in(spool: &Path) -> PathBuf {
    spool.join("box.sqlite")
}

#[cfg(test)]
mod tests;
