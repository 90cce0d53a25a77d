//! Whether a threshold moves from where the float network has it, and what the bundle says of that.

use bundle::Manifest;
use metrics::{
    bootstrap::{Patients, Resampling},
    threshold::Criterion,
};
use serde::{Deserialize, Serialize};

/// Fewer patients of either kind say nothing of a threshold.
pub(super) const LEAST: usize = 10;
/// A refitted threshold moves only if the interval of it leaves at most this share of the cases undecided.
///
/// Above it the place of the threshold is the draw of the validation patients, and float's, fitted on the same ones, is
/// as good; the tests below simulate where that begins.
pub(super) const MOST_UNDECIDED: f64 = 0.25;

/// What became of one operating point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refit {
    pub(crate) name: String,
    /// Absent where a person set the threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) criterion: Option<Criterion>,
    /// The float network's.
    pub(crate) old: f32,
    /// The bundle's.
    pub(crate) new: f32,
    /// Images of the validation split that say something of it.
    pub(crate) n: u32,
    /// 95 %, by patient, of the threshold the criterion chooses for the int8 network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<[f32; 2]>,
    /// Why `new` is `old`, where it was not fitted anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<String>,
}

/// The threshold by a criterion, where each image counts as often as it is told.
pub(super) type Fit<'a> = Box<dyn Fn(Criterion, &[u32]) -> Option<f32> + 'a>;

/// What the validation images say of one threshold.
pub(super) struct Evidence<'a> {
    /// Of the images.
    pub(super) patients: Patients,
    /// Patients of each kind, with the kind's name.
    pub(super) kinds: Vec<(usize, &'static str)>,
    pub(super) fit: Fit<'a>,
    /// Share of the cases whose answer differs between two thresholds.
    pub(super) undecided: Box<dyn Fn([f32; 2]) -> f64 + 'a>,
    /// What the cases are.
    pub(super) cases: &'static str,
}

/// Puts the threshold into the manifest if the evidence suffices; says what became of it either way.
///
/// `usual` is the criterion of a label that nobody fitted a threshold for.
pub(super) fn decide(
    manifest: &mut Manifest,
    fitted: Option<&metrics::operating::OperatingPoint>,
    label: &str,
    usual: Criterion,
    evidence: &Evidence<'_>,
) -> Refit {
    let old = manifest.threshold(label);
    let criterion = fitted.map_or(Some(usual), |point| point.criterion);
    let n = evidence.patients.samples() as u32;
    let mut refit =
        Refit { name: label.into(), criterion, old, new: old, n, interval: None, kept: None };
    match weigh(criterion, evidence, &mut refit.interval) {
        Ok(new) => refit.new = new,
        Err(reason) => refit.kept = Some(reason),
    }
    if let Some(point) = manifest.operating_points.iter_mut().find(|point| point.name == label) {
        // How it was chosen, from the data.
        point.threshold = refit.new;
        point.chosen = match (&refit.kept, criterion) {
            (None, Some(criterion)) => {
                format!("{criterion} on the val split (n = {n}), int8; float {old:.4}")
            }
            (Some(why), _) => format!("{}; kept from float: {why}", point.chosen),
            (None, None) => unreachable!("only a criterion moves a threshold"),
        };
    }
    refit
}

/// The new threshold, or why there is none.
fn weigh(
    criterion: Option<Criterion>,
    evidence: &Evidence<'_>,
    interval: &mut Option<[f32; 2]>,
) -> Result<f32, String> {
    let criterion = criterion.ok_or("nobody says by what it was chosen")?;
    if evidence.kinds.iter().any(|(count, _)| *count < LEAST) {
        let found: Vec<String> =
            evidence.kinds.iter().map(|(count, kind)| format!("{count} {kind}")).collect();
        return Err(format!("patients: {}, expected {LEAST}", found.join(" and ")));
    }
    let once = vec![1; evidence.patients.samples()];
    let new = (evidence.fit)(criterion, &once)
        .ok_or_else(|| format!("{criterion} chooses none on these images"))?;
    let resampled = |weights: &[u32]| (evidence.fit)(criterion, weights).map(f64::from);
    let estimate = evidence
        .patients
        .estimate(Resampling::STANDARD, resampled)
        .ok_or_else(|| format!("{criterion} chooses none on most resamples"))?;
    let ends = [estimate.low as f32, estimate.high as f32];
    *interval = Some(ends);
    let undecided = (evidence.undecided)(ends);
    if undecided > MOST_UNDECIDED {
        return Err(format!(
            "its interval {:.3} to {:.3} leaves {:.0} % of the {} undecided, expected at most {:.0} %",
            ends[0],
            ends[1],
            100.0 * undecided,
            evidence.cases,
            100.0 * MOST_UNDECIDED
        ));
    }
    Ok(new)
}

impl Refit {
    /// One line for people.
    pub(crate) fn text(&self) -> String {
        let by = self.criterion.map_or("by hand".into(), |criterion| criterion.to_string());
        let interval = self
            .interval
            .map_or(String::new(), |[low, high]| format!(", interval {low:.4} to {high:.4}"));
        let kept = self.kept.as_ref().map_or(String::new(), |why| format!("; kept: {why}"));
        format!(
            "threshold {}: float {:.4}, int8 {:.4} ({by}, n = {}{interval}){kept}",
            self.name, self.old, self.new, self.n
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::noise::Noise;
    use metrics::ranking::Ranking;

    /// Sum of twelve uniform numbers.
    fn normal(noise: &mut Noise) -> f32 {
        (0..12).map(|_| noise.below(1 << 24) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0
    }

    /// Median share undecided by Youden's J over 40 draws of scores whose means are `apart` deviations apart.
    fn undecided(apart: f32, with: usize, without: usize) -> f64 {
        let mut noise = Noise(1);
        let mut draw = || {
            let score =
                |at: usize, noise: &mut Noise| normal(noise) + if at < with { apart } else { 0.0 };
            let scores: Vec<f32> = (0..with + without).map(|at| score(at, &mut noise)).collect();
            let truth: Vec<bool> = (0..with + without).map(|at| at < with).collect();
            let names: Vec<String> = (0..scores.len()).map(|at| at.to_string()).collect();
            let ranking = Ranking::new(&scores, &truth);
            let fit = |w: &[u32]| Criterion::Youden.weighted_threshold(&ranking, w).map(f64::from);
            let patients = Patients::new(names.iter().map(String::as_str));
            let estimate = patients.estimate(Resampling { replicates: 200, seed: 0 }, fit).unwrap();
            let within = estimate.low as f32..estimate.high as f32;
            scores.iter().filter(|score| within.contains(score)).count() as f64
                / scores.len() as f64
        };
        let mut shares: Vec<f64> = (0..40).map(|_| draw()).collect();
        shares.sort_by(f64::total_cmp);
        shares[20]
    }

    /// What `docs/quantization.md` says of the rule. Means 1.812 (0.742) deviations apart: AUROC 0.9 (0.7).
    #[test]
    fn a_clear_finding_of_many_images_is_decided_and_a_vague_or_rare_one_is_not() {
        let (clear, rare) = (undecided(1.812, 100, 300), undecided(1.812, 15, 22));
        let vague = undecided(0.742, 15, 22);
        assert!(clear < MOST_UNDECIDED, "{clear}");
        assert!(rare > MOST_UNDECIDED && vague > rare, "{rare} {vague}");
    }
}
