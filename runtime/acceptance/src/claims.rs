//! What a bundle says of itself, beside what a site found.

use metrics::{Estimate, figure, proportion::difference};
use serde::{Deserialize, Serialize};

/// Of the bundle's manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    pub id: String,
    pub version: String,
    /// SHA-256 of its contents.
    pub digest: String,
    /// Public key of whoever signed it, if it is trusted.
    pub signed_by: Option<String>,
    pub intended_use: String,
    pub operating_points: Vec<OperatingPoint>,
    #[serde(skip)]
    pub metrics: Vec<Metric>,
    /// Findings with a probability.
    pub findings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    pub name: String,
    pub threshold: f32,
    pub chosen: String,
}

/// A figure of the manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// `auroc/Pneumonia`
    pub metric: String,
    pub data: String,
    pub split: String,
    pub estimate: Estimate,
    pub n: u32,
    /// `int8` or `float`.
    pub arithmetic: String,
}

/// What the bundle claims, and whether the site found the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// `AUROC`
    pub what: String,
    pub claimed: Estimate,
    pub n: u32,
    /// Which data, which split, which arithmetic.
    pub of: String,
    /// The site's less the claimed, with its interval; none: the site's does not exist.
    pub difference: Option<Estimate>,
    pub agreement: Agreement,
}

/// Says nothing of how large a difference could have been seen: for that there is its interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// The interval of the difference holds 0.
    NoDifferenceShown,
    Lower,
    Higher,
    /// Nothing to compare with.
    Unknown,
}

impl Agreement {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoDifferenceShown => "no difference shown",
            Self::Lower => "lower than claimed",
            Self::Higher => "higher than claimed",
            Self::Unknown => "cannot be compared",
        }
    }
}

/// What the site found of one finding.
pub(crate) struct Measured {
    pub(crate) auroc: Option<Estimate>,
    pub(crate) sensitivity: Option<Estimate>,
    pub(crate) specificity: Option<Estimate>,
}

/// Every figure of the manifest about a finding that the site measures too: the deployed network's where there is one.
pub(crate) fn compare(finding: &str, metrics: &[Metric], found: &Measured) -> Vec<Claim> {
    let known = [
        ("AUROC", figure::auroc(finding), found.auroc),
        ("sensitivity", format!("sensitivity/{finding}"), found.sensitivity),
        ("specificity", format!("specificity/{finding}"), found.specificity),
    ];
    let compared = known.into_iter().flat_map(|(what, name, found)| {
        let own: Vec<&Metric> = metrics.iter().filter(|metric| metric.metric == name).collect();
        let deployed = own.iter().any(|metric| metric.arithmetic == "int8");
        let own = own.into_iter().filter(move |m| !deployed || m.arithmetic == "int8");
        own.map(move |metric| claim(what, metric, found)).collect::<Vec<_>>()
    });
    compared.collect()
}

fn claim(what: &str, metric: &Metric, found: Option<Estimate>) -> Claim {
    // Resamples of a perfect ranking are perfect: an interval without width says nothing.
    let found = found.filter(|found| found.high > found.low);
    let apart = found.map(|found| difference(&found, &metric.estimate));
    let agreement = match apart {
        None => Agreement::Unknown,
        Some(apart) if apart.high < 0.0 => Agreement::Lower,
        Some(apart) if apart.low > 0.0 => Agreement::Higher,
        Some(_) => Agreement::NoDifferenceShown,
    };
    let parts = [&metric.data, &metric.split, &metric.arithmetic];
    let of = parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>();
    Claim {
        what: what.into(),
        claimed: metric.estimate,
        n: metric.n,
        of: of.join(", "),
        difference: apart,
        agreement,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(arithmetic: &str, value: f64) -> Metric {
        let estimate = Estimate { value, low: value - 0.03, high: value + 0.03 };
        let text = |text: &str| text.to_owned();
        let (metric, data, split) = (text("auroc/Mass"), text("cxr-mini"), text("test"));
        Metric { metric, data, split, estimate, n: 100, arithmetic: arithmetic.into() }
    }

    #[test]
    fn the_deployed_networks_figure_is_compared_by_the_interval_of_the_difference() {
        let of = |value: f64, metrics: &[Metric]| {
            let auroc = Some(Estimate { value, low: value - 0.04, high: value + 0.04 });
            compare("Mass", metrics, &Measured { auroc, sensitivity: None, specificity: None })
        };
        let both = [metric("float", 0.95), metric("int8", 0.9)];
        let found = of(0.86, &both);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].claimed.value, &*found[0].of), (0.9, "cxr-mini, test, int8"));
        // 0.04 ± √(0.04² + 0.03²) = 0.04 ± 0.05
        assert_eq!(found[0].agreement, Agreement::NoDifferenceShown);
        assert_eq!(of(0.84, &both)[0].agreement, Agreement::Lower);
        assert_eq!(of(0.96, &both)[0].agreement, Agreement::Higher);
        assert_eq!(of(0.9, &both[..1])[0].claimed.value, 0.95);
    }
}
