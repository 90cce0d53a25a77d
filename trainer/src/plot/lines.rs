//! Curves over any range, and bars.

use super::{COLOURS, Curve, escape};
use std::fmt::Write;

/// A wide chart whose axes fit its curves.
#[derive(Clone, Debug)]
pub struct Lines {
    pub title: String,
    pub x: String,
    pub curves: Vec<Curve>,
    /// Named places along x, such as the beginning of a stage.
    pub marks: Vec<(f64, String)>,
}

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 34.0;
const PAGE: (f64, f64) = (LEFT + WIDTH + 14.0, TOP + HEIGHT + 40.0);

impl Lines {
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("writing to a string cannot fail");
        svg
    }

    fn draw(&self, svg: &mut String) -> std::fmt::Result {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let x = Axis::around(points().map(|p| p.0), 6);
        let y = Axis::around(points().map(|p| p.1), 5);
        let legend = if self.curves.len() > 1 { 15.0 * self.curves.len() as f64 } else { 0.0 };
        open(svg, PAGE.1 + legend, &self.title, &self.x)?;
        grid(svg, &x, &y)?;
        for (at, curve) in self.curves.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let place = |p: &(f64, f64)| {
                let (x, y) = (LEFT + WIDTH * x.share(p.0), TOP + HEIGHT * (1.0 - y.share(p.1)));
                format!("{x:.1},{y:.1}")
            };
            let path: Vec<String> = curve.points.iter().map(place).collect();
            let path = path.join(" ");
            writeln!(
                svg,
                "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
            )?;
            if legend > 0.0 {
                let (y, name) = (PAGE.1 + 15.0 * at as f64, escape(&curve.name));
                writeln!(
                    svg,
                    "<path d=\"M{LEFT} {}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>",
                    y - 4.0
                )?;
                writeln!(svg, "<text x=\"{}\" y=\"{y}\">{name}</text>", LEFT + 24.0)?;
            }
        }
        // Last, so that their names stay readable.
        for (at, name) in &self.marks {
            let place = LEFT + WIDTH * x.share(*at);
            writeln!(
                svg,
                "<path d=\"M{place:.1} {TOP}v{HEIGHT}\" stroke=\"#888\" stroke-dasharray=\"3 3\"/>"
            )?;
            let (at, name) = (place + 3.0, escape(name));
            writeln!(
                svg,
                "<text x=\"{at:.1}\" y=\"{}\" fill=\"#555\" stroke=\"white\" stroke-width=\"3\" \
                 paint-order=\"stroke\">{name}</text>",
                TOP + 10.0
            )?;
        }
        svg.push_str("</svg>\n");
        Ok(())
    }
}

/// Heights side by side, without names.
pub fn bars(title: &str, x: &str, heights: &[f64]) -> String {
    let mut svg = String::new();
    draw_bars(&mut svg, title, x, heights).expect("writing to a string cannot fail");
    svg
}

fn draw_bars(svg: &mut String, title: &str, x: &str, heights: &[f64]) -> std::fmt::Result {
    let along = Axis::around([0.0, heights.len() as f64].into_iter(), 6);
    let up = Axis::around(heights.iter().copied().chain([0.0]), 5);
    open(svg, PAGE.1, title, x)?;
    grid(svg, &along, &up)?;
    for (at, height) in heights.iter().enumerate() {
        let (left, right) = (along.share(at as f64), along.share(at as f64 + 1.0));
        let tall = HEIGHT * up.share(*height);
        writeln!(
            svg,
            "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{tall:.2}\" fill=\"{}\"/>",
            LEFT + WIDTH * left,
            TOP + HEIGHT - tall,
            (WIDTH * (right - left) * 0.9).max(0.5),
            COLOURS[0]
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(())
}

fn open(svg: &mut String, height: f64, title: &str, x: &str) -> std::fmt::Result {
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {height}\" width=\"{0}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"10\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
        PAGE.0
    )?;
    let middle = LEFT + WIDTH / 2.0;
    writeln!(
        svg,
        "<text x=\"{middle}\" y=\"20\" text-anchor=\"middle\" font-size=\"13\">{}</text>\
         <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        escape(title),
        TOP + HEIGHT + 32.0,
        escape(x)
    )
}

fn grid(svg: &mut String, x: &Axis, y: &Axis) -> std::fmt::Result {
    let bottom = TOP + HEIGHT;
    for tick in x.ticks() {
        let at = LEFT + WIDTH * x.share(tick);
        writeln!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 14.0,
            x.name(tick)
        )?;
    }
    for tick in y.ticks() {
        let at = bottom - HEIGHT * y.share(tick);
        writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}h{WIDTH}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 5.0,
            at + 3.5,
            y.name(tick)
        )?;
    }
    Ok(())
}

/// A range with round numbers along it.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// Holds all of these, in about `pieces` pieces of 1, 2 or 5 times a power of ten.
    fn around(values: impl Iterator<Item = f64>, pieces: u32) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = match (low > high, high - low) {
            (true, _) => (0.0, 1.0),
            (_, 0.0) => (low - 0.5, high + 0.5),
            _ => (low, high),
        };
        let rough = (high - low) / f64::from(pieces);
        let unit = 10_f64.powf(rough.log10().floor());
        let step =
            unit * [1.0, 2.0, 5.0, 10.0].into_iter().find(|&n| n * unit >= rough).unwrap_or(10.0);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, step }
    }

    /// 0 at the low end, 1 at the high one; outside values stay on the frame.
    fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let (low, step) = (self.low, self.step);
        (0..=((self.high - low) / step).round() as u32).map(move |n| low + f64::from(n) * step)
    }

    fn name(&self, tick: f64) -> String {
        let places = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        format!("{tick:.places$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_between_round_numbers() {
        let axis = Axis::around([0.13, 4.71].into_iter(), 5);
        assert_eq!((axis.low, axis.high, axis.step), (0.0, 5.0, 1.0));
        assert_eq!(
            axis.ticks().map(|tick| axis.name(tick)).collect::<Vec<_>>(),
            ["0", "1", "2", "3", "4", "5"]
        );
        assert_eq!(Axis::around([].into_iter(), 5).high, 1.0);
        let flat = Axis::around([3.0, 3.0, f64::NAN].into_iter(), 5);
        assert!(flat.low < 3.0 && flat.high > 3.0);
    }

    #[test]
    fn a_chart_draws_every_curve_and_mark() {
        let curve = |name: &str| Curve {
            name: name.into(),
            points: vec![(0.0, 1.0), (10.0, 2.0)],
            dots: false,
        };
        let chart = Lines {
            title: "loss".into(),
            x: "step".into(),
            curves: vec![curve("a<b"), curve("c")],
            marks: vec![(5.0, "second".into())],
        };
        let svg = chart.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a&lt;b") && svg.contains("second") && svg.ends_with("</svg>\n"));
        assert_eq!(bars("use", "prototype", &[0.5, 0.25]).matches("<rect").count(), 3);
    }
}
