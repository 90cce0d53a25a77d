//! Mean average precision, as COCO counts it, over the RSNA challenge's overlaps.

/// A called box: class, score, corners.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Called {
    pub(crate) class: usize,
    pub(crate) score: f32,
    pub(crate) corners: [f32; 4],
}

/// For each overlap, class by class: score and whether it is right of every call, and the number of true boxes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Matches {
    /// `[overlap][class]`
    calls: Vec<Vec<Vec<(f32, bool)>>>,
    /// `[class]`
    truth: Vec<usize>,
}

/// .40, .45, … .75
const OVERLAPS: [f32; 8] = [0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75];

impl Matches {
    /// Calls of one image held against its truth, the surest first.
    pub(crate) fn of(called: &[Called], truth: &[(usize, [f32; 4])], classes: usize) -> Self {
        let of_class = |class: usize, overlap: f32| {
            let truth: Vec<_> = truth.iter().filter(|(own, _)| *own == class).collect();
            let mut taken = vec![false; truth.len()];
            let mut calls: Vec<_> = called.iter().filter(|call| call.class == class).collect();
            calls.sort_by(|a, b| b.score.total_cmp(&a.score));
            let find = |call: &&Called| {
                let free = truth.iter().enumerate().filter(|(at, _)| !taken[*at]);
                let best = free
                    .map(|(at, (_, corners))| (iou(&call.corners, corners), at))
                    .max_by(|a, b| a.0.total_cmp(&b.0))
                    .filter(|(iou, _)| *iou >= overlap);
                if let Some((_, at)) = best {
                    taken[at] = true;
                }
                (call.score, best.is_some())
            };
            calls.iter().map(find).collect()
        };
        Self {
            calls: OVERLAPS
                .map(|overlap| (0..classes).map(|class| of_class(class, overlap)).collect())
                .to_vec(),
            truth: (0..classes)
                .map(|class| truth.iter().filter(|(own, _)| *own == class).count())
                .collect(),
        }
    }
}

/// The score from which on calls of a class are right most often, by F1 at half overlap; `None` without a hit.
pub(crate) fn best_score(images: &[&Matches], class: usize) -> Option<f32> {
    let half = OVERLAPS.iter().position(|&overlap| overlap == 0.5).expect("half is among them");
    let total: usize = images.iter().map(|image| image.truth[class]).sum();
    let mut calls: Vec<(f32, bool)> =
        images.iter().flat_map(|image| image.calls[half][class].iter().copied()).collect();
    calls.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut best) = (0, (0.0, None));
    for (at, &(score, hit)) in calls.iter().enumerate() {
        hits += usize::from(hit);
        // Equal scores are all called or none.
        let whole = calls.get(at + 1).is_none_or(|next| next.0 < score);
        let f1 = 2.0 * hits as f64 / (at + 1 + total) as f64;
        if whole && f1 > best.0 {
            best = (f1, Some(score));
        }
    }
    best.1
}

/// Mean over overlaps and over classes that have a true box; `None` without any.
pub(crate) fn mean_average_precision(images: &[&Matches]) -> Option<f64> {
    let classes = images.first()?.truth.len();
    let mut values = Vec::new();
    for class in 0..classes {
        let total: usize = images.iter().map(|image| image.truth[class]).sum();
        if total == 0 {
            continue;
        }
        for at in 0..OVERLAPS.len() {
            let mut calls: Vec<(f32, bool)> =
                images.iter().flat_map(|image| image.calls[at][class].iter().copied()).collect();
            calls.sort_by(|a, b| b.0.total_cmp(&a.0));
            values.push(average_precision(&calls, total));
        }
    }
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// 101-point interpolation.
fn average_precision(calls: &[(f32, bool)], total: usize) -> f64 {
    let mut hits = 0;
    let mut curve: Vec<[f64; 2]> = calls
        .iter()
        .enumerate()
        .map(|(at, &(_, hit))| {
            hits += usize::from(hit);
            [hits as f64 / total as f64, hits as f64 / (at + 1) as f64]
        })
        .collect();
    for at in (1..curve.len()).rev() {
        curve[at - 1][1] = curve[at - 1][1].max(curve[at][1]);
    }
    let at_recall = |wanted: f64| {
        let place = curve.partition_point(|[recall, _]| *recall < wanted);
        curve.get(place).map_or(0.0, |[_, precision]| *precision)
    };
    (0..=100).map(|percent| at_recall(f64::from(percent) * 0.01)).sum::<f64>() / 101.0
}

fn iou(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |[x1, y1, x2, y2]: [f32; 4]| (x2 - x1).max(0.0) * (y2 - y1).max(0.0);
    let both = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    both / (area(*a) + area(*b) - both).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(score: f32, x: f32) -> Called {
        Called { class: 0, score, corners: [x, 0.0, x + 10.0, 10.0] }
    }

    #[test]
    fn a_perfect_detector_has_precision_one_and_a_blind_one_zero() {
        let truth = [(0, [0.0, 0.0, 10.0, 10.0]), (0, [30.0, 0.0, 40.0, 10.0])];
        let perfect = Matches::of(&[call(0.9, 0.0), call(0.8, 30.0)], &truth, 1);
        assert!((mean_average_precision(&[&perfect]).unwrap() - 1.0).abs() < 1e-12);
        let blind = Matches::of(&[], &truth, 1);
        assert_eq!(mean_average_precision(&[&blind]), Some(0.0));
        assert_eq!(mean_average_precision(&[&Matches::of(&[], &[], 1)]), None);
    }

    #[test]
    fn the_best_score_keeps_what_is_right_and_drops_the_rest() {
        let truth = [(0, [0.0, 0.0, 10.0, 10.0])];
        let a = Matches::of(&[call(0.9, 0.0), call(0.3, 50.0)], &truth, 1);
        let b = Matches::of(&[call(0.6, 0.0), call(0.2, 50.0)], &truth, 1);
        assert_eq!(best_score(&[&a, &b], 0), Some(0.6));
        let wrong = Matches::of(&[call(0.9, 50.0)], &truth, 1);
        assert_eq!(best_score(&[&wrong], 0), None);
    }

    #[test]
    fn a_second_call_of_one_box_is_wrong() {
        let truth = [(0, [0.0, 0.0, 10.0, 10.0]), (0, [30.0, 0.0, 40.0, 10.0])];
        let twice = Matches::of(&[call(0.9, 0.0), call(0.8, 0.5), call(0.7, 30.0)], &truth, 1);
        // Recall 1/2 at precision 1, recall 1 at precision 2/3: 51 and 50 of 101 points.
        let expected = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        assert!((mean_average_precision(&[&twice]).unwrap() - expected).abs() < 1e-12);
    }
}
