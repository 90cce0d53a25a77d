//! One phantom study: who, what is wrong, the picture, the report.

use super::{
    anatomy::{Anatomy, Side},
    canvas::{Canvas, Dice},
    findings::Finding,
    render::{Rendered, render},
    report::{Report, dictate},
};
use crate::index::{Label, LabelledBox, LungMask, NIH_FINDINGS, Record, RegionMask};
use std::{collections::BTreeMap, path::PathBuf};

/// Up to three studies share a patient.
const STUDIES: [usize; 6] = [1, 1, 2, 1, 3, 2];

/// A study before it is written.
pub(super) struct Study {
    pub(super) record: Record,
    pub(super) rendered: Rendered,
    /// Path and pixels of every mask the record names.
    pub(super) masks: Vec<(PathBuf, Vec<u8>)>,
}

/// Whose study the `number`th phantom is.
fn patient_of(number: usize) -> usize {
    let cycle: usize = STUDIES.iter().sum();
    let (round, mut rest) = (number / cycle, number % cycle);
    for (patient, &studies) in STUDIES.iter().enumerate() {
        if rest < studies {
            return round * STUDIES.len() + patient;
        }
        rest -= studies;
    }
    unreachable!("the rest is below the sum of the studies")
}

/// The `number`th phantom of a seed, whatever else is drawn.
pub(super) fn draw(seed: u64, number: usize, height: usize) -> Study {
    let patient = patient_of(number);
    // Streams: even ones are patients, odd ones studies.
    let mut of_patient = Dice::new(seed, 2 * patient as u64);
    let mut dice = Dice::new(seed, 2 * number as u64 + 1);
    let supine = dice.chance(0.35);
    let view = if supine { "AP" } else { "PA" };
    let anatomy = Anatomy::draw(&mut of_patient).again(&mut dice, supine);
    let findings = Finding::draw(&mut dice);
    let width = height * usize::from(*dice.pick(&[16_u8, 16, 17, 18])) / 16;
    let rendered = render(&anatomy, &findings, width, height, &mut dice);
    let report = dictate(&anatomy, &findings, view, &mut dice);

    let id = format!("phantom-{number:05}");
    let mut masks = vec![(
        PathBuf::from(format!("masks/lung/{id}.png")),
        binary(&rendered.lungs.iter().collect::<Vec<_>>(), 0.5),
    )];
    let mut record = Record {
        patient_id: format!("p{patient:05}"),
        patient_group: format!("p{patient:05}"),
        source: "phantom".into(),
        view: view.into(),
        sex: Some(if anatomy.female { "F" } else { "M" }.into()),
        image: PathBuf::from(format!("images/{id}.jpg")),
        width: width as u32,
        height: height as u32,
        labels: labels(&findings),
        covidx_class: Some(covidx(&findings).into()),
        lung_boxes: Some(lung_boxes(&rendered.lungs)),
        lung_masks: vec![LungMask {
            path: masks[0].0.clone(),
            kind: "human (drawn with the phantom, without the heart)".into(),
        }],
        looked_for: Finding::DRAWN.map(str::to_owned).to_vec(),
        id,
        ..Record::default()
    };
    for (at, (finding, shadow)) in findings.iter().zip(&rendered.shadows).enumerate() {
        let level = shadow.values.iter().fold(0.0f32, |top, value| top.max(value.abs())) * 0.3;
        let shadow = absolute(shadow);
        if let Some(cls) = finding.mask_class() {
            let path = PathBuf::from(format!("masks/lesion/{}.{at}.{cls}.png", record.id));
            masks.push((path.clone(), binary(&[&shadow], level)));
            record.masks.push(RegionMask { path, cls: cls.into(), group: "lesion".into() });
        }
        if let Some(label) = finding.box_label() {
            record.boxes.extend(shadow.bounds(level).map(|bounds| labelled(label, bounds)));
        }
    }
    describe(&mut record, &report);
    Study { record, rendered, masks }
}

fn describe(record: &mut Record, report: &Report) {
    let text = report.text();
    record.report_group = Some(text.clone());
    record.report_sentences = Some(report.sentences());
    record.findings_text = Some(report.findings.join(" "));
    record.findings_sentences = Some(report.findings.len() as u32);
    record.report = Some(text);
}

fn labels(findings: &[Finding]) -> BTreeMap<String, Label> {
    let present: Vec<&str> =
        findings.iter().flat_map(|finding| finding.labels()).copied().collect();
    NIH_FINDINGS
        .iter()
        .map(|name| {
            let label = if present.contains(name) { Label::Positive } else { Label::Negative };
            ((*name).to_owned(), label)
        })
        .collect()
}

fn covidx(findings: &[Finding]) -> &'static str {
    if findings.iter().any(|finding| matches!(finding, Finding::Pneumonia { .. })) {
        "pneumonia"
    } else {
        "normal"
    }
}

fn lung_boxes(lungs: &[Canvas; 2]) -> Vec<LabelledBox> {
    let sides = Side::BOTH.iter().zip(lungs);
    sides
        .filter_map(|(side, lung)| {
            let name = if *side == Side::Left { "Left Lung" } else { "Right Lung" };
            lung.bounds(0.5).map(|bounds| labelled(name, bounds))
        })
        .collect()
}

fn labelled(label: &str, bounds: [usize; 4]) -> LabelledBox {
    let [x, y, w, h] = bounds.map(|pixels| pixels as f32);
    LabelledBox { label: label.into(), x, y, w, h, source: "drawn with the phantom".into() }
}

fn absolute(shadow: &Canvas) -> Canvas {
    let mut absolute = shadow.clone();
    absolute.values.iter_mut().for_each(|value| *value = value.abs());
    absolute
}

/// 255 where the sum of the fields exceeds `level`.
fn binary(fields: &[&Canvas], level: f32) -> Vec<u8> {
    (0..fields[0].values.len())
        .map(|at| {
            let sum: f32 = fields.iter().map(|field| field.values[at]).sum();
            if sum > level { 255 } else { 0 }
        })
        .collect()
}
