use super::*;
use std::fs;

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

fn read_lines(lines: &[String]) -> Result<Vec<Record>, String> {
    let folder = folder();
    let index = folder.path().join("index.jsonl");
    fs::write(&index, lines.join("\n")).unwrap();
    read(&index).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let text = format!("{error}{}", cause.unwrap_or_default());
        text.replace(&folder.path().display().to_string(), "DIR")
    })
}

#[test]
fn an_index_written_is_read_back_with_absolute_paths() {
    let folder = folder();
    let text = [
        line(
            "1",
            "p",
            "train",
            "a.png",
            r#","labels":{"Mass":1,"Edema":0,"Hernia":-1},"unknown":[3]"#,
        ),
        line("2", "q", "test", "b.png", r#","age":"52""#),
    ];
    let manifest = folder.path().join("manifest.jsonl");
    // As an editor on Windows leaves it.
    fs::write(&manifest, format!("\u{feff}{}", text.join("\r\n"))).unwrap();
    let records = read(&manifest).unwrap();
    assert_eq!(records[0].image_path(), folder.path().join("a.png"));
    assert_eq!(records[0].truth("Hernia"), Truth::Uncertain);
    assert_eq!(records[0].truth("Mass"), Truth::Positive);
    assert_eq!(records[1].truth("Mass"), Truth::Unknown);

    let elsewhere = tempfile::tempdir().unwrap();
    let index = elsewhere.path().join("deep/index.jsonl");
    write(&index, &records).unwrap();
    assert_eq!(read(&index).unwrap(), records);
}

#[test]
fn a_missing_image_is_named_with_its_line() {
    let lines = [line("1", "p", "train", "a.png", ""), line("2", "q", "test", "gone.png", "")];
    let error = read_lines(&lines).unwrap_err();
    assert_eq!(error, "DIR/index.jsonl:2: `2` names DIR/gone.png, which does not exist");
}

#[test]
fn a_patient_in_two_splits_is_refused() {
    let lines = [line("1", "p", "train", "a.png", ""), line("2", "p", "test", "b.png", "")];
    let error = read_lines(&lines).unwrap_err();
    assert!(
        error.contains(":2: patient group `p` is in split test, but in line 1 in split train"),
        "{error}"
    );
}

#[test]
fn an_id_used_twice_is_refused() {
    let lines = [line("1", "p", "train", "a.png", ""), line("1", "p", "train", "b.png", "")];
    assert_eq!(
        read_lines(&lines).unwrap_err(),
        "DIR/index.jsonl:2: id `1` is used before, in line 1"
    );
}

#[test]
fn a_box_outside_its_image_is_refused() {
    let boxes = r#","boxes":[{"label":"Mass","x":90,"y":10,"w":20,"h":5}]"#;
    let error = read_lines(&[line("1", "p", "train", "a.png", boxes)]).unwrap_err();
    assert!(error.contains("box `Mass` of 90,10 20x5, outside its image of 100x80"), "{error}");
}

#[test]
fn a_broken_line_and_a_wrong_label_tell_where() {
    let good = line("1", "p", "train", "a.png", "");
    let error = read_lines(&[good.clone(), "{\"id\":".into()]).unwrap_err();
    assert!(error.starts_with("DIR/index.jsonl:2: not a record of an index: "), "{error}");
    let label = line("2", "q", "train", "b.png", r#","labels":{"Mass":2}"#);
    let error = read_lines(&[good, label]).unwrap_err();
    assert!(error.contains("label is 2, expected 1, 0 or -1"), "{error}");
    assert_eq!(read_lines(&[String::new()]).unwrap_err(), "DIR/index.jsonl has no records");
}

#[test]
fn a_whole_report_is_kept_only_where_there_is_one() {
    let findings = || Record { findings_text: Some("Clear.".into()), ..Record::default() };
    let mut both = Record { report: Some("Cough. Clear.".into()), ..findings() };
    both.keep_whole_report();
    assert_eq!((both.report.as_deref(), both.findings_text), (Some("Cough. Clear."), None));
    let mut only = findings();
    only.keep_whole_report();
    assert_eq!(only.findings_text.as_deref(), Some("Clear."));
}

#[test]
fn an_image_without_a_patient_is_a_patient_of_its_own() {
    let nameless = |id: &str, split: &str, image: &str| {
        format!(r#"{{"id":"{id}","split":"{split}","image":"{image}"}}"#)
    };
    let records =
        read_lines(&[nameless("1", "train", "a.png"), nameless("2", "test", "b.png")]).unwrap();
    assert_eq!([records[0].group(), records[1].group()], ["1", "2"]);
}
