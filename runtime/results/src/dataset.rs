//! A data set to write: elements in the order of their tags, as explicit VR little endian, lengths defined. The same
//! elements give the same bytes.

use crate::ResultsError;
use dicom_core::{
    Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use std::collections::BTreeMap;

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
        self.put(tag, vr_of(tag), Value::Bytes(text.as_bytes().to_vec()));
    }

    /// An element of type 2 of which nothing is known.
    pub(crate) fn empty(&mut self, tag: Tag) {
        let value = match vr_of(tag) {
            VR::SQ => Value::Items(Vec::new()),
            _ => Value::Bytes(Vec::new()),
        };
        self.put(tag, vr_of(tag), value);
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

    fn write(&self, out: &mut Vec<u8>) -> Result<(), ResultsError> {
        for (tag, (vr, value)) in &self.0 {
            let mut nested = Vec::new();
            let bytes = match value {
                Value::Bytes(bytes) => bytes,
                Value::Items(items) => {
                    write_items(items, &mut nested)?;
                    &nested
                }
            };
            let odd = bytes.len() % 2;
            let code = vr.to_bytes();
            out.extend_from_slice(&tag.group().to_le_bytes());
            out.extend_from_slice(&tag.element().to_le_bytes());
            out.extend_from_slice(&code);
            if radiograph::has_long_length(code) {
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(&long_length(*tag, bytes.len() + odd)?.to_le_bytes());
            } else {
                let found = bytes.len() + odd;
                let most = usize::from(u16::MAX) - 1;
                let length = u16::try_from(found).map_err(|_| ResultsError::TooLong {
                    tag: *tag,
                    found,
                    most,
                })?;
                out.extend_from_slice(&length.to_le_bytes());
            }
            out.extend_from_slice(bytes);
            let padding = if matches!(vr, VR::UI | VR::OB | VR::UN) { 0 } else { b' ' };
            out.extend(std::iter::repeat_n(padding, odd));
        }
        Ok(())
    }

    /// The file of an object.
    pub(crate) fn into_file(
        self,
        sop_class: &str,
        sop_instance: &str,
    ) -> Result<Vec<u8>, ResultsError> {
        let mut meta = Self::default();
        meta.bytes(tags::FILE_META_INFORMATION_VERSION, vec![0, 1]);
        meta.text(tags::MEDIA_STORAGE_SOP_CLASS_UID, sop_class);
        meta.text(tags::MEDIA_STORAGE_SOP_INSTANCE_UID, sop_instance);
        meta.text(tags::TRANSFER_SYNTAX_UID, uids::EXPLICIT_VR_LITTLE_ENDIAN);
        meta.text(tags::IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_CLASS_UID);
        meta.text(tags::IMPLEMENTATION_VERSION_NAME, IMPLEMENTATION_VERSION);
        let mut group = Vec::new();
        meta.write(&mut group)?;
        let mut length = Self::default();
        length.u32s(tags::FILE_META_INFORMATION_GROUP_LENGTH, &[group.len() as u32]);

        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM");
        length.write(&mut file)?;
        file.extend_from_slice(&group);
        self.write(&mut file)?;
        Ok(file)
    }
}

fn write_items(items: &[DataSet], out: &mut Vec<u8>) -> Result<(), ResultsError> {
    const ITEM: Tag = Tag(0xFFFE, 0xE000);
    for item in items {
        let mut inside = Vec::new();
        item.write(&mut inside)?;
        out.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
        out.extend_from_slice(&long_length(ITEM, inside.len())?.to_le_bytes());
        out.extend_from_slice(&inside);
    }
    Ok(())
}

fn long_length(tag: Tag, found: usize) -> Result<u32, ResultsError> {
    let most = u32::MAX as usize - 1;
    match u32::try_from(found) {
        Ok(length) if length < u32::MAX => Ok(length),
        _ => Err(ResultsError::TooLong { tag, found, most }),
    }
}

/// Everything we write is in the dictionary.
pub(crate) fn vr_of(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_object::FileDicomObject;

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
