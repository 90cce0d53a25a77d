//! What a header says of view, part and purpose outside the attributes made for it.

use crate::support::Phantom;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use radiograph::{NotAnalysed, gate_header, header};

fn verdict(phantom: &Phantom) -> Result<(), NotAnalysed> {
    gate_header(&header(&phantom.file()).unwrap())
}

/// A frontal chest whose header does not say so.
fn silent() -> Phantom {
    Phantom::draw(12, false).with(tags::VIEW_POSITION, VR::CS, "").with(
        tags::BODY_PART_EXAMINED,
        VR::CS,
        "",
    )
}

fn code(tag: Tag, code: &str, meaning: &str) -> Vec<DataElement<InMemDicomObject>> {
    let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    vec![text(tag, VR::SH, code), text(tags::CODE_MEANING, VR::LO, meaning)]
}

fn view(found: &str) -> Result<(), NotAnalysed> {
    Err(NotAnalysed::View(found.into()))
}

#[test]
fn a_view_from_the_side_is_known_by_its_description() {
    assert_eq!(verdict(&silent()), Ok(()));
    for (tag, vr, text, is_side) in [
        (tags::SERIES_DESCRIPTION, VR::LO, "Chest Lateral", true),
        (tags::SERIES_DESCRIPTION, VR::LO, "Thorax seitlich", true),
        (tags::PROTOCOL_NAME, VR::LO, "W033 THORAX LAT.", true),
        (tags::ACQUISITION_DEVICE_PROCESSING_DESCRIPTION, VR::LO, "CHEST,LATERAL", true),
        (tags::BODY_PART_EXAMINED, VR::CS, "CHEST LAT", true),
        (tags::SERIES_DESCRIPTION, VR::LO, "CHEST PA/LAT", false),
        (tags::SERIES_DESCRIPTION, VR::LO, "CHEST 2 VIEWS", false),
        (tags::SERIES_DESCRIPTION, VR::LO, "Chest bed side", false),
        (tags::SERIES_DESCRIPTION, VR::LO, "BILATERAL CHEST TUBES", false),
        (tags::PROTOCOL_NAME, VR::LO, "Profile 3", false),
    ] {
        let expected = if is_side { view(text) } else { Ok(()) };
        assert_eq!(verdict(&silent().with(tag, vr, text)), expected, "{text}");
        // What View Position says stands.
        let frontal = silent().with(tags::VIEW_POSITION, VR::CS, "PA").with(tag, vr, text);
        assert_eq!(verdict(&frontal), Ok(()), "{text}");
    }
}

#[test]
fn a_coded_view_is_known_by_its_code_its_meaning_or_not_at_all() {
    for (tag, value, meaning, expected) in [
        (tags::CODE_VALUE, "R-10206", "", Ok(())),
        (tags::CODE_VALUE, "272479007", "postero-anterior", Ok(())),
        (tags::CODE_VALUE, "LOCAL1", "Antero-posterior", Ok(())),
        (tags::CODE_VALUE, "R-10232", "", view("R-10232")),
        (tags::CODE_VALUE, "260427000", "lateral", view("lateral")),
        (tags::LONG_CODE_VALUE, "399173006", "", view("LL")),
    ] {
        let coded = silent().with_item(tags::VIEW_CODE_SEQUENCE, code(tag, value, meaning));
        assert_eq!(verdict(&coded), expected, "{value} {meaning}");
    }
    let lateral = code(tags::CODE_VALUE, "399173006", "left lateral");
    let both = Phantom::draw(12, false).with_item(tags::VIEW_CODE_SEQUENCE, lateral);
    assert_eq!(verdict(&both), view("PA, LL"));
}

#[test]
fn a_coded_part_is_known_by_its_code_its_meaning_or_not_at_all() {
    let part = |found: &str| Err(NotAnalysed::BodyPart(found.into()));
    for (value, meaning, expected) in [
        ("T-D3000", "", Ok(())),
        ("51185008", "Thorax", Ok(())),
        ("816094009", "", Ok(())),
        ("LOCAL1", "Chest", Ok(())),
        ("T-D8700", "", part("T-D8700")),
        ("T-D8700", "Hand", part("Hand")),
    ] {
        let region = code(tags::CODE_VALUE, value, meaning);
        let coded = silent().with_item(tags::ANATOMIC_REGION_SEQUENCE, region);
        assert_eq!(verdict(&coded), expected, "{value} {meaning}");
    }
}

#[test]
fn raw_pictures_are_not_analysed() {
    let chest = Phantom::draw(12, false);
    let intent = |word| chest.clone().with(tags::PRESENTATION_INTENT_TYPE, VR::CS, word);
    assert_eq!(verdict(&intent("FOR PRESENTATION")), Ok(()));
    assert_eq!(verdict(&intent("FOR PROCESSING")), Err(NotAnalysed::ForProcessing));
    let class = uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING;
    let raw = chest.clone().with(tags::SOP_CLASS_UID, VR::UI, class);
    assert_eq!(verdict(&raw), Err(NotAnalysed::ForProcessing));
}

#[test]
fn pixels_that_are_not_square_are_not_analysed() {
    let chest = Phantom::draw(12, false);
    for (tag, vr, value, expected) in [
        (tags::IMAGER_PIXEL_SPACING, VR::DS, "0.143\\0.144", Ok(())),
        (tags::IMAGER_PIXEL_SPACING, VR::DS, "0.2\\0.4", Err(NotAnalysed::Aspect(0.5))),
        (tags::PIXEL_ASPECT_RATIO, VR::IS, "2\\1", Err(NotAnalysed::Aspect(2.0))),
        (tags::PIXEL_ASPECT_RATIO, VR::IS, "1\\1", Ok(())),
        (tags::PIXEL_ASPECT_RATIO, VR::IS, "0\\1", Ok(())),
        (tags::PIXEL_ASPECT_RATIO, VR::IS, "4", Ok(())),
    ] {
        assert_eq!(verdict(&chest.clone().with(tag, vr, value)), expected, "{value}");
    }
    let both = chest.with(tags::PIXEL_SPACING, VR::DS, "0.2\\0.2");
    let both = both.with(tags::PIXEL_ASPECT_RATIO, VR::IS, "2\\1");
    assert_eq!(verdict(&both), Ok(()), "a spacing says more than a ratio");
}
