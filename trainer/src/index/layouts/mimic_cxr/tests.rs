//! Phantoms laid out as PhysioNet lays out the data set.

use super::*;
use crate::index;
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

const REPORTS: [&str; 4] = [
    // Everything a report has, with a page break in the middle.
    "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  ___F with cough  // pneumonia?\n \n COMPARISON:  Chest radiograph ___.\n \n FINDINGS: \n \n The lungs are clear of T1-T2 level opacity.  A 1.5 cm nodule is seen, as told to Dr. ___ at 3:45.\n                                                             (Over)\n\n                                 FINAL REPORT\n (Cont)\n No effusion.\n \n IMPRESSION: \n \n 1.  Nodule.\n 2.  No pneumonia.\n",
    // Too short.
    " FINAL REPORT\n FINDINGS:  Clear lungs.\n IMPRESSION:  Normal.\n",
    // A misspelt heading, and a section after it that is none of the picture's.
    " FINAL REPORT\n FINDNGS: Heart is large. Lungs are clear. Bones are intact.\n\n IMRPESSION: Cardiomegaly.\n\n NOTIFICATION: Told by phone.\n",
    "never read: a lateral view",
];

/// `(patient, study, dicom, view, split)` of each image.
const IMAGES: [(&str, &str, &str, &str, &str); 5] = [
    ("10000032", "50414267", "02aa804e-bde0afdd", "PA", "train"),
    ("10000032", "50414267", "174413ec-4ec4c1f7", "LATERAL", "train"),
    ("10000032", "53189527", "2a2277a9-b0ded155", "AP", "train"),
    ("11000764", "56699142", "e084de3b-be89b11e", "AP", "validate"),
    ("19999987", "55368167", "68b5c4b1-227d0485", "LL", "test"),
];

fn data_set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let drawn = tempfile::tempdir().unwrap();
    crate::phantom::draw_into(drawn.path(), IMAGES.len() as u32, 3, 64).unwrap();
    let mut metadata = String::from(
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime\n",
    );
    let mut split = String::from("dicom_id,study_id,subject_id,split\n");
    for (at, (patient, study, dicom, view, of)) in IMAGES.into_iter().enumerate() {
        let image = root.join(study_folder(patient, study)).join(format!("{dicom}.jpg"));
        fs::create_dir_all(image.parent().unwrap()).unwrap();
        fs::copy(drawn.path().join(format!("images/phantom-{at:05}.jpg")), image).unwrap();
        metadata += &format!(
            "{dicom},{patient},{study},\"CHEST (PA, LAT)\",{view},64,60,21800506,213014.531\n"
        );
        split += &format!("{dicom},{study},{patient},{of}\n");
    }
    for (study, report) in
        [(0, 0), (2, 1), (3, 2), (4, 3)].map(|(image, n)| (IMAGES[image], REPORTS[n]))
    {
        let file = root.join(study_folder(study.0, study.1)).with_extension("txt");
        fs::write(file, report).unwrap();
    }
    let chexpert = format!(
        "subject_id,study_id,{}\n10000032,50414267,,0.0,1.0,-1.0{}\n",
        FINDINGS.join(","),
        ",".repeat(FINDINGS.len() - 4)
    );
    fs::write(root.join("mimic-cxr-2.0.0-metadata.csv"), metadata).unwrap();
    fs::write(root.join("mimic-cxr-2.0.0-chexpert.csv"), chexpert).unwrap();
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(split.as_bytes()).unwrap();
    fs::write(root.join("mimic-cxr-2.0.0-split.csv.gz"), gz.finish().unwrap()).unwrap();
    folder
}

#[test]
fn frontal_images_get_split_labels_and_reports_of_four_sentences() {
    let folder = data_set();
    let records = records(&mut DataSet::new(folder.path(), Path::new(""))).unwrap();
    index::check(&folder.path().join("index.jsonl"), &records).unwrap();
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["02aa804e-bde0afdd", "2a2277a9-b0ded155", "e084de3b-be89b11e"]);
    let first = &records[0];
    assert_eq!((first.width, first.height, first.view.as_str()), (60, 64, "PA"));
    assert_eq!(first.study_id.as_deref(), Some("50414267"));
    assert!(!first.labels.contains_key("Atelectasis"));
    assert_eq!(first.labels["Cardiomegaly"], Label::Negative);
    assert_eq!(first.labels["Consolidation"], Label::Positive);
    assert_eq!(first.labels["Edema"], Label::Uncertain);
    assert_eq!(
        report::sentences(first.findings_text.as_ref().unwrap()),
        [
            "The lungs are clear of T1-T2 level opacity.",
            "A 1.5 cm nodule is seen, as told to Dr. ___ at 3:45.",
            "No effusion.",
            "Nodule.",
            "No pneumonia.",
        ]
    );
    assert_eq!((records[1].split, &records[1].findings_text), (Some(Split::Train), &None));
    assert_eq!(records[2].split, Some(Split::Val));
    let text = records[2].findings_text.as_ref().unwrap();
    assert_eq!(text, "Heart is large. Lungs are clear. Bones are intact.\n\nCardiomegaly.");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let folder = data_set();
    let root = folder.path();
    let message = || records(&mut DataSet::new(root, Path::new(""))).unwrap_err().to_string();
    let metadata = root.join("mimic-cxr-2.0.0-metadata.csv");
    let text = fs::read_to_string(&metadata).unwrap();
    fs::write(&metadata, text.replace("e084de3b-be89b11e", "unknown")).unwrap();
    assert!(
        message().contains(":5: `dicom_id` is `unknown`, expected an image the split table names"),
        "{}",
        message()
    );
    fs::write(&metadata, text.replace("ViewPosition", "View")).unwrap();
    assert!(message().contains("column `ViewPosition` is missing"), "{}", message());
    fs::write(&metadata, text).unwrap();
    fs::write(root.join("mimic-cxr-2.0.0-split.csv"), "dicom_id,split\na,training\n").unwrap();
    assert!(
        message().contains("`split` is `training`, expected train, validate or test"),
        "{}",
        message()
    );
    fs::remove_file(&metadata).unwrap();
    assert!(
        message().contains("is no mimic-cxr data set: no mimic-cxr-2.0.0-metadata.csv(.gz)"),
        "{}",
        message()
    );
}

#[test]
fn what_is_left_out_is_counted_by_reason_and_what_is_kept_is_no_longer_called_nothing() {
    let folder = data_set();
    let root = folder.path();
    fs::remove_file(root.join("files/p11/p11000764/s56699142.txt")).unwrap();
    let mut data = DataSet::new(root, Path::new(""));
    let records = records(&mut data).unwrap();
    let summary = index::Summary::of(&records, data.left_out);
    assert_eq!(summary.splits["train"].reports, 1);
    let json = serde_json::to_value(&summary.left_out).unwrap();
    let expected = serde_json::json!({
        "images": { "of view LATERAL": 1, "of view LL": 1 },
        "reports": { "of fewer than 4 sentences": 1, "without a file": 1 },
    });
    assert_eq!(json, expected);
    assert!(
        summary.to_string().ends_with(
            "\nleft out: 2 images (1 of view LATERAL, 1 of view LL)\
             \nleft out: 2 reports (1 of fewer than 4 sentences, 1 without a file)"
        ),
        "{summary}"
    );
}

#[test]
fn nothing_is_learned_from_a_report_that_does_not_speak_of_the_picture() {
    let reason = |report: &str| learnt(report).map(|text| text.sentences).unwrap_err();
    assert_eq!(reason(" \n"), "empty");
    assert_eq!(reason("HISTORY: Fall. Pain. Fever. Cough."), "without findings or impression");
    assert_eq!(reason("FINDINGS: Clear. IMPRESSION: Normal."), "of fewer than 4 sentences");
    let whole = "CHEST, TWO VIEWS: Clear. Heart normal. No effusion.\nIMPRESSION: Normal.";
    assert_eq!(learnt(whole).unwrap().sentences, 4);
}

#[test]
fn tables_that_contradict_themselves_or_fit_no_study_are_refused() {
    let refused = |name: &str, table: &str, expected: &str| {
        let folder = data_set();
        let packed = folder.path().join(format!("{name}.gz"));
        if packed.exists() {
            fs::remove_file(packed).unwrap();
        }
        fs::write(folder.path().join(name), table).unwrap();
        let error = records(&mut DataSet::new(folder.path(), Path::new(""))).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let split = "dicom_id,study_id,subject_id,split\n02aa804e-bde0afdd,50414267,10000032,";
    refused(
        "mimic-cxr-2.0.0-split.csv",
        &format!("{split}train\n{}test\n", split.lines().last().unwrap()),
        ":3: `split` is `test`, expected what an earlier row says of this image",
    );
    let labels = |rows: [(&str, &str); 2]| {
        let row = |(study, first)| format!("10000032,{study},{first}{}\n", ",".repeat(13));
        format!("subject_id,study_id,{}\n{}", FINDINGS.join(","), rows.map(row).concat())
    };
    let table = "mimic-cxr-2.0.0-chexpert.csv";
    refused(
        table,
        &labels([("50414267", "1.0"), ("50414267", "0.0")]),
        ":3: `study_id` is `50414267`, expected a study of which no earlier row",
    );
    refused(
        table,
        &labels([("50414267.0", "1.0"), ("53189527.0", "0.0")]),
        "chexpert.csv: none of its 2 studies is in the table of metadata",
    );
}

#[test]
fn reports_in_markup_are_left_out_and_not_learned_from() {
    let plain = "FINDINGS: The lungs are clear. The heart is normal. No effusion. No pneumothorax.";
    assert_eq!(learnt(plain).unwrap().sentences, 4);
    // OpenI gives its reports out in this form.
    let xml =
        format!("<?xml version=\"1.0\"?>\n<AbstractText Label=\"FINDINGS\">{plain}</AbstractText>");
    for text in [xml, format!("<html><body>{plain}</body></html>"), format!(" <p>{plain}</p>")] {
        assert_eq!(learnt(&text).err().as_deref(), Some("in XML or HTML"), "{text}");
    }
    assert!(learnt(&format!("<3 cm nodule. {plain}")).is_ok());
}
