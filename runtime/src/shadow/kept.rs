//! Pairs on disk, one JSON object a line, oldest first.
//!
//! ```text
//! shadow.log        the one being written; every line is flushed before the next image is looked at
//! shadow.old.log    the one before, replaced when shadow.log has grown to half of what may be kept
//! ```

use super::{agreement::Agreement, pair::Pair};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

const CURRENT: &str = "shadow.log";
const OLD: &str = "shadow.old.log";

/// The open end of the log.
#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

impl Kept {
    /// Opens it, or begins one; cuts off a line that a power cut left unfinished.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> Result<Self> {
        let path = folder.join(CURRENT);
        let open = File::options().create(true).append(true).read(true).open(&path);
        let file = open.with_context(|| format!("cannot open {}", path.display()))?;
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let bytes = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last as u64 + 1);
        file.set_len(bytes).with_context(|| format!("cannot mend {}", path.display()))?;
        durable::sync_folder(folder).context("cannot flush the folder of shadow.log")?;
        Ok(Self { folder: folder.to_owned(), file, bytes, max_bytes })
    }

    /// After this returns, the pair survives a power cut.
    pub(super) fn add(&mut self, pair: &Pair) -> io::Result<()> {
        let mut line = serde_json::to_vec(pair)?;
        line.push(b'\n');
        if self.bytes + line.len() as u64 > self.max_bytes / 2 && self.bytes > 0 {
            let path = self.folder.join(CURRENT);
            fs::rename(&path, self.folder.join(OLD))?;
            self.file = File::options().create(true).append(true).open(&path)?;
            self.bytes = 0;
            durable::sync_folder(&self.folder)?;
        }
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line would spoil the next one.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }
}

/// Everything that is kept, oldest first; an error names the first line that is no pair.
pub(super) fn read(folder: &Path, mut each: impl FnMut(Pair)) -> Result<()> {
    for name in [OLD, CURRENT] {
        let path = folder.join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = reader.read_until(b'\n', &mut line);
            read.with_context(|| format!("cannot read {}", path.display()))?;
            // A line without an end is being written, or a power cut left it.
            let Some(text) = line.strip_suffix(b"\n") else { break };
            let pair = serde_json::from_slice(text);
            each(pair.with_context(|| format!("{}, line {number}: no pair", path.display()))?);
        }
    }
    Ok(())
}

/// One agreement for each two bundles, the one that was added to last at the end.
pub(super) fn agreements(folder: &Path) -> Result<Vec<Agreement>> {
    let mut all = Vec::new();
    read(folder, |pair| add(&mut all, &pair))?;
    Ok(all)
}

/// Adds a pair to the agreement of its two bundles, which goes to the end.
pub(super) fn add(all: &mut Vec<Agreement>, pair: &Pair) {
    let digests = |bundles: &[results::BundleId; 2]| bundles.each_ref().map(|b| b.digest.clone());
    let wanted = digests(&pair.bundles);
    let known = all.iter().position(|agreement| digests(agreement.bundles()) == wanted);
    let mut agreement = match known {
        Some(at) => all.remove(at),
        None => Agreement::new(pair.bundles.clone()),
    };
    agreement.add(pair);
    all.push(agreement);
    if all.len() > MOST_BUNDLES {
        all.remove(0);
    }
}

/// Pairs of bundles that are told apart; of more, the oldest are only in the log.
const MOST_BUNDLES: usize = 16;

/// The log of a spool folder that has one.
pub(super) fn must_exist(folder: &Path) -> Result<()> {
    let there = [OLD, CURRENT].iter().any(|name| folder.join(name).exists());
    ensure!(there, "{}: no shadow.log, so nothing was compared here yet", folder.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::pair::tests::record, *};

    fn pair(image: u64, shadow: &str) -> Pair {
        let says = |digest| record(digest, &[("Edema", 0.5)], &[1], &[]);
        Pair::of(image, format!("t{image}"), &says("a"), &says(shadow)).unwrap()
    }

    fn images(folder: &Path) -> Vec<u64> {
        let mut images = Vec::new();
        read(folder, |pair| images.push(pair.image)).unwrap();
        images
    }

    #[test]
    fn pairs_outlast_the_process_and_a_torn_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Kept::open(folder.path(), 1 << 20).unwrap();
        for image in 1..=3 {
            log.add(&pair(image, "b")).unwrap();
        }
        drop(log);
        let path = folder.path().join(CURRENT);
        let bytes = fs::read(&path).unwrap();
        let lines: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == b'\n').collect();
        for cut in (0..bytes.len()).step_by(17) {
            fs::write(&path, &bytes[..cut]).unwrap();
            let kept = lines.iter().filter(|&&end| end < cut).count() as u64;
            assert_eq!(images(folder.path()), (1..=kept).collect::<Vec<_>>(), "cut at {cut}");
            Kept::open(folder.path(), 1 << 20).unwrap().add(&pair(9, "b")).unwrap();
            assert_eq!(images(folder.path()).last(), Some(&9), "cut at {cut}");
        }
    }

    #[test]
    fn the_log_keeps_the_newest_pairs_within_its_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let line = serde_json::to_vec(&pair(1, "b")).unwrap().len() as u64 + 1;
        let max = 10 * line;
        let mut log = Kept::open(folder.path(), max).unwrap();
        for image in 1..=9 {
            log.add(&pair(image, "b")).unwrap();
            let size = |name| fs::metadata(folder.path().join(name)).map_or(0, |file| file.len());
            assert!(size(OLD) + size(CURRENT) <= max);
        }
        assert_eq!(images(folder.path()), (1..=9).collect::<Vec<_>>());
        for image in 2..=4 {
            log.add(&pair(image, "b")).unwrap();
        }
        assert_eq!(images(folder.path()), [6, 7, 8, 9, 2, 3, 4]);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(must_exist(folder.path()).is_err());
        fs::write(folder.path().join(CURRENT), "{}\n").unwrap();
        must_exist(folder.path()).unwrap();
        let error = format!("{:#}", agreements(folder.path()).unwrap_err());
        assert!(error.contains("shadow.log, line 1: no pair: missing field `image`"), "{error}");
    }

    #[test]
    fn each_two_bundles_have_their_own_figures_the_newest_last() {
        let mut all = Vec::new();
        for (image, shadow) in [(1, "b"), (2, "c"), (3, "b")] {
            add(&mut all, &pair(image, shadow));
        }
        let found: Vec<_> =
            all.iter().map(|a| (a.bundles()[1].digest.as_str(), a.summary().pairs)).collect();
        assert_eq!(found, [("c", 1), ("b", 2)]);
    }
}
