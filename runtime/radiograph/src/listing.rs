//! Which files below a folder are pictures.

use crate::{Kind, RadiographError};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const ENDINGS: [&str; 6] = ["dcm", "dicom", "png", "jpg", "jpeg", "jpe"];

/// What lies below a folder, sorted, so that nothing depends on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// DICOM, PNG and JPEG files: by their ending, and those with another ending or none by their first bytes.
    pub pictures: Vec<PathBuf>,
    /// All others, hidden ones and DICOM directories among them.
    pub others: Vec<PathBuf>,
}

impl Listing {
    /// Follows links; a folder that can be reached twice is read once. Fails where a folder or file cannot be read.
    pub fn of(root: &Path) -> Result<Self, RadiographError> {
        let mut found = Self::default();
        let (mut open, mut seen) = (vec![root.to_owned()], BTreeSet::new());
        while let Some(folder) = open.pop() {
            let failed = |error| RadiographError::Io(error).of_file(&folder);
            if !seen.insert(folder.canonicalize().map_err(failed)?) {
                continue;
            }
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                // `._a.png` is what a Mac knows of `a.png`; links may lead nowhere.
                let is_other = name.starts_with('.')
                    || name.eq_ignore_ascii_case("DICOMDIR")
                    || !path.is_file();
                if path.is_dir() {
                    open.push(path);
                } else if !is_other
                    && (has_picture_ending(&path) || Kind::of_file(&path)?.is_some())
                {
                    found.pictures.push(path);
                } else {
                    found.others.push(path);
                }
            }
        }
        found.pictures.sort();
        found.others.sort();
        Ok(found)
    }
}

/// Whether a file's name ends as those of pictures do.
pub fn has_picture_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_known_by_their_bytes_where_their_names_say_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut dicom = vec![0; 128];
        dicom.extend(b"DICM");
        let png = b"\x89PNG\r\n\x1a\n".as_slice();
        let jpeg = b"\xff\xd8\xff\xe0".as_slice();
        let files: [(&str, &[u8]); 12] = [
            ("DICOM/0000/IM000001", &dicom),
            ("DICOM/0000/1.2.826.0.1.3680043.8.498.77", &dicom),
            ("DICOM/DICOMDIR", &dicom),
            ("siemens.IMA", &dicom),
            ("export", png),
            ("photo.jfif", jpeg),
            ("a.PNG", b"by its name alone"),
            ("._a.PNG", png),
            (".DS_Store", b""),
            ("empty", b""),
            ("notes.txt", b"notes"),
            ("Thumbs.db", b"\xd0\xcf"),
        ];
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        #[cfg(unix)]
        for (to, link) in [("..", "DICOM/up"), ("nowhere.png", "broken.png")] {
            std::os::unix::fs::symlink(to, folder.path().join(link)).unwrap();
        }
        let Listing { pictures, others } = Listing::of(folder.path()).unwrap();
        let names = |paths: &[PathBuf]| {
            let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            paths.iter().map(name).collect::<BTreeSet<_>>()
        };
        let expected = [
            "IM000001",
            "1.2.826.0.1.3680043.8.498.77",
            "siemens.IMA",
            "export",
            "photo.jfif",
            "a.PNG",
        ];
        assert_eq!(names(&pictures), expected.map(str::to_owned).into());
        assert_eq!((pictures.len(), others.len()), (6, 7), "{others:?}");
    }
}
