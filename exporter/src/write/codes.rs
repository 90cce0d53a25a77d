//! What labels mean in words that other systems know: DICOM's own terms for the chest (PS3.16, CID 6102), SNOMED CT,
//! RadLex. The table has the labels of CheXpert, MIMIC-CXR, NIH and RSNA; a file adds others or replaces ours.

use anyhow::{Context, Result, bail, ensure};
use bundle::{Code, LabelCode, Side};
use graph::ModelConfig;
use serde::Deserialize;
use std::{fs, path::Path};

/// A code for every label of a network: from the file if it has the label, from the table, or one of our own.
pub(crate) fn of(model: &ModelConfig, file: Option<&Path>) -> Result<Vec<LabelCode>> {
    let mut given: Vec<LabelCode> = Vec::new();
    if let Some(path) = file {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: File = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        for Given { label, code, category, site, side, colour } in file.label {
            let again = given.iter().any(|code| code.label == label);
            ensure!(!again, "{}: label {label:?} twice, expected once", path.display());
            let category = category.unwrap_or_else(|| Category::Abnormal.code());
            given.push(LabelCode { label, code, category, site, side, colour });
        }
    }
    let labels: Vec<&String> = model.heads.iter().flat_map(|head| &head.labels).collect();
    if let Some(other) = given.iter().find(|code| !labels.contains(&&code.label)) {
        let file = file.unwrap_or(Path::new("")).display();
        bail!("{file}: label {:?}, expected one of the network's: {labels:?}", other.label);
    }
    let mut codes: Vec<LabelCode> = Vec::new();
    for label in labels {
        if codes.iter().all(|code| code.label != *label) {
            let code = given.iter().find(|code| code.label == *label).cloned();
            codes.push(code.or_else(|| known(label)).unwrap_or_else(|| LabelCode::private(label)));
        }
    }
    Ok(codes)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    label: Vec<Given>,
}

/// As in a bundle; without a category it is something abnormal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    label: String,
    code: Code,
    category: Option<Code>,
    site: Option<Code>,
    side: Option<Side>,
    colour: Option<[u8; 3]>,
}

#[derive(Clone, Copy, Debug)]
enum Category {
    Abnormal,
    Anatomy,
    Object,
}

impl Category {
    /// CID 7150.
    fn code(self) -> Code {
        match self {
            Self::Abnormal => code(ABNORMAL),
            Self::Anatomy => code(ANATOMICAL),
            Self::Object => code(OBJECT),
        }
    }
}

/// Where we saw that a code means what we say. SNOMED CT and RadLex themselves were not asked: they need a licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    /// In DICOM's own tables (PS3.16), as pydicom has them: same value, same meaning.
    Dicom,
    /// In other published tables that give value and meaning. `runtime/docs/dicom-results.md` lists these codes.
    Elsewhere,
}

/// A code that we use.
#[derive(Clone, Copy, Debug)]
struct Term {
    value: &'static str,
    scheme: &'static str,
    meaning: &'static str,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests hold the terms to what they were checked against")
    )]
    checked: Checked,
}

const fn dicom(value: &'static str, scheme: &'static str, meaning: &'static str) -> Term {
    Term { value, scheme, meaning, checked: Checked::Dicom }
}

const fn elsewhere(value: &'static str, scheme: &'static str, meaning: &'static str) -> Term {
    Term { value, scheme, meaning, checked: Checked::Elsewhere }
}

const ABNORMAL: Term = dicom("49755003", "SCT", "Morphologically Abnormal Structure");
const ANATOMICAL: Term = dicom("91723000", "SCT", "Anatomical Structure");
const OBJECT: Term = dicom("260787004", "SCT", "Physical object");
const CHEST: Term = dicom("816094009", "SCT", "Chest");
const LUNG: Term = dicom("39607008", "SCT", "Lung");
const PLEURA: Term = dicom("3120008", "SCT", "Pleura");
const HEART: Term = dicom("80891009", "SCT", "Heart");
const MEDIASTINUM: Term = dicom("72410000", "SCT", "Mediastinum");
const DIAPHRAGM: Term = dicom("5798000", "SCT", "Diaphragm");

/// Names of a label (small letters, blanks for underscores), what it is, where it is found.
#[rustfmt::skip]
const FINDINGS: &[(&[&str], Term, Term)] = &[
    (&["atelectasis"], elsewhere("46621007", "SCT", "Atelectasis"), LUNG),
    (&["cardiomegaly"], elsewhere("8186001", "SCT", "Cardiomegaly"), HEART),
    (&["consolidation", "airspace consolidation"], elsewhere("95436008", "SCT", "Lung consolidation"), LUNG),
    (&["edema", "pulmonary edema"], dicom("19242006", "SCT", "Pulmonary edema"), LUNG),
    (&["effusion", "pleural effusion"], dicom("60046008", "SCT", "Pleural effusion"), PLEURA),
    (&["emphysema", "pulmonary emphysema"], elsewhere("87433001", "SCT", "Pulmonary emphysema"), LUNG),
    (&["fibrosis", "pulmonary fibrosis"], elsewhere("51615001", "SCT", "Fibrosis of lung"), LUNG),
    (&["fracture"], elsewhere("125605004", "SCT", "Fracture of bone"), CHEST),
    (&["ground glass opacity"], dicom("112120", "DCM", "Ground glass opacity"), LUNG),
    (&["hernia", "diaphragmatic hernia"], elsewhere("39839004", "SCT", "Diaphragmatic hernia"), DIAPHRAGM),
    (&["infiltration", "infiltrate"], dicom("112121", "DCM", "Infiltrate"), LUNG),
    (&["lung lesion", "lesion"], dicom("52988006", "SCT", "Lesion"), LUNG),
    (&["lung opacity", "airspace opacity", "opacity"], dicom("112001", "DCM", "Opacity"), LUNG),
    (&["mass", "lung mass"], dicom("4147007", "SCT", "Mass"), LUNG),
    (&["nodule", "lung nodule", "pulmonary nodule"], dicom("27925004", "SCT", "Nodule"), LUNG),
    (&["pleural thickening"], elsewhere("RID28509", "RADLEX", "thickening"), PLEURA),
    (&["pneumomediastinum"], dicom("16838000", "SCT", "Pneumomediastinum"), MEDIASTINUM),
    (&["pneumonia"], elsewhere("233604007", "SCT", "Pneumonia"), LUNG),
    (&["pneumothorax"], dicom("36118008", "SCT", "Pneumothorax"), PLEURA),
    (&["covid-19", "covid19"], elsewhere("840539006", "SCT", "COVID-19"), LUNG),
    (&["tuberculosis"], elsewhere("56717001", "SCT", "Tuberculosis"), LUNG),
];

/// Names of a label without its side, what it is, a colour.
#[rustfmt::skip]
const ANATOMY: &[(&[&str], Term, [u8; 3])] = &[
    (&["lung", "lungs"], LUNG, [45, 212, 191]),
    (&["heart", "cardiac silhouette"], HEART, [250, 128, 114]),
    (&["mediastinum"], MEDIASTINUM, [192, 132, 252]),
    (&["clavicle", "clavicles"], dicom("51299004", "SCT", "Clavicle"), [163, 230, 53]),
    (&["rib", "ribs"], dicom("113197003", "SCT", "Rib"), [163, 230, 53]),
    (&["trachea"], dicom("44567001", "SCT", "Trachea"), [56, 189, 248]),
    (&["diaphragm"], DIAPHRAGM, [251, 191, 36]),
];

/// Names of a label, what it is.
#[rustfmt::skip]
const OBJECTS: &[(&[&str], Term)] = &[
    (&["pacemaker"], dicom("14106009", "SCT", "Cardiac pacemaker")),
    (&["endotracheal tube"], dicom("26412008", "SCT", "Endotracheal tube")),
    (&["catheter"], dicom("19923001", "SCT", "Catheter")),
    (&["chest tube"], dicom("112173", "DCM", "Chest tube")),
];

/// Of a label that our table has.
pub(crate) fn known(label: &str) -> Option<LabelCode> {
    let name = label.to_lowercase().replace('_', " ");
    let whole = |code: Term, category: Category, site: Option<Term>| LabelCode {
        label: label.into(),
        code: self::code(code),
        category: category.code(),
        site: site.map(self::code),
        side: None,
        colour: None,
    };
    if let Some((_, code, site)) = FINDINGS.iter().find(|(names, ..)| names.contains(&&*name)) {
        return Some(whole(*code, Category::Abnormal, Some(*site)));
    }
    if let Some((_, code)) = OBJECTS.iter().find(|(names, _)| names.contains(&&*name)) {
        return Some(whole(*code, Category::Object, Some(CHEST)));
    }
    let (side, part) = match name.split_once(' ') {
        Some(("left", part)) => (Some(Side::Left), part),
        Some(("right", part)) => (Some(Side::Right), part),
        _ => (None, &*name),
    };
    let (_, code, colour) = ANATOMY.iter().find(|(names, ..)| names.contains(&part))?;
    // Two of a kind side by side are told apart: the right one is lighter.
    let lighter = colour.map(|value| value + (255 - value) / 2);
    let colour = if side == Some(Side::Right) { lighter } else { *colour };
    Some(LabelCode { side, colour: Some(colour), ..whole(*code, Category::Anatomy, Some(*code)) })
}

fn code(Term { value, scheme, meaning, .. }: Term) -> Code {
    Code::new(value, scheme, meaning).expect("a test reads the whole table")
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::{Backbone, Head, Pool, Task};

    fn network(labels: &[&str]) -> ModelConfig {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
        model.heads = vec![Head { task: Task::Classification, labels }];
        model
    }

    #[test]
    fn every_name_of_the_tables_has_a_code() {
        let names = FINDINGS.iter().flat_map(|(names, ..)| *names);
        let names = names.chain(OBJECTS.iter().flat_map(|(names, _)| *names));
        let names: Vec<&str> =
            names.chain(ANATOMY.iter().flat_map(|(names, ..)| *names)).copied().collect();
        for name in &names {
            assert_eq!(
                names.iter().filter(|other| *other == name).count(),
                1,
                "{name} is there twice"
            );
            assert_eq!(known(name).unwrap().label, **name);
        }
    }

    fn terms() -> Vec<Term> {
        let mut terms = vec![ABNORMAL, ANATOMICAL, OBJECT, CHEST];
        terms.extend(FINDINGS.iter().flat_map(|(_, code, site)| [*code, *site]));
        terms.extend(OBJECTS.iter().map(|(_, code)| *code));
        terms.extend(ANATOMY.iter().map(|(_, code, _)| *code));
        terms
    }

    /// pydicom's copy of PS3.16, as lines of value, scheme and meaning.
    const PYDICOM: &str = "from pydicom.sr._concepts_dict import concepts\n\
        [print(v, s, m, sep='\\t') for s, t in concepts.items() for c in t.values() for v, (m, _) in c.items()]";

    #[test]
    fn what_was_checked_with_dicoms_tables_stands_there_and_the_rest_does_not() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let python = root.join(".venv/bin/python");
        let output = std::process::Command::new(&python).args(["-c", PYDICOM]).output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            return skip::because(format_args!("{} has no pydicom: make setup", python.display()));
        };
        let known = String::from_utf8(output.stdout).unwrap();
        let known: Vec<&str> = known.lines().collect();
        assert!(known.len() > 1000, "{} concepts", known.len());
        for Term { value, scheme, meaning, checked } in terms() {
            let said = format!("{value}\t{scheme}\t{meaning}");
            let stands_there = known.contains(&said.as_str());
            assert_eq!(stands_there, checked == Checked::Dicom, "{said}");
        }
    }

    #[test]
    fn what_was_checked_elsewhere_alone_is_listed_for_those_who_receive_it() {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/docs/dicom-results.md");
        let guide = fs::read_to_string(guide).unwrap();
        let listed: Vec<&str> = guide
            .lines()
            .filter(|line| line.starts_with("| SCT |") || line.starts_with("| RADLEX |"))
            .collect();
        let mut expected: Vec<String> = terms()
            .iter()
            .filter(|term| term.checked == Checked::Elsewhere)
            .map(|term| format!("| {} | {} | {} |", term.scheme, term.value, term.meaning))
            .collect();
        expected.sort();
        expected.dedup();
        let mut found: Vec<String> = listed.iter().map(|line| (*line).to_owned()).collect();
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn lungs_are_told_apart_by_their_side() {
        let codes = of(&network(&["left_lung", "Right Lung"]), None).unwrap();
        assert_eq!(codes[0].code, codes[1].code);
        assert_eq!(
            codes.iter().map(|code| code.side).collect::<Vec<_>>(),
            [Some(Side::Left), Some(Side::Right)]
        );
        assert_ne!(codes[0].colour, codes[1].colour);
        assert_eq!(codes[0].category.meaning(), "Anatomical Structure");
    }

    #[test]
    fn a_label_nobody_knows_gets_a_code_of_ours() {
        let codes =
            of(&network(&["Pleural_Thickening", "Enlarged Cardiomediastinum"]), None).unwrap();
        assert_eq!((codes[0].code.scheme(), codes[0].code.value()), ("RADLEX", "RID28509"));
        assert_eq!(codes[1], LabelCode::private("Enlarged Cardiomediastinum"));
    }

    #[test]
    fn a_file_has_the_last_word_and_its_mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.toml");
        let entry = "[[label]]\nlabel = \"Mass\"\ncode = { value = \"X1\", scheme = \"99US\", meaning = \"Ours\" }\n";
        fs::write(&path, entry).unwrap();
        let codes = of(&network(&["Mass", "Nodule"]), Some(&path)).unwrap();
        assert_eq!((codes[0].code.value(), codes[1].code.value()), ("X1", "27925004"));
        for (text, expected) in [
            (entry.replace("Mass", "Mess"), "label \"Mess\", expected one of the network's"),
            (entry.repeat(2), "label \"Mass\" twice"),
            (entry.replace("X1", "12345678901234567"), "1 to 16 characters"),
            (format!("{entry}colr = [1, 2, 3]\n"), "unknown field"),
        ] {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", of(&network(&["Mass"]), Some(&path)).unwrap_err());
            assert!(error.contains(expected) && error.contains("codes.toml"), "{error}");
        }
    }
}
