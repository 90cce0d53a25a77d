//! Which part of the data an image belongs to.

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    #[value(alias = "training")]
    Train,
    #[value(aliases = ["valid", "validation", "validate"])]
    Val,
    #[value(alias = "testing")]
    Test,
    /// Kept from every use but the last.
    Holdout,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
            Self::Holdout => "holdout",
        })
    }
}
