//! The report page: one HTML file without anything from elsewhere.

use super::{LayerError, Line};
use bundle::{Manifest, TensorRange};
use std::fmt::Write;

/// What the page shows.
pub(crate) struct Page<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) digest: &'a str,
    pub(crate) lines: &'a [Line],
    /// Worst first.
    pub(crate) layers: &'a [LayerError],
    pub(crate) split: &'a str,
    pub(crate) images: usize,
    /// Layers on integers, and all.
    pub(crate) integer: [usize; 2],
}

/// Tensors whose histogram is drawn.
const DRAWN: usize = 12;
/// Below a tenth of the signal, noise is worth a look.
const WEAK: f64 = 20.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1d2733}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.3rem 0}.dim{color:#5c6b7a}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #e3e8ee}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem}\
figure{margin:0;border:1px solid #e3e8ee;border-radius:6px;padding:.5rem}figcaption{font-size:.8rem;overflow-wrap:anywhere}svg{width:100%;height:auto;display:block}\
.bar{fill:#5a83b3}.out{fill:#fbeedd}.edge{stroke:#c9731b;stroke-width:1;stroke-dasharray:3 2}.axis{stroke:#9aa7b4;stroke-width:1}.good{fill:#5a83b3}.weak{fill:#c9731b}\
text{font:9px system-ui,sans-serif;fill:#5c6b7a}";

/// The whole page.
pub(crate) fn html(page: &Page<'_>) -> String {
    let mut out = String::new();
    write_page(&mut out, page).expect("a string takes all that is written to it");
    out
}

fn write_page(out: &mut String, page: &Page<'_>) -> std::fmt::Result {
    let Page { manifest, digest, split, images, integer: [integer, all], .. } = page;
    let title = format!("{} {}", escaped(&manifest.id), escaped(&manifest.version));
    writeln!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}: int8 against float</title><style>{STYLE}</style>"
    )?;
    writeln!(out, "<h1>{title}: int8 against float</h1>")?;
    writeln!(
        out,
        "<p>{images} images of split <b>{}</b>; {integer} of {all} layers on integers; {}.</p>\
         <p class=\"dim\">Calibrated on {} images: {}. Bundle digest {digest}</p>",
        escaped(split),
        escaped(&manifest.architecture()),
        manifest.calibration.images,
        escaped(&manifest.calibration.observer),
    )?;
    if !manifest.float_nodes.is_empty() {
        writeln!(out, "<p>In float on purpose: {}</p>", escaped(&manifest.float_nodes.join(", ")))?;
    }
    write_metrics(out, page.lines)?;
    write_layers(out, page.layers)?;
    write_histograms(out, page)?;
    writeln!(out, "<p class=\"dim\">Not for diagnostic use.</p></html>")
}

fn write_metrics(out: &mut String, lines: &[Line]) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>Metrics</h2><div class=\"wide\"><table><tr><th>task<th>metric<th class=\"n\">float<th class=\"n\">int8\
         <th class=\"n\">difference<th>95 % interval (paired bootstrap over patients)<th class=\"n\">n<th>at (float, int8)"
    )?;
    for Line { task, metric, float, int8, difference, interval: [lo, hi], n, thresholds } in lines {
        let at = thresholds.map_or(String::new(), |[float, int8]| format!("{float:.3}, {int8:.3}"));
        let float = float.map_or("-".into(), |float| format!("{float:.4}"));
        let difference = difference.map_or("-".into(), |difference| format!("{difference:+.4}"));
        writeln!(
            out,
            "<tr><td>{}<td>{}<td class=\"n\">{float}<td class=\"n\">{int8:.4}<td class=\"n\">{difference}\
             <td>{lo:+.4} to {hi:+.4}<td class=\"n\">{n}<td>{at}",
            escaped(task),
            escaped(metric)
        )?;
    }
    writeln!(out, "</table></div>")
}

/// A bar a tensor in execution-independent order: worst first.
fn write_layers(out: &mut String, layers: &[LayerError]) -> std::fmt::Result {
    const ROW: usize = 14;
    let shown = &layers[..layers.len().min(30)];
    let most = shown.iter().map(|layer| layer.sqnr_db).fold(1.0, f64::max);
    writeln!(
        out,
        "<h2>The {} worst of {} tensors</h2><p class=\"dim\">Signal to quantization noise in dB (more is better), and \
         cosine, over all images; orange below {WEAK} dB.</p><svg viewBox=\"0 0 640 {}\" role=\"img\">",
        shown.len(),
        layers.len(),
        shown.len() * ROW + 4
    )?;
    for (at, layer) in shown.iter().enumerate() {
        let (y, width) = (at * ROW, 300.0 * (layer.sqnr_db / most).max(0.0));
        let class = if layer.sqnr_db < WEAK { "weak" } else { "good" };
        writeln!(
            out,
            "<text x=\"212\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"218\" y=\"{}\" \
             width=\"{width:.1}\" height=\"9\"/><text x=\"{:.1}\" y=\"{}\">{:.1} dB, {:.5}</text>",
            y + 11,
            escaped(&layer.layer),
            y + 3,
            222.0 + width,
            y + 11,
            layer.sqnr_db,
            layer.cosine
        )?;
    }
    writeln!(out, "</svg>")
}

fn write_histograms(out: &mut String, page: &Page<'_>) -> std::fmt::Result {
    let tensors = &page.manifest.calibration.tensors;
    let drawn: Vec<&TensorRange> = page
        .layers
        .iter()
        .filter_map(|layer| tensors.iter().find(|tensor| tensor.name == layer.layer))
        .take(DRAWN)
        .collect();
    writeln!(
        out,
        "<h2>What calibration saw</h2><p class=\"dim\">Values of the {} worst tensors (counts, square-root scale); \
         shaded: clipped.</p><div class=\"grid\">",
        drawn.len()
    )?;
    drawn.into_iter().try_for_each(|tensor| write_histogram(out, tensor))?;
    writeln!(out, "</div>")
}

fn write_histogram(out: &mut String, tensor: &TensorRange) -> std::fmt::Result {
    const WIDTH: f64 = 256.0;
    const HEIGHT: f64 = 90.0;
    let TensorRange { name, min, max, scale, zero, histogram } = tensor;
    let start = f64::from(histogram.start);
    let reach = (f64::from(histogram.step) * histogram.counts.len() as f64).max(f64::MIN_POSITIVE);
    let x_of = |value: f64| ((value - start) / reach * WIDTH).clamp(0.0, WIDTH);
    // A ReLU's zeros would flatten everything else.
    let most = histogram.counts.iter().copied().filter(|&count| count > 0);
    let most = most.max().unwrap_or(1) as f64;
    writeln!(out, "<figure><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", HEIGHT + 12.0)?;
    let (left, right) = (x_of(f64::from(*min)), x_of(f64::from(*max)));
    for (x, width) in [(0.0, left), (right, WIDTH - right)] {
        writeln!(
            out,
            "<rect class=\"out\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{HEIGHT}\"/>"
        )?;
    }
    let bar = WIDTH / histogram.counts.len().max(1) as f64;
    for (at, &count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = ((count as f64 / most).sqrt() * (HEIGHT - 4.0)).max(1.0);
        writeln!(
            out,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            at as f64 * bar,
            HEIGHT - height,
            (bar - 0.5).max(0.5)
        )?;
    }
    for x in [left, right] {
        writeln!(
            out,
            "<line class=\"edge\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{HEIGHT}\"/>"
        )?;
    }
    writeln!(
        out,
        "<line class=\"axis\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\"/><text x=\"0\" y=\"{0}\">{start:.3}</text>\
         <text x=\"{WIDTH}\" y=\"{0}\" text-anchor=\"end\">{1:.3}</text></svg>\
         <figcaption>{2}<br><span class=\"dim\">{min:.3} to {max:.3}, step {scale:.5}, zero {zero}</span></figcaption></figure>",
        HEIGHT + 10.0,
        start + reach,
        escaped(name)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_cannot_become_markup() {
        assert_eq!(escaped("<b>&\"x\""), "&lt;b&gt;&amp;&quot;x&quot;");
    }
}
