//! From the text of a report to the sentences worth learning from.
//!
//! ```text
//! lines      text → lines: page breaks out, headings in the middle of a line on their own
//! heading    line → heading: findings, impression, views, a part of the body, or none of the picture's
//! sections   lines → Sections: what stands under which heading, sub-headings included
//! sentences  text → sentences
//! ```

mod heading;
mod lines;
mod sentences;
mod slip;

pub use sentences::sentences;

use heading::{Heading, Kind, heading};
use lines::{Title, lines, title};
use sentences::paragraphs;

/// The parts of a report that speak of the picture; empty where the report has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    pub findings: String,
    pub impression: String,
    /// What was added later without a heading of these two; not learned from where one of them has a text.
    pub addendum: String,
    pub basis: Basis,
}

/// How the sections were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// Nothing in the text is about the picture.
    #[default]
    Nothing,
    Headings,
    /// No heading of the picture's: the text after the last heading, as the data set's own parser takes it.
    Unheaded,
}

/// Finds FINDINGS and IMPRESSION in a report as MIMIC-CXR, and others, write them.
///
/// Findings are what stands under FINDINGS, under the views taken ("PA AND LATERAL VIEWS OF THE CHEST:") and under parts of the body
/// ("LUNGS:"); a heading that none of the other sections is known by stays inside the section it stands in. Text without a heading
/// between COMPARISON (or EXAMINATION, TECHNIQUE) and IMPRESSION is findings where there are no others. Without either section, the text
/// after the last heading is the impression, which is where dictating radiologists put it, and then what stands under COMPARISON.
/// A final report is taken before a preliminary one, and text that was added later only where nothing else is left.
pub fn sections(report: &str) -> Sections {
    let chunks = chunks(&lines(report));
    let of = |read| chunks.iter().filter(|chunk| chunk.read == read).collect::<Vec<_>>();
    let [last, opening, early, later] =
        [Read::Final, Read::Opening, Read::Preliminary, Read::Addendum].map(of);
    let mut found = headed(&last).or(headed(&opening));
    for (chunks, basis) in [
        (&last, Basis::Unheaded),
        (&opening, Basis::Unheaded),
        (&early, Basis::Headings),
        (&early, Basis::Unheaded),
    ] {
        if found.basis == Basis::Nothing {
            found = if basis == Basis::Headings { headed(chunks) } else { unheaded(chunks) };
        }
    }
    let added = headed(&later);
    append(&mut found.findings, &added.findings);
    append(&mut found.impression, &added.impression);
    found.basis = found.basis.max(added.basis);
    let without_heading = |chunk: &&Chunk| {
        let own = chunk.kind == Some(Kind::Addendum);
        own || chunk.read == Read::Addendum && matches!(chunk.kind, None | Some(Kind::Other))
    };
    for chunk in chunks.iter().filter(without_heading).filter(|chunk| is_text(&chunk.text)) {
        append(&mut found.addendum, &chunk.text);
    }
    if found.basis == Basis::Nothing && !found.addendum.is_empty() {
        found.impression = std::mem::take(&mut found.addendum);
        found.basis = Basis::Unheaded;
    }
    found
}

impl Sections {
    /// These, and for a section they do not have that of `other`.
    fn or(mut self, other: Self) -> Self {
        let sections =
            [(&mut self.findings, other.findings), (&mut self.impression, other.impression)];
        for (own, other) in sections {
            if own.is_empty() {
                *own = other;
            }
        }
        self.basis = if self.basis == Basis::Nothing { other.basis } else { self.basis };
        self
    }
}

/// Whose reading a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// Before any title.
    Opening,
    Final,
    Preliminary,
    Addendum,
}

/// A heading and what stands under it, sub-headings included.
#[derive(Debug)]
struct Chunk {
    read: Read,
    /// `None` before the first heading.
    kind: Option<Kind>,
    text: String,
    /// A sub-heading whose text is still to come.
    pending: Option<String>,
}

impl Chunk {
    fn new(read: Read, kind: Option<Kind>) -> Self {
        Self { read, kind, text: String::new(), pending: None }
    }

    fn push(&mut self, line: &str) {
        if line.is_empty() && self.pending.is_some() {
            return;
        }
        if let Some(name) = self.pending.take() {
            self.text += &format!("{name}: ");
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// "LUNGS: …" begins a paragraph; one without a text is left out.
    fn push_sub_heading(&mut self, heading: Heading<'_>) {
        self.pending = None;
        self.push("");
        self.pending = Some(heading.name.to_owned());
        if !heading.rest.is_empty() {
            self.push(heading.rest);
        }
    }

    fn is(&self, kinds: &[Kind]) -> bool {
        self.kind.is_some_and(|kind| kinds.contains(&kind))
    }
}

fn chunks(lines: &[String]) -> Vec<Chunk> {
    let mut all = vec![Chunk::new(Read::Opening, None)];
    let mut opens = true;
    for line in lines {
        let mut line = line.as_str();
        if let Some((title, rest)) = title(line) {
            all.extend(begun_by(title, all.last().expect("never empty")));
            (line, opens) = (rest, true);
            if title == Title::Preliminary {
                // Its date and reader, or its text.
                let first = all.last_mut().expect("never empty");
                first.push(rest);
                first.push("");
                continue;
            }
        }
        let last = all.last_mut().expect("never empty");
        match heading(line, opens) {
            Some(found) if found.kind == Kind::Anatomy || found.kind == Kind::Other => {
                let about_the_picture =
                    [Kind::Findings, Kind::Impression, Kind::Views, Kind::Addendum, Kind::Comment];
                if !last.is(&about_the_picture) {
                    let kind =
                        if found.kind == Kind::Anatomy { Kind::Findings } else { Kind::Other };
                    let read = last.read;
                    all.push(Chunk::new(read, Some(kind)));
                }
                all.last_mut().expect("never empty").push_sub_heading(found);
            }
            Some(found) => {
                let mut chunk = Chunk::new(last.read, Some(found.kind));
                chunk.push(found.rest);
                all.push(chunk);
            }
            None => last.push(line),
        }
        opens = line.is_empty();
    }
    all
}

/// What a title begins after `last`, if anything.
fn begun_by(title: Title, last: &Chunk) -> Option<Chunk> {
    let read = match title {
        // Page breaks repeat it.
        Title::Final if last.read == Read::Final => return None,
        Title::Final => Read::Final,
        // Some final reports quote it.
        Title::Preliminary if last.read == Read::Final => {
            return Some(Chunk::new(Read::Final, Some(Kind::Notice)));
        }
        Title::Preliminary => Read::Preliminary,
        Title::Addendum => Read::Addendum,
        Title::Ruler if [Read::Preliminary, Read::Addendum].contains(&last.read) => Read::Opening,
        Title::Ruler if last.is(&[Kind::Addendum, Kind::Notice]) => last.read,
        // Headings may be underlined.
        Title::Ruler => return None,
    };
    Some(Chunk::new(read, None))
}

/// Sections by their headings; text without one between the headings is findings where there is only an impression.
fn headed(chunks: &[&Chunk]) -> Sections {
    let mut found = Sections::default();
    for chunk in chunks {
        match chunk.kind {
            Some(Kind::Views) if is_text(&chunk.text) => append(&mut found.findings, &chunk.text),
            Some(Kind::Findings) => append(&mut found.findings, &chunk.text),
            Some(Kind::Impression) => append(&mut found.impression, &chunk.text),
            _ => {}
        }
    }
    if found.findings.is_empty() && !found.impression.is_empty() {
        let before = chunks.iter().take_while(|chunk| !chunk.is(&[Kind::Impression]));
        for paragraph in before.flat_map(|chunk| stray(chunk)) {
            append(&mut found.findings, &paragraph);
        }
    }
    if !(found.findings.is_empty() && found.impression.is_empty()) {
        found.basis = Basis::Headings;
    }
    found
}

/// Paragraphs that stand under a heading they do not belong to.
fn stray(chunk: &Chunk) -> Vec<String> {
    let skipped = match chunk.kind {
        Some(Kind::Comparison | Kind::Examination) => 1,
        None => 0,
        Some(_) => return Vec::new(),
    };
    let mut own = paragraphs(&chunk.text);
    own.drain(..skipped.min(own.len()));
    // Before the first heading stand titles too.
    own.retain(|p| is_text(p) && !is_clinical(p) && (skipped == 1 || sentences(p).len() > 1));
    own
}

/// The text after the last heading, as MIMIC-CXR's own parser takes it, or what stands under a heading of the examination.
fn unheaded(chunks: &[&Chunk]) -> Sections {
    let under = |kind| {
        let own = chunks.iter().rev().find(move |chunk| chunk.is(&[kind]) && is_text(&chunk.text));
        own.map(|chunk| paragraphs(&chunk.text).join("\n\n"))
    };
    let never = [Kind::Notice, Kind::Addendum];
    let text = chunks.iter().rev().filter(|chunk| !chunk.is(&never)).find_map(|chunk| {
        let mut own = paragraphs(&chunk.text);
        let belongs = matches!(chunk.kind, None | Some(Kind::Other | Kind::Comment));
        own.drain(..own.len().min(usize::from(!belongs)));
        own.retain(|paragraph| is_text(paragraph));
        // A case told in one paragraph says both who the patient is and what is seen.
        if !belongs || own.len() > 1 {
            own.retain(|paragraph| !is_clinical(paragraph));
        }
        (!own.is_empty()).then(|| own.join("\n\n"))
    });
    let text = text.or_else(|| under(Kind::Comparison)).or_else(|| under(Kind::Examination));
    let basis = if text.is_some() { Basis::Unheaded } else { Basis::Nothing };
    Sections { impression: text.unwrap_or_default(), basis, ..Sections::default() }
}

/// A blank line ends a sentence.
fn append(section: &mut String, text: &str) {
    let text = text.trim();
    if text.chars().any(char::is_alphabetic) {
        if !section.is_empty() {
            section.push_str("\n\n");
        }
        section.push_str(text);
    }
}

/// Small letters, or a sentence in capitals; neither a title nor a date.
fn is_text(text: &str) -> bool {
    let sentence = || text.chars().any(char::is_alphabetic) && text.trim_end().ends_with('.');
    text.chars().any(char::is_lowercase) || sentence()
}

/// "___ year old woman with cough"
fn is_clinical(paragraph: &str) -> bool {
    let text = paragraph.to_lowercase();
    ["year old", "year-old", "y/o", " yo "].iter().any(|age| text.contains(age))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
