//! What the server is told of the box: attributes, and the reason for success or failure.

use crate::agent::fleet::Fleet;
use crate::agent::{Agent, Logs};
use protocol::{BootRecord, SlotState};
use std::collections::BTreeMap;

/// Log lines that go with a failure.
const LINES: u64 = 20;

pub(super) fn success(record: &BootRecord) -> Vec<String> {
    vec![format!("confirmed: {}", running(record))]
}

/// A headline, why by the boot record, what runs now, the end of the log.
pub(super) fn failure(headline: &str, record: &BootRecord) -> Vec<String> {
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
    details
}

fn running(record: &BootRecord) -> String {
    let Some((id, slot)) = record.running() else { return "no slot runs".into() };
    let state = if slot.state == SlotState::Confirmed { "confirmed" } else { "on trial" };
    let bundle = slot.bundle.as_ref().map_or_else(String::new, |bundle| {
        format!(" {} {}, digest {}", bundle.id, bundle.release, bundle.digest)
    });
    format!("slot {id} runs{bundle}, {state}")
}

/// Names that other tools know (`hw_*`, `sw_version`), then ours.
pub(super) fn attributes(agent: &Agent, fleet: &Fleet) -> BTreeMap<&'static str, String> {
    let info = agent.info();
    let record = agent.slots().record().clone();
    let mut found = BTreeMap::from([
        ("hw_boardname", fleet.board.clone()),
        ("hw_revision", fleet.revision.clone()),
        // Not "device": gooseBit 0.2.12 answers 500 to an attribute of that name.
        ("box", info.device),
        ("agent", info.agent),
        ("system", info.system),
        ("machine", info.machine),
        ("disk_free_mib", (info.disk_free >> 20).to_string()),
        ("floor", record.floor.to_string()),
        ("slot", record.active.map_or_else(|| "none".into(), |id| id.to_string())),
        ("runs", running(&record)),
    ]);
    found.extend(info.board.map(|board| ("board", board)));
    if let Some(bundle) = installed(&record) {
        found.insert("sw_version", bundle.release.to_string());
        found.insert("bundle", bundle.id.clone());
        found.insert("bundle_digest", bundle.digest.to_string());
    }
    if let Some(failure) = &record.last_failure {
        found.insert("last_failure", format!("slot {}, {}", failure.slot, failure.cause));
    }
    found
}

/// The bundle that is confirmed: one on trial may be gone in a minute.
fn installed(record: &BootRecord) -> Option<&protocol::Bundle> {
    let (_, slot) = record.running()?;
    match slot.state {
        SlotState::Confirmed => slot.bundle.as_ref(),
        _ => record.slot(record.fallback()?).bundle.as_ref(),
    }
}

/// What must change before the server is told again: free space alone is no news.
pub(super) fn identity(attributes: &BTreeMap<&'static str, String>) -> String {
    let lasting = attributes.iter().filter(|(name, _)| **name != "disk_free_mib");
    lasting.map(|(name, value)| format!("{name}={value}\n")).collect()
}
