//! Boxes matched with the truth once, so that a thousand weightings of the images cost a thousand walks.
//!
//! ```text
//! images ─▶ each class: its calls, surest first, with the IoU thresholds at which each finds a box
//!        ─▶ weights of the images: one walk down the calls → AP at every threshold, or FROC
//! ```
//!
//! An image of weight 2 counts as two copies of it, one behind the other: also where calls tie.

use super::{Counting, Detection, ImageBoxes, Rect, match_image, truth_of};
use std::ops::Range;

/// What was found in many images, ready to be weighed.
#[derive(Clone, Debug)]
pub struct Matched {
    /// Number of the first of the classes.
    first: usize,
    classes: Vec<Class>,
    /// IoUs from which a call finds a box.
    thresholds: Vec<f64>,
    /// Whether MGCA's evaluator counts the image.
    mgca: Vec<bool>,
}

#[derive(Clone, Debug)]
struct Class {
    /// True boxes of each image.
    truth: Vec<usize>,
    precision: Vec<Run<Call>>,
    froc: Vec<Run<Centre>>,
}

/// Calls of equal score in one image; runs are sorted by score, then by image.
#[derive(Clone, Debug)]
struct Run<C> {
    score: f32,
    image: usize,
    calls: Vec<C>,
}

/// Numbers of the IoU thresholds at which a call finds a box that nobody found before it.
type Call = Vec<usize>;

/// What the middle of a called box does.
#[derive(Clone, Copy, Debug)]
struct Centre {
    /// True boxes around it that no surer call of the image found.
    fresh: usize,
    /// It lies in no true box.
    wrong: bool,
}

impl Matched {
    /// Boxes of `classes`, at each IoU of `thresholds`.
    pub fn new(images: &[&ImageBoxes], classes: Range<usize>, thresholds: &[f64]) -> Self {
        let judged = |image: &&ImageBoxes| !image.detections.is_empty() && !image.truth.is_empty();
        Self {
            first: classes.start,
            classes: classes.map(|class| Class::of(images, class, thresholds)).collect(),
            thresholds: thresholds.to_vec(),
            mgca: images.iter().map(judged).collect(),
        }
    }

    /// Mean over classes with truth and over the thresholds of the 101-point interpolated average precision
    /// (pycocotools, all areas, 100 detections), where image `i` counts `weights[i]` times. `None` where no class has truth.
    ///
    /// Panics unless there is one weight an image.
    pub fn mean_average_precision(&self, weights: &[u32], counting: Counting) -> Option<f64> {
        let counted: Vec<u32> = match counting {
            Counting::All => weights.to_vec(),
            Counting::MgcaCompat => {
                let pairs = weights.iter().zip(&self.mgca);
                pairs.map(|(&weight, &judged)| if judged { weight } else { 0 }).collect()
            }
        };
        let classes = self.first..self.first + self.classes.len();
        let values: Vec<f64> = classes
            .filter_map(|class| self.average_precisions(class, &counted))
            .flatten()
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Average precision of one class at each threshold; `None` without truth.
    ///
    /// Panics on a class that is not among those matched.
    pub fn average_precisions(&self, class: usize, weights: &[u32]) -> Option<Vec<f64>> {
        let own = &self.classes[class - self.first];
        let total = own.count(weights)?;
        // How many calls there are up to the first hit, the second, …; a miss changes no precision that counts.
        let mut calls_at_hit = vec![Vec::new(); self.thresholds.len()];
        let mut calls = 0usize;
        for run in &own.precision {
            for _ in 0..weights[run.image] {
                for found in &run.calls {
                    calls += 1;
                    found.iter().for_each(|&threshold| calls_at_hit[threshold].push(calls));
                }
            }
        }
        Some(calls_at_hit.iter().map(|hits| interpolated(hits, total)).collect())
    }

    /// The score from which on calls of a class are right most often, by F1 at one of the IoUs; `None` without a hit.
    ///
    /// Panics on a class or an IoU that is not among those matched.
    pub fn best_score(&self, class: usize, threshold: f64, weights: &[u32]) -> Option<f32> {
        let own = &self.classes[class - self.first];
        let total = own.count(weights)? as f64;
        let place = self.thresholds.iter().position(|&matched| matched == threshold);
        let place = place.expect("an IoU the boxes are matched at");
        let (mut hits, mut calls, mut best) = (0.0, 0.0, (0.0, None));
        // Equal scores are all called or none.
        for equal in own.precision.chunk_by(|a, b| a.score == b.score) {
            for run in equal {
                let weight = f64::from(weights[run.image]);
                let found = run.calls.iter().filter(|found| found.contains(&place)).count();
                hits += weight * found as f64;
                calls += weight * run.calls.len() as f64;
            }
            let f1 = 2.0 * hits / (calls + total);
            if f1 > best.0 {
                best = (f1, Some(equal[0].score));
            }
        }
        best.1
    }

    /// Calls of a class in all images that score at least `score`.
    pub fn called(&self, class: usize, score: f32) -> usize {
        let runs = self.classes[class - self.first].precision.iter();
        runs.take_while(|run| run.score >= score).map(|run| run.calls.len()).sum()
    }

    /// True boxes of a class in each image.
    pub fn truth(&self, class: usize) -> &[usize] {
        &self.classes[class - self.first].truth
    }

    /// Sensitivity of one class at each of `rates` false positives an image; a hit is a centre inside the box
    /// (Object-CXR). Further hits on a box already found are neither right nor wrong. `None` without truth.
    pub fn froc(&self, class: usize, weights: &[u32], rates: &[f64]) -> Option<Vec<f64>> {
        let own = &self.classes[class - self.first];
        let total = own.count(weights)?;
        let images: usize = weights.iter().map(|&weight| weight as usize).sum();
        let allowed = |rate: f64| rate * images as f64;
        let most = rates.iter().copied().map(allowed).fold(0.0, f64::max);
        let mut hits = 0usize;
        // How many hits there are before the first wrong call, the second, …
        let mut hits_before_wrong = Vec::new();
        'walk: for run in &own.froc {
            for _ in 0..weights[run.image] {
                for call in &run.calls {
                    hits += call.fresh;
                    if call.wrong {
                        hits_before_wrong.push(hits);
                        if hits_before_wrong.len() as f64 > most {
                            break 'walk;
                        }
                    }
                }
            }
        }
        let at_rate = |&rate: &f64| {
            let before = hits_before_wrong.get(allowed(rate) as usize).copied().unwrap_or(hits);
            before as f64 / total as f64
        };
        Some(rates.iter().map(at_rate).collect())
    }
}

impl Class {
    fn of(images: &[&ImageBoxes], class: usize, thresholds: &[f64]) -> Self {
        let calls = images.iter().map(|image| {
            let mut calls: Vec<(f32, Call)> = Vec::new();
            for (number, &threshold) in thresholds.iter().enumerate() {
                for (at, (score, hit)) in
                    match_image(image, class, threshold).into_iter().enumerate()
                {
                    if calls.len() == at {
                        calls.push((score, Vec::new()));
                    }
                    calls[at].1.extend(hit.then_some(number));
                }
            }
            calls
        });
        let precision = runs(calls);
        Self {
            truth: images.iter().map(|image| truth_of(image, class).len()).collect(),
            precision,
            froc: runs(images.iter().map(|image| centres(image, class))),
        }
    }

    /// True boxes with these weights; `None` without.
    fn count(&self, weights: &[u32]) -> Option<usize> {
        assert_eq!(self.truth.len(), weights.len(), "one weight an image");
        let total = self.truth.iter().zip(weights).map(|(n, &weight)| n * weight as usize).sum();
        (total > 0).then_some(total)
    }
}

/// Calls of one class in one image, surest first.
fn centres(image: &ImageBoxes, class: usize) -> Vec<(f32, Centre)> {
    let truth = truth_of(image, class);
    let mut found = vec![false; truth.len()];
    let mut calls: Vec<&Detection> =
        image.detections.iter().filter(|detection| detection.class == class).collect();
    calls.sort_by(|a, b| b.score.total_cmp(&a.score));
    let centre = |call: &Detection| {
        let Rect { x1, y1, x2, y2 } = call.rect;
        let middle = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
        let around = |at: &usize| truth[*at].contains(middle.0, middle.1);
        let around: Vec<usize> = (0..truth.len()).filter(around).collect();
        let wrong = around.is_empty();
        let fresh = around.into_iter().filter(|&at| !std::mem::replace(&mut found[at], true));
        Centre { fresh: fresh.count(), wrong }
    };
    let scores = calls.iter().map(|call| call.score).collect::<Vec<_>>();
    scores.into_iter().zip(calls.into_iter().map(centre)).collect()
}

/// Calls of each image → all of them by score, those of one image and score together.
fn runs<C>(images: impl Iterator<Item = Vec<(f32, C)>>) -> Vec<Run<C>> {
    let mut all: Vec<(f32, usize, C)> = Vec::new();
    for (image, calls) in images.enumerate() {
        all.extend(calls.into_iter().map(|(score, call)| (score, image, call)));
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: ties stay in the order of the images
    let mut runs: Vec<Run<C>> = Vec::new();
    let mut last = None;
    for (score, image, call) in all {
        let own = (score.to_bits(), image);
        match runs.last_mut() {
            Some(run) if last == Some(own) => run.calls.push(call),
            _ => runs.push(Run { score, image, calls: vec![call] }),
        }
        last = Some(own);
    }
    runs
}

/// Mean of the best precision at a recall of 0, .01, … 1 or beyond; `calls_at_hit[k]` calls hold `k + 1` hits.
fn interpolated(calls_at_hit: &[usize], total: usize) -> f64 {
    let numbered = calls_at_hit.iter().enumerate();
    let mut best: Vec<f64> = numbered.map(|(k, &n)| (k + 1) as f64 / n as f64).collect();
    for at in (1..best.len()).rev() {
        best[at - 1] = best[at - 1].max(best[at]);
    }
    let mut hit = 0;
    let at_recall = |wanted: f64| {
        while hit < best.len() && ((hit + 1) as f64 / total as f64) < wanted {
            hit += 1;
        }
        best.get(hit).copied().unwrap_or(0.0)
    };
    (0..=100).map(|percent| f64::from(percent) * 0.01).map(at_recall).sum::<f64>() / 101.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::{FROC_RATES, RSNA_THRESHOLDS};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Few scores, so that many calls tie within an image and between images.
    fn images(random: &mut ChaCha8Rng) -> Vec<ImageBoxes> {
        let rect = |random: &mut ChaCha8Rng| {
            let (x, y) = (random.random_range(0.0..40.0), random.random_range(0.0..40.0));
            let (w, h) = (random.random_range(10.0..40.0), random.random_range(10.0..40.0));
            Rect { x1: x, y1: y, x2: x + w, y2: y + h }
        };
        let image = |_| {
            let calls = random.random_range(0..12);
            let boxes = random.random_range(0..4);
            let detections = (0..calls).map(|_| Detection {
                class: random.random_range(0..2),
                score: random.random_range(1..6) as f32 / 8.0,
                rect: rect(random),
            });
            let detections = detections.collect();
            let truth = (0..boxes).map(|_| (random.random_range(0..2), rect(random))).collect();
            ImageBoxes { detections, truth }
        };
        (0..9).map(image).collect()
    }

    #[test]
    fn a_weight_counts_as_so_many_copies_to_the_last_bit() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        for _ in 0..200 {
            let images = images(&mut random);
            let weights: Vec<u32> = (0..images.len()).map(|_| random.random_range(0..4)).collect();
            let once: Vec<&ImageBoxes> = images.iter().collect();
            let copies: Vec<&ImageBoxes> = images
                .iter()
                .zip(&weights)
                .flat_map(|(image, &weight)| std::iter::repeat_n(image, weight as usize))
                .collect();
            let (ours, theirs) = (
                Matched::new(&once, 0..2, &RSNA_THRESHOLDS),
                Matched::new(&copies, 0..2, &RSNA_THRESHOLDS),
            );
            let ones = vec![1; copies.len()];
            for counting in [Counting::All, Counting::MgcaCompat] {
                let map = theirs.mean_average_precision(&ones, counting);
                assert_eq!(ours.mean_average_precision(&weights, counting), map);
            }
            for class in 0..2 {
                let froc = theirs.froc(class, &ones, &FROC_RATES);
                assert_eq!(ours.froc(class, &weights, &FROC_RATES), froc);
                let best = theirs.best_score(class, 0.5, &ones);
                assert_eq!(ours.best_score(class, 0.5, &weights), best);
            }
        }
    }
}
