//! Attributes of a header as the file has them, for whoever writes an object about the same patient and study.
//!
//! Text stays bytes in the file's character set: a name decoded and encoded again is a name changed.

use super::{
    elements::is_bytes,
    part10::Part10,
    scan::{self, DataSet, Encoding, Located, vr_in_dictionary},
};
use crate::RadiographError;
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
fn attribute(element: &Located<'_>) -> Result<Attribute, RadiographError> {
    let Located { tag, mut vr, mut encoding, value } = *element;
    let known = vr_in_dictionary(tag);
    if vr == VR::UN {
        encoding = Encoding::IMPLICIT_LITTLE_ENDIAN;
        vr = known;
    } else if is_bytes(vr) && known != VR::UN && known != VR::SQ {
        vr = known;
    }
    let value = if vr == VR::SQ {
        let items = scan::items(value, encoding)?;
        let item = |item: Vec<Located<'_>>| item.iter().map(attribute).collect();
        AttributeValue::Items(items.into_iter().map(item).collect::<Result<_, _>>()?)
    } else {
        AttributeValue::Bytes(little_endian(value, vr, encoding))
    };
    Ok(Attribute { tag, vr, value })
}

fn little_endian(value: &[u8], vr: VR, encoding: Encoding) -> Vec<u8> {
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
    bytes
}
