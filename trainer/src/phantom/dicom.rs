//! A phantom as the file an X-ray machine sends: DX for presentation, 12 bits.

use super::study::Study;
use anyhow::{Context, Result};
use dicom_core::{DataElement, PrimitiveValue, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

/// Bytes of a DICOM file; `inverted` makes it MONOCHROME1, where 0 is white.
pub(super) fn encode(study: &Study, seed: u64, number: usize, inverted: bool) -> Result<Vec<u8>> {
    let record = &study.record;
    let picture = &study.rendered.picture;
    let pixels: Vec<u16> = picture
        .values
        .iter()
        .map(|value| {
            let stored = (value * 4095.0).round() as u16;
            if inverted { 4095 - stored } else { stored }
        })
        .collect();
    // UIDs derived from a number need no registered root (PS3.5 B.2).
    let uid = |kind: u64| {
        format!(
            "2.25.{}",
            1_000_000_000_000 + seed % 1_000_000 * 1_000_000 + number as u64 * 10 + kind
        )
    };
    let instance = uid(3);
    let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let short = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let spacing = format!("{:.4}", 430.0 / picture.height as f64);
    let (photometric, shape) =
        if inverted { ("MONOCHROME1", "INVERSE") } else { ("MONOCHROME2", "IDENTITY") };

    let object = InMemDicomObject::from_element_iter([
        text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
        DataElement::new(tags::IMAGE_TYPE, VR::CS, dicom_value!(Strs, ["DERIVED", "PRIMARY"])),
        text(tags::SOP_CLASS_UID, VR::UI, uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION),
        text(tags::SOP_INSTANCE_UID, VR::UI, &instance),
        text(tags::STUDY_DATE, VR::DA, "20260101"),
        text(tags::CONTENT_DATE, VR::DA, "20260101"),
        text(tags::STUDY_TIME, VR::TM, "120000"),
        text(tags::CONTENT_TIME, VR::TM, "120000"),
        text(tags::ACCESSION_NUMBER, VR::SH, &format!("PH{number:05}")),
        text(tags::MODALITY, VR::CS, "DX"),
        text(tags::PRESENTATION_INTENT_TYPE, VR::CS, "FOR PRESENTATION"),
        text(tags::MANUFACTURER, VR::LO, "phantom"),
        text(tags::REFERRING_PHYSICIAN_NAME, VR::PN, ""),
        text(tags::STUDY_DESCRIPTION, VR::LO, "Phantom chest"),
        text(tags::PATIENT_NAME, VR::PN, &format!("Phantom^{}", record.patient_id)),
        text(tags::PATIENT_ID, VR::LO, &record.patient_id),
        text(tags::PATIENT_BIRTH_DATE, VR::DA, ""),
        text(tags::PATIENT_SEX, VR::CS, record.sex.as_deref().unwrap_or("O")),
        text(tags::BODY_PART_EXAMINED, VR::CS, "CHEST"),
        text(tags::VIEW_POSITION, VR::CS, &record.view),
        text(tags::STUDY_INSTANCE_UID, VR::UI, &uid(1)),
        text(tags::SERIES_INSTANCE_UID, VR::UI, &uid(2)),
        text(tags::STUDY_ID, VR::SH, "1"),
        text(tags::SERIES_NUMBER, VR::IS, "1"),
        text(tags::INSTANCE_NUMBER, VR::IS, "1"),
        DataElement::new(tags::PATIENT_ORIENTATION, VR::CS, dicom_value!(Strs, ["L", "F"])),
        text(tags::IMAGE_LATERALITY, VR::CS, "U"),
        short(tags::SAMPLES_PER_PIXEL, 1),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric),
        short(tags::ROWS, picture.height as u16),
        short(tags::COLUMNS, picture.width as u16),
        DataElement::new(
            tags::IMAGER_PIXEL_SPACING,
            VR::DS,
            dicom_value!(Strs, [spacing.clone(), spacing]),
        ),
        short(tags::BITS_ALLOCATED, 16),
        short(tags::BITS_STORED, 12),
        short(tags::HIGH_BIT, 11),
        short(tags::PIXEL_REPRESENTATION, 0),
        text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO"),
        text(tags::PIXEL_INTENSITY_RELATIONSHIP, VR::CS, "LOG"),
        DataElement::new(
            tags::PIXEL_INTENSITY_RELATIONSHIP_SIGN,
            VR::SS,
            PrimitiveValue::from(1i16),
        ),
        text(tags::WINDOW_CENTER, VR::DS, "2048"),
        text(tags::WINDOW_WIDTH, VR::DS, "4096"),
        text(tags::RESCALE_INTERCEPT, VR::DS, "0"),
        text(tags::RESCALE_SLOPE, VR::DS, "1"),
        text(tags::RESCALE_TYPE, VR::LO, "US"),
        text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"),
        text(tags::PRESENTATION_LUT_SHAPE, VR::CS, shape),
        DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())),
    ]);
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .media_storage_sop_class_uid(uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION)
        .media_storage_sop_instance_uid(instance);
    let file = object.with_meta(meta).context("cannot describe the DICOM file")?;
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).context("cannot encode the DICOM file")?;
    Ok(bytes)
}
