//! What `runtime bench` says, to programs and to people.

use super::Scenario;
use serde::Serialize;
use std::fmt::Write as _;

/// The JSON of `runtime bench --json` (DESIGN §5, runtime/docs/bench.md): append only.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) bundle: String,
    pub(crate) digest: String,
    pub(crate) scenario: Scenario,
    pub(crate) threads: u32,
    pub(crate) isa: String,
    pub(crate) queries: u64,
    pub(crate) latency_ms: Latency,
    pub(crate) images_per_second: f64,
    /// Integer multiplications of one image by its median time and the machine's peak.
    pub(crate) peak_share: Option<f64>,
    /// Of all threads, 10⁹ multiplications per second.
    pub(crate) peak_gmacs: f64,
    pub(crate) integer_gmacs: f64,
    pub(crate) float_gmacs: f64,
    /// From the file to the first result.
    pub(crate) load_ms: f64,
    pub(crate) rss_mb: f64,
    pub(crate) peak_rss_mb: f64,
    pub(crate) bundle_mb: f64,
    pub(crate) layers: Vec<Layer>,
    /// Images of one query.
    pub(crate) images_per_query: u64,
    /// Which percentile `latency_ms.reported` is.
    pub(crate) reported_percentile: Option<f64>,
    /// All queries together.
    pub(crate) seconds: f64,
    /// One image's integer multiplications at the machine's peak.
    pub(crate) floor_ms: f64,
    /// What the layers' runs took besides: float operators, copies of inputs and results, the clock.
    pub(crate) outside_layers_ms: f64,
    pub(crate) processor: String,
    /// Layers whose names begin alike, in order of execution: `conv1`, `layer1`, …, `attnpool`.
    pub(crate) parts: Vec<Part>,
    /// ONNX nodes that run in float.
    pub(crate) float_nodes: Vec<String>,
    /// What phrases and sentences take on top; none of a bundle without language.
    pub(crate) language: Option<Language>,
}

/// Findings by phrases and the nearest sentences of one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Language {
    pub(crate) findings: usize,
    /// Prototypes that have a sentence.
    pub(crate) sentences: usize,
    /// Least of many runs, behind a run of the network each.
    pub(crate) ms: f64,
    /// Sum of the layers' least times in those runs.
    pub(crate) network_ms: f64,
    /// Of that.
    pub(crate) share: f64,
}

/// Layers together that share the first component of their names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// Sum of the layers' medians.
    pub(crate) ms: f64,
    pub(crate) mmacs: f64,
}

impl Part {
    /// The parts of a network; names are separated by `.` or `/`.
    pub(crate) fn of(layers: &[Layer]) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for layer in layers {
            let name = layer.name.split(['.', '/', '+']).find(|name| !name.is_empty());
            let name = name.unwrap_or(&layer.name);
            match parts.iter_mut().find(|part| part.name == name) {
                Some(part) => {
                    part.ms += layer.ms;
                    part.mmacs += layer.mmacs;
                }
                None => {
                    parts.push(Self { name: name.into(), ms: layer.ms, mmacs: layer.mmacs });
                }
            }
        }
        parts
    }
}

/// Milliseconds of one query.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    /// By early stopping; none offline, or if there were too few queries.
    pub(crate) reported: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) kind: String,
    /// Median.
    pub(crate) ms: f64,
    pub(crate) mmacs: f64,
    pub(crate) peak_share: Option<f64>,
    /// Time above what its multiplications take at the machine's peak.
    pub(crate) lost_ms: f64,
}

impl Measured {
    /// For people: the layers that take most, then the summary.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut layers: Vec<_> = self.layers.iter().collect();
        layers.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        let all: f64 = layers.iter().map(|layer| layer.ms).sum();
        for layer in layers.iter().take(12) {
            let share = layer.ms / all * 100.0;
            let Layer { name, kind, ms, lost_ms, .. } = layer;
            let _ = writeln!(
                text,
                "{ms:8.3} ms {share:4.1} %  {kind:18} {name:40} {:>4} of peak, {lost_ms:.3} ms above it",
                percent(layer.peak_share)
            );
        }
        let part = |part: &Part| format!("{} {:.3}", part.name, part.ms);
        let parts: Vec<String> = self.parts.iter().map(part).collect();
        let _ = writeln!(text, "ms by part: {}", parts.join(", "));
        if !self.float_nodes.is_empty() {
            let _ = writeln!(text, "in float: {}", self.float_nodes.join(", "));
        }
        if let Some(Language { findings, sentences, ms, network_ms, share }) = &self.language {
            let _ = writeln!(
                text,
                "language: {findings} findings by phrases, {sentences} sentences, {ms:.3} ms, {:.1} % of the network's {network_ms:.2} ms",
                100.0 * share
            );
        }
        self.summary(&mut text);
        text
    }

    fn summary(&self, text: &mut String) {
        let Latency { p50, p90, p99, reported } = self.latency_ms;
        let reported = reported.zip(self.reported_percentile);
        let reported =
            reported.map(|(ms, p)| format!(" · {ms:.3} by early stopping at p{:.0}", p * 100.0));
        let _ = writeln!(
            text,
            "{} · {} threads · {} on {} · {} queries of {} in {:.1} s\n\
             latency ms: p50 {p50:.3}, p90 {p90:.3}, p99 {p99:.3}{} · {:.1} images/s\n\
             {:.3} GMAC int8, {:.3} float · {} of {:.0} GMAC/s peak, at which an image would take {:.3} ms\n\
             load {:.0} ms · {:.0} MB resident, {:.0} at most, bundle {:.1} MB",
            self.bundle,
            self.threads,
            self.isa,
            self.processor,
            self.queries,
            if self.images_per_query == 1 {
                "one image".into()
            } else {
                format!("{} images", self.images_per_query)
            },
            self.seconds,
            reported.unwrap_or_default(),
            self.images_per_second,
            self.integer_gmacs,
            self.float_gmacs,
            percent(self.peak_share),
            self.peak_gmacs,
            self.floor_ms,
            self.load_ms,
            self.rss_mb,
            self.peak_rss_mb,
            self.bundle_mb,
        );
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{:.0} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_summed_by_the_first_component_of_their_names() {
        let layer = |name: &str, ms: f64| Layer {
            name: name.into(),
            kind: "conv".into(),
            ms,
            mmacs: 2.0 * ms,
            peak_share: None,
            lost_ms: 0.0,
        };
        let layers = [
            layer("conv1", 1.0),
            layer("layer1.0.conv2+layer1.0.add", 2.0),
            layer("/layer1/conv", 4.0),
            layer("attnpool.scores", 8.0),
            layer("attnpool.c_proj", 16.0),
        ];
        let expected = [("conv1", 1.0), ("layer1", 6.0), ("attnpool", 24.0)]
            .map(|(name, ms)| Part { name: name.into(), ms, mmacs: 2.0 * ms });
        assert_eq!(Part::of(&layers), expected);
    }
}
