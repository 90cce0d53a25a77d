//! The report as one page that needs nothing else: no script, nothing from elsewhere, made to be printed.
//!
//! The same report gives the same bytes.

mod elements;
mod findings;
mod plots;
mod whole;

use crate::Report;
use elements::{Page, escaped};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// The page of a report.
pub fn page(report: &Report) -> String {
    let mut page = Page::default();
    write(&mut page, report).expect("a string takes all that is written to it");
    page.0
}

fn write(page: &mut Page, report: &Report) -> std::fmt::Result {
    let site = escaped(&report.site);
    write!(
        page.0,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Acceptance test: {site}</title><style>{STYLE}</style></head>\n<body><main>\n\
         <h1>Acceptance test of a chest X-ray AI</h1>\n"
    )?;
    whole::head(page, report)?;
    whole::criteria(page, report)?;
    whole::studies(page, report)?;
    for figures in &report.findings {
        findings::finding(page, report, figures)?;
    }
    whole::repeatability(page, report)?;
    whole::windows(page, report)?;
    whole::times(page, report)?;
    whole::method(page, report)?;
    whole::sign_off(page, report)?;
    page.0.write_str("</main></body></html>\n")
}
