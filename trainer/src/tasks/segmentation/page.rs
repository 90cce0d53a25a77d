//! The page of regions.

use super::figures::SegmentationResult;
use crate::{
    measure::page::{OUTLINES, Subject, begin, cell, sheet},
    plot::{Chart, Curve, escape},
};

pub(crate) fn page(
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
