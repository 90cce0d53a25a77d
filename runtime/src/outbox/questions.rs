//! What is asked of the database: what is due, what is known, how much of what there is.

use super::{
    database::{Database, DatabaseError},
    rows::{Backlog, Filter, Row, SELECT, Summary, by_id, parse, row},
    state::{Event, Millis, Policy, State, longest_wait},
};
use rusqlite::{named_params, params};

impl Database {
    /// What to send next: urgent first, then by age.
    pub(crate) fn next_due(
        &self,
        via: &str,
        now: Millis,
        policy: Policy,
    ) -> Result<Option<Row>, DatabaseError> {
        let mut due = self.due(via, State::Waiting, "", now, policy, 1)?;
        Ok(due.pop())
    }

    /// Sent, and commitment must be asked for now; the oldest first.
    pub(crate) fn to_ask(
        &self,
        via: &str,
        now: Millis,
        policy: Policy,
        limit: usize,
    ) -> Result<Vec<Row>, DatabaseError> {
        self.due(via, State::Sent, "and done = 0 and transaction_uid is null", now, policy, limit)
    }

    /// Commitment was asked for, and no report came in time.
    pub(crate) fn silent(
        &self,
        via: &str,
        now: Millis,
        policy: Policy,
    ) -> Result<Vec<Row>, DatabaseError> {
        self.due(via, State::Sent, "and done = 0 and transaction_uid is not null", now, policy, 100)
    }

    fn due(
        &self,
        via: &str,
        state: State,
        and: &str,
        now: Millis,
        policy: Policy,
        limit: usize,
    ) -> Result<Vec<Row>, DatabaseError> {
        // A time later than any pause can end was noted before the clock was set back.
        let never = now + longest_wait(policy);
        self.read(|db| {
            let sql = format!(
                "{SELECT} where via = ?1 and state = ?2 and held = 0 and (next <= ?3 or next > ?4) {and}
                 order by urgent desc, id limit ?5"
            );
            db.prepare_cached(&sql)?
                .query_map(params![via, state.to_string(), now, never, limit as i64], row)?
                .collect()
        })
    }

    pub(crate) fn row(&self, id: i64) -> Result<Row, DatabaseError> {
        self.read(|db| by_id(db, id))?.ok_or(DatabaseError::NoRow { id })
    }

    pub(crate) fn list(&self, filter: &Filter) -> Result<Vec<Row>, DatabaseError> {
        self.read(|db| {
            // Written out, so that there is an index for it.
            let open = if filter.open { "and done = 0" } else { "" };
            let sql = format!(
                "{SELECT} where (:state is null or state = :state)
                   and (:destination is null or destination = :destination or via = :destination)
                   and (:before is null or id < :before) {open} order by id desc limit :limit"
            );
            db.prepare_cached(&sql)?
                .query_map(
                    named_params! {
                        ":state": filter.state.map(|state| state.to_string()),
                        ":destination": filter.destination,
                        ":before": filter.before,
                        ":limit": filter.limit as i64,
                    },
                    row,
                )?
                .collect()
        })
    }

    pub(crate) fn summary(&self) -> Result<Summary, DatabaseError> {
        self.read(|db| {
            let mut summary = Summary::default();
            let mut counts = db.prepare_cached("select state, sum(n) from tally group by state")?;
            let mut rows = counts.query([])?;
            while let Some(row) = rows.next()? {
                let count: i64 = row.get(1)?;
                match parse::<State>(row, 0)? {
                    State::Waiting => summary.waiting = count,
                    State::Sent => summary.sent = count,
                    State::Committed => summary.committed = count,
                    State::Dead => summary.dead = count,
                    State::Dropped => summary.dropped = count,
                }
            }
            // The oldest is the first of an index.
            let open = "select coalesce(sum(n), 0), coalesce(sum(n * held), 0),
                          (select min(created) from delivery where done = 0) from tally where done = 0";
            (summary.open, summary.held, summary.oldest_open) = db
                .prepare_cached(open)?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(summary)
        })
    }

    pub(crate) fn backlog(&self, now: Millis) -> Result<Backlog, DatabaseError> {
        let sql = "select coalesce(sum(n), 0), coalesce(sum(n * (state = 'dead')), 0),
                     coalesce((select min(created) from delivery where done = 0), ?1)
                   from tally where done = 0";
        let (open, dead, oldest): (i64, i64, Millis) = self.read(|db| {
            db.prepare_cached(sql)?
                .query_row([now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        })?;
        let oldest_seconds = (now - oldest).max(0) as u64 / 1000;
        Ok(Backlog { open: open as usize, oldest_seconds, dead: dead as usize })
    }

    /// Whether an image is known and nothing of it is left to deliver.
    pub(crate) fn is_settled(&self, key: &str) -> Result<bool, DatabaseError> {
        self.read(|db| {
            db.prepare_cached(
                "select exists(select 1 from image where key = ?1)
                   and not exists(select 1 from delivery where key = ?1 and done = 0)",
            )?
            .query_row([key], |row| row.get(0))
        })
    }

    /// Which of these images are not known, or known with an answer that was given up or is not in the history.
    pub(crate) fn unknown(&self, keys: Vec<String>) -> Result<Vec<String>, DatabaseError> {
        self.read(|db| {
            let mut known = db.prepare_cached(
                "select 1 from image where key = ?1 and not parked and outcome is not null",
            )?;
            let mut unknown = Vec::new();
            for key in keys {
                if !known.exists([&key])? {
                    unknown.push(key);
                }
            }
            Ok(unknown)
        })
    }

    /// Deliveries that were asked about under this transaction.
    pub(crate) fn asked(&self, transaction: &str) -> Result<Vec<Row>, DatabaseError> {
        self.read(|db| {
            let sql = format!(
                "{SELECT} where id in (select delivery from asked where transaction_uid = ?1) order by id"
            );
            db.prepare_cached(&sql)?.query_map([transaction], row)?.collect()
        })
    }

    /// Gives up what goes to destinations that are not `configured` any more; how many.
    pub(crate) fn strand(
        &mut self,
        configured: &[String],
        now: Millis,
    ) -> Result<usize, DatabaseError> {
        let open: Vec<(i64, String)> = self.read(|db| {
            db.prepare_cached("select id, via from delivery where done = 0 and state <> 'dead'")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        let mut stranded = 0;
        for (id, via) in open.into_iter().filter(|(_, via)| !configured.contains(via)) {
            let event = Event::Refused(format!("destination {via:?} is not configured any more"));
            let policy = Policy { commits: true, commit_within: 0 };
            self.apply(id, event, now, policy)?;
            stranded += 1;
        }
        Ok(stranded)
    }
}
