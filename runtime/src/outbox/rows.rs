//! Deliveries as the database knows them: one at a time.

use super::state::{Millis, Progress, State};
use results::Kind;
use rusqlite::{Connection, OptionalExtension, params, types::Type};
use serde::Serialize;

/// An answered image, to be noted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answered {
    pub(crate) key: String,
    pub(crate) source: String,
    pub(crate) digest: String,
    pub(crate) urgent: bool,
    /// Given up for now: another answer may come under the same key.
    pub(crate) parked: bool,
    pub(crate) deliveries: Vec<Addressed>,
    /// For the history.
    pub(crate) past: Option<Past>,
}

/// What the history keeps of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Past {
    pub(crate) received: Millis,
    /// From there to the answer.
    pub(crate) waited: Millis,
    /// `analysed`, `parked`, or one word for why it was not analysed.
    pub(crate) outcome: String,
    /// Digest of the bundle that spoke.
    pub(crate) bundle: String,
    /// Name, probability, and whether it is positive.
    pub(crate) findings: Vec<(String, f32, bool)>,
}

/// The outcome of an image that was given up for now.
pub(super) const PARKED: &str = "parked";
/// Days begin at midnight in UTC.
pub(super) const DAY: Millis = 24 * 3600 * 1000;

/// One object that goes to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addressed {
    pub(crate) destination: String,
    pub(crate) kind: Kind,
    pub(crate) class: String,
    pub(crate) object: String,
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) id: i64,
    /// Of the image in the spool.
    pub(crate) key: String,
    /// SOP Instance UID of the image.
    pub(crate) source: String,
    pub(crate) kind: Kind,
    pub(crate) class: String,
    /// SOP Instance UID of what is sent.
    pub(crate) object: String,
    pub(crate) destination: String,
    /// The destination, or who stands in for it.
    pub(crate) via: String,
    pub(crate) urgent: bool,
    pub(crate) held: bool,
    pub(crate) created: Millis,
    #[serde(flatten)]
    pub(crate) progress: Progress,
}

impl Row {
    /// What logs call it. A SOP instance UID leads to a patient for whoever can ask the archive.
    pub(super) fn label(&self) -> String {
        format!("{} of {}", self.kind, label(&self.key))
    }

    /// Its number in the spool.
    pub(super) fn image(&self) -> u64 {
        self.key.split('_').next().and_then(|number| number.parse().ok()).unwrap_or_default()
    }
}

/// What logs call an image: the number that its key begins with.
pub(super) fn label(key: &str) -> String {
    let number = key.split('_').next().unwrap_or_default().trim_start_matches('0');
    format!("image {}", if number.is_empty() { "0" } else { number })
}

/// Whether a destination answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Link {
    /// Troubles in a row.
    pub(crate) failures: u32,
    /// Left alone until then.
    pub(crate) next: Millis,
    /// Since when it has not taken anything.
    pub(crate) down_since: Option<Millis>,
    pub(crate) reason: Option<String>,
}

/// Which deliveries to list; the newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) state: Option<State>,
    /// Of those neither delivered nor dropped only.
    pub(crate) open: bool,
    pub(crate) destination: Option<String>,
    /// With a smaller number than this one: the next page.
    pub(crate) before: Option<i64>,
    pub(crate) limit: usize,
}

/// What is neither delivered nor dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) open: usize,
    /// Age of the oldest, seconds.
    pub(crate) oldest_seconds: u64,
    pub(crate) dead: usize,
}

/// The outbox in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) waiting: i64,
    pub(crate) sent: i64,
    pub(crate) committed: i64,
    pub(crate) dead: i64,
    pub(crate) dropped: i64,
    pub(crate) held: i64,
    /// Neither delivered nor dropped.
    pub(crate) open: i64,
    /// When the oldest of these was noted.
    pub(crate) oldest_open: Option<Millis>,
}

pub(super) const SELECT: &str = "select id, key, source, kind, class, object, destination, via, urgent, held, \
     created, state, tries, asks, next, sent, transaction_uid, reason from delivery";

pub(super) fn by_id(db: &Connection, id: i64) -> rusqlite::Result<Option<Row>> {
    db.prepare_cached(&format!("{SELECT} where id = ?1"))?.query_row([id], row).optional()
}

pub(super) fn write(
    db: &Connection,
    id: i64,
    progress: &Progress,
    done: bool,
) -> rusqlite::Result<()> {
    let changed = db
        .prepare_cached(
            "update delivery set state = ?2, tries = ?3, asks = ?4, next = ?5, sent = ?6,
               transaction_uid = ?7, reason = ?8, done = ?9 where id = ?1",
        )?
        .execute(params![
            id,
            progress.state.to_string(),
            progress.tries,
            progress.asks,
            progress.next,
            progress.sent,
            progress.transaction,
            progress.reason,
            done,
        ])?;
    debug_assert!(changed <= 1);
    Ok(())
}

pub(super) fn link(db: &Connection, destination: &str) -> rusqlite::Result<Link> {
    let link = db
        .prepare_cached(
            "select failures, next, down_since, reason from link where destination = ?1",
        )?
        .query_row([destination], |row| {
            Ok(Link {
                failures: row.get(0)?,
                next: row.get(1)?,
                down_since: row.get(2)?,
                reason: row.get(3)?,
            })
        })
        .optional()?;
    Ok(link.unwrap_or_default())
}

pub(super) fn write_link(db: &Connection, destination: &str, link: &Link) -> rusqlite::Result<()> {
    let Link { failures, next, down_since, reason } = link;
    db.prepare_cached("insert or replace into link values(?1, ?2, ?3, ?4, ?5)")?
        .execute(params![destination, failures, next, down_since, reason])?;
    Ok(())
}

pub(super) fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(0)?,
        key: row.get(1)?,
        source: row.get(2)?,
        kind: parse(row, 3)?,
        class: row.get(4)?,
        object: row.get(5)?,
        destination: row.get(6)?,
        via: row.get(7)?,
        urgent: row.get(8)?,
        held: row.get(9)?,
        created: row.get(10)?,
        progress: Progress {
            state: parse(row, 11)?,
            tries: row.get(12)?,
            asks: row.get(13)?,
            next: row.get(14)?,
            sent: row.get(15)?,
            transaction: row.get(16)?,
            reason: row.get(17)?,
        },
    })
}

pub(super) fn parse<T: std::str::FromStr>(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| {
        let why = "a word that we never write".into();
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why)
    })
}
