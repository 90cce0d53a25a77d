//! A file that is sent again and again, each time as another instance.

use anyhow::{Context, Result, bail, ensure};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use radiograph::{
    TransferSyntax,
    elements::{Encoding, Reader},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::dicom::negotiation::STORAGE_CLASSES;

/// A DICOM file with a place for the SOP Instance UID.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) path: PathBuf,
    pub(super) class: &'static str,
    pub(super) syntaxes: &'static [&'static str],
    pub(super) syntax: TransferSyntax,
    pub(super) bytes: Vec<u8>,
    /// The data set up to the UID, and behind it.
    before: Vec<u8>,
    after: Vec<u8>,
    encoding: Encoding,
}

impl Numbered {
    pub(super) fn read(path: &Path) -> Result<Self> {
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
                .context("expected a Part 10 file that begins with the length of its group 0002")?;
            let encoding = syntax.encoding();
            let (from, to) = place_of_uid(data_set, encoding)?;
            let (before, after) = (data_set[..from].to_vec(), data_set[to..].to_vec());
            // Lives as long as the program, like the table of what the daemon proposes.
            let syntaxes = Box::leak(vec![syntax.uid()].into_boxed_slice());
            let path = path.to_owned();
            Ok(Self { path, class, syntaxes, syntax, bytes, before, after, encoding })
        };
        read().with_context(|| path.display().to_string())
    }

    /// Its data set as another instance.
    pub(super) fn data_set(&self, instance: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.before.len() + self.after.len() + 80);
        bytes.extend_from_slice(&self.before);
        self.encoding.put(&mut bytes, tags::SOP_INSTANCE_UID, VR::UI, instance)?;
        bytes.extend_from_slice(&self.after);
        Ok(bytes)
    }

    /// How long its header takes to read; reading the image begins with that.
    pub(super) fn parse_ms(&self) -> Result<f64> {
        let began = Instant::now();
        radiograph::header(&self.bytes)?;
        Ok(super::super::milliseconds(began.elapsed()))
    }
}

/// From where to where the element of the UID reaches.
fn place_of_uid(data_set: &[u8], encoding: Encoding) -> Result<(usize, usize)> {
    let mut reader = Reader::new(data_set, encoding);
    while !reader.is_at_end() {
        let from = reader.position();
        let head = reader.head()?;
        reader.rest_of(&head)?;
        if head.tag == tags::SOP_INSTANCE_UID {
            return Ok((from, reader.position()));
        }
    }
    bail!("has no SOP Instance UID")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_renamed_and_nothing_else() {
        let encoding = Encoding::EXPLICIT_LITTLE_ENDIAN;
        let mut data_set = Vec::new();
        let elements = [
            (tags::SOP_CLASS_UID, "1.2"),
            (tags::SOP_INSTANCE_UID, "1.2.3"),
            (tags::STUDY_INSTANCE_UID, "1.2.4"),
        ];
        for (tag, value) in elements {
            encoding.put(&mut data_set, tag, VR::UI, value).unwrap();
        }
        let (from, to) = place_of_uid(&data_set, encoding).unwrap();
        assert_eq!(&data_set[from..to], b"\x08\0\x18\0UI\x06\x001.2.3\0");
        assert!(place_of_uid(&data_set[to..], encoding).is_err());
    }
}
