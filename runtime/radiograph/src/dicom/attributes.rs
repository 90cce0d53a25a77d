//! Attributes of a header as the file has them, for whoever writes an object about the same patient and study.
//!
//! Text stays bytes in the file's character set: a name decoded and encoded again is a name changed.

use super::{part10::Part10, scan::DataSet};
use crate::{RadiographError, elements::Element};
use dicom_core::{Tag, VR};

/// An attribute and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub tag: Tag,
    /// Of the file; of the dictionary where the file does not say, or says only that it is bytes.
    pub vr: VR,
    pub value: AttributeValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// Numbers are little endian, whatever they are in the file; padding is kept.
    Bytes(Vec<u8>),
    /// A sequence.
    Items(Vec<Vec<Attribute>>),
}

/// Those of `wanted` that a DICOM file has before its pixels, in the order of their tags.
pub fn attributes(bytes: &[u8], wanted: &[Tag]) -> Result<Vec<Attribute>, RadiographError> {
    let file = Part10::parse(bytes)?;
    let elements = DataSet::scan_top_level(&file.data_set, file.syntax)?;
    let found = elements.located().filter(|element| wanted.contains(&element.tag));
    found.map(attribute).collect()
}

/// Sequences are as deep as the scan allows, so recursion ends: what it passed over as bytes (UN) is implicit VR inside,
/// where nothing known is UN; and other bytes never become a sequence.
fn attribute(element: &Element<'_>) -> Result<Attribute, RadiographError> {
    let Element { tag, vr, encoding, value } = element.resolved();
    let value = if vr == VR::SQ {
        let item = |item: Vec<Element<'_>>| item.iter().map(attribute).collect();
        let items = element.items()?.into_iter().map(item);
        AttributeValue::Items(items.collect::<Result<_, _>>()?)
    } else {
        let mut bytes = value.to_vec();
        let width = match vr {
            VR::US | VR::SS | VR::OW | VR::AT => 2,
            VR::UL | VR::SL | VR::FL | VR::OF | VR::OL => 4,
            VR::FD | VR::OD | VR::UV | VR::SV | VR::OV => 8,
            _ => 1,
        };
        if encoding.big_endian {
            bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        AttributeValue::Bytes(bytes)
    };
    Ok(Attribute { tag, vr, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::{Encoding, ITEM};
    use dicom_dictionary_std::tags;

    fn element(tag: Tag, vr: VR, value: impl AsRef<[u8]>) -> Vec<u8> {
        written(Encoding::EXPLICIT_LITTLE_ENDIAN, tag, vr, value)
    }

    fn implicit(tag: Tag, value: &[u8]) -> Vec<u8> {
        written(Encoding::IMPLICIT_LITTLE_ENDIAN, tag, VR::UN, value)
    }

    fn written(encoding: Encoding, tag: Tag, vr: VR, value: impl AsRef<[u8]>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encoding.put(&mut bytes, tag, vr, value).unwrap();
        bytes
    }

    fn item(value: &[u8]) -> Vec<u8> {
        implicit(ITEM, value)
    }

    /// Explicit VR little endian.
    fn file(elements: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes.extend_from_slice(b"DICM");
        bytes.extend(element(tags::TRANSFER_SYNTAX_UID, VR::UI, b"1.2.840.10008.1.2.1\0"));
        elements.iter().for_each(|element| bytes.extend_from_slice(element));
        bytes
    }

    #[test]
    fn what_a_gateway_wrote_as_bytes_is_what_the_dictionary_says() {
        let code = implicit(tags::CODE_VALUE, b"X1");
        let bytes = file(&[
            element(tags::PROCEDURE_CODE_SEQUENCE, VR::UN, item(&code)),
            element(tags::PATIENT_NAME, VR::UN, b"A^\xfc "),
            element(tags::PATIENT_ID, VR::OB, b"7 "),
        ]);
        let wanted = [tags::PATIENT_ID, tags::PROCEDURE_CODE_SEQUENCE, tags::PATIENT_NAME];
        let found = attributes(&bytes, &wanted).unwrap();
        let text = |tag, vr, bytes: &[u8]| Attribute {
            tag,
            vr,
            value: AttributeValue::Bytes(bytes.to_vec()),
        };
        let value = AttributeValue::Items(vec![vec![text(tags::CODE_VALUE, VR::SH, b"X1")]]);
        let sequence = Attribute { tag: tags::PROCEDURE_CODE_SEQUENCE, vr: VR::SQ, value };
        let name = text(tags::PATIENT_NAME, VR::PN, b"A^\xfc ");
        assert_eq!(found, [sequence, name, text(tags::PATIENT_ID, VR::LO, b"7 ")]);
    }

    #[test]
    fn sequences_disguised_as_bytes_are_not_followed_down() {
        let sequence = tags::PROCEDURE_CODE_SEQUENCE;
        for vr in [VR::OB, VR::UN] {
            let mut value = Vec::new();
            for _ in 0..3000 {
                value = item(&element(sequence, vr, &value));
            }
            // Whatever they are taken for, it is by no recursion of that depth.
            let _ = attributes(&file(&[element(sequence, vr, &value)]), &[sequence]);
        }
        let mut value = Vec::new();
        for _ in 0..3000 {
            value = item(&implicit(sequence, &value));
        }
        let error =
            attributes(&file(&[element(sequence, VR::UN, &value)]), &[sequence]).unwrap_err();
        assert!(error.to_string().contains("nested deeper"), "{error}");
    }
}
