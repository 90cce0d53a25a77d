//! What is about the whole test.

use super::{
    elements::{Cell, Page, class, escaped, estimate, figure, none, numbers},
    plots,
};
use crate::{Criterion, Pulled, Report, Verdict};
use std::{collections::BTreeMap, fmt::Write};

pub(super) fn head(page: &mut Page, report: &Report) -> std::fmt::Result {
    let (class, word) = match report.accepted {
        true => (class(Verdict::Passed), "Accepted by the criteria of the plan"),
        false => (class(Verdict::Failed), "Not accepted"),
    };
    writeln!(page.0, "<p class=\"verdict {class}\">{word}</p>")?;
    if !report.reasons.is_empty() {
        page.0.write_str("<ul>")?;
        for reason in &report.reasons {
            write!(page.0, "<li>{}</li>", escaped(reason))?;
        }
        page.0.write_str("</ul>\n")?;
    }
    let conditions = &report.conditions;
    let bundle = &report.bundle;
    let signed = bundle.signed_by.as_ref().map_or("by nobody who is trusted", |key| key.as_str());
    let spool = if conditions.spool_in_memory { "; the spool lay in memory" } else { "" };
    let row = |what: &str, value: String| -> Vec<Cell> { vec![what.into(), value.into()] };
    page.table(
        "What was tested",
        &["", ""],
        [
            row("site", report.site.clone()),
            row("person", report.person.clone()),
            row("began, ended", format!("{}, {}", conditions.began, conditions.ended)),
            row("bundle", format!("{} {}", bundle.id, bundle.version)),
            row("its contents, SHA-256", bundle.digest.clone()),
            row("signed by", signed.to_owned()),
            row("intended use", bundle.intended_use.clone()),
            row("program", conditions.program.clone()),
            row(
                "machine",
                format!(
                    "{}, {}, threads: {}{spool}",
                    conditions.processor, conditions.instructions, conditions.threads
                ),
            ),
            row("plan, SHA-256", conditions.plan.clone()),
            row("configuration, SHA-256", conditions.configuration.clone().unwrap_or_else(none)),
            row("labels, SHA-256", conditions.truth.clone()),
            row("images, SHA-256", report.studies.digest.clone()),
        ],
    )
}

pub(super) fn criteria(page: &mut Page, report: &Report) -> std::fmt::Result {
    page.heading(2, "Criteria")?;
    let repeated = &report.repeatability;
    let verdict = match (repeated.is_exact(), repeated.repeats) {
        (true, _) => Verdict::Passed,
        (false, 0) => Verdict::NotEnoughCases,
        (false, _) => Verdict::Failed,
    };
    let repeatability = vec![
        Cell::from("repeatability"),
        "the same to the bit".into(),
        format!("{} of {} images differ", repeated.different.len(), repeated.images).into(),
        none().into(),
        Cell::Verdict(verdict),
    ];
    let direct = report.direct.as_ref().map(|direct| {
        let verdict = if direct.is_exact() { Verdict::Passed } else { Verdict::Failed };
        vec![
            Cell::from("daemon beside analyzer"),
            "the same to the bit".into(),
            format!("{} of {} images differ", direct.different.len(), direct.images).into(),
            none().into(),
            Cell::Verdict(verdict),
        ]
    });
    let rows = report.criteria().map(criterion).chain([repeatability]).chain(direct);
    let head =
        ["", "wanted", "found, 95 % interval", "independent images: there, needed", "verdict"];
    page.table("Criteria", &head, rows)?;
    page.note(&format!(
        "A minimum counts by the lower end of the interval. \"Not shown\": the minimum lies within the interval. \"Not \
         enough cases\": the interval is wider than {}; as many independent images as are needed would give one as \
         narrow, if what was found stays. Images of one patient are worth less than as many of several.",
        report.interval_width
    ))
}

fn criterion(criterion: &Criterion) -> Vec<Cell> {
    let cases = criterion.cases.map(|cases| {
        let needed = cases.needed.map_or("more than ten million".into(), |n| n.to_string());
        format!("{:.0}, {needed}", cases.effective)
    });
    let found = match (&criterion.found, criterion.cases) {
        (Some(found), None) => figure(Some(found.value)),
        (found, _) => estimate(found.as_ref()),
    };
    vec![
        criterion.what.as_str().into(),
        criterion.wanted.as_str().into(),
        found.into(),
        cases.unwrap_or_else(none).into(),
        Cell::Verdict(criterion.verdict),
    ]
}

pub(super) fn studies(page: &mut Page, report: &Report) -> std::fmt::Result {
    let studies = &report.studies;
    page.heading(2, "Studies")?;
    let row = |what: &str, count: u64, why: String| -> Vec<Cell> {
        vec![what.into(), count.to_string().into(), why.into()]
    };
    let sum = |of: &BTreeMap<String, u64>| of.values().sum::<u64>();
    page.table(
        "Studies",
        &["", "images", ""],
        [
            row("sent", studies.images, format!("of {} patients", studies.patients)),
            row(
                "sent and not analysed",
                sum(&studies.not_analysed),
                reasons(&studies.not_analysed),
            ),
            row("not sent: without a label", studies.without_labels, String::new()),
            row(
                "not sent: cannot be sent",
                sum(&studies.not_sendable),
                reasons(&studies.not_sendable),
            ),
        ],
    )?;
    studies.pulled.as_ref().map_or(Ok(()), |pulled| asked_for(page, pulled))
}

/// What an archive was asked for, and what did not come.
fn asked_for(page: &mut Page, pulled: &Pulled) -> std::fmt::Result {
    page.heading(3, "Pulled from the archive")?;
    let whole = pulled.studies - pulled.missing.len() as u64;
    page.text(&format!(
        "By {}. Studies that the labels name: {}; that came whole: {whole}; images that came: {}. A study that did not \
         come is in no figure, and never counts as negative.",
        pulled.by, pulled.studies, pulled.images
    ))?;
    if !pulled.left_out.is_empty() {
        page.note(&format!("Series not asked for, by modality: {}.", reasons(&pulled.left_out)))?;
    }
    if pulled.unasked > 0 {
        page.note(&format!("Objects that came unasked, and were dropped: {}.", pulled.unasked))?;
    }
    if pulled.missing.is_empty() {
        return Ok(());
    }
    let rows = pulled.missing.iter().map(|missing| -> Vec<Cell> {
        let of = missing.of.map_or("unknown".into(), |of| of.to_string());
        let came = format!("{} of {of}", missing.came);
        vec![missing.line.to_string().into(), came.into(), missing.why.as_str().into()]
    });
    let head = ["line of the labels", "images that came", "why"];
    page.table("Asked for, and did not come whole", &head, rows)
}

fn reasons(of: &BTreeMap<String, u64>) -> String {
    of.iter().map(|(why, count)| format!("{why}: {count}")).collect::<Vec<_>>().join("; ")
}

pub(super) fn repeatability(page: &mut Page, report: &Report) -> std::fmt::Result {
    let repeated = &report.repeatability;
    page.heading(2, "Repeatability")?;
    page.text(&format!(
        "{} images were sent again, {} times in all, each time as another instance with the same pixels. What was said \
         was compared by SHA-256 over all of it, masks and boxes included. Images with another answer: {}.",
        repeated.images,
        repeated.repeats,
        numbers(&repeated.different)
    ))?;
    let Some(direct) = &report.direct else { return Ok(()) };
    page.text(&format!(
        "{} images were also given to the network directly, without the daemon, and compared in the same way. Images \
         with another answer: {}.",
        direct.images,
        numbers(&direct.different)
    ))
}

pub(super) fn windows(page: &mut Page, report: &Report) -> std::fmt::Result {
    page.heading(2, "Window settings")?;
    page.text(
        "Images were sent again with another window centre (shifted by a share of the width), another width, and the \
         photometric interpretation exchanged, as a modality or a gateway that is set up otherwise would send them. What \
         changes here is how much the answers depend on that setting.",
    )?;
    if !report.windows_left_out.is_empty() {
        page.note(&format!("Not tried: {}.", reasons(&report.windows_left_out)))?;
    }
    if report.windows.is_empty() {
        return page.text("No image was tried.");
    }
    for figures in &report.findings {
        let rows = report.windows.iter().filter_map(|effect| {
            let own = effect.findings.iter().find(|change| change.name == figures.name)?;
            let cells: [String; 6] = [
                effect.images.to_string(),
                effect.refused.to_string(),
                format!("{:+.3}", own.mean),
                format!("{:.3}", own.largest),
                own.to_positive.to_string(),
                own.to_negative.to_string(),
            ];
            let first = Cell::from(&effect.setting);
            Some([first].into_iter().chain(cells.into_iter().map(Cell::Text)).collect())
        });
        let name = &figures.name;
        page.heading(3, name)?;
        let head = [
            "",
            "images",
            "analysed one way only",
            "mean change",
            "largest change",
            "to positive",
            "to negative",
        ];
        page.table(&format!("Window settings and {name}"), &head, rows)?;
        plots::window_effect(page, &report.windows, name)?;
    }
    Ok(())
}

pub(super) fn times(page: &mut Page, report: &Report) -> std::fmt::Result {
    page.heading(2, "Time to the result")?;
    let Some(times) = &report.times else { return page.text("Nothing was analysed.") };
    let [before, after] =
        report.conditions.load.each_ref().map(|load| load.as_deref().unwrap_or("unknown"));
    page.text(&format!(
        "{} images and repetitions, one at a time: median {:.3} s, 95th percentile {:.3} s, longest {:.3} s. The \
         machine's load average was {before} before the test and {after} after it.",
        times.count, times.median, times.p95, times.longest
    ))?;
    plots::times(page, times)
}

pub(super) fn method(page: &mut Page, report: &Report) -> std::fmt::Result {
    page.heading(2, "Method")?;
    page.text(
        "Every image went to the daemon by C-STORE, as a modality sends it, one after the other. The daemon is the \
         program that serves this box, with its configuration and its bundle, on a spool of its own and by a door on \
         loopback without TLS; nothing was delivered to an archive. Labels are the site's. Whether these images are \
         like those that will come is for the site to judge: figures of a selection hold for such a selection.",
    )?;
    page.text(
        "Shares have Clopper and Pearson's exact interval; with several images of a patient, that of as many images as \
         they are worth (Korn and Graubard 1998). AUROC has the 2.5th to 97.5th percentile of 1000 resamples of \
         patients. Predictive values at a told prevalence have the interval of Mercaldo, Lau and Zhou (2007), \
         doi:10.1002/sim.2677. Differences are by square-and-add (MOVER). No correction is made for many comparisons.",
    )?;
    page.text(
        "What is tested follows: Mahmood et al. 2024, quality assurance, quality control and acceptance testing, \
         doi:10.1093/bjrai/ubae003; AAPM Task Group report 273 (Hadjiiski et al. 2023), doi:10.1002/mp.16188; Ketola et \
         al. 2024, testing process for AI applications in radiology practice, doi:10.1016/j.ejmp.2024.104842. The ACR's \
         programme ARCH-AI and the ACR-SIIM practice parameter for imaging AI (2026) ask for local acceptance testing \
         and for monitoring afterwards; this report is no recognition by them.",
    )?;
    page.note(&format!("Report format {}. Not for diagnostic use.", report.format))
}

pub(super) fn sign_off(page: &mut Page, report: &Report) -> std::fmt::Result {
    page.heading(2, "Sign-off")?;
    let person = escaped(&report.person);
    write!(page.0, "<div class=\"grid\">")?;
    for what in [format!("{person}, date, signature"), "Radiologist, date, signature".to_owned()] {
        write!(page.0, "<div><div class=\"line\"></div><p class=\"dim\">{what}</p></div>")?;
    }
    page.0.write_str("</div>\n")
}
