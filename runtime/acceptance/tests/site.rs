//! A site whose truth is known: every figure by hand.
#![expect(clippy::unwrap_used, reason = "a test")]

use acceptance::{
    Answer, Bundle, Case, Conditions, Estimate, Group, Metric, Plan, Report, Said, Studies,
    Verdict, page,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, path::Path, sync::LazyLock};

const PLAN: &str = r#"
site = "St. <Elsewhere>"
person = "A. Physicist"
[daemon]
bundle = "chest.bundle"
[studies]
index = "index.jsonl"
[test]
interval_width = 0.5
[limits]
not_analysed = 0.1
seconds = 2
[[findings]]
name = "Mass"
prevalence = 0.1
minimum_sensitivity = 0.5
minimum_specificity = 0.5
"#;

fn case(number: u32, truth: Option<bool>, probability: f32) -> Case {
    let said = Said { probability, threshold: 0.5, positive: probability >= 0.5 };
    let answer = Answer {
        refused: None,
        findings: BTreeMap::from([("Mass".to_owned(), said)]),
        digest: format!("{number:064}"),
        seconds: f64::from(number) / 30.0,
    };
    let sex = if number.is_multiple_of(2) { "F" } else { "M" };
    Case {
        number,
        patient: number,
        truths: BTreeMap::from([("Mass".to_owned(), truth)]),
        groups: vec![Group { axis: "sex".into(), value: sex.into() }],
        direct: answer.digest.clone(),
        again: vec![answer.clone(), answer.clone()],
        answer,
        windows: Vec::new(),
    }
}

/// Ten with the finding, nine of them found; twenty without, sixteen of them rightly called so.
fn site() -> Vec<Case> {
    let with = (1..=10).map(|n| case(n, Some(true), if n == 10 { 0.2 } else { 0.9 }));
    let without = (11..=30).map(|n| case(n, Some(false), if n > 26 { 0.8 } else { 0.1 }));
    with.chain(without).collect()
}

fn report_of(plan: &str, cases: &[Case]) -> Report {
    let plan = Plan::parse(plan, Path::new("")).unwrap();
    let estimate = Estimate { value: 0.95, low: 0.92, high: 0.98 };
    let metric = Metric {
        metric: "auroc/Mass".into(),
        data: "elsewhere".into(),
        split: "test".into(),
        estimate,
        n: 400,
        arithmetic: "int8".into(),
    };
    let bundle = Bundle { id: "chest".into(), metrics: vec![metric], ..Bundle::default() };
    let (conditions, studies) = (Conditions::default(), Studies::default());
    Report::of(&plan, conditions, bundle, studies, BTreeMap::new(), cases)
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
}

#[test]
fn figures_are_those_that_are_computed_by_hand() {
    let report = report_of(PLAN, &site());
    let figures = &report.findings[0];
    let (se, sp) = (figures.sensitivity.unwrap(), figures.specificity.unwrap());
    assert_eq!((se.hits, se.of, sp.hits, sp.of), (9, 10, 16, 20));
    // scipy.stats.binomtest(9, 10).proportion_ci(method="exact"), and of 16 and 20
    near(se.estimate.low, 0.5549838829718047);
    near(se.estimate.high, 0.9974714214555375);
    near(sp.estimate.low, 0.5633859970033314);
    near(sp.estimate.high, 0.942666002949976);
    // 180 + 16 of 200 pairs
    let auroc = figures.auroc.unwrap();
    near(auroc.value, 0.98);
    assert!(auroc.low < 0.98 && auroc.high > 0.98 && auroc.low > 0.85, "{auroc:?}");
    // 0.9·0.1 / (0.9·0.1 + 0.2·0.9), 0.8·0.9 / (0.8·0.9 + 0.1·0.1)
    near(figures.ppv.unwrap().value, 1.0 / 3.0);
    near(figures.npv.unwrap().value, 0.72 / 0.73);
    assert_eq!(
        (figures.missed.as_slice(), figures.false_alarms.as_slice()),
        (&[10][..], &[27, 28, 29, 30][..])
    );
    let times = report.times.as_ref().unwrap();
    assert_eq!(times.count, 90);
    near(times.median, 15.5 / 30.0);
    near(times.longest, 1.0);
    assert!(report.accepted, "{:?}", report.reasons);
    assert!(report.criteria().all(|criterion| criterion.verdict == Verdict::Passed));
    // Odd numbers: 5 with, all found; even: 5 with, 4 found.
    let of = |value: &str| {
        let group = figures.groups.iter().find(|group| group.group.value == value).unwrap();
        group.sensitivity.map(|found| (found.hits, found.of))
    };
    assert_eq!((of("M"), of("F")), (Some((5, 5)), Some((4, 5))));
}

#[test]
fn without_a_prevalence_predictive_values_are_those_among_the_studies() {
    let report = report_of(&PLAN.replace("prevalence = 0.1\n", ""), &site());
    let figures = &report.findings[0];
    assert!(figures.prevalence.estimated);
    near(figures.prevalence.value.unwrap(), 1.0 / 3.0);
    // 9 of 13 called positive have it, 16 of 17 called negative do not.
    near(figures.ppv.unwrap().value, 9.0 / 13.0);
    near(figures.npv.unwrap().value, 16.0 / 17.0);
    assert!(page(&report).contains("0.3333, counted among these studies"));
}

#[test]
fn a_flipped_label_changes_the_figures() {
    let mut cases = site();
    cases[0] = case(1, Some(false), 0.9);
    let figures = &report_of(PLAN, &cases).findings[0];
    let (se, sp) = (figures.sensitivity.unwrap(), figures.specificity.unwrap());
    assert_eq!((se.hits, se.of, sp.hits, sp.of), (8, 9, 16, 21));
    // 8 positives above 20 of 21 and level with one; the last above 16.
    near(figures.auroc.unwrap().value, (8.0 * 20.5 + 16.0) / 189.0);
    assert_eq!(figures.false_alarms, [1, 27, 28, 29, 30]);
}

#[test]
fn images_of_one_patient_are_no_independent_evidence() {
    let mut cases = site();
    // Ten images of two patients, one of whom is missed once.
    cases.iter_mut().take(10).for_each(|case| case.patient = 100 + case.number % 2);
    let report = report_of(PLAN, &cases);
    let alone = report_of(PLAN, &site()).findings[0].sensitivity.unwrap();
    let found = report.findings[0].sensitivity.unwrap();
    assert_eq!((found.hits, found.of, found.patients), (9, 10, 2));
    assert!(found.effective < 10.0 && found.estimate.low < alone.estimate.low, "{found:?}");
    assert!(page(&report).contains("Clopper-Pearson, by patient"));
    assert_eq!(report.studies.patients, 22);
}

#[test]
fn too_few_cases_are_said_with_the_number_that_is_needed_and_never_pass() {
    let cases: Vec<Case> = site().into_iter().filter(|c| c.number < 4 || c.number > 10).collect();
    let report = report_of(PLAN, &cases);
    let criterion = &report.findings[0].criteria[0];
    // Three of three found: the exact interval is [0.292, 1].
    assert_eq!(criterion.verdict, Verdict::NotEnoughCases);
    near(criterion.found.unwrap().low, 0.025f64.cbrt());
    // Six of six: [0.541, 1], narrower than 0.5.
    assert_eq!(criterion.cases.unwrap().needed, Some(6));
    assert!(!report.accepted);
    assert_eq!(report.reasons, ["sensitivity of Mass: not enough cases"]);
    assert!(page(&report).contains("not enough cases"));
}

#[test]
fn images_that_count_for_nothing_are_counted() {
    let mut cases = site();
    cases[1].truths.insert("Mass".into(), None);
    cases[2].answer.refused = Some("view".into());
    cases[2].answer.findings.clear();
    let report = report_of(PLAN, &cases);
    let figures = &report.findings[0];
    assert_eq!((figures.counts.uncertain, figures.counts.not_analysed), (1, 1));
    assert_eq!(figures.sensitivity.map(|found| (found.hits, found.of)), Some((7, 8)));
    // The one that was not analysed counts as missed.
    assert_eq!(figures.sensitivity_of_all.map(|found| (found.hits, found.of)), Some((7, 9)));
    assert_eq!(report.studies.not_analysed, BTreeMap::from([("view".to_owned(), 1)]));
    near(report.limits[0].found.unwrap().value, 1.0 / 30.0);
    assert_eq!(report.times.unwrap().count, 89);
}

#[test]
fn another_answer_to_the_same_image_is_not_accepted() {
    let mut cases = site();
    cases[4].again[1].digest = "other".into();
    let report = report_of(PLAN, &cases);
    assert_eq!(report.repeatability.different, [5]);
    assert_eq!(
        report.reasons,
        ["repeatability: 1 images had another answer when they were sent again"]
    );
}

#[test]
fn a_window_setting_has_its_changes_and_flips() {
    let mut cases = site();
    for (at, probability) in [(0, 0.4), (1, 0.95), (10, 0.6)] {
        let answer = case(1, None, probability).answer;
        cases[at].windows = vec![("width +10 %".into(), answer)];
    }
    let report = report_of(PLAN, &cases);
    let effect = &report.windows[0];
    let change = &effect.findings[0];
    assert_eq!((effect.images, effect.refused), (3, 0));
    assert_eq!((change.to_positive, change.to_negative), (1, 1));
    assert!((change.mean - 0.05 / 3.0).abs() < 1e-6 && (change.largest - 0.5).abs() < 1e-6);
    assert_eq!(page(&report).matches("class=\"dot\"").count(), 3);
}

#[test]
fn a_report_is_read_again_and_draws_the_same_page() {
    let report = report_of(PLAN, &site());
    let json = report.json();
    let read = Report::parse(&json).unwrap();
    assert_eq!(page(&read), page(&report));
    let html = page(&report);
    assert!(html.contains("St. &lt;Elsewhere&gt;") && !html.contains("<Elsewhere>"));
    for expected in
        ["0.900 [0.555, 0.997], 9 of 10", "no difference shown", "0.950 [0.920, 0.980], 400 images"]
    {
        assert!(html.contains(expected), "{expected}");
    }
    assert!(!html.contains("http://") && !html.contains("<script"));
    let newer = String::from_utf8(json).unwrap().replacen("\"format\": 1", "\"format\": 2", 1);
    let error = Report::parse(newer.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "format 2, expected 1: made for a newer program");
    assert!(Report::parse(b"{}").is_err());
}

static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| report_of(PLAN, &site()[..12]).json());

proptest! {
    #[test]
    fn noise_is_a_plan_or_an_error(text in "\\PC{0,200}", at in 0..PLAN.len(), cut in 0usize..40) {
        let _ = Plan::parse(&text, Path::new(""));
        let end = (at + cut).min(PLAN.len());
        let _ = Plan::parse(&[&PLAN[..at], &text, &PLAN[end..]].concat(), Path::new(""));
    }

    #[test]
    fn a_damaged_report_is_an_error_or_draws_some_page(at in 0usize..6000, byte in any::<u8>()) {
        let mut json = WHOLE.clone();
        let at = at % json.len();
        json[at] = byte;
        if let Ok(report) = Report::parse(&json) {
            prop_assert!(page(&report).ends_with("</html>\n"));
        }
    }
}
