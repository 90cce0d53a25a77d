//! A `[[outputs]]` table of kind `boxes`: which form, and the keys that this form has.

use super::names;
use anyhow::{Context, Result, ensure};
use bundle::{BoxHead, Boxes, Dense, DenseForm, Yolo};
use serde::Deserialize;

/// The keys of all forms; [`Self::boxes`] refuses those of another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BoxesTable {
    form: Form,
    labels: Vec<String>,
    /// One output of boxes that a YOLO has decoded.
    decoded: Option<String>,
    /// A map for each level of a YOLO.
    maps: Option<Vec<String>>,
    scores: Option<Names>,
    boxes: Option<Names>,
    centreness: Option<Names>,
    strides: Option<Vec<u32>>,
    anchors: Option<Vec<Vec<[f32; 2]>>>,
    variances: Option<[f32; 4]>,
    centre: Option<f32>,
    distances: Option<Distances>,
    overlap: Option<f32>,
    keep: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Form {
    Yolov3,
    Yolov5,
    Yolov8,
    Fcos,
    Ssd,
    Retinanet,
}

/// One output of all levels, or one for each.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected the name of an output, or a list with one for each level")]
enum Names {
    One(String),
    Each(Vec<String>),
}

/// What FCOS's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Distances {
    /// Distances.
    Linear,
    /// Their logarithms.
    Exponential,
}

const USUAL_OVERLAP: f32 = 0.5;
const USUAL_KEEP: u32 = 100;

impl BoxesTable {
    pub(super) fn boxes(self, network: &[String]) -> Result<Boxes> {
        let head = match self.form {
            Form::Yolov3 => self.yolo(Yolo::V3, network)?,
            Form::Yolov5 => self.yolo(Yolo::V5, network)?,
            Form::Yolov8 => self.yolo(Yolo::V8, network)?,
            Form::Fcos => self.dense(DenseForm::Fcos)?,
            Form::Ssd => self.dense(DenseForm::Ssd)?,
            Form::Retinanet => self.dense(DenseForm::Retinanet)?,
        };
        Ok(Boxes {
            head,
            labels: names::labels(self.labels),
            overlap: self.overlap.unwrap_or(USUAL_OVERLAP),
            keep: self.keep.unwrap_or(USUAL_KEEP),
        })
    }

    fn yolo(&self, version: Yolo, network: &[String]) -> Result<BoxHead> {
        let form = version.name();
        let of_others = [
            ("scores", self.scores.is_some()),
            ("boxes", self.boxes.is_some()),
            ("centreness", self.centreness.is_some()),
            ("strides", self.strides.is_some()),
            ("variances", self.variances.is_some()),
            ("centre", self.centre.is_some()),
            ("distances", self.distances.is_some()),
        ];
        refuse(form, &of_others)?;
        let Some(maps) = &self.maps else {
            refuse("a decoded YOLO", &[("anchors", self.anchors.is_some())])?;
            let output = names::of(self.decoded.clone(), network, "boxes")?;
            return Ok(BoxHead::YoloRows { version, output });
        };
        ensure!(self.decoded.is_none(), "{form}: both `decoded` and `maps`, expected one of them");
        let anchors = self.anchors.clone().unwrap_or_default();
        Ok(BoxHead::YoloMaps { version, outputs: maps.clone(), anchors })
    }

    fn dense(&self, form: DenseForm) -> Result<BoxHead> {
        let name = form.name();
        let is_fcos = form == DenseForm::Fcos;
        let of_others = [
            ("decoded", self.decoded.is_some()),
            ("maps", self.maps.is_some()),
            ("centreness", !is_fcos && self.centreness.is_some()),
            ("distances", !is_fcos && self.distances.is_some()),
            ("anchors", is_fcos && self.anchors.is_some()),
            ("variances", is_fcos && self.variances.is_some()),
        ];
        refuse(name, &of_others)?;
        let required = |key: &str, names: &Option<Names>| {
            let names = names.as_ref().with_context(|| format!("{name}: no `{key}`"))?;
            Ok::<_, anyhow::Error>(match names {
                Names::One(name) => vec![name.clone()],
                Names::Each(names) => names.clone(),
            })
        };
        let is_ssd = form == DenseForm::Ssd;
        let (usual_variances, usual_centre) =
            if is_ssd { ([0.1, 0.1, 0.2, 0.2], 0.5) } else { ([1.0; 4], 0.0) };
        Ok(BoxHead::Dense(Dense {
            form,
            scores: required("scores", &self.scores)?,
            boxes: required("boxes", &self.boxes)?,
            centreness: match is_fcos {
                true => required("centreness", &self.centreness)?,
                false => Vec::new(),
            },
            strides: self.strides.clone().with_context(|| format!("{name}: no `strides`"))?,
            anchors: self.anchors.clone().unwrap_or_default(),
            variances: self.variances.unwrap_or(usual_variances),
            centre: self.centre.unwrap_or(usual_centre),
            exponential: self.distances == Some(Distances::Exponential),
        }))
    }
}

/// Keys that are there and mean nothing in this form.
fn refuse(form: &str, keys: &[(&str, bool)]) -> Result<()> {
    match keys.iter().find(|(_, given)| *given) {
        Some((key, _)) => anyhow::bail!("{form} has no `{key}`"),
        None => Ok(()),
    }
}
