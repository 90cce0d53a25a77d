//! A site's acceptance test, without the daemon: what is planned, what is true, what follows, what is filed.
//!
//! ```text
//! plan       acceptance.toml → Plan, checked
//! truth      a table of labels + the images that are there → what is true of each
//! asked      the same table → the studies to pull from an archive; `pulled` → what became of them
//! case       one image: truth, answer, answers again                       (the daemon's: crate `runtime`)
//! figures    cases → sensitivity, specificity, AUROC, predictive values, subgroups; claims beside them
//! effects    cases → repeatability, window settings, times
//! verdict    a figure and a minimum → passed, failed, not shown, not enough cases
//! report     all of it, as JSON; accepted or not, and why
//! html       the report → one page that needs nothing else
//! signature  over both
//! ```
//!
//! Every statistic is of crate `metrics`. No sockets, no clock, no files.

mod asked;
mod case;
mod claims;
mod effects;
mod error;
mod figures;
mod html;
mod plan;
mod pulled;
mod report;
mod signature;
mod truth;
mod verdict;

pub use asked::{Asked, StudyName, read as read_asked};
pub use case::{Answer, Case, Group, Said};
pub use claims::{Agreement, Bundle, Claim, Metric, OperatingPoint};
pub use effects::{Change, Direct, Repeatability, Times, WindowEffect};
pub use error::AcceptanceError;
pub use figures::{Counts, Figures, Prevalence, Subgroup};
pub use html::page;
pub use metrics::Estimate;
pub use plan::{Daemon, Files, Finding, Limits, Plan, Studies as PlannedStudies, Test};
pub use pulled::{Missing, Pulled};
pub use report::{Conditions, FORMAT, Report, Row, Studies};
pub use signature::{sha256, sign, verify};
pub use truth::{Known, Truths, check_names, read as read_labels, read_pulled};
pub use verdict::{Cases, Criterion, Verdict};
