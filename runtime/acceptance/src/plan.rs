//! `acceptance.toml`: who tests what on which studies, and what must come out.

use crate::AcceptanceError;
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// What a site wants to know, checked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Where: hospital, department, box.
    pub site: String,
    /// Who answers for the test.
    pub person: String,
    pub daemon: Daemon,
    pub studies: Studies,
    /// The archive that the studies are pulled from. Its table is read by the daemon's own client code.
    pub pacs: Option<toml::Table>,
    #[serde(default)]
    pub test: Test,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub report: Files,
    pub findings: Vec<Finding>,
}

/// Which daemon answers: as a box is configured, or as the defaults are, with a bundle. One of the two.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daemon {
    /// A `runtime.toml`.
    pub config: Option<PathBuf>,
    pub bundle: Option<PathBuf>,
    /// Who may have signed `bundle`: hexadecimal keys, or files with one.
    #[serde(default)]
    pub trusted_keys: Vec<String>,
    /// Also a bundle that nobody we trust has signed.
    #[serde(default)]
    pub allow_unsigned: bool,
}

/// Images and what is true of them: a folder with a table, an index, or a table of studies that `[pacs]` holds. One of
/// the three.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Studies {
    pub folder: Option<PathBuf>,
    pub labels: Option<PathBuf>,
    pub index: Option<PathBuf>,
    /// Of the index: `train`, `val`, `test` or `holdout`; none: all of it.
    pub split: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Test {
    /// How often each image is sent again.
    pub repeats: u32,
    /// Intervals wider than this are "not enough cases".
    pub interval_width: f64,
    /// How many images are sent with other window settings too; 0: none.
    pub window_images: u32,
    /// Percent by which windows are changed.
    pub window_percent: Vec<f64>,
    /// Where the temporary spool lies; none: where temporary files do.
    pub folder: Option<PathBuf>,
    /// Longest wait for one answer, seconds.
    pub wait_seconds: f64,
}

impl Default for Test {
    fn default() -> Self {
        Self {
            repeats: 2,
            interval_width: 0.2,
            window_images: 20,
            window_percent: vec![-20.0, -10.0, 10.0, 20.0],
            folder: None,
            wait_seconds: 60.0,
        }
    }
}

/// What holds for all findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest share of images that the daemon may decline to analyse.
    pub not_analysed: Option<f64>,
    /// Most seconds from C-STORE to the result, 95th percentile.
    pub seconds: Option<f64>,
    /// Largest share of studies that were asked for and did not come whole; none: each must come.
    pub not_pulled: Option<f64>,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// The page; JSON and signature lie beside it, with other endings.
    pub html: PathBuf,
    /// Private key that signs; none: nobody does.
    pub key: Option<PathBuf>,
    /// Which image a number in the report means. Patient data: for the site alone.
    pub key_list: Option<PathBuf>,
}

impl Default for Files {
    fn default() -> Self {
        Self { html: "acceptance.html".into(), key: None, key_list: None }
    }
}

/// One finding of the bundle.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    pub name: String,
    /// What the labels call it; none: the same.
    pub label: Option<String>,
    /// Share of patients who have it here; none: as among the studies.
    pub prevalence: Option<f64>,
    /// By the lower end of the 95 % interval.
    pub minimum_sensitivity: Option<f64>,
    pub minimum_specificity: Option<f64>,
}

impl Finding {
    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }
}

impl Plan {
    /// Relative paths are relative to `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self, AcceptanceError> {
        let mut plan: Self = toml::from_str(text).map_err(AcceptanceError::NotAPlan)?;
        plan.check()?;
        let paths = [
            plan.daemon.config.as_mut(),
            plan.daemon.bundle.as_mut(),
            plan.studies.folder.as_mut(),
            plan.studies.labels.as_mut(),
            plan.studies.index.as_mut(),
            plan.test.folder.as_mut(),
            Some(&mut plan.report.html),
            plan.report.key.as_mut(),
            plan.report.key_list.as_mut(),
        ];
        for path in paths.into_iter().flatten() {
            *path = base.join(&*path);
        }
        let is_digits = |key: &str| key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit());
        for key in plan.daemon.trusted_keys.iter_mut().filter(|key| !is_digits(key)) {
            *key = base.join(&*key).to_string_lossy().into_owned();
        }
        Ok(plan)
    }

    fn check(&self) -> Result<(), AcceptanceError> {
        for (what, text) in [("site", &self.site), ("person", &self.person)] {
            expect(!text.trim().is_empty(), what, "empty", "a name for the report")?;
        }
        let Daemon { config, bundle, trusted_keys, allow_unsigned } = &self.daemon;
        let one = |a: bool, b: bool| if a && b { "both" } else { "neither" };
        let (a, b) = (config.is_some(), bundle.is_some());
        expect(a != b, "[daemon]", one(a, b), "`config` or `bundle`, one of the two")?;
        let own = trusted_keys.is_empty() && !allow_unsigned;
        expect(
            b || own,
            "[daemon]",
            "keys with `config`",
            "keys of bundles where `config` has them",
        )?;
        let Studies { folder, labels, index, split } = &self.studies;
        let (a, b, pulled) = (folder.is_some(), index.is_some(), self.pacs.is_some());
        let found = match [a, b, pulled].into_iter().filter(|named| *named).count() {
            0 => "neither",
            2 => "two of them",
            _ => "all of them",
        };
        let one = a ^ b ^ pulled && !(a && b);
        expect(one, "[studies]", found, "`folder`, `index` or a table [pacs], one of the three")?;
        expect(
            b != labels.is_some(),
            "[studies]",
            "another pair",
            "`labels` where there is a `folder` or [pacs]",
        )?;
        expect(b || split.is_none(), "[studies]", "`split` of a folder", "`split` of an `index`")?;
        self.check_numbers()?;
        let mut names = BTreeSet::new();
        for Finding { name, .. } in &self.findings {
            if !names.insert(name) {
                return Err(AcceptanceError::FindingTwice { name: name.clone() });
            }
        }
        let criteria = |finding: &Finding| {
            finding.minimum_sensitivity.is_some() || finding.minimum_specificity.is_some()
        };
        if self.findings.iter().any(criteria) { Ok(()) } else { Err(AcceptanceError::NoCriteria) }
    }

    fn check_numbers(&self) -> Result<(), AcceptanceError> {
        let Test { repeats, interval_width, window_percent, wait_seconds, .. } = &self.test;
        within("test.repeats", f64::from(*repeats), 1.0..=100.0, "1 to 100")?;
        within("test.interval_width", *interval_width, 0.01..=1.0, "0.01 to 1")?;
        within("test.wait_seconds", *wait_seconds, 0.1..=3600.0, "0.1 to 3600")?;
        for percent in window_percent {
            within("test.window_percent", *percent, -90.0..=200.0, "-90 to 200")?;
        }
        let Limits { not_analysed, seconds, not_pulled } = self.limits;
        expect(
            not_pulled.is_none() || self.pacs.is_some(),
            "limits.not_pulled",
            "told without [pacs]",
            "studies that are pulled",
        )?;
        within("limits.not_pulled", not_pulled.unwrap_or(0.0), 0.0..=1.0, "0 to 1")?;
        within("limits.not_analysed", not_analysed.unwrap_or(0.0), 0.0..=1.0, "0 to 1")?;
        within("limits.seconds", seconds.unwrap_or(1.0), 0.001..=3600.0, "0.001 to 3600")?;
        for finding in &self.findings {
            let Finding { name, prevalence, minimum_sensitivity, minimum_specificity, .. } =
                finding;
            let minima = [
                ("minimum_sensitivity", *minimum_sensitivity),
                ("minimum_specificity", *minimum_specificity),
            ];
            for (what, share) in minima {
                let what = format!("{what} of `{name}`");
                within(&what, share.unwrap_or(0.5), 0.01..=0.999, "0.01 to 0.999")?;
            }
            let prevalence = prevalence.unwrap_or(0.5);
            let what = format!("prevalence of `{name}`");
            within(&what, prevalence, 1e-6..=0.999, "above 0 and up to 0.999")?;
        }
        Ok(())
    }
}

fn expect(
    right: bool,
    what: &str,
    found: &str,
    expected: &'static str,
) -> Result<(), AcceptanceError> {
    let wrong = || AcceptanceError::Value { what: what.into(), found: found.into(), expected };
    if right { Ok(()) } else { Err(wrong()) }
}

fn within(
    what: &str,
    found: f64,
    range: std::ops::RangeInclusive<f64>,
    expected: &'static str,
) -> Result<(), AcceptanceError> {
    expect(range.contains(&found), what, &found.to_string(), expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"
site = "St. Elsewhere, room 2"
person = "A. Physicist"
[daemon]
config = "runtime.toml"
[studies]
folder = "studies"
labels = "/data/labels.csv"
[[findings]]
name = "Pneumonia"
prevalence = 0.08
minimum_sensitivity = 0.8
"#;

    fn said(text: &str) -> String {
        match Plan::parse(text, Path::new("")).unwrap_err() {
            AcceptanceError::NotAPlan(error) => error.to_string(),
            error => error.to_string(),
        }
    }

    #[test]
    fn a_plan_has_defaults_and_its_paths_are_relative_to_it() {
        let plan = Plan::parse(PLAN, Path::new("/etc/site")).unwrap();
        assert_eq!(plan.daemon.config.as_deref(), Some(Path::new("/etc/site/runtime.toml")));
        assert_eq!(plan.studies.labels.as_deref(), Some(Path::new("/data/labels.csv")));
        assert_eq!(plan.report.html, Path::new("/etc/site/acceptance.html"));
        assert_eq!((plan.test.repeats, plan.test.interval_width), (2, 0.2));
        assert_eq!(plan.findings[0].label(), "Pneumonia");
    }

    #[test]
    fn every_mistake_is_named_with_what_was_expected() {
        let with = |from: &str, to: &str| {
            assert!(PLAN.contains(from), "{from}");
            said(&PLAN.replacen(from, to, 1))
        };
        for (from, to, expected) in [
            ("0.8\n", "1.8\n", "minimum_sensitivity of `Pneumonia` is 1.8, expected 0.01 to 0.999"),
            ("0.08", "0.0", "prevalence of `Pneumonia` is 0, expected above 0"),
            ("\"A. Physicist\"", "\" \"", "person is empty, expected a name"),
            ("config =", "bundle = \"b\"\nconfig =", "[daemon] is both, expected `config` or"),
            ("folder = \"studies\"\n", "", "[studies] is neither, expected `folder`, `index` or"),
            ("[[findings]]", "[pacs]\n[[findings]]", "[studies] is two of them, expected `folder`"),
            ("[[findings]]", "[limits]\nnot_pulled = 0.1\n[[findings]]", "told without [pacs]"),
            ("minimum_sensitivity = 0.8", "", "nothing can be accepted"),
            ("site =", "sight =", "unknown field `sight`"),
            ("[daemon]", "[test]\nrepeats = 0\n[daemon]", "test.repeats is 0, expected 1 to 100"),
        ] {
            let found = with(from, to);
            assert!(found.contains(expected), "{found}");
        }
        let twice = format!("{PLAN}[[findings]]\nname = \"Pneumonia\"\n");
        assert!(said(&twice).contains("`Pneumonia` stands twice"));
    }
}
