//! Why a bundle runs or does not, for whoever sent it: the boot record's words and the end of both logs.

use super::{Logs, journal};
use protocol::{BootRecord, Journal, SlotState};
use std::path::Path;

/// Log lines that go with a failure.
const LINES: u64 = 20;

pub(super) fn success(record: &BootRecord, packs: &str) -> Vec<String> {
    vec![format!("confirmed: {}; packs: {packs}", running(record))]
}

/// A headline, why by the boot record, what runs now, the end of both logs.
pub(super) fn failure(headline: &str, record: &BootRecord, slots: &Path) -> Vec<String> {
    let mut details = vec![headline.to_owned()];
    if let Some(failure) = &record.last_failure {
        let bundle = failure
            .bundle
            .as_ref()
            .map_or_else(String::new, |bundle| format!(" with {} {}", bundle.id, bundle.release));
        details.push(format!("slot {}{bundle}: {}", failure.slot, failure.cause));
        details.extend(failure.detail.split(" | ").map(str::to_owned));
    }
    details.push(format!("now: {}", running(record)));
    let (_, end, _) = Logs::global().since(u64::MAX, 0);
    let (lines, ..) = Logs::global().since(end.saturating_sub(LINES), LINES as usize);
    details.extend(lines.iter().map(|line| format!("log: {:?} {}", line.level, line.message)));
    match journal::read(slots, Journal::Daemon) {
        Ok(lines) => {
            let end = lines.iter().skip(lines.len().saturating_sub(LINES as usize));
            details.extend(end.map(|line| format!("daemon: {:?} {}", line.level, line.message)));
        }
        Err(error) => details.push(format!("the daemon's log cannot be read: {error}")),
    }
    details
}

pub(super) fn running(record: &BootRecord) -> String {
    let Some((id, slot)) = record.running() else { return "no slot runs".into() };
    let state = if slot.state == SlotState::Confirmed { "confirmed" } else { "on trial" };
    let bundle = slot.bundle.as_ref().map_or_else(String::new, |bundle| {
        format!(" {} {}, digest {}", bundle.id, bundle.release, bundle.digest)
    });
    format!("slot {id} runs{bundle}, {state}")
}
