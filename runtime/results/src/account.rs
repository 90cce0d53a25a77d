//! What a result came from, and what it says, as digests: enough to show years later, on any processor, that it came
//! from one image and one bundle. All are SHA-256 in hexadecimal; `digests` makes those of a record.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Of the image's file.
    pub file: String,
    /// Of what the network saw: its input as 32-bit floats, little endian. None: it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Of every mask, pixel by pixel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masks: Option<String>,
    /// Of every heat map, place by place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heat: Option<String>,
    /// Of what was found: `Record::said`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Of when, for which image and with which settings: `Record::about`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Of how it arrived: `Record::arrival`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<String>,
}

impl Account {
    /// Of an image's file, and of what the network saw of it. The rest follows from the record: `Record::accounted`.
    pub fn new(file: String, input: Option<String>) -> Self {
        Self { file, input, masks: None, heat: None, said: None, about: None, arrival: None }
    }

    /// One line for a report: `account 1 file=… input=… masks=… about=… configuration=…`.
    pub(crate) fn line(&self, configuration: Option<&String>) -> String {
        let parts = [
            ("input", self.input.as_ref()),
            ("masks", self.masks.as_ref()),
            ("heat", self.heat.as_ref()),
            ("about", self.about.as_ref()),
            ("configuration", configuration),
        ];
        let known = parts.iter().filter_map(|(name, digest)| Some((name, (*digest)?)));
        let rest: String = known.map(|(name, digest)| format!(" {name}={digest}")).collect();
        format!("{LINE} file={}{rest}", self.file)
    }

    /// What such a line says, and the digest of the settings; `None`: it is another line.
    pub fn of_line(line: &str) -> Option<(Self, Option<String>)> {
        let mut words = line.strip_prefix(LINE)?.split_whitespace();
        let digest = |text: &str| (text.len() == 64).then(|| text.to_owned());
        let file = digest(words.next()?.strip_prefix("file=")?)?;
        let mut account = Self::new(file, None);
        let mut configuration = None;
        for word in words {
            match word.split_once('=')? {
                ("input", value) => account.input = Some(digest(value)?),
                ("masks", value) => account.masks = Some(digest(value)?),
                ("heat", value) => account.heat = Some(digest(value)?),
                ("about", value) => account.about = Some(digest(value)?),
                ("configuration", value) => configuration = Some(digest(value)?),
                // A later build may say more.
                _ => {}
            }
        }
        Some((account, configuration))
    }
}

const LINE: &str = "account 1";
