//! One finding: its figures, each with its method, beside what the bundle claims, in subgroups.

use super::{
    elements::{Cell, Page, change, estimate, figure, none, numbers, share},
    plots,
};
use crate::{Figures, Report};
use metrics::proportion::Proportion;

pub(super) fn finding(page: &mut Page, report: &Report, figures: &Figures) -> std::fmt::Result {
    page.heading(2, &figures.name)?;
    let threshold = figures.threshold.map_or_else(none, |threshold| threshold.to_string());
    let chosen = figures.chosen.as_deref().filter(|chosen| !chosen.is_empty());
    let chosen = chosen.map(|chosen| format!(", {chosen}")).unwrap_or_default();
    page.text(&format!("Positive from a probability of {threshold} on{chosen}."))?;
    measures(page, figures)?;
    if !figures.roc.is_empty() {
        plots::roc(page, figures)?;
    }
    claims(page, figures)?;
    subgroups(page, report, figures)?;
    page.heading(3, "Images to look at")?;
    page.table(
        "Images to look at",
        &["", "numbers"],
        [
            vec![Cell::from("missed"), numbers(&figures.missed).into()],
            vec![Cell::from("false alarms"), numbers(&figures.false_alarms).into()],
        ],
    )
}

fn measures(page: &mut Page, figures: &Figures) -> std::fmt::Result {
    let counts = figures.counts;
    let prevalence = figures.prevalence;
    let at = prevalence.value.map_or_else(none, |value| format!("{value:.4}"));
    let (at, method) = match prevalence.estimated {
        true => {
            (format!("{at}, counted among these studies"), "Clopper-Pearson, of images called so")
        }
        false => (format!("{at}, told by the site"), "delta method on the logit scale"),
    };
    let exact = |found: Option<Proportion>| match found {
        Some(found) if found.patients < found.of => "Clopper-Pearson, by patient",
        _ => "Clopper-Pearson",
    };
    let ranked = match figures.auroc {
        Some(auroc) if auroc.low == auroc.high => {
            "bootstrap over patients: of a perfect order it has no width, so it says nothing"
        }
        _ => "bootstrap over patients, 1000 resamples",
    };
    let row = |what: &str, value: String, method: &str| -> Vec<Cell> {
        vec![what.into(), value.into(), method.into()]
    };
    let mut rows = vec![
        row("sensitivity", share(figures.sensitivity.as_ref()), exact(figures.sensitivity)),
        row("specificity", share(figures.specificity.as_ref()), exact(figures.specificity)),
        row("AUROC", estimate(figures.auroc.as_ref()), ranked),
        row("prevalence", at, ""),
        row("positive predictive value", estimate(figures.ppv.as_ref()), method),
        row("negative predictive value", estimate(figures.npv.as_ref()), method),
    ];
    if counts.not_analysed > 0 {
        let wrong = "an image that was not analysed counts as wrong";
        rows.push(row("sensitivity of all", share(figures.sensitivity_of_all.as_ref()), wrong));
        rows.push(row("specificity of all", share(figures.specificity_of_all.as_ref()), wrong));
    }
    page.table(
        &format!("Figures of {}", figures.name),
        &["", "with 95 % interval", "interval by"],
        rows,
    )?;
    let images =
        counts.true_positive + counts.false_negative + counts.true_negative + counts.false_positive;
    page.note(&format!(
        "{images} images of {} patients. With the finding: {} called positive, {} missed. Without: {} called negative, \
         {} called positive. Left out: {} whose truth nobody was certain of, {} that were not analysed.",
        counts.patients,
        counts.true_positive,
        counts.false_negative,
        counts.true_negative,
        counts.false_positive,
        counts.uncertain,
        counts.not_analysed
    ))
}

fn claims(page: &mut Page, figures: &Figures) -> std::fmt::Result {
    page.heading(3, "Beside what the bundle claims")?;
    if figures.claims.is_empty() {
        return page.text("The bundle claims no figure of this finding.");
    }
    let rows = figures.claims.iter().map(|claim| -> Vec<Cell> {
        vec![
            claim.what.as_str().into(),
            format!("{}, {} images", claim.claimed, claim.n).into(),
            claim.of.as_str().into(),
            claim.difference.as_ref().map_or_else(none, change).into(),
            claim.agreement.words().into(),
        ]
    });
    page.table(
        &format!("Claims about {}", figures.name),
        &["", "claimed", "on", "here less claimed", ""],
        rows,
    )
}

fn subgroups(page: &mut Page, report: &Report, figures: &Figures) -> std::fmt::Result {
    page.heading(3, "Subgroups")?;
    if figures.groups.is_empty() {
        return page.text("The headers tell neither sex, age, view nor machine.");
    }
    let rows = figures.groups.iter().map(|group| -> Vec<Cell> {
        let enough = (!group.enough).then(|| "not enough cases".to_owned());
        let differs =
            (!group.differs.is_empty()).then(|| format!("differs: {}", group.differs.join(", ")));
        vec![
            format!("{} {}", group.group.axis, group.group.value).into(),
            share(group.sensitivity.as_ref()).into(),
            share(group.specificity.as_ref()).into(),
            figure(group.auroc).into(),
            enough.into_iter().chain(differs).collect::<Vec<_>>().join("; ").into(),
        ]
    });
    page.table(
        &format!("Subgroups of {}", figures.name),
        &["", "sensitivity", "specificity", "AUROC", ""],
        rows,
    )?;
    page.note(&format!(
        "\"Not enough cases\": an interval wider than {}. \"Differs\": the interval of the difference from all other \
         images leaves out 0. One such interval in twenty does by chance, so among many subgroups some will.",
        report.interval_width
    ))
}
