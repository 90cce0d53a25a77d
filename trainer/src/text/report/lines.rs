//! A report as lines: page breaks out, a heading in the middle of a line on a line of its own.

use super::heading::name_at_end;

/// Lines without white space around them, whatever ended them.
pub(super) fn lines(report: &str) -> Vec<String> {
    let text = report
        .replace("\r\n", "\n")
        .replace(['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
    let text = text.replace(['\u{a0}', '\t'], " ");
    let text = without_page_breaks(&text);
    text.lines().flat_map(apart).map(|line| line.trim().to_owned()).collect()
}

/// A sentence may go on over "(Over)", "FINAL REPORT", "(Cont)".
fn without_page_breaks(report: &str) -> String {
    let mut parts = report.split("(Over)").flat_map(|part| part.split("(OVER)"));
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut rest = part.trim_start();
        for title in ["FINAL REPORT", "FINAL ADDENDUM", "(Cont)", "(CONT)", "(Cont'd)"] {
            rest = rest.strip_prefix(title).unwrap_or(rest).trim_start();
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text.push_str(rest);
    }
    text
}

/// "FINDINGS: … IMPRESSION: …" → a line for each.
fn apart(line: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut begin = 0;
    for (colon, _) in line.match_indices(':') {
        if let Some(at) = name_at_end(&line[begin..colon]) {
            all.push(&line[begin..begin + at]);
            begin += at;
        }
    }
    all.push(&line[begin..]);
    all.retain(|part| !part.trim().is_empty() || line.trim().is_empty());
    all
}

/// What a line says of the text after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Title {
    Final,
    /// Read in haste, and read again in the final report.
    Preliminary,
    Addendum,
    /// A line drawn across the page.
    Ruler,
}

/// The title and what follows it on the line.
pub(super) fn title(line: &str) -> Option<(Title, &str)> {
    if line.len() > 3 && line.chars().all(|c| "_-=*".contains(c)) {
        return Some((Title::Ruler, ""));
    }
    let names = [
        ("FINAL REPORT", Title::Final),
        ("WET READ", Title::Preliminary),
        ("PRELIMINARY REPORT", Title::Preliminary),
        ("PRELIMINARY READ", Title::Preliminary),
        ("PROVISIONAL REPORT", Title::Preliminary),
        ("FINAL ADDENDUM", Title::Addendum),
        ("ADDENDUM REPORT", Title::Addendum),
    ];
    names.iter().find_map(|(name, title)| {
        let rest = line.strip_prefix(name)?;
        let whole = rest.is_empty() || rest.starts_with(|c: char| !c.is_alphanumeric());
        whole.then(|| (*title, rest.trim_start_matches([':', ' '])))
    })
}
