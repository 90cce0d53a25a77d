//! `trainer index`: a data set's folders and tables to one file.

use crate::{
    index::{
        DataSet, Layout, Record, Split, Summary, assign_fold, assign_splits, check, read_splits,
        write, write_splits,
    },
    terminal::Terminal,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::path::{Path, PathBuf};

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
    /// Shares of train, val and test, in patients, for those the data set puts in no split; default 70:15:15, or 85:15:0
    /// where it has a test split
    #[arg(long, value_name = "A:B:C", value_parser = shares)]
    shares: Option<[f64; 3]>,
    /// Forget the data set's own splits and draw all of them
    #[arg(long)]
    resplit: bool,
    /// Cut the patients into this many parts instead, for cross-validation
    #[arg(long, value_name = "K", requires = "fold", conflicts_with = "shares", value_parser = clap::value_parser!(u32).range(3..=100))]
    folds: Option<u32>,
    /// Which part is for testing, from 0; the next is for validation
    #[arg(long, value_name = "I", requires = "folds")]
    fold: Option<u32>,
    /// Seed of those splits
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Take every patient's split from this table instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["shares", "resplit", "folds"])]
    split_file: Option<PathBuf>,
    /// Leave out at most this many images that are not there or empty, as after a partial download
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_missing: usize,
    /// Learn from reports as they stand, not from the part about the picture alone
    #[arg(long)]
    whole_reports: bool,
    /// Write every patient's split to a table others can use with --split-file
    #[arg(long, value_name = "FILE")]
    write_splits: Option<PathBuf>,
}

impl IndexArgs {
    pub fn run(self, terminal: &Terminal) -> Result<()> {
        // `data/index.jsonl` has its masks in `data/index.masks/`.
        let absolute = |path: &Path| {
            std::path::absolute(path).with_context(|| format!("cannot use {}", path.display()))
        };
        // Relative paths would begin at the folder of the index.
        let (root, masks) = (absolute(&self.root)?, absolute(&self.out)?.with_extension("masks"));
        let mut data = DataSet::new(&root, &masks);
        data.skip_missing = self.skip_missing;
        let mut records = self.layout.records(&mut data)?;
        ensure!(!records.is_empty(), "{}: no image is left{}", root.display(), data.left_out);
        // An index is UTF-8, and so are the paths in it.
        let unnamed = records.iter().filter(|record| record.image.to_str().is_none());
        let names: Vec<String> = unnamed.map(|record| record.image.display().to_string()).collect();
        ensure!(
            names.is_empty(),
            "{} of {} images have names that are not UTF-8, expected ones an index can hold; rename them: {}",
            names.len(),
            records.len(),
            names[..names.len().min(5)].join(", ")
        );
        self.split(&mut records)?;
        if self.whole_reports {
            records.iter_mut().for_each(Record::keep_whole_report);
        }
        check(&self.out, &records).context("the data set breaks a rule of the index")?;
        write(&self.out, &records)?;
        if let Some(path) = &self.write_splits {
            write_splits(path, &records)?;
        }
        data.left_out.log();
        let summary = Summary::of(&records, data.left_out);
        terminal.json(&summary)?;
        terminal.say(format!("{}: {summary}", self.out.display()))?;
        Ok(())
    }

    fn split(&self, records: &mut [Record]) -> Result<()> {
        if let Some(path) = &self.split_file {
            return Ok(read_splits(path, records)?);
        }
        if self.resplit {
            records.iter_mut().for_each(|record| record.split = None);
        }
        if let (Some(folds), Some(fold)) = (self.folds, self.fold) {
            ensure!(fold < folds, "--fold is {fold}, expected below {folds}");
            assign_fold(records, folds as usize, fold as usize, self.seed);
            return Ok(());
        }
        let tested = records.iter().any(|record| record.split == Some(Split::Test));
        let usual = if tested { [85.0, 15.0, 0.0] } else { [70.0, 15.0, 15.0] };
        assign_splits(records, self.shares.unwrap_or(usual), self.seed);
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
