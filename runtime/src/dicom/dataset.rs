//! What a data set claims to be, from its first bytes.
//!
//! Answering C-STORE waits for the disk, not for a full parse: the worker does that later. But a data
//! set that is not the announced object, or no data set at all, is worth refusing while the sender
//! still listens. SOP Class and Instance UID stand near the start, in ascending order of tags.

use crate::uid::Uid;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use radiograph::{
    TransferSyntax,
    elements::{ElementError, Reader},
};

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
    let mut reader = Reader::new(prefix, syntax.encoding());
    match object(&mut reader, whole) {
        Ok(claim) => claim,
        Err(error) if error.is_cut() && !whole => Claim::Unknown,
        Err(error) => Claim::Nonsense {
            reason: format!("no data set: {error}, at byte {}", reader.position()),
        },
    }
}

fn object(reader: &mut Reader<'_>, whole: bool) -> Result<Claim, ElementError> {
    let (mut sop_class, mut sop_instance) = (None, None);
    let mut last = Tag(0x0007, 0xffff);
    while !reader.is_at_end() {
        let head = reader.head()?;
        if head.tag <= last {
            return Err(ElementError::Structure(format!("tag {} is out of place", head.tag)));
        }
        last = head.tag;
        match head.tag {
            // What follows may be pixels.
            tag if tag > tags::SOP_INSTANCE_UID => {
                return Ok(Claim::Object { sop_class, sop_instance });
            }
            tags::SOP_CLASS_UID => sop_class = Some(reader.rest_of(&head)?.text()),
            tags::SOP_INSTANCE_UID => sop_instance = Some(reader.rest_of(&head)?.text()),
            _ => drop(reader.rest_of(&head)?),
        }
    }
    Ok(if whole { Claim::Object { sop_class, sop_instance } } else { Claim::Unknown })
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

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::VR;
    use proptest::prelude::*;
    use radiograph::elements::Encoding;

    const CR: &str = "1.2.840.10008.5.1.4.1.1.1";

    fn implicit(elements: &[(Tag, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, value) in elements {
            Encoding::IMPLICIT_LITTLE_ENDIAN.put(&mut bytes, *tag, VR::UI, value).unwrap();
        }
        bytes
    }

    #[test]
    fn class_and_instance_are_found_in_every_encoding() {
        let expected =
            Claim::Object { sop_class: Some("1.2".into()), sop_instance: Some("1.3".into()) };
        let bytes = implicit(&[
            (tags::SOP_CLASS_UID, b"1.2"),
            (tags::SOP_INSTANCE_UID, b"1.3"),
            (tags::STUDY_DATE, b""),
        ]);
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
        let meta = implicit(&[(tags::FILE_META_INFORMATION_GROUP_LENGTH, b"abcd")]);
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
    fn what_is_cut_off_may_still_be_the_object() {
        let bytes = implicit(&[(tags::SOP_CLASS_UID, b"1.2"), (tags::SOP_INSTANCE_UID, b"1.3")]);
        for end in 0..=bytes.len() {
            let syntax = TransferSyntax::ImplicitLittleEndian;
            assert_eq!(claim(&bytes[..end], false, syntax), Claim::Unknown, "{end}");
        }
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
