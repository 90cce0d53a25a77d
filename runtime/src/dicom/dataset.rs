//! What a data set claims to be, from its first bytes.
//!
//! Answering C-STORE waits for the disk, not for a full parse: the worker does that later. But a data
//! set that is not the announced object, or no data set at all, is worth refusing while the sender
//! still listens. SOP Class and Instance UID stand near the start, in ascending order of tags.

use crate::uid::Uid;
use radiograph::{TransferSyntax, has_long_length};

/// How many bytes to keep for [`claim`]. The elements before (0008,0018) are short.
pub(crate) const PREFIX_BYTES: usize = 8 * 1024;

/// What the start of a data set says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// SOP Class UID and SOP Instance UID, where present.
    Object { sop_class: Option<String>, sop_instance: Option<String> },
    /// Compressed, or the two elements are further back than we look.
    Unknown,
    /// Not the start of a data set in the negotiated transfer syntax.
    Nonsense { reason: String },
}

/// Reads up to (0008,0018) in `prefix`, the first bytes of a data set; `whole` if there are no others.
pub(crate) fn claim(prefix: &[u8], whole: bool, syntax: TransferSyntax) -> Claim {
    if syntax == TransferSyntax::Deflated {
        return Claim::Unknown;
    }
    let encoding = Encoding { explicit: !syntax.is_implicit(), big_endian: syntax.is_big_endian() };
    let (mut sop_class, mut sop_instance) = (None, None);
    let (mut at, mut last) = (0, 0);
    while at < prefix.len() {
        let element = match encoding.element(&prefix[at..]) {
            Ok(Some(element)) => element,
            Ok(None) if whole => return nonsense(at, "ends inside an element".into()),
            Ok(None) => return Claim::Unknown,
            Err(reason) => return nonsense(at, reason),
        };
        if element.tag < 0x0008_0000 || (last != 0 && element.tag <= last) {
            let (group, number) = (element.tag >> 16, element.tag & 0xffff);
            return nonsense(at, format!("tag ({group:04x},{number:04x}) is out of place"));
        }
        last = element.tag;
        if element.tag > 0x0008_0018 {
            return Claim::Object { sop_class, sop_instance };
        }
        match (element.tag, element.value) {
            (_, None) => return Claim::Unknown,
            (0x0008_0016, Some(value)) => sop_class = Some(text(value)),
            (0x0008_0018, Some(value)) => sop_instance = Some(text(value)),
            _ => {}
        }
        at += element.bytes;
    }
    if whole { Claim::Object { sop_class, sop_instance } } else { Claim::Unknown }
}

/// Whether the claim is the object that the command announced; otherwise why not.
pub(crate) fn matches(claim: &Claim, class: &str, instance: &Uid) -> Result<(), Mismatch> {
    match claim {
        Claim::Unknown => Ok(()),
        Claim::Nonsense { reason } => Err(Mismatch::Nonsense(reason.clone())),
        Claim::Object { sop_class, sop_instance } => {
            let Some(found) = sop_class else {
                return Err(Mismatch::Nonsense("data set has no SOP Class UID".into()));
            };
            if found != class {
                return Err(Mismatch::Other("data set is of another class".into()));
            }
            if sop_instance.as_deref() != Some(instance.as_str()) {
                return Err(Mismatch::Other("data set is another instance".into()));
            }
            Ok(())
        }
    }
}

/// Why a data set is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Cannot be understood: status C000.
    Nonsense(String),
    /// Is something else than announced: status A900.
    Other(String),
}

fn nonsense(at: usize, what: String) -> Claim {
    Claim::Nonsense { reason: format!("no data set: {what} at byte {at}") }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned()
}

#[derive(Clone, Copy)]
struct Encoding {
    explicit: bool,
    big_endian: bool,
}

struct Element<'a> {
    tag: u32,
    /// `None` for undefined length.
    value: Option<&'a [u8]>,
    /// Header and value.
    bytes: usize,
}

impl Encoding {
    /// The first element; `None` if `bytes` ends inside it.
    fn element(self, bytes: &[u8]) -> Result<Option<Element<'_>>, String> {
        let Some(head) = bytes.first_chunk::<8>() else { return Ok(None) };
        let tag =
            u32::from(self.u16([head[0], head[1]])) << 16 | u32::from(self.u16([head[2], head[3]]));
        let (header, length) = if !self.explicit {
            (8, self.u32([head[4], head[5], head[6], head[7]]))
        } else if !(head[4].is_ascii_uppercase() && head[5].is_ascii_uppercase()) {
            return Err(format!("{:02x?} is no VR", &head[4..6]));
        } else if has_long_length([head[4], head[5]]) {
            let Some(length) = bytes.get(8..12) else { return Ok(None) };
            (12, self.u32([length[0], length[1], length[2], length[3]]))
        } else {
            (8, u32::from(self.u16([head[6], head[7]])))
        };
        // A tag after the ones we look for ends the search; its value may be pixels.
        if length == u32::MAX || tag > 0x0008_0018 {
            return Ok(Some(Element { tag, value: None, bytes: header }));
        }
        let length = length as usize;
        let Some(value) = bytes[header..].get(..length) else { return Ok(None) };
        Ok(Some(Element { tag, value: Some(value), bytes: header + length }))
    }

    fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CR: &str = "1.2.840.10008.5.1.4.1.1.1";

    fn implicit(elements: &[(u32, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, value) in elements {
            bytes.extend_from_slice(&((tag >> 16) as u16).to_le_bytes());
            bytes.extend_from_slice(&(*tag as u16).to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }

    #[test]
    fn class_and_instance_are_found_in_every_encoding() {
        let expected =
            Claim::Object { sop_class: Some("1.2".into()), sop_instance: Some("1.3".into()) };
        let bytes =
            implicit(&[(0x0008_0016, b"1.2\0"), (0x0008_0018, b"1.3\0"), (0x0008_0020, b"")]);
        assert_eq!(claim(&bytes, true, TransferSyntax::ImplicitLittleEndian), expected);

        let explicit =
            b"\x08\0\x05\0CS\x02\0AB\x08\0\x16\0UI\x04\x001.2\0\x08\0\x18\0UI\x04\x001.3\0";
        assert_eq!(claim(explicit, true, TransferSyntax::ExplicitLittleEndian), expected);
        assert_eq!(claim(explicit, true, TransferSyntax::JpegBaseline), expected);

        let big = b"\0\x08\0\x16UI\0\x041.2\0\0\x08\0\x18UI\0\x041.3\0";
        assert_eq!(claim(big, true, TransferSyntax::ExplicitBigEndian), expected);
    }

    #[test]
    fn what_is_no_data_set_is_called_so() {
        let meta = implicit(&[(0x0002_0000, b"abcd")]);
        assert!(matches!(
            claim(&meta, true, TransferSyntax::ImplicitLittleEndian),
            Claim::Nonsense { .. }
        ));
        let png = b"\x89PNG\r\n\x1a\n0000";
        assert!(matches!(
            claim(png, true, TransferSyntax::ExplicitLittleEndian),
            Claim::Nonsense { .. }
        ));
        assert!(matches!(
            claim(b"\x08\0\x16", true, TransferSyntax::ImplicitLittleEndian),
            Claim::Nonsense { .. }
        ));
    }

    #[test]
    fn another_object_than_announced_is_a_mismatch() {
        let uid = Uid::parse("1.3").unwrap();
        let is = |class: &str, instance: &str| Claim::Object {
            sop_class: Some(class.into()),
            sop_instance: Some(instance.into()),
        };
        assert_eq!(matches(&is(CR, "1.3"), CR, &uid), Ok(()));
        assert!(matches!(matches(&is("1.2", "1.3"), CR, &uid), Err(Mismatch::Other(_))));
        assert!(matches!(matches(&is(CR, "1.4"), CR, &uid), Err(Mismatch::Other(_))));
        assert_eq!(matches(&Claim::Unknown, CR, &uid), Ok(()));
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), whole: bool, explicit: bool) {
            let syntax = if explicit { TransferSyntax::ExplicitLittleEndian } else { TransferSyntax::ImplicitLittleEndian };
            let _ = claim(&bytes, whole, syntax);
        }
    }
}
