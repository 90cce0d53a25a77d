//! The report a radiologist might dictate for a phantom: every sentence agrees with what was drawn.

use super::{anatomy::Anatomy, canvas::Dice, findings::Finding};

/// Sentences about the picture, at least four, then the impression.
pub(super) struct Report {
    pub(super) findings: Vec<String>,
    pub(super) impression: String,
}

impl Report {
    pub(super) fn text(&self) -> String {
        format!("FINDINGS: {} IMPRESSION: {}", self.findings.join(" "), self.impression)
    }

    pub(super) fn sentences(&self) -> u32 {
        self.findings.len() as u32 + 1
    }
}

pub(super) fn dictate(
    anatomy: &Anatomy,
    findings: &[Finding],
    view: &str,
    dice: &mut Dice,
) -> Report {
    let has = |wanted: fn(&Finding) -> bool| findings.iter().any(wanted);
    let mut sentences = vec![technique(view, dice)];
    if !has(|f| matches!(f, Finding::Cardiomegaly)) {
        sentences.push(one(
            dice,
            &[
                "The heart is normal in size.",
                "The cardiomediastinal silhouette is within normal limits.",
                "Heart size and mediastinal contours are normal.",
            ],
        ));
    }
    sentences.extend(findings.iter().map(|finding| describe(finding, anatomy, dice)));
    if !has(|f| {
        matches!(
            f,
            Finding::Pneumonia { .. }
                | Finding::Edema
                | Finding::Nodule { .. }
                | Finding::Mass { .. }
                | Finding::Atelectasis { .. }
        )
    }) {
        sentences.push(one(
            dice,
            &[
                "The lungs are clear without focal consolidation.",
                "No focal airspace opacity is seen.",
                "Both lungs are well aerated and free of infiltrate.",
            ],
        ));
    }
    let (fluid, air) = (
        has(|f| matches!(f, Finding::Effusion { .. })),
        has(|f| matches!(f, Finding::Pneumothorax { .. })),
    );
    match (fluid, air) {
        (false, false) => sentences.push(one(
            dice,
            &[
                "There is no pleural effusion or pneumothorax.",
                "No pneumothorax or effusion is identified.",
            ],
        )),
        (true, false) => sentences.push("There is no pneumothorax.".into()),
        (false, true) => sentences.push("No pleural effusion is seen.".into()),
        (true, true) => {}
    }
    sentences.push(one(
        dice,
        &[
            "The visualized bony structures are intact.",
            "No acute osseous abnormality is seen.",
            "The ribs and clavicles are unremarkable.",
        ],
    ));
    Report { findings: sentences, impression: impression(findings, dice) }
}

fn technique(view: &str, dice: &mut Dice) -> String {
    match view {
        "PA" => one(
            dice,
            &[
                "A single PA view of the chest was obtained.",
                "Frontal upright radiograph of the chest.",
            ],
        ),
        _ => one(
            dice,
            &[
                "A portable AP view of the chest was obtained.",
                "Single AP supine radiograph of the chest.",
            ],
        ),
    }
}

fn describe(finding: &Finding, anatomy: &Anatomy, dice: &mut Dice) -> String {
    match finding {
        Finding::Pneumonia { side, zone, dense } => {
            let what = if *dense {
                one(dice, &["a dense consolidation", "an area of consolidation"])
            } else {
                one(dice, &["a hazy opacity", "a patchy infiltrate", "an ill-defined opacity"])
            };
            let why = one(
                dice,
                &[
                    "compatible with pneumonia",
                    "concerning for pneumonia",
                    "which may represent pneumonia",
                ],
            );
            format!("There is {what} in the {} {} lung zone, {why}.", side.name(), zone.name())
        }
        Finding::Cardiomegaly => {
            // Half a sentence of measurement, as some readers dictate it.
            let mut shaped = anatomy.clone();
            finding.shape(&mut shaped);
            let ratio = (shaped.cardiothoracic_ratio() * 100.0).round() as u32;
            let plain =
                one(dice, &["The heart is enlarged.", "The cardiac silhouette is enlarged."]);
            if dice.chance(0.4) {
                format!(
                    "The heart is enlarged with a cardiothoracic ratio of about {ratio} percent."
                )
            } else {
                plain
            }
        }
        Finding::Effusion { side, level } => {
            let size = match level {
                l if *l < 0.15 => "small",
                l if *l < 0.21 => "moderate",
                _ => "large",
            };
            let sign = one(
                dice,
                &[
                    "blunting the costophrenic angle",
                    "with a meniscus",
                    "obscuring the hemidiaphragm",
                ],
            );
            format!("There is a {size} {} pleural effusion {sign}.", side.name())
        }
        Finding::Pneumothorax { side, depth } => {
            let size = if *depth < 0.08 { "small" } else { "moderate" };
            format!("A {size} {} pneumothorax is present with a visible pleural line.", side.name())
        }
        Finding::Nodule { side, zone, .. } => {
            let verb = one(dice, &["is seen in", "projects over"]);
            format!("A small round nodule {verb} the {} {} lung zone.", side.name(), zone.name())
        }
        Finding::Mass { side, zone, .. } => {
            format!(
                "There is a well-defined mass in the {} {} lung zone.",
                side.name(),
                zone.name()
            )
        }
        Finding::Edema => one(
            dice,
            &[
                "Bilateral perihilar haziness and vascular congestion indicate pulmonary edema.",
                "There is bilateral perihilar opacity consistent with pulmonary edema.",
            ],
        ),
        Finding::Atelectasis { side } => {
            let where_ = side.name();
            format!("Linear opacity at the {where_} base represents atelectasis.")
        }
    }
}

fn impression(findings: &[Finding], dice: &mut Dice) -> String {
    if findings.is_empty() {
        return one(
            dice,
            &[
                "No acute cardiopulmonary abnormality.",
                "Normal chest radiograph.",
                "No evidence of acute disease.",
            ],
        );
    }
    let name = |finding: &Finding| match finding {
        Finding::Pneumonia { side, zone, .. } => {
            format!("{} {} zone pneumonia", side.name(), zone.name())
        }
        Finding::Cardiomegaly => "cardiomegaly".into(),
        Finding::Effusion { side, .. } => format!("{} pleural effusion", side.name()),
        Finding::Pneumothorax { side, .. } => format!("{} pneumothorax", side.name()),
        Finding::Nodule { side, .. } => format!("{} lung nodule, recommend CT", side.name()),
        Finding::Mass { side, .. } => format!("{} lung mass, recommend CT", side.name()),
        Finding::Edema => "pulmonary edema".into(),
        Finding::Atelectasis { side } => format!("{} basal atelectasis", side.name()),
    };
    let text = findings.iter().map(name).collect::<Vec<_>>().join(" and ");
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str())
}

fn one(dice: &mut Dice, of: &[&str]) -> String {
    (*dice.pick(of)).to_owned()
}
