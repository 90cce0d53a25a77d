//! How well scores put the positives before the negatives.

/// Scores and truth, sorted once, so that a thousand weightings cost a thousand passes.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// Positions in the caller's order, best score first.
    order: Vec<usize>,
    /// For each place in `order`: the last of its group of equal scores.
    ends_tie: Vec<bool>,
    truth: Vec<bool>,
    scores: Vec<f32>,
}

/// A point of a curve, with the score from which on an image counts as positive.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct CurvePoint {
    pub x: f64,
    pub y: f64,
    pub threshold: f32,
}

impl Ranking {
    /// Panics unless there is one truth for every score.
    pub fn new(scores: &[f32], truth: &[bool]) -> Self {
        assert_eq!(scores.len(), truth.len(), "one truth for every score");
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let ends_tie = (0..order.len())
            .map(|at| order.get(at + 1).is_none_or(|&next| scores[next] != scores[order[at]]))
            .collect();
        Self { order, ends_tie, truth: truth.to_vec(), scores: scores.to_vec() }
    }

    /// Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.
    /// `None` without both.
    pub fn auroc(&self) -> Option<f64> {
        self.weighted_auroc(&vec![1; self.order.len()])
    }

    /// The same with each sample counted `weights[i]` times.
    pub fn weighted_auroc(&self, weights: &[u32]) -> Option<f64> {
        // Twice the number of pairs in the right order, so that ties stay whole numbers.
        let (mut doubled, mut above) = (0u64, 0u64);
        let (mut tied_positives, mut tied_negatives) = (0u64, 0u64);
        let mut negatives = 0u64;
        for (&sample, &ends_tie) in self.order.iter().zip(&self.ends_tie) {
            let weight = u64::from(weights[sample]);
            if self.truth[sample] {
                tied_positives += weight;
            } else {
                tied_negatives += weight;
            }
            if ends_tie {
                doubled += tied_negatives * (2 * above + tied_positives);
                above += tied_positives;
                negatives += tied_negatives;
                (tied_positives, tied_negatives) = (0, 0);
            }
        }
        let pairs = above * negatives;
        (pairs > 0).then(|| doubled as f64 / 2.0 / pairs as f64)
    }

    /// Area under the precision-recall curve as a sum of steps (scikit-learn's `average_precision_score`).
    /// `None` without positives.
    pub fn average_precision(&self) -> Option<f64> {
        self.weighted_average_precision(&vec![1; self.order.len()])
    }

    /// The same with each sample counted `weights[i]` times.
    pub fn weighted_average_precision(&self, weights: &[u32]) -> Option<f64> {
        let weighed = |sample: &usize| u64::from(weights[*sample]);
        let positives: u64 = self.order.iter().filter(|&&s| self.truth[s]).map(weighed).sum();
        let (mut hits, mut called, mut counted, mut area) = (0u64, 0u64, 0u64, 0.0);
        for (sample, &ends_tie) in self.order.iter().zip(&self.ends_tie) {
            called += weighed(sample);
            hits += if self.truth[*sample] { weighed(sample) } else { 0 };
            if ends_tie && hits > counted {
                area += (hits - counted) as f64 * (hits as f64 / called as f64);
                counted = hits;
            }
        }
        (positives > 0).then(|| area / positives as f64)
    }

    /// False-positive rate (x) against sensitivity (y), from (0, 0) to (1, 1); empty unless both classes are there.
    pub fn roc(&self) -> Vec<CurvePoint> {
        self.weighted_roc(&vec![1; self.order.len()])
    }

    /// The same with each sample counted `weights[i]` times.
    pub fn weighted_roc(&self, weights: &[u32]) -> Vec<CurvePoint> {
        let (positives, all) = self.totals(weights);
        let negatives = all - positives;
        if positives == 0 || negatives == 0 {
            return Vec::new();
        }
        let mut points = vec![CurvePoint { x: 0.0, y: 0.0, threshold: f32::INFINITY }];
        points.extend(self.prefixes(weights).map(|(hits, called, threshold)| CurvePoint {
            x: (called - hits) as f64 / negatives as f64,
            y: hits as f64 / positives as f64,
            threshold,
        }));
        points
    }

    /// Recall (x) against precision (y), highest threshold first; empty without positives.
    pub fn precision_recall(&self) -> Vec<CurvePoint> {
        let weights = vec![1; self.order.len()];
        let (positives, _) = self.totals(&weights);
        if positives == 0 {
            return Vec::new();
        }
        let point = |(hits, called, threshold)| CurvePoint {
            x: hits as f64 / positives as f64,
            y: hits as f64 / called as f64,
            threshold,
        };
        self.prefixes(&weights).map(point).collect()
    }

    /// Positives, and all samples.
    fn totals(&self, weights: &[u32]) -> (u64, u64) {
        let all = weights.iter().map(|&weight| u64::from(weight)).sum();
        let positives = weights.iter().zip(&self.truth).filter(|(_, truth)| **truth);
        (positives.map(|(&weight, _)| u64::from(weight)).sum(), all)
    }

    /// `(true positives, called positive, threshold)` at every distinct score that counts, highest first.
    fn prefixes(&self, weights: &[u32]) -> impl Iterator<Item = (u64, u64, f32)> {
        let (mut hits, mut called, mut before) = (0, 0, 0);
        self.order.iter().zip(&self.ends_tie).filter_map(move |(&sample, &ends_tie)| {
            let weight = u64::from(weights[sample]);
            called += weight;
            hits += if self.truth[sample] { weight } else { 0 };
            if !ends_tie || called == before {
                return None;
            }
            before = called;
            Some((hits, called, self.scores[sample]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_counts_pairs_and_halves_ties() {
        // scikit-learn's documentation example: 0.75
        let ranking = Ranking::new(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]);
        assert_eq!(ranking.auroc(), Some(0.75));
        // all tied: half of every pair
        let tied = Ranking::new(&[0.5; 5], &[true, false, false, true, false]);
        assert_eq!(tied.auroc(), Some(0.5));
        // positives {0.3, 0.3}, negatives {0.3, 0.1}: 2 ties of 4 pairs, 2 right
        let mixed = Ranking::new(&[0.3, 0.3, 0.3, 0.1], &[true, true, false, false]);
        assert_eq!(mixed.auroc(), Some(0.75));
    }

    #[test]
    fn auroc_of_one_class_does_not_exist() {
        assert_eq!(Ranking::new(&[0.1, 0.9], &[true, true]).auroc(), None);
        assert_eq!(Ranking::new(&[0.1, 0.9], &[false, false]).auroc(), None);
        assert_eq!(Ranking::new(&[], &[]).auroc(), None);
        assert!(Ranking::new(&[0.1], &[true]).roc().is_empty());
    }

    #[test]
    fn average_precision_is_the_sum_of_steps() {
        // scikit-learn's documentation example: 0.8333…
        let ranking = Ranking::new(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]);
        assert!((ranking.average_precision().unwrap() - 5.0 / 6.0).abs() < 1e-12);
        // one tie group: precision of the whole set
        let tied = Ranking::new(&[0.5; 4], &[true, false, false, false]);
        assert_eq!(tied.average_precision(), Some(0.25));
        assert_eq!(Ranking::new(&[0.1, 0.9], &[true, true]).average_precision(), Some(1.0));
        assert_eq!(Ranking::new(&[0.1, 0.9], &[false, false]).average_precision(), None);
    }

    #[test]
    fn a_weight_counts_as_so_many_copies() {
        let (scores, truth) =
            ([0.9, 0.8, 0.8, 0.4, 0.3, 0.3], [true, false, true, false, true, false]);
        let weights = [2u32, 0, 3, 1, 1, 2];
        let copy = |at: usize| std::iter::repeat_n(at, weights[at] as usize);
        let copies: Vec<usize> = (0..6).flat_map(copy).collect();
        let copied = Ranking::new(
            &copies.iter().map(|&at| scores[at]).collect::<Vec<_>>(),
            &copies.iter().map(|&at| truth[at]).collect::<Vec<_>>(),
        );
        let ranking = Ranking::new(&scores, &truth);
        assert_eq!(ranking.weighted_auroc(&weights), copied.auroc());
        let (weighted, plain) =
            (ranking.weighted_average_precision(&weights), copied.average_precision());
        assert!((weighted.unwrap() - plain.unwrap()).abs() < 1e-12);
        assert_eq!(ranking.weighted_roc(&weights), copied.roc());
    }

    #[test]
    fn the_area_under_the_roc_points_is_the_auroc() {
        let scores = [0.2, 0.7, 0.7, 0.1, 0.9, 0.4, 0.4];
        let truth = [false, true, false, false, true, true, false];
        let ranking = Ranking::new(&scores, &truth);
        let roc = ranking.roc();
        let area: f64 = roc.windows(2).map(|p| (p[1].x - p[0].x) * (p[1].y + p[0].y) / 2.0).sum();
        assert!((area - ranking.auroc().unwrap()).abs() < 1e-12);
        assert_eq!((roc[roc.len() - 1].x, roc[roc.len() - 1].y), (1.0, 1.0));
    }
}
