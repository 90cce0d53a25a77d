//! What an answered image leaves behind for `drift`: what the network was shown and said, and which machine sent it.
//! Nothing about the patient.

use ::drift::{Reference, Seen};
use bundle::{Bundle, section};
use dicom_dictionary_std::tags;
use radiograph::AttributeValue;
use sha2::{Digest, Sha256};
use std::fmt;

/// How a bundle says that images should look.
pub(crate) struct Known {
    pub(crate) reference: Reference,
    /// The bytes it was read from, and their SHA-256.
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
}

impl Known {
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, String> {
        let reference = Reference::from_bytes(bytes).map_err(|error| error.to_string())?;
        let digest = hex::encode(Sha256::digest(bytes));
        Ok(Self { reference, bytes: bytes.to_vec(), digest })
    }

    /// Of a bundle; why there is none. An answer does not need it.
    pub(crate) fn of_bundle(bundle: &Bundle) -> Result<Self, String> {
        let none = "the bundle has no reference for drift: see exporter drift";
        Self::of(bundle.section(section::DRIFT).ok_or(none)?)
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// An answered image.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) source: String,
    pub(crate) seen: Seen,
}

/// Longest name of a source, in characters.
const NAME: usize = 64;

/// Station, manufacturer and model, as far as a DICOM file says; empty for anything else.
pub(crate) fn source(bytes: &[u8]) -> String {
    let wanted = [tags::STATION_NAME, tags::MANUFACTURER, tags::MANUFACTURER_MODEL_NAME];
    let found = radiograph::attributes(bytes, &wanted).unwrap_or_default();
    let text = |tag| {
        let attribute = found.iter().find(|found| found.tag == tag)?;
        let AttributeValue::Bytes(bytes) = &attribute.value else { return None };
        let text = String::from_utf8_lossy(bytes);
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let parts: Vec<String> = wanted.into_iter().filter_map(text).collect();
    parts.join(", ").chars().take(NAME).collect()
}
