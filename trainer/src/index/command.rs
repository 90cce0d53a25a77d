//! `trainer index`: a data set's folders and tables to one file.

use super::{Layout, Summary, assign_splits, check, write};
use crate::terminal::Terminal;
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;

/// Reads a data set and writes its index, checked, with every patient in one split
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// Arrangement of the data set's files
    layout: Layout,
    /// Folder of the data set
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Where to write the index
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Shares of train, val and test, in patients, where the data set has no split
    #[arg(long, value_name = "A:B:C", default_value = "70:15:15", value_parser = shares)]
    shares: [f64; 3],
    /// Seed of that split
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl IndexArgs {
    pub fn run(self, terminal: &Terminal) -> Result<()> {
        let mut records = self.layout.records(&self.root)?;
        assign_splits(&mut records, self.shares, self.seed);
        check(&self.out, &records).context("the data set breaks a rule of the index")?;
        write(&self.out, &records)?;
        let summary = Summary::of(&records);
        terminal.json(&summary)?;
        terminal.say(format!("{}: {summary}", self.out.display()))?;
        Ok(())
    }
}

fn shares(text: &str) -> Result<[f64; 3], String> {
    let parts: Vec<f64> = text.split(':').filter_map(|part| part.parse().ok()).collect();
    match <[f64; 3]>::try_from(parts) {
        Ok(shares) if shares.iter().all(|&x| x >= 0.0) && shares[0] > 0.0 => Ok(shares),
        _ => Err("expected three shares such as 70:15:15, the first above 0".into()),
    }
}
