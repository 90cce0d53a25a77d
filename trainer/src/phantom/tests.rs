use super::*;
use crate::index::{self, Split, Truth};
use std::collections::BTreeMap;

fn phantoms(count: u32, seed: u64, dicom: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_owned();
    let drawing = Drawing { out, count, seed, size: 128, dicom };
    drawing.draw(&ProgressBar::hidden()).unwrap();
    folder
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(
                    path.strip_prefix(folder).unwrap().to_owned(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

#[test]
fn a_seed_draws_the_same_bytes_and_another_seed_others() {
    let (once, again, other) = (phantoms(4, 7, 2), phantoms(4, 7, 2), phantoms(4, 8, 2));
    assert_eq!(files(once.path()), files(again.path()));
    let image = Path::new("images/phantom-00001.jpg");
    assert_ne!(files(once.path())[image], files(other.path())[image]);
}

#[test]
fn a_picture_does_not_depend_on_how_many_are_drawn() {
    let (few, many) = (phantoms(2, 7, 0), phantoms(6, 7, 0));
    let image = Path::new("images/phantom-00001.jpg");
    assert_eq!(files(few.path())[image], files(many.path())[image]);
}

#[test]
fn phantoms_are_a_valid_index_with_every_kind_of_truth() {
    let folder = phantoms(60, 3, 0);
    let records = index::read(&folder.path().join("manifest.jsonl")).unwrap();
    let summary = Summary::of(&records, Default::default());
    assert_eq!(summary.records, 60);
    assert_eq!(summary.splits.len(), 3);
    assert!(summary.patients < 60, "some patients come back");
    assert!(summary.splits.values().map(|split| split.boxes).sum::<usize>() > 5);
    for finding in ["Pneumonia", "Cardiomegaly", "Effusion"] {
        let has = |truth| records.iter().any(|record| record.truth(finding) == truth);
        assert!(has(Truth::Positive) && has(Truth::Negative), "{finding}");
    }
    for record in &records {
        assert_eq!(record.labels.len(), 14);
        assert!(record.report_sentences.unwrap() >= 4, "{:?}", record.report);
        assert_eq!(record.lung_boxes.as_ref().unwrap().len(), 2);
        assert!(record.split != Some(Split::Holdout));
    }
}

#[test]
fn report_and_labels_agree() {
    let folder = phantoms(60, 5, 0);
    let records = index::read(&folder.path().join("manifest.jsonl")).unwrap();
    let words = [
        ("Pneumonia", "pneumonia"),
        ("Effusion", "pleural effusion"),
        ("Pneumothorax", "pleural line"),
        ("Nodule", "nodule"),
        ("Mass", "mass"),
        ("Edema", "edema"),
        ("Atelectasis", "atelectasis"),
    ];
    for record in &records {
        let text = record.report.as_ref().unwrap().to_lowercase();
        let impression = text.split("impression:").nth(1).unwrap();
        for (label, word) in words {
            let positive = record.truth(label) == Truth::Positive;
            let word = if word == "pleural line" { "pneumothorax" } else { word };
            assert_eq!(positive, impression.contains(word), "{label}: {text}");
        }
    }
}

#[test]
fn dicom_phantoms_show_the_same_picture_inverted_or_not() {
    let folder = phantoms(2, 11, 2);
    for number in 0..2 {
        let name = format!("phantom-0000{number}");
        let dicom =
            radiograph::read_file(&folder.path().join(format!("dicom/{name}.dcm"))).unwrap();
        radiograph::gate(&dicom).unwrap();
        let jpeg =
            radiograph::read_file(&folder.path().join(format!("images/{name}.jpg"))).unwrap();
        let (dicom, jpeg) = (dicom.image.pixels(), jpeg.image.pixels());
        assert_eq!(dicom.len(), jpeg.len());
        let pairs = dicom.iter().zip(&*jpeg);
        let difference = pairs.map(|(a, b)| (a - b).abs()).sum::<f32>() / dicom.len() as f32;
        assert!(difference < 0.02, "{name}: {difference}");
    }
}
