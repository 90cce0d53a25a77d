//! What the history keeps of one answer; [`super::history`] adds the days up.

use super::{
    rows::{Answered, DAY, PARKED},
    state::Millis,
};
use rusqlite::{Connection, OptionalExtension, params};

/// Adds an answer, once: another one counts only if what was said before was that the image is given up.
pub(super) fn note(db: &Connection, image: &Answered, now: Millis) -> rusqlite::Result<()> {
    let Some(past) = &image.past else { return Ok(()) };
    let before: Option<Option<String>> = db
        .prepare_cached("select outcome from image where key = ?1")?
        .query_row([&image.key], |row| row.get(0))
        .optional()?;
    if before.flatten().is_some_and(|outcome| outcome != PARKED) {
        return Ok(());
    }
    // Who arrived tomorrow arrived before somebody set the clock back.
    let received = past.received.min(now);
    db.prepare_cached("update image set received = ?2, waited = ?3, outcome = ?4 where key = ?1")?
        .execute(params![image.key, received, past.waited, past.outcome])?;
    let mut add = db.prepare_cached(
        "insert into seen values(?1, ?2, ?3, 1, ?4, ?5) on conflict do update set
           images = images + 1, positive = positive + excluded.positive, total = total + excluded.total",
    )?;
    for (name, probability, positive) in &past.findings {
        let day = received.div_euclid(DAY);
        add.execute(params![day, name, past.bundle, positive, f64::from(*probability)])?;
    }
    Ok(())
}
