//! The page of boxes.

use super::figures::{ClassResult, DetectionResult};
use crate::{
    measure::page::{OUTLINES, Subject, begin, cell, sheet},
    metrics::detection::{FROC_RATES, ImageBoxes, precision_recall},
    plot::{Chart, Curve, escape},
};

pub(crate) fn page(
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
    let curve = |(class, own): (usize, &ClassResult)| Curve {
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
