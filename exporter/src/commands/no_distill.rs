//! `exporter distill` in a build without libtorch: says which build has it.

use anyhow::{Result, bail};
use clap::Args;
use std::ffi::OsString;
use terminal::Terminal;

/// Teaches a small network to see what a large one sees (not in this build)
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Distill {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _ignored: Vec<OsString>,
}

impl Distill {
    pub(crate) fn run(self, _: Terminal) -> Result<()> {
        bail!(
            "this exporter was built without libtorch: `cargo build -p exporter --features distill`"
        )
    }
}
