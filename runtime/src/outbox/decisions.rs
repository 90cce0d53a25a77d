//! What people decide by `runtime queue`, on its way into the audit log.
//!
//! That log has one writer, the daemon, and it may be stopped. So the command notes a decision in the database, in
//! the transaction that carries it out, and the daemon moves it into the log: within a second, or at its next start.
//! A crash in between may write a decision down twice, never not at all.

use super::{
    LOOK, Outbox,
    database::{Database, DatabaseError},
    state::Millis,
};
use crate::{audit, shutdown::Shutdown};
use rusqlite::params;
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tokio::task::spawn_blocking;

/// After the database or the log refused.
const RETRY: Duration = Duration::from_secs(5);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    id: i64,
    pub(super) at: Millis,
    who: String,
    decision: String,
    delivery: i64,
}

/// What was handed to the log and is not yet known to be on its disk: number and time.
type HandedIn = HashSet<(i64, Millis)>;

impl Database {
    /// Does what somebody decided about a delivery and notes it: both, or neither.
    pub(crate) fn decide<T>(
        &mut self,
        who: &str,
        decision: &str,
        delivery: i64,
        now: Millis,
        act: impl FnOnce(&mut Self) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let insert = "insert into decision(at, who, decision, delivery) values(?1, ?2, ?3, ?4)";
        self.together(|database| {
            let done = act(database)?;
            database.change(|db| db.execute(insert, params![now, who, decision, delivery]))?;
            Ok(done)
        })
    }

    /// Those that are not in the log yet, in their order.
    pub(super) fn decisions(&self) -> Result<Vec<Decided>, DatabaseError> {
        self.read(|db| {
            let columns = "select id, at, who, decision, delivery from decision order by id";
            let mut select = db.prepare_cached(columns)?;
            let rows = select.query_map([], |row| {
                Ok(Decided {
                    id: row.get(0)?,
                    at: row.get(1)?,
                    who: row.get(2)?,
                    decision: row.get(3)?,
                    delivery: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }
}

impl Outbox {
    /// Moves decisions into the audit log, until shutdown.
    pub(super) async fn watch_decisions(self: Arc<Self>, shutdown: Shutdown) {
        let mut handed_in = HandedIn::new();
        while !shutdown.is_cancelled() {
            let outbox = self.clone();
            let round = spawn_blocking(move || {
                let moved = outbox.move_decisions(&mut handed_in);
                (handed_in, moved)
            });
            let trouble;
            (handed_in, trouble) = match round.await {
                Ok((handed_in, moved)) => (handed_in, moved.err().map(|error| error.to_string())),
                Err(panic) => (HandedIn::new(), Some(format!("it panicked: {panic}"))),
            };
            if let Some(why) = &trouble {
                log::error!("what runtime queue decided is not in the audit log yet: {why}");
            }
            tokio::select! {
                () = tokio::time::sleep(if trouble.is_some() { RETRY } else { LOOK }) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Blocks.
    fn move_decisions(&self, handed_in: &mut HandedIn) -> Result<(), DatabaseError> {
        let Some(audit) = self.audit.get() else { return Ok(()) };
        let mut last = None;
        for Decided { id, at, who, decision, delivery } in self.with(|db| db.decisions())? {
            let event = audit::Event::Decision { who, decision: decision.into(), delivery };
            let when = UNIX_EPOCH + Duration::from_millis(at.max(0) as u64);
            // A log that is full for now has room later.
            if !handed_in.contains(&(id, at)) && !audit.hand_in(when, event) {
                break;
            }
            handed_in.insert((id, at));
            last = Some(id);
        }
        if let Some(last) = last
            && audit.flush()
        {
            let forget = "delete from decision where id <= ?1";
            self.with(|database| database.change(|db| db.execute(forget, [last]).map(drop)))?;
            handed_in.clear();
        }
        Ok(())
    }
}
