use radiograph::RadiographError;
use std::error::Error;

/// Why an object cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultsError {
    #[error("the source cannot be read")]
    Source(#[source] RadiographError),

    #[error("the source has no {name}, without which nothing can be stored beside it")]
    Missing { name: &'static str },

    #[error("the source's {name} is {found}, expected {expected}")]
    Value { name: &'static str, found: String, expected: &'static str },

    #[error("the source is image {found}, the result is about {expected}")]
    OtherImage { found: String, expected: String },

    #[error(
        "the result has no {name}: it is of a release before DICOM objects, or was not made by the daemon"
    )]
    Incomplete { name: &'static str },

    #[error("the result's {name} is {found:?}, expected {expected}")]
    Record { name: &'static str, found: String, expected: &'static str },

    #[error("segment {name} of the result is damaged: {reason}")]
    Segment { name: String, reason: String },

    #[error("segment {name} has {found:?} rows and columns, the source {expected:?}")]
    Shape { name: String, found: [u32; 2], expected: [u32; 2] },

    #[error("the heat map of {name} is damaged: {reason}")]
    HeatMap { name: String, reason: String },

    #[error(transparent)]
    TooLong(#[from] radiograph::elements::TooLong),

    #[error("the overlay cannot be drawn")]
    Drawing(#[source] Box<dyn Error + Send + Sync>),

    #[error("the overlay is {width}x{height} pixels, expected 1 to 65535 a side")]
    DrawingSize { width: u32, height: u32 },
}
