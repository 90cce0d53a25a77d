//! Charts as SVG: one file, no fonts to find, the same bytes everywhere.

mod lines;
mod picture;

pub use lines::{Lines, bars};
pub use picture::img;

use std::fmt::Write;

/// A square chart of curves over `[0, 1] × [0, 1]`.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub x: String,
    pub y: String,
    pub curves: Vec<Curve>,
    /// A thin diagonal: chance, or perfect agreement.
    pub diagonal: bool,
}

#[derive(Clone, Debug)]
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Dots at the points, for few of them.
    pub dots: bool,
}

const SIDE: f64 = 300.0;
const MARGIN: f64 = 46.0;
/// Told apart by people who do not see all colours (Okabe & Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];

impl Chart {
    pub fn svg(&self) -> String {
        let legend = 15.0 * self.curves.len() as f64 + 5.0;
        let (width, height) = (SIDE + 2.0 * MARGIN, SIDE + 2.0 * MARGIN + legend);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        self.frame(&mut svg).expect("writing to a string cannot fail");
        for (at, curve) in self.curves.iter().enumerate() {
            curve.draw(&mut svg, at).expect("writing to a string cannot fail");
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn frame(&self, svg: &mut String) -> std::fmt::Result {
        let middle = MARGIN + SIDE / 2.0;
        writeln!(
            svg,
            "<text x=\"{middle}\" y=\"20\" text-anchor=\"middle\" font-size=\"13\">{}</text>",
            escape(&self.title)
        )?;
        writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            MARGIN + SIDE + 34.0,
            escape(&self.x)
        )?;
        writeln!(
            svg,
            "<text transform=\"translate(12 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(&self.y)
        )?;
        for tick in 0..=5 {
            let share = f64::from(tick) / 5.0;
            let (x, y) = place((share, share));
            writeln!(
                svg,
                "<path d=\"M{x:.1} {MARGIN}V{:.1}M{MARGIN} {y:.1}H{:.1}\" stroke=\"#ddd\"/>",
                MARGIN + SIDE,
                MARGIN + SIDE
            )?;
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{share:.1}</text>",
                MARGIN + SIDE + 15.0
            )?;
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{share:.1}</text>",
                MARGIN - 5.0,
                y + 4.0
            )?;
        }
        if self.diagonal {
            let ((x1, y1), (x2, y2)) = (place((0.0, 0.0)), place((1.0, 1.0)));
            writeln!(
                svg,
                "<path d=\"M{x1} {y1}L{x2} {y2}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>"
            )?;
        }
        Ok(())
    }
}

impl Curve {
    fn draw(&self, svg: &mut String, at: usize) -> std::fmt::Result {
        let colour = COLOURS[at % COLOURS.len()];
        let places: Vec<(f64, f64)> = self.points.iter().map(|&point| place(point)).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>",
            path.join(" ")
        )?;
        for (x, y) in places.iter().filter(|_| self.dots) {
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>")?;
        }
        let y = 2.0 * MARGIN + SIDE + 15.0 * at as f64 + 3.0;
        writeln!(svg, "<path d=\"M{MARGIN} {y}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>")?;
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\">{}</text>",
            MARGIN + 24.0,
            y + 4.0,
            escape(&self.name)
        )
    }
}

/// Shares to pixels; outside values stay on the frame.
fn place((x, y): (f64, f64)) -> (f64, f64) {
    (MARGIN + SIDE * x.clamp(0.0, 1.0), MARGIN + SIDE * (1.0 - y.clamp(0.0, 1.0)))
}

/// Text as HTML and SVG want it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_puts_the_origin_bottom_left_and_escapes_names() {
        let chart = Chart {
            title: "a < b".into(),
            x: "x".into(),
            y: "y".into(),
            curves: vec![Curve {
                name: "c".into(),
                points: vec![(0.0, 0.0), (1.0, 1.0)],
                dots: true,
            }],
            diagonal: true,
        };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("points=\"46.0,346.0 346.0,46.0\""));
        assert_eq!(svg.matches("<circle").count(), 2);
    }
}
