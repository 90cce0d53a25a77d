//! `trainer index` as people call it: from any folder, on files as they have them.

#![expect(clippy::unwrap_used, reason = "a test may")]

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use trainer::{
    index::{self, Record},
    text::report,
};

/// Exit code, standard output (JSON or lines) and standard error of `trainer ARGS` in `folder`.
fn trainer(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    let output = command.args(args).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The index of `root` by `layout`, read back, and what was left out.
fn indexed(layout: &str, root: &Path) -> Result<(Vec<Record>, Value), String> {
    let folder = tempfile::tempdir().unwrap();
    let root = root.to_str().unwrap();
    let (code, json, error) = trainer(
        folder.path(),
        &["--json", "index", layout, "--root", root, "--out", "out/index.jsonl"],
    );
    match code {
        Some(0) => {
            let summary: Value = serde_json::from_str(&json).unwrap();
            let records = index::read(&folder.path().join("out/index.jsonl")).unwrap();
            Ok((records, summary["left_out"].clone()))
        }
        Some(1) => Err(error),
        other => panic!("exit code {other:?}: {error}"),
    }
}

fn picture(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::GrayImage::from_fn(48, 40, |x, y| image::Luma([(x * y % 251) as u8]))
        .save(path)
        .unwrap();
}

#[test]
fn an_index_is_read_from_everywhere_whatever_folder_it_was_made_in() {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("here/pictures/a.png"));
    let here = folder.path().join("here");
    for (root, out) in [
        ("pictures", "out/index.jsonl"),
        ("./pictures/", "../elsewhere/index.jsonl"),
        ("../here/pictures", "index.jsonl"),
        (".", "deep/er/index.jsonl"),
    ] {
        let (code, _, error) =
            trainer(&here, &["-q", "index", "folder", "--root", root, "--out", out]);
        assert_eq!(code, Some(0), "{error}");
        let records = index::read(&here.join(out)).unwrap();
        assert_eq!((records.len(), records[0].width, records[0].height), (1, 48, 40));
    }
}

#[test]
fn a_partial_download_is_indexed_only_when_so_many_images_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let mut labels = String::from("image,Edema\n");
    for at in 0..6 {
        let name = format!("{at}.png");
        picture(&root.join(&name));
        labels += &format!("{name},{}\n", at % 2);
    }
    fs::write(root.join("labels.csv"), labels).unwrap();
    fs::remove_file(root.join("1.png")).unwrap();
    fs::remove_file(root.join("3.png")).unwrap();
    fs::write(root.join("4.png"), b"").unwrap();
    let index = |more: &[&str]| {
        let args = ["--json", "-v", "index", "folder", "--root", "data", "--out", "index.jsonl"];
        trainer(folder.path(), &[&args, more].concat())
    };
    for more in [&[][..], &["--skip-missing", "2"]] {
        let (code, _, error) = index(more);
        assert_eq!(code, Some(1), "{error}");
        assert!(
            error.contains("1.png") && error.contains("--skip-missing 3 leaves them out"),
            "{error}"
        );
        assert!(!folder.path().join("index.jsonl").exists());
    }
    let (code, json, log) = index(&["--skip-missing", "3"]);
    assert_eq!(code, Some(0), "{log}");
    let summary: Value = serde_json::from_str(&json).unwrap();
    let expected = serde_json::json!({ "images": { "that are empty": 1, "that do not exist": 2 } });
    assert_eq!(summary["left_out"], expected);
    for name in ["1.png", "3.png", "4.png"] {
        assert!(log.contains(&format!("data/{name}")), "{name} is listed: {log}");
    }
    assert_eq!(index::read(&folder.path().join("index.jsonl")).unwrap().len(), 3);
}

#[cfg(unix)]
#[test]
fn a_name_that_is_no_utf_8_is_named_and_nothing_panics() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("a.png"));
    fs::copy(folder.path().join("a.png"), folder.path().join(OsStr::from_bytes(b"R\xf6ntgen.png")))
        .unwrap();
    let error = indexed("folder", folder.path()).unwrap_err();
    assert!(error.contains("not UTF-8") && error.contains("ntgen.png"), "{error}");
}

/// A folder of `../shared/cases`, which is not part of this repository.
fn case(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases").join(name);
    if root.is_dir() {
        return Some(root);
    }
    skip::because(format_args!("no {}", root.display()));
    None
}

#[test]
fn a_table_without_a_column_of_views_knows_them_by_name() {
    let Some(root) = case("c01-chexpert-test-without-view") else { return };
    let (records, _) = indexed("chexpert", &root).unwrap();
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| !record.id.contains("lateral")));
}

#[test]
fn inch_marks_do_not_join_reports() {
    let Some(root) = case("c06-csv-stray-quote") else { return };
    let (records, _) = indexed("chexpert", &root).unwrap();
    let reports: Vec<&str> = records.iter().filter_map(|record| record.report.as_deref()).collect();
    assert_eq!(
        reports,
        ["Tube 3\" above the carina", "Nodule of 1/2\" in the left base", "Clear lungs"]
    );
}

#[test]
fn files_without_an_ending_are_looked_into() {
    let Some(root) = case("c09-dicom-without-ending") else { return };
    let (records, left_out) = indexed("folder", &root).unwrap();
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(
        ids,
        ["DICOM/0000/1.2.826.0.1.3680043.8.498.77", "DICOM/0000/IM000001", "other.png"]
    );
    assert_eq!(left_out, serde_json::json!({ "files": { "that are no pictures": 1 } }));
}

#[test]
fn reports_of_mimic_keep_the_sentences_about_the_picture() {
    let Some(root) = case("r01-mimic-reports") else { return };
    let (records, _) = indexed("mimic-cxr", &root).unwrap();
    let found: BTreeMap<&str, Vec<String>> = records
        .iter()
        .map(|record| {
            let text = record.findings_text.as_deref().unwrap_or_default();
            (record.id.as_str(), report::sentences(text))
        })
        .collect();
    for (id, sentences) in [
        ("subheadings", 6),
        ("no_colon", 5),
        ("ndication", 5),
        ("two_reads", 5),
        ("space_before_colon", 5),
        ("in_comparison", 4),
        ("addendum", 4),
        ("crlf_latin1", 5),
        ("slip_two_letters", 5),
        ("impressions_list", 4),
    ] {
        assert_eq!(found[id].len(), sentences, "{id}: {:?}", found[id]);
    }
    let has = |id: &str, words: &str| found[id].iter().any(|sentence| sentence.contains(words));
    assert!(has("subheadings", "LUNGS AND PLEURA: The lungs are hyperinflated."));
    assert!(
        !has("ndication", "chest pain") && !has("two_reads", "Dr.") && !has("addendum", "nodule")
    );
    assert!(has("crlf_latin1", "30° at the carina"));
}

#[test]
fn what_the_box_reads_the_index_reads() {
    for (name, count) in [("d14-no-preamble", 2), ("i02-cmyk-jpeg", 1), ("i03-exif-rotated", 3)] {
        let Some(root) = case(name) else { return };
        assert_eq!(indexed("folder", &root).unwrap().0.len(), count, "{name}");
    }
    let Some(root) = case("f01-filename-latin1") else { return };
    assert!(indexed("folder", &root).unwrap_err().contains("not UTF-8"));
}
