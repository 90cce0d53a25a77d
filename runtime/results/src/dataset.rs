//! A data set to write: elements in the order of their tags, as explicit VR little endian, lengths defined. The same
//! elements give the same bytes.

use crate::ResultsError;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use radiograph::elements::{Encoding, ITEM, TooLong, vr_in_dictionary};
use std::collections::BTreeMap;

const ENCODING: Encoding = Encoding::EXPLICIT_LITTLE_ENDIAN;

/// Identifies this implementation; a UUID-derived UID, so that it needs no registered root.
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.91779657875877010918097843961811388023";
/// At most 16 characters.
pub const IMPLEMENTATION_VERSION: &str = concat!("CXR-EDGE-", env!("CARGO_PKG_VERSION"));

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DataSet(BTreeMap<Tag, (VR, Value)>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Bytes(Vec<u8>),
    Items(Vec<DataSet>),
}

impl DataSet {
    pub(crate) fn put(&mut self, tag: Tag, vr: VR, value: Value) {
        self.0.insert(tag, (vr, value));
    }

    /// Text of our own, so ASCII, of the dictionary's VR. Several values are joined by backslashes.
    pub(crate) fn text(&mut self, tag: Tag, text: &str) {
        self.put(tag, vr_in_dictionary(tag), Value::Bytes(text.as_bytes().to_vec()));
    }

    /// An element of type 2 of which nothing is known.
    pub(crate) fn empty(&mut self, tag: Tag) {
        let value = match vr_in_dictionary(tag) {
            VR::SQ => Value::Items(Vec::new()),
            _ => Value::Bytes(Vec::new()),
        };
        self.put(tag, vr_in_dictionary(tag), value);
    }

    pub(crate) fn u16s(&mut self, tag: Tag, numbers: &[u16]) {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.put(tag, VR::US, Value::Bytes(bytes));
    }

    pub(crate) fn u32s(&mut self, tag: Tag, numbers: &[u32]) {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.put(tag, VR::UL, Value::Bytes(bytes));
    }

    pub(crate) fn f32s(&mut self, tag: Tag, numbers: &[f32]) {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.put(tag, VR::FL, Value::Bytes(bytes));
    }

    /// An element whose value is a tag.
    pub(crate) fn pointer(&mut self, tag: Tag, to: Tag) {
        let bytes = [to.group().to_le_bytes(), to.element().to_le_bytes()].concat();
        self.put(tag, VR::AT, Value::Bytes(bytes));
    }

    /// Bytes such as pixels.
    pub(crate) fn bytes(&mut self, tag: Tag, bytes: Vec<u8>) {
        self.put(tag, VR::OB, Value::Bytes(bytes));
    }

    pub(crate) fn items(&mut self, tag: Tag, items: Vec<Self>) {
        self.put(tag, VR::SQ, Value::Items(items));
    }

    /// A sequence of one item.
    pub(crate) fn item(&mut self, tag: Tag, item: Self) {
        self.items(tag, vec![item]);
    }

    pub(crate) fn has_value(&self, tag: Tag) -> bool {
        match self.0.get(&tag) {
            Some((_, Value::Bytes(bytes))) => bytes.iter().any(|byte| !matches!(byte, b' ' | 0)),
            Some((_, Value::Items(items))) => !items.is_empty(),
            None => false,
        }
    }

    /// Adds all elements of another data set.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        for (tag, (vr, value)) in &self.0 {
            match value {
                Value::Bytes(bytes) => ENCODING.put(out, *tag, *vr, bytes)?,
                Value::Items(items) => {
                    let mut nested = Vec::new();
                    for item in items {
                        let mut inside = Vec::new();
                        item.write(&mut inside)?;
                        ENCODING.put(&mut nested, ITEM, VR::UN, inside)?;
                    }
                    ENCODING.put(out, *tag, VR::SQ, nested)?;
                }
            }
        }
        Ok(())
    }

    /// The file of an object.
    pub(crate) fn into_file(
        self,
        sop_class: &str,
        sop_instance: &str,
    ) -> Result<Vec<u8>, ResultsError> {
        let mut file = file_header(sop_class, sop_instance, uids::EXPLICIT_VR_LITTLE_ENDIAN, None)?;
        self.write(&mut file)?;
        Ok(file)
    }
}

/// What stands before the data set of a file: preamble, magic and file meta information (PS3.10). `sender`: the AE
/// title of whom it came from.
pub fn file_header(
    sop_class: &str,
    sop_instance: &str,
    transfer_syntax: &str,
    sender: Option<&str>,
) -> Result<Vec<u8>, ResultsError> {
    let mut meta = DataSet::default();
    meta.bytes(tags::FILE_META_INFORMATION_VERSION, vec![0, 1]);
    meta.text(tags::MEDIA_STORAGE_SOP_CLASS_UID, sop_class);
    meta.text(tags::MEDIA_STORAGE_SOP_INSTANCE_UID, sop_instance);
    meta.text(tags::TRANSFER_SYNTAX_UID, transfer_syntax);
    meta.text(tags::IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_CLASS_UID);
    meta.text(tags::IMPLEMENTATION_VERSION_NAME, IMPLEMENTATION_VERSION);
    if let Some(sender) = sender {
        meta.text(tags::SOURCE_APPLICATION_ENTITY_TITLE, sender);
    }
    let mut group = Vec::new();
    meta.write(&mut group)?;
    let mut length = DataSet::default();
    length.u32s(tags::FILE_META_INFORMATION_GROUP_LENGTH, &[group.len() as u32]);

    let mut header = vec![0; 128];
    header.extend_from_slice(b"DICM");
    length.write(&mut header)?;
    header.extend_from_slice(&group);
    Ok(header)
}

/// What follows the [`file_header`] of a file that we made.
pub fn data_set(file: &[u8]) -> Option<&[u8]> {
    let group = file.strip_prefix(&[0; 128])?.strip_prefix(b"DICM\x02\0\0\0UL\x04\0")?;
    let (length, rest) = group.split_first_chunk::<4>()?;
    rest.get(u32::from_le_bytes(*length) as usize..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_object::{FileDicomObject, FileMetaTable};

    #[test]
    fn dicom_rs_reads_what_we_write() {
        let mut inner = DataSet::default();
        inner.text(tags::CODE_MEANING, "odd");
        inner.f32s(tags::GRAPHIC_DATA, &[1.5, 2.5]);
        let mut set = DataSet::default();
        set.items(tags::CONTENT_SEQUENCE, vec![inner, DataSet::default()]);
        set.text(tags::PATIENT_NAME, "A^B");
        set.empty(tags::REFERENCED_STUDY_SEQUENCE);
        set.pointer(tags::DIMENSION_INDEX_POINTER, tags::REFERENCED_SEGMENT_NUMBER);
        set.bytes(tags::PIXEL_DATA, vec![1, 2, 3]);
        let bytes = set.clone().into_file("1.2.3", "1.2.3.4").unwrap();
        assert_eq!(bytes, set.into_file("1.2.3", "1.2.3.4").unwrap());

        let read = FileDicomObject::from_reader(&bytes[..]).unwrap();
        assert_eq!(read.meta().media_storage_sop_instance_uid().trim_end_matches('\0'), "1.2.3.4");
        let items = read.element(tags::CONTENT_SEQUENCE).unwrap().items().unwrap();
        assert_eq!(items.len(), 2);
        let coordinates = items[0].element(tags::GRAPHIC_DATA).unwrap();
        assert_eq!(coordinates.to_multi_float32().unwrap(), [1.5, 2.5]);
        assert_eq!(read.element(tags::PATIENT_NAME).unwrap().to_str().unwrap(), "A^B");
        let pixels = read.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap();
        assert_eq!(pixels[..], [1, 2, 3, 0]);
        let pointer = read.element(tags::DIMENSION_INDEX_POINTER).unwrap();
        let to = dicom_core::PrimitiveValue::from(tags::REFERENCED_SEGMENT_NUMBER);
        assert_eq!(pointer.value().primitive().unwrap(), &to);
    }

    #[test]
    fn dicom_rs_reads_the_header_and_the_data_set_is_what_follows() {
        let mut file =
            file_header("1.2.840", "1.2.3", "1.2.840.10008.1.2.1", Some("XRAY1")).unwrap();
        let meta = FileMetaTable::from_reader(&file[128..]).unwrap();
        assert_eq!(meta.media_storage_sop_instance_uid().trim_end_matches('\0'), "1.2.3");
        assert_eq!(meta.transfer_syntax().trim_end_matches('\0'), "1.2.840.10008.1.2.1");
        assert_eq!(meta.source_application_entity_title.as_deref().map(str::trim), Some("XRAY1"));
        assert!(IMPLEMENTATION_VERSION.len() <= 16);

        assert_eq!(data_set(&file), Some(&[][..]));
        file.extend_from_slice(b"pixels");
        assert_eq!(data_set(&file), Some(&b"pixels"[..]));
        assert_eq!(data_set(&file[..100]), None);
        assert_eq!(data_set(&file[..200]), None);
    }

    #[test]
    fn a_value_longer_than_its_representation_is_refused() {
        let mut set = DataSet::default();
        set.text(tags::PATIENT_NAME, &"x".repeat(65_535));
        let error = set.into_file("1.2", "1.3").unwrap_err().to_string();
        assert_eq!(
            error,
            "element (0010,0010) has 65536 bytes, its value representation allows 65534"
        );
    }
}
