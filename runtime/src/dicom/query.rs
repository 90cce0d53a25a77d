//! Study Root Query/Retrieve (PS3.4 annex C): the data sets of questions, and what answers say. No I/O.
//!
//! An answer is somebody else's bytes: UIDs are checked before they become part of a path, texts have a longest length.

use crate::uid::Uid;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use radiograph::elements::{self, Element, ElementError, Encoding};
use thiserror::Error;

pub(crate) const FIND: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND;
pub(crate) const MOVE: &str = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_MOVE;
const EXPLICIT: &str = uids::EXPLICIT_VR_LITTLE_ENDIAN;
/// What we speak, for questions and answers.
pub(crate) const SYNTAXES: [&str; 2] = [EXPLICIT, uids::IMPLICIT_VR_LITTLE_ENDIAN];
/// Answers to one question about one study. Whoever sends more does not answer it.
pub(crate) const MOST_ANSWERS: usize = 1000;
/// Longer texts in an answer are refused. An accession number has 16 characters, a code string too.
const LONGEST_TEXT: usize = 64;

/// How a study is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StudyName {
    Uid(Uid),
    /// Printable characters, none of which matches others.
    Accession(String),
}

/// What is asked, level by level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Study(StudyName),
    SeriesOf { study: Uid },
    ImagesOf { study: Uid, series: Uid },
}

impl Question {
    /// Its data set: the keys that must match, and empty ones for what we want to hear.
    pub(crate) fn encode(&self, syntax: &str) -> Vec<u8> {
        let mut keys: Vec<(Tag, VR, &str)> = match self {
            Self::Study(name) => {
                let (uid, number) = match name {
                    StudyName::Uid(uid) => (uid.as_str(), ""),
                    StudyName::Accession(number) => ("", number.as_str()),
                };
                vec![
                    (tags::QUERY_RETRIEVE_LEVEL, VR::CS, "STUDY"),
                    (tags::ACCESSION_NUMBER, VR::SH, number),
                    (tags::STUDY_INSTANCE_UID, VR::UI, uid),
                ]
            }
            Self::SeriesOf { study } => vec![
                (tags::QUERY_RETRIEVE_LEVEL, VR::CS, "SERIES"),
                (tags::MODALITY, VR::CS, ""),
                (tags::STUDY_INSTANCE_UID, VR::UI, study.as_str()),
                (tags::SERIES_INSTANCE_UID, VR::UI, ""),
            ],
            Self::ImagesOf { study, series } => vec![
                (tags::QUERY_RETRIEVE_LEVEL, VR::CS, "IMAGE"),
                (tags::SOP_CLASS_UID, VR::UI, ""),
                (tags::SOP_INSTANCE_UID, VR::UI, ""),
                (tags::STUDY_INSTANCE_UID, VR::UI, study.as_str()),
                (tags::SERIES_INSTANCE_UID, VR::UI, series.as_str()),
            ],
        };
        encode(&mut keys, syntax)
    }
}

/// The data set of a C-MOVE of one series.
pub(crate) fn series(study: &Uid, series: &Uid, syntax: &str) -> Vec<u8> {
    let mut keys = [
        (tags::QUERY_RETRIEVE_LEVEL, VR::CS, "SERIES"),
        (tags::STUDY_INSTANCE_UID, VR::UI, study.as_str()),
        (tags::SERIES_INSTANCE_UID, VR::UI, series.as_str()),
    ];
    encode(&mut keys, syntax)
}

fn encode(keys: &mut [(Tag, VR, &str)], syntax: &str) -> Vec<u8> {
    keys.sort_by_key(|(tag, ..)| *tag);
    let (encoding, mut out) = (encoding(syntax), Vec::new());
    for (tag, vr, value) in keys {
        encoding.put(&mut out, *tag, *vr, value).expect("UIDs and numbers are short");
    }
    out
}

fn encoding(syntax: &str) -> Encoding {
    match syntax {
        EXPLICIT => Encoding::EXPLICIT_LITTLE_ENDIAN,
        _ => Encoding::IMPLICIT_LITTLE_ENDIAN,
    }
}

/// One thing that an archive has. What it did not say is `None`; an archive need not repeat what it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) study: Option<Uid>,
    pub(crate) accession: Option<String>,
    pub(crate) series: Option<Uid>,
    pub(crate) modality: Option<String>,
    pub(crate) class: Option<Uid>,
    pub(crate) instance: Option<Uid>,
}

/// Why an answer is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum BadAnswer {
    #[error("data set: {0}")]
    Dataset(#[from] ElementError),
    #[error("{tag} is no UID: expected 1 to 64 digits and dots, no empty component")]
    Uid { tag: Tag },
    #[error("{tag} has {found} bytes, expected at most {LONGEST_TEXT}")]
    Long { tag: Tag, found: usize },
    #[error("more than {MOST_ANSWERS} answers to one question")]
    Many,
    #[error("not DICOM JSON: {0}")]
    Json(String),
}

impl Answer {
    /// Reads the data set of a C-FIND response.
    pub(crate) fn parse(dataset: &[u8], syntax: &str) -> Result<Self, BadAnswer> {
        let elements = elements::all(dataset, encoding(syntax))?;
        Self::of(|tag| elements.iter().find(|element| element.tag == tag).map(Element::text))
    }

    /// From its attributes' texts, however they came.
    pub(crate) fn of(value: impl Fn(Tag) -> Option<String>) -> Result<Self, BadAnswer> {
        let text = |tag| {
            let text = value(tag).map(|text| text.trim().to_owned());
            match text.filter(|text| !text.is_empty()) {
                Some(text) if text.len() > LONGEST_TEXT => {
                    Err(BadAnswer::Long { tag, found: text.len() })
                }
                text => Ok(text),
            }
        };
        let uid = |tag| {
            let text = text(tag)?;
            text.map(|text| Uid::parse(&text).map_err(|_| BadAnswer::Uid { tag })).transpose()
        };
        Ok(Self {
            study: uid(tags::STUDY_INSTANCE_UID)?,
            accession: text(tags::ACCESSION_NUMBER)?,
            series: uid(tags::SERIES_INSTANCE_UID)?,
            modality: text(tags::MODALITY)?,
            class: uid(tags::SOP_CLASS_UID)?,
            instance: uid(tags::SOP_INSTANCE_UID)?,
        })
    }

    /// Whether it is about what was asked: some archives answer a key they do not know with everything they have.
    pub(crate) fn is_about(&self, question: &Question) -> bool {
        let is = |found: &Option<Uid>, asked: &Uid| found.as_ref().is_none_or(|uid| uid == asked);
        match question {
            Question::Study(StudyName::Uid(uid)) => self.study.as_ref() == Some(uid),
            Question::Study(StudyName::Accession(number)) => {
                self.study.is_some() && self.accession.as_ref() == Some(number)
            }
            Question::SeriesOf { study } => is(&self.study, study) && self.series.is_some(),
            Question::ImagesOf { study, series } => {
                is(&self.study, study) && is(&self.series, series) && self.instance.is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).unwrap()
    }

    fn questions() -> Vec<Question> {
        let (study, series) = (uid("1.2.3"), uid("1.2.3.4"));
        vec![
            Question::Study(StudyName::Uid(study.clone())),
            Question::Study(StudyName::Accession("A 7".into())),
            Question::SeriesOf { study: study.clone() },
            Question::ImagesOf { study, series },
        ]
    }

    #[test]
    fn a_question_read_as_an_answer_says_what_was_asked_and_nothing_else() {
        for syntax in SYNTAXES {
            let read: Vec<Answer> = questions()
                .iter()
                .map(|question| Answer::parse(&question.encode(syntax), syntax).unwrap())
                .collect();
            let (study, series) = (Some(uid("1.2.3")), Some(uid("1.2.3.4")));
            let expected = [
                Answer { study: study.clone(), ..Answer::default() },
                Answer { accession: Some("A 7".into()), ..Answer::default() },
                Answer { study: study.clone(), ..Answer::default() },
                Answer { study, series, ..Answer::default() },
            ];
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn tags_ascend_and_every_question_names_its_level() {
        for (question, level) in questions().iter().zip(["STUDY", "STUDY", "SERIES", "IMAGE"]) {
            let bytes = question.encode(EXPLICIT);
            let elements = elements::all(&bytes, Encoding::EXPLICIT_LITTLE_ENDIAN).unwrap();
            assert!(elements.windows(2).all(|pair| pair[0].tag < pair[1].tag));
            let own = elements.iter().find(|e| e.tag == tags::QUERY_RETRIEVE_LEVEL).unwrap();
            assert_eq!(own.text(), level);
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_about_the_question() {
        let about = |question: &Question, answer: Answer| answer.is_about(question);
        let study = |text: &str| Answer { study: Some(uid(text)), ..Answer::default() };
        let [by_uid, by_number, of_study, of_series] =
            <[Question; 4]>::try_from(questions()).unwrap();
        assert!(about(&by_uid, study("1.2.3")) && !about(&by_uid, study("1.2.4")));
        assert!(!about(&by_uid, Answer::default()), "it does not say which study");
        let numbered = |number: &str| Answer { accession: Some(number.into()), ..study("1.9") };
        assert!(about(&by_number, numbered("A 7")) && !about(&by_number, numbered("A 77")));
        assert!(!about(&by_number, study("1.9")), "it does not say which number");
        let series = Answer { series: Some(uid("1.2.3.4")), ..Answer::default() };
        assert!(about(&of_study, series.clone()), "an archive need not repeat the study");
        assert!(!about(&of_study, Answer { study: Some(uid("1.7")), ..series.clone() }));
        assert!(!about(&of_series, series.clone()), "it names no image");
        assert!(about(&of_series, Answer { instance: Some(uid("1.5")), ..series }));
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused_by_their_tag() {
        let with = |tag, value: &str| {
            let mut bytes = Vec::new();
            Encoding::EXPLICIT_LITTLE_ENDIAN.put(&mut bytes, tag, VR::LO, value).unwrap();
            Answer::parse(&bytes, EXPLICIT).unwrap_err().to_string()
        };
        let path = with(tags::SOP_INSTANCE_UID, "../../etc/passwd");
        assert!(path.starts_with("(0008,0018) is no UID"), "{path}");
        let long = with(tags::ACCESSION_NUMBER, &"A".repeat(65));
        assert_eq!(long, "(0008,0050) has 65 bytes, expected at most 64");
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), implicit: bool) {
            let _ = Answer::parse(&bytes, SYNTAXES[usize::from(implicit)]);
        }

        #[test]
        fn a_spoiled_answer_never_panics(at in 0usize..120, byte: u8, implicit: bool) {
            let syntax = SYNTAXES[usize::from(implicit)];
            for question in questions() {
                let mut bytes = question.encode(syntax);
                let at = at % bytes.len();
                bytes[at] = byte;
                let _ = Answer::parse(&bytes, syntax);
            }
        }
    }
}
