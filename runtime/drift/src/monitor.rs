//! Streams of images beside a reference: all images together, and each source's.

use crate::{
    DriftError, Looks, Reference,
    charts::{Change, Charts, Peak},
    table::standing,
    trend::Trend,
    windows::Window,
};
use serde::{Deserialize, Serialize};

/// Everything that was noticed since the beginning. It forgets nothing but old days, and is the same after the same
/// images: who keeps their [`Looks`] can make it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    /// The first is of all images.
    pub(crate) streams: Vec<Stream>,
}

/// An alarm that began or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// A source, or [`Monitor::ALL`].
    pub source: String,
    pub what: What,
    pub began: bool,
}

/// What an alarm is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// The last images, one after the other.
    Chart { feature: String, change: Change },
    /// The images of a week, Monday to Sunday in UTC, or of four.
    Window { span: Span, feature: String, statistic: Statistic },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Span {
    Week,
    Month,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistic {
    Ks,
    Psi,
}

pub(crate) const SPANS: [Span; 2] = [Span::Week, Span::Month];

/// Images of one source, or of all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) images: u64,
    pub(crate) charts: Charts,
    pub(crate) alarm: Option<ChartAlarm>,
    pub(crate) spans: [Running; SPANS.len()],
    pub(crate) trend: Trend,
}

/// A sum passed its limit; it lasts until none does for [`QUIET`] images.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChartAlarm {
    /// Seconds since 1970.
    pub(crate) since: u64,
    pub(crate) times: u32,
    pub(crate) last: Peak,
    /// The stream's images then.
    at: u64,
}

/// A week or a month under way, and what became of the one before.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Running {
    number: u32,
    pub(crate) window: Window,
    pub(crate) alarm: Option<WindowAlarm>,
}

/// The last whole window passed a limit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WindowAlarm {
    /// Seconds since 1970 when it was judged.
    pub(crate) since: u64,
    /// None: the grey levels of all pixels.
    pub(crate) feature: Option<usize>,
    pub(crate) statistic: Statistic,
    pub(crate) value: f64,
    pub(crate) limit: f64,
    pub(crate) images: u32,
}

/// So many images without an alarm end one.
const QUIET: u64 = 200;
/// Sources that are told apart; images of more go under [`OTHERS`].
const MOST_SOURCES: usize = 16;
const OTHERS: &str = "other sources";
/// What the histogram of grey levels is called among the features.
pub(crate) const GREY_LEVELS: &str = "pixels/grey levels";

impl Monitor {
    /// The stream of all images.
    pub const ALL: &str = "all sources";

    pub fn new(reference: &Reference) -> Self {
        Self { streams: vec![Stream::new(Self::ALL, reference)] }
    }

    /// Adds an image of `source` that was answered `at` seconds after 1970; alarms that begin or end with it.
    pub fn observe(
        &mut self,
        reference: &Reference,
        at: u64,
        source: &str,
        looks: &Looks,
    ) -> Result<Vec<Notice>, DriftError> {
        let ranks = reference.ranks(looks)?;
        let own = self.stream_of(source, reference);
        let mut notices = Vec::new();
        for stream in &mut self.streams {
            stream.turn(reference, at, &mut notices);
        }
        for stream in [0, own] {
            self.streams[stream].add(reference, at, (&ranks, looks), &mut notices);
        }
        Ok(notices)
    }

    fn stream_of(&mut self, source: &str, reference: &Reference) -> usize {
        let name = match source {
            // Nobody may pass for all.
            "" | Self::ALL => "unknown source",
            _ => source,
        };
        let known = |name: &str| self.streams.iter().skip(1).position(|s| s.name == name);
        let name =
            if known(name).is_none() && self.streams.len() > MOST_SOURCES { OTHERS } else { name };
        if let Some(at) = known(name) {
            return at + 1;
        }
        self.streams.push(Stream::new(name, reference));
        self.streams.len() - 1
    }
}

impl Stream {
    fn new(name: &str, reference: &Reference) -> Self {
        let running = || Running { number: 0, window: Window::new(&reference.table), alarm: None };
        Self {
            name: name.to_owned(),
            images: 0,
            charts: Charts::new(reference.table.features(), reference.slacks()),
            alarm: None,
            spans: [running(), running()],
            trend: Trend::default(),
        }
    }

    /// Judges a week or month that is over.
    fn turn(&mut self, reference: &Reference, at: u64, notices: &mut Vec<Notice>) {
        for (span, running) in SPANS.into_iter().zip(&mut self.spans) {
            let number = span.number(at);
            // A clock that was set back opens no new window.
            if running.number >= number {
                continue;
            }
            running.number = number;
            if let Some(now) = judge(reference, &running.window, at) {
                let before = running.alarm.take();
                let since = before.as_ref().map_or(at, |alarm| alarm.since);
                let mut notice = |alarm: &WindowAlarm, began| {
                    let what = What::Window {
                        span,
                        feature: feature_name(reference, alarm.feature),
                        statistic: alarm.statistic,
                    };
                    notices.push(Notice { source: self.name.clone(), what, began });
                };
                match (&before, &now) {
                    (None, Some(alarm)) => notice(alarm, true),
                    (Some(alarm), None) => notice(alarm, false),
                    _ => {}
                }
                running.alarm = now.map(|alarm| WindowAlarm { since, ..alarm });
            }
            running.window.clear();
        }
    }

    fn add(
        &mut self,
        reference: &Reference,
        at: u64,
        (ranks, looks): (&[u16], &Looks),
        notices: &mut Vec<Notice>,
    ) {
        let table = &reference.table;
        self.images += 1;
        self.spans.iter_mut().for_each(|span| span.window.add(table, ranks, &looks.greys));
        self.charts.add(table, ranks);
        let peaks = self.charts.peaks(&reference.limits().charts);
        let standings = ranks.iter().map(|rank| standing(*rank, reference.images()));
        self.trend.add(day(at), &peaks, standings);
        // Of equals the first.
        let highest = peaks.into_iter().rev().max_by(|a, b| a.of_limit.total_cmp(&b.of_limit));
        let mut notice = |peak: Peak, began| {
            let feature = feature_name(reference, Some(peak.feature));
            let what = What::Chart { feature, change: peak.change };
            notices.push(Notice { source: self.name.clone(), what, began });
        };
        if let Some(peak) = highest.filter(|peak| peak.of_limit > 1.0) {
            self.charts.reset();
            let (since, times) = match &self.alarm {
                Some(alarm) => (alarm.since, alarm.times + 1),
                None => {
                    notice(peak, true);
                    (at, 1)
                }
            };
            self.alarm = Some(ChartAlarm { since, times, last: peak, at: self.images });
        } else if let Some(alarm) = self.alarm.take_if(|alarm| self.images - alarm.at >= QUIET) {
            notice(alarm.last, false);
        }
    }
}

/// Whether a window that is over passed a limit; none if it had too few images to say.
fn judge(reference: &Reference, window: &Window, at: u64) -> Option<Option<WindowAlarm>> {
    let limits = reference.limits().window(window.images)?;
    let (table, weight) = (&reference.table, window.weight(&reference.table));
    let of = |feature, statistic, value, limit| WindowAlarm {
        since: at,
        feature,
        statistic,
        value,
        limit,
        images: window.images,
    };
    let (ks, psi) = ((limits.ks / weight).sqrt(), limits.psi / weight);
    let greys = of(None, Statistic::Psi, window.greys(table), limits.greys / weight);
    let all = window.distances(table).into_iter().enumerate().flat_map(|(at, distance)| {
        [
            of(Some(at), Statistic::Ks, distance.ks, ks),
            of(Some(at), Statistic::Psi, distance.psi, psi),
        ]
    });
    let passed = all.chain([greys]).filter(|alarm| alarm.value > alarm.limit);
    Some(passed.max_by(|a, b| (a.value / a.limit).total_cmp(&(b.value / b.limit))))
}

pub(crate) fn feature_name(reference: &Reference, feature: Option<usize>) -> String {
    let name = feature.and_then(|at| reference.features().into_iter().nth(at));
    name.unwrap_or_else(|| GREY_LEVELS.into())
}

fn day(at: u64) -> u32 {
    u32::try_from(at / 86_400).unwrap_or(u32::MAX)
}

impl Span {
    /// Which week, or four weeks, a moment lies in; weeks begin on Monday.
    fn number(self, at: u64) -> u32 {
        let week = (day(at).saturating_add(3)) / 7 + 1; // 1970 began on a Thursday
        match self {
            Self::Week => week,
            Self::Month => week / 4 + 1,
        }
    }
}
