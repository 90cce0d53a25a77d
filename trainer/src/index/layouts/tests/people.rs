//! Tables and folders as people have them: read as they mean it, or refused by name.

use super::Workplace;
use crate::index::{DataSet, Label, Layout, Split, Truth};
use std::{fs, path::Path};

/// A folder with `a.png`, `b.png` and this table, indexed.
fn labelled(table: &[u8]) -> Result<Vec<(String, String, Option<Label>)>, String> {
    let work = Workplace::new();
    work.jpeg(0, "a.png");
    work.jpeg(1, "b.png");
    fs::write(work.root().join("labels.csv"), table).unwrap();
    match work.read(Layout::Folder) {
        Err(_) => Err(work.error(Layout::Folder)),
        Ok(records) => {
            let facts = |record: crate::index::Record| {
                let edema = record.labels.get("Edema").copied();
                (record.id, record.patient_id, edema)
            };
            Ok(records.into_iter().map(facts).collect())
        }
    }
}

#[test]
fn a_table_means_the_same_whatever_program_wrote_it() {
    let expected = [("a.png", "007", Label::Positive), ("b.png", "8", Label::Negative)];
    let utf16: Vec<u8> = "\u{feff}image\tpatient_id\tEdema\r\na.png\t007\t1\r\nb.png\t8\t0\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let tables: [&[u8]; 14] = [
        b"image,patient_id,Edema\na.png,007,1\nb.png,8,0\n",
        b"image,patient_id,Edema\ra.png,007,1\rb.png,8,0\r",
        b"image,patient_id,Edema\r\r\na.png,007,1\r\r\nb.png,8,0\r\r\n",
        b"image;patient_id;Edema\na.png;007;1.0\nb.png;8;0.0\n",
        "\u{feff}\"image\",\"patient_id\",\"Edema\"\r\n\"a.png\",\"007\",\"1\"\r\n\"b.png\",\"8\",\"0\"\r\n".as_bytes(),
        b"\n image , patient_id ,Edema,,\n\na.png,=\"007\",1,,\n,,,,\nb.png, \"8\" ,0\n",
        b"sep=;\nimage;patient_id;Edema\na.png;007;1\nb.png;8;0\n",
        "image,patient_id,Edema\na.png\u{a0},\u{a0}007,1\nb.png,8,0".as_bytes(),
        &utf16,
        b"Image,Patient_ID,Edema\na.png,007,+1\nb.png,8,0\n",
        b"image,PatientID,Edema\na.png,007,1.00\nb.png,8,-0.0\n",
        b",Unnamed: 0,image,patient id,Edema\n0,2,a.png,007,True\n1,3,b.png,8,False\n",
        b"image,patient_id,Edema,edema\na.png,007,1,1\nb.png,8,0,0\n",
        b"image,patient_id,Edema,Mass\na.png,007,1,nan\nb.png,8,0,NA\n",
    ];
    for table in tables {
        let found = labelled(table).unwrap();
        let found: Vec<_> =
            found.iter().map(|(id, p, l)| (id.as_str(), p.as_str(), l.unwrap())).collect();
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(table));
    }
}

#[test]
fn a_table_that_could_mean_two_things_is_refused_where_it_does() {
    let refused: [(&[u8], &str); 16] = [
        (
            b"image,Edema,Edema\na.png,1,1\nb.png,1,0\n",
            "labels.csv:3: column `Edema` is there twice, with `1` and with `0`",
        ),
        (
            b"image,Edema\na.png,1\n./a.png,0\n",
            "labels.csv:3: `image` is `./a.png`, expected a picture that line 2 does not name",
        ),
        (b"image,Edema\na.png,1,0\n", "labels.csv:2: 3 fields, expected 2"),
        (b"# of 2020\nimage,Edema\na.png,1\n", "labels.csv:2: 2 fields, expected 1"),
        (b"image,Edema\na.png,u\n", "labels.csv:2: `Edema` is `u`, expected 1, 0, -1 or nothing"),
        (
            b"image,Edema, edema\na.png,1,0\n",
            "labels.csv:2: column ` edema` is there twice, with `1` and with `0`",
        ),
        (
            b"image,PatientID,patient_id\na.png,1,2\n",
            "labels.csv:2: column `patient_id` is there twice, with `1` and with `2`",
        ),
        (b"image;Edema\na.png;1,0\n", "labels.csv:2: `Edema` is `1,0`"),
        (
            b"image,Edema\na.png,1\n\"b.png,0\n",
            "labels.csv:3: a quote opens a field here, and nothing closes it",
        ),
        (b"image,Edema\na.png,\"1\"0\n", "labels.csv:2: `0` after a quoted field"),
        (b"image,Edema\na.png,1\0\n", "labels.csv:2: a NUL byte"),
        (b"PK\x03\x04", "labels.csv:1: a workbook"),
        (b"image,Edema\na.png,1\nb.png,0\n\x1a", "labels.csv:4: 1 fields"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "labels.csv:1: a workbook"),
        (b"file,Edema\na.png,1\n", "column `image` is missing, the header has file,Edema"),
        (
            b"image,split\na.png,dev\n",
            "labels.csv:2: `split` is `dev`, expected train, val, test or holdout",
        ),
    ];
    for (table, expected) in refused {
        let error = labelled(table).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_blank_patient_is_nobody_in_particular() {
    for blank in ["", "nan", "NULL"] {
        let table = format!("image,patient_id\na.png,{blank}\nb.png,{blank}\n");
        let found = labelled(table.as_bytes()).unwrap();
        assert_eq!([found[0].1.as_str(), found[1].1.as_str()], ["a.png", "b.png"]);
    }
}

#[test]
fn splits_are_known_by_the_names_other_tools_give_them() {
    let work = Workplace::new();
    (0..3).for_each(|at| work.jpeg(at, &format!("{at}.png")));
    work.text("labels.csv", "image,split\n0.png,Training\n1.png,valid\n2.png,testing\n");
    let splits: Vec<_> = work.index(Layout::Folder).iter().map(|record| record.split).collect();
    assert_eq!(splits, [Split::Train, Split::Val, Split::Test].map(Some));
}

#[test]
fn a_table_of_labels_is_found_in_capitals_and_two_are_refused() {
    let work = Workplace::new();
    work.jpeg(0, "a.png");
    work.text("LABELS.CSV", "image,Edema\na.png,1\n");
    assert_eq!(work.index(Layout::Folder)[0].truth("Edema"), Truth::Positive);
    work.text("labels.csv", "image,Edema\na.png,0\n");
    assert!(work.error(Layout::Folder).contains("is a table of labels too, expected one"));
}

#[test]
fn labels_in_another_kind_of_table_are_read_or_refused_and_never_passed_over() {
    let work = Workplace::new();
    work.jpeg(0, "a.png");
    work.text("labels.tsv", "image\tEdema\na.png\t1\n");
    assert_eq!(work.index(Layout::Folder)[0].truth("Edema"), Truth::Positive);
    work.text("Labels.xlsx", "PK");
    let error = work.error(Layout::Folder);
    assert!(error.contains("DIR/Labels.xlsx: labels in a form that is not read"), "{error}");
}

#[test]
fn what_a_folder_has_and_its_index_has_not_is_counted() {
    let work = Workplace::new();
    for (number, name) in [(0, "a.png"), (1, "sub/b.png"), (2, "sub/IM000001"), (3, "1.2.840.77")] {
        work.jpeg(number, name);
    }
    work.dicom(4, "sub/c");
    for name in ["notes.txt", "sub/Thumbs.db", "sub/._b.png", "DICOMDIR"] {
        work.text(name, "none");
    }
    let counted = |work: &Workplace| {
        let root = work.root();
        let mut data = DataSet::new(&root, Path::new(""));
        let records = Layout::Folder.records(&mut data).unwrap();
        let ids: Vec<String> = records.into_iter().map(|record| record.id).collect();
        (ids, serde_json::to_value(&data.left_out).unwrap())
    };
    let (ids, left_out) = counted(&work);
    assert_eq!(ids, ["1.2.840.77", "a.png", "sub/IM000001", "sub/b.png", "sub/c"]);
    assert_eq!(left_out, serde_json::json!({ "files": { "that are no pictures": 4 } }));
    work.text("labels.csv", "image\nsub\\b.png\nsub/c\n");
    let (ids, left_out) = counted(&work);
    assert_eq!(ids, ["sub\\b.png", "sub/c"]);
    assert_eq!(left_out["images"], serde_json::json!({ "that labels.csv does not name": 3 }));
}

#[cfg(unix)]
#[test]
fn a_picture_that_links_lead_to_is_one_picture() {
    let work = Workplace::new();
    work.jpeg(0, "one/a.png");
    work.jpeg(1, "one/b.png");
    std::os::unix::fs::symlink("one", work.root().join("two")).unwrap();
    std::os::unix::fs::symlink("one/a.png", work.root().join("c.png")).unwrap();
    let root = work.root();
    let mut data = DataSet::new(&root, Path::new(""));
    assert_eq!(Layout::Folder.records(&mut data).unwrap().len(), 2);
    let left_out = serde_json::to_value(&data.left_out).unwrap();
    let expected = serde_json::json!({ "that are links to a picture of the folder": 1 });
    assert_eq!(left_out["files"], expected);
}

#[test]
fn dicom_objects_without_a_picture_are_left_out() {
    let work = Workplace::new();
    work.dicom(0, "picture");
    work.dicom(1, "report");
    // A structured report has no rows.
    let mut object = dicom_object::open_file(work.root().join("report")).unwrap();
    for tag in ["Rows", "Columns", "PixelData"] {
        object.remove_element_by_name(tag).unwrap();
    }
    object.write_to_file(work.root().join("report")).unwrap();
    let root = work.root();
    let mut data = DataSet::new(&root, Path::new(""));
    assert_eq!(Layout::Folder.records(&mut data).unwrap().len(), 1);
    let left_out = serde_json::to_value(&data.left_out).unwrap();
    assert_eq!(left_out, serde_json::json!({ "files": { "of DICOM without a picture": 1 } }));
}
