//! What others may ask of the outbox, and what people may decide about single deliveries.

use super::{
    Outbox,
    database::{Database, DatabaseError, MOST_WHY},
    history::Day,
    rows::{self, Backlog, Filter, Link, Row, Summary},
    state::{Event, Millis, Policy},
};
use crate::{
    config::Destination,
    spool::{Key, Ledger},
};
use std::sync::atomic::Ordering;

impl Outbox {
    /// Other destinations from now on. What is under way to the old ones is finished first.
    pub(crate) fn replace(&self, destinations: Vec<Destination>) {
        self.destinations.send_replace(destinations.into());
        self.behind.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Whether nothing of this image is left to deliver, so that it may be purged. While we do not know: no.
    pub(crate) fn is_settled(&self, key: &str) -> bool {
        self.with(|database| database.is_settled(key)).unwrap_or_else(|error| {
            log::warn!("{} is kept: {error}", rows::label(key));
            false
        })
    }

    pub(crate) fn summary(&self) -> Result<Summary, DatabaseError> {
        self.with(|database| database.summary())
    }

    pub(crate) fn list(&self, filter: &Filter) -> Result<Vec<Row>, DatabaseError> {
        self.with(|database| database.list(filter))
    }

    /// What is on its way; `None` if results go nowhere.
    pub(crate) fn backlog(&self) -> Result<Option<Backlog>, DatabaseError> {
        let (goes_nowhere, now) = (self.destinations().is_empty(), (self.clock)());
        let backlog = self.with(|database| database.backlog(now))?;
        Ok(Some(backlog).filter(|backlog| !goes_nowhere || backlog.open > 0))
    }

    /// The last days, oldest first.
    pub(crate) fn history(&self, days: u32) -> Result<Vec<Day>, DatabaseError> {
        let now = (self.clock)();
        self.with(|database| database.history(days, now))
    }

    /// Each destination and how its connection is.
    pub(crate) fn links(&self) -> Result<Vec<(String, Link)>, DatabaseError> {
        let names = self.destinations();
        self.with(|database| {
            names.iter().map(|d| Ok((d.name.clone(), database.link(&d.name)?))).collect()
        })
    }

    /// Sends, or asks, again: now.
    pub(crate) fn retry(&self, id: i64) -> Result<Row, DatabaseError> {
        self.by_hand(|database, policy, now| retry(database, id, policy, now))
    }

    /// A destination that did not answer is called again at once, not after its pause.
    pub(crate) fn call_again(&self, destination: &str) -> Result<(), DatabaseError> {
        self.with(|database| database.link_works(destination))?;
        self.due.notify_waiters();
        Ok(())
    }

    /// Leaves a delivery alone until it is released.
    pub(crate) fn hold(&self, id: i64) -> Result<Row, DatabaseError> {
        self.by_hand(|database, _, _| hold(database, id, true))
    }

    pub(crate) fn release(&self, id: i64) -> Result<Row, DatabaseError> {
        self.by_hand(|database, _, _| hold(database, id, false))
    }

    /// Gives a delivery up that somebody has looked at.
    pub(crate) fn drop_row(&self, id: i64, why: &str) -> Result<Row, DatabaseError> {
        self.by_hand(|database, policy, now| drop_row(database, id, why, policy, now))
    }

    fn by_hand(
        &self,
        act: impl FnOnce(&mut Database, &[Destination], Millis) -> Result<Row, DatabaseError>,
    ) -> Result<Row, DatabaseError> {
        let (destinations, now) = (self.destinations(), (self.clock)());
        let row = self.with(|database| act(database, &destinations, now))?;
        self.due.notify_waiters();
        Ok(row)
    }
}

/// An image stays until nothing of it is left to deliver. If it is sent again after that, it is analysed again, and the
/// router sees that its result was delivered before.
impl Ledger for Outbox {
    fn may_purge(&self, key: &Key) -> bool {
        self.is_settled(&key.name())
    }
}

/// What a policy of a destination that is not configured any more would be: none that commits by itself.
fn policy_of(destinations: &[Destination], via: &str) -> Policy {
    let known = destinations.iter().find(|destination| destination.name == via);
    known.map_or(Policy { commits: false, commit_within: 0 }, Policy::of)
}

/// See [`Outbox::retry`]; also for a database whose daemon does not run.
pub(crate) fn retry(
    database: &mut Database,
    id: i64,
    destinations: &[Destination],
    now: Millis,
) -> Result<Row, DatabaseError> {
    let via = database.row(id)?.via;
    database.apply(id, Event::Retry, now, policy_of(destinations, &via))?;
    database.hold(id, false)?;
    database.link_works(&via)?;
    database.row(id)
}

pub(crate) fn hold(database: &mut Database, id: i64, held: bool) -> Result<Row, DatabaseError> {
    database.hold(id, held)?;
    database.row(id)
}

pub(crate) fn drop_row(
    database: &mut Database,
    id: i64,
    why: &str,
    destinations: &[Destination],
    now: Millis,
) -> Result<Row, DatabaseError> {
    let why = why.trim();
    if !(1..=MOST_WHY).contains(&why.chars().count()) {
        return Err(DatabaseError::NoReason);
    }
    let row = database.row(id)?;
    let policy = policy_of(destinations, &row.via);
    if row.progress.is_done(policy) {
        return Err(DatabaseError::Done { id, state: row.progress.state });
    }
    database.apply(id, Event::Drop(why.to_owned()), now, policy)?;
    database.row(id)
}
