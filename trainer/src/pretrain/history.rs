//! What every step measured, kept beside the checkpoint: `history.jsonl`, one step a line.

use crate::prior::Term;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

pub(super) const FILE: &str = "history.jsonl";

/// One optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub step: u64,
    pub stage: String,
    pub rate: f64,
    pub loss: f64,
    pub gradient: Option<f64>,
    /// Unweighted.
    pub terms: BTreeMap<Term, f64>,
}

/// The file, open for more.
#[derive(Debug)]
pub struct History {
    file: File,
    path: PathBuf,
}

impl History {
    /// Goes on after step `done`: lines of later steps, which a killed run wrote and its checkpoint does not know, go.
    pub fn open(folder: &Path, done: u64) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(FILE);
        let kept: Vec<Line> = read(folder)?.into_iter().filter(|line| line.step <= done).collect();
        let failed = || format!("cannot write {}", path.display());
        let mut history = Self { file: File::create(&path).with_context(failed)?, path };
        kept.iter().try_for_each(|line| history.push(line))?;
        Ok(history)
    }

    pub fn push(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// All whole lines; a last one cut by a kill is left out.
pub(super) fn read(folder: &Path) -> Result<Vec<Line>> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line = |(at, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("{}:{} is no step", path.display(), at + 1))
    };
    whole.lines().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Line {
        let terms = BTreeMap::from([(Term::Global, step as f64), (Term::LocalText, 0.25)]);
        let (stage, gradient) = ("first".to_owned(), Some(1.0));
        Line { step, stage, rate: 1e-3, loss: step as f64 / 3.0, gradient, terms }
    }

    #[test]
    fn a_resumed_run_goes_on_where_its_checkpoint_stands() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::open(folder.path(), 0).unwrap();
        (1..=5).for_each(|step| history.push(&line(step)).unwrap());
        history.file.write_all(b"{\"step\":6,\"sta").unwrap(); // killed here
        assert_eq!(read(folder.path()).unwrap().len(), 5);
        let mut history = History::open(folder.path(), 3).unwrap();
        history.push(&line(4)).unwrap();
        let steps: Vec<u64> = read(folder.path()).unwrap().iter().map(|line| line.step).collect();
        assert_eq!(steps, [1, 2, 3, 4]);
        assert_eq!(read(folder.path()).unwrap()[3], line(4));
    }
}
