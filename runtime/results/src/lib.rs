//! What is said about one image, and the DICOM objects that say it.
//!
//! ```text
//! record     the result as JSON: what people see, and all that the objects need
//! source     which attributes of the image go into them, as bytes
//! account    digests by which it can be held to image and bundle; digests  those of a record
//! sr seg sc  three kinds of object      content   items of a report
//! heat       the fourth: where phrases look; heat_map  as the record has them
//! modules    what they have in common   terms     codes and colours
//! dataset    elements → file            uid time  deterministic identifiers, times of the record
//! ```
//!
//! A record and its source file make every object again, to the byte: after a restart, and with another bundle loaded.
//! So nothing here has a clock, a socket or a random number, and an outbox that was lost can be filled again.
//!
//! ```no_run
//! use results::{Device, Kind, Record};
//!
//! let record: Record = serde_json::from_slice(&std::fs::read("result.json")?)?;
//! let source = std::fs::read("chest.dcm")?;
//! let device = Device::new("box-3f2a11c0");
//! let drawing = || -> Result<image::RgbImage, std::io::Error> { unreachable!("no SC is asked for") };
//! if let Some(report) = results::object(Kind::Sr, &record, &source, &device, drawing)? {
//!     std::fs::write("report.dcm", report.bytes)?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`object`] is all of it; start reading there.

mod account;
mod content;
mod dataset;
mod device;
mod digests;
mod error;
mod heat;
mod heat_map;
mod modules;
mod record;
mod sc;
mod seg;
mod segment;
mod source;
mod sr;
mod terms;
mod time;
mod uid;

pub use account::Account;
pub use bundle::{Code, LabelCode, Side};
pub use dataset::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, data_set, file_header};
pub use device::Device;
pub use error::ResultsError;
pub use heat_map::{HeatMap, NearSentence};
pub use record::{
    BundleId, Finding, FoundBox, MaskSummary, Milliseconds, PackId, Record, SourceId, Status,
};
pub use segment::Segment;

use image::RgbImage;
use modules::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use source::Source;
use std::{error::Error, fmt, str::FromStr};
use time::Moment;
use uid::Seed;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Comprehensive 3D SR: findings, regions and boxes, or why there are none.
    Sr,
    /// Segmentation: the masks.
    Seg,
    /// Secondary Capture: the overlay.
    Sc,
    /// Fractional segmentation: where the phrases of positive findings look.
    Heat,
}

/// An object to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub kind: Kind,
    pub sop_class_uid: String,
    pub sop_instance_uid: String,
    /// A DICOM file, explicit VR little endian.
    pub bytes: Vec<u8>,
}

/// Makes an object of a result and the file that it is about; `None` where there is nothing to put into it: a
/// segmentation without a region, a picture of what was not analysed.
///
/// `device` speaks where the record does not say which box it was. `drawing` is asked for the overlay, for [`Kind::Sc`]
/// alone.
pub fn object<E: Into<Box<dyn Error + Send + Sync>>>(
    kind: Kind,
    record: &Record,
    source: &[u8],
    device: &Device,
    drawing: impl FnOnce() -> Result<RgbImage, E>,
) -> Result<Option<Object>, ResultsError> {
    if kind != Kind::Sr && record.status == Status::NotAnalysed {
        return Ok(None);
    }
    let context = context(record, source, device)?;
    let set = match kind {
        Kind::Sr => Some(sr::write(&context, &seg::regions(&context)?)),
        Kind::Seg => seg::write(&context, &seg::regions(&context)?),
        Kind::Heat => heat::write(&context)?,
        Kind::Sc => {
            let drawing = drawing().map_err(|error| ResultsError::Drawing(error.into()))?;
            Some(sc::write(&context, drawing)?)
        }
    };
    let (class, instance) = (kind.sop_class_uid(), context.instance_uid(kind));
    let file = set.map(|set| set.into_file(class, &instance)).transpose()?;
    Ok(file.map(|bytes| Object {
        kind,
        sop_class_uid: class.into(),
        sop_instance_uid: instance.clone(),
        bytes,
    }))
}

/// The UID that [`object`] gives its object, without making it.
pub fn sop_instance_uid(kind: Kind, record: &Record, source_sop_instance_uid: &str) -> String {
    seed(record, source_sop_instance_uid).uid(kind.name())
}

/// What is said is part of the identity: an image that was not analysed and later is has two reports.
fn seed(record: &Record, source_sop_instance_uid: &str) -> Seed {
    let said = match record.status {
        Status::Analysed => "analysed",
        Status::NotAnalysed => "not analysed",
    };
    Seed::new(&[
        source_sop_instance_uid,
        record.source.as_ref().map_or("", |source| &source.sha256),
        &record.bundle.digest,
        record.configuration.as_deref().unwrap_or_default(),
        said,
        record.reason.as_deref().unwrap_or_default(),
    ])
}

fn context<'a>(
    record: &'a Record,
    bytes: &[u8],
    device: &'a Device,
) -> Result<Context<'a>, ResultsError> {
    let source = Source::read(bytes)?;
    match &record.source {
        Some(about) => {
            let found = hex::encode(Sha256::digest(bytes));
            if found != about.sha256 {
                let expected = about.sha256.clone();
                return Err(ResultsError::OtherImage { found, expected });
            }
        }
        None if record.status == Status::Analysed => {
            return Err(ResultsError::Incomplete { name: "source" });
        }
        None => {}
    }
    if let Some(expected) = record.sop_instance_uid.clone()
        && expected != source.sop_instance_uid
    {
        let found = source.sop_instance_uid.clone();
        return Err(ResultsError::OtherImage { found, expected });
    }
    check_numbers(record)?;
    let analysed = record.analysed.as_deref();
    let analysed = analysed.ok_or(ResultsError::Incomplete { name: "analysed" })?;
    let moment = Moment::new(analysed, &source.offset())?;
    let seed = seed(record, &source.sop_instance_uid);
    let device = record.device.as_ref().unwrap_or(device);
    Ok(Context { record, source, device, seed, moment })
}

/// Probabilities are in `[0, 1]`, edges of boxes are numbers.
fn check_numbers(record: &Record) -> Result<(), ResultsError> {
    let findings = record.findings.iter().flat_map(|f| [f.probability, f.threshold]);
    let boxes = record.boxes.iter().flatten();
    let wrong = |value: f32, expected| {
        Err(ResultsError::Record { name: "probability", found: value.to_string(), expected })
    };
    for value in findings.chain(boxes.clone().map(|found| found.score)) {
        if !(0.0..=1.0).contains(&value) {
            return wrong(value, "a number from 0 to 1");
        }
    }
    let places = record.nearest.iter().flat_map(|near| [near.similarity, near.x, near.y]);
    let boxes = boxes.flat_map(|found| [found.x, found.y, found.width, found.height]);
    for value in boxes.chain(places) {
        if !value.is_finite() {
            return wrong(value, "a finite number");
        }
    }
    Ok(())
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Sr, Self::Seg, Self::Sc, Self::Heat];
    /// Those that a destination gets unless it says otherwise.
    pub const USUAL: [Self; 3] = [Self::Sr, Self::Seg, Self::Sc];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == text);
        kind.ok_or_else(|| format!("{text:?} is no kind of object, expected sr, seg, sc or heat"))
    }
}
