//! `box.sqlite`: which object goes where, and how far it got. SQL only; what it means is in [`super::state`].
//!
//! Everything in here can be made again from the spool: object UIDs follow from the results, so the worst
//! that a lost database does is to send an archive what it has already. A database that is broken, or not ours,
//! is set aside and begun anew, never a reason not to work.

use super::{
    noted,
    rows::{self, Answered, Link, Row},
    state::{Event, Millis, Policy, Progress, State},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use thiserror::Error;

/// "CXRO": tells a file of ours from any other database.
const APPLICATION: i32 = 0x4358_524f;
const VERSION: i32 = 2;
const SCHEMA: &str = include_str!("schema.sql");
/// What version 2 adds to it.
const SCHEMA_2: &str = include_str!("schema-2.sql");
/// In every version: decisions of the command line.
const SCHEMA_DECISIONS: &str = include_str!("schema-decisions.sql");
const TABLES: &str = "select count(*) from sqlite_schema";
/// Characters of a reason for giving a delivery up.
pub(super) const MOST_WHY: usize = 200;
/// How long another process (`runtime queue`) may hold the database.
const BUSY: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub(crate) enum DatabaseError {
    #[error("{}: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("cannot set {} aside: {source}", path.display())]
    Aside { path: PathBuf, source: io::Error },
    #[error("{} is {found}", path.display())]
    NotOurs { path: PathBuf, found: String },
    #[error("no delivery has the number {id}")]
    NoRow { id: i64 },
    #[error("say why, in 1 to {MOST_WHY} characters")]
    NoReason,
    #[error("delivery {id} is {state}: there is nothing to give up")]
    Done { id: i64, state: State },
    #[error("the daemon is stopping")]
    Stopping,
}

impl DatabaseError {
    /// Whether the file is what is wrong, so that another one would do.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::NotOurs { .. } => true,
            Self::Sqlite { source, .. } => match source {
                rusqlite::Error::SqliteFailure(failure, _) => {
                    matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                }
                // Values that we never write: bytes inside a row have changed.
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..) => true,
                _ => false,
            },
            Self::Aside { .. }
            | Self::NoRow { .. }
            | Self::NoReason
            | Self::Done { .. }
            | Self::Stopping => false,
        }
    }
}

/// The database, opened.
#[derive(Debug)]
pub(crate) struct Database {
    pub(super) db: Connection,
    path: PathBuf,
    random: ChaCha8Rng,
}

impl Database {
    /// Opens or creates it. `true`: it is new, so the spool knows more than it does.
    pub(crate) fn open(path: &Path, seed: u64) -> Result<(Self, bool), DatabaseError> {
        match Self::try_open(path, seed) {
            Err(error) if error.is_broken() => {
                log::error!("{error}: set aside, and made again from the spool");
                set_aside(path)?;
                Self::try_open(path, seed)
            }
            opened => opened,
        }
    }

    /// Opens one that is there and whole, and changes nothing otherwise.
    pub(crate) fn open_kept(path: &Path, seed: u64) -> Result<Self, DatabaseError> {
        if !path.exists() {
            let found = "not there: no daemon has worked in this spool yet".to_owned();
            return Err(DatabaseError::NotOurs { path: path.into(), found });
        }
        Ok(Self::try_open(path, seed)?.0)
    }

    fn try_open(path: &Path, seed: u64) -> Result<(Self, bool), DatabaseError> {
        let wrap = |source| DatabaseError::Sqlite { path: path.into(), source };
        let db = Connection::open(path).map_err(wrap)?;
        db.busy_timeout(BUSY).map_err(wrap)?;
        let pragma = |name| db.query_row(&format!("pragma {name}"), [], |row| row.get::<_, i32>(0));
        let tables: i64 = db.query_row(TABLES, [], |row| row.get(0)).map_err(wrap)?;
        let (application, version) =
            (pragma("application_id").map_err(wrap)?, pragma("user_version").map_err(wrap)?);
        let is_new = tables == 0 && application == 0;
        let not_ours = |found: String| DatabaseError::NotOurs { path: path.into(), found };
        if !is_new && application != APPLICATION {
            return Err(not_ours("a database, but none of ours".into()));
        }
        if !is_new && !(1..=VERSION).contains(&version) {
            let found = format!("an outbox of version {version}, expected 1 to {VERSION}");
            return Err(not_ours(found));
        }
        db.execute_batch("pragma journal_mode = wal; pragma synchronous = full;").map_err(wrap)?;
        let mut database = Self { db, path: path.into(), random: ChaCha8Rng::seed_from_u64(seed) };
        if is_new {
            database.change(|db| {
                // Whoever was quicker has made it, the daemon or `runtime queue`.
                if db.query_row(TABLES, [], |row| row.get::<_, i64>(0))? > 0 {
                    return Ok(());
                }
                db.execute_batch(SCHEMA)?;
                db.execute_batch(SCHEMA_2)?;
                db.execute_batch(SCHEMA_DECISIONS)?;
                db.execute_batch(&format!(
                    "pragma application_id = {APPLICATION}; pragma user_version = {VERSION};"
                ))
            })?;
        } else {
            let check = "pragma quick_check(1)";
            let found: String = database.read(|db| db.query_row(check, [], |row| row.get(0)))?;
            if found != "ok" {
                return Err(not_ours(format!("damaged: {found}")));
            }
            database.upgrade()?;
        }
        Ok((database, is_new))
    }

    /// Adds what it lacks; all of it, or nothing.
    fn upgrade(&mut self) -> Result<(), DatabaseError> {
        self.change(|db| {
            db.execute_batch(SCHEMA_DECISIONS)?;
            let version: i32 = db.query_row("pragma user_version", [], |row| row.get(0))?;
            if version < VERSION {
                db.execute_batch(SCHEMA_2)?;
                db.execute_batch(&format!("pragma user_version = {VERSION};"))?;
            }
            Ok(())
        })
    }

    /// Notes an answered image and where its objects go; nothing if all that is known. One transaction for all.
    ///
    /// An image that was answered before, purged and sent again (same UID, same bytes) is noted and not
    /// delivered again. Returns how many deliveries are new.
    pub(crate) fn register(
        &mut self,
        images: &[Answered],
        now: Millis,
    ) -> Result<usize, DatabaseError> {
        self.change(|db| images.iter().map(|image| register(db, image, now)).sum())
    }

    /// Applies an event to a delivery; what it is afterwards.
    pub(crate) fn apply(
        &mut self,
        id: i64,
        event: Event,
        now: Millis,
        policy: Policy,
    ) -> Result<Progress, DatabaseError> {
        let jitter = self.jitter();
        let after = self.change(|db| {
            let Some(row) = rows::by_id(db, id)? else { return Ok(None) };
            let after = row.progress.after(event, now, policy, jitter);
            rows::write(db, id, &after, after.is_done(policy))?;
            Ok(Some(after))
        })?;
        after.ok_or(DatabaseError::NoRow { id })
    }

    /// Notes that commitment to these is about to be asked for.
    pub(crate) fn ask(
        &mut self,
        transaction: &str,
        rows: &[Row],
        now: Millis,
        policy: Policy,
    ) -> Result<(), DatabaseError> {
        self.change(|db| {
            for row in rows {
                let after = row.progress.after(Event::Asked(transaction.into()), now, policy, 1.0);
                rows::write(db, row.id, &after, after.is_done(policy))?;
                db.prepare_cached(
                    "insert into asked(transaction_uid, delivery, at) values(?1, ?2, ?3)",
                )?
                .execute(params![transaction, row.id, now])?;
            }
            // Who reports later than in a month reports about nothing.
            db.prepare_cached("delete from asked where at < ?1")?.execute([now - MONTH])?;
            Ok(())
        })
    }

    /// Removes a delivery of an object that does not exist: a mask without a single pixel is no segment.
    pub(crate) fn remove(&mut self, id: i64) -> Result<(), DatabaseError> {
        self.change(|db| db.execute("delete from delivery where id = ?1", [id]).map(drop))
    }

    pub(crate) fn hold(&mut self, id: i64, held: bool) -> Result<(), DatabaseError> {
        let update = "update delivery set held = ?2 where id = ?1";
        match self.change(|db| db.execute(update, params![id, held]))? {
            0 => Err(DatabaseError::NoRow { id }),
            _ => Ok(()),
        }
    }

    pub(crate) fn link(&self, destination: &str) -> Result<Link, DatabaseError> {
        self.read(|db| rows::link(db, destination))
    }

    /// The destination is in trouble, and wants to be left alone for so long at least.
    pub(crate) fn link_failed(
        &mut self,
        destination: &str,
        reason: &str,
        now: Millis,
        at_least: Millis,
    ) -> Result<Link, DatabaseError> {
        let jitter = self.jitter();
        self.change(|db| {
            let before = rows::link(db, destination)?;
            let failures = before.failures.saturating_add(1);
            let link = Link {
                failures,
                next: now + super::state::pause(failures, jitter, at_least),
                down_since: before.down_since.or(Some(now)),
                reason: Some(reason.to_owned()),
            };
            rows::write_link(db, destination, &link)?;
            Ok(link)
        })
    }

    pub(crate) fn link_works(&mut self, destination: &str) -> Result<(), DatabaseError> {
        self.change(|db| rows::write_link(db, destination, &Link::default()))
    }

    /// Hands what waits for `from` to `to`, except what `to` gets anyway; how many.
    pub(crate) fn divert(
        &mut self,
        from: &str,
        to: &str,
        now: Millis,
    ) -> Result<usize, DatabaseError> {
        self.change(|db| {
            db.execute(
                "update delivery set via = ?2, next = ?3 where via = ?1 and destination = ?1
                   and state = 'waiting' and held = 0 and not exists
                   (select 1 from delivery other where other.destination = ?2
                      and other.object = delivery.object)",
                params![from, to, now],
            )
        })
    }

    /// Runs changes as one: all of them last, or none.
    pub(super) fn together<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        self.read(|db| db.execute_batch("begin immediate"))?;
        let done = act(self).and_then(|done| {
            self.read(|db| db.execute_batch("commit"))?;
            Ok(done)
        });
        if done.is_err() && !self.db.is_autocommit() {
            self.read(|db| db.execute_batch("rollback"))?;
        }
        done
    }

    /// Runs `change` in a transaction: all of it lasts, or nothing.
    pub(super) fn change<T>(
        &mut self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let path = &self.path;
        let wrap = |source| DatabaseError::Sqlite { path: path.clone(), source };
        if !self.db.is_autocommit() {
            return change(&self.db).map_err(wrap); // within `together`
        }
        let transaction =
            self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrap)?;
        let changed = change(&transaction).map_err(wrap)?;
        transaction.commit().map_err(wrap)?;
        Ok(changed)
    }

    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let wrap = |source| DatabaseError::Sqlite { path: self.path.clone(), source };
        read(&self.db).map_err(wrap)
    }

    /// A UID for a transaction, made of random bits (PS3.5 B.2).
    pub(crate) fn transaction_uid(&mut self) -> String {
        let bits: u128 = self.random.random();
        // Version 4, variant 1 of a UUID.
        let uuid = bits & !(0xf << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
        format!("2.25.{uuid}")
    }

    fn jitter(&mut self) -> f64 {
        self.random.random_range(0.75..1.25)
    }
}

/// Notes one image; how many of its deliveries are new.
fn register(db: &Connection, image: &Answered, now: Millis) -> rusqlite::Result<usize> {
    let was_parked: Option<bool> = db
        .prepare_cached("select parked from image where key = ?1")?
        .query_row([&image.key], |row| row.get(0))
        .optional()?;
    let elsewhere = db
        .prepare_cached(
            "select 1 from image where source = ?1 and digest = ?2 and key <> ?3 and not parked",
        )?
        .exists(params![image.source, image.digest, image.key])?;
    db.prepare_cached(
        "insert into image(key, source, digest, answered, parked)
         values(?1, ?2, ?3, ?4, ?5) on conflict(key) do update set parked = ?5",
    )?
    .execute(params![image.key, image.source, image.digest, now, image.parked])?;
    noted::note(db, image, now)?;
    if was_parked == Some(false) {
        return Ok(0); // routed when it was noted first; only its history was missing
    }
    if elsewhere {
        log::info!("{} was delivered before: not delivered again", rows::label(&image.key));
        return Ok(0);
    }
    let mut insert = db.prepare_cached(
        "insert into delivery(key, source, kind, class, object, destination, via,
           urgent, created, next) values(?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?8)
         on conflict do nothing",
    )?;
    let mut new = 0;
    for delivery in &image.deliveries {
        new += insert.execute(params![
            image.key,
            image.source,
            delivery.kind.to_string(),
            delivery.class,
            delivery.object,
            delivery.destination,
            image.urgent,
            now,
        ])?;
    }
    Ok(new)
}

const MONTH: Millis = 31 * 24 * 3600 * 1000;

/// Moves the files away, over those of an earlier accident: one is enough to look into.
pub(super) fn set_aside(path: &Path) -> Result<(), DatabaseError> {
    for extension in ["", "-wal", "-shm"] {
        let mut from = path.as_os_str().to_owned();
        from.push(extension);
        let mut to = path.as_os_str().to_owned();
        to.push(format!(".broken{extension}"));
        match fs::rename(&from, &to) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(DatabaseError::Aside { path: path.into(), source });
            }
            _ => {}
        }
    }
    Ok(())
}
