//! Names in the `[[outputs]]` tables.

use anyhow::{Result, bail};

/// The output's name, which need not be said of a network that has one.
pub(super) fn of(name: Option<String>, network: &[String], kind: &str) -> Result<String> {
    match (name, network) {
        (Some(name), _) => Ok(name),
        (None, [only]) => Ok(only.clone()),
        (None, _) => {
            bail!("[[outputs]] of kind {kind} has no name, the network's outputs are {network:?}")
        }
    }
}

/// An empty name is one that nobody looks at.
pub(super) fn labels(names: Vec<String>) -> Vec<Option<String>> {
    names.into_iter().map(|name| Some(name).filter(|name| !name.is_empty())).collect()
}
