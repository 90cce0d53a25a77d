//! What came of a rollout: rows for programs, lines for people, a page to keep.

use super::journal::{Fared, Journal};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One row a box, in the order of the waves.
pub(super) fn rows(journal: &Journal) -> Vec<Value> {
    let waves = journal.waves().iter().enumerate();
    let boxes = waves.flat_map(|(at, wave)| wave.iter().map(move |name| (at + 1, name)));
    boxes.map(|(wave, name)| row(wave, name, journal.fared(name))).collect()
}

fn row(wave: usize, name: &str, fared: Option<&Fared>) -> Value {
    let Some(fared) = fared else {
        return json!({ "name": name, "wave": wave, "outcome": "not-begun", "good": false });
    };
    json!({
        "name": name, "wave": wave, "outcome": fared.outcome, "good": fared.outcome.is_good(),
        "detail": fared.detail, "evidence": fared.evidence, "seconds": fared.seconds,
    })
}

pub(super) fn line(row: &Value) -> String {
    let (name, outcome, detail) = (text(&row["name"]), text(&row["outcome"]), text(&row["detail"]));
    format!("wave {}  {name:20} {outcome:12} {detail}", row["wave"])
}

pub(super) fn counts(rows: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(text(&row["outcome"]).to_owned()).or_insert(0) += 1;
    }
    counts
}

/// What stands above the rows.
pub(super) struct Head<'a> {
    pub(super) bundle: &'a str,
    pub(super) sha256: &'a str,
    /// When, for people.
    pub(super) at: &'a str,
    /// Why nothing more began.
    pub(super) halted: Option<&'a str>,
}

/// One file that needs no other, readable where there is no network.
pub(super) fn page(head: &Head<'_>, rows: &[Value]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Rollout of {0}</title>\n<style>{STYLE}</style>\n\
         <h1>Rollout of {0}</h1>\n<p>SHA-256 <code>{1}</code>, {2}</p>\n",
        escaped(head.bundle),
        escaped(head.sha256),
        escaped(head.at)
    );
    if let Some(why) = head.halted {
        let _ = writeln!(page, "<p class=\"bad\">Halted: {}</p>", escaped(why));
    }
    let counts = counts(rows);
    let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    let _ = writeln!(page, "<p>{} boxes: {}</p>", rows.len(), escaped(&counts.join(", ")));
    page.push_str(
        "<table>\n<tr><th>Wave</th><th>Box</th><th>Outcome</th><th>Seconds</th><th>Detail</th></tr>\n",
    );
    rows.iter().for_each(|row| page.push_str(&table_row(row)));
    page.push_str("</table>\n</html>\n");
    page
}

const STYLE: &str = "body{font:16px/1.4 sans-serif;margin:2em;color:#222;background:#fff}\
table{border-collapse:collapse}td,th{border:1px solid #aaa;padding:.3em .6em;text-align:left;vertical-align:top}\
.bad{color:#a00;font-weight:bold}pre{white-space:pre-wrap;margin:.5em 0}";

fn table_row(row: &Value) -> String {
    let class = match text(&row["outcome"]) {
        "failed" | "unreachable" => " class=\"bad\"",
        _ => "",
    };
    let seconds = row["seconds"].as_f64().map_or_else(String::new, |s| format!("{s:.1}"));
    let evidence: Vec<_> = row["evidence"].as_array().into_iter().flatten().map(text).collect();
    let evidence = match evidence.len() {
        0 => String::new(),
        count => format!(
            "<details><summary>{count} lines of evidence</summary><pre>{}</pre></details>",
            escaped(&evidence.join("\n"))
        ),
    };
    format!(
        "<tr><td>{}</td><td>{}</td><td{class}>{}</td><td>{seconds}</td><td>{}{evidence}</td></tr>\n",
        row["wave"],
        escaped(text(&row["name"])),
        escaped(text(&row["outcome"])),
        escaped(text(&row["detail"])),
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Names and log lines come from outside.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_box_and_nothing_in_it_is_taken_for_markup() {
        let rows = [
            json!({ "name": "room-1", "wave": 1, "outcome": "confirmed", "good": true, "detail": "slot a", "seconds": 2.25 }),
            json!({
                "name": "<script>alert(1)</script>", "wave": 2, "outcome": "failed", "good": false, "detail": "a & b",
                "evidence": ["log: \"vector 3\" differs"], "seconds": 1.0,
            }),
            json!({ "name": "room-3", "wave": 2, "outcome": "not-begun", "good": false }),
        ];
        let head = Head { bundle: "chest", sha256: "ab", at: "today", halted: Some("1 failed") };
        let page = page(&head, &rows);
        for said in [
            "<td>room-1</td><td>confirmed</td><td>2.2</td><td>slot a</td>",
            "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td><td class=\"bad\">failed</td>",
            "a &amp; b<details><summary>1 lines of evidence</summary><pre>log: &quot;vector 3&quot; differs</pre>",
            "<td>room-3</td><td>not-begun</td><td></td>",
            "Halted: 1 failed",
            "3 boxes: 1 confirmed, 1 failed, 1 not-begun",
        ] {
            assert!(page.contains(said), "{said} in {page}");
        }
        assert!(!page.contains("<script"), "{page}");
    }
}
