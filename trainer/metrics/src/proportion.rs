//! Shares of images with exact intervals, and what follows from two of them: predictive values, differences.
//!
//! Clopper and Pearson's interval takes images as independent. Several images of one patient are not: then it is taken
//! for as many images as they are worth (Korn and Graubard 1998).

use super::Estimate;
use std::collections::BTreeMap;

/// Two-sided, 95 %.
const TAIL: f64 = 0.025;
/// Of the normal distribution, at 97.5 %.
const Z: f64 = 1.959_963_984_540_054;

/// A share of images.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Proportion {
    pub hits: u64,
    /// Images.
    pub of: u64,
    pub patients: u64,
    /// How many independent images they are worth, at most `of`.
    pub effective: f64,
    /// `hits / of`, and the interval of as many hits among `effective` images.
    pub estimate: Estimate,
}

impl Proportion {
    /// Of images, each with its patient and whether it is a hit; `None` of none.
    ///
    /// With one image a patient this is Clopper and Pearson's interval. Else the variance between patients says what
    /// the images are worth, with as many degrees of freedom; where every image is a hit, or none, it says nothing, and
    /// a patient counts once.
    pub fn by_patient<'a>(images: impl IntoIterator<Item = (&'a str, bool)>) -> Option<Self> {
        let mut patients: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
        for (patient, hit) in images {
            let [hits, of] = patients.entry(patient).or_default();
            *hits += u64::from(hit);
            *of += 1;
        }
        let sum = |at: usize| patients.values().map(|counts| counts[at]).sum::<u64>();
        let (hits, of) = (sum(0), sum(1));
        if of == 0 {
            return None;
        }
        let effective = worth(patients.values(), hits, of);
        let value = hits as f64 / of as f64;
        let (low, high) = clopper_pearson(value * effective, effective);
        let estimate = Estimate { value, low, high };
        Some(Self { hits, of, patients: patients.len() as u64, effective, estimate })
    }

    /// Of independent images; `None` of none.
    pub fn independent(hits: u64, of: u64) -> Option<Self> {
        if of == 0 || hits > of {
            return None;
        }
        let (low, high) = clopper_pearson(hits as f64, of as f64);
        let estimate = Estimate { value: hits as f64 / of as f64, low, high };
        Some(Self { hits, of, patients: of, effective: of as f64, estimate })
    }
}

/// How many independent images clusters of `[hits, images]` are worth.
fn worth<'a>(
    clusters: impl ExactSizeIterator<Item = &'a [u64; 2]> + Clone,
    hits: u64,
    of: u64,
) -> f64 {
    let (count, images) = (clusters.len() as f64, of as f64);
    if clusters.len() as u64 == of {
        return images;
    }
    if hits == 0 || hits == of || clusters.len() == 1 {
        return count;
    }
    let p = hits as f64 / images;
    let squares = clusters.map(|[hits, of]| (*hits as f64 - p * *of as f64).powi(2)).sum::<f64>();
    let variance = count / (count - 1.0) * squares / (images * images);
    if variance == 0.0 {
        return images;
    }
    let freedom = student(images - 1.0) / student(count - 1.0);
    (p * (1.0 - p) / variance * freedom * freedom).clamp(1.0, images)
}

/// Clopper and Pearson's interval for `hits` among `of`, which need not be whole numbers.
pub fn clopper_pearson(hits: f64, of: f64) -> (f64, f64) {
    let misses = of - hits;
    let low = if hits <= 0.0 { 0.0 } else { beta_quantile(TAIL, hits, misses + 1.0) };
    let high = if misses <= 0.0 { 1.0 } else { beta_quantile(1.0 - TAIL, hits + 1.0, misses) };
    (low, high)
}

/// The fewest independent images whose interval is no wider than `width`, if the share is `expected`; `None` beyond ten
/// million.
pub fn enough(expected: f64, width: f64) -> Option<u64> {
    let is_enough = |of: u64| {
        let hits = (expected * of as f64).round();
        let (low, high) = clopper_pearson(hits, of as f64);
        high - low <= width
    };
    let mut most = 1u64;
    while !is_enough(most) {
        most *= 2;
        if most > 10_000_000 {
            return None;
        }
    }
    // Rounding makes the width jump a little, so the last stretch is walked.
    let mut least = most / 2;
    while most - least > 32 {
        let middle = least.midpoint(most);
        if is_enough(middle) { most = middle } else { least = middle }
    }
    (least + 1..=most).find(|of| is_enough(*of))
}

/// Positive and negative predictive value at a prevalence that is known.
///
/// The interval is normal on the logit scale (Mercaldo, Lau and Zhou 2007). At a sensitivity or specificity of 0 or 1,
/// where that does not exist, it is their adjusted one, z²/2 more in every cell, drawn to the estimate.
pub fn predictive_values(
    sensitivity: &Proportion,
    specificity: &Proportion,
    prevalence: f64,
) -> [Option<Estimate>; 2] {
    let se = (sensitivity.estimate.value, sensitivity.effective);
    let sp = (specificity.estimate.value, specificity.effective);
    let odds = prevalence / (1.0 - prevalence);
    [predictive(se, sp, odds), predictive(sp, se, 1.0 / odds)]
}

/// PPV of `(sensitivity, images)` and `(specificity, images)` at these odds. With the two exchanged and the odds the
/// other way round it is the NPV.
fn predictive((se, n1): (f64, f64), (sp, n0): (f64, f64), odds: f64) -> Option<Estimate> {
    let (found, wrongly) = (se * odds, 1.0 - sp);
    if found + wrongly <= 0.0 {
        return None; // nothing is called so
    }
    let value = found / (found + wrongly);
    let inside = |share: f64| share > 0.0 && share < 1.0;
    let adjusted = |share: f64, n: f64| ((share * n + Z * Z / 2.0) / (n + Z * Z), n + Z * Z);
    let ((se, n1), (sp, n0)) = match inside(se) && inside(sp) {
        true => ((se, n1), (sp, n0)),
        false => (adjusted(se, n1), adjusted(sp, n0)),
    };
    let logit = libm::log(se / (1.0 - sp) * odds);
    let reach = Z * ((1.0 - se) / (se * n1) + sp / ((1.0 - sp) * n0)).sqrt();
    let share = |logit: f64| 1.0 / (1.0 + libm::exp(-logit));
    let (low, high) = (share(logit - reach), share(logit + reach));
    Some(Estimate { value, low: low.min(value), high: high.max(value) })
}

/// `one − other` of two independent estimates, from their intervals: square and add (MOVER; Newcombe, Zou).
pub fn difference(one: &Estimate, other: &Estimate) -> Estimate {
    let value = one.value - other.value;
    let down = (one.value - one.low).hypot(other.high - other.value);
    let up = (one.high - one.value).hypot(other.value - other.low);
    Estimate { value, low: value - down, high: value + up }
}

/// 97.5 % of Student's distribution.
fn student(freedom: f64) -> f64 {
    let below = |t: f64| 1.0 - beta(freedom / (freedom + t * t), freedom / 2.0, 0.5) / 2.0;
    solve(1.0 - TAIL, 0.0, 1000.0, below)
}

fn beta_quantile(share: f64, a: f64, b: f64) -> f64 {
    solve(share, 0.0, 1.0, |x| beta(x, a, b))
}

/// Where a growing function reaches `wanted`.
fn solve(wanted: f64, mut low: f64, mut high: f64, value: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..100 {
        let middle = low.midpoint(high);
        if value(middle) < wanted { low = middle } else { high = middle }
    }
    low.midpoint(high)
}

/// The regularised incomplete beta function, by its continued fraction (Abramowitz and Stegun 26.5.8; Lentz).
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // The fraction converges quickly on one side of the mean.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_below_mean(1.0 - x, b, a);
    }
    beta_below_mean(x, a, b)
}

fn beta_below_mean(x: f64, a: f64, b: f64) -> f64 {
    let constant = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b);
    let front = libm::exp(constant + a * libm::log(x) + b * libm::log1p(-x)) / a;
    let away = |x: f64| if x.abs() < 1e-300 { 1e-300 } else { x };
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let (mut c, mut fraction) = (1.0, d);
    for m in (1..10_000).map(f64::from) {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for step in [even, odd] {
            d = 1.0 / away(1.0 + step * d);
            c = away(1.0 + step / c);
            fraction *= d * c;
        }
        if (fraction / before - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-10, "{found}, expected {expected}");
    }

    #[test]
    fn exact_intervals_are_scipys() {
        // scipy.stats.beta.ppf 1.17; 45 of 50 also by scipy.stats.binomtest(45, 50).proportion_ci
        let known = [
            (0.0, 10.0, 0.0, 0.3084971078187607),
            (10.0, 10.0, 0.6915028921812392, 1.0),
            (8.0, 10.0, 0.4439045376923585, 0.9747892736731666),
            (45.0, 50.0, 0.7818646335657977, 0.9667249064109775),
            (499.0, 1000.0, 0.4675521862537382, 0.5304537166614578),
            (3.0, 2000.0, 0.00030944294931233306, 0.004377320104529616),
            (7.3, 12.6, 0.2804677666247789, 0.8403742952446516),
        ];
        for (hits, of, low, high) in known {
            let found = clopper_pearson(hits, of);
            near(found.0, low);
            near(found.1, high);
        }
    }

    #[test]
    fn students_quantiles_are_scipys() {
        for (freedom, expected) in [
            (1.0, 12.706204736174694),
            (2.0, 4.302652729749462),
            (9.0, 2.262157162798205),
            (99.0, 1.9842169515864174),
        ] {
            near(student(freedom), expected);
        }
    }

    #[test]
    fn one_image_a_patient_gives_the_exact_interval() {
        let names: Vec<String> = (0..50).map(|at| at.to_string()).collect();
        let images = names.iter().enumerate().map(|(at, name)| (name.as_str(), at < 45));
        let found = Proportion::by_patient(images).unwrap();
        assert_eq!(Some(found), Proportion::independent(45, 50));
        assert_eq!((found.hits, found.of, found.patients, found.effective), (45, 50, 50, 50.0));
    }

    /// `[hits, images]` of eight patients, by Korn and Graubard's formulas in numpy.
    #[test]
    fn images_of_one_patient_are_worth_less() {
        let clusters = [[2, 2], [0, 3], [1, 1], [2, 3], [1, 2], [3, 3], [0, 1], [2, 2]];
        let names: Vec<String> = (0..8).map(|at| at.to_string()).collect();
        let images = clusters
            .iter()
            .zip(&names)
            .flat_map(|([hits, of], name)| (0..*of).map(move |at| (name.as_str(), at < *hits)));
        let found = Proportion::by_patient(images).unwrap();
        assert_eq!((found.hits, found.of, found.patients), (11, 17, 8));
        near(found.effective, 7.119960348579724);
        near(found.estimate.low, 0.24076911476679208);
        near(found.estimate.high, 0.935670855646794);
    }

    #[test]
    fn patients_whose_images_are_all_hits_count_once() {
        let images = (0..12).map(|at| (["a", "b", "c"][at % 3], true));
        let found = Proportion::by_patient(images).unwrap();
        let three = clopper_pearson(3.0, 3.0);
        assert_eq!((found.estimate.low, found.estimate.high), three);
        assert_eq!(Proportion::by_patient([]), None);
    }

    #[test]
    fn predictive_values_are_mercaldos() {
        let of = |hits, of| Proportion::independent(hits, of).unwrap();
        let [ppv, npv] = predictive_values(&of(45, 50), &of(160, 200), 0.08);
        let ppv = ppv.unwrap();
        near(ppv.value, 0.28125);
        near(ppv.low, 0.22610375650303685);
        near(ppv.high, 0.34386995547773513);
        near(npv.unwrap().low, 0.9755736687976069);
        near(npv.unwrap().high, 0.9953034205834864);
        // Every positive found: the adjusted interval, as far as the estimate.
        let [ppv, npv] = predictive_values(&of(50, 50), &of(190, 200), 0.05);
        near(ppv.unwrap().low, 0.3329408784840452);
        near(ppv.unwrap().high, 0.6014503306457789);
        near(npv.unwrap().low, 0.9920636749345956);
        assert_eq!((npv.unwrap().value, npv.unwrap().high), (1.0, 1.0));
        // Nothing is called positive: there is no PPV.
        assert_eq!(predictive_values(&of(0, 9), &of(9, 9), 0.1)[0], None);
    }

    #[test]
    fn enough_is_the_first_number_whose_interval_is_narrow_enough() {
        // by trying every number with scipy.stats.beta.ppf
        for (expected, width, of) in
            [(0.9, 0.2, 42), (0.8, 0.1, 265), (1.0, 0.2, 17), (0.5, 0.05, 1574)]
        {
            assert_eq!(enough(expected, width), Some(of));
        }
        assert_eq!(enough(0.5, 1e-6), None);
    }

    #[test]
    fn a_difference_has_both_uncertainties() {
        let of = |value, low, high| Estimate { value, low, high };
        let found = difference(&of(0.9, 0.8, 0.95), &of(0.8, 0.7, 0.9));
        near(found.value, 0.1);
        near(found.low, 0.1 - 0.02f64.sqrt());
        near(found.high, 0.1 + 0.0125f64.sqrt());
    }
}
