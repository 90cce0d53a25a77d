//! QIDO-RS (PS3.18 10.6): a question as a path, and what DICOM JSON answers. No I/O.

use crate::dicom::query::{Answer, BadAnswer, MOST_ANSWERS, Question, StudyName};
use dicom_core::Tag;
use serde_json::Value;

/// What follows the path of the server's studies.
pub(crate) fn path(question: &Question) -> String {
    match question {
        Question::Study(StudyName::Uid(uid)) => format!("?StudyInstanceUID={uid}"),
        Question::Study(StudyName::Accession(number)) => {
            // For a query (RFC 3986): what is not unreserved is escaped.
            let escaped = |b: u8| match b {
                b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
                b => format!("%{b:02X}"),
            };
            format!("?AccessionNumber={}", number.bytes().map(escaped).collect::<String>())
        }
        Question::SeriesOf { study } => format!("/{study}/series"),
        Question::ImagesOf { study, series } => format!("/{study}/series/{series}/instances"),
    }
}

/// Reads an answer's body: a list of data sets in DICOM JSON (PS3.18 annex F). Those about something else are dropped.
pub(crate) fn answers(body: &[u8], question: &Question) -> Result<Vec<Answer>, BadAnswer> {
    let bad = |why: &str| BadAnswer::Json(why.to_owned());
    let list: Value = serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))?;
    let list = list.as_array().ok_or_else(|| bad("expected a list of data sets"))?;
    if list.len() > MOST_ANSWERS {
        return Err(BadAnswer::Many);
    }
    let mut answers = Vec::new();
    for set in list {
        let set = set.as_object().ok_or_else(|| bad("expected a list of data sets"))?;
        let value = |tag: Tag| {
            let name = format!("{:04X}{:04X}", tag.group(), tag.element());
            Some(set.get(&name)?["Value"][0].as_str()?.to_owned())
        };
        let answer = Answer::of(value)?;
        if answer.is_about(question) {
            answers.push(answer);
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uid::Uid;
    use proptest::prelude::*;

    fn by_number(text: &str) -> Question {
        Question::Study(StudyName::Accession(text.into()))
    }

    #[test]
    fn a_question_is_a_path_in_which_nothing_is_left_to_be_understood_otherwise() {
        let [study, series] = ["1.2.3", "1.2.3.4"].map(|uid| Uid::parse(uid).unwrap());
        assert_eq!(path(&by_number("A 7&x=#/")), "?AccessionNumber=A%207%26x%3D%23%2F");
        assert_eq!(
            path(&Question::Study(StudyName::Uid(study.clone()))),
            "?StudyInstanceUID=1.2.3"
        );
        let images = Question::ImagesOf { study, series };
        assert_eq!(path(&images), "/1.2.3/series/1.2.3.4/instances");
    }

    #[test]
    fn answers_about_other_studies_are_dropped_and_what_is_no_list_is_refused() {
        let body = br#"[
            {"00080050":{"vr":"SH","Value":["A7"]},"0020000D":{"vr":"UI","Value":["1.2"]}},
            {"00080050":{"vr":"SH","Value":["A77"]},"0020000D":{"vr":"UI","Value":["1.3"]}},
            {"0020000D":{"vr":"UI"}}, {}
        ]"#;
        let found = answers(body, &by_number("A7")).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].study.as_ref().map(Uid::as_str), Some("1.2"));
        assert!(answers(b"[]", &by_number("A7")).unwrap().is_empty());
        let said = |body: &[u8]| answers(body, &by_number("A7")).unwrap_err().to_string();
        assert_eq!(said(b"{}"), "not DICOM JSON: expected a list of data sets");
        assert_eq!(said(b"[7]"), "not DICOM JSON: expected a list of data sets");
        assert!(said(b"<html>").starts_with("not DICOM JSON: expected value"));
        let path = br#"[{"0020000D":{"vr":"UI","Value":["../1"]}}]"#;
        assert!(said(path).starts_with("(0020,000D) is no UID"));
        let many = format!("[{}{{}}]", "{},".repeat(1000));
        assert!(said(many.as_bytes()).contains("more than 1000 answers"));
    }

    proptest! {
        #[test]
        fn noise_never_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = answers(&body, &by_number("A7"));
        }

        #[test]
        fn json_never_panics(body in "[\\[\\]{}:,\"0-9A-F]{0,200}") {
            let _ = answers(body.as_bytes(), &by_number("A7"));
        }
    }
}
