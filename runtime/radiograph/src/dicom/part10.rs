//! The file format around a data set: preamble, meta group, and deflate.

use super::TransferSyntax;
use crate::{
    RadiographError,
    elements::{Encoding, Reader},
    limits,
};
use flate2::read::DeflateDecoder;
use std::{borrow::Cow, io::Read};

/// A DICOM file taken apart.
pub(crate) struct Part10<'a> {
    pub(crate) syntax: TransferSyntax,
    /// Inflated if it was deflated.
    pub(crate) data_set: Cow<'a, [u8]>,
}

/// Where the meta group of a DICOM file begins; `None` if this is no DICOM file.
///
/// The preamble may be missing, and `DICM` with it.
pub(crate) fn meta_offset(bytes: &[u8]) -> Option<usize> {
    if bytes.get(128..132) == Some(b"DICM") {
        Some(132)
    } else if bytes.starts_with(b"DICM") {
        Some(4)
    } else {
        bytes.starts_with(b"\x02\0\0\0UL\x04\0").then_some(0)
    }
}

impl<'a> Part10<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, RadiographError> {
        if bytes.is_empty() {
            return Err(RadiographError::Empty);
        }
        let Some(start) = meta_offset(bytes) else {
            let begin = bytes[..bytes.len().min(8)].to_vec();
            return Err(RadiographError::UnknownFormat { begin });
        };
        let meta = Meta::read(&bytes[start..])?;
        let syntax = TransferSyntax::from_uid(&meta.transfer_syntax)?;
        let rest = &bytes[start + meta.length..];
        let data_set = match syntax {
            TransferSyntax::Deflated => Cow::Owned(inflate(rest)?),
            _ => Cow::Borrowed(rest),
        };
        if data_set.is_empty() {
            return Err(RadiographError::Structure("the file ends after its meta group".into()));
        }
        Ok(Self { syntax, data_set })
    }
}

/// What we need of group 0002, always explicit VR little endian.
struct Meta {
    /// Bytes of the group.
    length: usize,
    transfer_syntax: String,
}

impl Meta {
    fn read(bytes: &[u8]) -> Result<Self, RadiographError> {
        let mut reader = Reader::new(bytes, Encoding::EXPLICIT_LITTLE_ENDIAN);
        let mut transfer_syntax = None;
        let mut claimed = None; // where the group length says that the group ends
        while reader.rest().starts_with(b"\x02\0") {
            let head = reader.head()?;
            let value = reader.value(&head)?;
            match head.tag.element() {
                0x0000 => {
                    let length = value.try_into().map(u32::from_le_bytes).unwrap_or_default();
                    claimed = Some(reader.position() as u64 + u64::from(length));
                }
                // Without its padding, fit to be printed.
                0x0010 => {
                    let text = String::from_utf8_lossy(&value[..value.len().min(64)]);
                    let uid = text.trim_end_matches(['\0', ' ']).chars();
                    transfer_syntax = Some(uid.filter(|c| !c.is_control()).collect::<String>());
                }
                _ => {}
            }
        }
        let length = reader.position();
        if let Some(claimed) = claimed.filter(|claimed| *claimed != length as u64) {
            return Err(RadiographError::Structure(format!(
                "the meta group ends at byte {length}, its group length says {claimed}"
            )));
        }
        let transfer_syntax =
            transfer_syntax.ok_or(RadiographError::Missing { name: "TransferSyntaxUID" })?;
        Ok(Self { length, transfer_syntax })
    }
}

/// Inflates as far as the limit allows.
///
/// Some writers put the two bytes of zlib before the stream. A raw one would begin with a stored block
/// of which they are the type and half of the length.
fn inflate(bytes: &[u8]) -> Result<Vec<u8>, RadiographError> {
    // The length of a stored block stands there twice, once inverted.
    let is_stored = matches!(bytes, [_, a, b, c, d, ..] if [!a, !b] == [*c, *d]);
    let bytes = match bytes {
        [0x78, 0x01 | 0x5E | 0x9C | 0xDA, raw @ ..] if !is_stored => raw,
        _ => bytes,
    };
    let mut inflated = Vec::new();
    DeflateDecoder::new(bytes)
        .take(limits::INFLATED_BYTES as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|e| RadiographError::Decode { format: "deflated data set", reason: e.to_string() })?;
    if inflated.len() > limits::INFLATED_BYTES {
        return Err(RadiographError::Structure(format!(
            "deflated data set grows beyond {} bytes",
            limits::INFLATED_BYTES
        )));
    }
    Ok(inflated)
}
