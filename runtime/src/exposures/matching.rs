//! Which image belongs to which exposure. Pure: no file, no clock; [`Matching`] is all that it knows.
//!
//! ```text
//! exposure ─▶ open ──────────────────▶ matched ◀────────────────────── unexplained ◀─ image
//!               │ no image in time        ▲  however late               ▲ │ no exposure in time
//!               ▼                         │                             │ ▼
//!            missing ─────────────────────┘                          unexplained, and told
//! ```
//!
//! The rule. An image can belong to an exposure if nothing that both of them say contradicts: it arrived after the
//! exposure, the subject is the same, voltage, charge and time agree within what a header rounds. Of those, the best is
//!
//! 1. one whose subject is named by both;
//! 2. one whose time fits: the header's time less the exposure's is this station's usual difference, see [`Clock`];
//! 3. one that must have an image, before one that was repeated and need not;
//! 4. the one with the nearest time, if it fits; else the one with more factors in common, then the oldest.
//!
//! An image with the study and the acquisition time of one that is matched comes from the same exposure. An image whose
//! time does not fit is left alone, unless it is off by an hour, as after a change to summer time; when two such images
//! are off by the same, the station's clock was set, and its new difference counts.

use exposures::Moment;
use protocol::Exposure;
use protocol::exposure::{Outcome, Subject};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// An image is at most so much older than its exposure: what is known of arrival is not exact.
const SLACK: i64 = 5_000;
/// Two times fit if they are no further apart: milliseconds.
const FIT: i64 = 20_000;
/// What a change to or from summer time makes of a clock.
const SUMMER_TIME: i64 = 3_600_000;
/// Differences that a clock is estimated by.
const SAMPLES: usize = 9;
/// Two images of one acquisition have the same time, but for rounding.
const AT_ONCE: i64 = 1_000;
/// Exposures, images and stations that are remembered.
const MOST: usize = 1024;

/// When something is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// After an exposure, for its image.
    pub(crate) image: Duration,
    /// After an image, for its exposure: a line may be down for a while.
    pub(crate) exposure: Duration,
    /// Everything is forgotten then.
    pub(crate) keep: Duration,
}

/// Everything that is known about exposures and images; survives a restart as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Matching {
    exposures: VecDeque<Open>,
    images: VecDeque<Pictured>,
    clocks: BTreeMap<String, Clock>,
    pub(crate) counts: Counts,
}

/// Since the first start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) exposures: u64,
    pub(crate) aborted: u64,
    pub(crate) matched: u64,
    pub(crate) missing: u64,
    pub(crate) unexplained: u64,
}

/// An exposure that was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    /// Of the journal's entry.
    number: u64,
    ended: Moment,
    exposure: Exposure,
    /// It was repeated: its image may have been rejected.
    optional: bool,
    /// The study and acquisition time of its first image.
    image: Option<(Option<u64>, Option<i64>)>,
    missing: bool,
}

/// An image that arrived, as far as its header tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pictured {
    /// In the spool.
    pub(crate) sequence: u64,
    pub(crate) arrived: Moment,
    pub(crate) header: Header,
    pub(crate) answer: Option<Answer>,
    /// The journal's entry.
    exposure: Option<u64>,
    told: bool,
}

/// What an image says about its exposure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) station: String,
    /// First 8 bytes of the SHA-256 of the identifier.
    pub(crate) study: Option<u64>,
    pub(crate) accession: Option<u64>,
    /// When it was taken by the station's clock: milliseconds since 1970 as if that were UTC.
    pub(crate) taken: Option<i64>,
    /// Whether that is the acquisition itself, not a later step.
    pub(crate) is_acquisition: bool,
    pub(crate) kilovolts: Option<f64>,
    /// mAs, and to how much the header rounds it.
    pub(crate) charge: Option<(f64, f64)>,
    /// Milliseconds, and to how much the header rounds it.
    pub(crate) duration: Option<(f64, f64)>,
}

/// What the box said about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Answer {
    Ready,
    NotAnalysed,
    Urgent,
}

/// A station's clock against that of its exposures: how much the first is ahead, milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Clock {
    ahead: VecDeque<i64>,
}

impl Clock {
    /// The median; none until two samples agree.
    fn estimate(&self) -> Option<i64> {
        let mut sorted: Vec<i64> = self.ahead.iter().copied().collect();
        sorted.sort_unstable();
        let median = *sorted.get(sorted.len() / 2)?;
        let agree = sorted.iter().filter(|ahead| ahead.abs_diff(median) <= FIT as u64).count();
        (agree >= 2).then_some(median)
    }

    fn add(&mut self, ahead: i64, was_set: bool) {
        if was_set {
            self.ahead.clear();
            self.ahead.push_back(ahead);
        }
        if self.ahead.len() == SAMPLES {
            self.ahead.pop_front();
        }
        self.ahead.push_back(ahead);
    }
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The image of this entry should have arrived.
    Missing(u64),
    /// It arrived after all.
    Found(u64),
    /// No exposure explains this image.
    Unexplained(u64),
    /// One does after all.
    Explained(u64),
}

/// How well an image fits an exposure; of two, the greater is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    named: bool,
    time: Time,
    required: bool,
    /// Milliseconds apart, negated; 0 where that is not known.
    near: i64,
    /// Technique factors in common.
    factors: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Time {
    /// Off by an hour.
    Summer,
    Unknown,
    Fits,
}

impl Matching {
    /// Takes in an entry of the journal.
    pub(crate) fn expose(&mut self, number: u64, heard: Moment, exposure: Exposure) {
        self.counts.exposures += 1;
        self.counts.aborted += u64::from(exposure.outcome == Outcome::Aborted);
        let same_counter = |open: &Open| {
            (open.exposure.controller, open.exposure.epoch) == (exposure.controller, exposure.epoch)
        };
        for open in self.exposures.iter_mut().filter(|open| same_counter(open)) {
            open.optional |= Some(open.exposure.sequence) == exposure.repeats;
        }
        let ended = heard.earlier(Duration::from_millis(exposure.age.unwrap_or(0).into()));
        let open = Open { number, ended, exposure, optional: false, image: None, missing: false };
        push(&mut self.exposures, open);
    }

    /// Takes in an image that arrived.
    pub(crate) fn picture(&mut self, sequence: u64, arrived: Moment, header: Header) {
        let image =
            Pictured { sequence, arrived, header, answer: None, exposure: None, told: false };
        push(&mut self.images, image);
    }

    /// Matches what can be matched, forgets what is old; what is new about it at `now`.
    pub(crate) fn settle(&mut self, now: Moment, limits: &Limits) -> Vec<News> {
        let mut news = Vec::new();
        loop {
            let open = (0..self.images.len()).filter(|at| self.images[*at].exposure.is_none());
            let open: Vec<usize> = open.collect();
            let matched = open.into_iter().filter(|at| self.matched(*at, &mut news)).count();
            if matched == 0 && !self.clock_was_set() {
                break;
            }
        }
        let over = |since: &Moment, limit: Duration| now.since(since) > milliseconds(limit);
        self.exposures.retain(|open| !over(&open.ended, limits.keep));
        self.images.retain(|image| !over(&image.arrived, limits.keep));
        for open in &mut self.exposures {
            if !open.missing && open.is_awaited() && over(&open.ended, limits.image) {
                open.missing = true;
                self.counts.missing += 1;
                news.push(News::Missing(open.number));
            }
        }
        for image in &mut self.images {
            if !image.told && image.exposure.is_none() && over(&image.arrived, limits.exposure) {
                image.told = true;
                self.counts.unexplained += 1;
                news.push(News::Unexplained(image.sequence));
            }
        }
        news
    }

    /// Entries whose image should have arrived and did not: their number, when they ended, what was told.
    pub(crate) fn missing(&self) -> impl DoubleEndedIterator<Item = (u64, Moment, &Exposure)> {
        let missing = self.exposures.iter().filter(|open| open.missing);
        missing.map(|open| (open.number, open.ended, &open.exposure))
    }

    /// Images that no exposure explains.
    pub(crate) fn unexplained(&self) -> impl Iterator<Item = u64> {
        let told = |image: &&Pictured| image.told && image.exposure.is_none();
        self.images.iter().filter(told).map(|image| image.sequence)
    }

    /// Whether an image is still to be expected in time.
    pub(crate) fn awaits(&self) -> bool {
        self.exposures.iter().any(|open| open.is_awaited() && !open.missing)
    }

    /// Images not answered yet, as far as is known.
    pub(crate) fn unanswered(&mut self) -> impl Iterator<Item = &mut Pictured> {
        self.images.iter_mut().filter(|image| image.answer.is_none())
    }

    /// The worst answer about the study of the image that came last.
    pub(crate) fn latest_answer(&self, now: Moment, within: Duration) -> Option<Answer> {
        let last = self.images.iter().rfind(|image| image.answer.is_some())?;
        if now.since(&last.arrived) > milliseconds(within) {
            return None;
        }
        let of_study = |image: &&Pictured| {
            image.sequence == last.sequence
                || last.header.study.is_some() && image.header.study == last.header.study
        };
        self.images.iter().filter(of_study).filter_map(|image| image.answer).max()
    }

    /// Finds the exposure of an image; whether there is one.
    fn matched(&mut self, at: usize, news: &mut Vec<News>) -> bool {
        let image = &mut self.images[at];
        let Header { station, taken, study, .. } = &image.header;
        let same = self.exposures.iter().find(|open| open.took(&image.header));
        let clock = self.clocks.get(station).and_then(Clock::estimate);
        let fit = |open: &Open| open.is_free().then(|| open.fits(image, clock)).flatten();
        let fits = self.exposures.iter().enumerate().filter_map(|(n, open)| Some((fit(open)?, n)));
        let best = fits.max_by_key(|(fit, n)| (*fit, Reverse(*n)));
        let number = match (same, best) {
            (Some(open), _) => open.number,
            (None, None) => return false,
            (None, Some((fit, n))) => {
                let open = &mut self.exposures[n];
                if let Some(taken) = taken {
                    let ahead = taken - open.stamp();
                    let clock = clock_of(&mut self.clocks, station);
                    clock.add(ahead, fit.time == Time::Summer);
                }
                open.image = Some((*study, taken.filter(|_| image.header.is_acquisition)));
                self.counts.matched += 1;
                if std::mem::take(&mut open.missing) {
                    news.push(News::Found(open.number));
                }
                open.number
            }
        };
        image.exposure = Some(number);
        if std::mem::take(&mut image.told) {
            news.push(News::Explained(image.sequence));
        }
        true
    }

    /// Whether two images that no time fits are off by the same: then their station's clock was set, and is set here.
    fn clock_was_set(&mut self) -> bool {
        let mut pairs = Vec::new();
        for image in self.images.iter().filter(|image| image.exposure.is_none()) {
            let Some(taken) = image.header.taken else { continue };
            for open in self.exposures.iter().filter(|open| open.is_free()) {
                if open.could_be(image).is_some() {
                    pairs.push((image, open.number, taken - open.stamp()));
                }
            }
        }
        let agreed = pairs.iter().find_map(|(a, number, ahead)| {
            let other = pairs.iter().find(|(b, other, its)| {
                b.sequence != a.sequence
                    && other != number
                    && b.header.station == a.header.station
                    && (its - ahead).abs() <= FIT / 4
            });
            other.map(|(_, _, its)| (a.header.station.clone(), [*ahead, *its]))
        });
        let Some((station, ahead)) = agreed else { return false };
        clock_of(&mut self.clocks, &station).ahead = ahead.into();
        true
    }
}

impl Open {
    /// The time by which a station's clock is compared: the controller's own, else the box's.
    fn stamp(&self) -> i64 {
        self.exposure.clock.unwrap_or(self.ended.wall).cast_signed()
    }

    fn is_free(&self) -> bool {
        self.exposure.outcome == Outcome::Complete && self.image.is_none()
    }

    fn is_awaited(&self) -> bool {
        self.is_free() && !self.optional
    }

    /// Whether this is another image of the same acquisition.
    fn took(&self, header: &Header) -> bool {
        let Some((Some(study), Some(taken))) = self.image else { return false };
        let at_once = header.taken.is_some_and(|its| (its - taken).abs() <= AT_ONCE);
        header.is_acquisition && at_once && header.study == Some(study)
    }

    fn fits(&self, image: &Pictured, clock: Option<i64>) -> Option<Fit> {
        let (named, factors) = self.could_be(image)?;
        let off = image.header.taken.zip(clock).map(|(taken, ahead)| taken - self.stamp() - ahead);
        let hours = off.map_or(0, |off| (off + SUMMER_TIME / 2).div_euclid(SUMMER_TIME));
        let apart = off.map_or(0, |off| (off - hours * SUMMER_TIME).abs());
        let time = match (off, hours) {
            (None, _) => Time::Unknown,
            (Some(_), 0) if apart <= FIT => Time::Fits,
            (Some(_), -1 | 1) if apart <= FIT => Time::Summer,
            _ => return None,
        };
        Some(Fit { named, time, required: !self.optional, near: -apart, factors })
    }

    /// Whether both name the same subject, and the factors they share; none if something contradicts.
    fn could_be(&self, image: &Pictured) -> Option<(bool, usize)> {
        if image.arrived.since(&self.ended) < -SLACK {
            return None;
        }
        let header = &image.header;
        let named = match self.exposure.subject {
            Some(Subject::Study(hash)) => header.study.map(|study| study.to_be_bytes() == hash),
            Some(Subject::Accession(hash)) => header.accession.map(|its| its.to_be_bytes() == hash),
            None => None,
        };
        let technique = self.exposure.technique;
        let kilovolts = technique.kilovolts.map(|tenths| f64::from(tenths) / 10.0);
        let charge = technique.charge.map(|thousandths| f64::from(thousandths) / 1e3);
        let duration = technique.duration.map(|tenths| f64::from(tenths) / 10.0);
        let factors = [
            agree(kilovolts, header.kilovolts.map(|kilovolts| (kilovolts, 1.0))),
            agree(charge, header.charge),
            agree(duration, header.duration),
        ];
        let contradicts = named == Some(false) || factors.contains(&Some(false));
        (!contradicts).then(|| (named == Some(true), factors.iter().flatten().count()))
    }
}

/// Whether a factor agrees with what a header rounds; none where one of them is not known.
fn agree(told: Option<f64>, header: Option<(f64, f64)>) -> Option<bool> {
    let (told, (written, rounding)) = (told?, header?);
    Some((told - written).abs() <= rounding.max(told * 0.05))
}

fn clock_of<'a>(clocks: &'a mut BTreeMap<String, Clock>, station: &str) -> &'a mut Clock {
    if clocks.len() >= MOST && !clocks.contains_key(station) {
        clocks.clear();
    }
    clocks.entry(station.to_owned()).or_default()
}

fn push<T>(to: &mut VecDeque<T>, what: T) {
    if to.len() == MOST {
        to.pop_front();
    }
    to.push_back(what);
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
