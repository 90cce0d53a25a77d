//! Storage Commitment Push Model (PS3.4 annex J): the data sets of question and report. No I/O.

use super::command::Status;
use crate::uid::Uid;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use radiograph::elements::{self, Element, ElementError, Encoding, ITEM};
use std::fmt;
use thiserror::Error;

pub(crate) const CLASS: &str = "1.2.840.10008.1.20.1";
/// The well-known instance that questions and reports are about.
pub(crate) const INSTANCE: &str = "1.2.840.10008.1.20.1.1";
/// Action type of "request storage commitment".
pub(crate) const ACTION: u16 = 1;
/// A report names a hundred objects in some 20 kB.
pub(crate) const MAX_REPORT_BYTES: usize = 1 << 20;
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
/// The syntaxes we speak, for questions and reports.
pub(crate) const SYNTAXES: [&str; 2] = [EXPLICIT, "1.2.840.10008.1.2"];

/// Who asked for storage commitment and waits for reports.
pub(crate) trait Reports: fmt::Debug + Send + Sync {
    /// Whether this AE title was asked.
    fn expects(&self, peer: &str) -> bool;

    /// Takes a report in; what to answer. May wait for a disk.
    fn take(&self, peer: &str, report: &Report) -> Status;
}

/// What a destination says about one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) transaction: String,
    /// SOP Instance UIDs it commits to.
    pub(crate) committed: Vec<String>,
    /// Those it does not, each with its Failure Reason.
    pub(crate) failed: Vec<(String, Option<u16>)>,
}

/// Why a report is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum BadReport {
    #[error("report about {found:?}, expected the instance of storage commitment")]
    Instance { found: Option<String> },
    #[error("event type {found:?}, expected 1 or 2")]
    EventType { found: Option<u16> },
    #[error("report without a data set")]
    Empty,
    #[error("data set: {0}")]
    Dataset(#[from] ElementError),
    #[error("no {name} in the report, or no UID in it")]
    Uid { name: &'static str },
    #[error("event type {event_type} with {failed} failures")]
    Contradiction { event_type: u16, failed: usize },
}

impl BadReport {
    /// What the sender hears (PS3.7 10.1.1.1.8).
    pub(crate) fn status(&self) -> Status {
        let code = match self {
            Self::Instance { .. } => Status::NO_SUCH_INSTANCE,
            Self::EventType { .. } => Status::NO_SUCH_EVENT,
            Self::Empty | Self::Dataset(_) | Self::Uid { .. } | Self::Contradiction { .. } => {
                Status::INVALID_ARGUMENT
            }
        };
        Status::failure(code, self.to_string())
    }
}

/// The data set of a question: does the destination keep these? Class and instance of each.
pub(crate) fn question(transaction: &str, objects: &[(String, String)], syntax: &str) -> Vec<u8> {
    let encoding = encoding(syntax);
    let put = |out: &mut Vec<u8>, tag, vr, value: &[u8]| {
        encoding.put(out, tag, vr, value).expect("UIDs are short, and so is a list of them");
    };
    let mut items = Vec::new();
    for (class, instance) in objects {
        let mut item = Vec::new();
        put(&mut item, tags::REFERENCED_SOP_CLASS_UID, VR::UI, class.as_bytes());
        put(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance.as_bytes());
        put(&mut items, ITEM, VR::UN, &item);
    }
    let mut dataset = Vec::new();
    put(&mut dataset, tags::TRANSACTION_UID, VR::UI, transaction.as_bytes());
    put(&mut dataset, tags::REFERENCED_SOP_SEQUENCE, VR::SQ, &items);
    dataset
}

/// Reads a report: instance and event type from its command, the rest from its data set.
pub(crate) fn report(
    instance: Option<String>,
    event_type: Option<u16>,
    dataset: Option<&[u8]>,
    syntax: &str,
) -> Result<Report, BadReport> {
    if instance.as_deref() != Some(INSTANCE) {
        return Err(BadReport::Instance { found: instance });
    }
    let Some(event_type @ (1 | 2)) = event_type else {
        return Err(BadReport::EventType { found: event_type });
    };
    let dataset = dataset.ok_or(BadReport::Empty)?;
    let elements = elements::all(dataset, encoding(syntax))?;
    let transaction = uid(&elements, tags::TRANSACTION_UID, "Transaction UID")?;
    let instance = |item: &Vec<Element<'_>>| {
        uid(item, tags::REFERENCED_SOP_INSTANCE_UID, "Referenced SOP Instance UID")
    };
    let committed = items(&elements, tags::REFERENCED_SOP_SEQUENCE)?;
    let committed = committed.iter().map(instance).collect::<Result<_, _>>()?;
    let failed = items(&elements, tags::FAILED_SOP_SEQUENCE)?;
    let failed = failed.iter().map(|item| Ok((instance(item)?, reason(item))));
    let failed = failed.collect::<Result<Vec<_>, BadReport>>()?;
    if event_type == 1 && !failed.is_empty() {
        return Err(BadReport::Contradiction { event_type, failed: failed.len() });
    }
    Ok(Report { transaction, committed, failed })
}

/// A Failure Reason (PS3.3 C.14.1.1) in words.
pub(crate) fn why(reason: Option<u16>) -> String {
    let words = match reason {
        None => return "not committed, no reason given".into(),
        Some(0x0110) => "processing failure",
        Some(0x0112) => "no such object instance",
        Some(0x0119) => "class and instance conflict",
        Some(0x0122) => "referenced SOP class not supported",
        Some(0x0131) => "duplicate transaction UID",
        Some(0x0213) => "resource limitation",
        Some(_) => "unknown reason",
    };
    format!("not committed: {words} ({:04X})", reason.unwrap_or_default())
}

fn encoding(syntax: &str) -> Encoding {
    match syntax {
        EXPLICIT => Encoding::EXPLICIT_LITTLE_ENDIAN,
        _ => Encoding::IMPLICIT_LITTLE_ENDIAN,
    }
}

fn find<'a>(elements: &[Element<'a>], tag: Tag) -> Option<Element<'a>> {
    elements.iter().find(|element| element.tag == tag).copied()
}

/// Of every sequence of this tag.
fn items<'a>(elements: &[Element<'a>], tag: Tag) -> Result<Vec<Vec<Element<'a>>>, ElementError> {
    let found = elements.iter().filter(|element| element.tag == tag);
    Ok(found.map(|element| element.items()).collect::<Result<Vec<_>, _>>()?.concat())
}

fn uid(elements: &[Element<'_>], tag: Tag, name: &'static str) -> Result<String, BadReport> {
    let text = find(elements, tag).ok_or(BadReport::Uid { name })?.text();
    Ok(Uid::parse(&text).map_err(|_| BadReport::Uid { name })?.as_str().to_owned())
}

fn reason(item: &[Element<'_>]) -> Option<u16> {
    let value = find(item, tags::FAILURE_REASON)?.value;
    Some(u16::from_le_bytes(value.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn objects() -> Vec<(String, String)> {
        vec![
            ("1.2.840.10008.5.1.4.1.1.88.34".into(), "1.2.3".into()),
            ("1.2".into(), "1.2.4".into()),
        ]
    }

    fn read(event_type: u16, dataset: &[u8], syntax: &str) -> Result<Report, BadReport> {
        report(Some(INSTANCE.into()), Some(event_type), Some(dataset), syntax)
    }

    #[test]
    fn a_question_read_as_a_report_names_the_same_objects() {
        for syntax in SYNTAXES {
            let report = read(1, &question("2.25.7", &objects(), syntax), syntax).unwrap();
            assert_eq!(report.transaction, "2.25.7");
            assert_eq!(report.committed, ["1.2.3", "1.2.4"]);
            assert!(report.failed.is_empty());
        }
    }

    #[test]
    fn failures_come_with_their_reasons() {
        let mut dataset = Vec::new();
        let put_uid = |out: &mut Vec<u8>, tag, uid: &str| {
            Encoding::EXPLICIT_LITTLE_ENDIAN.put(out, tag, VR::UI, uid).unwrap();
        };
        put_uid(&mut dataset, tags::TRANSACTION_UID, "2.25.7");
        dataset.extend_from_slice(b"\x08\x00\x98\x11SQ\0\0\xff\xff\xff\xff");
        dataset.extend_from_slice(b"\xfe\xff\x00\xe0\xff\xff\xff\xff");
        put_uid(&mut dataset, tags::REFERENCED_SOP_INSTANCE_UID, "1.2.3");
        dataset.extend_from_slice(b"\x08\x00\x97\x11US\x02\0\x12\x01");
        dataset.extend_from_slice(b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0");
        let report = read(2, &dataset, EXPLICIT).unwrap();
        assert_eq!(report.failed, [("1.2.3".into(), Some(0x0112))]);
        assert_eq!(why(Some(0x0112)), "not committed: no such object instance (0112)");
        assert!(matches!(read(1, &dataset, EXPLICIT), Err(BadReport::Contradiction { .. })));
    }

    #[test]
    fn a_report_that_makes_no_sense_is_refused_with_its_status() {
        let dataset = question("2.25.7", &objects(), EXPLICIT);
        let other = report(Some("1.2".into()), Some(1), Some(&dataset), EXPLICIT).unwrap_err();
        assert_eq!(other.status().code, 0x0112);
        assert_eq!(read(3, &dataset, EXPLICIT).unwrap_err().status().code, 0x0113);
        assert_eq!(read(1, &dataset[..20], EXPLICIT).unwrap_err().status().code, 0x0115);
        let evil = question("../../x", &objects(), EXPLICIT);
        assert_eq!(read(1, &evil, EXPLICIT).unwrap_err().status().code, 0x0115);
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), implicit: bool) {
            let _ = read(2, &bytes, SYNTAXES[usize::from(implicit)]);
        }

        #[test]
        fn a_spoiled_report_never_panics(at in 0usize..200, byte: u8, implicit: bool) {
            let syntax = SYNTAXES[usize::from(implicit)];
            let mut dataset = question("2.25.7", &objects(), syntax);
            let at = at % dataset.len();
            dataset[at] = byte;
            let _ = read(2, &dataset, syntax);
        }
    }
}
