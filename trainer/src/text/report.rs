//! From the text of a report to the sentences worth learning from.

/// The parts of a report that speak of the picture; empty where the report has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    pub findings: String,
    pub impression: String,
}

/// Finds FINDINGS and IMPRESSION in a report as MIMIC-CXR writes them.
///
/// A heading is capitals before a colon at the beginning of a line. Reports without either heading give
/// their last paragraph as impression, which is where dictating radiologists put it.
pub fn sections(report: &str) -> Sections {
    let mut sections = Sections::default();
    let mut target = None;
    for line in report.lines() {
        let mut text = line.trim();
        if let Some((heading, rest)) = heading(text) {
            target = part(&heading);
            text = rest;
        }
        let part = match target {
            Some(Part::Findings) => &mut sections.findings,
            Some(Part::Impression) => &mut sections.impression,
            None => continue,
        };
        part.push_str(text);
        part.push('\n');
    }
    sections.findings = sections.findings.trim().to_owned();
    sections.impression = sections.impression.trim().to_owned();
    if sections == Sections::default() {
        sections.impression = last_paragraph(report);
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
}

/// The heading of a line and what follows it.
fn heading(line: &str) -> Option<(String, &str)> {
    let (name, rest) = line.split_once(':')?;
    let name = name.trim();
    let capitals = name.chars().filter(char::is_ascii_uppercase).count();
    let plain = name.chars().all(|c| c.is_ascii_uppercase() || " ,/()&-'".contains(c));
    (capitals >= 3 && plain && name.len() <= 60).then(|| (name.to_owned(), rest.trim()))
}

fn part(heading: &str) -> Option<Part> {
    // "FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION" count as findings: they come first in the name.
    const IMPRESSION: [&str; 5] =
        ["IMPRESSION", "CONCLUSION", "OPINION", "SUMMARY", "INTERPRETATION"];
    if heading.starts_with("FINDING") {
        Some(Part::Findings)
    } else if IMPRESSION.iter().any(|name| heading.starts_with(name)) {
        Some(Part::Impression)
    } else {
        None
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
