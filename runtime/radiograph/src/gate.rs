//! The input gate: what the network must not see, and why (DESIGN §4).

use crate::{Header, Image, Radiograph, Source, words};
use thiserror::Error;

/// Why a picture that could be read was not analysed.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum NotAnalysed {
    #[error("modality is {0}, expected CR or DX")]
    Modality(String),
    #[error("image is for processing, expected for presentation")]
    ForProcessing,
    #[error("photometric interpretation is {0}, expected MONOCHROME1 or MONOCHROME2")]
    Photometric(String),
    #[error("{0} frames, expected 1")]
    Frames(u32),
    #[error("body part is {0}, expected chest")]
    BodyPart(String),
    #[error("view is {0}, expected frontal (AP or PA)")]
    View(String),
    #[error("patient orientation is {0}, expected L\\F (upright, not mirrored)")]
    Orientation(String),
    #[error("pixels are {0:.2} times as high as wide, expected square")]
    Aspect(f64),
    #[error("samples use {found} of their 16 bits, expected samples scaled to the whole range")]
    Depth { found: u32 },
    #[error("picture is {width}x{height}, expected at least {MIN_SIDE} pixels a side")]
    Small { height: usize, width: usize },
    #[error("picture is {width}x{height}, expected sides within a factor of {MAX_ASPECT}")]
    Elongated { height: usize, width: usize },
    #[error(
        "picture is nearly constant: middle 98 % of the pixels within {spread:.3} of the range"
    )]
    Constant { spread: f32 },
    #[error("picture is clipped: {:.0} % of the pixels are black or white", fraction * 100.0)]
    Clipped { fraction: f32 },
}

impl NotAnalysed {
    /// One word for it, which quotes nothing of the picture.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Modality(_) => "modality",
            Self::ForProcessing => "for-processing",
            Self::Photometric(_) => "photometric",
            Self::Frames(_) => "frames",
            Self::BodyPart(_) => "body-part",
            Self::View(_) => "view",
            Self::Orientation(_) => "orientation",
            Self::Aspect(_) => "aspect",
            Self::Depth { .. } => "depth",
            Self::Small { .. } => "small",
            Self::Elongated { .. } => "elongated",
            Self::Constant { .. } => "constant",
            Self::Clipped { .. } => "clipped",
        }
    }
}

/// Smaller pictures have no detail to judge: they are thumbnails or test patterns.
const MIN_SIDE: usize = 128;
/// A chest fits in a square; long strips are spines and legs.
const MAX_ASPECT: usize = 3;
/// Exposure: the 1st and 99th percentile of a usable picture are further apart than this. Values of 12
/// or 14 bits taken for 16, or shown through such a window, span 0.0625 or 0.25 at most; the least that
/// the 720 radiographs of cxr-mini span is 0.42.
const MIN_SPREAD: f32 = 0.25;
/// How far pixels may be from square: what a rounded spacing makes of them.
const MAX_PIXEL_ASPECT: f64 = 1.05;
/// Exposure: more black and white pixels than this leave nothing to see between.
const MAX_CLIPPED: f32 = 0.75;

/// Exposure: evenly spaced rows of large pictures are enough.
const ROWS_LOOKED_AT: usize = 512;

/// Whether the network may see this picture: a reason if not, never a guess.
///
/// What a header does not say is not held against it; PNG and JPEG files say nothing.
pub fn gate(radiograph: &Radiograph<'_>) -> Result<(), NotAnalysed> {
    match &radiograph.source {
        Source::Dicom(header) => gate_header(header)?,
        Source::Png { unused_bits: unused @ 1.. } => {
            return Err(NotAnalysed::Depth { found: 16 - unused });
        }
        Source::Png { .. } | Source::Jpeg => {}
    }
    let image = &radiograph.image;
    let Image { height, width, .. } = *image;
    if height.min(width) < MIN_SIDE {
        return Err(NotAnalysed::Small { height, width });
    }
    if height.max(width) > MAX_ASPECT * height.min(width) {
        return Err(NotAnalysed::Elongated { height, width });
    }
    let thousandths = |x: f32| (x.clamp(0.0, 1.0) * 1000.0) as usize;
    let histogram = image.histogram(height.div_ceil(ROWS_LOOKED_AT), 1001, thousandths);
    let count: usize = histogram.iter().sum();
    let spread = (quantile(&histogram, count - 1 - count / 100) - quantile(&histogram, count / 100))
        as f32
        / 1000.0;
    if spread < MIN_SPREAD {
        return Err(NotAnalysed::Constant { spread });
    }
    let fraction = (histogram[0] + histogram[1000]) as f32 / count as f32;
    if fraction > MAX_CLIPPED {
        return Err(NotAnalysed::Clipped { fraction });
    }
    Ok(())
}

/// The part of [`gate`] that needs no pixels.
pub fn gate_header(header: &Header) -> Result<(), NotAnalysed> {
    if !matches!(header.modality.as_str(), "CR" | "DX") {
        let found = Some(&header.modality).filter(|modality| !modality.is_empty());
        return Err(NotAnalysed::Modality(found.map_or("missing".into(), String::clone)));
    }
    if header.sop_class_uid == DX_FOR_PROCESSING || header.presentation_intent == "FOR PROCESSING" {
        return Err(NotAnalysed::ForProcessing);
    }
    if !matches!(header.photometric.as_str(), "MONOCHROME1" | "MONOCHROME2") {
        return Err(NotAnalysed::Photometric(header.photometric.clone()));
    }
    if header.frames != 1 {
        return Err(NotAnalysed::Frames(header.frames));
    }
    if !words::is_chest(&header.body_part) {
        return Err(NotAnalysed::BodyPart(header.body_part.clone()));
    }
    if !words::is_frontal(&header.view_position) {
        return Err(NotAnalysed::View(header.view_position.clone()));
    }
    let [along_row, along_column] = &header.patient_orientation;
    let known = !along_row.is_empty() && !along_column.is_empty();
    if known && !(along_row.starts_with('L') && along_column.starts_with('F')) {
        return Err(NotAnalysed::Orientation(format!("{along_row}\\{along_column}")));
    }
    let aspect = header.pixel_aspect;
    if aspect.max(1.0 / aspect) > MAX_PIXEL_ASPECT {
        return Err(NotAnalysed::Aspect(aspect));
    }
    Ok(())
}

const DX_FOR_PROCESSING: &str = "1.2.840.10008.5.1.4.1.1.1.1.1";

/// The first bin at which more than `rank` pixels have been counted.
fn quantile(histogram: &[usize], rank: usize) -> usize {
    let mut seen = 0;
    histogram
        .iter()
        .position(|n| {
            seen += n;
            seen > rank
        })
        .unwrap_or(histogram.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(
        height: usize,
        width: usize,
        pixel: impl Fn(usize, usize) -> f32,
    ) -> Radiograph<'static> {
        let pixels = (0..height * width).map(|i| pixel(i / width, i % width)).collect();
        let image = Image::new(height, width, pixels).unwrap();
        Radiograph { image, source: Source::Jpeg }
    }

    fn ramp(height: usize, width: usize) -> Radiograph<'static> {
        picture(height, width, |y, _| (y as f32 + 0.5) / height as f32)
    }

    #[test]
    fn an_ordinary_picture_passes() {
        assert_eq!(gate(&ramp(200, 180)), Ok(()));
    }

    #[test]
    fn thumbnails_and_strips_are_refused() {
        assert_eq!(gate(&ramp(100, 180)), Err(NotAnalysed::Small { height: 100, width: 180 }));
        let strip = NotAnalysed::Elongated { height: 128, width: 385 };
        assert_eq!(gate(&ramp(128, 385)), Err(strip));
    }

    #[test]
    fn pictures_without_exposure_are_refused() {
        let flat = picture(128, 128, |_, _| 0.5);
        assert_eq!(gate(&flat), Err(NotAnalysed::Constant { spread: 0.0 }));
        let clipped = picture(128, 128, |y, x| match (y, x) {
            (_, 0..16) => 0.5,
            (0..64, _) => 0.0,
            _ => 1.0,
        });
        assert_eq!(gate(&clipped), Err(NotAnalysed::Clipped { fraction: 0.875 }));
    }
}
