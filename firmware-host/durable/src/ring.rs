//! Lines in two files that together never grow beyond a bound: a log that outlives its process and spares the disk.
//!
//! ```text
//! path        lines as they come; when it is half the bound long, it takes the place of the other
//! path.old    the lines before
//! ```
//!
//! Nothing is flushed: the kernel keeps what a process wrote, whatever becomes of the process, and a power cut may cost
//! the last lines. What it leaves of a line is a line of its own, for the reader to make out.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// The writer's end. There must be one only.
#[derive(Debug)]
pub struct Ring {
    path: PathBuf,
    file: File,
    length: u64,
    /// Of both files together.
    bound: u64,
}

impl Ring {
    /// Goes on where an earlier process left off. `bound`: bytes.
    pub fn open(path: &Path, bound: u64) -> io::Result<Self> {
        let mut file = File::options().create(true).append(true).read(true).open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        let mut ring = Self { path: path.to_owned(), file, length, bound };
        if length > 0 {
            let mut last = [0];
            ring.file.seek(SeekFrom::Start(length - 1))?;
            ring.file.read_exact(&mut last)?;
            if last != *b"\n" {
                ring.write(b"\n")?;
            }
        }
        Ok(ring)
    }

    /// Adds a line. One that is longer than half the bound is refused, so is one that is two.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        let bytes = [line.as_bytes(), b"\n"].concat();
        if line.contains('\n') || bytes.len() as u64 > self.bound / 2 {
            return Err(io::Error::new(ErrorKind::InvalidInput, "expected one line, not too long"));
        }
        if self.length + bytes.len() as u64 > self.bound / 2 {
            fs::rename(&self.path, old(&self.path))?;
            *self = Self::open(&self.path, self.bound)?;
        }
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// The lines of a ring, oldest first, also while another process writes; of each file at most `most` bytes, the last.
pub fn lines(path: &Path, most: u64) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for path in [&old(path), path] {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let start = file.seek(SeekFrom::End(0))?.saturating_sub(most);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        lines.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned));
    }
    Ok(lines)
}

fn old(path: &Path) -> PathBuf {
    path.with_added_extension("old")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_last_lines_and_never_outgrows_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut ring = Ring::open(&path, 1000).unwrap();
        for n in 0..1000_usize {
            if n % 7 == 0 {
                ring = Ring::open(&path, 1000).unwrap();
            }
            ring.append(&format!("line {n}")).unwrap();
            let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
            assert!(size(&path) + size(&old(&path)) <= 1000);
            let kept = lines(&path, 1000).unwrap();
            let first = (n + 1).saturating_sub(kept.len());
            let expected: Vec<_> = (first..=n).map(|n| format!("line {n}")).collect();
            assert_eq!(kept, expected);
            assert!(kept.len() > 50 || kept.len() == n + 1);
        }
        assert!(ring.append(&"x".repeat(500)).is_err() && ring.append("two\nlines").is_err());
    }

    #[test]
    fn what_a_power_cut_leaves_of_a_line_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(lines(&path, 1000).unwrap(), [""; 0]);
        fs::write(&path, b"whole\nto\xff").unwrap();
        Ring::open(&path, 1000).unwrap().append("next").unwrap();
        assert_eq!(lines(&path, 1000).unwrap(), ["whole", "to\u{fffd}", "next"]);
        assert_eq!(lines(&path, 5).unwrap(), ["next"]);
    }
}
