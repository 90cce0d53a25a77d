//! Command sets (PS3.7): always implicit VR, little endian, group 0000.

use crate::uid::{BadUid, Uid};
use dicom_core::{Tag, VR};
use radiograph::elements::{ElementError, Encoding, Reader, text};
use thiserror::Error;

const ENCODING: Encoding = Encoding::IMPLICIT_LITTLE_ENDIAN;

/// Largest command set we read. Real ones have less than 500 bytes.
pub(crate) const MAX_COMMAND_BYTES: usize = 16 * 1024;

/// A request, with the fields that our two services need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) field: u16,
    pub(crate) message_id: u16,
    pub(crate) sop_class: Option<String>,
    /// Unchecked: see [`Command::sop_instance`].
    sop_instance: Option<String>,
    /// Of N-EVENT-REPORT.
    pub(crate) event_type: Option<u16>,
    pub(crate) has_dataset: bool,
}

pub(crate) const C_STORE_RQ: u16 = 0x0001;
pub(crate) const C_FIND_RQ: u16 = 0x0020;
pub(crate) const C_MOVE_RQ: u16 = 0x0021;
pub(crate) const C_ECHO_RQ: u16 = 0x0030;
pub(crate) const N_EVENT_REPORT_RQ: u16 = 0x0100;
pub(crate) const C_CANCEL_RQ: u16 = 0x0fff;
/// Set in the field of a response.
pub(crate) const RESPONSE: u16 = 0x8000;
pub(crate) const NO_DATASET: u16 = 0x0101;

/// Status of a response (PS3.4 B.2.3 and PS3.7 annex C), with a comment for whoever reads the peer's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: u16,
    /// At most 64 characters are sent.
    pub(crate) comment: String,
}

impl Status {
    pub(crate) const SUCCESS: u16 = 0x0000;
    pub(crate) const PROCESSING_FAILURE: u16 = 0x0110;
    pub(crate) const NO_SUCH_INSTANCE: u16 = 0x0112;
    pub(crate) const NO_SUCH_EVENT: u16 = 0x0113;
    pub(crate) const INVALID_ARGUMENT: u16 = 0x0115;
    pub(crate) const INVALID_INSTANCE: u16 = 0x0117;
    pub(crate) const MISSING_ATTRIBUTE: u16 = 0x0120;
    pub(crate) const CLASS_NOT_SUPPORTED: u16 = 0x0122;
    pub(crate) const UNRECOGNIZED_OPERATION: u16 = 0x0211;
    pub(crate) const OUT_OF_RESOURCES: u16 = 0xa700;
    pub(crate) const DATASET_MISMATCH: u16 = 0xa900;
    pub(crate) const CANNOT_UNDERSTAND: u16 = 0xc000;

    pub(crate) fn success() -> Self {
        Self { code: Self::SUCCESS, comment: String::new() }
    }

    pub(crate) fn failure(code: u16, comment: impl Into<String>) -> Self {
        Self { code, comment: comment.into() }
    }
}

/// Why bytes are no command set we can answer. The association cannot go on after this.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum CommandError {
    #[error("command set: {0}")]
    Elements(#[from] ElementError),
    #[error("command set has an element of group {group:04x}, expected 0000")]
    Group { group: u16 },
    #[error("command set has no {name}")]
    Missing { name: &'static str },
    #[error("{name} has {found} bytes, expected 2")]
    Width { name: &'static str, found: usize },
    #[error("got a response (command {field:04x}) although nothing was asked")]
    Response { field: u16 },
    #[error("got a request (command {field:04x}) where only answers and reports are expected")]
    Request { field: u16 },
}

impl Command {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, CommandError> {
        let (mut field, mut message_id, mut dataset) = (None, None, None);
        let (mut sop_class, mut sop_instance, mut event_type) = (None, None, None);
        for (element, value) in elements(bytes)? {
            match element {
                0x0002 => sop_class = Some(text(value)),
                0x0100 => field = Some(u16_value("command field", value)?),
                0x0110 => message_id = Some(u16_value("message id", value)?),
                0x0800 => dataset = Some(u16_value("data set type", value)?),
                0x1000 => sop_instance = Some(text(value)),
                0x1002 => event_type = Some(u16_value("event type", value)?),
                _ => {}
            }
        }
        let field = field.ok_or(CommandError::Missing { name: "command field" })?;
        if field & RESPONSE != 0 {
            return Err(CommandError::Response { field });
        }
        // C-CANCEL-RQ has no message id of its own; it is never answered.
        let message_id = match message_id {
            None if field == C_CANCEL_RQ => 0,
            id => id.ok_or(CommandError::Missing { name: "message id" })?,
        };
        let has_dataset =
            dataset.ok_or(CommandError::Missing { name: "data set type" })? != NO_DATASET;
        Ok(Self { field, message_id, sop_class, sop_instance, event_type, has_dataset })
    }

    /// The affected SOP instance; `None` if the element is missing.
    pub(crate) fn sop_instance(&self) -> Option<Result<Uid, BadUid>> {
        self.sop_instance.as_deref().map(Uid::parse)
    }

    /// The response to this request, ready to send.
    pub(crate) fn response(&self, status: &Status) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        if let Some(class) = &self.sop_class {
            put(&mut body, 0x0002, VR::UI, class);
        }
        put(&mut body, 0x0100, VR::US, (self.field | RESPONSE).to_le_bytes());
        put(&mut body, 0x0120, VR::US, self.message_id.to_le_bytes());
        put(&mut body, 0x0800, VR::US, NO_DATASET.to_le_bytes());
        put(&mut body, 0x0900, VR::US, status.code.to_le_bytes());
        if !status.comment.is_empty() {
            put(&mut body, 0x0902, VR::LO, comment(&status.comment));
        }
        if let Some(Ok(instance)) = self.sop_instance() {
            put(&mut body, 0x1000, VR::UI, instance.as_str());
        }
        if let Some(event_type) = self.event_type {
            put(&mut body, 0x1002, VR::US, event_type.to_le_bytes());
        }
        with_length(&body)
    }
}

/// The elements of a command set: element number and value.
pub(crate) fn elements(bytes: &[u8]) -> Result<Vec<(u16, &[u8])>, CommandError> {
    let mut reader = Reader::new(bytes, ENCODING);
    let mut elements = Vec::new();
    while !reader.is_at_end() {
        let head = reader.head()?;
        let group = head.tag.group();
        if group != 0 {
            return Err(CommandError::Group { group });
        }
        elements.push((head.tag.element(), reader.value(&head)?));
    }
    Ok(elements)
}

pub(crate) fn u16_value(name: &'static str, value: &[u8]) -> Result<u16, CommandError> {
    let bytes = value.try_into().map_err(|_| CommandError::Width { name, found: value.len() })?;
    Ok(u16::from_le_bytes(bytes))
}

pub(crate) fn put(out: &mut Vec<u8>, element: u16, vr: VR, value: impl AsRef<[u8]>) {
    ENCODING.put(out, Tag(0, element), vr, value).expect("commands are shorter than 4 GB");
}

/// Whole command set: its length, then its other elements.
pub(crate) fn with_length(body: &[u8]) -> Vec<u8> {
    let mut command = Vec::with_capacity(body.len() + 12);
    put(&mut command, 0x0000, VR::UL, (body.len() as u32).to_le_bytes());
    command.extend_from_slice(body);
    command
}

/// Error Comment is an LO: 64 characters of the default repertoire, no backslash.
fn comment(text: &str) -> String {
    let plain = |c: char| if c == '\\' || !(' '..='~').contains(&c) { '?' } else { c };
    text.chars().map(plain).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(field: u16, message_id: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, 0x0002, VR::UI, "1.2.840.10008.1.1");
        put(&mut bytes, 0x0100, VR::US, field.to_le_bytes());
        put(&mut bytes, 0x0110, VR::US, message_id.to_le_bytes());
        put(&mut bytes, 0x0800, VR::US, NO_DATASET.to_le_bytes());
        bytes
    }

    #[test]
    fn a_response_names_the_message_it_answers() {
        let command = Command::parse(&request(C_ECHO_RQ, 9)).unwrap();
        let response = command.response(&Status::success());
        let find = |tag| elements(&response).unwrap().into_iter().find(|e| e.0 == tag).unwrap().1;
        assert_eq!(find(0x0100), [0x30, 0x80]);
        assert_eq!(find(0x0120), [9, 0]);
        assert_eq!(find(0x0900), [0, 0]);
        assert_eq!(find(0x0000), ((response.len() - 12) as u32).to_le_bytes());
    }

    #[test]
    fn comments_are_cut_and_cleaned() {
        let long = comment(&"ä\\x".repeat(40));
        assert_eq!(long.len(), 64);
        assert!(long.starts_with("??x"));
    }

    #[test]
    fn responses_and_halves_are_refused() {
        let whole = request(C_ECHO_RQ, 1);
        let cut = Command::parse(&whole[..whole.len() - 1]).unwrap_err().to_string();
        assert_eq!(cut, "command set: element (0000,0800) claims 2 bytes, 1 are left");
        let other = [&whole[..], b"\x08\0\x16\0\0\0\0\0"].concat();
        assert_eq!(Command::parse(&other), Err(CommandError::Group { group: 8 }));
        assert_eq!(
            Command::parse(&request(0x8030, 1)),
            Err(CommandError::Response { field: 0x8030 })
        );
        assert!(Command::parse(&[]).is_err());
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Command::parse(&bytes);
        }
    }
}
