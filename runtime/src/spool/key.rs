//! The name of a received object on disk.

use crate::uid::Uid;
use std::path::Path;

/// Order of arrival, identity and contents; the file name of everything that belongs to the object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) sequence: u64,
    pub(crate) uid: Uid,
    /// First 8 bytes of the SHA-256 of class, transfer syntax and data set.
    pub(crate) digest: u64,
}

impl Key {
    /// The name of its files, without their ending.
    pub(crate) fn name(&self) -> String {
        format!("{:012}_{}_{:016x}", self.sequence, self.uid, self.digest)
    }

    /// What logs call it. A SOP instance UID leads to a patient for whoever can ask the archive, so logs do
    /// without.
    pub(crate) fn label(&self) -> String {
        format!("image {}", self.sequence)
    }

    /// The key in a file name; `None` if the file is not ours or half written.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let name =
            [".dcm", ".json", ".png"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let mut parts = name.split('_');
        let key = Self {
            sequence: parts.next()?.parse().ok()?,
            uid: Uid::parse(parts.next()?).ok()?,
            digest: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        (parts.next().is_none() && key.name() == name).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_way_to_disk_and_back() {
        let key = Key { sequence: 7, uid: Uid::parse("1.2.3").unwrap(), digest: 0xab };
        assert_eq!(key.name(), "000000000007_1.2.3_00000000000000ab");
        for name in ["x.dcm", "x.json", "x.png", "x"] {
            let path = name.replace('x', &key.name());
            assert_eq!(Key::of_file(Path::new(&path)), Some(key.clone()));
        }
        for other in ["README", "7_1.2.3_ab.dcm", "000000000007_1.2.3_00000000000000ab.json.part"] {
            assert_eq!(Key::of_file(Path::new(other)), None, "{other}");
        }
    }
}
