//! Phantoms written in every layout, read back.

use super::*;
use crate::{
    index::{self, Label, Split, Truth, assign_splits},
    phantom,
};
use std::{collections::BTreeMap, fs};

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

    /// What an index of it holds after a journey through a file, by id.
    fn index(&self, layout: Layout) -> Vec<Record> {
        let out = self.folder.path().join("index.jsonl");
        let mut records = layout.records(&self.root(), &self.folder.path().join("masks")).unwrap();
        assign_splits(&mut records, [80.0, 20.0, 0.0], 0);
        index::write(&out, &records).unwrap();
        let records = index::read(&out).unwrap();
        assert!(records.iter().all(|r| r.width >= 64 && r.height == 64 && r.split.is_some()));
        records
    }

    fn error(&self, layout: Layout) -> String {
        let error = layout.records(&self.root(), &self.folder.path().join("masks")).unwrap_err();
        error.to_string().replace(&self.root().display().to_string(), "DIR")
    }
}

const COUNT: u32 = 12;

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
    let apart = dicom.pixels.iter().zip(&jpeg.pixels).map(|(a, b)| (a - b).abs()).sum::<f32>();
    assert!(apart / (dicom.pixels.len() as f32) < 0.02);

    work.text("stage_2_train_labels.csv", "patientId,x,y,width,height,Target\naa,1,2,x,4,1\n");
    let error = work.error(Layout::Rsna);
    assert_eq!(error, "DIR/stage_2_train_labels.csv:2: `width` is `x`, expected a number");
}

/// As SIIM writes a mask: offsets from the end of the run before, down the columns.
fn run_lengths(mask: &radiograph::Image) -> String {
    let (mut code, mut end, mut at) = (Vec::new(), 0, 0);
    let total = mask.width * mask.height;
    let inside = |at: usize| mask.pixels[at % mask.height * mask.width + at / mask.height] > 0.5;
    while at < total {
        if inside(at) {
            let begin = at;
            while at < total && inside(at) {
                at += 1;
            }
            code.extend([begin - end, at - begin]);
            end = at;
        } else {
            at += 1;
        }
    }
    code.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn siim_masks_come_back_as_they_were_drawn() {
    let work = Workplace::new();
    // A lung mask is as good a region as any.
    let masks: Vec<_> = [0, 1]
        .map(|at| radiograph::read_file(&work.phantoms[at].lung_masks[0].path).unwrap().image)
        .to_vec();
    for (number, id) in [(0, "1.2.3"), (1, "1.2.4"), (2, "1.2.5")] {
        work.dicom(number, &format!("dicom-images-train/s{number}/t{number}/{id}.dcm"));
    }
    // The second image's region in two rows: the left and the right half.
    let half = |right: bool| {
        let mut own = masks[1].clone();
        let width = own.width;
        own.pixels.iter_mut().enumerate().for_each(|(at, x)| {
            if (at % width >= width / 2) != right {
                *x = 0.0;
            }
        });
        run_lengths(&own)
    };
    let (first, left, right) = (run_lengths(&masks[0]), half(false), half(true));
    work.text(
        "train-rle.csv",
        &format!(
            "ImageId, EncodedPixels\n1.2.3,{first}\n1.2.4, {left}\n1.2.4, {right}\n1.2.5, -1\n"
        ),
    );
    let records = work.index(Layout::Siim);
    for (record, mask) in records.iter().zip(&masks) {
        let read = radiograph::read_file(&record.masks[0].path).unwrap().image;
        assert!(read.pixels.iter().zip(&mask.pixels).all(|(a, b)| (a > &0.5) == (b > &0.5)));
        assert_eq!(record.truth("Pneumothorax"), Truth::Positive);
    }
    assert_eq!(records[2].truth("Pneumothorax"), Truth::Negative);
    assert_eq!(records[2].region("pneumothorax"), Some(index::Region::Drawn(vec![])));
    assert_eq!(records[0].patient_id, work.phantoms[0].patient_id);

    work.text("train-rle.csv", "ImageId, EncodedPixels\n1.2.3, 5 999999\n");
    assert!(work.error(Layout::Siim).contains("run-length code leaves the image of"));
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
    work.text("labels.csv", "image,split\na/one.jpg,training\n");
    let error = work.error(Layout::Folder);
    assert_eq!(
        error,
        "DIR/labels.csv:2: `split` is `training`, expected train, val, test or holdout"
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

/// cxr-mini's own records, where it is there.
fn cxr_mini() -> Option<Vec<Record>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/cxr-mini");
    if !root.is_dir() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: no {}", root.display());
        }
        return None;
    }
    Some(Layout::CxrMini.records(&root, Path::new("")).unwrap())
}

#[test]
fn cxr_minis_part_of_nih_reads_the_same_in_nihs_layout() {
    let Some(records) = cxr_mini() else { return };
    let work = Workplace { folder: tempfile::tempdir().unwrap(), phantoms: Vec::new() };
    let mine: Vec<&Record> = records.iter().filter(|r| r.source == "nih-cxr14").collect();
    assert!(mine.len() > 400);
    let header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position";
    let (mut table, mut boxes, mut test) = (
        format!("{header}\n"),
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n".to_owned(),
        String::new(),
    );
    for record in &mine {
        let name = record.image.file_name().unwrap().to_str().unwrap();
        work.copy(&record.image, &format!("images/{name}"));
        let present: Vec<&str> = index::NIH_FINDINGS
            .into_iter()
            .filter(|finding| record.truth(finding) == Truth::Positive)
            .collect();
        let present = if present.is_empty() { "No Finding".into() } else { present.join("|") };
        table += &format!("{name},{present},0,{},58,M,{}\n", record.patient_group, record.view);
        for b in record.boxes.iter().filter(|b| b.label != index::RSNA_BOX) {
            boxes += &format!("{name},{},{},{},{},{},,,\n", b.label, b.x, b.y, b.w, b.h);
        }
        if record.split == Some(Split::Test) {
            test += &format!("{name}\n");
        }
    }
    work.text("Data_Entry_2017_v2020.csv", &table);
    work.text("BBox_List_2017.csv", &boxes);
    work.text("test_list.txt", &test);
    let read = Layout::Nih.records(&work.root(), Path::new("")).unwrap();
    assert_eq!(read.len(), mine.len());
    for (read, mine) in read.iter().zip(mine) {
        for finding in index::NIH_FINDINGS {
            assert_eq!(read.truth(finding), mine.truth(finding), "{} {finding}", mine.id);
        }
        assert_eq!((read.width, read.height), (mine.width, mine.height), "{}", mine.id);
        assert_eq!(read.split == Some(Split::Test), mine.split == Some(Split::Test));
        let lesions = mine.boxes.iter().filter(|b| b.label != index::RSNA_BOX).count();
        assert_eq!(read.boxes.len(), lesions);
    }
}

#[test]
fn cxr_minis_part_of_rsna_reads_the_same_in_rsnas_layout() {
    let Some(records) = cxr_mini() else { return };
    let work = Workplace { folder: tempfile::tempdir().unwrap(), phantoms: Vec::new() };
    let mine: BTreeMap<String, &Record> = records
        .iter()
        .filter_map(|record| Some((record.rsna.as_ref()?.patient_id.clone(), record)))
        .collect();
    assert!(mine.len() > 200);
    let mut table = "patientId,x,y,width,height,Target\n".to_owned();
    for (id, record) in &mine {
        work.copy(&record.image, &format!("stage_2_train_images/{id}.jpg"));
        if record.rsna.as_ref().unwrap().target == 0 {
            table += &format!("{id},,,,,0\n");
        }
        for b in record.boxes.iter().filter(|b| b.label == index::RSNA_BOX) {
            table += &format!("{id},{},{},{},{},1\n", b.x, b.y, b.w, b.h);
        }
    }
    work.text("stage_2_train_labels.csv", &table);
    let label = [index::RSNA_BOX.to_owned()];
    for read in Layout::Rsna.records(&work.root(), Path::new("")).unwrap() {
        let mine = mine[&read.id];
        assert_eq!(read.truth("rsna.target"), mine.truth("rsna.target"), "{}", read.id);
        assert_eq!(read.boxes_of(&label), mine.boxes_of(&label), "{}", read.id);
        assert_eq!((read.width, read.height), (mine.width, mine.height));
    }
}
