//! Figures of both networks side by side, with intervals.

use super::{Answer, Sides};
use bundle::{Meaning, Metric};
use engine::decode::Detector;
use graph::{LANGUAGE_GLOBAL, LANGUAGE_GLOBAL_PLACES, LANGUAGE_PLACES, Task};
use metrics::{
    bootstrap::{Patients, Resampling, weighted_mean},
    detection::{Counting, ImageBoxes, Matched, RSNA_THRESHOLDS},
    figure,
    overlap::Overlap,
    ranking::Ranking,
};
use serde::Serialize;

/// One line of `exporter verify --json` (DESIGN §5).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Line {
    pub(crate) task: String,
    pub(crate) metric: String,
    /// Absent of a network that came quantized.
    pub(crate) float: Option<f64>,
    pub(crate) int8: f64,
    /// `int8 − float`, where there is a float network.
    pub(crate) difference: Option<f64>,
    /// Of the difference, or of int8 alone: 95 %, bootstrap over patients.
    pub(crate) interval: [f64; 2],
    pub(crate) n: usize,
    /// Where the figure depends on them: float's and int8's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thresholds: Option<[f32; 2]>,
}

/// Every metric the networks' heads allow on these answers.
pub(crate) fn lines(sides: &Sides, answers: &[Answer]) -> Vec<Line> {
    let mut lines = Vec::new();
    let model = sides.model();
    let head = |task| model.heads.iter().find(move |head| head.task == task);
    if let Some(head) = head(Task::Classification) {
        for (at, label) in head.labels.iter().enumerate() {
            lines.extend(auroc_line(answers, at, label));
            lines.extend(agreement_line(answers, at, label, sides.thresholds(label)));
        }
    }
    if let Some(head) = head(Task::Segmentation) {
        for (at, label) in head.labels.iter().enumerate() {
            let known: Vec<(&str, [f64; 2])> = answers
                .iter()
                .filter_map(|answer| Some((answer.patient.as_str(), (*answer.dice.get(at)?)?)))
                .collect();
            let line = means_line("segmentation", figure::dice(label), &known);
            lines.extend(line.map(|line| line.at(sides.thresholds(label))));
        }
        if sides.meaning().contract.is_none() {
            lines.extend(similarity_line(answers, "segmentation", "dice-with-float", dice));
        }
    }
    lines.extend(precision_line(answers, model.detector().map_or(0, |head| head.labels.len())));
    if let Some(contract) = &sides.meaning().contract {
        lines.extend(contract.outputs.iter().flat_map(|meaning| likeness(answers, meaning)));
        return lines;
    }
    if let Some(kind) = model.detector().and_then(|head| Detector::of(head.task)) {
        lines.extend(kind.levels().filter_map(|level| {
            similarity_line(answers, &kind.output(level), "cosine-with-float", cosine)
        }));
    }
    for output in ["embedding", LANGUAGE_GLOBAL, LANGUAGE_PLACES, LANGUAGE_GLOBAL_PLACES] {
        lines.extend(similarity_line(answers, output, "cosine-with-float", cosine));
    }
    lines
}

/// How alike both networks' outputs are, of a network of another tool.
fn likeness(answers: &[Answer], meaning: &Meaning) -> Vec<Line> {
    let task = match meaning {
        Meaning::Findings(_) | Meaning::Unused { .. } => return Vec::new(),
        Meaning::Masks(_) => "segmentation",
        Meaning::Boxes(_) => "detection",
        Meaning::Embedding { .. } => "embedding",
    };
    let line = |output: &str| {
        let line = similarity_line(answers, output, "cosine-with-float", cosine)?;
        Some(Line { task: task.into(), metric: format!("cosine-with-float/{output}"), ..line })
    };
    meaning.names().into_iter().filter_map(line).collect()
}

fn auroc_line(answers: &[Answer], at: usize, label: &str) -> Option<Line> {
    let mut scores = [Vec::new(), Vec::new()];
    let (mut truth, mut patients) = (Vec::new(), Vec::new());
    for answer in answers {
        let (Some(positive), Some([float, int8])) = (answer.findings[at], answer.score(at)) else {
            continue;
        };
        truth.push(positive);
        patients.push(answer.patient.as_str());
        scores[0].push(float.rank);
        scores[1].push(int8.rank);
    }
    let rankings = scores.map(|scores| Ranking::new(&scores, &truth));
    let of = |weights: &[u32]| {
        let [float, int8] = rankings.each_ref().map(|ranking| ranking.weighted_auroc(weights));
        Some([float?, int8?])
    };
    line("classification", figure::auroc(label), &patients, of)
}

/// How often both networks decide alike, each at its own operating point; float agrees with itself.
fn agreement_line(
    answers: &[Answer],
    at: usize,
    label: &str,
    thresholds: [f32; 2],
) -> Option<Line> {
    let alike: Vec<(&str, [f64; 2])> = answers
        .iter()
        .filter_map(|answer| Some((answer.patient.as_str(), answer.score(at)?)))
        .map(|(patient, [float, int8])| {
            let positive = [float.probability >= thresholds[0], int8.probability >= thresholds[1]];
            let same = positive[0] == positive[1];
            (patient, [1.0, f64::from(u8::from(same))])
        })
        .collect();
    let line = means_line("classification", format!("agreement/{label}"), &alike)?;
    Some(line.at(thresholds))
}

fn similarity_line(
    answers: &[Answer],
    output: &str,
    metric: &str,
    similarity: fn(&[f32], &[f32]) -> f64,
) -> Option<Line> {
    let values: Vec<(&str, [f64; 2])> = answers
        .iter()
        .filter_map(|answer| Some((answer.patient.as_str(), answer.outputs(output)?)))
        .map(|(patient, (float, int8))| (patient, [1.0, similarity(float, int8)]))
        .collect();
    means_line(output, metric.into(), &values)
}

/// Mean average precision where boxes are known.
fn precision_line(answers: &[Answer], classes: usize) -> Option<Line> {
    let (patients, known): (Vec<&str>, Vec<&[ImageBoxes; 2]>) = answers
        .iter()
        .filter_map(|answer| Some((answer.patient.as_str(), answer.boxes.as_ref()?)))
        .unzip();
    let matched = [0, 1].map(|side| {
        let images: Vec<&ImageBoxes> = known.iter().map(|both| &both[side]).collect();
        Matched::new(&images, 0..classes, &RSNA_THRESHOLDS)
    });
    let of = |weights: &[u32]| {
        let of = |matched: &Matched| matched.mean_average_precision(weights, Counting::All);
        let [float, int8] = matched.each_ref().map(of);
        Some([float?, int8?])
    };
    line("detection", figure::MAP.into(), &patients, of)
}

/// Means of paired values.
pub(super) fn means_line(task: &str, metric: String, values: &[(&str, [f64; 2])]) -> Option<Line> {
    let patients: Vec<&str> = values.iter().map(|(patient, _)| *patient).collect();
    let sides = [0, 1].map(|side| values.iter().map(|(_, both)| both[side]).collect::<Vec<f64>>());
    let of = |weights: &[u32]| {
        let [float, int8] = sides.each_ref().map(|values| weighted_mean(values, weights));
        Some([float?, int8?])
    };
    line(task, metric, &patients, of)
}

/// `of` gives both sides' figure where each image counts as often as it is told; `None` where there is none.
pub(super) fn line(
    task: &str,
    metric: String,
    patients: &[&str],
    of: impl Fn(&[u32]) -> Option<[f64; 2]>,
) -> Option<Line> {
    let [float, int8] = of(&vec![1; patients.len()])?;
    let difference = |weights: &[u32]| of(weights).map(|[float, int8]| int8 - float);
    let resampled = Patients::new(patients.iter().copied());
    let estimate = resampled.estimate(Resampling::STANDARD, difference)?;
    Some(Line {
        task: task.into(),
        metric,
        float: Some(float),
        int8,
        difference: Some(int8 - float),
        interval: [estimate.low, estimate.high],
        n: patients.len(),
        thresholds: None,
    })
}

impl Line {
    /// A figure of int8 alone.
    pub(crate) fn alone(metric: Metric) -> Self {
        let Metric { task, metric, value, interval, n, .. } = metric;
        let (float, difference, thresholds) = (None, None, None);
        Self { task, metric, float, int8: value, difference, interval, n: n as usize, thresholds }
    }

    /// `of` one side alone, with the interval of the figure itself.
    pub(super) fn of_one(
        task: &str,
        metric: String,
        patients: &[&str],
        of: impl Fn(&[u32]) -> Option<f64>,
    ) -> Option<Self> {
        let resampled = Patients::new(patients.iter().copied());
        let estimate = resampled.estimate(Resampling::STANDARD, of)?;
        Some(Self {
            task: task.into(),
            metric,
            float: None,
            int8: estimate.value,
            difference: None,
            interval: [estimate.low, estimate.high],
            n: patients.len(),
            thresholds: None,
        })
    }

    /// Measured at these thresholds.
    pub(super) fn at(self, thresholds: [f32; 2]) -> Self {
        Self { thresholds: Some(thresholds), ..self }
    }

    /// Whether it says how well boxes are found.
    pub(crate) fn is_of_boxes(&self) -> bool {
        ["detection", "yolov3"].iter().any(|task| self.task.starts_with(task))
    }
}

/// The task that lost most, relative to float, and how much: by its metric where truth is known, otherwise by
/// how far both networks agree.
pub(crate) fn worst_drop(lines: &[Line]) -> Option<(f64, String)> {
    let judged = |task: &str, measured: &str, otherwise: &str| {
        let of = |prefix: &str| -> Vec<&Line> {
            let of_task = |line: &&Line| match task {
                "detection" => line.is_of_boxes(),
                _ => line.task.starts_with(task),
            };
            lines.iter().filter(of_task).filter(|line| line.metric.starts_with(prefix)).collect()
        };
        let chosen = Some(of(measured)).filter(|found| !found.is_empty()).unwrap_or(of(otherwise));
        let drop = |line: &&Line| Some(-line.difference? / line.float?.max(1e-9));
        let drops = chosen.iter().filter_map(drop);
        let mean = drops.sum::<f64>() / chosen.len().max(1) as f64;
        let name = chosen.first()?.metric.split('/').next()?.to_owned();
        Some((mean, format!("{task} {name}")))
    };
    [
        ("classification", "auroc", "agreement"),
        ("segmentation", "dice/", "dice-with-float"),
        ("segmentation", "dice/", "cosine-with-float"),
        ("detection", "map", "cosine-with-float"),
        ("embedding", "cosine-with-float", "cosine-with-float"),
        ("language", "cosine-with-float", "cosine-with-float"),
    ]
    .into_iter()
    .filter_map(|(task, measured, otherwise)| judged(task, measured, otherwise))
    .max_by(|a, b| a.0.total_cmp(&b.0))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

/// Overlap of the masks at even odds; two empty masks are alike.
fn dice(a: &[f32], b: &[f32]) -> f64 {
    let inside = |logits: &[f32]| logits.iter().map(|&x| x >= 0.0).collect::<Vec<bool>>();
    Overlap::of(&inside(a), &inside(b)).dice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Score, decode::sigmoid};

    fn answer(float: f32, int8: f32, truth: Option<bool>) -> Answer {
        let scores = [float, int8]
            .map(|rank| vec![Score { name: "x".into(), rank, probability: sigmoid(rank) }]);
        Answer {
            patient: "somebody".into(),
            float: Vec::new(),
            int8: Vec::new(),
            scores,
            findings: vec![truth],
            dice: Vec::new(),
            boxes: None,
        }
    }

    #[test]
    fn images_without_a_known_truth_are_left_out_of_auroc() {
        let answers = [
            answer(1.0, 1.1, Some(true)),
            answer(-1.0, -0.9, Some(false)),
            answer(9.0, -9.0, None),
        ];
        let line = auroc_line(&answers, 0, "x").unwrap();
        assert_eq!((line.float, line.int8, line.difference), (Some(1.0), 1.0, Some(0.0)));
        assert_eq!(line.n, 2);
    }

    #[test]
    fn agreement_counts_decisions_at_the_threshold() {
        let answers = [answer(1.0, 0.9, None), answer(0.1, -0.1, None)];
        let line = agreement_line(&answers, 0, "x", [0.5, 0.5]).unwrap();
        assert_eq!((line.float, line.int8), (Some(1.0), 0.5));
    }

    /// A threshold that moved with quantization changes decisions though no score does.
    #[test]
    fn agreement_judges_each_network_at_its_own_threshold() {
        let scores = [-2.0, -1.0, -0.5, 0.5, 2.0];
        let answers: Vec<Answer> = scores.map(|x| answer(x, x, None)).to_vec();
        let line = agreement_line(&answers, 0, "x", [0.225, 0.649]).unwrap();
        // Probabilities .12 .27 .38 .62 .88: the middle three are called by float alone.
        assert_eq!((line.int8, line.thresholds), (0.4, Some([0.225, 0.649])));
        let same = agreement_line(&answers, 0, "x", [0.649, 0.649]).unwrap();
        assert_eq!(same.int8, 1.0);
    }

    #[test]
    fn the_worst_drop_is_by_the_metric_where_there_is_one() {
        let of = |task: &str, metric: &str, float, int8| {
            line(task, metric.into(), &["somebody"], |_| Some([float, int8])).unwrap()
        };
        let lines = [
            of("classification", "auroc/x", 0.8, 0.76),
            of("classification", "agreement/x", 1.0, 0.5),
            of("segmentation", "dice-with-float", 1.0, 0.99),
        ];
        let (drop, name) = worst_drop(&lines).unwrap();
        assert!((drop - 0.05).abs() < 1e-9 && name == "classification auroc", "{drop} {name}");
        assert_eq!(worst_drop(&[]), None);
    }

    #[test]
    fn dice_of_equal_and_of_empty_masks_is_one() {
        assert_eq!(dice(&[1.0, -1.0], &[2.0, -0.1]), 1.0);
        assert_eq!(dice(&[-1.0], &[-2.0]), 1.0);
        assert_eq!(dice(&[1.0, -1.0], &[-1.0, 1.0]), 0.0);
    }
}
