//! What a monitor says, for people and programs. Field names are a contract: append only.

use crate::{
    Change, Monitor, Reference,
    charts::Peak,
    monitor::{SPANS, Span, Statistic, Stream, WindowAlarm, feature_name},
    windows::{Distance, Window},
};
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Images of the reference.
    pub reference_images: usize,
    /// Names of the features, in the order of every list below.
    pub features: Vec<String>,
    /// The first is of all images.
    pub streams: Vec<StreamSummary>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamSummary {
    pub source: String,
    pub images: u64,
    pub alarms: Vec<Alarm>,
    pub features: Vec<FeatureSummary>,
    /// The week and the four weeks under way.
    pub windows: Vec<WindowSummary>,
    /// Days on which images came, oldest first.
    pub days: Vec<Day>,
}

/// Something that is above its limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alarm {
    /// Seconds since 1970.
    pub since: u64,
    pub feature: String,
    /// In words: `stands higher`, `its distribution over the week differs (KS 0.31, limit 0.22)`.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FeatureSummary {
    pub name: String,
    /// How close its sums are to their limit, which is 1.
    pub of_limit: f32,
    /// What the closest of them adds up.
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WindowSummary {
    pub span: Span,
    pub images: u32,
    /// None while it has too few images to be judged.
    pub limits: Option<Distance>,
    /// For each feature.
    pub distances: Vec<Distance>,
    /// Stability index of the grey levels of all pixels, and its limit.
    pub greys: f64,
    pub greys_limit: Option<f64>,
}

/// One day of a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Day {
    /// Since 1970.
    pub day: u32,
    pub images: u32,
    /// How close each feature came to its limit, which is 1.
    pub peaks: Vec<f32>,
    /// Where its images stood among the reference's, −1 to 1, in the mean.
    pub standings: Vec<f32>,
}

impl Monitor {
    pub fn summary(&self, reference: &Reference) -> Summary {
        Summary {
            reference_images: reference.images(),
            features: reference.features(),
            streams: self.streams.iter().map(|stream| stream.summary(reference)).collect(),
        }
    }

    /// Every alarm that stands, with its source.
    pub fn alarms(&self, reference: &Reference) -> Vec<(String, Alarm)> {
        let of = |stream: &Stream| {
            let name = stream.name.clone();
            stream.alarms(reference).into_iter().map(move |alarm| (name.clone(), alarm))
        };
        self.streams.iter().flat_map(of).collect()
    }

    /// How close each source is to its limit, which is 1.
    pub fn closest(&self, reference: &Reference) -> Vec<(String, f32)> {
        let most = |peaks: Vec<Peak>| peaks.iter().map(|peak| peak.of_limit).fold(0.0, f32::max);
        let of = |stream: &Stream| {
            (stream.name.clone(), most(stream.charts.peaks(&reference.limits().charts)))
        };
        self.streams.iter().map(of).collect()
    }
}

impl Stream {
    fn summary(&self, reference: &Reference) -> StreamSummary {
        let names = reference.features();
        let peaks = self.charts.peaks(&reference.limits().charts);
        let feature = |(name, peak): (String, Peak)| FeatureSummary {
            name,
            of_limit: peak.of_limit,
            change: peak.change,
        };
        StreamSummary {
            source: self.name.clone(),
            images: self.images,
            alarms: self.alarms(reference),
            features: names.into_iter().zip(peaks).map(feature).collect(),
            windows: SPANS
                .into_iter()
                .zip(&self.spans)
                .map(|(span, running)| window(reference, span, &running.window))
                .collect(),
            days: self
                .trend
                .days()
                .map(|(day, sums)| Day {
                    day,
                    images: sums.images,
                    peaks: sums.peaks.clone(),
                    standings: sums.standings(),
                })
                .collect(),
        }
    }

    fn alarms(&self, reference: &Reference) -> Vec<Alarm> {
        let chart = self.alarm.iter().map(|alarm| {
            let feature = feature_name(reference, Some(alarm.last.feature));
            let images =
                if alarm.times == 1 { String::new() } else { format!(", {} times", alarm.times) };
            Alarm {
                since: alarm.since,
                feature,
                text: format!("{}{images}", alarm.last.change.words()),
            }
        });
        let windows = SPANS.into_iter().zip(&self.spans).filter_map(|(span, running)| {
            let alarm = running.alarm.as_ref()?;
            let feature = feature_name(reference, alarm.feature);
            Some(Alarm { since: alarm.since, feature, text: alarm.words(span) })
        });
        chart.chain(windows).collect()
    }
}

fn window(reference: &Reference, span: Span, window: &Window) -> WindowSummary {
    let weight = window.weight(&reference.table);
    let limits = reference.limits().window(window.images);
    WindowSummary {
        span,
        images: window.images,
        limits: limits
            .map(|limits| Distance { ks: (limits.ks / weight).sqrt(), psi: limits.psi / weight }),
        distances: window.distances(&reference.table),
        greys: window.greys(&reference.table),
        greys_limit: limits.map(|limits| limits.greys / weight),
    }
}

impl Change {
    fn words(self) -> &'static str {
        match self {
            Self::Higher => "stands higher than at calibration",
            Self::Lower => "stands lower than at calibration",
            Self::Wider => "varies more than at calibration",
            Self::Narrower => "varies less than at calibration",
        }
    }
}

impl WindowAlarm {
    fn words(&self, span: Span) -> String {
        let over = match span {
            Span::Week => "the last whole week",
            Span::Month => "the last four whole weeks",
        };
        let name = match self.statistic {
            Statistic::Ks => "Kolmogorov–Smirnov",
            Statistic::Psi => "stability index",
        };
        format!(
            "is distributed otherwise over {over}: {name} {:.3}, limit {:.3}, {} images",
            self.value, self.limit, self.images
        )
    }
}
