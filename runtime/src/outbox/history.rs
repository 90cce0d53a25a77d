//! What was answered and delivered, day by day: also of images that are gone.

use super::{
    database::{Database, DatabaseError},
    rows::DAY,
    state::Millis,
};
use rusqlite::{Connection, params};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// A day in UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Day {
    /// `2026-11-30`
    pub(crate) day: String,
    /// Images that arrived then and were answered.
    pub(crate) images: i64,
    pub(crate) analysed: i64,
    /// Why the others were not, each reason with its number.
    pub(crate) not_analysed: BTreeMap<String, i64>,
    /// From arrival to answer: 95 % of the images waited no longer.
    pub(crate) waited_p95_seconds: Option<f64>,
    pub(crate) findings: Vec<Seen>,
    pub(crate) delivery: Delivered,
}

/// A finding on a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) images: i64,
    pub(crate) positive: i64,
    pub(crate) mean_probability: f64,
    /// Digests of the bundles that spoke.
    pub(crate) bundles: Vec<String>,
}

/// Deliveries that became due on a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Delivered {
    pub(crate) objects: u64,
    /// Neither on their way nor given up.
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
    pub(crate) dropped: u64,
    /// From the answer to the archive's last "stored": 95 % took no longer.
    pub(crate) p95_seconds: Option<f64>,
}

const ANALYSED: &str = "analysed";

impl Database {
    /// The last `days`, oldest first, today at the end; days on which nothing happened are there too.
    pub(crate) fn history(&self, days: u32, now: Millis) -> Result<Vec<Day>, DatabaseError> {
        let today = now.div_euclid(DAY);
        let first = today + 1 - i64::from(days.max(1));
        let mut found: BTreeMap<i64, Day> =
            (first..=today).map(|day| (day, Day { day: date(day), ..Day::default() })).collect();
        self.read(|db| {
            outcomes(db, first, &mut found)?;
            waits(db, first, &mut found)?;
            findings(db, first, &mut found)?;
            deliveries(db, first, &mut found)
        })?;
        Ok(found.into_values().collect())
    }

    /// Removes deliveries that came to their end before `until`, of images that are gone. The images' own rows stay:
    /// who sends one again does not cause a second result. Returns how many are removed, at most a thousand images'.
    pub(crate) fn prune(
        &mut self,
        until: Millis,
        is_gone: impl Fn(&str) -> bool,
    ) -> Result<usize, DatabaseError> {
        let old: Vec<String> = self.read(|db| {
            db.prepare_cached(
                "select key from delivery where created < ?1 group by key having min(done) = 1 limit 1000",
            )?
            .query_map([until], |row| row.get(0))?
            .collect()
        })?;
        let gone: Vec<String> = old.into_iter().filter(|key| is_gone(key)).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        self.change(|db| {
            let mut removed = 0;
            for key in &gone {
                // Since we looked, somebody may have asked for one of them again.
                removed += db
                    .prepare_cached(
                        "delete from delivery where key = ?1 and created < ?2 and not exists
                           (select 1 from delivery open where open.key = ?1 and open.done = 0)",
                    )?
                    .execute(params![key, until])?;
            }
            Ok(removed)
        })
    }
}

type Days = BTreeMap<i64, Day>;

fn outcomes(db: &Connection, first: i64, days: &mut Days) -> rusqlite::Result<()> {
    let mut counts = db.prepare_cached(
        "select received / ?2, outcome, count(*) from image where received >= ?1 group by 1, 2",
    )?;
    let mut rows = counts.query(params![first * DAY, DAY])?;
    while let Some(row) = rows.next()? {
        let (day, outcome, count): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let Some(day) = days.get_mut(&day) else { continue };
        day.images += count;
        match outcome.as_str() {
            ANALYSED => day.analysed = count,
            _ => drop(day.not_analysed.insert(outcome, count)),
        }
    }
    Ok(())
}

fn waits(db: &Connection, first: i64, days: &mut Days) -> rusqlite::Result<()> {
    let mut all = db.prepare_cached(
        "select received / ?2, waited from image where received >= ?1 order by 1, waited",
    )?;
    let mut rows = all.query(params![first * DAY, DAY])?;
    let mut by_day: BTreeMap<i64, Vec<Millis>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        by_day.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    for (day, waits) in by_day {
        if let Some(day) = days.get_mut(&day) {
            day.waited_p95_seconds = p95(&waits);
        }
    }
    Ok(())
}

fn findings(db: &Connection, first: i64, days: &mut Days) -> rusqlite::Result<()> {
    let mut all = db.prepare_cached(
        "select day, name, bundle, images, positive, total from seen where day >= ?1 order by 1, 2, 3",
    )?;
    let mut rows = all.query([first])?;
    while let Some(row) = rows.next()? {
        let Some(day) = days.get_mut(&row.get::<_, i64>(0)?) else { continue };
        let (name, bundle): (String, String) = (row.get(1)?, row.get(2)?);
        let (images, positive, total): (i64, i64, f64) = (row.get(3)?, row.get(4)?, row.get(5)?);
        if day.findings.last().is_none_or(|last| last.name != name) {
            day.findings.push(Seen { name, ..Seen::default() });
        }
        let Some(seen) = day.findings.last_mut() else { continue };
        let before = seen.mean_probability * seen.images as f64;
        seen.images += images;
        seen.positive += positive;
        seen.mean_probability = (before + total) / seen.images as f64;
        seen.bundles.push(bundle);
    }
    Ok(())
}

fn deliveries(db: &Connection, first: i64, days: &mut Days) -> rusqlite::Result<()> {
    let mut all = db.prepare_cached(
        "select created / ?2, state, done, sent - created from delivery where created >= ?1
         order by 1, 4",
    )?;
    let mut rows = all.query(params![first * DAY, DAY])?;
    let mut took: BTreeMap<i64, Vec<Millis>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (number, state): (i64, String) = (row.get(0)?, row.get(1)?);
        let (done, time): (bool, Option<Millis>) = (row.get(2)?, row.get(3)?);
        let Some(day) = days.get_mut(&number) else { continue };
        let all = &mut day.delivery;
        all.objects += 1;
        match state.as_str() {
            "dead" => all.dead += 1,
            "dropped" => all.dropped += 1,
            _ if done => {
                all.delivered += 1;
                took.entry(number).or_default().extend(time.map(|time| time.max(0)));
            }
            _ => {}
        }
    }
    for (day, times) in took {
        if let Some(day) = days.get_mut(&day) {
            day.delivery.p95_seconds = p95(&times);
        }
    }
    Ok(())
}

/// Of sorted milliseconds, in seconds: the least that 95 % of them are not above.
fn p95(sorted: &[Millis]) -> Option<f64> {
    let rank = (sorted.len() * 95).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).map(|&wait| wait as f64 / 1000.0)
}

/// Days since 1970 → `2026-11-30`.
fn date(day: i64) -> String {
    let seconds = u64::try_from(day).unwrap_or_default().saturating_mul(24 * 3600);
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    let text = time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    text.map_or_else(String::new, |text| text.split('T').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_percentile_is_a_value_that_was_there() {
        assert_eq!(p95(&[]), None);
        assert_eq!(p95(&[1500]), Some(1.5));
        let twenty: Vec<Millis> = (1..=20).map(|n| n * 1000).collect();
        assert_eq!(p95(&twenty), Some(19.0));
        assert_eq!(date(20_787), "2026-11-30");
    }
}
