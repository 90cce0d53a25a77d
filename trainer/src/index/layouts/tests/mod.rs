//! Phantoms written in every layout, read back.

mod boxes;
mod contradictions;
mod cxr_mini;
mod findings;
mod masks;
mod people;

use super::{DataSet, IndexError, Layout, Record};
use crate::{
    index::{self, Label, Split, Truth, assign_splits},
    phantom,
};
use std::{fs, path::Path};

/// Phantoms as JPEG and DICOM, and a place to write a data set.
struct Workplace {
    folder: tempfile::TempDir,
    phantoms: Vec<Record>,
}

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let drawn = folder.path().join("drawn");
        phantom::draw_with_dicom(&drawn, COUNT, 3, 64).unwrap();
        let phantoms = index::read(&drawn.join("manifest.jsonl")).unwrap();
        Self { folder, phantoms }
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    fn text(&self, name: &str, text: &str) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn jpeg(&self, number: usize, name: &str) {
        self.copy(&self.phantoms[number].image, name);
    }

    fn dicom(&self, number: usize, name: &str) {
        let id = &self.phantoms[number].id;
        self.copy(&self.folder.path().join(format!("drawn/dicom/{id}.dcm")), name);
    }

    fn copy(&self, from: &Path, name: &str) {
        let to = self.root().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }

    fn read(&self, layout: Layout) -> Result<Vec<Record>, IndexError> {
        layout.records(&mut DataSet::new(&self.root(), &self.folder.path().join("masks")))
    }

    /// What an index of it holds after a journey through a file, by id.
    fn index(&self, layout: Layout) -> Vec<Record> {
        let out = self.folder.path().join("index.jsonl");
        let mut records = self.read(layout).unwrap();
        assign_splits(&mut records, [80.0, 20.0, 0.0], 0);
        index::write(&out, &records).unwrap();
        let records = index::read(&out).unwrap();
        assert!(records.iter().all(|r| r.width >= 64 && r.height == 64 && r.split.is_some()));
        records
    }

    fn error(&self, layout: Layout) -> String {
        let error = self.read(layout).unwrap_err();
        error.to_string().replace(&self.root().display().to_string(), "DIR")
    }
}

const COUNT: u32 = 12;

#[test]
fn a_folder_needs_nothing_but_pictures() {
    let work = Workplace::new();
    work.jpeg(0, "a/one.jpg");
    work.dicom(1, "b/two.dcm");
    let records = work.index(Layout::Folder);
    assert_eq!(
        records.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(),
        ["a/one.jpg", "b/two.dcm"]
    );
    work.text(
        "labels.csv",
        "image,patient_id,split,Mass,Edema\na/one.jpg,p1,val,1,\nb/two.dcm,p2,,0,-1\n",
    );
    let records = work.index(Layout::Folder);
    assert_eq!((records[0].split, records[0].labels["Mass"]), (Some(Split::Val), Label::Positive));
    assert_eq!(records[1].truth("Edema"), Truth::Uncertain);
    work.text("labels.csv", "image,split\na/one.jpg,trained\n");
    let error = work.error(Layout::Folder);
    assert_eq!(
        error,
        "DIR/labels.csv:2: `split` is `trained`, expected train, val, test or holdout"
    );
}

#[test]
fn what_is_no_such_data_set_is_said() {
    let work = Workplace::new();
    fs::create_dir_all(work.root()).unwrap();
    for layout in [
        Layout::CxrMini,
        Layout::Chexpert,
        Layout::Chexpert5x200,
        Layout::Rsna,
        Layout::Siim,
        Layout::ObjectCxr,
        Layout::Covidx,
        Layout::Vindr,
        Layout::Nih,
        Layout::Folder,
    ] {
        let error = work.error(layout);
        assert!(error.starts_with("DIR is no ") && error.contains("expected"), "{error}");
    }
}
