//! How far two bundles agree over many images. Pure: pairs in, figures out.

use super::pair::{Boxed, Covered, Judged, Pair};
use results::BundleId;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What two bundles said about the same images, added up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Agreement {
    bundles: [BundleId; 2],
    /// When the first pair was compared, and the last.
    span: Option<[String; 2]>,
    pairs: u64,
    /// The bundle in the shadow did not let its network see the image.
    not_analysed: u64,
    findings: BTreeMap<String, Table>,
    masks: BTreeMap<String, Regions>,
    boxes: BTreeMap<String, Boxes>,
    alone: [BTreeSet<String>; 2],
    /// Of the newest [`MOST_TIMES`].
    milliseconds: [VecDeque<f32>; 2],
}

const MOST_TIMES: usize = 10_000;

/// Calls of one finding; index: called by the answer, by the shadow.
#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    calls: [[u64; 2]; 2],
    difference: Moments,
}

/// Dice over images where at least one of the two has a pixel.
#[derive(Clone, Debug, Default, PartialEq)]
struct Regions {
    dice: Moments,
    lowest: Option<f64>,
    both_empty: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Boxes {
    found: [u64; 2],
    same: u64,
    iou: f64,
}

/// Mean and variance as values come (Welford).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    n: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.n += 1;
        let off = value - self.mean;
        self.mean += off / self.n as f64;
        self.squares += off * (value - self.mean);
    }
}

impl Agreement {
    pub(crate) fn new(bundles: [BundleId; 2]) -> Self {
        Self { bundles, ..Self::default() }
    }

    /// The bundles that answered and looked on.
    pub(crate) fn bundles(&self) -> &[BundleId; 2] {
        &self.bundles
    }

    pub(crate) fn add(&mut self, pair: &Pair) {
        let first = self.span.take().map_or_else(|| pair.at.clone(), |[first, _]| first);
        self.span = Some([first, pair.at.clone()]);
        self.pairs += 1;
        if pair.analysed != [true, true] {
            self.not_analysed += 1;
            return;
        }
        for (all, time) in self.milliseconds.iter_mut().zip(pair.milliseconds) {
            all.push_back(time as f32);
            if all.len() > MOST_TIMES {
                all.pop_front();
            }
        }
        for Judged { name, probability: [a, b], positive: [ours, theirs] } in &pair.findings {
            let table = self.findings.entry(name.clone()).or_default();
            table.calls[usize::from(*ours)][usize::from(*theirs)] += 1;
            table.difference.add(f64::from(*b) - f64::from(*a));
        }
        for covered in &pair.masks {
            self.masks.entry(covered.name.clone()).or_default().add(covered);
        }
        for Boxed { name, found, same, iou } in &pair.boxes {
            let boxes = self.boxes.entry(name.clone()).or_default();
            for (all, more) in boxes.found.iter_mut().zip(found) {
                *all += u64::from(*more);
            }
            boxes.same += u64::from(*same);
            boxes.iou += iou;
        }
        for (all, names) in self.alone.iter_mut().zip(&pair.alone) {
            all.extend(names.iter().cloned());
        }
    }

    /// The figures.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            bundles: self.bundles.clone(),
            span: self.span.clone(),
            pairs: self.pairs,
            not_analysed: self.not_analysed,
            findings: self.findings.iter().map(|(name, table)| table.summary(name)).collect(),
            masks: self.masks.iter().map(|(name, regions)| regions.summary(name)).collect(),
            boxes: self.boxes.iter().map(|(name, boxes)| boxes.summary(name)).collect(),
            alone: self.alone.clone(),
            milliseconds: self.milliseconds.each_ref().map(Times::of),
        }
    }
}

/// An agreement in figures: what is printed and shown. In every array of two the bundle that answered comes first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) bundles: [BundleId; 2],
    pub(crate) span: Option<[String; 2]>,
    pub(crate) pairs: u64,
    pub(crate) not_analysed: u64,
    pub(crate) findings: Vec<FindingSummary>,
    pub(crate) masks: Vec<MaskSummary>,
    pub(crate) boxes: Vec<BoxSummary>,
    pub(crate) alone: [BTreeSet<String>; 2],
    pub(crate) milliseconds: [Option<Times>; 2],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FindingSummary {
    pub(crate) name: String,
    pub(crate) n: u64,
    pub(crate) both_positive: u64,
    pub(crate) only_answer: u64,
    pub(crate) only_shadow: u64,
    pub(crate) both_negative: u64,
    /// Cohen's; `None` where both always said the same one thing.
    pub(crate) kappa: Option<f64>,
    /// Probability of the shadow less that of the answer (Bland and Altman).
    pub(crate) difference: Difference,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Difference {
    pub(crate) mean: f64,
    /// Between these lie 95 % of the differences, if they are normal: the mean ± 1.96 deviations.
    pub(crate) limits: Option<[f64; 2]>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct MaskSummary {
    pub(crate) name: String,
    /// Images where at least one of the two has a pixel.
    pub(crate) n: u64,
    pub(crate) both_empty: u64,
    pub(crate) mean_dice: Option<f64>,
    pub(crate) lowest_dice: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BoxSummary {
    pub(crate) name: String,
    pub(crate) same: u64,
    pub(crate) only_answer: u64,
    pub(crate) only_shadow: u64,
    /// Of those that are the same.
    pub(crate) mean_iou: Option<f64>,
}

/// Milliseconds an image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Times {
    pub(crate) median: f32,
    pub(crate) p95: f32,
}

impl Table {
    fn summary(&self, name: &str) -> FindingSummary {
        let [[neither, only_shadow], [only_answer, both]] = self.calls;
        let Moments { n, mean, squares } = self.difference;
        // Of a sample; none of fewer than two.
        let deviation = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        let limits = deviation.map(|d| [mean - 1.96 * d, mean + 1.96 * d]);
        FindingSummary {
            name: name.to_owned(),
            n,
            both_positive: both,
            only_answer,
            only_shadow,
            both_negative: neither,
            kappa: kappa(self.calls),
            difference: Difference { mean, limits },
        }
    }
}

/// Agreement beyond chance, from a table of two by two.
fn kappa([[neither, second], [first, both]]: [[u64; 2]; 2]) -> Option<f64> {
    let total = (neither + second + first + both) as f64;
    let by_first = (first + both) as f64 / total;
    let by_second = (second + both) as f64 / total;
    let chance = by_first * by_second + (1.0 - by_first) * (1.0 - by_second);
    let observed = (neither + both) as f64 / total;
    (total > 0.0 && chance < 1.0).then(|| (observed - chance) / (1.0 - chance))
}

impl Regions {
    fn add(&mut self, covered: &Covered) {
        let all: u64 = covered.pixels.iter().sum();
        if all == 0 {
            self.both_empty += 1;
            return;
        }
        let dice = 2.0 * covered.both as f64 / all as f64;
        self.dice.add(dice);
        self.lowest = Some(self.lowest.map_or(dice, |lowest| lowest.min(dice)));
    }

    fn summary(&self, name: &str) -> MaskSummary {
        let Moments { n, mean, .. } = self.dice;
        MaskSummary {
            name: name.to_owned(),
            n,
            both_empty: self.both_empty,
            mean_dice: (n > 0).then_some(mean),
            lowest_dice: self.lowest,
        }
    }
}

impl Boxes {
    fn summary(&self, name: &str) -> BoxSummary {
        let [ours, theirs] = self.found;
        BoxSummary {
            name: name.to_owned(),
            same: self.same,
            only_answer: ours - self.same.min(ours),
            only_shadow: theirs - self.same.min(theirs),
            mean_iou: (self.same > 0).then(|| self.iou / self.same as f64),
        }
    }
}

impl Times {
    fn of(times: &VecDeque<f32>) -> Option<Self> {
        let mut sorted: Vec<f32> = times.iter().copied().collect();
        sorted.sort_by(f32::total_cmp);
        let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied();
        Some(Self { median: at(0.5)?, p95: at(0.95)? })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::pair::tests::record, *};
    use metrics::{overlap::Overlap, threshold::Confusion};

    fn agreement(pairs: &[Pair]) -> Summary {
        let mut agreement = Agreement::new(pairs[0].bundles.clone());
        pairs.iter().for_each(|pair| agreement.add(pair));
        agreement.summary()
    }

    /// Probabilities and masks from a fixed seed.
    fn pairs(n: u32) -> Vec<Pair> {
        let mut state = 7_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let one = |image: u32| {
            let mut side = |digest| {
                let edema = random();
                let mask: Vec<u8> = (0..40).map(|_| u8::from(random() < 0.6)).collect();
                record(digest, &[("Edema", edema)], &mask, &[20.0 * random()])
            };
            let (answer, shadow) = (side("a"), side("b"));
            Pair::of(image.into(), format!("day {image:03}"), &answer, &shadow).unwrap()
        };
        (0..n).map(one).collect()
    }

    /// The judge is the crate that trainer and exporter measure with; it equals scikit-learn.
    #[test]
    fn kappa_and_dice_are_those_of_the_metrics() {
        let pairs = pairs(60);
        let summary = agreement(&pairs);
        let mut table = Confusion::default();
        let mut dice = Vec::new();
        for pair in &pairs {
            *match pair.findings[0].positive {
                [true, true] => &mut table.true_positive,
                [true, false] => &mut table.false_negative,
                [false, true] => &mut table.false_positive,
                [false, false] => &mut table.true_negative,
            } += 1;
            let Covered { pixels: [truth, predicted], both, .. } = pair.masks[0];
            dice.push(Overlap { both, predicted, truth }.dice());
        }
        let edema = &summary.findings[0];
        assert_eq!((summary.pairs, edema.n), (60, 60));
        assert_eq!(edema.both_positive, table.true_positive);
        assert_eq!(
            [edema.only_answer, edema.only_shadow],
            [table.false_negative, table.false_positive]
        );
        assert!((edema.kappa.unwrap() - table.kappa().unwrap()).abs() < 1e-12);
        let lung = &summary.masks[0];
        let mean = dice.iter().sum::<f64>() / dice.len() as f64;
        assert!((lung.mean_dice.unwrap() - mean).abs() < 1e-12);
        assert_eq!(lung.lowest_dice, dice.iter().copied().reduce(f64::min));
        let times = Times::of(&[3.0, 1.0, 2.0].into()).unwrap();
        assert_eq!((times.median, times.p95), (2.0, 3.0));
    }

    /// Bland and Altman 1986 from the formula of a textbook, in two passes.
    #[test]
    fn limits_of_agreement_are_the_mean_and_two_deviations() {
        let pairs = pairs(25);
        let off: Vec<f64> = pairs
            .iter()
            .map(|p| {
                f64::from(p.findings[0].probability[1]) - f64::from(p.findings[0].probability[0])
            })
            .collect();
        let mean = off.iter().sum::<f64>() / 25.0;
        let deviation = (off.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 24.0).sqrt();
        let Difference { mean: found, limits } = agreement(&pairs).findings[0].difference;
        let [low, high] = limits.unwrap();
        assert!((found - mean).abs() < 1e-12);
        assert!((low - (mean - 1.96 * deviation)).abs() < 1e-12);
        assert!((high - (mean + 1.96 * deviation)).abs() < 1e-12);
        assert_eq!(agreement(&pairs[..1]).findings[0].difference.limits, None);
    }

    #[test]
    fn figures_that_do_not_exist_are_not_invented() {
        let quiet = record("a", &[("Edema", 0.1)], &[0, 0], &[]);
        let pair = Pair::of(1, "t".into(), &quiet, &quiet).unwrap();
        let summary = agreement(&[pair.clone(), pair]);
        assert_eq!(summary.findings[0].kappa, None, "both always said no");
        let lung = &summary.masks[0];
        assert_eq!((lung.n, lung.both_empty, lung.mean_dice), (0, 2, None));
        assert!(summary.boxes.is_empty());
    }

    #[test]
    fn boxes_are_counted_by_who_found_them() {
        let pair = |ours: &[f32], theirs: &[f32]| {
            Pair::of(1, "t".into(), &record("a", &[], &[0], ours), &record("b", &[], &[0], theirs))
                .unwrap()
        };
        let summary = agreement(&[pair(&[0.0, 50.0], &[0.0]), pair(&[], &[70.0, 90.0])]);
        let nodule = &summary.boxes[0];
        assert_eq!([nodule.same, nodule.only_answer, nodule.only_shadow], [1, 1, 2]);
        assert_eq!(nodule.mean_iou, Some(1.0));
    }
}
