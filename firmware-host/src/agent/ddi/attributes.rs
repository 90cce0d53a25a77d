//! What the server is told of the box.

use crate::agent::Agent;
use crate::agent::evidence::running;
use crate::agent::fleet::Fleet;
use protocol::SlotState;
use std::collections::BTreeMap;

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
        ("packs", agent.running_packs()),
    ]);
    found.extend(info.board.map(|board| ("board", board)));
    // The bundle that is confirmed: one on trial may be gone in a minute.
    let installed = record.running().and_then(|(_, slot)| match slot.state {
        SlotState::Confirmed => slot.bundle.as_ref(),
        _ => record.slot(record.fallback()?).bundle.as_ref(),
    });
    if let Some(bundle) = installed {
        found.insert("sw_version", bundle.release.to_string());
        found.insert("bundle", bundle.id.clone());
        found.insert("bundle_digest", bundle.digest.to_string());
    }
    if let Some(failure) = &record.last_failure {
        found.insert("last_failure", format!("slot {}, {}", failure.slot, failure.cause));
    }
    found
}

/// What must change before the server is told again: free space alone is no news.
pub(super) fn identity(attributes: &BTreeMap<&'static str, String>) -> String {
    let lasting = attributes.iter().filter(|(name, _)| **name != "disk_free_mib");
    lasting.map(|(name, value)| format!("{name}={value}\n")).collect()
}
