//! Figures of both networks side by side, with intervals.

use super::{
    Answer,
    auroc::{Patients, auroc},
    boxes::{Matches, mean_average_precision},
};
use bundle::Manifest;
use engine::decode::Detector;
use graph::Task;
use serde::Serialize;

/// One line of `exporter verify --json` (DESIGN §5).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Line {
    pub(crate) task: String,
    pub(crate) metric: String,
    pub(crate) float: f64,
    pub(crate) int8: f64,
    /// `int8 − float`.
    pub(crate) difference: f64,
    /// 95 %, paired bootstrap over patients.
    pub(crate) interval: [f64; 2],
    pub(crate) n: usize,
}

/// Every metric the bundle's heads allow on these answers.
pub(crate) fn lines(manifest: &Manifest, answers: &[Answer]) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(head) = manifest.head(Task::Classification) {
        for (at, label) in head.labels.iter().enumerate() {
            lines.extend(auroc_line(answers, at, label));
            lines.extend(agreement_line(answers, at, label, manifest.threshold(label)));
        }
    }
    if let Some(head) = manifest.head(Task::Segmentation) {
        for (at, label) in head.labels.iter().enumerate() {
            let known: Vec<(&str, [f64; 2])> = answers
                .iter()
                .filter_map(|answer| Some((answer.patient.as_str(), (*answer.dice.get(at)?)?)))
                .collect();
            lines.extend(means_line("segmentation", format!("dice/{label}"), &known));
        }
        lines.extend(similarity_line(answers, "segmentation", "dice-with-float", dice));
    }
    lines.extend(precision_line(answers));
    if let Some(kind) = manifest.model.detector().and_then(|head| Detector::of(head.task)) {
        lines.extend(kind.levels().filter_map(|level| {
            similarity_line(answers, &kind.output(level), "cosine-with-float", cosine)
        }));
    }
    lines.extend(similarity_line(answers, "embedding", "cosine-with-float", cosine));
    lines
}

fn auroc_line(answers: &[Answer], at: usize, label: &str) -> Option<Line> {
    let mut scores = [Vec::new(), Vec::new()];
    let (mut truth, mut patients) = (Vec::new(), Vec::new());
    for answer in answers {
        let (Some(positive), Some((float, int8))) =
            (answer.findings[at], answer.outputs("classification"))
        else {
            continue;
        };
        truth.push(positive);
        patients.push(answer.patient.as_str());
        scores[0].push(float[at]);
        scores[1].push(int8[at]);
    }
    let of = |scores: &[f32], sample: &[usize]| {
        let scores: Vec<f32> = sample.iter().map(|&at| scores[at]).collect();
        let truth: Vec<bool> = sample.iter().map(|&at| truth[at]).collect();
        auroc(&scores, &truth)
    };
    let difference = |sample: &[usize]| Some(of(&scores[1], sample)? - of(&scores[0], sample)?);
    let interval = Patients::of(patients).interval(difference)?;
    let values = [auroc(&scores[0], &truth)?, auroc(&scores[1], &truth)?];
    Some(line("classification", format!("auroc/{label}"), values, interval, truth.len()))
}

/// How often both networks decide alike at the operating point; float agrees with itself.
fn agreement_line(answers: &[Answer], at: usize, label: &str, threshold: f32) -> Option<Line> {
    let alike: Vec<(&str, f64)> = answers
        .iter()
        .filter_map(|answer| Some((answer.patient.as_str(), answer.outputs("classification")?)))
        .map(|(patient, (float, int8))| {
            let positive = |logit: f32| sigmoid(logit) >= threshold;
            (patient, f64::from(u8::from(positive(float[at]) == positive(int8[at]))))
        })
        .collect();
    mean_line("classification", format!("agreement/{label}"), &alike)
}

fn similarity_line(
    answers: &[Answer],
    output: &str,
    metric: &str,
    similarity: fn(&[f32], &[f32]) -> f64,
) -> Option<Line> {
    let values: Vec<(&str, f64)> = answers
        .iter()
        .filter_map(|answer| Some((answer.patient.as_str(), answer.outputs(output)?)))
        .map(|(patient, (float, int8))| (patient, similarity(float, int8)))
        .collect();
    mean_line(output, metric.into(), &values)
}

/// Mean average precision where boxes are known.
fn precision_line(answers: &[Answer]) -> Option<Line> {
    let (patients, known): (Vec<&str>, Vec<&[Matches; 2]>) = answers
        .iter()
        .filter_map(|answer| Some((answer.patient.as_str(), answer.boxes.as_ref()?)))
        .unzip();
    let of = |side: usize, sample: &[usize]| {
        mean_average_precision(&sample.iter().map(|&at| &known[at][side]).collect::<Vec<_>>())
    };
    let all: Vec<usize> = (0..known.len()).collect();
    let difference = |sample: &[usize]| Some(of(1, sample)? - of(0, sample)?);
    let interval = Patients::of(patients).interval(difference)?;
    let values = [of(0, &all)?, of(1, &all)?];
    Some(line("detection", "map/.40-.75".into(), values, interval, known.len()))
}

/// Means of paired values.
fn means_line(task: &str, metric: String, values: &[(&str, [f64; 2])]) -> Option<Line> {
    let mean = |side: usize, sample: &[usize]| {
        sample.iter().map(|&at| values[at].1[side]).sum::<f64>() / sample.len() as f64
    };
    if values.is_empty() {
        return None;
    }
    let all: Vec<usize> = (0..values.len()).collect();
    let patients = Patients::of(values.iter().map(|(patient, _)| *patient));
    let interval = patients.interval(|sample| Some(mean(1, sample) - mean(0, sample)))?;
    Some(line(task, metric, [mean(0, &all), mean(1, &all)], interval, values.len()))
}

impl Line {
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
        let drops = chosen.iter().map(|line| -line.difference / line.float.max(1e-9));
        let mean = drops.sum::<f64>() / chosen.len().max(1) as f64;
        let name = chosen.first()?.metric.split('/').next()?.to_owned();
        Some((mean, format!("{task} {name}")))
    };
    [
        ("classification", "auroc", "agreement"),
        ("segmentation", "dice/", "dice-with-float"),
        ("detection", "map", "cosine-with-float"),
        ("embedding", "cosine-with-float", "cosine-with-float"),
    ]
    .into_iter()
    .filter_map(|(task, measured, otherwise)| judged(task, measured, otherwise))
    .max_by(|a, b| a.0.total_cmp(&b.0))
}

fn mean_line(task: &str, metric: String, values: &[(&str, f64)]) -> Option<Line> {
    let mean = |sample: &[usize]| {
        Some(sample.iter().map(|&at| values[at].1).sum::<f64>() / sample.len() as f64)
    };
    if values.is_empty() {
        return None;
    }
    let all: Vec<usize> = (0..values.len()).collect();
    let patients = Patients::of(values.iter().map(|(patient, _)| *patient));
    let interval = patients.interval(|sample| Some(mean(sample)? - 1.0))?;
    Some(line(task, metric, [1.0, mean(&all)?], interval, values.len()))
}

fn line(task: &str, metric: String, [float, int8]: [f64; 2], interval: [f64; 2], n: usize) -> Line {
    Line { task: task.into(), metric, float, int8, difference: int8 - float, interval, n }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

/// Overlap of the masks at even odds; two empty masks are alike.
fn dice(a: &[f32], b: &[f32]) -> f64 {
    let count = |of: &dyn Fn(bool, bool) -> bool| {
        a.iter().zip(b).filter(|&(&a, &b)| of(a >= 0.0, b >= 0.0)).count() as f64
    };
    let (both, either) = (count(&|a, b| a && b), count(&|a, _| a) + count(&|_, b| b));
    if either == 0.0 { 1.0 } else { 2.0 * both / either }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(float: f32, int8: f32, truth: Option<bool>) -> Answer {
        let outputs = |logit| vec![("classification".to_owned(), vec![logit])];
        Answer {
            patient: "somebody".into(),
            float: outputs(float),
            int8: outputs(int8),
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
        assert_eq!((line.float, line.int8, line.difference, line.n), (1.0, 1.0, 0.0, 2));
    }

    #[test]
    fn agreement_counts_decisions_at_the_threshold() {
        let answers = [answer(1.0, 0.9, None), answer(0.1, -0.1, None)];
        let line = agreement_line(&answers, 0, "x", 0.5).unwrap();
        assert_eq!((line.float, line.int8), (1.0, 0.5));
    }

    #[test]
    fn the_worst_drop_is_by_the_metric_where_there_is_one() {
        let of = |task: &str, metric: &str, float, int8| {
            line(task, metric.into(), [float, int8], [0.0, 0.0], 9)
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
