//! Layouts that draw boxes.

use super::Workplace;
use crate::index::{Layout, Split, Truth};

#[test]
fn rsna_joins_the_rows_of_an_image_and_reads_inverted_pictures() {
    let work = Workplace::new();
    for (number, id) in [(0, "aa"), (1, "bb"), (2, "cc")] {
        work.dicom(number, &format!("stage_2_train_images/{id}.dcm"));
    }
    work.text(
        "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target\naa,,,,,0\nbb,10.0,12.0,20.0,30.0,1\nbb,35,12,20,30,1\ncc,,,,,0\n",
    );
    work.text(
        "stage_2_detailed_class_info.csv",
        "patientId,class\naa,Normal\nbb,Lung Opacity\nbb,Lung Opacity\ncc,No Lung Opacity / Not Normal\n",
    );
    let records = work.index(Layout::Rsna);
    assert_eq!(records.len(), 3);
    assert_eq!(records[1].boxes.len(), 2);
    assert_eq!((records[1].boxes[1].x, records[1].boxes[1].h), (35.0, 30.0));
    assert_eq!(records[1].truth("rsna.target"), Truth::Positive);
    assert_eq!(records[2].rsna.as_ref().unwrap().detailed_class, "No Lung Opacity / Not Normal");
    // Without opacity there are no boxes: that is known.
    assert_eq!(records[0].boxes_of(&["Lung Opacity".into()]), Some(vec![]));
    // Every second phantom is MONOCHROME1.
    let dicom = radiograph::read_file(&records[1].image).unwrap().image;
    let jpeg = radiograph::read_file(&work.phantoms[1].image).unwrap().image;
    let (dicom, jpeg) = (dicom.pixels(), jpeg.pixels());
    let apart = dicom.iter().zip(&*jpeg).map(|(a, b)| (a - b).abs()).sum::<f32>();
    assert!(apart / (dicom.len() as f32) < 0.02);

    work.text("stage_2_train_labels.csv", "patientId,x,y,width,height,Target\nbb,1,2,x,4,1\n");
    let error = work.error(Layout::Rsna);
    assert_eq!(error, "DIR/stage_2_train_labels.csv:2: `width` is `x`, expected a number");
}

#[test]
fn object_cxr_counts_dev_as_test_and_numbers_anew_in_each_part() {
    let work = Workplace::new();
    for (number, name) in [(0, "train/00001.jpg"), (1, "train/00002.jpg"), (2, "dev/00001.jpg")] {
        work.jpeg(number, name);
    }
    work.text(
        "train.csv",
        "image_name,annotation\n00001.jpg,0 5 6 20 30;2 1 9 14 2 3 25\n00002.jpg,\n",
    );
    work.text("dev.csv", "image_name,annotation\n00001.jpg,1 5 6 20 30\n");
    let records = work.index(Layout::ObjectCxr);
    let ids: Vec<&str> = records.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids, ["train/00001", "train/00002", "dev/00001"]);
    assert_eq!(records[0].boxes.len(), 2);
    assert_eq!(records[1].truth("Foreign Object"), Truth::Negative);
    assert_eq!(records[1].boxes_of(&["Foreign Object".into()]), Some(vec![]));
    assert_eq!(records[2].split, Some(Split::Test));
    work.text("dev.csv", "image_name,annotation\n00001.jpg,7 5 6 20 30\n");
    assert!(
        work.error(Layout::ObjectCxr).starts_with("DIR/dev.csv:2: `annotation` is `7 5 6 20 30`")
    );
}

#[test]
fn vindr_believes_most_of_its_readers() {
    let work = Workplace::new();
    work.dicom(0, "train/aa.dicom");
    work.dicom(1, "train/bb.dicom");
    work.dicom(2, "test/cc.dicom");
    work.text(
        "annotations/annotations_train.csv",
        "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n\
         aa,R2,Nodule/Mass,10,10,20,22\naa,R1,Nodule/Mass,11,10,21,22\naa,R3,No finding,,,,\n\
         aa,R1,Cardiomegaly,5,30,50,55\nbb,R1,No finding,,,,\n",
    );
    work.text(
        "annotations/annotations_test.csv",
        "image_id,class_name,x_min,y_min,x_max,y_max\ncc,Cardiomegaly,5,30,50,55\n",
    );
    let records = work.index(Layout::Vindr);
    let sides: Vec<_> = records[0].boxes.iter().map(|b| (b.label.as_str(), b.x, b.w)).collect();
    // Two of three saw the nodule, the first of them is R1; one of three saw the heart.
    assert_eq!(sides, [("Nodule/Mass", 11.0, 10.0)]);
    assert_eq!(records[0].truth("Cardiomegaly"), Truth::Negative);
    assert_eq!(records[1].boxes_of(&["Nodule/Mass".into()]), Some(vec![]));
    assert_eq!((records[2].split, records[2].boxes.len()), (Some(Split::Test), 1));
}
