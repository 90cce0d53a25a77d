//! The image that a result is about: which of its attributes go into the objects, as the bytes that they are.

use crate::{
    ResultsError,
    dataset::{DataSet, Value},
    time,
};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use radiograph::{Attribute, AttributeValue, Header, TransferSyntax, elements::vr_in_dictionary};
use std::collections::BTreeMap;

/// Who and which study. Never repaired: a wrong value stays the same wrong value, so that objects end up beside the image.
const IDENTITY: [Tag; 12] = [
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STUDY_ID,
    tags::ACCESSION_NUMBER,
    tags::ISSUER_OF_PATIENT_ID,
    tags::SPECIFIC_CHARACTER_SET,
];

/// Optional. A value that its definition does not allow is left out: it would make the whole object invalid.
const OPTIONAL: [Tag; 14] = [
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::PATIENT_AGE,
    tags::PATIENT_SIZE,
    tags::PATIENT_WEIGHT,
    tags::PATIENT_COMMENTS,
    tags::PATIENT_IDENTITY_REMOVED,
    tags::DEIDENTIFICATION_METHOD,
    tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
    tags::STUDY_DESCRIPTION,
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::PROCEDURE_CODE_SEQUENCE,
    tags::REFERENCED_STUDY_SEQUENCE,
    tags::ADMISSION_ID,
];

/// Looked at, or copied into one kind of object.
const LOOKED_AT: [Tag; 18] = [
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::MODALITY,
    tags::VIEW_POSITION,
    tags::ROWS,
    tags::COLUMNS,
    tags::PIXEL_SPACING,
    tags::IMAGER_PIXEL_SPACING,
    tags::PATIENT_ORIENTATION,
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::LOSSY_IMAGE_COMPRESSION_METHOD,
    tags::MANUFACTURER,
    tags::MANUFACTURER_MODEL_NAME,
    tags::STATION_NAME,
    tags::INSTITUTION_NAME,
    tags::SERIES_NUMBER,
];

#[derive(Clone, Debug)]
pub(crate) struct Source {
    found: BTreeMap<Tag, Value>,
    /// How its pixels lost something, if they are compressed that way: a defined term of C.7.6.1.1.5.
    pub(crate) lossy_method: Option<&'static str>,
    pub(crate) sop_class_uid: String,
    pub(crate) sop_instance_uid: String,
    pub(crate) study_instance_uid: String,
    pub(crate) series_instance_uid: String,
}

impl Source {
    /// Of a DICOM file.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ResultsError> {
        let wanted: Vec<Tag> = [&IDENTITY[..], &OPTIONAL, &LOOKED_AT].concat();
        let mut found = BTreeMap::new();
        for attribute in radiograph::attributes(bytes, &wanted).map_err(ResultsError::Source)? {
            let tag = attribute.tag;
            match value(attribute) {
                Some(value) => drop(found.insert(tag, value)),
                None if IDENTITY.contains(&tag) => {
                    let found = "of another value representation".into();
                    let expected = "text";
                    return Err(ResultsError::Value { name: name(tag), found, expected });
                }
                None => {}
            }
        }
        let mut source = Self {
            found,
            lossy_method: radiograph::header(bytes).ok().and_then(|header| lossy_method(&header)),
            sop_class_uid: String::new(),
            sop_instance_uid: String::new(),
            study_instance_uid: String::new(),
            series_instance_uid: String::new(),
        };
        source.sop_class_uid = source.uid(tags::SOP_CLASS_UID, "SOPClassUID")?;
        source.sop_instance_uid = source.uid(tags::SOP_INSTANCE_UID, "SOPInstanceUID")?;
        source.study_instance_uid = source.uid(tags::STUDY_INSTANCE_UID, "StudyInstanceUID")?;
        source.series_instance_uid = source.uid(tags::SERIES_INSTANCE_UID, "SeriesInstanceUID")?;
        Ok(source)
    }

    /// Patient and study, for every object.
    pub(crate) fn patient_and_study(&self) -> DataSet {
        let mut set = DataSet::default();
        let (always, if_any) = IDENTITY.split_at(10);
        for tag in always {
            if !self.copy(*tag, &mut set) {
                set.empty(*tag);
            }
        }
        let valid = OPTIONAL.iter().filter(|tag| self.is_valid(**tag));
        for tag in if_any.iter().chain(valid) {
            self.copy_if_any(*tag, &mut set);
        }
        set
    }

    /// Text for comparison: without padding, and with `?` for whatever is not ASCII.
    pub(crate) fn text(&self, tag: Tag) -> String {
        let Some(Value::Bytes(bytes)) = self.found.get(&tag) else { return String::new() };
        let ascii = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '?' };
        let text: String = bytes.iter().map(ascii).collect();
        text.trim_matches([' ', '\0']).to_owned()
    }

    /// The first value of a number in two bytes.
    pub(crate) fn number(&self, tag: Tag) -> Option<u16> {
        let Some(Value::Bytes(bytes)) = self.found.get(&tag) else { return None };
        bytes.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
    }

    /// Copies an element, empty or not; whether it is there.
    pub(crate) fn copy(&self, tag: Tag, to: &mut DataSet) -> bool {
        let value = self.found.get(&tag);
        if let Some(value) = value {
            to.put(tag, vr_in_dictionary(tag), value.clone());
        }
        value.is_some()
    }

    /// Copies an element that has a value; whether it does.
    pub(crate) fn copy_if_any(&self, tag: Tag, to: &mut DataSet) -> bool {
        let has_value = match self.found.get(&tag) {
            Some(Value::Bytes(bytes)) => bytes.iter().any(|byte| !matches!(byte, b' ' | 0)),
            Some(Value::Items(items)) => !items.is_empty(),
            None => false,
        };
        has_value && self.copy(tag, to)
    }

    /// Timezone Offset From UTC if it is copied; otherwise empty.
    pub(crate) fn offset(&self) -> String {
        let tag = tags::TIMEZONE_OFFSET_FROM_UTC;
        if self.is_valid(tag) { self.text(tag) } else { String::new() }
    }

    fn uid(&self, tag: Tag, name: &'static str) -> Result<String, ResultsError> {
        let uid = self.text(tag);
        if uid.is_empty() {
            return Err(ResultsError::Missing { name });
        }
        if uid.len() > 64 || !uid.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let (found, expected) = (format!("{:.70?}", uid), "at most 64 digits and dots");
            return Err(ResultsError::Value { name, found, expected });
        }
        Ok(uid)
    }

    /// Whether an optional value is what its definition allows.
    fn is_valid(&self, tag: Tag) -> bool {
        let text = self.text(tag);
        match tag {
            tags::TIMEZONE_OFFSET_FROM_UTC => time::is_offset(&text),
            tags::PATIENT_AGE => {
                let bytes = text.as_bytes();
                bytes.len() == 4
                    && bytes[..3].iter().all(u8::is_ascii_digit)
                    && matches!(bytes[3], b'D' | b'W' | b'M' | b'Y')
            }
            tags::PATIENT_SIZE | tags::PATIENT_WEIGHT => {
                text.len() <= 16 && text.parse::<f64>().is_ok_and(f64::is_finite)
            }
            tags::PATIENT_IDENTITY_REMOVED => {
                text == "NO"
                    || text == "YES"
                        && (!self.text(tags::DEIDENTIFICATION_METHOD).is_empty()
                            || self.are_codes(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE))
            }
            tags::PROCEDURE_CODE_SEQUENCE | tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE => {
                self.are_codes(tag)
            }
            tags::OTHER_PATIENT_I_DS_SEQUENCE => {
                self.have_values(tag, &[tags::PATIENT_ID, tags::TYPE_OF_PATIENT_ID])
            }
            tags::REFERENCED_STUDY_SEQUENCE => {
                let needed = [tags::REFERENCED_SOP_CLASS_UID, tags::REFERENCED_SOP_INSTANCE_UID];
                self.have_values(tag, &needed)
            }
            // Characters are not bytes where a character set is named; there nothing is left out.
            _ => {
                let most = match vr_in_dictionary(tag) {
                    VR::SH => 16,
                    VR::LO => 64,
                    VR::LT => 10_240,
                    _ => usize::MAX,
                };
                !self.text(tags::SPECIFIC_CHARACTER_SET).is_empty()
                    || text.split('\\').all(|value| value.len() <= most)
            }
        }
    }

    fn are_codes(&self, tag: Tag) -> bool {
        self.have_values(tag, &[tags::CODE_MEANING])
            && (self.have_values(tag, &[tags::CODE_VALUE, tags::CODING_SCHEME_DESIGNATOR])
                || self.have_values(tag, &[tags::LONG_CODE_VALUE, tags::CODING_SCHEME_DESIGNATOR]))
    }

    fn have_values(&self, sequence: Tag, needed: &[Tag]) -> bool {
        let Some(Value::Items(items)) = self.found.get(&sequence) else { return false };
        items.iter().all(|item| needed.iter().all(|tag| item.has_value(*tag)))
    }
}

fn lossy_method(header: &Header) -> Option<&'static str> {
    match header.transfer_syntax {
        TransferSyntax::JpegBaseline | TransferSyntax::JpegExtended => Some("ISO_10918_1"),
        TransferSyntax::JpegLs => Some("ISO_14495_1"),
        TransferSyntax::Jpeg2000 => Some("ISO_15444_1"),
        TransferSyntax::Htj2k => Some("ISO_15444_15"),
        _ => None,
    }
}

/// An attribute as it is written: text without NUL at its end, sequences without what only their maker understands.
fn value(attribute: Attribute) -> Option<Value> {
    let expected = vr_in_dictionary(attribute.tag);
    match attribute.value {
        AttributeValue::Items(items) if expected == VR::SQ => {
            Some(Value::Items(items.into_iter().map(nested).collect()))
        }
        AttributeValue::Bytes(bytes) if expected == VR::US && attribute.vr == VR::US => {
            Some(Value::Bytes(bytes))
        }
        AttributeValue::Bytes(bytes) if is_text(expected) && is_text(attribute.vr) => {
            Some(Value::Bytes(unpadded(bytes, expected)))
        }
        AttributeValue::Items(_) | AttributeValue::Bytes(_) => None,
    }
}

fn nested(attributes: Vec<Attribute>) -> DataSet {
    let mut set = DataSet::default();
    for Attribute { tag, vr, value } in attributes {
        let is_ours_to_copy = tag.group() % 2 == 0 && tag.element() != 0 && vr != VR::UN;
        if !is_ours_to_copy {
            continue;
        }
        let value = match value {
            AttributeValue::Items(items) => Value::Items(items.into_iter().map(nested).collect()),
            AttributeValue::Bytes(bytes) if is_text(vr) => Value::Bytes(unpadded(bytes, vr)),
            AttributeValue::Bytes(bytes) => Value::Bytes(bytes),
        };
        set.put(tag, vr, value);
    }
    set
}

fn unpadded(mut bytes: Vec<u8>, vr: VR) -> Vec<u8> {
    let is_padding = |byte: &u8| *byte == 0 || vr == VR::UI && *byte == b' ';
    while bytes.last().is_some_and(is_padding) {
        bytes.pop();
    }
    bytes
}

fn is_text(vr: VR) -> bool {
    use VR::{AE, AS, CS, DA, DS, DT, IS, LO, LT, PN, SH, ST, TM, UC, UI, UR, UT};
    matches!(vr, AE | AS | CS | DA | DS | DT | IS | LO | LT | PN | SH | ST | TM | UC | UI | UR | UT)
}

fn name(tag: Tag) -> &'static str {
    use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
    dicom_dictionary_std::StandardDataDictionary.by_tag(tag).map_or("attribute", |e| e.alias())
}
