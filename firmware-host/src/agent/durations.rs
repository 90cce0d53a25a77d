//! Durations as people write them: `90s`, `10m`.

use serde::{Deserialize, Deserializer, de};
use std::time::Duration;

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        de::Error::custom(format!("duration {text:?}, expected such as \"90s\": {error}"))
    })
}
