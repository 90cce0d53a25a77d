//! Drawings, as SVG within the page.

use super::elements::{Page, escaped};
use crate::{Figures, Times, WindowEffect};
use std::fmt::Write;

/// The ROC curve with its band, and the operating point with both intervals.
pub(super) fn roc(page: &mut Page, figures: &Figures) -> std::fmt::Result {
    let (x, y) = (|rate: f64| 40.0 + 240.0 * rate, |rate: f64| 250.0 - 240.0 * rate);
    let name = escaped(&figures.name);
    let auroc = figures.auroc.map_or_else(String::new, |auroc| format!(", AUROC {auroc}"));
    write!(
        page.0,
        "<figure><svg viewBox=\"0 0 290 290\" role=\"img\" aria-label=\"ROC curve of {name}{auroc}\">\
         <rect class=\"axis\" x=\"40\" y=\"10\" width=\"240\" height=\"240\"/>\
         <line class=\"chance\" x1=\"40\" y1=\"250\" x2=\"280\" y2=\"10\"/>"
    )?;
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        write!(
            page.0,
            "<text x=\"{:.0}\" y=\"266\" text-anchor=\"middle\">{tick}</text>\
             <text x=\"35\" y=\"{:.0}\" text-anchor=\"end\">{tick}</text>",
            x(tick),
            y(tick) + 4.0
        )?;
    }
    page.0.write_str(
        "<text x=\"160\" y=\"283\" text-anchor=\"middle\">1 − specificity</text>\
         <text x=\"10\" y=\"130\" text-anchor=\"middle\" transform=\"rotate(-90 10 130)\">sensitivity</text>",
    )?;
    if !figures.roc_band.is_empty() {
        let low = figures.roc_band.iter().map(|[rate, low, _]| (*rate, *low));
        let high = figures.roc_band.iter().rev().map(|[rate, _, high]| (*rate, *high));
        let points: Vec<_> =
            low.chain(high).map(|(a, b)| format!("{:.1},{:.1}", x(a), y(b))).collect();
        write!(page.0, "<polygon class=\"band\" points=\"{}\"/>", points.join(" "))?;
    }
    let points: Vec<_> =
        figures.roc.iter().map(|[a, b]| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
    write!(page.0, "<polyline class=\"curve\" points=\"{}\"/>", points.join(" "))?;
    if let Some((se, sp)) = figures.sensitivity.zip(figures.specificity) {
        let (se, sp) = (se.estimate, sp.estimate);
        let (cx, cy) = (x(1.0 - sp.value), y(se.value));
        write!(
            page.0,
            "<line class=\"point\" x1=\"{cx:.1}\" x2=\"{cx:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
             <line class=\"point\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{cy:.1}\" y2=\"{cy:.1}\"/>\
             <circle class=\"point\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"/>",
            y(se.low),
            y(se.high),
            x(1.0 - sp.high),
            x(1.0 - sp.low),
        )?;
    }
    page.0.write_str(
        "</svg><figcaption>ROC with the band that holds 95 % of the resamples of patients at each rate; the cross is \
         the operating point with both exact intervals.</figcaption></figure>\n",
    )
}

/// Each image's change of probability, a row for each setting.
pub(super) fn window_effect(
    page: &mut Page,
    windows: &[WindowEffect],
    finding: &str,
) -> std::fmt::Result {
    let changes = |effect: &WindowEffect| {
        let own = effect.findings.iter().find(|change| change.name == finding);
        own.map(|own| own.changes.clone()).unwrap_or_default()
    };
    let x = |change: f64| 190.0 + 80.0 * change;
    let height = 26 * windows.len() + 34;
    let name = escaped(finding);
    write!(
        page.0,
        "<figure><svg viewBox=\"0 0 290 {height}\" role=\"img\" \
         aria-label=\"Change of the probability of {name} with each window setting\">\
         <line class=\"chance\" x1=\"190\" x2=\"190\" y1=\"4\" y2=\"{}\"/>",
        height - 26
    )?;
    for (at, effect) in windows.iter().enumerate() {
        let y = 26 * at + 16;
        let setting = escaped(&effect.setting);
        write!(page.0, "<text x=\"4\" y=\"{}\">{setting}</text>", y + 4)?;
        for change in changes(effect) {
            let x = x(f64::from(change));
            write!(page.0, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y}\" r=\"3\"/>")?;
        }
    }
    for tick in [-1.0, -0.5, 0.0, 0.5, 1.0] {
        let (x, y) = (x(tick), height - 8);
        write!(page.0, "<text x=\"{x:.0}\" y=\"{y}\" text-anchor=\"middle\">{tick:+}</text>")?;
    }
    writeln!(
        page.0,
        "</svg><figcaption>{name}: change of the probability, a point for each image.</figcaption></figure>"
    )
}

/// How often which time.
pub(super) fn times(page: &mut Page, times: &Times) -> std::fmt::Result {
    const BARS: usize = 24;
    let top = times.longest.max(1e-6);
    let mut counts = [0usize; BARS];
    for seconds in &times.all {
        let at = (f64::from(*seconds) / top * BARS as f64) as usize;
        counts[at.min(BARS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    write!(
        page.0,
        "<figure><svg viewBox=\"0 0 290 170\" role=\"img\" aria-label=\"Times to the result: median {:.3} s, \
         95th percentile {:.3} s, longest {:.3} s\">\
         <line class=\"axis\" x1=\"30\" x2=\"280\" y1=\"140\" y2=\"140\"/>",
        times.median, times.p95, times.longest
    )?;
    for (at, count) in counts.iter().enumerate() {
        let (x, height) = (30.0 + 250.0 / BARS as f64 * at as f64, 125.0 * *count as f64 / most);
        write!(
            page.0,
            "<rect class=\"bar\" x=\"{x:.1}\" y=\"{:.1}\" width=\"9\" height=\"{height:.1}\"/>",
            140.0 - height
        )?;
    }
    for (name, seconds) in [("median", times.median), ("p95", times.p95)] {
        let x = 30.0 + 250.0 * seconds / top;
        write!(
            page.0,
            "<line class=\"point\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"12\" y2=\"140\"><title>{name}</title></line>"
        )?;
    }
    writeln!(
        page.0,
        "<text x=\"26\" y=\"19\" text-anchor=\"end\">{most:.0}</text><text x=\"30\" y=\"156\">0 s</text>\
         <text x=\"280\" y=\"156\" text-anchor=\"end\">{:.3} s</text></svg>\
         <figcaption>Seconds from the announcement of the C-STORE to the result on disk. The lines are the median and \
         the 95th percentile.</figcaption></figure>",
        times.longest
    )
}
