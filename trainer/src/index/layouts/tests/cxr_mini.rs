//! cxr-mini holds images of NIH and RSNA: written in those layouts they read the same.

use super::Workplace;
use crate::index::{self, DataSet, Layout, Record, Split, Truth};
use std::{collections::BTreeMap, path::Path};

/// cxr-mini's own records, where it is there.
fn cxr_mini() -> Option<Vec<Record>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/cxr-mini");
    if !root.is_dir() {
        skip::because(format_args!("no {}", root.display()));
        return None;
    }
    Some(Layout::CxrMini.records(&mut DataSet::new(&root, Path::new(""))).unwrap())
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
    let read = Layout::Nih.records(&mut DataSet::new(&work.root(), Path::new(""))).unwrap();
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
    for read in Layout::Rsna.records(&mut DataSet::new(&work.root(), Path::new(""))).unwrap() {
        let mine = mine[&read.id];
        assert_eq!(read.truth("rsna.target"), mine.truth("rsna.target"), "{}", read.id);
        assert_eq!(read.boxes_of(&label), mine.boxes_of(&label), "{}", read.id);
        assert_eq!((read.width, read.height), (mine.width, mine.height));
    }
}
