//! Unique identifiers, checked before they get near a file name.

use serde::{Serialize, Serializer};
use std::fmt;
use thiserror::Error;

/// A DICOM UID: 1 to 64 digits and dots, no empty component. So it can be part of a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Uid(String);

#[derive(Debug, Error, PartialEq, Eq)]
#[error("{found:?} is no UID: expected 1 to 64 digits and dots, no empty component")]
pub(crate) struct BadUid {
    found: String,
}

impl Uid {
    /// Parses the value of a UI element; padding (NUL or space) at the end is dropped.
    pub(crate) fn parse(value: &str) -> Result<Self, BadUid> {
        let uid = value.trim_end_matches(['\0', ' ']);
        let component = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if uid.len() <= 64 && uid.split('.').all(component) {
            Ok(Self(uid.to_owned()))
        } else {
            Err(BadUid { found: uid.chars().take(70).collect() })
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Uid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_not_part_of_a_uid() {
        assert_eq!(Uid::parse("1.2.840\0").unwrap().as_str(), "1.2.840");
        assert_eq!(Uid::parse("1.2.840 ").unwrap().as_str(), "1.2.840");
    }

    #[test]
    fn a_uid_can_never_leave_its_directory() {
        let long = "1".repeat(65);
        for bad in [
            "",
            ".",
            "..",
            "../../evil",
            "1..2",
            ".1",
            "1.",
            "1.2/3",
            "1.2\\3",
            "1.a",
            "1.2\n",
            "1\0.2",
            "٣",
            &long,
        ] {
            assert!(Uid::parse(bad).is_err(), "{bad:?}");
        }
    }
}
