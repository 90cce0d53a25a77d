//! Elements of DICOM data sets: the one reader, and the one writer, of files, messages and command sets.
//!
//! ```text
//! encoding   how elements are written     Encoding::put: element → bytes
//! reader     a position in elements       Reader: bytes → Head, Element
//! ```
//!
//! No length is trusted, nothing is allocated on a claim, and nesting costs no recursion. Elements are slices of what
//! was read.
//!
//! ```
//! use dicom_core::{Tag, VR};
//! use radiograph::elements::{self, Encoding};
//!
//! let mut bytes = Vec::new();
//! Encoding::EXPLICIT_LITTLE_ENDIAN.put(&mut bytes, Tag(0x0010, 0x0020), VR::LO, b"7")?;
//! let elements = elements::all(&bytes, Encoding::EXPLICIT_LITTLE_ENDIAN)?;
//! assert_eq!(elements[0].text(), "7");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod encoding;
mod reader;

pub use encoding::{Encoding, ITEM, TooLong};
pub(crate) use reader::Fragments;
pub use reader::{Head, Reader};

use dicom_core::{
    Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
};
use dicom_dictionary_std::StandardDataDictionary;
use reader::{ITEM_END, SEQUENCE_END};
use thiserror::Error;

/// Why bytes are no elements.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElementError {
    #[error("the file ends inside an element")]
    Ends,

    #[error("{} {tag} claims {length} bytes, {left} are left", if *tag == ITEM { "item" } else { "element" })]
    Longer { tag: Tag, length: u32, left: usize },

    #[error("element {tag} has value representation \"{code}\"")]
    Representation { tag: Tag, code: String },

    #[error("element {tag} is of value representation {}, expected a sequence", vr.to_string())]
    NoSequence { tag: Tag, vr: VR },

    #[error("{0}")]
    Structure(String),
}

impl ElementError {
    /// Whether more bytes might have helped.
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Ends | Self::Longer { .. })
    }
}

/// An element and its encoded value.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    pub tag: Tag,
    /// As written, or from the dictionary where it is not.
    pub vr: VR,
    /// Of the element; what is inside an element of VR UN is implicit VR little endian.
    pub encoding: Encoding,
    pub value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The element with the VR and the encoding by which its value is to be read.
    ///
    /// A gateway that does not know an attribute writes it with VR UN, or as bytes (OB). We know every
    /// attribute we ask for, so such a value is read by the dictionary's VR (PS3.5 6.2.2): taken as a
    /// list of numbers, the bytes of the text "128" would be a window centre of 49.
    pub fn resolved(mut self) -> Self {
        let known = vr_in_dictionary(self.tag);
        if self.vr == VR::UN {
            self.encoding = Encoding::IMPLICIT_LITTLE_ENDIAN;
            self.vr = known;
        } else if is_bytes(self.vr) && !is_bytes(known) && known != VR::SQ {
            self.vr = known;
        }
        self
    }

    /// The elements of each item of a sequence; sequences inside are one value.
    pub fn items(self) -> Result<Vec<Vec<Self>>, ElementError> {
        let Self { tag, vr, encoding, value } = self.resolved();
        if vr != VR::SQ {
            return Err(ElementError::NoSequence { tag, vr });
        }
        let mut reader = Reader::new(value, encoding);
        let mut items = Vec::new();
        while !reader.is_at_end() {
            let item = reader.head()?;
            match (item.tag, item.length) {
                (SEQUENCE_END, _) => break,
                (ITEM, Some(_)) => items.push(all(reader.value(&item)?, encoding)?),
                (ITEM, None) => {
                    let mut elements = Vec::new();
                    while !reader.passed(ITEM_END)? {
                        elements.push(reader.element()?);
                    }
                    items.push(elements);
                }
                (tag, _) => {
                    return Err(ElementError::Structure(format!("unexpected {tag} in a sequence")));
                }
            }
        }
        Ok(items)
    }

    /// As [`text()`].
    pub fn text(&self) -> String {
        text(self.value)
    }
}

/// A value as text without padding; what is not UTF-8 is replaced.
pub fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned()
}

/// Every element of `bytes`; sequences are one value.
pub fn all(bytes: &[u8], encoding: Encoding) -> Result<Vec<Element<'_>>, ElementError> {
    let mut reader = Reader::new(bytes, encoding);
    let mut elements = Vec::new();
    while !reader.is_at_end() {
        elements.push(reader.element()?);
    }
    Ok(elements)
}

/// What is not in the dictionary is UN.
pub fn vr_in_dictionary(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

/// Whether a VR says nothing but how bytes are grouped.
fn is_bytes(vr: VR) -> bool {
    matches!(vr, VR::UN | VR::OB | VR::OW | VR::OL | VR::OV | VR::OF | VR::OD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_dictionary_std::tags;
    use proptest::prelude::*;

    const ENCODINGS: [Encoding; 3] = [
        Encoding::IMPLICIT_LITTLE_ENDIAN,
        Encoding::EXPLICIT_LITTLE_ENDIAN,
        Encoding::EXPLICIT_BIG_ENDIAN,
    ];
    const SEQUENCE: &[u8] = b"\x08\x00\x99\x11";
    const OPEN_ITEM: &[u8] = b"\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff";

    fn implicit(bytes: &[u8]) -> Result<Vec<Element<'_>>, ElementError> {
        all(bytes, Encoding::IMPLICIT_LITTLE_ENDIAN)
    }

    #[test]
    fn sequences_of_either_length_are_read() {
        let inner = b"\x08\x00\x50\x11\x04\x00\x00\x001.2\0";
        let defined = [SEQUENCE, b"\x14\x00\x00\x00\xfe\xff\x00\xe0\x0c\x00\x00\x00", inner];
        let ends = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0";
        let open = [SEQUENCE, OPEN_ITEM, inner, ends];
        for bytes in [defined.concat(), open.concat()] {
            let items = implicit(&bytes).unwrap()[0].items().unwrap();
            assert_eq!(items[0][0].tag, tags::REFERENCED_SOP_CLASS_UID);
            assert_eq!(items[0][0].text(), "1.2");
        }
    }

    #[test]
    fn what_claims_more_than_there_is_is_refused() {
        let error = implicit(b"\x08\x00\x50\x11\xfe\xff\xff\xff1.2\0").unwrap_err();
        assert!(error.is_cut());
        let claim = "element (0008,1150) claims 4294967294 bytes, 4 are left";
        assert_eq!(error.to_string(), claim);
        let deep = [SEQUENCE, OPEN_ITEM].concat().repeat(1000);
        let error = implicit(&deep).unwrap_err();
        assert_eq!(error.to_string(), "sequences nested deeper than 32");
        assert!(!error.is_cut());
    }

    #[test]
    fn a_value_that_is_no_sequence_has_no_items() {
        let mut bytes = Vec::new();
        let encoding = Encoding::EXPLICIT_LITTLE_ENDIAN;
        encoding.put(&mut bytes, tags::REFERENCED_SOP_SEQUENCE, VR::LO, b"1.2").unwrap();
        let error = all(&bytes, encoding).unwrap()[0].items().unwrap_err().to_string();
        let expected = "element (0008,1199) is of value representation LO, expected a sequence";
        assert_eq!(error, expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_every_encoding(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..4),
            encoding in prop::sample::select(&ENCODINGS[..]),
        ) {
            let mut item = Vec::new();
            for value in &values {
                encoding.put(&mut item, tags::TEXT_VALUE, VR::UT, value).unwrap();
                encoding.put(&mut item, tags::PATIENT_ID, VR::LO, value).unwrap();
            }
            let (mut items, mut bytes) = (Vec::new(), Vec::new());
            encoding.put(&mut items, ITEM, VR::UN, &item).unwrap();
            encoding.put(&mut bytes, tags::CONTENT_SEQUENCE, VR::SQ, &items).unwrap();
            let items = all(&bytes, encoding).unwrap()[0].items().unwrap();
            let read: Vec<&[u8]> = items[0].iter().map(|element| element.value).collect();
            let written: Vec<Vec<u8>> = values
                .iter()
                .flat_map(|value| [value, value])
                .map(|value| [&value[..], &b" "[..value.len() % 2]].concat())
                .collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn noise_never_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            encoding in prop::sample::select(&ENCODINGS[..]),
        ) {
            for element in all(&bytes, encoding).into_iter().flatten() {
                let _ = element.items();
            }
        }
    }
}
