//! The report: all that was found, and whether it is accepted. The page and every figure on it are made of this alone.

use crate::{
    AcceptanceError, Case, Criterion, Direct, Figures, Pulled, Repeatability, Said, Times, Verdict,
    WindowEffect, claims::Bundle, effects, plan::Plan,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Programs of later formats only add to it.
pub const FORMAT: u64 = 1;

/// What is filed. Patients are numbers in it; which, the site alone knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub format: u64,
    pub site: String,
    pub person: String,
    pub conditions: Conditions,
    pub bundle: Bundle,
    pub studies: Studies,
    pub accepted: bool,
    /// Why not; empty if it is.
    pub reasons: Vec<String>,
    /// Of the plan: intervals wider than this are "not enough cases".
    pub interval_width: f64,
    pub findings: Vec<Figures>,
    /// What must hold for all findings.
    pub limits: Vec<Criterion>,
    pub repeatability: Repeatability,
    /// What the network says without the daemon; none: a program that did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
    pub windows: Vec<WindowEffect>,
    /// Why images that were to be tried with other window settings could not, and how many.
    pub windows_left_out: BTreeMap<String, u64>,
    pub times: Option<Times>,
    pub cases: Vec<Row>,
}

/// On what, when, and with what it was tested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// `runtime 0.1.0`
    pub program: String,
    /// RFC 3339.
    pub began: String,
    pub ended: String,
    pub processor: String,
    /// Instructions the network was computed with.
    pub instructions: String,
    pub threads: u32,
    /// Processes that wanted a processor, the minute's mean before and after (`/proc/loadavg`).
    #[serde(default)]
    pub load: [Option<String>; 2],
    /// The temporary spool lay in memory, where a file costs no time.
    pub spool_in_memory: bool,
    /// SHA-256 of the plan, of the daemon's configuration, and of the labels or the index.
    pub plan: String,
    pub configuration: Option<String>,
    pub truth: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Studies {
    /// That were sent.
    pub images: u64,
    pub patients: u64,
    /// That have no label, so were not sent.
    pub without_labels: u64,
    /// That the daemon does not take: no DICOM, or of a class it does not know.
    pub not_sendable: BTreeMap<String, u64>,
    /// Sent and not analysed, by the reason's word.
    pub not_analysed: BTreeMap<String, u64>,
    /// SHA-256 over the digests of the images' files, in the order they were sent.
    pub digest: String,
    /// Where an archive was asked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled: Option<Pulled>,
}

/// One image, without anything of its header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub number: u32,
    pub patient: u32,
    pub truths: BTreeMap<String, Option<bool>>,
    pub refused: Option<String>,
    pub findings: BTreeMap<String, Said>,
    pub digest: String,
    pub seconds: f64,
}

impl Report {
    /// Everything that follows from the plan and the cases. `studies` has what cases do not tell.
    pub fn of(
        plan: &Plan,
        conditions: Conditions,
        bundle: Bundle,
        studies: Studies,
        windows_left_out: BTreeMap<String, u64>,
        cases: &[Case],
    ) -> Self {
        let findings: Vec<Figures> =
            plan.findings.iter().map(|f| Figures::of(f, plan, cases, &bundle)).collect();
        let names: Vec<String> = plan.findings.iter().map(|f| f.name.clone()).collect();
        let times = Times::of(cases);
        let repeatability = Repeatability::of(cases);
        let mut not_analysed = BTreeMap::new();
        for word in cases.iter().filter_map(|case| case.answer.refused.clone()) {
            *not_analysed.entry(word).or_insert(0) += 1;
        }
        let (images, patients) = (cases.len() as u64, effects::patients(cases));
        let studies = Studies { images, patients, not_analysed, ..studies };
        let limits = limits(plan, &studies, times.as_ref());
        let mut report = Self {
            format: FORMAT,
            site: plan.site.clone(),
            person: plan.person.clone(),
            conditions,
            bundle,
            studies,
            accepted: false,
            reasons: Vec::new(),
            interval_width: plan.test.interval_width,
            findings,
            limits,
            repeatability,
            direct: Some(Direct::of(cases)),
            windows: effects::windows(&names, cases),
            windows_left_out,
            times,
            cases: cases.iter().map(Row::of).collect(),
        };
        report.reasons = report.why_not();
        report.accepted = report.reasons.is_empty();
        report
    }

    /// From its JSON.
    pub fn parse(json: &[u8]) -> Result<Self, AcceptanceError> {
        #[derive(Deserialize)]
        struct Head {
            format: u64,
        }
        let bad =
            |error: serde_json::Error| AcceptanceError::NotAReport { reason: error.to_string() };
        let Head { format: found } = serde_json::from_slice(json).map_err(bad)?;
        if found != FORMAT {
            return Err(AcceptanceError::Format { found, expected: FORMAT });
        }
        serde_json::from_slice(json).map_err(bad)
    }

    /// For people to read, too.
    pub fn json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a report has no map with odd keys");
        json.push(b'\n');
        json
    }

    /// Every criterion, of findings and of all.
    pub fn criteria(&self) -> impl Iterator<Item = &Criterion> {
        self.findings.iter().flat_map(|figures| &figures.criteria).chain(&self.limits)
    }

    fn why_not(&self) -> Vec<String> {
        let not = self.criteria().filter(|criterion| criterion.verdict != Verdict::Passed);
        let mut reasons: Vec<String> = not
            .map(|criterion| format!("{}: {}", criterion.what, criterion.verdict.words()))
            .collect();
        let Repeatability { repeats, different, .. } = &self.repeatability;
        if !self.repeatability.is_exact() {
            let images = different.len();
            let what = if *repeats == 0 {
                "nothing was repeated".into()
            } else {
                format!("{images} images had another answer when they were sent again")
            };
            reasons.push(format!("repeatability: {what}"));
        }
        if let Some(direct) = self.direct.as_ref().filter(|direct| !direct.is_exact()) {
            let images = direct.different.len();
            reasons.push(format!(
                "daemon beside analyzer: {images} images had another answer without the daemon"
            ));
        }
        reasons
    }
}

fn limits(plan: &Plan, studies: &Studies, times: Option<&Times>) -> Vec<Criterion> {
    let declined: u64 = studies.not_analysed.values().sum();
    let share = (studies.images > 0).then(|| declined as f64 / studies.images as f64);
    let not_pulled = studies.pulled.as_ref().map(Pulled::share_missing);
    let known = [
        (
            "share of studies that were asked for and did not come whole",
            not_pulled,
            not_pulled.map(|_| plan.limits.not_pulled.unwrap_or(0.0)),
        ),
        ("share of images that were not analysed", share, plan.limits.not_analysed),
        (
            "seconds to the result, 95th percentile",
            times.map(|times| times.p95),
            plan.limits.seconds,
        ),
    ];
    let asked = known.into_iter().filter_map(|(what, found, most)| Some((what, found, most?)));
    asked.map(|(what, found, most)| Criterion::limit(what, found, most)).collect()
}

impl Row {
    fn of(case: &Case) -> Self {
        let Case { number, patient, truths, answer, .. } = case.clone();
        let crate::Answer { refused, findings, digest, seconds } = answer;
        Self { number, patient, truths, refused, findings, digest, seconds }
    }
}
