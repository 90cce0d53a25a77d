//! A DICOM file that is sent again and again, each time as another instance, with changes or without.

use crate::dicom::negotiation::STORAGE_CLASSES;
use anyhow::{Context, Result, bail, ensure};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use radiograph::{
    Header, TransferSyntax,
    elements::{Encoding, Reader},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A DICOM file whose elements can be exchanged.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) path: PathBuf,
    pub(crate) class: &'static str,
    pub(crate) syntaxes: &'static [&'static str],
    pub(crate) syntax: TransferSyntax,
    pub(crate) header: Header,
    pub(crate) bytes: Vec<u8>,
    data_set: Vec<u8>,
    encoding: Encoding,
}

/// An element with another value; one that is not there is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) tag: Tag,
    pub(crate) vr: VR,
    pub(crate) value: String,
}

impl Numbered {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let read = || {
            let bytes = fs::read(path).context("cannot be read")?;
            let header = radiograph::header(&bytes)?;
            let syntax = header.transfer_syntax;
            ensure!(
                syntax != TransferSyntax::Deflated,
                "is deflated as a whole, expected a data set that can be numbered"
            );
            let known = STORAGE_CLASSES.iter().find(|(uid, _)| *uid == header.sop_class_uid);
            let Some((class, _)) = known else {
                bail!(
                    "its SOP class is {}, expected one that the daemon takes",
                    header.sop_class_uid
                );
            };
            let mut plain = bytes.clone();
            if let Some(preamble) = plain.get_mut(..128) {
                preamble.fill(0); // what a preamble says is nobody's business
            }
            let data_set = results::data_set(&plain)
                .context("expected a Part 10 file that begins with the length of its group 0002")?
                .to_vec();
            let encoding = syntax.encoding();
            // Lives as long as the program, like the table of what the daemon proposes.
            let syntaxes = Box::leak(vec![syntax.uid()].into_boxed_slice());
            let path = path.to_owned();
            let numbered =
                Self { path, class, syntaxes, syntax, header, bytes, data_set, encoding };
            numbered.data_set("2.25.0")?;
            Ok(numbered)
        };
        read().with_context(|| path.display().to_string())
    }

    /// As it is in the file.
    pub(crate) fn original(&self) -> &[u8] {
        &self.data_set
    }

    /// Its data set as another instance.
    pub(crate) fn data_set(&self, instance: &str) -> Result<Vec<u8>> {
        self.changed(instance, &[])
    }

    /// The same with other values of some elements.
    pub(crate) fn changed(&self, instance: &str, changes: &[Change]) -> Result<Vec<u8>> {
        let uid = Change { tag: tags::SOP_INSTANCE_UID, vr: VR::UI, value: instance.to_owned() };
        let mut changes: Vec<&Change> = changes.iter().chain([&uid]).collect();
        changes.sort_by_key(|change| change.tag);
        exchanged(&self.data_set, self.encoding, &changes)
    }
}

/// A data set with other values of some elements, in the order of their tags; the SOP Instance UID must be there.
fn exchanged(data_set: &[u8], encoding: Encoding, changes: &[&Change]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(data_set.len() + 256);
    let (mut open, mut numbered) = (changes, false);
    let mut reader = Reader::new(data_set, encoding);
    while !reader.is_at_end() {
        let from = reader.position();
        let head = reader.head()?;
        reader.rest_of(&head)?;
        while let Some((next, rest)) = open.split_first().filter(|(next, _)| next.tag <= head.tag) {
            encoding.put(&mut bytes, next.tag, next.vr, &next.value)?;
            open = rest;
        }
        numbered |= head.tag == tags::SOP_INSTANCE_UID;
        if !changes.iter().any(|change| change.tag == head.tag) {
            bytes.extend_from_slice(&data_set[from..reader.position()]);
        }
    }
    for change in open {
        encoding.put(&mut bytes, change.tag, change.vr, &change.value)?;
    }
    ensure!(numbered, "has no SOP Instance UID");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(tag: Tag, vr: VR, value: &str) -> Change {
        Change { tag, vr, value: value.into() }
    }

    #[test]
    fn an_instance_is_renamed_and_nothing_else() {
        let encoding = Encoding::EXPLICIT_LITTLE_ENDIAN;
        let put = |elements: &[(Tag, &str)]| {
            let mut data_set = Vec::new();
            for (tag, value) in elements {
                encoding.put(&mut data_set, *tag, VR::UI, value).unwrap();
            }
            data_set
        };
        let [class, uid, study] =
            [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID];
        let before = put(&[(class, "1.2"), (uid, "1.2.3"), (study, "1.2.4")]);
        let renamed = change(uid, VR::UI, "2.25.77");
        let after = exchanged(&before, encoding, &[&renamed]).unwrap();
        assert_eq!(after, put(&[(class, "1.2"), (uid, "2.25.77"), (study, "1.2.4")]));
        assert!(exchanged(&put(&[(study, "1.2.4")]), encoding, &[&renamed]).is_err());
    }

    #[test]
    fn what_is_not_there_is_added_in_its_place() {
        let encoding = Encoding::IMPLICIT_LITTLE_ENDIAN;
        let put = |elements: &[(Tag, VR, &str)]| {
            let mut data_set = Vec::new();
            for (tag, vr, value) in elements {
                encoding.put(&mut data_set, *tag, *vr, value).unwrap();
            }
            data_set
        };
        let (uid, rows) = ((tags::SOP_INSTANCE_UID, VR::UI, "1.2"), (tags::ROWS, VR::US, "ab"));
        let before = put(&[uid, rows]);
        let changes = [
            change(tags::SOP_INSTANCE_UID, VR::UI, "1.2"),
            change(tags::PATIENT_ID, VR::LO, "7"),
            change(tags::WINDOW_CENTER, VR::DS, "100"),
        ];
        let after = exchanged(&before, encoding, &changes.each_ref()).unwrap();
        let (patient, window) =
            ((tags::PATIENT_ID, VR::LO, "7"), (tags::WINDOW_CENTER, VR::DS, "100"));
        assert_eq!(after, put(&[uid, patient, rows, window]));
    }
}
