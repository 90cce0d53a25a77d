//! Layouts that say what a whole image shows.

use super::Workplace;
use crate::index::{Layout, Split, Truth};

#[test]
fn chexpert_goes_by_the_names_of_its_columns() {
    let work = Workplace::new();
    let header = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,\
                  Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,\
                  Pleural Effusion,Pleural Other,Fracture,Support Devices";
    let path = |part: &str, patient: &str, view: &str| {
        format!("CheXpert-v1.0-small/{part}/{patient}/study1/{view}.jpg")
    };
    let (one, side, two) = (
        path("train", "patient00001", "view1_frontal"),
        path("train", "patient00001", "view2_lateral"),
        path("valid", "patient64541", "view1_frontal"),
    );
    work.jpeg(0, &one);
    // As in the folder CheXpert-v1.0-small itself.
    work.jpeg(1, two.strip_prefix("CheXpert-v1.0-small/").unwrap());
    work.text(
        "train.csv",
        &format!(
            "{header}\n{one},Female,68,Frontal,AP,1.0,,,0.0,,-1.0,,,,,1.0,,,\n{side},Female,68,Lateral,,,,,,,,,,,,,,,\n"
        ),
    );
    work.text("valid.csv", &format!("{header}\n{two},Male,73,Frontal,PA,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n"));
    let records = work.index(Layout::Chexpert);
    let [first, second] = &records[..] else { panic!("the lateral view is left out") };
    assert_eq!((first.patient_id.as_str(), first.view.as_str()), ("patient00001", "AP"));
    assert_eq!(first.truth("Edema"), Truth::Uncertain);
    assert_eq!(first.truth("Pleural Effusion"), Truth::Positive);
    assert_eq!(first.truth("Lung Opacity"), Truth::Negative);
    assert_eq!(first.truth("Pneumonia"), Truth::Unknown);
    assert_eq!(second.split, Some(Split::Test));
    assert_eq!(second.truth("Cardiomegaly"), Truth::Positive);

    work.text(
        "train.csv",
        &format!("{header}\n{one},Female,68,Frontal,AP,2.0{}\n", ",".repeat(13)),
    );
    let error = work.error(Layout::Chexpert);
    assert_eq!(error, "DIR/train.csv:2: `No Finding` is `2.0`, expected 1, 0, -1 or nothing");
}

#[test]
fn chexpert_5x200_is_all_for_testing() {
    let work = Workplace::new();
    let path = "CheXpert-v1.0/train/patient00002/study1/view1_frontal.jpg";
    work.jpeg(0, path);
    work.text(
        "chexpert_5x200.csv",
        &format!(",Path,Atelectasis,Cardiomegaly,Consolidation,Edema,Pleural Effusion,Report Impression\n0,{path},0,1,0,0,0,\"Large heart, no edema.\"\n"),
    );
    let records = work.index(Layout::Chexpert5x200);
    assert_eq!(records[0].split, Some(Split::Test));
    assert_eq!(records[0].labels.len(), 5);
    assert_eq!(records[0].truth("Cardiomegaly"), Truth::Positive);
    assert_eq!(records[0].report.as_deref(), Some("Large heart, no edema."));
}

#[test]
fn chexpert_5x200_is_read_as_prior_released_it_too() {
    let work = Workplace::new();
    let [one, two] = [
        "train/patient29750/study15/view1_frontal.jpg",
        "train/patient08949/study1/view1_frontal.jpg",
    ];
    work.jpeg(0, one);
    work.jpeg(1, two);
    let list = format!(
        r#"{{ "124248": {{ "image_path": "{one}", "label": [1, 0, 0, 0, 0] }},
            "36475": {{ "image_path": "{two}", "label": [0, 0, 0, 0, 1] }} }}"#
    );
    work.text("chexpert_5x200.json", &list);
    let records = work.index(Layout::Chexpert5x200);
    assert_eq!(records.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), [one, two]);
    assert!(
        records.iter().all(|record| record.split == Some(Split::Test) && record.labels.len() == 5)
    );
    assert_eq!(records[0].truth("Atelectasis"), Truth::Positive);
    assert_eq!(records[0].truth("Pleural Effusion"), Truth::Negative);
    assert_eq!(records[1].truth("Pleural Effusion"), Truth::Positive);
    assert_eq!(records[1].patient_id, "patient08949");
    for (from, to, expected) in [
        (
            "[1, 0, 0, 0, 0]",
            "[1, 0, 0, 0]",
            "chexpert_5x200.json:1: not a list of images: invalid length 4",
        ),
        (
            "[1, 0, 0, 0, 0]",
            "[2, 0, 0, 0, 0]",
            "label of `124248` is [2.0, 0.0, 0.0, 0.0, 0.0], expected zeros and ones",
        ),
        (
            "patient29750",
            "p29750",
            "image_path of `124248` is train/p29750/study15/view1_frontal.jpg, expected a path",
        ),
    ] {
        work.text("chexpert_5x200.json", &list.replace(from, to));
        let error = work.error(Layout::Chexpert5x200);
        assert!(error.contains(expected), "{error}");
    }
    work.text("chexpert_5x200.csv", "Path,Atelectasis\n");
    let error = work.error(Layout::Chexpert5x200);
    assert!(
        error.contains("chexpert_5x200.csv and chexpert_5x200.json, expected one of them"),
        "{error}"
    );
}

#[test]
fn covidx_ids_are_strings_and_files_may_have_spaces() {
    let work = Workplace::new();
    for (number, name) in [(0, "train/a.jpg"), (1, "train/b 2.jpg"), (2, "test/c.jpg")] {
        work.jpeg(number, name);
    }
    work.text("train_COVIDx9A.txt", "311a a.jpg COVID-19 cohen\n007 b 2.jpg pneumonia rsna\n");
    work.text("test_COVIDx9A.txt", "3 c.jpg normal sirm\n");
    let records = work.index(Layout::Covidx);
    let patients: Vec<&str> = records.iter().map(|r| r.patient_id.as_str()).collect();
    assert_eq!(patients, ["311a", "007", "3"]);
    assert_eq!(records[0].truth("covidx.covid19"), Truth::Positive);
    assert_eq!(records[1].truth("covidx.covid19"), Truth::Negative);
    assert_eq!(records[2].split, Some(Split::Test));
    work.text("test_COVIDx9A.txt", "3 c.jpg healthy sirm\n");
    assert!(work.error(Layout::Covidx).starts_with("DIR/test_COVIDx9A.txt:1: class is `healthy`"));
}

#[test]
fn nih_labels_are_joined_by_bars_and_test_is_its_own_list() {
    let work = Workplace::new();
    work.jpeg(0, "images_001/images/00000001_000.png");
    work.jpeg(1, "images_001/images/00000001_001.png");
    work.jpeg(2, "images_002/images/00000002_000.png");
    let header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\
                  OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],";
    let row = |image: &str, labels: &str, patient: &str| {
        format!("{image},{labels},0,{patient},58,M,PA,2682,2749,0.143,0.143,\n")
    };
    work.text(
        "Data_Entry_2017.csv",
        &format!(
            "{header}\n{}{}{}",
            row("00000001_000.png", "Cardiomegaly|Pleural_Thickening", "1"),
            row("00000001_001.png", "No Finding", "1"),
            row("00000002_000.png", "Infiltration", "2")
        ),
    );
    work.text("test_list.txt", "00000002_000.png\n");
    work.text(
        "BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000002_000.png,Infiltrate,5.5,6,20,30,,,\n",
    );
    let records = work.index(Layout::Nih);
    assert_eq!(records[0].truth("Pleural_Thickening"), Truth::Positive);
    assert_eq!(records[0].truth("Hernia"), Truth::Negative);
    assert_eq!(records[1].truth("No Finding"), Truth::Positive);
    assert_eq!(records[0].split, records[1].split);
    assert_eq!(records[2].split, Some(Split::Test));
    let label = ["Infiltration".to_owned()];
    assert_eq!(records[2].boxes_of(&label).unwrap().len(), 1);
    assert_eq!(records[1].boxes_of(&label), None, "nobody drew boxes there");
    work.text("Data_Entry_2017.csv", &format!("{header}\n{}", row("x.png", "Pneumonias", "1")));
    assert!(work.error(Layout::Nih).contains("`Finding Labels` is `Pneumonias`"));
}
