mod model;

use super::*;
use protocol::{Bundle, Cause, Forced, Moment, Release};

const ALL: Option<Permits> = Some(Permits { download: true, update: true });
const WINDOW_SHUT: Option<Permits> = Some(Permits { download: true, update: false });
const OURS: Digest = Digest([1; 32]);
const NOW: Moment =
    Moment { boot: protocol::BootId([1; 16]), uptime: std::time::Duration::ZERO, wall: 0 };
const OTHER: Digest = Digest([2; 32]);

fn stored(record: &BootRecord, sha256: Digest) -> BootRecord {
    let (id, next) = record.begin(sha256, 9).unwrap();
    let release = Release { major: 1, minor: 0, patch: 0 };
    next.verified(id, Bundle { id: "chest".into(), release, digest: sha256 }).unwrap()
}

fn on_trial(record: &BootRecord, sha256: Digest) -> BootRecord {
    stored(record, sha256).activate(sha256, 3, &NOW).unwrap()
}

fn confirmed(record: &BootRecord, sha256: Digest) -> BootRecord {
    let forced = Forced { reason: "a test".into(), lacked: String::new(), at: 0 };
    on_trial(record, sha256).force(sha256, forced).unwrap()
}

fn action(phase: Phase) -> Action {
    Action { id: "8".into(), sha256: Some(OURS.to_string()), phase }
}

fn ended(success: bool, report: Report) -> Phase {
    Phase::Ended { success, details: Vec::new(), report }
}

#[test]
fn an_action_takes_its_way_from_order_to_report() {
    let empty = BootRecord::new();
    let running = confirmed(&empty, OTHER);
    let fresh = Action::new("8");
    assert_eq!(next(&fresh, &running, ALL), Step::Download);
    assert_eq!(next(&fresh, &running, Some(Permits { download: false, update: true })), Step::Wait);
    let whole = stored(&running, OURS);
    assert_eq!(next(&action(Phase::Download), &whole, ALL), Step::Stored);
    let ready = |told| action(Phase::Ready { told });
    assert_eq!(next(&ready(false), &whole, WINDOW_SHUT), Step::TellReady);
    assert_eq!(next(&ready(true), &whole, WINDOW_SHUT), Step::Wait);
    assert_eq!(next(&ready(true), &whole, ALL), Step::Activate);
    let trial = on_trial(&running, OURS);
    assert_eq!(next(&ready(true), &trial, ALL), Step::Activated);
    for permits in [ALL, None] {
        assert_eq!(next(&action(Phase::Trial), &trial, permits), Step::Watch);
        assert_eq!(next(&action(Phase::Trial), &confirmed(&running, OURS), permits), Step::Succeed);
    }
    assert_eq!(
        next(&action(ended(true, Report::Due)), &confirmed(&running, OURS), None),
        Step::Report
    );
}

#[test]
fn success_is_never_reported_before_a_confirm() {
    let running = confirmed(&BootRecord::new(), OTHER);
    for record in [running.clone(), stored(&running, OURS), on_trial(&running, OURS)] {
        for phase in [Phase::Download, Phase::Ready { told: true }, Phase::Trial] {
            for permits in [ALL, WINDOW_SHUT, None] {
                assert_ne!(next(&action(phase.clone()), &record, permits), Step::Succeed);
            }
        }
    }
}

#[test]
fn whatever_ends_a_trial_badly_is_a_failure() {
    let running = confirmed(&BootRecord::new(), OTHER);
    let trial = on_trial(&running, OURS);
    let bad = trial.fail(SlotId::B, Cause::SelfTest, "vector 3", &NOW);
    for phase in [Phase::Ready { told: false }, Phase::Trial] {
        assert_eq!(next(&action(phase), &bad, ALL), Step::Fail(Failed::Bad(SlotId::B)));
    }
    let back = confirmed(&running, OURS).rollback("too many", &NOW).unwrap();
    let step = next(&action(Phase::Trial), &back, None);
    assert_eq!(step, Step::Fail(Failed::RolledBack(SlotId::B)));
    let displaced = bad.begin(Digest([3; 32]), 5).unwrap().1;
    assert_eq!(next(&action(Phase::Trial), &displaced, None), Step::Fail(Failed::Gone));
}

#[test]
fn a_report_whose_fate_is_unknown_is_repeated_only_to_a_server_that_asks() {
    let running = confirmed(&BootRecord::new(), OURS);
    let sent = action(ended(true, Report::Sent));
    assert_eq!(next(&sent, &running, ALL), Step::Report);
    assert_eq!(next(&sent, &running, None), Step::Forget);
}

#[test]
fn an_operators_rollback_stands_against_a_server_that_offers_the_same_again_once() {
    let running = confirmed(&confirmed(&BootRecord::new(), OTHER), OURS);
    let taken = action(ended(true, Report::Taken));
    assert_eq!(next(&taken, &running, None), Step::Wait);
    assert_eq!(next(&taken, &running, ALL), Step::Wait, "offered again although it runs");
    let back = running.rollback("too many", &NOW).unwrap();
    assert_eq!(next(&taken, &back, ALL), Step::Fail(Failed::RolledBack(SlotId::B)));
    // That was reported, and yet the server insists.
    assert_eq!(next(&action(ended(false, Report::Taken)), &back, ALL), Step::Again);
    assert_eq!(next(&action(ended(false, Report::Taken)), &back, None), Step::Wait);
}

#[test]
fn a_cancel_is_in_time_until_the_activation() {
    let running = confirmed(&BootRecord::new(), OTHER);
    let whole = stored(&running, OURS);
    let trial = on_trial(&running, OURS);
    assert!(!Action::new("8").is_activated(&running));
    assert!(!action(Phase::Ready { told: true }).is_activated(&whole));
    assert!(action(Phase::Ready { told: true }).is_activated(&trial), "cut before the note");
    assert!(action(Phase::Trial).is_activated(&whole), "confirmed, then rolled back");
}

#[test]
fn what_the_server_withdraws_before_the_activation_is_forgotten() {
    let running = confirmed(&BootRecord::new(), OTHER);
    assert_eq!(next(&Action::new("8"), &running, None), Step::Forget);
    let whole = stored(&running, OURS);
    assert_eq!(next(&action(Phase::Ready { told: true }), &whole, None), Step::Forget);
}

#[test]
fn a_bundle_that_went_bad_under_an_earlier_action_is_tried_anew_under_the_next() {
    let running = confirmed(&BootRecord::new(), OTHER);
    let bad = on_trial(&running, OURS).fail(SlotId::B, Cause::SelfTest, "vector 3", &NOW);
    assert_eq!(next(&action(Phase::Download), &bad, ALL), Step::Download);
}
