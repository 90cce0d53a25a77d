//! A result in JSON beside what comes out now.

use super::verdict::Verdict;
use anyhow::Result;
use results::{NearSentence, Record, Segment};

/// In the order of the way from image to result. `now` has gone through JSON as `told` has.
pub(super) fn records(told: &Record, now: &Record, verdict: &mut Verdict) -> Result<()> {
    itself(told, verdict);
    let input = |record: &Record| record.account.as_ref().and_then(|account| account.input.clone());
    match (input(told), input(now)) {
        (None, None) if told.account.is_some() => {
            verdict.same("network input", "the network was not asked")
        }
        (told, Some(now)) => verdict.compare("network input", told.as_deref(), &now),
        (Some(_), None) => verdict.differs("network input", "now the network is not asked"),
        (None, None) => verdict.unknown("network input", "the result does not tell its digest"),
    }
    status(told, now, verdict);
    match (&told.embedding_digest, &now.embedding_digest) {
        (None, None) => {}
        (Some(told), Some(now)) => verdict.compare("embedding", Some(told), now),
        (Some(_), None) => verdict.differs("embedding", "now there is none"),
        (None, Some(_)) => verdict.unknown("embedding", "the result does not tell its digest"),
    }
    listed("findings", &told.findings, &now.findings, |finding| finding.name.clone(), verdict);
    match (&told.boxes, &now.boxes) {
        (None, None) => {}
        (told, now) => {
            let [told, now] = [told, now].map(|boxes| boxes.as_deref().unwrap_or_default());
            listed("boxes", told, now, |found| found.name.clone(), verdict);
        }
    }
    if !told.all_masks().is_empty() || !now.all_masks().is_empty() {
        listed("areas", told.all_masks(), now.all_masks(), |mask| mask.name.clone(), verdict);
    }
    language(told, now, verdict);
    masks(told, now, verdict)
}

/// Heat maps and sentences. What is shown of a result has no values: then their digest speaks.
fn language(told: &Record, now: &Record, verdict: &mut Verdict) {
    if !told.heat_maps.is_empty() || !now.heat_maps.is_empty() {
        let is_whole = told.heat_maps.iter().all(|heat| !heat.values.is_empty());
        let mut maps = now.heat_maps.clone();
        if !is_whole {
            maps.iter_mut().for_each(|heat| heat.values.clear());
        }
        listed("heat maps", &told.heat_maps, &maps, |heat| heat.name.clone(), verdict);
        let kept = told.account.as_ref().and_then(|account| account.heat.clone());
        match (kept, now.heat_digest()) {
            (None, None) => {}
            (Some(kept), Some(now)) => verdict.compare("heat maps' values", Some(&kept), &now),
            (Some(_), None) => verdict.differs("heat maps' values", "now there are none"),
            (None, Some(_)) if is_whole => {}
            (None, Some(_)) => {
                verdict.unknown("heat maps' values", "the result does not tell their digest")
            }
        }
    }
    if !told.nearest.is_empty() || !now.nearest.is_empty() {
        let name = |near: &NearSentence| near.sentence.clone();
        listed("nearest sentences", &told.nearest, &now.nearest, name, verdict);
    }
}

/// Whether the result is as it was written: its own digests.
fn itself(told: &Record, verdict: &mut Verdict) {
    let Some(account) = &told.account else {
        return verdict.unknown("result itself", "written before results had an account");
    };
    let parts = [
        ("what it says", &account.said, told.said()),
        ("when and about which study", &account.about, told.about()),
        ("how the image arrived", &account.arrival, told.arrival()),
    ];
    let changed =
        parts.iter().filter(|(_, kept, found)| kept.as_ref().is_some_and(|kept| kept != found));
    let changed: Vec<&str> = changed.map(|(what, ..)| *what).collect();
    if changed.is_empty() {
        verdict.same("result itself", "as it was written");
    } else {
        verdict.differs("result itself", format!("it was changed in {}", changed.join(", ")));
    }
}

fn status(told: &Record, now: &Record, verdict: &mut Verdict) {
    let said = |record: &Record| (record.status, record.reason.clone(), record.cause.clone());
    let words = |record: &Record| match &record.reason {
        Some(reason) => format!("not analysed: {reason}"),
        None => "analysed".to_owned(),
    };
    if said(told) == said(now) {
        verdict.same("status", words(now));
    } else {
        verdict.differs("status", format!("the result says {}, now {}", words(told), words(now)));
    }
    let bundle = |record: &Record| (record.bundle.id.clone(), record.bundle.version.clone());
    if bundle(told) != bundle(now) && told.bundle.digest == now.bundle.digest {
        let (told, now) = (bundle(told), bundle(now));
        verdict.differs("bundle's name", format!("the result says {told:?}, it is {now:?}"));
    }
}

/// A list, and in what its first difference lies.
fn listed<T: PartialEq + std::fmt::Debug>(
    part: &str,
    told: &[T],
    now: &[T],
    name: impl Fn(&T) -> String,
    verdict: &mut Verdict,
) {
    if told == now {
        return verdict.same(part, format!("all {}", now.len()));
    }
    let different: Vec<String> = told
        .iter()
        .zip(now)
        .filter(|(told, now)| told != now)
        .map(|(told, now)| format!("{}: the result says {told:?}, now {now:?}", name(now)))
        .collect();
    let counts = (told.len() != now.len())
        .then(|| format!("{} in the result, {} now", told.len(), now.len()));
    let all: Vec<String> = counts.into_iter().chain(different).collect();
    verdict.differs(part, all.join("; "));
}

/// Pixel by pixel where the result has them, else by their digest.
fn masks(told: &Record, now: &Record, verdict: &mut Verdict) -> Result<()> {
    let now_digest = now.masks_digest()?;
    let kept = told.account.as_ref().and_then(|account| account.masks.clone());
    for (at, segment) in told.segments.iter().enumerate() {
        let part = format!("mask {}", segment.name);
        match now.segments.get(at).map(|now| different_pixels(segment, now)) {
            None => verdict.differs(&part, "now there is none"),
            Some(Err(why)) => verdict.differs(&part, why),
            Some(Ok(0)) => verdict.same(&part, "every pixel"),
            Some(Ok(pixels)) => verdict.differs(&part, format!("{pixels} pixels")),
        }
    }
    match (kept, now_digest) {
        (None, None) => {}
        (Some(kept), Some(now)) => verdict.compare("masks", Some(&kept), &now),
        (Some(_), None) => verdict.differs("masks", "now there are none"),
        (None, Some(_)) if told.segments.is_empty() => {
            verdict.unknown("masks", "the result does not tell their digest")
        }
        (None, Some(_)) => {}
    }
    Ok(())
}

fn different_pixels(told: &Segment, now: &Segment) -> Result<u32, String> {
    let size = |segment: &Segment| (segment.name.clone(), segment.rows, segment.columns);
    if size(told) != size(now) {
        return Err(format!("the result says {:?}, now {:?}", size(told), size(now)));
    }
    let bits =
        |segment: &Segment| segment.packed().map_err(|error| format!("it is damaged: {error}"));
    let (told, now) = (bits(told)?, bits(now)?);
    Ok(told.iter().zip(&now).map(|(told, now)| (told ^ now).count_ones()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use results::{Account, BundleId};

    fn record(mask: &[u8]) -> Record {
        Record {
            segments: vec![Segment::pack("lung", [2, 3], mask)],
            account: Some(Account::new("ab".repeat(32), Some("cd".repeat(32)))),
            ..Record::not_analysed("x.dcm".into(), BundleId::default(), "none".into())
        }
        .accounted()
        .unwrap()
    }

    fn differs(told: &Record, now: &Record) -> Vec<(String, String)> {
        let mut verdict = Verdict::default();
        records(told, now, &mut verdict).unwrap();
        verdict.differs_in().map(|part| (part.part.clone(), part.said.clone())).collect()
    }

    #[test]
    fn one_pixel_of_a_mask_is_found_and_counted() {
        let now = record(&[0, 1, 1, 0, 1, 0]);
        assert!(differs(&now, &now).is_empty());
        let mut told = now.clone();
        told.segments = record(&[0, 1, 1, 0, 1, 1]).segments;
        assert_eq!(differs(&told, &now), [("mask lung".to_owned(), "1 pixels".to_owned())]);
        // Without its pixels, as people see a result, by the digest.
        let shown = record(&[0, 1, 1, 0, 1, 1]).shown();
        let found = differs(&shown, &now);
        assert_eq!((found.len(), &*found[0].0), (1, "masks"), "{found:?}");
    }

    #[test]
    fn what_was_changed_after_it_was_written_is_named() {
        let now = record(&[0; 6]);
        type Change = fn(&mut Record);
        let changes: [(Change, &str); 3] = [
            (|record| record.reason = Some("other".into()), "what it says"),
            (|record| record.analysed = Some("2026".into()), "when and about which study"),
            (|record| record.received = Some("2026".into()), "how the image arrived"),
        ];
        for (change, named) in changes {
            let mut told = now.clone();
            change(&mut told);
            let found = differs(&told, &now);
            assert!(found[0].0 == "result itself" && found[0].1.contains(named), "{found:?}");
        }
    }
}
