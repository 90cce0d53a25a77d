//! What we read of a header: for the gate, for reports, for decoding.

use super::{TransferSyntax, scan::DataSet};
use crate::{RadiographError, contain::contain};
use dicom_core::{PrimitiveValue, Tag};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// Attributes of a radiograph. Text is trimmed and free of control characters; what is absent is
/// empty. UIDs consist of digits and dots only, so that they may become parts of file names.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Header {
    pub transfer_syntax: TransferSyntax,
    pub sop_class_uid: String,
    pub sop_instance_uid: String,
    pub study_instance_uid: String,
    pub series_instance_uid: String,
    /// `CR`, `DX`, …
    pub modality: String,
    /// `AP`, `PA`, `LL`, …; from the View Code Sequence where View Position is empty.
    pub view_position: String,
    /// Body Part Examined, or the meaning of the Anatomic Region Sequence.
    pub body_part: String,
    /// Where rows and columns of the picture run: `["L", "F"]` upright and not mirrored.
    pub patient_orientation: [String; 2],
    pub photometric: String,
    pub rows: u32,
    pub columns: u32,
    pub frames: u32,
    pub bits_stored: u32,
    /// Millimetres between rows and between columns, at the detector; `None` unless positive.
    pub pixel_spacing: Option<[f64; 2]>,
    pub patient_id: String,
    pub patient_name: String,
    pub patient_birth_date: String,
    pub patient_sex: String,
    pub accession_number: String,
    pub study_id: String,
    pub study_date: String,
    pub study_time: String,
    pub manufacturer: String,
}

impl Header {
    pub(crate) fn parse(
        elements: &Elements,
        transfer_syntax: TransferSyntax,
    ) -> Result<Self, RadiographError> {
        let text = |tag| elements.text(tag);
        let sop_instance_uid = elements.uid(tags::SOP_INSTANCE_UID, "SOPInstanceUID")?;
        if sop_instance_uid.is_empty() {
            return Err(RadiographError::Missing { name: "SOPInstanceUID" });
        }
        let mut orientation = elements.texts(tags::PATIENT_ORIENTATION).into_iter();
        Ok(Self {
            transfer_syntax,
            sop_class_uid: elements.uid(tags::SOP_CLASS_UID, "SOPClassUID")?,
            sop_instance_uid,
            study_instance_uid: elements.uid(tags::STUDY_INSTANCE_UID, "StudyInstanceUID")?,
            series_instance_uid: elements.uid(tags::SERIES_INSTANCE_UID, "SeriesInstanceUID")?,
            modality: text(tags::MODALITY),
            view_position: or_else(text(tags::VIEW_POSITION), || elements.view_code()),
            body_part: or_else(text(tags::BODY_PART_EXAMINED), || {
                elements.code(tags::ANATOMIC_REGION_SEQUENCE, tags::CODE_MEANING)
            }),
            patient_orientation: [
                orientation.next().unwrap_or_default(),
                orientation.next().unwrap_or_default(),
            ],
            photometric: text(tags::PHOTOMETRIC_INTERPRETATION),
            rows: elements.count(tags::ROWS, "Rows", None)?,
            columns: elements.count(tags::COLUMNS, "Columns", None)?,
            frames: elements.count(tags::NUMBER_OF_FRAMES, "NumberOfFrames", Some(1))?,
            bits_stored: elements.count(tags::BITS_STORED, "BitsStored", None)?,
            pixel_spacing: elements.spacing(),
            patient_id: text(tags::PATIENT_ID),
            patient_name: text(tags::PATIENT_NAME),
            patient_birth_date: text(tags::PATIENT_BIRTH_DATE),
            patient_sex: text(tags::PATIENT_SEX),
            accession_number: text(tags::ACCESSION_NUMBER),
            study_id: text(tags::STUDY_ID),
            study_date: text(tags::STUDY_DATE),
            study_time: text(tags::STUDY_TIME),
            manufacturer: text(tags::MANUFACTURER),
        })
    }
}

/// The elements we ask for, decoded by dicom-object.
pub(crate) struct Elements(InMemDicomObject);

const WANTED: &[Tag] = &[
    tags::SPECIFIC_CHARACTER_SET,
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::MODALITY,
    tags::MANUFACTURER,
    tags::ANATOMIC_REGION_SEQUENCE,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::BODY_PART_EXAMINED,
    tags::IMAGER_PIXEL_SPACING,
    tags::VIEW_POSITION,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::STUDY_ID,
    tags::PATIENT_ORIENTATION,
    tags::VIEW_CODE_SEQUENCE,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PLANAR_CONFIGURATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::PIXEL_SPACING,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::PIXEL_PADDING_VALUE,
    tags::PIXEL_PADDING_RANGE_LIMIT,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::VOILUT_FUNCTION,
    tags::MODALITY_LUT_SEQUENCE,
    tags::VOILUT_SEQUENCE,
];

impl Elements {
    pub(crate) fn read(data_set: &DataSet<'_>) -> Result<Self, RadiographError> {
        let bytes = data_set.only(WANTED);
        let encoding = data_set.syntax.data_set_encoding();
        contain("DICOM header", || {
            InMemDicomObject::read_dataset_with_ts(bytes.as_slice(), encoding)
        })
        .map(Self)
    }

    fn value(&self, tag: Tag) -> Option<&PrimitiveValue> {
        self.0.get(tag)?.value().primitive()
    }

    /// Items of a sequence; none if it is absent.
    pub(crate) fn items(&self, tag: Tag) -> &[InMemDicomObject] {
        self.0.get(tag).and_then(|element| element.items()).unwrap_or_default()
    }

    /// Empty if absent.
    pub(crate) fn text(&self, tag: Tag) -> String {
        self.value(tag).map(|value| clean(&value.to_str())).unwrap_or_default()
    }

    /// The values of a multi-valued text.
    pub(crate) fn texts(&self, tag: Tag) -> Vec<String> {
        let value = self.value(tag).map(|value| value.to_multi_str());
        value.iter().flat_map(|texts| texts.iter()).map(|text| clean(text)).collect()
    }

    /// Empty if absent; anything but digits and dots is refused.
    fn uid(&self, tag: Tag, name: &'static str) -> Result<String, RadiographError> {
        let uid = self.text(tag);
        if uid.len() > 64 || !uid.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let found = format!("{:?}", shortened(&uid));
            let expected = "at most 64 digits and dots";
            return Err(RadiographError::Value { name, found, expected });
        }
        Ok(uid)
    }

    /// An integer; `None` if absent or empty.
    pub(crate) fn integer(
        &self,
        tag: Tag,
        name: &'static str,
    ) -> Result<Option<i64>, RadiographError> {
        let Some(value) = self.value(tag).filter(|value| value.multiplicity() > 0) else {
            return Ok(None);
        };
        if value.to_str().trim().is_empty() {
            return Ok(None);
        }
        value.to_int().map(Some).map_err(|_| {
            let found = format!("{:?}", shortened(&clean(&value.to_str())));
            RadiographError::Value { name, found, expected: "an integer" }
        })
    }

    /// A number of things: at least 1.
    pub(crate) fn count(
        &self,
        tag: Tag,
        name: &'static str,
        default: Option<u32>,
    ) -> Result<u32, RadiographError> {
        let Some(value) = self.integer(tag, name)? else {
            return default.ok_or(RadiographError::Missing { name });
        };
        u32::try_from(value).ok().filter(|n| *n > 0).ok_or_else(|| RadiographError::Value {
            name,
            found: value.to_string(),
            expected: "at least 1",
        })
    }

    /// The first value of a decimal string, finite; `None` if absent or empty.
    pub(crate) fn decimal(
        &self,
        tag: Tag,
        name: &'static str,
    ) -> Result<Option<f64>, RadiographError> {
        let Some(text) = self.texts(tag).into_iter().next().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => {
                let found = format!("{:?}", shortened(&text));
                Err(RadiographError::Value { name, found, expected: "a finite number" })
            }
        }
    }

    fn spacing(&self) -> Option<[f64; 2]> {
        [tags::IMAGER_PIXEL_SPACING, tags::PIXEL_SPACING].into_iter().find_map(|tag| {
            let texts = self.texts(tag);
            let [rows, columns] = texts.as_slice() else { return None };
            let spacing = [rows.parse().ok()?, columns.parse().ok()?];
            spacing.iter().all(|mm: &f64| *mm > 0.0 && mm.is_finite()).then_some(spacing)
        })
    }

    /// An attribute of the first item of a code sequence.
    fn code(&self, sequence: Tag, tag: Tag) -> String {
        let item = self.items(sequence).first();
        let value = item.and_then(|item| item.get(tag)?.value().primitive());
        value.map(|value| clean(&value.to_str())).unwrap_or_default()
    }

    /// The view of CID 4010, in the words of View Position; others by their meaning.
    fn view_code(&self) -> String {
        match self.code(tags::VIEW_CODE_SEQUENCE, tags::CODE_VALUE).as_str() {
            "R-10206" | "399348003" => "AP".into(),
            "R-10214" | "272479007" => "PA".into(),
            "R-1022D" | "399198007" => "RL".into(),
            "R-10236" | "399173006" => "LL".into(),
            _ => self.code(tags::VIEW_CODE_SEQUENCE, tags::CODE_MEANING),
        }
    }
}

fn or_else(text: String, other: impl FnOnce() -> String) -> String {
    if text.is_empty() { other() } else { text }
}

/// Without padding and control characters.
fn clean(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !c.is_control()).collect();
    visible.trim().to_owned()
}

/// Enough of a wrong value to recognise it.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}
