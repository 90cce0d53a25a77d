//! What a machine computes with, how it is fed, and whether it is too hot for all of it.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// `raspberry-pi-5`; `generic` where nothing more is known.
    pub name: String,
    /// Every core that is online.
    pub cores: Vec<Core>,
    /// Numbers of the cores that analyse images, the fastest first. As many are the threads.
    pub chosen: Vec<u16>,
    /// Whether threads are bound to `chosen`, because other cores are slower.
    pub pinned: bool,
    /// Empty where nobody tells.
    pub power: Vec<Power>,
    pub heat: Heat,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    pub number: u16,
    /// Of the fastest core's 1,024.
    pub capacity: u16,
    /// Its highest clock.
    pub megahertz: Option<u32>,
    /// The first logical core of the same physical one, if that is another.
    pub shares: Option<u16>,
}

/// One thing that decides how fast the machine may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Power {
    /// `nvpmodel`, `governor`, `supply`.
    pub by: String,
    /// As it is named there: `15W`, `ondemand`.
    pub mode: String,
    /// What a person could do for more.
    pub advice: Option<String>,
}

/// The sensor that is nearest to its limit, and what follows from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heat {
    pub derating: Derating,
    /// None where no sensor has a limit.
    pub sensor: Option<String>,
    pub celsius: Option<f32>,
    /// From here on there are fewer threads.
    pub limit: Option<f32>,
}

/// In the order of severity.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Derating {
    /// All threads work.
    #[default]
    None,
    /// Half of them.
    Threads,
    /// One, which pauses after each image for as long as the image took.
    Pauses,
}

impl Derating {
    /// How many of so many threads work.
    pub fn threads(self, all: usize) -> usize {
        match self {
            Self::None => all,
            Self::Threads => all.div_ceil(2),
            Self::Pauses => all.min(1),
        }
    }
}
