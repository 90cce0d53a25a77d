//! Some of an index's images, as the user asks for them.

use super::{IndexError, Record, Truth};
use clap::Args;
use std::{collections::BTreeSet, fmt};

/// Flags of every verb that reads an index for one task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Selection {
    /// Only images of this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Only images with these findings, all of them: `--having Pneumonia`
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub having: Vec<String>,
}

impl Selection {
    /// For `config.toml`: what was asked for.
    pub fn table(&self) -> toml::Table {
        let source = self.source.iter().map(|name| ("source".to_owned(), name.clone().into()));
        let having =
            (!self.having.is_empty()).then(|| ("having".to_owned(), self.having.clone().into()));
        source.chain(having).collect()
    }

    /// What [`Self::table`] left among the settings of a run.
    pub fn of_table(table: &toml::Table) -> Result<Self, IndexError> {
        let wrong = |key, found: &toml::Value, expected| IndexError::Selection {
            key,
            found: found.to_string(),
            expected,
        };
        let source = match table.get("source") {
            None => None,
            Some(toml::Value::String(name)) => Some(name.clone()),
            Some(other) => return Err(wrong("source", other, "the name of a source")),
        };
        let having = match table.get("having") {
            None => Vec::new(),
            Some(list) => {
                list.clone().try_into().map_err(|_| wrong("having", list, "a list of findings"))?
            }
        };
        Ok(Self { source, having })
    }

    /// Whether it takes every image.
    pub fn is_everything(&self) -> bool {
        self.source.is_none() && self.having.is_empty()
    }

    pub fn takes(&self, record: &Record) -> bool {
        self.source.as_ref().is_none_or(|source| record.source == *source)
            && self.having.iter().all(|finding| record.truth(finding) == Truth::Positive)
    }

    /// An error if nothing is left, saying what there is.
    pub fn of(&self, mut records: Vec<Record>) -> Result<Vec<Record>, IndexError> {
        if let Some(source) = &self.source {
            let all: BTreeSet<String> =
                records.iter().map(|record| record.source.clone()).collect();
            records.retain(|record| record.source == *source);
            if records.is_empty() {
                let found = all.into_iter().collect::<Vec<_>>().join(", ");
                return Err(IndexError::NoSource { source_name: source.clone(), found });
            }
        }
        for finding in &self.having {
            records.retain(|record| record.truth(finding) == Truth::Positive);
            if records.is_empty() {
                return Err(IndexError::NoneHaving { finding: finding.clone() });
            }
        }
        Ok(records)
    }
}

/// `images from nih-cxr14 with Pneumonia`.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("all images");
        }
        f.write_str("images")?;
        self.source.iter().try_for_each(|source| write!(f, " from {source}"))?;
        if self.having.is_empty() { Ok(()) } else { write!(f, " with {}", self.having.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Label;

    fn record(source: &str, findings: &[&str]) -> Record {
        let labels = findings.iter().map(|&name| (name.to_owned(), Label::Positive)).collect();
        Record { source: source.into(), labels, ..Record::default() }
    }

    #[test]
    fn a_selection_is_read_back_from_the_settings_of_a_run() {
        let selection =
            Selection { source: Some("nih".into()), having: vec!["Mass".into(), "Edema".into()] };
        let mut table = selection.table();
        table.insert("epochs".into(), 3.into());
        assert_eq!(Selection::of_table(&table).unwrap(), selection);
        assert_eq!(selection.to_string(), "images from nih with Mass, Edema");
        assert!(Selection::of_table(&toml::Table::new()).unwrap().is_everything());
        table.insert("having".into(), "Mass".into());
        let error = Selection::of_table(&table).unwrap_err().to_string();
        assert_eq!(error, "[training] having is \"Mass\", expected a list of findings");
    }

    #[test]
    fn what_is_selected_has_the_source_and_every_finding() {
        let records = vec![
            record("nih", &["Mass"]),
            record("nih", &["Mass", "Edema"]),
            record("rsna", &["Mass", "Edema"]),
        ];
        let selection =
            Selection { source: Some("nih".into()), having: vec!["Mass".into(), "Edema".into()] };
        let taken: Vec<bool> = records.iter().map(|record| selection.takes(record)).collect();
        assert_eq!(taken, [false, true, false]);
        assert_eq!(selection.of(records.clone()).unwrap(), [records[1].clone()]);

        let nowhere = Selection { source: Some("mimic".into()), having: Vec::new() };
        let error = nowhere.of(records.clone()).unwrap_err().to_string();
        assert_eq!(error, "no image is from `mimic`; the index has nih, rsna");
        let nobody = Selection { source: None, having: vec!["Hernia".into()] };
        let error = nobody.of(records).unwrap_err().to_string();
        assert_eq!(error, "--having: no image is stated to show `Hernia`");
    }
}
