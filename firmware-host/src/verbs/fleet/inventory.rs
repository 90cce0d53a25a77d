//! `boxes.toml`: the boxes of a rollout, in the order in which they are served.

use crate::address::Address;
use anyhow::{Context, Result, ensure};
use keyring::VerifyingKey;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inventory {
    pub(super) boxes: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    #[serde(deserialize_with = "address")]
    pub(super) address: Address,
    /// Of the box; without it, the list of known boxes has it.
    #[serde(default, deserialize_with = "key")]
    pub(super) key: Option<VerifyingKey>,
}

impl Inventory {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// The boxes of these names that are in it, in their order.
    pub(super) fn named(&self, names: &[String]) -> Vec<&Entry> {
        let find = |name: &String| self.boxes.iter().find(|entry| entry.name == *name);
        names.iter().filter_map(find).collect()
    }

    fn parse(text: &str) -> Result<Self> {
        let inventory: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |at| text[..at.start].matches('\n').count() + 1);
            anyhow::anyhow!("line {line}: {}", error.message())
        })?;
        ensure!(!inventory.boxes.is_empty(), "found no boxes, expected [[boxes]]");
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for Entry { name, address, .. } in &inventory.boxes {
            ensure!(!name.trim().is_empty(), "{address} has no name");
            ensure!(names.insert(name.clone()), "name {name:?} is there twice");
            ensure!(addresses.insert(address.to_string()), "address {address} is there twice");
        }
        Ok(inventory)
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<VerifyingKey>, D::Error> {
    let text = String::deserialize(deserializer)?;
    keyring::public_key(&text).map(Some).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_that_is_ambiguous_is_refused_with_its_line() {
        let one = "[[boxes]]\nname = \"a\"\naddress = \"tcp://10.0.0.1:7700\"\n";
        assert_eq!(Inventory::parse(one).unwrap().boxes.len(), 1);
        for (text, expected) in [
            (format!("{one}{one}"), "name \"a\" is there twice"),
            (
                format!("{one}{}", one.replace("\"a\"", "\"b\"")),
                "tcp://10.0.0.1:7700 is there twice",
            ),
            (format!("{one}colour = 1\n"), "line 4: unknown field `colour`"),
            (one.replace("tcp://", ""), "line 3: expected tcp://"),
            (format!("{one}key = \"00ff\"\n"), "64 hexadecimal digits"),
            (one.replace("\"a\"", "\" \""), "has no name"),
            ("boxes = []".into(), "found no boxes"),
        ] {
            let error = format!("{:#}", Inventory::parse(&text).unwrap_err());
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
    }
}
