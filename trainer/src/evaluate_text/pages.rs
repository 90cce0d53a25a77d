//! What a PRIOR checkpoint says without training, as pages and as predictions.

use super::{AtK, FindingFigures, Prompted, Retrieval, ZeroShot};
use crate::{
    measure::{
        page::{Subject, begin, cell},
        predictions::{Answer, ImageAnswer, Ranked, RankedReport, Score, ScoredFinding},
    },
    plot::escape,
};
pub(crate) fn zero_shot_answers(result: &ZeroShot) -> Vec<ImageAnswer> {
    let score = |(name, &score): (&String, &f32)| Score { name: name.clone(), score };
    let images = result.answers.iter();
    images
        .map(|image| ImageAnswer {
            id: image.id.clone(),
            patient: image.patient.clone(),
            answer: Answer::ZeroShot {
                scores: result.classes.iter().zip(&image.scores).map(score).collect(),
                truth: result.classes[image.truth].clone(),
            },
        })
        .collect()
}

pub(crate) fn prompted_answers(result: &Prompted) -> Vec<ImageAnswer> {
    let named = |at: usize| result.findings[at].name.clone();
    let images = result.answers.iter();
    images
        .map(|image| ImageAnswer {
            id: image.id.clone(),
            patient: image.patient.clone(),
            answer: Answer::Prompts {
                findings: (image.scores.iter().zip(&image.truth).enumerate())
                    .map(|(at, (&score, &truth))| ScoredFinding { name: named(at), score, truth })
                    .collect(),
            },
        })
        .collect()
}

pub(crate) fn retrieval_answers(result: &Retrieval) -> Vec<ImageAnswer> {
    let report = |(id, score): &(String, f32)| RankedReport { id: id.clone(), score: *score };
    let queries = result.queries.iter();
    queries
        .map(|query| ImageAnswer {
            id: query.id.clone(),
            patient: query.patient.clone(),
            answer: Answer::Retrieval(Ranked {
                labels: query.labels.clone(),
                report_group: query.report_group.clone(),
                ranked: query.ranked.iter().map(report).collect(),
            }),
        })
        .collect()
}

pub(crate) fn zero_shot_page(subject: &Subject<'_>, result: &ZeroShot) -> String {
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.3}"));
    let mut html = begin(subject);
    let named = [
        ("accuracy", result.accuracy),
        ("macro precision", result.macro_precision),
        ("macro recall", result.macro_recall),
        ("macro F1", result.macro_f1),
        ("κ", result.kappa),
    ];
    let row = |(name, value): (&str, Option<f64>)| format!("<tr><td>{name}<td>{}\n", number(value));
    html.push_str("<p>One class an image: the prompt that fits best.</p>\n<table>");
    html.extend(named.map(row));
    html.push_str("</table>\n<table><tr><th>class<th>AUROC against the others\n");
    for (class, area) in &result.auroc {
        html.push_str(&format!("<tr><td>{}<td>{}\n", escape(class), number(*area)));
    }
    html.push_str("</table>\n<p><small>Not for diagnostic use.</small></p>\n");
    html
}

pub(crate) fn prompted_page(subject: &Subject<'_>, result: &Prompted) -> String {
    let mut html = begin(subject);
    html.push_str(
        "<p>Each finding by its own phrases, for and against, without training.</p>\n\
         <table><tr><th>finding<th>images<th>with it<th>AUROC<th>average precision\n",
    );
    for FindingFigures { name, images, positive, auroc, average_precision } in &result.findings {
        let [auroc, precision] = [*auroc, *average_precision].map(cell);
        let name = escape(name);
        html.push_str(&format!("<tr><td>{name}<td>{images}<td>{positive}{auroc}{precision}\n"));
    }
    html.push_str("</table>\n<p><small>Not for diagnostic use.</small></p>\n");
    html
}

pub(crate) fn retrieval_page(subject: &Subject<'_>, result: &Retrieval) -> String {
    let mut html = begin(subject);
    for (name, all) in [
        ("Precision: reports with the labels of the image", &result.precision),
        ("Recall: the image's own report among the best K", &result.recall),
    ] {
        html.push_str(&format!(
            "<h2>{name}</h2>\n<table><tr><th>K<th>share<th>chance<th>above chance<th>shuffled<th>lift\n"
        ));
        for AtK { k, share, chance, above_chance, shuffled, lift } in all {
            let [share, above, lift] = [share, above_chance, lift].map(|e| cell(Some(*e)));
            html.push_str(&format!(
                "<tr><td>{k}{share}<td>{chance:.3}{above}<td>{shuffled:.3}{lift}\n"
            ));
        }
        html.push_str("</table>\n");
    }
    html.push_str(
        "<p>Shuffled is what the same rankings are worth given to every image; lift is the share less that.</p>\n\
         <p><small>Not for diagnostic use.</small></p>\n",
    );
    html
}
