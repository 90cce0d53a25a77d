//! Some of an index's images, as the user asks for them.

use super::{Record, Truth};
use anyhow::{Result, bail, ensure};
use clap::Args;
use std::collections::BTreeSet;

/// Flags of every verb that reads an index for one task.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Only images of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only images with these findings, all of them: `--having Pneumonia`
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    having: Vec<String>,
}

impl Selection {
    /// For `config.toml`: what was asked for.
    pub fn table(&self) -> toml::Table {
        let source = self.source.iter().map(|name| ("source".to_owned(), name.clone().into()));
        let having =
            (!self.having.is_empty()).then(|| ("having".to_owned(), self.having.clone().into()));
        source.chain(having).collect()
    }

    /// An error if nothing is left, saying what there is.
    pub fn of(&self, mut records: Vec<Record>) -> Result<Vec<Record>> {
        if let Some(source) = &self.source {
            let all: BTreeSet<String> =
                records.iter().map(|record| record.source.clone()).collect();
            records.retain(|record| record.source == *source);
            if records.is_empty() {
                let names: Vec<String> = all.into_iter().collect();
                bail!("no image is from `{source}`; the index has {}", names.join(", "));
            }
        }
        for finding in &self.having {
            records.retain(|record| record.truth(finding) == Truth::Positive);
            ensure!(!records.is_empty(), "--having: no image is stated to show `{finding}`");
        }
        Ok(records)
    }
}
