//! From text to sentences.

const BULLETS: [&str; 4] = ["-", "*", "•", "–"];

/// Splits a text into sentences. Blank lines and new items of a list end one; so do `.`, `?` and `!` before white space, but not
/// in abbreviations ("Dr. Smith"), enumerations ("1. No effusion"), decimals or levels ("T1-T2", "1.5 cm").
pub fn sentences(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for paragraph in paragraphs(text) {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        let mut begin = 0;
        for at in 0..words.len() {
            // "1. Clear lungs 2. No effusion"
            let next_item = item(words[begin]).map(|number| number + 1);
            if at > begin && next_item.is_some() && item(words[at]) == next_item {
                push(&mut all, &words[begin..at]);
                begin = at;
            } else if ends(&words, begin, at) {
                push(&mut all, &words[begin..=at]);
                begin = at + 1;
            }
        }
        push(&mut all, &words[begin..]);
    }
    all
}

/// Lines joined by spaces, up to a blank line or the next item of a list.
pub(super) fn paragraphs(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines().map(str::trim) {
        // "2. No effusion", "- No effusion", but not the end of "a nodule of\n3. cm".
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let begins = |c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit();
        let marked = item(first).is_some() || BULLETS.contains(&first);
        if line.is_empty() || marked && rest.trim_start().starts_with(begins) {
            all.push(String::new());
        }
        let last = all.last_mut().expect("never empty");
        if !last.is_empty() {
            last.push(' ');
        }
        last.push_str(line);
    }
    all.retain(|paragraph| !paragraph.is_empty());
    all
}

/// `3.` or `3)` → 3
fn item(word: &str) -> Option<u32> {
    let stem = word.strip_suffix(['.', ')'])?;
    (stem.len() < 3).then(|| stem.parse().ok()).flatten()
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
    // "at 9:30 p.m. by telephone"
    if ["a.m", "p.m"].contains(&lower.as_str()) {
        return next.starts_with(|c: char| c.is_ascii_uppercase());
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
    let marked = |word: &&str| numbered(word) || BULLETS.contains(word);
    let words = if words.first().is_some_and(marked) { &words[1..] } else { words };
    let sentence = words.join(" ");
    if sentence.chars().any(char::is_alphabetic) {
        all.push(sentence);
    }
}
