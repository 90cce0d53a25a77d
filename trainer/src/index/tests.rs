use super::*;
use crate::{commands::IndexArgs, terminal::Terminal};
use std::{fs, path::Path};

/// Two patients, an image each.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        fs::write(folder.path().join(name), b"picture").unwrap();
    }
    folder
}

fn line(id: &str, patient: &str, split: &str, image: &str, more: &str) -> String {
    format!(
        r#"{{"id":"{id}","patient_id":"{patient}","split":"{split}","image":"{image}","width":100,"height":80{more}}}"#
    )
}

#[test]
fn splits_are_by_patient_and_do_not_depend_on_the_order() {
    let record = |at: usize| Record {
        id: at.to_string(),
        patient_id: (at / 3).to_string(),
        ..Record::default()
    };
    let mut records: Vec<Record> = (0..300).map(record).collect();
    assign_splits(&mut records, [70.0, 15.0, 15.0], 5);
    let of = |split| records.iter().filter(|r| r.split == Some(split)).count();
    assert_eq!([of(Split::Train), of(Split::Val), of(Split::Test)], [210, 45, 45]);
    assert!(records.chunks(3).all(|p| p.iter().all(|r| r.split == p[0].split)));

    let mut reversed: Vec<Record> = (0..300).rev().map(record).collect();
    assign_splits(&mut reversed, [70.0, 15.0, 15.0], 5);
    reversed.reverse();
    assert_eq!(reversed, records);
}

#[test]
fn folds_cover_everyone_once_for_testing() {
    let record = |at: usize| Record {
        id: at.to_string(),
        patient_id: (at / 3).to_string(),
        ..Record::default()
    };
    let mut tested = std::collections::BTreeMap::<String, usize>::new();
    for number in 0..5 {
        let mut records: Vec<Record> = (0..90).map(record).collect();
        assign_fold(&mut records, 5, number, 1);
        let of = |split| records.iter().filter(|r| r.split == Some(split)).count();
        assert_eq!([of(Split::Train), of(Split::Val), of(Split::Test)], [54, 18, 18]);
        assert!(records.chunks(3).all(|p| p.iter().all(|r| r.split == p[0].split)));
        let test = records.iter().filter(|r| r.split == Some(Split::Test));
        test.for_each(|r| *tested.entry(r.id.clone()).or_default() += 1);
    }
    assert!(tested.len() == 90 && tested.values().all(|&times| times == 1));
}

#[test]
fn whole_reports_are_learned_from_only_when_asked_for() {
    #[derive(clap::Parser)]
    struct Index {
        #[command(flatten)]
        args: IndexArgs,
    }
    let folder = folder();
    let report = r#","report":"Cough. Clear.","findings_text":"Clear.""#;
    let manifest = line("a", "p", "train", "a.png", report);
    fs::write(folder.path().join("manifest.jsonl"), manifest).unwrap();
    let learned = |more: &[&str]| {
        let (root, out) = (folder.path().display().to_string(), folder.path().join("out.jsonl"));
        let out_name = out.display().to_string();
        let args = ["index", "cxr-mini", "--root", &root, "--out", &out_name];
        let Index { args } = clap::Parser::parse_from(args.iter().chain(more));
        args.run(&Terminal::SILENT).unwrap();
        let record = read(&out).unwrap().remove(0);
        (record.report.unwrap(), record.findings_text)
    };
    assert_eq!(learned(&[]), ("Cough. Clear.".into(), Some("Clear.".into())));
    assert_eq!(learned(&["--whole-reports"]), ("Cough. Clear.".into(), None));
}

#[test]
fn a_split_file_gives_everyone_the_same_splits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("splits.csv");
    let named = |name: &str| Record { patient_id: name.into(), ..Record::default() };
    let mut records: Vec<Record> = ["a", "b, junior", "c", "311a", "d", "e"].map(named).to_vec();
    assign_splits(&mut records, [50.0, 25.0, 25.0], 2);
    write_splits(&path, &records).unwrap();
    let mut others: Vec<Record> = records.iter().map(|r| named(&r.patient_id)).collect();
    read_splits(&path, &mut others).unwrap();
    assert_eq!(others, records);

    let error = read_splits(&path, &mut [named("nobody")]).unwrap_err().to_string();
    assert!(error.contains("patient `nobody` of the data is in no split"), "{error}");
    fs::write(&path, "patient,split\na,train\na,test\n").unwrap();
    let error = read_splits(&path, &mut [named("a")]).unwrap_err().to_string();
    assert!(error.contains(":3: `split` is `test`, expected train, as said before"), "{error}");
}

#[test]
fn cxr_mini_has_the_splits_its_readme_states() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/cxr-mini");
    if !root.is_dir() {
        return skip::because(format_args!("no {}", root.display()));
    }
    let records = Layout::CxrMini.records(&mut DataSet::new(&root, Path::new(""))).unwrap();
    let summary = Summary::of(&records, LeftOut::default());
    assert_eq!((summary.records, summary.patients), (720, 509));
    let sizes: Vec<_> = summary.splits.iter().map(|(name, s)| (name.as_str(), s.records)).collect();
    assert_eq!(sizes, [("test", 129), ("train", 481), ("val", 110)]);
    let pneumonia = summary.splits["test"].labels["Pneumonia"];
    assert!(pneumonia.positive > 0 && pneumonia.negative > 0);
    let human: usize = summary.splits.values().map(|s| s.lung_masks).sum();
    assert_eq!(human, 106);
}
