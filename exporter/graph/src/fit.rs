//! How a picture of another shape is brought to the input's, by name and in bundles.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{error::Error, fmt, str::FromStr};

/// How a picture of another shape is brought to the input's. Where people read it, by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// Each side for itself: all of the input is picture, its aspect is lost.
    #[default]
    Stretch,
    /// The aspect is kept, the picture in the middle, what is left beside it black.
    Pad,
    /// The aspect is kept, what does not fit is cut off on both sides alike.
    CentreCrop,
    /// The aspect is kept, the shorter side becomes so many pixels, and the middle is cut out; as torchvision's `Resize`
    /// and `CenterCrop`, to the pixel. What is smaller than the input gets black beside it.
    ResizeCrop(Side),
}

/// Pixels of a resized side, 1 to [`Side::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side(u16);

/// [`Fit`] in a bundle, where its position stands.
// Append.
#[derive(Serialize, Deserialize)]
enum Stored {
    Stretch,
    Pad,
    CentreCrop,
    ResizeCrop(u16),
}

impl Side {
    /// A network sees no more.
    pub const MOST: usize = 8192;

    /// `None` where `pixels` is none or too many.
    pub fn new(pixels: usize) -> Option<Self> {
        (1..=Self::MOST).contains(&pixels).then_some(Self(pixels as u16))
    }

    pub fn pixels(self) -> usize {
        self.0.into()
    }
}

impl Serialize for Fit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return to.collect_str(self);
        }
        let stored = match *self {
            Self::Stretch => Stored::Stretch,
            Self::Pad => Stored::Pad,
            Self::CentreCrop => Stored::CentreCrop,
            Self::ResizeCrop(side) => Stored::ResizeCrop(side.0),
        };
        stored.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Fit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return String::deserialize(from)?.parse().map_err(de::Error::custom);
        }
        Ok(match Stored::deserialize(from)? {
            Stored::Stretch => Self::Stretch,
            Stored::Pad => Self::Pad,
            Stored::CentreCrop => Self::CentreCrop,
            Stored::ResizeCrop(pixels) => {
                let side = Side::new(pixels.into());
                let bad = || de::Error::custom(format_args!("a side of {pixels} pixels"));
                Self::ResizeCrop(side.ok_or_else(bad)?)
            }
        })
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stretch => f.write_str("stretch"),
            Self::Pad => f.write_str("pad"),
            Self::CentreCrop => f.write_str("centre-crop"),
            Self::ResizeCrop(side) => write!(f, "resize-crop:{}", side.0),
        }
    }
}

/// A name that is no [`Fit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFit(String);

impl fmt::Display for UnknownFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "found `{}`, expected stretch, pad, centre-crop or resize-crop:N with a shorter side of 1 to {} pixels",
            self.0,
            Side::MOST
        )
    }
}

impl Error for UnknownFit {}

impl FromStr for Fit {
    type Err = UnknownFit;

    fn from_str(name: &str) -> Result<Self, UnknownFit> {
        let unknown = || UnknownFit(name.to_owned());
        if let Some(pixels) = name.strip_prefix("resize-crop:") {
            let side = pixels.parse().ok().and_then(Side::new);
            return Ok(Self::ResizeCrop(side.ok_or_else(unknown)?));
        }
        let named = [Self::Stretch, Self::Pad, Self::CentreCrop];
        named.into_iter().find(|fit| fit.to_string() == name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::{IntoDeserializer, value::Error};

    #[test]
    fn every_fit_has_its_name_back() {
        let torchvision = Fit::ResizeCrop(Side::new(256).unwrap());
        for fit in [Fit::Stretch, Fit::Pad, Fit::CentreCrop, torchvision] {
            assert_eq!(fit.to_string().parse(), Ok(fit));
            let name: de::value::StringDeserializer<Error> = fit.to_string().into_deserializer();
            assert_eq!(Fit::deserialize(name), Ok(fit));
        }
        for name in ["crop", "resize-crop", "resize-crop:0", "resize-crop:8193", "resize-crop:1e2"]
        {
            let error = name.parse::<Fit>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("found `{name}`, expected stretch, pad, ")),
                "{error}"
            );
        }
    }
}
