//! What a contract must hold to mean anything; whoever writes one and whoever reads one asks.

use super::{BoxHead, Boxes, Contract, Dense, DenseForm, Meaning, Yolo};
use std::collections::BTreeSet;

/// More than any published network has.
const MOST_LEVELS: usize = 16;
const MOST_ANCHORS: usize = 64;
const MOST_LABELS: usize = 10_000;
const MOST_KEPT: u32 = 1000;

type Checked = Result<(), String>;

impl Contract {
    /// What is wrong, in words, if something is.
    pub fn check(&self) -> Checked {
        let mut names = BTreeSet::new();
        for name in self.names() {
            if !names.insert(name) {
                return Err(format!("output `{name}` twice, expected once"));
            }
        }
        for meaning in &self.outputs {
            meaning.check()?;
        }
        let count = |of: fn(&Meaning) -> bool| self.outputs.iter().filter(|it| of(it)).count();
        for (what, found) in [
            ("outputs that find boxes", count(|it| matches!(it, Meaning::Boxes(_)))),
            ("embeddings", count(|it| matches!(it, Meaning::Embedding { .. }))),
        ] {
            if found > 1 {
                return Err(format!("{found} {what}, expected at most one"));
            }
        }
        for head in self.model().heads {
            let mut labels = BTreeSet::new();
            if let Some(twice) = head.labels.iter().find(|label| !labels.insert(*label)) {
                return Err(format!("{}: label {twice:?} twice, expected once", head.task));
            }
        }
        Ok(())
    }
}

impl Meaning {
    fn check(&self) -> Checked {
        match self {
            Self::Findings(scores) | Self::Masks(scores) => labels(&scores.output, &scores.labels),
            Self::Boxes(boxes) => boxes.check(),
            Self::Embedding { .. } | Self::Unused { .. } => Ok(()),
        }
    }
}

fn labels(output: &str, labels: &[Option<String>]) -> Checked {
    let named = labels.iter().flatten().count();
    if named == 0 || labels.len() > MOST_LABELS {
        return Err(format!(
            "output `{output}`: {} labels of which {named} have a name, expected 1 to {MOST_LABELS}",
            labels.len()
        ));
    }
    if labels.iter().flatten().any(String::is_empty) {
        return Err(format!("output `{output}`: a label has an empty name"));
    }
    Ok(())
}

impl Boxes {
    fn check(&self) -> Checked {
        labels(self.head.names().first().unwrap_or(&"boxes"), &self.labels)?;
        if !(self.overlap > 0.0 && self.overlap <= 1.0) {
            return Err(format!("overlap is {}, expected 0 to 1", self.overlap));
        }
        if !(1..=MOST_KEPT).contains(&self.keep) {
            return Err(format!("keep is {}, expected 1 to {MOST_KEPT} boxes", self.keep));
        }
        match &self.head {
            BoxHead::YoloMaps { version, outputs, anchors } => {
                levels(version.name(), outputs.len())?;
                match version {
                    Yolo::V8 if !anchors.is_empty() => Err("yolov8 has no anchors".into()),
                    Yolo::V8 => Ok(()),
                    Yolo::V3 | Yolo::V5 => anchors_of(anchors, outputs.len()),
                }
            }
            BoxHead::YoloRows { .. } => Ok(()),
            BoxHead::Dense(dense) => dense.check(),
        }
    }
}

impl Dense {
    fn check(&self) -> Checked {
        let Self { form, strides, anchors, variances, centre, .. } = self;
        let name = form.name();
        levels(name, strides.len())?;
        let is_fcos = *form == DenseForm::Fcos;
        for (what, outputs, wanted) in [
            ("scores", &self.scores, true),
            ("boxes", &self.boxes, true),
            ("centreness", &self.centreness, is_fcos),
        ] {
            let fits = if wanted {
                outputs.len() == self.scores.len() && [1, strides.len()].contains(&outputs.len())
            } else {
                outputs.is_empty()
            };
            if !fits {
                let expected = if wanted {
                    format!("1 or {} (a level each)", strides.len())
                } else {
                    "0".into()
                };
                return Err(format!(
                    "{name}: {} outputs of {what}, expected {expected}",
                    outputs.len()
                ));
            }
        }
        if let Some(stride) = strides.iter().find(|stride| !(1..=4096).contains(*stride)) {
            return Err(format!("{name}: stride is {stride}, expected 1 to 4096"));
        }
        if variances.iter().any(|x| !(x.is_finite() && *x > 0.0)) {
            return Err(format!("{name}: variances are {variances:?}, expected positive numbers"));
        }
        if !(0.0..=1.0).contains(centre) {
            return Err(format!("{name}: centre is {centre}, expected 0 to 1"));
        }
        match is_fcos {
            true if !anchors.is_empty() => Err("fcos has no anchors".into()),
            true if *variances != [1.0; 4] => Err("fcos has no variances".into()),
            true => Ok(()),
            false if self.exponential => Err(format!("{name} has no distances to be exponential")),
            false => anchors_of(anchors, strides.len()),
        }
    }
}

fn levels(form: &str, found: usize) -> Checked {
    if (1..=MOST_LEVELS).contains(&found) {
        return Ok(());
    }
    Err(format!("{form}: {found} levels, expected 1 to {MOST_LEVELS}"))
}

fn anchors_of(anchors: &[Vec<[f32; 2]>], levels: usize) -> Checked {
    if anchors.len() != levels {
        return Err(format!("anchors of {} levels, expected of {levels}", anchors.len()));
    }
    for (level, anchors) in anchors.iter().enumerate() {
        if !(1..=MOST_ANCHORS).contains(&anchors.len()) {
            let found = anchors.len();
            return Err(format!("{found} anchors of level {level}, expected 1 to {MOST_ANCHORS}"));
        }
        if let Some(side) = anchors.iter().flatten().find(|x| !(x.is_finite() && **x > 0.0)) {
            return Err(format!("an anchor of level {level} is {side} long, expected over 0"));
        }
    }
    Ok(())
}
