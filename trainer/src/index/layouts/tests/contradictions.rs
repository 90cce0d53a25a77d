//! Data sets that contradict themselves, or are not what was published.

use super::{super::files::copies, Workplace};
use crate::index::{DataSet, Layout, Split, Truth};
use std::fs;

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
    let expected = serde_json::json!({ "boxes": { "of images in no row of the table": 1 } });
    assert_eq!(left_out(&work, Layout::Nih), expected);
    work.jpeg(1, "images_002/images/00000001_000.png");
    assert!(work.error(Layout::Nih).contains("`00000001_000.png` is also"));
}

#[test]
fn rsna_rows_of_one_image_must_agree() {
    let work = Workplace::new();
    work.jpeg(0, "stage_2_train_images/a1.png");
    let refused = |rows: &str, classes: &str, expected: &str| {
        let table = format!("patientId,x,y,width,height,Target\n{rows}");
        work.text("stage_2_train_labels.csv", &table);
        work.text("stage_2_detailed_class_info.csv", &format!("patientId,class\n{classes}"));
        let error = work.error(Layout::Rsna);
        assert!(error.contains(expected), "{error}");
    };
    refused(
        "a1,,,,,0\na1,1,2,10,10,1\n",
        "",
        ":3: `Target` is `1`, expected what an earlier row says of this image",
    );
    refused("a1,1,2,10,10,0\n", "", ":2: `x` is `1`, expected nothing, as Target is 0");
    refused(
        "a1,1,2,10,10,1\n",
        "a1,Normal\n",
        ":2: `Target` is `1`, expected what fits the class of this image, `Normal`",
    );
    refused(
        "a1,,,,,0\n",
        "a1,Normal\na1,No Lung Opacity / Not Normal\n",
        ":3: `class` is `No Lung Opacity / Not Normal`, expected `Normal`, as an earlier row says",
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
    work.text("train.csv", &train.replace(",Frontal,", ",Lateral,"));
    assert!(
        work.error(Layout::Chexpert).contains("expected the view that column Frontal/Lateral says")
    );
    work.text("train.csv", &train.replace(",Frontal,", ",Oblique,"));
    assert!(
        work.error(Layout::Chexpert)
            .contains("`Frontal/Lateral` is `Oblique`, expected Frontal or Lateral")
    );
}

/// What an index of it leaves out, as `--json` says it.
fn left_out(work: &Workplace, layout: Layout) -> serde_json::Value {
    let (root, masks) = (work.root(), work.folder.path().join("masks"));
    let mut data = DataSet::new(&root, &masks);
    layout.records(&mut data).unwrap();
    serde_json::to_value(&data.left_out).unwrap()
}

fn square(work: &Workplace, side: u32, name: &str) {
    let path = work.root().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::GrayImage::from_fn(side, side, |x, y| image::Luma([(x * y % 251) as u8]))
        .save(path)
        .unwrap();
}

#[test]
fn smaller_copies_of_published_pictures_are_warned_of_and_refused_where_the_table_says_so() {
    let work = Workplace::new();
    square(&work, 64, "stage_2_train_images/a1.png");
    work.dicom(0, "stage_2_train_images/a2.dcm");
    work.text(
        "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target\na1,1,2,10,10,1\na2,1,2,10,10,1\n",
    );
    let warning = copies(work.read(Layout::Rsna).unwrap().iter(), 1024).unwrap();
    assert!(warning.starts_with("1 pictures") && warning.contains("a1.png is 64x64"), "{warning}");
    square(&work, 1024, "stage_2_train_images/a1.png");
    assert_eq!(copies(work.read(Layout::Rsna).unwrap().iter(), 1024), None);

    square(&work, 64, "train/a1.png");
    let header = "image_id,class_name,rad_id,x_min,y_min,x_max,y_max,width,height";
    work.text("train.csv", &format!("{header}\na1,Mass,R1,1,2,30,40,1024,1000\n"));
    let error = work.error(Layout::Vindr);
    let expected = "DIR/train/a1.png: it has 64x64 pixels, but what is drawn in it is in pixels of a picture of 1024x1000";
    assert!(error.contains(expected), "{error}");
    work.text("train.csv", &format!("{header}\na1,Mass,R1,1,2,30,40,64,64\n"));
    assert_eq!(work.read(Layout::Vindr).unwrap().len(), 1);
}

#[test]
fn pictures_and_boxes_that_an_index_has_not_are_counted() {
    let work = Workplace::new();
    square(&work, 1024, "stage_2_train_images/a1.png");
    work.dicom(0, "stage_2_train_images/a2.dcm");
    // A table joined with that of classes has every box as often as the image has boxes.
    let row = "a1,1,2,10,10,1\na1,5,2,10,10,1\n";
    let table = format!("patientId,x,y,width,height,Target\n{row}{row}");
    work.text("stage_2_train_labels.csv", &table);
    let expected = serde_json::json!({
        "boxes": { "drawn a second time": 2 },
        "images": { "that the table does not name": 1 },
    });
    assert_eq!(left_out(&work, Layout::Rsna), expected);
    assert_eq!(work.read(Layout::Rsna).unwrap()[0].boxes.len(), 2);
}

#[test]
fn readers_who_say_both_are_refused() {
    let work = Workplace::new();
    work.jpeg(0, "train/a1.png");
    let header = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n";
    for rows in
        ["a1,R1,No finding,,,,\na1,R1,Mass,1,2,3,4\n", "a1,R1,Mass,1,2,3,4\na1,R1,No finding,,,,\n"]
    {
        work.text("train.csv", &format!("{header}{rows}"));
        let error = work.error(Layout::Vindr);
        assert!(error.contains("train.csv:3: `class_name` is `"), "{error}");
    }
    work.text("train.csv", &format!("{header}a1,R2,No finding,,,,\na1,R1,Mass,1,2,3,4\n"));
    assert_eq!(work.read(Layout::Vindr).unwrap()[0].truth("Mass"), Truth::Negative);
    work.dicom(0, "dicom-images-train/a1.dcm");
    for rows in ["a1, -1\na1, 5 6\n", "a1, 5 6\na1, -1\n"] {
        work.text("train-rle.csv", &format!("ImageId, EncodedPixels\n{rows}"));
        assert!(work.error(Layout::Siim).contains("train-rle.csv:3: "));
    }
}

#[test]
fn one_picture_under_two_names_is_refused() {
    let work = Workplace::new();
    let path = "train/patient00001/study1/view1_frontal.jpg";
    work.jpeg(0, path);
    let rows =
        |names: [&str; 2]| format!("Path,Edema\n{}/{path},1\n{}/{path},0\n", names[0], names[1]);
    work.text("train.csv", &rows(["CheXpert-v1.0-small", "CheXpert-v1.0"]));
    let error = work.error(Layout::Chexpert);
    assert!(
        error.contains("`CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg` and")
            && error.contains("are both this picture"),
        "{error}"
    );
}

#[test]
fn lists_of_two_versions_are_refused() {
    let work = Workplace::new();
    work.jpeg(0, "train/a.jpg");
    work.jpeg(1, "test/b.jpg");
    work.text("train_COVIDx9B.txt", "1 a.jpg negative cohen\n");
    work.text("test_COVIDx8A.txt", "2 b.jpg pneumonia cohen\n");
    let error = work.error(Layout::Covidx);
    assert!(error.contains("expected lists of one version"), "{error}");
    work.text("test_COVIDx9B.txt", "2 b.jpg negative cohen\n");
    assert_eq!(work.read(Layout::Covidx).unwrap().len(), 2);
}
