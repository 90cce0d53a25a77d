//! Pages of segmentation and detection, and what every page shares.

use super::{detection::DetectionResult, segmentation::SegmentationResult};
use crate::{
    index::Split,
    metrics::{
        Estimate,
        detection::{FROC_RATES, ImageBoxes, precision_recall},
    },
    plot::{Chart, Curve, escape},
};
use std::{fmt::Write, path::Path};

/// What was measured, on what.
pub(super) struct Subject<'a> {
    pub(super) task: &'a str,
    pub(super) checkpoint: &'a Path,
    pub(super) data: &'a Path,
    pub(super) split: Split,
    pub(super) images: usize,
    pub(super) patients: usize,
}

/// Everything up to the first table.
pub(super) fn begin(subject: &Subject<'_>) -> String {
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Evaluation</title>\n\
         <style>body{{font-family:sans-serif;max-width:1200px;margin:2em auto;padding:0 1em}}\
         table{{border-collapse:collapse;display:block;overflow-x:auto;margin:1em 0}}\
         td,th{{padding:.2em .7em;text-align:right;vertical-align:top;white-space:nowrap}}\
         td:first-child,th:first-child{{text-align:left}}tr:nth-child(even){{background:#f4f4f4}}small{{color:#555}}\
         .sheet{{display:grid;grid-template-columns:repeat(3,max-content);gap:1em;overflow-x:auto}}\
         figure{{margin:0}}figcaption{{max-width:26em;font-size:.85em}}</style>\n\
         <h1>{}, {} split</h1>\n<p>Checkpoint {}, data {}. {} images of {} patients; brackets are 95 % intervals over resampled patients.</p>\n",
        subject.task,
        subject.split,
        escape(&subject.checkpoint.display().to_string()),
        escape(&subject.data.display().to_string()),
        subject.images,
        subject.patients
    )
}

/// The interval below its value, so that many columns fit.
pub(super) fn cell(estimate: Option<Estimate>) -> String {
    estimate.map_or("<td>–".into(), |Estimate { value, low, high }| {
        format!("<td>{value:.3}<br><small>[{low:.3}, {high:.3}]</small>")
    })
}

const OUTLINES: &str = "Green: truth. Orange: the network.";

/// Names and captions of [`super::sheet::write`].
pub(super) fn sheet(html: &mut String, cases: &[(String, String)], legend: &str) {
    html.push_str(&format!(
        "<h2>Best, median and worst cases</h2>\n<p>{legend}</p>\n<div class=\"sheet\">\n"
    ));
    for (name, caption) in cases {
        let caption = escape(caption);
        let _ = writeln!(
            html,
            "<figure><img src=\"{name}\" alt=\"{caption}\"><figcaption>{caption}</figcaption></figure>"
        );
    }
    html.push_str("</div>\n<p><small>Not for diagnostic use.</small></p>\n");
}

pub(super) fn segmentation(
    subject: &Subject<'_>,
    result: &SegmentationResult,
    dice: &[(String, Vec<f64>)],
    cases: &[(String, String)],
) -> String {
    let mut html = begin(subject);
    html.push_str(
        "<table><tr><th>region<th>images<th>without<th>threshold<th>Dice<th>IoU<th>Dice, present<th>IoU, present\n",
    );
    for region in &result.regions {
        let fitted = if region.threshold_fitted { "" } else { " (not fitted)" };
        let values = [region.dice, region.iou, region.dice_present, region.iou_present];
        html.push_str(&format!(
            "<tr><td>{}<td>{}<td>{}<td>{:.2}{fitted}{}\n",
            escape(&region.name),
            region.images,
            region.empty,
            region.threshold,
            values.map(cell).concat()
        ));
    }
    html.push_str("</table>\n");
    let curve = |(name, values): &(String, Vec<f64>)| {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let share = |at: usize| at as f64 / (sorted.len() - 1).max(1) as f64;
        let points = sorted.iter().enumerate().map(|(at, &dice)| (share(at), dice)).collect();
        Curve { name: name.clone(), points, dots: false }
    };
    let chart = Chart {
        title: "Dice of every image, worst first".into(),
        x: "share of the images".into(),
        y: "Dice".into(),
        curves: dice.iter().map(curve).collect(),
        diagonal: false,
    };
    html.push_str(&chart.svg());
    sheet(&mut html, cases, OUTLINES);
    html
}

pub(super) fn detection(
    subject: &Subject<'_>,
    result: &DetectionResult,
    images: &[ImageBoxes],
    cases: &[(String, String)],
) -> String {
    let mut html = begin(subject);
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.3}"));
    html.push_str(&format!(
        "<table><tr><th>mAP .40–.75<th>mgca-compat<th>image AUROC<th>images without a box\n<tr>{}{}{}<td>{}</table>\n",
        cell(result.map),
        cell(result.map_mgca_compat),
        cell(result.image_auroc),
        result.empty
    ));
    html.push_str(
        "<p>mgca-compat leaves out images that have no box, true or called, which flatters.</p>\n",
    );
    html.push_str("<table><tr><th>label<th>boxes<th>AP<th>AP50<th>shown from score<th>FROC, mean");
    FROC_RATES.iter().for_each(|rate| html.push_str(&format!("<th>at {rate}")));
    for class in &result.classes {
        html.push_str(&format!(
            "\n<tr><td>{}<td>{}<td>{}<td>{}<td>{}{}",
            escape(&class.name),
            class.boxes,
            number(class.ap),
            number(class.ap50),
            number(class.threshold.map(f64::from)),
            cell(class.froc_mean)
        ));
        let rates = class.froc.iter().flatten();
        rates.for_each(|sensitivity| html.push_str(&format!("<td>{sensitivity:.3}")));
    }
    html.push_str("</table>\n<p>FROC: share of the boxes whose inside holds the middle of a called one, at so many false calls an image.</p>\n");
    let all: Vec<&ImageBoxes> = images.iter().collect();
    let curve = |(class, own): (usize, &super::detection::ClassResult)| Curve {
        name: format!("{} {}", own.name, number(own.ap50)),
        points: precision_recall(&all, class, 0.5),
        dots: false,
    };
    let chart = Chart {
        title: "Precision and recall at IoU 0.5".into(),
        x: "recall".into(),
        y: "precision".into(),
        curves: result.classes.iter().enumerate().map(curve).collect(),
        diagonal: false,
    };
    html.push_str(&chart.svg());
    sheet(&mut html, cases, OUTLINES);
    html
}
