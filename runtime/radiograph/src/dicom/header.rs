//! What we read of a header: for the gate, for reports, for decoding.

use super::{TransferSyntax, values::Elements};
use crate::RadiographError;
use dicom_dictionary_std::tags;

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
        elements: &Elements<'_>,
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
            view_position: or_else(text(tags::VIEW_POSITION), || view_code(elements))?,
            body_part: or_else(text(tags::BODY_PART_EXAMINED), || {
                let sequence = (tags::ANATOMIC_REGION_SEQUENCE, "AnatomicRegionSequence");
                elements.code(sequence, tags::CODE_MEANING)
            })?,
            patient_orientation: [
                orientation.next().unwrap_or_default(),
                orientation.next().unwrap_or_default(),
            ],
            photometric: text(tags::PHOTOMETRIC_INTERPRETATION),
            rows: elements.count(tags::ROWS, "Rows")?,
            columns: elements.count(tags::COLUMNS, "Columns")?,
            frames: elements.frames()?,
            bits_stored: elements.count(tags::BITS_STORED, "BitsStored")?,
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

/// The view of CID 4010, in the words of View Position; others by their meaning.
fn view_code(elements: &Elements<'_>) -> Result<String, RadiographError> {
    let sequence = (tags::VIEW_CODE_SEQUENCE, "ViewCodeSequence");
    let code = elements.code(sequence, tags::CODE_VALUE)?;
    Ok(match code.as_str() {
        "R-10206" | "399348003" => "AP".into(),
        "R-10214" | "272479007" => "PA".into(),
        "R-1022D" | "399198007" => "RL".into(),
        "R-10236" | "399173006" => "LL".into(),
        _ => elements.code(sequence, tags::CODE_MEANING)?,
    })
}

fn or_else(
    text: String,
    other: impl FnOnce() -> Result<String, RadiographError>,
) -> Result<String, RadiographError> {
    if text.is_empty() { other() } else { Ok(text) }
}
