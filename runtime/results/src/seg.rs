//! Segmentation: every segment is a frame, pixel on pixel with the source. Masks are a BINARY one.

use crate::{
    Kind, ResultsError, Segment,
    dataset::DataSet,
    modules::{Context, DISCLAIMER, named},
    terms::{ascii, cie_lab, coded, dcm, laterality},
};
use bundle::LabelCode;
use dicom_dictionary_std::tags;

/// A segment with pixels in it.
pub(crate) struct Region {
    pub(crate) name: String,
    pub(crate) code: LabelCode,
    rows: u32,
    columns: u32,
    /// Packed, as [`Segment`] has them.
    bits: Vec<u8>,
}

impl Region {
    /// Pixels inside.
    pub(crate) fn area(&self) -> u64 {
        self.bits.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }
}

/// Those with a pixel: an empty segment is a frame nobody wants. Frames are numbered in this order, from 1.
pub(crate) fn regions(context: &Context<'_>) -> Result<Vec<Region>, ResultsError> {
    let source = |tag| context.source.number(tag).map(u32::from).unwrap_or_default();
    let expected = [source(tags::ROWS), source(tags::COLUMNS)];
    let mut regions = Vec::new();
    for segment in &context.record.segments {
        let Segment { name, rows, columns, .. } = segment;
        let found = [*rows, *columns];
        if found != expected {
            return Err(ResultsError::Shape { name: name.clone(), found, expected });
        }
        let mut bits = segment.unpack()?;
        // What lies behind the last pixel is none.
        let used = (*rows as usize * *columns as usize) % 8;
        if let Some(last) = bits.last_mut().filter(|_| used > 0) {
            *last &= (1 << used) - 1;
        }
        if bits.iter().any(|byte| *byte != 0) {
            let code = context.record.code(name);
            let name = ascii(name, 64);
            regions.push(Region { name, code, rows: *rows, columns: *columns, bits });
        }
    }
    Ok(regions)
}

/// `None` without regions.
pub(crate) fn write(context: &Context<'_>, regions: &[Region]) -> Option<DataSet> {
    let first = regions.first()?;
    let size = [first.rows, first.columns];
    let label = |region: &Region| Labelled {
        name: region.name.clone(),
        code: region.code.clone(),
        description: DISCLAIMER.into(),
        tracking: tracking(context, region),
    };
    let segments: Vec<Labelled> = regions.iter().map(label).collect();
    let pixels = first.rows as usize * first.columns as usize;
    // Bits run on from frame to frame without padding.
    let mut bits = vec![0; (pixels * regions.len()).div_ceil(8)];
    for (at, region) in regions.iter().enumerate() {
        let (start, shift) = (at * pixels / 8, at * pixels % 8);
        for (place, byte) in region.bits.iter().enumerate() {
            let [low, high] = (u16::from(*byte) << shift).to_le_bytes();
            bits[start + place] |= low;
            if high != 0 {
                bits[start + place + 1] |= high;
            }
        }
    }
    let mut set = segmentation(context, Kind::Seg, &segments, size, bits);
    set.text(tags::CONTENT_LABEL, "AI_REGIONS");
    set.text(tags::SEGMENTATION_TYPE, "BINARY");
    set.u16s(tags::BITS_ALLOCATED, &[1]);
    set.u16s(tags::BITS_STORED, &[1]);
    set.u16s(tags::HIGH_BIT, &[0]);
    Some(set)
}

/// What a segment shows.
pub(crate) struct Labelled {
    pub(crate) name: String,
    pub(crate) code: LabelCode,
    pub(crate) description: String,
    /// Identifier and UID.
    pub(crate) tracking: (String, String),
}

/// A segmentation whose every segment is a frame of the size of the source, without what depends on its type.
pub(crate) fn segmentation(
    context: &Context<'_>,
    kind: Kind,
    segments: &[Labelled],
    [rows, columns]: [u32; 2],
    pixels: Vec<u8>,
) -> DataSet {
    let mut set = context.start(kind);
    set.text(tags::IMAGE_TYPE, "DERIVED\\PRIMARY");
    set.text(tags::CONTENT_DESCRIPTION, DISCLAIMER);
    set.empty(tags::CONTENT_CREATOR_NAME);
    set.text(tags::BURNED_IN_ANNOTATION, "NO");
    set.text(tags::SEGMENTS_OVERLAP, "UNDEFINED");
    context.chest(&mut set);
    context.lossy_compression(&mut set);
    context.common_instance_reference(&mut set);

    let items = segments.iter().enumerate().map(|(at, labelled)| segment(context, at, labelled));
    set.items(tags::SEGMENT_SEQUENCE, items.collect());
    dimensions(context, kind, &mut set);
    let mut shared = DataSet::default();
    if let Some(spacing) = spacing(context) {
        let mut measures = DataSet::default();
        measures.text(tags::PIXEL_SPACING, &spacing);
        // A projection has none, but readers refuse pixel measures without it.
        measures.text(tags::SLICE_THICKNESS, "1");
        shared.item(tags::PIXEL_MEASURES_SEQUENCE, measures);
    }
    set.item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, shared);
    let frames = (0..segments.len()).map(|at| frame_groups(context, at));
    set.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames.collect());

    set.u16s(tags::SAMPLES_PER_PIXEL, &[1]);
    set.text(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2");
    set.text(tags::NUMBER_OF_FRAMES, &segments.len().to_string());
    set.u16s(tags::ROWS, &[rows as u16]); // those of the source, which are 16-bit numbers
    set.u16s(tags::COLUMNS, &[columns as u16]);
    set.u16s(tags::PIXEL_REPRESENTATION, &[0]);
    set.bytes(tags::PIXEL_DATA, pixels);
    set
}

fn segment(context: &Context<'_>, at: usize, labelled: &Labelled) -> DataSet {
    /// As in the overlay, in turn.
    const COLOURS: [[u8; 3]; 4] =
        [[45, 212, 191], [192, 132, 252], [250, 128, 114], [163, 230, 53]];
    let code = &labelled.code;
    let mut set = DataSet::default();
    set.u16s(tags::SEGMENT_NUMBER, &[at as u16 + 1]);
    set.text(tags::SEGMENT_LABEL, &named(&labelled.name));
    set.text(tags::SEGMENT_DESCRIPTION, &labelled.description);
    set.text(tags::SEGMENT_ALGORITHM_TYPE, "AUTOMATIC");
    set.text(tags::SEGMENT_ALGORITHM_NAME, &context.model());
    let mut algorithm = DataSet::default();
    algorithm.item(tags::ALGORITHM_FAMILY_CODE_SEQUENCE, dcm("123110", "Artificial Intelligence"));
    algorithm.text(tags::ALGORITHM_NAME, &context.model());
    algorithm.text(tags::ALGORITHM_VERSION, &context.model_version());
    algorithm.text(tags::ALGORITHM_SOURCE, &named(&context.device.manufacturer));
    algorithm.text(tags::ALGORITHM_PARAMETERS, &context.model_digest());
    set.item(tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, algorithm);
    set.item(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, coded(&code.category));
    let mut kind = coded(&code.code);
    if let Some(side) = code.side {
        kind.item(tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, laterality(side));
    }
    set.item(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, kind);
    let (id, uid) = &labelled.tracking;
    set.text(tags::TRACKING_ID, id);
    set.text(tags::TRACKING_UID, uid);
    let colour = code.colour.unwrap_or(COLOURS[at % COLOURS.len()]);
    set.u16s(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, &cie_lab(colour));
    set
}

/// Identifier of a region, the same in the segmentation and in the report.
pub(crate) fn tracking(context: &Context<'_>, region: &Region) -> (String, String) {
    let label = &region.code.label;
    (format!("region: {}", named(&region.name)), context.seed.uid(&format!("region {label}")))
}

/// One dimension, the segment: there is no frame of reference.
fn dimensions(context: &Context<'_>, kind: Kind, set: &mut DataSet) {
    let uid = context.seed.uid(&format!("{} dimensions", kind.name()));
    let mut organization = DataSet::default();
    organization.text(tags::DIMENSION_ORGANIZATION_UID, &uid);
    set.item(tags::DIMENSION_ORGANIZATION_SEQUENCE, organization);
    let mut index = DataSet::default();
    index.text(tags::DIMENSION_ORGANIZATION_UID, &uid);
    index.pointer(tags::DIMENSION_INDEX_POINTER, tags::REFERENCED_SEGMENT_NUMBER);
    index.pointer(tags::FUNCTIONAL_GROUP_POINTER, tags::SEGMENT_IDENTIFICATION_SEQUENCE);
    index.text(tags::DIMENSION_DESCRIPTION_LABEL, "Segment Number");
    set.item(tags::DIMENSION_INDEX_SEQUENCE, index);
}

/// The source's, if it is one: real files have `0\0` here, which would be an error.
fn spacing(context: &Context<'_>) -> Option<String> {
    let is_length = |text: &str| {
        let text = text.trim();
        text.len() <= 16 && text.parse::<f64>().is_ok_and(|mm| mm.is_finite() && mm > 0.0)
    };
    [tags::PIXEL_SPACING, tags::IMAGER_PIXEL_SPACING].into_iter().find_map(|tag| {
        let text = context.source.text(tag);
        let values: Vec<&str> = text.split('\\').collect();
        (values.len() == 2 && values.into_iter().all(is_length)).then_some(text)
    })
}

/// Viewers place contours by the derivation of each frame where there is no frame of reference.
fn frame_groups(context: &Context<'_>, at: usize) -> DataSet {
    let mut content = DataSet::default();
    content.u32s(tags::DIMENSION_INDEX_VALUES, &[at as u32 + 1]);
    let mut segment = DataSet::default();
    segment.u16s(tags::REFERENCED_SEGMENT_NUMBER, &[at as u16 + 1]);
    let mut image = context.source_image();
    image.text(tags::SPATIAL_LOCATIONS_PRESERVED, "YES");
    let mut derivation = DataSet::default();
    derivation.item(tags::SOURCE_IMAGE_SEQUENCE, image);
    derivation.item(tags::DERIVATION_CODE_SEQUENCE, dcm("113076", "Segmentation"));

    let mut frame = DataSet::default();
    frame.item(tags::FRAME_CONTENT_SEQUENCE, content);
    frame.item(tags::SEGMENT_IDENTIFICATION_SEQUENCE, segment);
    frame.item(tags::DERIVATION_IMAGE_SEQUENCE, derivation);
    frame
}
