//! `findings.toml`: findings asked for in words.
//!
//! ```toml
//! [[finding]]
//! name = "Pleural Effusion"
//! positive = ["pleural effusion is observed", "there is a pleural effusion"]
//! negative = ["no pleural effusion is observed"]
//! threshold = 0.5           # fixed, instead of fitted
//! code = { scheme = "SCT", value = "60046008", meaning = "Pleural effusion" }
//! ```

use crate::WordsError;
use bundle::Code;
use checkpoint::one_line;
use serde::Deserialize;
use std::{collections::BTreeSet, fs, path::Path};

/// A finding with the phrases that say it is there and that it is not.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// As the index and the result call it.
    pub name: String,
    /// At least one, each a sentence of a report.
    pub positive: Vec<String>,
    /// At least one.
    pub negative: Vec<String>,
    /// In `[0, 1]`; where there is one, it is not fitted.
    pub threshold: Option<f32>,
    /// What other systems call it.
    pub code: Option<Code>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    finding: Vec<Finding>,
}

/// Reads `path`; an error names the finding and what is wrong with it.
pub fn findings(path: &Path) -> Result<Vec<Finding>, WordsError> {
    let text = fs::read_to_string(path)
        .map_err(|source| WordsError::Read { path: path.into(), source })?;
    parsed(&text).map_err(|reason| WordsError::Findings { path: path.into(), reason })
}

fn parsed(text: &str) -> Result<Vec<Finding>, String> {
    let file: File = toml::from_str(text).map_err(|error| one_line(&error))?;
    if file.finding.is_empty() {
        return Err("found no [[finding]], expected at least one".into());
    }
    let mut names = BTreeSet::new();
    for finding in &file.finding {
        finding.check()?;
        if !names.insert(&finding.name) {
            return Err(format!("finding `{}` twice, expected once", finding.name));
        }
    }
    Ok(file.finding)
}

impl Finding {
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if name.is_empty() || name.trim() != name || name.chars().any(char::is_control) {
            return Err(format!("a finding is called {name:?}, expected a name of one line"));
        }
        for (side, phrases) in [("positive", &self.positive), ("negative", &self.negative)] {
            if phrases.is_empty() {
                return Err(format!("finding `{name}`: no {side} phrase, expected at least one"));
            }
            let mut seen = BTreeSet::new();
            for phrase in phrases {
                if phrase.trim().is_empty() || phrase.chars().any(char::is_control) {
                    return Err(format!(
                        "finding `{name}`: {side} phrase {phrase:?}, expected words on one line"
                    ));
                }
                if !seen.insert(phrase) {
                    return Err(format!("finding `{name}`: {side} phrase {phrase:?} twice"));
                }
            }
        }
        if let Some(both) = self.positive.iter().find(|phrase| self.negative.contains(phrase)) {
            return Err(format!("finding `{name}`: {both:?} is both positive and negative"));
        }
        match self.threshold {
            Some(t) if !(0.0..=1.0).contains(&t) => {
                Err(format!("finding `{name}`: threshold {t}, expected 0 to 1"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: &str = "[[finding]]\nname = \"Effusion\"\npositive = [\"there is an effusion\"]\nnegative = [\"no effusion\"]\n";

    #[test]
    fn a_finding_has_phrases_of_both_sides_and_perhaps_a_threshold_and_a_code() {
        let plain = parsed(PLAIN).unwrap();
        assert_eq!((plain[0].threshold, &plain[0].code), (None, &None));
        let code = "threshold = 0.25\ncode = { scheme = \"SCT\", value = \"60046008\", meaning = \"Pleural effusion\" }\n";
        let coded = parsed(&format!("{PLAIN}{code}")).unwrap();
        assert_eq!(coded[0].threshold, Some(0.25));
        assert_eq!(coded[0].code.as_ref().unwrap().value(), "60046008");
    }

    #[test]
    fn what_is_wrong_with_a_finding_is_named() {
        for (text, complaint) in [
            (String::new(), "no [[finding]]"),
            (format!("{PLAIN}{PLAIN}"), "`Effusion` twice"),
            (PLAIN.replace("[\"no effusion\"]", "[]"), "no negative phrase"),
            (PLAIN.replace("no effusion", "there is an effusion"), "both positive and negative"),
            (PLAIN.replace("no effusion", " "), "expected words"),
            (PLAIN.replace("Effusion", " Effusion"), "expected a name"),
            (format!("{PLAIN}threshold = 1.5\n"), "threshold 1.5, expected 0 to 1"),
            (format!("{PLAIN}threshold = nan\n"), "expected 0 to 1"),
            (format!("{PLAIN}treshold = 0.5\n"), "treshold"),
            (
                format!("{PLAIN}code = {{ scheme = \"SCT\", value = \"\", meaning = \"x\" }}\n"),
                "value",
            ),
        ] {
            let error = parsed(&text).unwrap_err();
            assert!(error.contains(complaint), "{complaint}: {error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_or_understood_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("findings.toml");
        assert!(findings(&path).unwrap_err().to_string().contains("findings.toml"));
        fs::write(&path, "finding = 3").unwrap();
        assert!(findings(&path).unwrap_err().to_string().contains("findings.toml"));
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in "\\PC{0,200}", tail in "\\PC{0,40}") {
            let _ = parsed(&text);
            let _ = parsed(&format!("{PLAIN}{tail}"));
        }
    }
}
