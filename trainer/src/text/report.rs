//! From the text of a report to the sentences worth learning from.

/// The parts of a report that speak of the picture; empty where the report has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    pub findings: String,
    pub impression: String,
}

/// Finds FINDINGS and IMPRESSION in a report as MIMIC-CXR writes them.
///
/// A heading is capitals before a colon at the beginning of a line, or one of the two words (with a slip of the pen:
/// FINDNGS, IMRPESSION) anywhere between sentences. Without either heading, text after one that names the views
/// ("PA AND LATERAL VIEWS OF THE CHEST: …") is the findings; without that, the last paragraph is the impression, which
/// is where dictating radiologists put it.
pub fn sections(report: &str) -> Sections {
    let mut sections = Sections::default();
    let mut views = String::new();
    let mut target = None;
    for line in apart(&without_page_breaks(report)).lines() {
        let mut text = line.trim();
        if is_furniture(text) {
            continue;
        }
        if let Some((heading, rest)) = heading(text) {
            target = part(&heading);
            text = rest;
        }
        let part = match target {
            Some(Part::Findings) => &mut sections.findings,
            Some(Part::Impression) => &mut sections.impression,
            Some(Part::Views) => &mut views,
            None => continue,
        };
        part.push_str(text);
        part.push('\n');
    }
    sections.findings = sections.findings.trim().to_owned();
    sections.impression = sections.impression.trim().to_owned();
    if sections == Sections::default() {
        sections.findings = views.trim().to_owned();
        if !sections.findings.chars().any(|c| c.is_ascii_lowercase()) {
            sections = Sections { findings: String::new(), impression: last_paragraph(report) };
        }
    }
    sections
}

/// Splits a text into sentences. Blank lines end one; so do `.`, `?` and `!` before white space, but not
/// in abbreviations ("Dr. Smith"), enumerations ("1. No effusion"), decimals or levels ("T1-T2", "1.5 cm").
pub fn sentences(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for paragraph in paragraphs(text) {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        let mut begin = 0;
        for at in 0..words.len() {
            if ends(&words, begin, at) {
                push(&mut all, &words[begin..=at]);
                begin = at + 1;
            }
        }
        push(&mut all, &words[begin..]);
    }
    all
}

#[derive(Clone, Copy)]
enum Part {
    Findings,
    Impression,
    /// What was photographed: a heading over the findings where nobody wrote FINDINGS.
    Views,
}

/// Headings in the middle of a line begin a line of their own: "FINDINGS: … IMPRESSION: …".
fn apart(report: &str) -> String {
    let mut text = String::with_capacity(report.len());
    for line in report.lines() {
        let mut rest = line;
        while let Some(colon) = rest.find(':') {
            let (before, after) = rest.split_at(colon + 1);
            let word = before[..colon]
                .rsplit(|c: char| !c.is_ascii_alphabetic())
                .next()
                .unwrap_or_default();
            let (earlier, name) = before.split_at(colon - word.len());
            let capitals = word.chars().all(|c| c.is_ascii_uppercase());
            // "FINDINGS AND IMPRESSION:" is one heading.
            let between = earlier
                .trim_end()
                .chars()
                .next_back()
                .is_some_and(|c| !c.is_ascii_uppercase() && c != '/');
            if capitals && between && matches!(part(word), Some(Part::Findings | Part::Impression))
            {
                text.push_str(earlier);
                text.push('\n');
                text.push_str(name);
            } else {
                text.push_str(before);
            }
            rest = after;
        }
        text.push_str(rest);
        text.push('\n');
    }
    text
}

/// A sentence may go on over "(Over)", "FINAL REPORT", "(Cont)".
fn without_page_breaks(report: &str) -> String {
    let mut parts = report.split("(Over)");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start();
        let rest = rest.strip_prefix("FINAL REPORT").unwrap_or(rest).trim_start();
        text.truncate(text.trim_end().len());
        text.push('\n');
        text.push_str(rest.strip_prefix("(Cont)").unwrap_or(rest).trim_start());
    }
    text
}

/// Titles and rulers.
fn is_furniture(line: &str) -> bool {
    const WORDS: [&str; 2] = ["FINAL REPORT", "WET READ"];
    WORDS.contains(&line) || (line.len() > 3 && line.chars().all(|c| "_-=*".contains(c)))
}

/// The heading of a line and what follows it.
fn heading(line: &str) -> Option<(String, &str)> {
    let (name, rest) = line.split_once(':')?;
    let name = name.trim();
    // "Impression:" is written so too.
    if matches!(name, "Findings" | "Impression" | "Conclusion") {
        return Some((name.to_ascii_uppercase(), rest.trim()));
    }
    let capitals = name.chars().filter(char::is_ascii_uppercase).count();
    let plain = name.chars().all(|c| c.is_ascii_uppercase() || " ,/()&-'_.".contains(c));
    (capitals >= 3 && plain && name.len() <= 60).then(|| (name.to_owned(), rest.trim()))
}

fn part(heading: &str) -> Option<Part> {
    const IMPRESSION: [&str; 4] = ["CONCLUSION", "OPINION", "SUMMARY", "INTERPRETATION"];
    const VIEWS: [&str; 5] = ["CHEST", "RADIOGRAPH", "PORTABLE", "FRONTAL", "LATERAL"];
    const OTHER: [&str; 7] =
        ["EXAM", "STUDY", "TYPE", "COMPARISON", "INDICATION", "TECHNIQUE", "HISTORY"];
    // "FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION" count as findings: they come first in the name.
    let first = heading.split(|c: char| !c.is_ascii_uppercase()).find(|word| !word.is_empty())?;
    if heading.starts_with("FINDING") || is_slip_of(first, "FINDINGS") {
        Some(Part::Findings)
    } else if IMPRESSION.iter().any(|name| heading.starts_with(name))
        || is_slip_of(first, "IMPRESSION")
    {
        Some(Part::Impression)
    } else if OTHER.iter().any(|name| heading.starts_with(name)) {
        None
    } else {
        VIEWS.iter().any(|name| heading.contains(name)).then_some(Part::Views)
    }
}

/// The word itself, or with one letter missing, added, changed, or two neighbours exchanged.
fn is_slip_of(word: &str, right: &str) -> bool {
    let (a, b) = (word.as_bytes(), right.as_bytes());
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    match (a, b) {
        ([], []) => true,
        ([_, a @ ..], [_, b @ ..]) if a == b => true,
        ([_, a @ ..], b) | (b, [_, a @ ..]) if a == b => true,
        ([p, q, a @ ..], [r, s, b @ ..]) => (p, q) == (s, r) && a == b,
        _ => false,
    }
}

fn last_paragraph(report: &str) -> String {
    let paragraphs = paragraphs(report);
    let is_text = |p: &&String| p.chars().any(|c| c.is_ascii_lowercase());
    let last = paragraphs.iter().rev().find(is_text).cloned().unwrap_or_default();
    match heading(&last) {
        Some((_, rest)) => rest.to_owned(),
        None => last,
    }
}

fn paragraphs(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines().map(str::trim) {
        let last = all.last_mut().expect("never empty");
        if line.is_empty() {
            all.push(String::new());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(line);
        }
    }
    all.retain(|paragraph| !paragraph.is_empty());
    all
}

/// Whether the sentence that began at word `begin` ends with word `at`.
fn ends(words: &[&str], begin: usize, at: usize) -> bool {
    const ABBREVIATIONS: [&str; 15] = [
        "dr", "drs", "mr", "mrs", "ms", "prof", "st", "vs", "e.g", "i.e", "cf", "approx", "ca",
        "fig", "incl",
    ];
    let word = words[at].trim_end_matches([')', '"', '\'', ']']);
    let Some(stem) = word.strip_suffix(['.', '?', '!']) else { return false };
    let Some(next) = words.get(at + 1) else { return true };
    let stem = stem.trim_start_matches(['(', '"', '\'', '[']);
    let number = !stem.is_empty() && stem.chars().all(|c| c.is_ascii_digit());
    if number && (at == begin || next.starts_with(|c: char| c.is_ascii_lowercase())) {
        return false; // "1. Normal heart", "3. cm"
    }
    let lower = stem.to_ascii_lowercase();
    // "No." is an abbreviation before a number and a sentence otherwise.
    if lower == "no" {
        return !next.starts_with(|c: char| c.is_ascii_digit());
    }
    let initial = stem.len() == 1
        && stem.starts_with(|c: char| c.is_ascii_uppercase())
        && at > begin
        && words[at - 1].ends_with('.');
    !initial && !ABBREVIATIONS.contains(&lower.as_str())
}

/// Adds the sentence without its number; sentences without a letter are no sentences.
fn push(all: &mut Vec<String>, words: &[&str]) {
    let numbered = |word: &&str| {
        let stem = word.trim_end_matches(['.', ')']);
        stem.len() < word.len() && !stem.is_empty() && stem.chars().all(|c| c.is_ascii_digit())
    };
    let words = if words.first().is_some_and(numbered) { &words[1..] } else { words };
    let sentence = words.join(" ");
    if sentence.chars().any(char::is_alphabetic) {
        all.push(sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_and_impression_are_cut_out_of_a_mimic_report() {
        let report = "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n INDICATION:  ___F with cough\n \n FINDINGS: \n \n PA and lateral views of the chest provided.  There is no focal\n consolidation.\n\n IMPRESSION: \n \n No acute process.\n";
        let sections = sections(report);
        assert!(sections.findings.starts_with("PA and lateral"));
        assert!(sections.findings.ends_with("consolidation."));
        assert_eq!(sections.impression, "No acute process.");
    }

    #[test]
    fn the_data_sets_oddities_are_read() {
        // Both on one line.
        let one = sections("FINDINGS: Clear. Ratio 1:2 seen. IMPRESSION: Normal.");
        assert_eq!(
            (one.findings.as_str(), one.impression.as_str()),
            ("Clear. Ratio 1:2 seen.", "Normal.")
        );
        // One heading for both, in capitals or not; a slip of the pen.
        assert_eq!(sections("FINDINGS AND IMPRESSION: Clear.").findings, "Clear.");
        assert_eq!(sections("FINDINGS/IMPRESSION: Clear.").findings, "Clear.");
        assert_eq!(sections("Impression: Clear.").impression, "Clear.");
        for slip in ["IMRPESSION", "IMPRESSON", "IMPRESSIONS", "IMPRESSIIN"] {
            assert_eq!(sections(&format!(" {slip}: Clear.")).impression, "Clear.", "{slip}");
        }
        // Another section ends it; a second impression goes on.
        let two = sections("IMPRESSION: Clear.\nRECOMMENDATION(S): CT.\nIMPRESSION: Normal.");
        assert_eq!(two.impression, "Clear.\nNormal.");
        // A page break in the middle of a sentence.
        let over = sections("FINDINGS: The heart\n   (Over)\n\n FINAL REPORT\n (Cont)\n is large.");
        assert_eq!(sentences(&over.findings), ["The heart is large."]);
        // The views as heading.
        let views = sections(
            "FINAL REPORT\n HISTORY: Cough.\n\n PA AND LATERAL VIEWS OF THE CHEST:  Lungs are clear.\n\n No effusion.",
        );
        assert_eq!(views.findings, "Lungs are clear.\n\nNo effusion.");
        assert_eq!(
            sections("EXAMINATION: CHEST RADIOGRAPH\nLungs are clear.").impression,
            "CHEST RADIOGRAPH Lungs are clear."
        );
    }

    #[test]
    fn without_headings_the_last_paragraph_is_the_impression() {
        let report = "WET READ: ___ 8 PM\n\n CHEST, TWO VIEWS: ___\n\n HISTORY: cough.\n\n Lungs are clear.\n No effusion.\n";
        assert_eq!(sections(report).impression, "Lungs are clear. No effusion.");
        assert_eq!(sections("").impression, "");
    }

    #[test]
    fn abbreviations_numbers_and_levels_do_not_end_sentences() {
        let text = "Discussed with Dr. A. Smith at 3:45. 1. A 1.5 cm nodule vs. granuloma near T1-T2. 2. No effusion.\n\nheart is normal. lungs clear";
        assert_eq!(
            sentences(text),
            [
                "Discussed with Dr. A. Smith at 3:45.",
                "A 1.5 cm nodule vs. granuloma near T1-T2.",
                "No effusion.",
                "heart is normal.",
                "lungs clear",
            ]
        );
    }

    #[test]
    fn text_without_words_has_no_sentences() {
        assert!(sentences(" \n . 1. 2) ... \n").is_empty());
    }
}
