//! Tables and numbers.

use crate::Verdict;
use metrics::{Estimate, proportion::Proportion};
use std::fmt::Write;

/// The page so far.
#[derive(Default)]
pub(super) struct Page(pub(super) String);

/// A cell of a table.
pub(super) enum Cell {
    Text(String),
    Verdict(Verdict),
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::Text(text.to_string())
    }
}

impl Page {
    /// Nothing if there are no rows. The first cell of a row names it.
    pub(super) fn table(
        &mut self,
        about: &str,
        head: &[&str],
        rows: impl IntoIterator<Item = Vec<Cell>>,
    ) -> std::fmt::Result {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let about = escaped(about);
        write!(
            self.0,
            "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{about}\"><table>"
        )?;
        if head.iter().any(|name| !name.is_empty()) {
            self.0.write_str("<thead><tr>")?;
            for name in head {
                match *name {
                    "" => self.0.write_str("<td></td>")?,
                    name => write!(self.0, "<th scope=\"col\">{}</th>", escaped(name))?,
                }
            }
            self.0.write_str("</tr></thead>")?;
        }
        self.0.write_str("<tbody>")?;
        for row in rows {
            self.0.write_str("<tr>")?;
            for (at, cell) in row.iter().enumerate() {
                match (at, cell) {
                    (0, Cell::Text(text)) => {
                        write!(self.0, "<th scope=\"row\">{}</th>", escaped(text))?;
                    }
                    (_, Cell::Text(text)) => write!(self.0, "<td>{}</td>", escaped(text))?,
                    (_, Cell::Verdict(verdict)) => {
                        let (class, words) = (class(*verdict), verdict.words());
                        write!(self.0, "<td class=\"{class}\">{words}</td>")?;
                    }
                }
            }
            self.0.write_str("</tr>")?;
        }
        self.0.write_str("</tbody></table></div>\n")
    }

    pub(super) fn heading(&mut self, level: u8, text: &str) -> std::fmt::Result {
        writeln!(self.0, "<h{level}>{}</h{level}>", escaped(text))
    }

    pub(super) fn text(&mut self, text: &str) -> std::fmt::Result {
        writeln!(self.0, "<p>{}</p>", escaped(text))
    }

    pub(super) fn note(&mut self, text: &str) -> std::fmt::Result {
        writeln!(self.0, "<p class=\"dim\">{}</p>", escaped(text))
    }
}

pub(super) fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "yes",
        Verdict::Failed => "no",
        Verdict::NotShown | Verdict::NotEnoughCases => "open",
    }
}

/// `0.900 [0.782, 0.967]`
pub(super) fn estimate(found: Option<&Estimate>) -> String {
    found.map_or_else(none, ToString::to_string)
}

/// `0.900 [0.782, 0.967], 45 of 50`
pub(super) fn share(found: Option<&Proportion>) -> String {
    found.map_or_else(none, |found| format!("{}, {} of {}", found.estimate, found.hits, found.of))
}

pub(super) fn figure(found: Option<f64>) -> String {
    found.map_or_else(none, |found| format!("{found:.3}"))
}

/// With its sign.
pub(super) fn change(found: &Estimate) -> String {
    format!("{:+.3} [{:+.3}, {:+.3}]", found.value, found.low, found.high)
}

pub(super) fn none() -> String {
    "—".into()
}

/// `1, 2, 5`; the first hundred.
pub(super) fn numbers(numbers: &[u32]) -> String {
    const MOST: usize = 100;
    let shown: Vec<String> = numbers.iter().take(MOST).map(u32::to_string).collect();
    let more = numbers.len().saturating_sub(MOST);
    match (shown.is_empty(), more) {
        (true, _) => "none".into(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
