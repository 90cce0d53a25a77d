//! Whether what was found is enough to accept, and whether it was enough to say anything.

use metrics::{Estimate, proportion, proportion::Proportion};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The whole interval lies at or above the minimum.
    Passed,
    /// The whole interval lies below it.
    Failed,
    /// The minimum lies within the interval.
    NotShown,
    /// The interval is wider than the plan allows, or there is none.
    NotEnoughCases,
}

impl Verdict {
    /// By the lower end. Too wide an interval never passes; one wholly below the minimum fails however wide it is.
    pub fn of(found: Option<&Estimate>, minimum: f64, width: f64) -> Self {
        match found {
            None => Self::NotEnoughCases,
            Some(found) if found.high < minimum => Self::Failed,
            Some(found) if found.high - found.low > width => Self::NotEnoughCases,
            Some(found) if found.low >= minimum => Self::Passed,
            Some(_) => Self::NotShown,
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotShown => "not shown",
            Self::NotEnoughCases => "not enough cases",
        }
    }
}

/// Something that must come out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criterion {
    /// `sensitivity of Pneumonia`
    pub what: String,
    /// `at least 0.800`
    pub wanted: String,
    pub found: Option<Estimate>,
    pub verdict: Verdict,
    pub cases: Option<Cases>,
}

/// How many there are, and how many it takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cases {
    pub images: u64,
    /// Independent images that they are worth.
    pub effective: f64,
    /// Independent images for an interval as narrow as the plan wants it; none: more than ten million.
    pub needed: Option<u64>,
}

impl Criterion {
    /// A share that must be shown to be at least `minimum`, with an interval of at most `width`.
    pub(crate) fn share(
        what: String,
        found: Option<&Proportion>,
        minimum: f64,
        width: f64,
    ) -> Self {
        let estimate = found.map(|found| found.estimate);
        // One that was not measured is expected to be what is asked for.
        let expected = estimate.map_or(minimum, |estimate| estimate.value);
        let cases = Cases {
            images: found.map_or(0, |found| found.of),
            effective: found.map_or(0.0, |found| found.effective),
            needed: proportion::enough(expected, width),
        };
        let verdict = Verdict::of(estimate.as_ref(), minimum, width);
        let wanted = format!("at least {minimum:.3}");
        Self { what, wanted, found: estimate, verdict, cases: Some(cases) }
    }

    /// A number of this test that must not be larger than `most`.
    pub(crate) fn limit(what: &str, found: Option<f64>, most: f64) -> Self {
        let verdict = match found {
            None => Verdict::NotEnoughCases,
            Some(found) if found <= most => Verdict::Passed,
            Some(_) => Verdict::Failed,
        };
        let found = found.map(|value| Estimate { value, low: value, high: value });
        Self { what: what.into(), wanted: format!("at most {most}"), found, verdict, cases: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_interval_never_passes_and_a_low_one_fails_however_wide() {
        let of = |low, high| {
            let found = Estimate { value: f64::midpoint(low, high), low, high };
            Verdict::of(Some(&found), 0.8, 0.2)
        };
        assert_eq!(of(0.8, 0.95), Verdict::Passed);
        assert_eq!(of(0.81, 1.0), Verdict::Passed);
        assert_eq!(of(0.79, 0.95), Verdict::NotShown);
        assert_eq!(of(0.7, 0.95), Verdict::NotEnoughCases);
        assert_eq!(of(0.1, 0.79), Verdict::Failed);
        assert_eq!(Verdict::of(None, 0.8, 0.2), Verdict::NotEnoughCases);
        assert_eq!(
            Verdict::of(Some(&Estimate { value: 1.0, low: 0.85, high: 1.0 }), 0.8, 0.1),
            Verdict::NotEnoughCases
        );
    }

    #[test]
    fn without_an_image_the_number_that_is_needed_is_of_what_is_asked_for() {
        let criterion = Criterion::share("sensitivity of Mass".into(), None, 0.9, 0.2);
        assert_eq!(criterion.verdict, Verdict::NotEnoughCases);
        let cases = criterion.cases.unwrap();
        assert_eq!((cases.images, cases.needed), (0, Some(42)));
    }
}
