//! Pictures of a data set on disk: where they are and how large.

use crate::index::{IndexError, Record};
use radiograph::{Listing, RadiographError, has_picture_ending, probe_file};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Every picture under `root`, and every other file.
pub(super) fn listing(root: &Path) -> Result<Listing, IndexError> {
    Listing::of(root).map_err(|error| match error {
        RadiographError::File { path, source } => unreadable(&path, &source),
        other => unreadable(root, &other),
    })
}

/// Pictures by a name that a table may give them.
#[derive(Debug, Default)]
pub(super) struct Pictures(BTreeMap<String, Vec<PathBuf>>);

impl Pictures {
    /// Those under `root`, by `name`; none where there is no such folder.
    pub(super) fn by(
        root: &Path,
        name: impl Fn(&Path) -> Option<String>,
    ) -> Result<Self, IndexError> {
        let mut named: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        let listing = if root.is_dir() { listing(root)? } else { Listing::default() };
        for path in listing.pictures {
            if let Some(name) = name(&path) {
                named.entry(name).or_default().push(path);
            }
        }
        Ok(Self(named))
    }

    /// Those that none of `records` is about.
    pub(super) fn without<'a>(&'a self, records: &[Record]) -> Vec<&'a PathBuf> {
        let named: BTreeSet<&Path> = records.iter().map(|record| record.image.as_path()).collect();
        self.0.values().flatten().filter(|path| !named.contains(path.as_path())).collect()
    }

    /// The picture of this name, if there is one; an error if there are several.
    pub(super) fn get(&self, name: &str) -> Result<Option<PathBuf>, IndexError> {
        match self.0.get(name).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([path]) => Ok(Some(path.clone())),
            Some([first, second, ..]) => Err(IndexError::Picture {
                path: second.clone(),
                reason: format!("`{name}` is also {}", first.display()),
            }),
        }
    }
}

/// `a/b.c.png` → `b.c`, `a/1.2.840` → `1.2.840`; `None` where it is no UTF-8.
pub(super) fn stem(path: &Path) -> Option<String> {
    let name = if has_picture_ending(path) { path.file_stem()? } else { path.file_name()? };
    Some(name.to_str()?.to_owned())
}

/// Where a table's path leads: from `root`, with either slash; an absolute one, or one that begins with `root`'s own folder, also after
/// the data set was moved.
pub(super) fn located(root: &Path, written: &str) -> PathBuf {
    let slashes = written.replace('\\', "/");
    let after_root = root.file_name().and_then(|name| name.to_str()).and_then(|name| {
        let folder = format!("{name}/");
        // A folder of this name inside the data set is another one.
        let absolute = slashes.starts_with('/') || slashes.get(1..2) == Some(":");
        let inner = slashes.rfind(&format!("/{folder}")).filter(|_| absolute).map(|at| at + 1);
        let at = inner.or_else(|| slashes.starts_with(&folder).then_some(0))?;
        Some(root.join(&slashes[at + folder.len()..]))
    });
    let places = [Some(root.join(written)), Some(root.join(&slashes)), after_root];
    let mut places = places.into_iter().flatten();
    let first = root.join(written);
    places.find(|path| path.is_file()).unwrap_or(first)
}

/// Fills in the pixels of every picture from its header; where a table has said them, they must be the same.
pub(super) fn measure(records: &mut [Record]) -> Result<(), IndexError> {
    records.par_iter_mut().try_for_each(|record| {
        let probe = probe_file(&record.image).map_err(|error| unreadable(&record.image, &error))?;
        let (found, said) = ([probe.width, probe.height], [record.width, record.height]);
        if said != [0, 0] && found != said {
            let reason = format!(
                "it has {}x{} pixels, but what is drawn in it is in pixels of a picture of {}x{}, expected the original",
                found[0], found[1], said[0], said[1]
            );
            return Err(IndexError::Picture { path: record.image.clone(), reason });
        }
        (record.width, record.height) = (probe.width, probe.height);
        Ok(())
    })
}

/// Warns of pictures with something drawn in them that are no DICOM and not of the size they were published in, `side` a side: who
/// made them smaller may have made the boxes smaller too, or not.
pub(super) fn warn_of_copies<'a>(drawn_in: impl Iterator<Item = &'a Record>, side: u32) {
    if let Some(warning) = copies(drawn_in, side) {
        log::warn!("{warning}");
    }
}

pub(super) fn copies<'a>(drawn_in: impl Iterator<Item = &'a Record>, side: u32) -> Option<String> {
    let is_original = |record: &Record| {
        let dicom = || probe_file(&record.image).is_ok_and(|probe| probe.header.is_some());
        [record.width, record.height] == [side, side] || dicom()
    };
    let copies: Vec<&Record> = drawn_in.filter(|record| !is_original(record)).collect();
    let first = copies.first()?;
    Some(format!(
        "{} pictures with boxes or masks have another size than the published {side}x{side}, {} is {}x{}: boxes and masks are taken \
         to be in pixels of the pictures here",
        copies.len(),
        first.image.display(),
        first.width,
        first.height
    ))
}

/// The whole chain of causes in one line, without the file's name, which is said before.
pub(super) fn unreadable(path: &Path, error: &RadiographError) -> IndexError {
    let reason = match error {
        RadiographError::File { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    IndexError::Picture { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_of_digits_and_dots_have_no_ending() {
        let stems =
            ["a/b.c.png", "a/1.2.840", "IM000001", "x.DCM"].map(|name| stem(Path::new(name)));
        assert_eq!(stems.map(Option::unwrap), ["b.c", "1.2.840", "IM000001", "x"]);
    }

    #[test]
    fn a_path_leads_to_its_picture_wherever_the_data_set_lies_now() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("chest");
        fs::create_dir_all(root.join("p1")).unwrap();
        let picture = root.join("p1/a.png");
        fs::write(&picture, b"").unwrap();
        let absolute = picture.display().to_string();
        for written in [
            "p1/a.png",
            "./p1/a.png",
            "p1\\a.png",
            ".\\p1\\a.png",
            absolute.as_str(),
            "/old/place/chest/p1/a.png",
            "C:\\old\\chest\\p1\\a.png",
            "chest/p1/a.png",
        ] {
            let found = located(&root, written).canonicalize().unwrap_or_default();
            assert_eq!(found, picture.canonicalize().unwrap(), "{written}");
        }
        assert_eq!(located(&root, "p2/a.png"), root.join("p2/a.png"));
        assert!(!located(&root, "/old/a.png").is_file());
        // Another folder of the root's name, inside it.
        assert_eq!(located(&root, "p2/chest/p1/a.png"), root.join("p2/chest/p1/a.png"));
    }

    #[test]
    fn a_name_that_two_pictures_have_is_refused_when_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/1.png", "b/1.png", "b/2.png"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        let pictures = Pictures::by(folder.path(), stem).unwrap();
        assert!(pictures.get("2").unwrap().is_some() && pictures.get("3").unwrap().is_none());
        let error = pictures.get("1").unwrap_err().to_string();
        assert!(error.contains("b/1.png: `1` is also") && error.ends_with("a/1.png"), "{error}");
    }
}
