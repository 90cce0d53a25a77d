//! The report as one HTML file, without anything from elsewhere.

use super::{
    agreement::{FindingSummary, Summary},
    figures::{called, difference, figure, times},
    pair::Pair,
};
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1d2733}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}.dim{color:#5c6b7a}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:right;padding:.25rem .75rem .25rem 0;\
border-bottom:1px solid #e3e8ee;font-variant-numeric:tabular-nums}th:first-child{text-align:left}\
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem}figure{margin:0}figcaption{font-size:.85rem}\
svg{width:100%;height:auto;background:#f6f8fa}circle{fill:#2f5f96;fill-opacity:.45}.mean{stroke:#1d2733}.limit{stroke:#b4530a;stroke-dasharray:4 3}.zero{stroke:#9aa7b4}";

/// Points in a drawing: the newest.
const MOST_POINTS: usize = 2000;

pub(super) fn page(summary: &Summary, pairs: &[Pair]) -> String {
    let mut out = String::new();
    write(&mut out, summary, pairs).expect("a string takes all that is written to it");
    out
}

fn write(out: &mut String, summary: &Summary, pairs: &[Pair]) -> std::fmt::Result {
    let [answer, shadow] = summary.bundles.each_ref().map(|bundle| escaped(&called(bundle)));
    let [first, last] = summary.span.clone().unwrap_or_default();
    let [ours, theirs] = summary.milliseconds.each_ref().map(|t| times(t.as_ref()));
    write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Shadow: {shadow}</title><style>{STYLE}</style></head><body><main>\
         <h1>How far two bundles agree</h1><p><b>{answer}</b> answered. <b>{shadow}</b> looked at the same images.</p>\
         <p>{} images, {} to {}; {} of them the second one did not analyse.</p>\
         <p>An image took {ours}; and {theirs}.</p><p class=\"dim\">Digests: {} and {}</p>",
        summary.pairs,
        escaped(&first),
        escaped(&last),
        summary.not_analysed,
        escaped(&summary.bundles[0].digest),
        escaped(&summary.bundles[1].digest),
    )?;
    findings(out, summary)?;
    table(
        out,
        "Masks",
        &["mask", "images", "mean Dice", "lowest Dice", "empty in both"],
        summary.masks.iter().map(|row| {
            let [mean, lowest] = [row.mean_dice, row.lowest_dice].map(figure);
            vec![row.name.clone(), row.n.to_string(), mean, lowest, row.both_empty.to_string()]
        }),
    )?;
    table(
        out,
        "Boxes",
        &["boxes", "both", "only the first", "only the second", "mean IoU of both"],
        summary.boxes.iter().map(|row| {
            let counts = [row.same, row.only_answer, row.only_shadow].map(|n| n.to_string());
            [vec![row.name.clone()], counts.to_vec(), vec![figure(row.mean_iou)]].concat()
        }),
    )?;
    drawings(out, summary, pairs)?;
    out.write_str("<p class=\"dim\">Not for diagnostic use.</p></main></body></html>\n")
}

fn findings(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let head = [
        "finding",
        "images",
        "both positive",
        "only the first",
        "only the second",
        "neither",
        "Cohen's κ",
        "second less first [95 % limits]",
    ];
    table(
        out,
        "Findings",
        &head,
        summary.findings.iter().map(|row| {
            let counts =
                [row.n, row.both_positive, row.only_answer, row.only_shadow, row.both_negative];
            let mut cells = vec![row.name.clone()];
            cells.extend(counts.map(|n| n.to_string()));
            cells.extend([figure(row.kappa), difference(&row.difference)]);
            cells
        }),
    )
}

/// Nothing if there are no rows.
fn table(
    out: &mut String,
    title: &str,
    head: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> std::fmt::Result {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    write!(out, "<h2>{title}</h2><div class=\"wide\"><table><thead><tr>")?;
    for name in head {
        write!(out, "<th scope=\"col\">{name}</th>")?;
    }
    out.write_str("</tr></thead><tbody>")?;
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let cell = escaped(cell);
            match at {
                0 => write!(out, "<tr><th scope=\"row\">{cell}</th>")?,
                _ => write!(out, "<td>{cell}</td>")?,
            }
        }
        out.write_str("</tr>")?;
    }
    out.write_str("</tbody></table></div>")
}

/// Bland and Altman's drawing of each finding: difference of the probabilities over their mean.
fn drawings(out: &mut String, summary: &Summary, pairs: &[Pair]) -> std::fmt::Result {
    if summary.findings.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<h2>Differences</h2><p>Each point is an image: across, the mean of the two probabilities; up, that of the \
         second bundle less that of the first. The dashed lines hold 95 % of the images between them, if the \
         differences are normal.</p><div class=\"grid\">",
    )?;
    for row in &summary.findings {
        drawing(out, row, pairs)?;
    }
    out.write_str("</div>")
}

/// From 0 to 1 across, from −1 to 1 up.
fn drawing(out: &mut String, row: &FindingSummary, pairs: &[Pair]) -> std::fmt::Result {
    let y = |difference: f64| 100.0 - 95.0 * difference;
    let name = escaped(&row.name);
    write!(
        out,
        "<figure><svg viewBox=\"0 0 200 200\" role=\"img\" aria-label=\"{name}: {}\">\
         <line class=\"zero\" x1=\"0\" x2=\"200\" y1=\"100\" y2=\"100\"/>",
        difference(&row.difference)
    )?;
    let limits = row.difference.limits.into_iter().flatten().map(|limit| ("limit", limit));
    for (class, value) in limits.chain([("mean", row.difference.mean)]) {
        let y = y(value);
        write!(out, "<line class=\"{class}\" x1=\"0\" x2=\"200\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>")?;
    }
    let judged = pairs.iter().rev().flat_map(|pair| &pair.findings).filter(|f| f.name == row.name);
    for [a, b] in judged.take(MOST_POINTS).map(|found| found.probability.map(f64::from)) {
        write!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\"/>", 100.0 * (a + b), y(b - a))?;
    }
    write!(out, "</svg><figcaption>{name}</figcaption></figure>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::{agreement::Agreement, pair::tests::record};
    use super::*;

    #[test]
    fn the_page_shows_every_figure_and_takes_names_as_text() {
        let says = |digest, p| record(digest, &[("<b>Edema</b>", p)], &[1, 0], &[5.0]);
        let pairs: Vec<Pair> = [(0.2, 0.4), (0.9, 0.6)]
            .map(|(a, b)| Pair::of(1, "t".into(), &says("aaaa", a), &says("bbbb", b)).unwrap())
            .into();
        let mut agreement = Agreement::new(pairs[0].bundles.clone());
        pairs.iter().for_each(|pair| agreement.add(pair));
        let page = page(&agreement.summary(), &pairs);
        for expected in ["aaaa", "bbbb", "&lt;b&gt;Edema", "lung", "nodule", "-0.050 [", "1.000"] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert_eq!(page.matches("<circle").count(), 2);
        // 0.4 − 0.2 of the first: up; and the mean of both, 0.3, across.
        assert!(page.contains("cx=\"60.0\" cy=\"81.0\""), "{page}");
        assert!(!page.contains("<b>Edema"), "{page}");
    }
}
