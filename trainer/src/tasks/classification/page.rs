//! The page of a classifier, and the scores another program can check.

use super::{Targets, figures::ClassificationResult};
use crate::{
    measure::page::{Subject, begin, cell, sheet},
    metrics::{ranking::Ranking, reliability},
    plot::{Chart, Curve, escape},
};
use std::fmt::Write;

/// `id,group,` then truth and score of every label; an unknown truth is empty.
pub(crate) fn scores_csv(
    ids: &[&str],
    groups: &[&str],
    targets: &Targets,
    scores: &[Vec<f32>],
) -> String {
    let mut table = String::from("id,group");
    for label in &targets.labels {
        table.push_str(&format!(",{0} truth,{0} score", quoted(label)));
    }
    table.push('\n');
    for (at, (id, group)) in ids.iter().zip(groups).enumerate() {
        table.push_str(&format!("{},{}", quoted(id), quoted(group)));
        for (label, scores) in scores.iter().enumerate() {
            let truth = targets.truth[at][label].map_or("", |truth| if truth { "1" } else { "0" });
            table.push_str(&format!(",{truth},{}", scores[at]));
        }
        table.push('\n');
    }
    table
}

/// One HTML file that needs nothing else.
pub(crate) fn page(
    subject: &Subject<'_>,
    result: &ClassificationResult,
    targets: &Targets,
    scores: &[Vec<f32>],
    cases: &[(String, String)],
) -> String {
    let mut html = begin(subject);
    table(&mut html, result).expect("writing to a string cannot fail");
    for chart in charts(result, targets, scores) {
        html.push_str(&chart.svg());
    }
    sheet(&mut html, cases, "Best is the score nearest to the truth.");
    html
}

fn table(html: &mut String, result: &ClassificationResult) -> std::fmt::Result {
    writeln!(
        html,
        "<table><tr><th>finding<th>yes<th>no<th>AUROC<th>AUPRC<th>threshold<th>sensitivity<th>specificity<th>accuracy<th>F1<th>κ"
    )?;
    for finding in &result.findings {
        write!(
            html,
            "<tr><td>{}<td>{}<td>{}{}{}<td>{:.3}{}",
            escape(&finding.name),
            finding.positive,
            finding.negative,
            cell(finding.auroc),
            cell(finding.auprc),
            finding.threshold,
            if finding.threshold_fitted { "" } else { " (not fitted)" }
        )?;
        let rest =
            [finding.sensitivity, finding.specificity, finding.accuracy, finding.f1, finding.kappa];
        writeln!(html, "{}", rest.map(cell).concat())?;
    }
    writeln!(
        html,
        "<tr><td>macro<td><td>{}<td colspan=\"7\"><tr><td>micro<td><td>{}<td colspan=\"7\"></table>",
        cell(result.macro_auroc),
        cell(result.micro_auroc)
    )
}

fn charts(result: &ClassificationResult, targets: &Targets, scores: &[Vec<f32>]) -> Vec<Chart> {
    let chart = |title: &str, x: &str, y: &str, diagonal| Chart {
        title: title.into(),
        x: x.into(),
        y: y.into(),
        curves: Vec::new(),
        diagonal,
    };
    let mut roc = chart("ROC", "1 − specificity", "sensitivity", true);
    let mut pr = chart("Precision and recall", "recall", "precision", false);
    let mut trust = chart("Reliability", "stated probability", "observed share", true);
    for (label, finding) in result.findings.iter().enumerate() {
        let (at, truth) = targets.known(label);
        let own: Vec<f32> = at.iter().map(|&at| scores[label][at]).collect();
        let ranking = Ranking::new(&own, &truth);
        let named = |what: &str, value: Option<f64>, points: Vec<(f64, f64)>, dots| Curve {
            name: match value {
                Some(value) => format!("{}: {what} {value:.3}", finding.name),
                None => finding.name.clone(),
            },
            points,
            dots,
        };
        let (auroc, auprc) = (finding.auroc.map(|e| e.value), finding.auprc.map(|e| e.value));
        let points = ranking.roc().iter().map(|p| (p.x, p.y)).collect();
        roc.curves.push(named("AUROC", auroc, points, false));
        let points = ranking.precision_recall().iter().map(|p| (p.x, p.y)).collect();
        pr.curves.push(named("AUPRC", auprc, points, false));
        let bins = reliability::curve(&own, &truth, 10);
        let points = bins.iter().map(|b| (b.stated, b.observed)).collect();
        trust.curves.push(named("calibration error", finding.calibration_error, points, true));
    }
    vec![roc, pr, trust]
}

/// A CSV field.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
