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
        let lines = lines(folder)?.into_iter();
        // As they stand: a number read and written again may end in another digit.
        let kept: String =
            lines.filter(|(line, _)| line.step <= done).map(|(_, text)| text + "\n").collect();
        let failed = || format!("cannot write {}", path.display());
        let mut history = Self { file: File::create(&path).with_context(failed)?, path };
        history.write(kept.as_bytes())?;
        Ok(history)
    }

    pub fn push(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.write(&text)
    }

    fn write(&mut self, text: &[u8]) -> Result<()> {
        self.file.write_all(text).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// All steps; a last one cut by a kill is left out.
pub(super) fn read(folder: &Path) -> Result<Vec<Line>> {
    Ok(lines(folder)?.into_iter().map(|(line, _)| line).collect())
}

/// Steps, each with its text.
fn lines(folder: &Path) -> Result<Vec<(Line, String)>> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line = |(at, text): (usize, &str)| {
        let line = serde_json::from_str(text)
            .with_context(|| format!("{}:{} is no step", path.display(), at + 1))?;
        Ok((line, text.to_owned()))
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

    #[test]
    fn steps_are_kept_to_the_last_digit() {
        let folder = tempfile::tempdir().unwrap();
        let text = || fs::read_to_string(folder.path().join(FILE)).unwrap();
        let mut history = History::open(folder.path(), 0).unwrap();
        // serde_json reads the first of these one unit off.
        for loss in [3.8434858322143555, 3.7388246059417725] {
            history.push(&Line { loss, ..line(1) }).unwrap();
        }
        let before = text();
        History::open(folder.path(), 1).unwrap();
        assert_eq!(text(), before);
    }
}
