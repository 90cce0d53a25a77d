//! The facts for `/metrics`.

use super::{Descriptors, Facts, Word, judge};
use crate::{
    exposures::Exposed,
    metrics::{Gauge, Labelled},
    shadow,
};
use std::{path::Path, time::Duration};

/// Name, help, value.
pub(crate) fn gauges(facts: &Facts) -> Vec<Gauge> {
    let health = judge(facts);
    let seconds = |age: Option<Duration>| age.unwrap_or_default().as_secs();
    let queue = facts.queue;
    let mut gauges = vec![
        ("cxr_healthy", "1 if /health says ok", u64::from(health.word == Word::Ok)),
        ("cxr_ready", "1 if a bundle answers", u64::from(facts.model.bundle.is_some())),
        (
            "cxr_worker_late_seconds",
            "How long the worker has not moved",
            facts.worker_late.as_secs(),
        ),
        ("cxr_queue_waiting", "Images waiting", queue.waiting as u64),
        ("cxr_queue_running", "Images being analysed", queue.running as u64),
        ("cxr_queue_answered", "Answered images on disk", queue.answered as u64),
        (
            "cxr_oldest_waiting_seconds",
            "Age of the oldest image waiting",
            seconds(facts.ages.waiting),
        ),
        (
            "cxr_oldest_running_seconds",
            "Age of the image being analysed",
            seconds(facts.ages.running),
        ),
        ("cxr_spool_bytes", "Bytes of everything in the spool", queue.bytes),
    ];
    if let Ok(disk) = &facts.disk {
        gauges.push(("cxr_disk_bytes", "Bytes of the spool's disk", disk.bytes));
        gauges.push(("cxr_disk_free_bytes", "Bytes free on the spool's disk", disk.free));
    }
    if let Some(Descriptors { open, limit }) = facts.descriptors {
        gauges.push(("cxr_descriptors_open", "File descriptors open", open));
        gauges.push(("cxr_descriptors_limit", "File descriptors allowed", limit));
    }
    if let Some(delivery) = facts.delivery {
        gauges.push(("cxr_undelivered", "Results on their way", delivery.undelivered as u64));
        gauges.push((
            "cxr_oldest_undelivered_seconds",
            "Age of the oldest",
            delivery.oldest_seconds,
        ));
        gauges.push(("cxr_dead_letters", "Results nobody takes", delivery.dead as u64));
    }
    gauges.push(("cxr_threads", "Threads for one image", facts.compute.threads as u64));
    gauges.push((
        "cxr_threads_working",
        "Threads that work: fewer while the machine is too hot",
        facts.compute.working as u64,
    ));
    gauges.extend(facts.exposures.iter().flat_map(Exposed::gauges));
    gauges.extend(facts.shadow.iter().flat_map(shadow::Status::gauges));
    gauges.extend(facts.drift.gauges());
    gauges
}

/// The same with labels.
pub(crate) fn labelled(facts: &Facts) -> Vec<Labelled> {
    let days = facts.certificates.iter().filter_map(|expiry| {
        let labels = vec![("what", expiry.what.clone()), ("file", file_name(&expiry.file))];
        Some((labels, expiry.days?))
    });
    let certificates = Labelled {
        name: "cxr_certificate_days_left",
        help: "Days until a configured certificate expires; negative if it has",
        rows: days.collect(),
    };
    vec![certificates, facts.drift.labelled()]
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
