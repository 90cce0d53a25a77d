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
    let tables: [&[u8]; 9] = [
        b"image,patient_id,Edema\na.png,007,1\nb.png,8,0\n",
        b"image,patient_id,Edema\ra.png,007,1\rb.png,8,0\r",
        b"image,patient_id,Edema\r\r\na.png,007,1\r\r\nb.png,8,0\r\r\n",
        b"image;patient_id;Edema\na.png;007;1.0\nb.png;8;0.0\n",
        "\u{feff}\"image\",\"patient_id\",\"Edema\"\r\n\"a.png\",\"007\",\"1\"\r\n\"b.png\",\"8\",\"0\"\r\n".as_bytes(),
        b"\n image , patient_id ,Edema,,\n\na.png,=\"007\",1,,\n,,,,\nb.png, \"8\" ,0\n",
        b"sep=;\nimage;patient_id;Edema\na.png;007;1\nb.png;8;0\n",
        "image,patient_id,Edema\na.png\u{a0},\u{a0}007,1\nb.png,8,0".as_bytes(),
        &utf16,
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
    let refused: [(&[u8], &str); 13] = [
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
        (b"image,Edema\na.png,NA\n", "labels.csv:2: `Edema` is `NA`, expected 1, 0, -1 or nothing"),
        (b"image;Edema\na.png;1,0\n", "labels.csv:2: `Edema` is `1,0`"),
        (
            b"image,Edema\na.png,1\n\"b.png,0\n",
            "labels.csv:3: a quote opens a field here, and nothing closes it",
        ),
        (b"image,Edema\na.png,\"1\"0\n", "labels.csv:2: `0` after a quoted field"),
        (b"image,Edema\na.png,1\0\n", "labels.csv:2: a NUL byte"),
        (b"PK\x03\x04", "labels.csv:1: a workbook"),
        (b"image,Edema\na.png,1\nb.png,0\n\x1a", "labels.csv:4: 1 fields"),
        (b"Image,Edema\na.png,1\n", "column `image` is missing, the header has Image,Edema"),
        (
            b"image,split\na.png,validation\n",
            "labels.csv:2: `split` is `validation`, expected train, val, test or holdout",
        ),
    ];
    for (table, expected) in refused {
        let error = labelled(table).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_blank_patient_is_nobody_in_particular() {
    let found = labelled(b"image,patient_id\na.png,\nb.png,\n").unwrap();
    assert_eq!([found[0].1.as_str(), found[1].1.as_str()], ["a.png", "b.png"]);
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

const NIH: &str = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\
                   OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],";

fn nih(labels: &str) -> String {
    format!("{NIH}\n00000001_000.png,{labels},0,1,58,M,PA,2682,2749,0.143,0.143,\n")
}

#[test]
fn nih_contradictions_and_lists_that_fit_nothing_are_refused() {
    let work = Workplace::new();
    work.jpeg(0, "images/00000001_000.png");
    work.text("Data_Entry_2017.csv", &nih("No Finding|Mass"));
    assert!(
        work.error(Layout::Nih)
            .contains(":2: `Finding Labels` is `No Finding|Mass`, expected `No Finding` alone")
    );
    work.text("Data_Entry_2017.csv", &nih("Mass").replace(',', ";"));
    assert_eq!(work.index(Layout::Nih)[0].truth("Mass"), Truth::Positive);
    work.text("Data_Entry_2017.csv", &nih("Mass"));
    work.text("test_list.txt", "00000001_000.jpg\r00000002_000.jpg\r");
    assert!(
        work.error(Layout::Nih)
            .contains("test_list.txt: none of its 2 names is in the table of images")
    );
    work.text("test_list.txt", "\u{feff}00000001_000.png\r\n");
    assert_eq!(work.index(Layout::Nih)[0].split, Some(Split::Test));
    work.text(
        "BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n2.png,Mass,5,6,20,30,,,\n",
    );
    let root = work.root();
    let mut data = DataSet::new(&root, Path::new(""));
    Layout::Nih.records(&mut data).unwrap();
    let expected = serde_json::json!({ "boxes": { "of images in no row of the table": 1 } });
    assert_eq!(serde_json::to_value(&data.left_out).unwrap(), expected);
    work.jpeg(1, "images_002/images/00000001_000.png");
    assert!(work.error(Layout::Nih).contains("`00000001_000.png` is also"));
}

#[test]
fn rsna_rows_of_one_image_must_agree() {
    let work = Workplace::new();
    work.jpeg(0, "stage_2_train_images/a1.png");
    work.text(
        "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target\na1,,,,,0\na1,1,2,10,10,1\n",
    );
    let error = work.error(Layout::Rsna);
    assert!(
        error.contains(":3: `Target` is `1`, expected what an earlier row says of this image"),
        "{error}"
    );
}

#[test]
fn chexpert_knows_its_views_by_column_or_name_and_guesses_none() {
    let work = Workplace::new();
    let frontal = "CheXpert-v1.0/test/patient64741/study1/view1_frontal.jpg";
    work.jpeg(0, "test/patient64741/study1/view1_frontal.jpg");
    work.jpeg(1, "train/patient00001/study1/view1_frontal.jpg");
    let train = "Path,Frontal/Lateral,Edema\nCheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg,Frontal,1\n";
    work.text("train.csv", train);
    let lateral = frontal.replace("1_frontal", "2_lateral");
    work.text(
        "test_labels.csv",
        &format!("Path,Edema\n{frontal},1\n{},0\n", lateral.replace('/', "\\")),
    );
    let records = work.index(Layout::Chexpert);
    assert_eq!((records.len(), records[1].split), (2, Some(Split::Test)));
    work.text("test_labels.csv", &format!("Path,Edema\n{},1\n", frontal.replace("_frontal", "")));
    assert!(work.error(Layout::Chexpert).contains("expected a name with `frontal` or `lateral`"));
    work.text("train.csv", &train.replace(",Frontal,", ",Oblique,"));
    assert!(
        work.error(Layout::Chexpert)
            .contains("`Frontal/Lateral` is `Oblique`, expected Frontal or Lateral")
    );
}
