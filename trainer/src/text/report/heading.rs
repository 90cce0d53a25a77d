//! What the headings of a report mean.

use super::slip::is_slip_of;

/// What stands under a heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Findings,
    Impression,
    /// Said of the pictures taken ("PA AND LATERAL VIEWS OF THE CHEST:"): findings, unless only a date follows.
    Views,
    /// Part of the body or device: a sub-heading, or findings where nothing else was begun.
    Anatomy,
    Comparison,
    /// Which pictures were taken, how and when.
    Examination,
    /// Why they were taken.
    Clinical,
    Addendum,
    Comment,
    /// Who was told, who signed, what is advised: never about the picture alone.
    Notice,
    /// None of these.
    Other,
}

/// Words of headings, with a space between.
type Words = &'static str;

const CONCLUSIONS: Words = "CONCLUSION CONCLUSIONS OPINION SUMMARY INTERPRETATION IMP";
/// As the whole heading only: "REPORT DATE" is neither.
const FINDINGS_ALONE: Words =
    "DESCRIPTION OBSERVATION OBSERVATIONS NARRATIVE REPORT RESULT RESULTS DISCUSSION";
const IMPRESSION_ALONE: Words = "DIAGNOSIS ASSESSMENT";
const VIEWS: Words = "CHEST THORAX RADIOGRAPH RADIOGRAPHS RADIOGRAPHY RAY RAYS XRAY XR CXR FILM FILMS PORTABLE BEDSIDE \
    FRONTAL LATERAL VIEW VIEWS PROJECTION PROJECTIONS UPRIGHT ERECT SUPINE DECUBITUS LORDOTIC AP PA LAT WINDOW WINDOWS RIB RIBS";
const ANATOMY: Words = "LUNG LUNGS PULMONARY PARENCHYMA AIRWAY AIRWAYS TRACHEA BRONCHI PLEURA PLEURAL EFFUSION EFFUSIONS \
    PNEUMOTHORAX HEART CARDIAC CARDIOMEDIASTINAL CARDIOMEDIASTINUM CARDIOVASCULAR MEDIASTINUM MEDIASTINAL SILHOUETTE \
    CONTOUR CONTOURS HILUM HILA HILAR AORTA AORTIC VASCULAR VASCULARITY VASCULATURE VESSELS GREAT DIAPHRAGM DIAPHRAGMS \
    HEMIDIAPHRAGM HEMIDIAPHRAGMS ABDOMEN STOMACH BONES BONY OSSEOUS SKELETON SKELETAL MUSCULOSKELETAL SPINE \
    SHOULDERS CLAVICLES SOFT TISSUE TISSUES WALL STRUCTURES LINES TUBES CATHETERS DEVICES HARDWARE BASES";
/// Words between those of [`VIEWS`] and [`ANATOMY`] in a heading.
const BETWEEN: Words = "OF THE AND WITH IN OTHER ONE TWO THREE SINGLE SEMI X DIGITAL STANDARD PLAIN UPPER LOWER LEFT RIGHT \
    BILATERAL VISUALIZED SIZE SUPPORT BONE";
/// Wherever they stand in a heading, it is this kind.
const CLINICAL: Words =
    "INDICATION INDICATIONS HISTORY REASON CLINICAL COMPLAINT SYMPTOMS PFI PRESENTATION ADMITTING";
const NOTICE: Words = "NOTIFICATION NOTIFICATIONS NOTIFIED COMMUNICATION COMMUNICATED \
    SIGNED SIGNATURE DICTATED TRANSCRIBED ELECTRONICALLY DISCLAIMER ATTESTATION";
const ADVICE: Words = "RECOMMENDATION RECOMMENDATIONS RECOMMENDED";
/// As the first word only.
const NOTICE_FIRST: Words = "ATTENDING RESIDENT FELLOW RADIOLOGIST PHYSICIAN DOCTOR DR READ READER REPORTED APPROVED \
    VERIFIED INTERPRETED REVIEWED FINALIZED CC PHONE FAX CPT ICD BILLING FOLLOW FOLLOWUP PLAN ADVICE SUGGESTION NOTE \
    NOTES WET WETREAD CRITICAL";
const EXAMINATION_FIRST: Words = "EXAM EXAMS EXAMINATION EXAMINATIONS STUDY STUDIES PROCEDURE PROCEDURES TYPE TECHNIQUE \
    TECHNICAL PROTOCOL MODALITY DATE TIME ORDER ORDERING ACCESSION CONTRAST DOSE NUMBER PATIENT NAME MRN AGE SEX";
const COMPARISON_FIRST: Words = "COMPARED REFERENCE PRIOR PRIORS PREVIOUS";
/// Headings long enough to be known when misspelt.
const MISSPELT: [(Words, Kind); 6] = [
    ("CONCLUSION CONCLUSIONS INTERPRETATION", Kind::Impression),
    ("INDICATION", Kind::Clinical),
    ("COMPARISON COMPARISONS", Kind::Comparison),
    ("EXAMINATION TECHNIQUE", Kind::Examination),
    ("RECOMMENDATION RECOMMENDATIONS NOTIFICATION", Kind::Notice),
    ("ADDENDUM", Kind::Addendum),
];
/// Headings that are also known without capitals or without a colon, by their whole name; with a bar between.
const BY_NAME: &str = "FINDINGS|FINDING|IMPRESSION|IMPRESSIONS|CONCLUSION|CONCLUSIONS|OPINION|SUMMARY|INTERPRETATION|\
    FINDINGS AND IMPRESSION|FINDINGS/IMPRESSION|FINDINGS / IMPRESSION|FINDINGS & IMPRESSION|IMPRESSION AND FINDINGS|\
    IMPRESSION/FINDINGS|INDICATION|INDICATIONS|HISTORY|CLINICAL HISTORY|CLINICAL INDICATION|CLINICAL INFORMATION|\
    CLINICAL DETAILS|CLINICAL QUESTION|PATIENT HISTORY|REASON FOR EXAM|REASON FOR EXAMINATION|REASON FOR STUDY|\
    COMPARISON|COMPARISONS|TECHNIQUE|EXAM|EXAMINATION|TYPE OF EXAMINATION|TYPE OF EXAM|PROCEDURE|STUDY|\
    RECOMMENDATION|RECOMMENDATIONS|RECOMMENDATION(S)|NOTIFICATION|NOTIFICATIONS|ADDENDUM|COMMENT";

fn is_in(list: Words, word: &str) -> bool {
    list.split(' ').any(|own| own == word)
}

/// What a heading (in capitals) is of. Where it names several kinds, the order below decides.
pub(super) fn kind(heading: &str) -> Kind {
    let words: Vec<&str> = words(heading).collect();
    let (Some(&first), Some(&last)) = (words.first(), words.last()) else { return Kind::Other };
    let any = |list| words.iter().any(|word| is_in(list, word));
    if any(NOTICE) {
        return Kind::Notice;
    }
    // "FINDINGS AND IMPRESSION": what is named first; what a doctor found before the picture is none.
    let main = words.iter().find_map(|word| main(word)).filter(|_| first != "CLINICAL");
    if let Some(kind) = main {
        kind
    } else if any("ADDENDUM ADDENDA") {
        Kind::Addendum
    } else if any(ADVICE) || is_in(NOTICE_FIRST, first) {
        Kind::Notice
    } else if any(CLINICAL) {
        Kind::Clinical
    } else if any(CONCLUSIONS) || is_in(IMPRESSION_ALONE, last) {
        Kind::Impression
    } else if words.len() == 1 && is_in(FINDINGS_ALONE, first) {
        Kind::Findings
    } else if any("COMPARISON COMPARISONS") || is_in(COMPARISON_FIRST, first) {
        Kind::Comparison
    } else if is_in(EXAMINATION_FIRST, first)
        || ["VIEWS", "VIEW S"].contains(&words.join(" ").as_str())
    {
        Kind::Examination
    } else if any("COMMENT COMMENTS") {
        Kind::Comment
    } else if any("WALL") || words.iter().all(|word| is_in(ANATOMY, word) || is_in(BETWEEN, word)) {
        Kind::Anatomy
    } else if any(VIEWS) {
        Kind::Views
    } else if let Some(kind) = words.iter().find_map(|word| misspelt(word)) {
        kind
    } else if any(ANATOMY) {
        Kind::Anatomy
    } else if is_in(EXAMINATION_FIRST, last) {
        Kind::Examination
    } else {
        Kind::Other
    }
}

fn main(word: &str) -> Option<Kind> {
    let slip = |list: Words| list.split(' ').any(|right| is_slip_of(word, right));
    if is_in("FINDINGS FINDING", word) || slip("FINDINGS") {
        return Some(Kind::Findings);
    }
    slip("IMPRESSION IMPRESSIONS").then_some(Kind::Impression)
}

fn misspelt(word: &str) -> Option<Kind> {
    let slip = |(list, _): &&(Words, Kind)| list.split(' ').any(|right| is_slip_of(word, right));
    MISSPELT.iter().find(slip).map(|(_, kind)| *kind)
}

fn names() -> impl Iterator<Item = &'static str> {
    BY_NAME.split('|')
}

fn words(heading: &str) -> impl Iterator<Item = &str> {
    heading.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty())
}

/// A heading at the beginning of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heading<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a str,
    /// What follows it on the line.
    pub(super) rest: &'a str,
}

/// The heading a line begins with: capitals before a colon ("LUNGS AND PLEURA:"), the name of a section however it is written
/// ("Impression:"), or one in capitals without a colon ("FINDINGS The lungs are clear."). `opens` says that the line before is
/// empty: only then is "Findings", alone on a line, a heading.
pub(super) fn heading(line: &str, opens: bool) -> Option<Heading<'_>> {
    let line = line.trim_matches(|c: char| c.is_whitespace() || "*#>".contains(c));
    signature(line).or_else(|| with_colon(line)).or_else(|| without_colon(line, opens))
}

fn with_colon(line: &str) -> Option<Heading<'_>> {
    // Times ("9:12"), ratios and levels have no space after the colon.
    let colon = line.match_indices(':').map(|(at, _)| at).find(|&at| {
        line[at + 1..].chars().next().is_none_or(|c| c.is_whitespace() || "_*:".contains(c))
    });
    let colon = colon.or_else(|| line.find(':').filter(|&at| by_name(line[..at].trim())))?;
    let (name, rest) =
        (line[..colon].trim_matches(|c: char| c.is_whitespace() || c == '*'), &line[colon + 1..]);
    let rest =
        rest.trim_matches(|c: char| c.is_whitespace() || c == '*').trim_start_matches([':', ' ']);
    let is_heading = in_capitals(name) || by_name(name) || of_one_vocabulary(name);
    is_heading.then(|| Heading { kind: kind(&name.to_ascii_uppercase()), name, rest })
}

/// At most 80 letters, none of them small: "CHEST (PA AND LAT)", "PORTABLE AP CHEST, ___".
fn in_capitals(name: &str) -> bool {
    let capitals = name.chars().filter(char::is_ascii_uppercase).count();
    let plain = name
        .chars()
        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || " ,/()&-'_.+#:".contains(c));
    let short = ["AP", "PA", "XR", "CR"].contains(&name);
    (capitals >= 3 || short)
        && plain
        && name.len() <= 80
        && ![". ", ": "].iter().any(|end| name.contains(end))
}

fn by_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    if names().any(|own| own == upper) {
        return true;
    }
    // "Chest X-ray findings", "Impression/Plan", "Radiologist impression".
    let words: Vec<&str> = words(&upper).collect();
    let main = |word: Option<&&str>| word.is_some_and(|word| is_in("FINDINGS IMPRESSION", word));
    let plain = name.chars().all(|c| c.is_ascii_alphabetic() || " ,/()&-'".contains(c));
    plain
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && words.len() < 5
        && !words.iter().any(|word| is_in("THE THESE THIS OTHER NO", word))
        && (main(words.first()) || main(words.last()))
}

/// "Electronically signed by Dr. ___": a line that ends the text, with or without a colon.
fn signature(line: &str) -> Option<Heading<'_>> {
    const BEGINNINGS: [&str; 7] = [
        "electronically signed",
        "signed by",
        "dictated by",
        "reported by",
        "transcribed by",
        "approved by",
        "verified by",
    ];
    let begins =
        |words: &str| line.get(..words.len()).is_some_and(|own| own.eq_ignore_ascii_case(words));
    let signed = BEGINNINGS.into_iter().any(begins);
    signed.then_some(Heading { kind: Kind::Notice, name: line, rest: "" })
}

/// "Lungs and pleura", "Frontal and lateral views of the chest": nothing but words of headings.
fn of_one_vocabulary(name: &str) -> bool {
    if !name.starts_with(|c: char| c.is_ascii_uppercase()) || name.len() > 80 {
        return false;
    }
    let upper = name.to_ascii_uppercase();
    let words: Vec<&str> = words(&upper).collect();
    let only = |list| words.iter().all(|word| is_in(list, word) || is_in(BETWEEN, word));
    let some = |list| words.iter().filter(|word| is_in(list, word)).count();
    let plain = name.chars().all(|c| c.is_ascii_alphabetic() || " ,/()&-".contains(c));
    plain && (only(ANATOMY) && some(ANATOMY) > 0 || only(VIEWS) && some(VIEWS) > 1)
}

fn without_colon(line: &str, opens: bool) -> Option<Heading<'_>> {
    let end = |c: char| c.is_whitespace() || ".;-–—=>".contains(c);
    // Alone on the line.
    let alone = line.trim_end_matches(end);
    let upper = alone.to_ascii_uppercase();
    let misspelt = || alone == upper && !alone.contains(' ') && main(alone).is_some();
    let capital = alone.starts_with(|c: char| c.is_ascii_uppercase());
    if (alone == upper || opens) && capital && names().any(|own| own == upper) || misspelt() {
        return Some(Heading { kind: kind(&upper), name: alone, rest: "" });
    }
    // Before the text: the longest name the line begins with, and then anything but more capitals.
    // "IMPRESSION OF THE HEART ON …" is no heading, "IMPRESSION A nodule" is one.
    let begins = |name: &&str| {
        let Some(rest) = line.strip_prefix(*name) else { return false };
        let text = rest.trim_start();
        let next = text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        let dash = text.starts_with(['-', '–', '—', ';', '.', '=']);
        let more = !dash && next.len() > 1 && next.chars().all(|c| c.is_ascii_uppercase());
        rest.starts_with(end) && !more
    };
    let name = names().filter(begins).max_by_key(|name| name.len())?;
    let (name, rest) = line.split_at(name.len());
    Some(Heading { kind: kind(name), name, rest: rest.trim_start_matches(end) })
}

/// Where, in the text before a colon, the name of a section begins if it ends the text: "… effusion. IMPRESSION", "… effusion.
/// Clinical history". A text that is capitals throughout is one heading.
pub(super) fn name_at_end(text: &str) -> Option<usize> {
    let text = text.trim_end();
    let upper = text.to_ascii_uppercase();
    let before = |name: &str| upper.strip_suffix(name).map(str::len).map(|at| (at, &text[..at]));
    let fits = |name: &&str| {
        let Some((at, before)) = before(name) else { return false };
        if text.ends_with(name) {
            return !before.ends_with(|c: char| c.is_alphanumeric() || "-/&".contains(c));
        }
        let sentence_ended = before.trim_end().ends_with(['.', '?', '!', ';', ')', '_', ']']);
        text[at..].starts_with(|c: char| c.is_ascii_uppercase())
            && (before.trim().is_empty() || sentence_ended && before.ends_with(char::is_whitespace))
    };
    let name = names().filter(fits).max_by_key(|name| name.len());
    let at = name.map(|name| text.len() - name.len()).or_else(|| {
        let word = text.rsplit(|c: char| !c.is_ascii_uppercase()).next().unwrap_or_default();
        let at = text.len() - word.len();
        let whole = !text[..at].ends_with(|c: char| c.is_alphanumeric() || "-/&".contains(c));
        (whole && word.len() > 6 && main(word).is_some()).then_some(at)
    })?;
    (at == 0 || !in_capitals(text)).then_some(at)
}
