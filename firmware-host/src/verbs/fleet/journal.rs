//! What a rollout did so far: a file, written after every box, so that a cut one goes on.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How a box fared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fared {
    pub(super) outcome: Outcome,
    /// For people: what runs, or why not.
    pub(super) detail: String,
    /// The box's words: its last failure and the end of its log.
    pub(super) evidence: Vec<String>,
    pub(super) seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// The bundle was confirmed on this box.
    Confirmed,
    /// It ran there before.
    Already,
    /// The box took it and gave it up, or refused it.
    Failed,
    Unreachable,
}

impl Outcome {
    pub(super) fn is_good(self) -> bool {
        matches!(self, Self::Confirmed | Self::Already)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    /// Of the bundle's file.
    sha256: String,
    /// Names, wave by wave: what was decided once stays so.
    waves: Vec<Vec<String>>,
    fared: BTreeMap<String, Fared>,
}

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    contents: Contents,
}

impl Journal {
    /// Goes on with the rollout of this bundle to these boxes, or begins it.
    pub(super) fn open(path: &Path, sha256: &str, waves: Vec<Vec<String>>) -> Result<Self> {
        let fresh = Contents { sha256: sha256.into(), waves, fared: BTreeMap::new() };
        let contents = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => fresh,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
            Ok(bytes) => {
                let found: Contents = serde_json::from_slice(&bytes)
                    .with_context(|| format!("{} is no state of a rollout", path.display()))?;
                found.check(&fresh).with_context(|| path.display().to_string())?;
                found
            }
        };
        Ok(Self { path: path.to_owned(), contents })
    }

    pub(super) fn waves(&self) -> &[Vec<String>] {
        &self.contents.waves
    }

    pub(super) fn fared(&self, name: &str) -> Option<&Fared> {
        self.contents.fared.get(name)
    }

    /// Lets boxes be served anew whose outcome is one of these.
    pub(super) fn forget(&mut self, outcomes: &[Outcome]) {
        self.contents.fared.retain(|_, fared| !outcomes.contains(&fared.outcome));
    }

    pub(super) fn note(&mut self, name: &str, fared: Fared) -> Result<()> {
        self.contents.fared.insert(name.into(), fared);
        let text = serde_json::to_string_pretty(&self.contents).context("plain data")?;
        durable::write(&self.path, text.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Contents {
    fn check(&self, wanted: &Self) -> Result<()> {
        let (found, expected) = (&self.sha256, &wanted.sha256);
        ensure!(
            found == expected,
            "is of another bundle (SHA-256 {found}, expected {expected}): remove it, or name another --state"
        );
        let names = |waves: &[Vec<String>]| {
            let mut names = waves.concat();
            names.sort();
            names
        };
        ensure!(
            names(&self.waves) == names(&wanted.waves),
            "is of other boxes than the inventory: remove it, or name another --state"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(names: &[&[&str]]) -> Vec<Vec<String>> {
        names.iter().map(|wave| wave.iter().map(|name| (*name).to_owned()).collect()).collect()
    }

    #[test]
    fn a_rollout_goes_on_where_it_was_cut_and_with_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut journal = Journal::open(&path, "ab", waves(&[&["a"], &["b", "c"]])).unwrap();
        let fared = Fared {
            outcome: Outcome::Failed,
            detail: "golden vector 3".into(),
            evidence: vec!["log".into()],
            seconds: 1.5,
        };
        journal.note("b", fared.clone()).unwrap();
        // Another order in the inventory changes nothing about waves that were begun.
        let journal = Journal::open(&path, "ab", waves(&[&["c"], &["b", "a"]])).unwrap();
        assert_eq!(journal.waves(), waves(&[&["a"], &["b", "c"]]));
        assert_eq!((journal.fared("b"), journal.fared("a")), (Some(&fared), None));
        let error = Journal::open(&path, "cd", waves(&[&["a"]])).unwrap_err();
        assert!(format!("{error:#}").contains("another bundle"), "{error:#}");
        let error = Journal::open(&path, "ab", waves(&[&["a"]])).unwrap_err();
        assert!(format!("{error:#}").contains("other boxes"), "{error:#}");
        fs::write(&path, "{}").unwrap();
        let error = Journal::open(&path, "ab", waves(&[&["a"]])).unwrap_err();
        assert!(format!("{error:#}").contains("is no state of a rollout"), "{error:#}");
    }
}
