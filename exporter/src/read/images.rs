//! Images for calibration: a folder or an index in, network inputs out.

use anyhow::{Result, bail, ensure};
use graph::Preprocess;
use records::{Record, Split};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Fewer images than this leave ranges to chance.
pub(crate) const LEAST: usize = 8;

/// Images that judge; more would cost time, not change what is chosen.
const JUDGES: usize = 32;

/// Which images calibrate, in a fixed order.
#[derive(Clone, Debug)]
pub(crate) struct ImageSet {
    pub(crate) paths: Vec<PathBuf>,
    /// What an index says of them.
    pub(crate) records: Arc<HashMap<PathBuf, Record>>,
}

/// One image ready for the network.
pub(crate) struct Input {
    /// `[C, H, W]`, normalised.
    pub(crate) pixels: Vec<f32>,
    /// Rows and columns of the picture as stored.
    pub(crate) size: [usize; 2],
    /// SHA-256 of the file.
    pub(crate) digest: [u8; 32],
}

impl ImageSet {
    /// At most `limit` images of a folder (every DICOM, PNG and JPEG below it) or of the training
    /// and validation splits of an index: what is tested on must not calibrate.
    pub(crate) fn find(source: &Path, limit: usize) -> Result<Self> {
        let (all, records) = if source.is_dir() {
            let radiograph::Listing { pictures, others } = radiograph::Listing::of(source)?;
            let lost = |path: &&PathBuf| radiograph::has_picture_ending(path) && !path.exists();
            if let Some(path) = others.iter().find(lost) {
                bail!("{}: a link to nothing, expected a picture", path.display());
            }
            if !others.is_empty() {
                log::info!("{}: {} files are no pictures", source.display(), others.len());
            }
            (pictures, HashMap::new())
        } else {
            let mut records = records::read(source)?;
            records.retain(|record| matches!(record.part(), Split::Train | Split::Val));
            let paths = records.iter().map(|record| record.image.clone()).collect();
            (paths, records.into_iter().map(|record| (record.image.clone(), record)).collect())
        };
        ensure!(
            all.len() >= LEAST,
            "{}: found {} images (DICOM, PNG, JPEG; of an index its train and val splits), expected at least \
             {LEAST} to calibrate with",
            source.display(),
            all.len()
        );
        Ok(Self { paths: spread(all, limit), records: Arc::new(records) })
    }

    /// Those that calibrate, and those that judge instead: every fifth, at most [`JUDGES`].
    pub(crate) fn hold_out(&self) -> (Self, Self) {
        let (mut calibrate, mut judge) = (Vec::new(), Vec::new());
        for (at, path) in self.paths.iter().enumerate() {
            let judges = at % 5 == 4 && judge.len() < JUDGES;
            if judges { &mut judge } else { &mut calibrate }.push(path.clone());
        }
        let of = |paths| Self { paths, records: self.records.clone() };
        (of(calibrate), of(judge))
    }

    /// No image at all.
    pub(crate) fn none() -> Self {
        Self { paths: Vec::new(), records: Arc::default() }
    }
}

impl Input {
    /// Reads an image; one that is the same everywhere shows the network nothing and is refused.
    pub(crate) fn read(path: &Path, preprocess: &Preprocess) -> Result<Self> {
        let file = radiograph::File::open(path)?;
        let radiograph = file.read()?;
        if let Some(grey) = radiograph.image.only_grey() {
            bail!("{}: every pixel is {grey}, expected a picture", path.display());
        }
        Ok(Self {
            pixels: radiograph::network_input(&radiograph.image, preprocess),
            size: [radiograph.image.height, radiograph.image.width],
            digest: Sha256::digest(file.bytes()).into(),
        })
    }
}

/// `limit` elements at equal distances, so that a sorted list is sampled throughout.
pub(crate) fn spread<T: Clone>(all: Vec<T>, limit: usize) -> Vec<T> {
    let n = all.len();
    if n <= limit {
        return all;
    }
    (0..limit).map(|at| all[at * n / limit].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_limit_samples_the_whole_list() {
        let all: Vec<PathBuf> = (0..10).map(|i| i.to_string().into()).collect();
        let some: Vec<PathBuf> = ["0", "3", "6"].map(PathBuf::from).to_vec();
        assert_eq!(spread(all.clone(), 3), some);
        assert_eq!(spread(all.clone(), 99), all);
    }

    /// A pipe can be read once: who reads a file twice may hash one picture and see another.
    #[test]
    fn the_picture_that_is_hashed_is_the_picture_that_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("a.png"), folder.path().join("pipe.png"));
        image::save_buffer(&file, &[0, 50, 100, 255], 2, 2, image::ColorType::L8).unwrap();
        let bytes = fs::read(&file).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let digest = <[u8; 32]>::from(Sha256::digest(&bytes));
        let written = pipe.clone();
        std::thread::spawn(move || fs::write(written, bytes));
        let (answer, answered) = std::sync::mpsc::channel();
        // A second reading would wait for ever.
        std::thread::spawn(move || {
            let plain =
                Preprocess { height: 2, width: 2, mean: 0.0, std: 1.0, ..Preprocess::PRIOR };
            answer.send(Input::read(&pipe, &plain))
        });
        let input = answered.recv_timeout(std::time::Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!(input.digest, digest);
        assert_eq!(input.pixels, [0.0, 50.0 / 255.0, 100.0 / 255.0, 1.0]);
    }

    #[test]
    fn an_empty_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = ImageSet::find(folder.path(), 100).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
        assert!(error.contains("found 0 images"), "{error}");
    }
}
