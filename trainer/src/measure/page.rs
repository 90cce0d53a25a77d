//! What every page of figures shares.

use crate::{index::Split, metrics::Estimate, plot::escape};
use std::{fmt::Write, path::Path};

/// What was measured, on what.
pub(crate) struct Subject<'a> {
    pub(crate) task: &'a str,
    pub(crate) checkpoint: &'a Path,
    pub(crate) data: &'a Path,
    pub(crate) split: Split,
    pub(crate) images: usize,
    pub(crate) patients: usize,
}

/// Everything up to the first table.
pub(crate) fn begin(subject: &Subject<'_>) -> String {
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
pub(crate) fn cell(estimate: Option<Estimate>) -> String {
    estimate.map_or("<td>–".into(), |Estimate { value, low, high }| {
        format!("<td>{value:.3}<br><small>[{low:.3}, {high:.3}]</small>")
    })
}

pub(crate) const OUTLINES: &str = "Green: truth. Orange: the network.";

/// Names and captions of [`super::sheet::write`].
pub(crate) fn sheet(html: &mut String, cases: &[(String, String)], legend: &str) {
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
