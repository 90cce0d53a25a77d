//! Which images of an index thresholds and figures are of: those the network was trained for, unless the user says
//! otherwise.

use anyhow::Result;
use clap::Args;
use records::Selection;

/// Flags of `quantize` and `verify`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Selected {
    #[command(flatten)]
    asked: Selection,
    /// All images, whatever `--source` and `--having` the network was trained with
    #[arg(long, conflicts_with_all = ["source", "having"])]
    unselected: bool,
}

impl Selected {
    /// Whether the user says which images.
    pub(crate) fn is_asked(&self) -> bool {
        self.unselected || !self.asked.is_everything()
    }

    /// What the user asks for, or what `config`, a checkpoint's `config.toml`, was trained with.
    pub(crate) fn or_trained(&self, config: &toml::Table) -> Result<Selection> {
        if self.is_asked() {
            return Ok(self.asked.clone());
        }
        let training = config.get("training").and_then(toml::Value::as_table);
        Ok(training.map(Selection::of_table).transpose()?.unwrap_or_default())
    }
}
