//! Secondary Capture: the overlay as a picture that every viewer shows.

use crate::{
    Kind, ResultsError,
    dataset::DataSet,
    modules::{Context, DISCLAIMER, named},
};
use dicom_dictionary_std::tags;
use image::RgbImage;

pub(crate) fn write(context: &Context<'_>, drawing: RgbImage) -> Result<DataSet, ResultsError> {
    let (width, height) = drawing.dimensions();
    let side = |side: u32| u16::try_from(side).ok().filter(|side| *side > 0);
    let (Some(columns), Some(rows)) = (side(width), side(height)) else {
        return Err(ResultsError::DrawingSize { width, height });
    };
    let mut set = context.start(Kind::Sc);
    set.text(tags::IMAGE_TYPE, "DERIVED\\SECONDARY");
    set.text(tags::BURNED_IN_ANNOTATION, "YES");
    set.text(tags::IMAGE_COMMENTS, &format!("{DISCLAIMER}. Output of an algorithm."));
    let drawn = "radiograph with regions and boxes found by an algorithm; unverified, not for diagnostic use";
    set.text(tags::DERIVATION_DESCRIPTION, drawn);
    set.item(tags::SOURCE_IMAGE_SEQUENCE, context.source_image());
    context.chest(&mut set);
    context.lossy_compression(&mut set);
    context.common_instance_reference(&mut set);

    set.text(tags::CONVERSION_TYPE, "WSD");
    set.text(tags::DATE_OF_SECONDARY_CAPTURE, &context.moment.date);
    set.text(tags::TIME_OF_SECONDARY_CAPTURE, &context.moment.time);
    let device = context.device;
    set.text(tags::SECONDARY_CAPTURE_DEVICE_MANUFACTURER, &named(&device.manufacturer));
    set.text(tags::SECONDARY_CAPTURE_DEVICE_MANUFACTURER_MODEL_NAME, &named(&device.model));

    set.u16s(tags::SAMPLES_PER_PIXEL, &[3]);
    set.text(tags::PHOTOMETRIC_INTERPRETATION, "RGB");
    set.u16s(tags::PLANAR_CONFIGURATION, &[0]);
    set.u16s(tags::ROWS, &[rows]);
    set.u16s(tags::COLUMNS, &[columns]);
    set.u16s(tags::BITS_ALLOCATED, &[8]);
    set.u16s(tags::BITS_STORED, &[8]);
    set.u16s(tags::HIGH_BIT, &[7]);
    set.u16s(tags::PIXEL_REPRESENTATION, &[0]);
    set.bytes(tags::PIXEL_DATA, drawing.into_raw());
    Ok(set)
}
