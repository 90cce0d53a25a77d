//! Counters and the latency histogram, in Prometheus' text format.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What is so at the moment: name, help, value.
pub(crate) type Gauge = (&'static str, &'static str, u64);

/// The same for each of several things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labelled {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// Labels and a value.
    pub(crate) rows: Vec<(Vec<(&'static str, String)>, i64)>,
}

impl Labelled {
    /// Nothing if there are no rows.
    fn write(&self, page: &mut String) {
        let Self { name, help, rows } = self;
        if rows.is_empty() {
            return;
        }
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in rows {
            let labels = labels.iter().map(|(label, text)| {
                let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
                format!("{label}=\"{text}\"")
            });
            let labels: Vec<String> = labels.collect();
            let _ = writeln!(page, "{name}{{{}}} {value}", labels.join(","));
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections: Counter,
    pub(crate) associations: Counter,
    /// Connections that ended other than by release.
    pub(crate) broken: Counter,
    pub(crate) echoes: Counter,
    pub(crate) stored: Counter,
    /// Messages answered with a failure.
    pub(crate) refused: Counter,
    pub(crate) analysed: Counter,
    pub(crate) not_analysed: Counter,
    pub(crate) parked: Counter,
    /// From the arrival of an image to its durable answer.
    pub(crate) latency: Histogram,
    /// The part of it that the worker needs.
    pub(crate) work: Histogram,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper edges, seconds.
const EDGES: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3600.0];

#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Counter; EDGES.len()],
    count: Counter,
    microseconds: Counter,
}

impl Histogram {
    pub(crate) fn observe(&self, time: Duration) {
        for (edge, bucket) in EDGES.iter().zip(&self.buckets) {
            if time.as_secs_f64() <= *edge {
                bucket.add(1);
            }
        }
        self.count.add(1);
        self.microseconds.add(time.as_micros() as u64);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    fn write(&self, page: &mut String, name: &str, help: &str) {
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (edge, bucket) in EDGES.iter().zip(&self.buckets) {
            let _ = writeln!(page, "{name}_bucket{{le=\"{edge}\"}} {}", bucket.get());
        }
        let seconds = self.microseconds.get() as f64 / 1e6;
        let count = self.count();
        let _ = writeln!(
            page,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {seconds}\n{name}_count {count}"
        );
    }
}

impl Metrics {
    /// The page a Prometheus server scrapes.
    pub(crate) fn page(&self, gauges: &[Gauge], labelled: &[Labelled]) -> String {
        let mut page = String::new();
        let counters = [
            ("cxr_dicom_connections_total", "TCP connections accepted", &self.connections),
            ("cxr_dicom_associations_total", "Associations accepted", &self.associations),
            (
                "cxr_dicom_broken_total",
                "Connections that ended other than by release",
                &self.broken,
            ),
            ("cxr_dicom_echoes_total", "C-ECHO requests answered", &self.echoes),
            ("cxr_dicom_stored_total", "C-STORE requests answered with success", &self.stored),
            ("cxr_dicom_refused_total", "Requests answered with a failure", &self.refused),
            ("cxr_images_analysed_total", "Images with findings", &self.analysed),
            (
                "cxr_images_not_analysed_total",
                "Images the network must not see",
                &self.not_analysed,
            ),
            ("cxr_images_parked_total", "Images given up after repeated failures", &self.parked),
        ];
        for (name, help, counter) in counters {
            let _ = writeln!(
                page,
                "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}",
                counter.get()
            );
        }
        for (name, help, value) in gauges {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        for gauges in labelled {
            gauges.write(&mut page);
        }
        let name = "cxr_answer_seconds";
        self.latency.write(&mut page, name, "From the arrival of an image to its answer");
        let name = "cxr_work_seconds";
        self.work.write(&mut page, name, "From taking an image off the queue to its answer");
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let metrics = Metrics::default();
        for milliseconds in [5, 30, 300_000] {
            metrics.latency.observe(Duration::from_millis(milliseconds));
        }
        let labelled = Labelled {
            name: "cxr_days",
            help: "Days",
            rows: vec![(vec![("what", "a\"b\\c".to_owned()), ("file", "x".to_owned())], -3)],
        };
        let page = metrics.page(&[("cxr_ready", "1 if a bundle answers", 1)], &[labelled]);
        for line in [
            "cxr_answer_seconds_bucket{le=\"0.01\"} 1",
            "cxr_answer_seconds_bucket{le=\"0.05\"} 2",
            "cxr_answer_seconds_bucket{le=\"30\"} 2",
            "cxr_answer_seconds_bucket{le=\"+Inf\"} 3",
            "cxr_ready 1",
            r#"cxr_days{what="a\"b\\c",file="x"} -3"#,
        ] {
            assert!(page.lines().any(|l| l == line), "{line}\n{page}");
        }
    }
}
