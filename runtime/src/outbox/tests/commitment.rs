//! Storage commitment: delivered means committed.

use super::{
    archive::{Commits, write_report},
    *,
};
use crate::dicom::commitment;

fn committing(archive: &Archive) -> String {
    pacs(
        archive,
        "objects = [\"sr\", \"sc\"]\ncommit = true\ncommit_seconds = 60\ntimeout_seconds = 5",
    )
}

fn report(transaction: &str, kept: &[&str]) -> Report {
    let wanted = [(SR.to_owned(), "2.25.11".to_owned()), (SC.to_owned(), "2.25.13".to_owned())];
    let kept: Vec<String> = kept.iter().map(|uid| (*uid).to_owned()).collect();
    let (event, bytes) = write_report(transaction, &wanted, &kept, true);
    let instance = Some(commitment::INSTANCE.to_owned());
    commitment::report(instance, Some(event), Some(&bytes), "1.2.840.10008.1.2.1").unwrap()
}

#[tokio::test]
async fn a_report_on_the_same_association_settles_an_image() {
    let archive = Archive::start();
    let bench = Bench::new(&committing(&archive));
    bench.answer(1, false);
    bench.round("pacs").await;
    assert_eq!(bench.states(), [State::Committed; 2]);
    assert_eq!(archive.inside().associations, 1);
    assert_eq!(archive.inside().asked.len(), 1, "one question for both");
    assert!(bench.outbox.is_settled(&bench.rows()[0].key));
}

#[tokio::test]
async fn an_archive_that_says_yes_and_forgets_is_found_out_and_gets_it_again() {
    let archive = Archive::start();
    let bench = Bench::new(&committing(&archive));
    bench.answer(1, false);
    archive.inside().manners.acts.push_back(Act::Forget);
    bench.round("pacs").await;
    assert_eq!(bench.states(), [State::Waiting, State::Committed]);
    assert_eq!(bench.reason(0), "not committed: no such object instance (0112)");
    assert!(!bench.outbox.is_settled(&bench.rows()[0].key));
    bench.pass(2_000);
    bench.round("pacs").await;
    assert_eq!(bench.states(), [State::Committed; 2]);
    assert_eq!(archive.uids(), ["2.25.13", "2.25.11"]);
}

#[tokio::test]
async fn an_archive_that_never_reports_is_asked_again_and_then_sent_to_again() {
    let archive = Archive::start();
    archive.inside().manners.commits = Commits::Never;
    let bench = Bench::new(&committing(&archive));
    bench.answer(1, false);
    for ask in 1..=3 {
        bench.round("pacs").await;
        assert_eq!(bench.states(), [State::Sent; 2]);
        assert_eq!(archive.inside().asked.len(), ask);
        bench.round("pacs").await;
        assert_eq!(archive.inside().asked.len(), ask, "not before its time is over");
        bench.pass(61_000);
    }
    bench.round("pacs").await;
    assert_eq!(bench.states(), [State::Waiting; 2]);
    archive.inside().manners.commits = Commits::OnThisAssociation;
    bench.pass(2_000);
    bench.round("pacs").await;
    assert_eq!(bench.states(), [State::Committed; 2]);
    assert_eq!(archive.uids().len(), 4);
}

#[tokio::test]
async fn a_report_counts_whenever_it_comes_but_only_from_whom_was_asked() {
    let archive = Archive::start();
    archive.inside().manners.commits = Commits::Never;
    let bench = Bench::new(&committing(&archive));
    bench.answer(1, false);
    bench.round("pacs").await;
    let transaction = archive.inside().asked[0].clone();
    let outbox = &bench.outbox;
    assert_eq!(outbox.reported("PACS", &report("2.25.999", &["2.25.11"])).code, 0x0115);
    assert_eq!(outbox.reported("EVIL", &report(&transaction, &["2.25.11"])).code, 0x0115);
    assert_eq!(bench.states(), [State::Sent; 2]);

    // Asked again meanwhile: an old "yes" counts, an old "no" does not.
    bench.pass(61_000);
    bench.round("pacs").await;
    assert_eq!(archive.inside().asked.len(), 2);
    assert_eq!(outbox.reported("PACS ", &report(&transaction, &["2.25.11"])).code, 0);
    assert_eq!(bench.states(), [State::Committed, State::Sent]);
    let second = archive.inside().asked[1].clone();
    assert_eq!(outbox.reported("PACS", &report(&second, &["2.25.11"])).code, 0);
    assert_eq!(bench.states(), [State::Committed, State::Waiting]);
}

#[tokio::test]
async fn a_refused_question_is_a_dead_letter_that_is_asked_again_not_sent_again() {
    let archive = Archive::start();
    archive.inside().manners.commits = Commits::Refuses(0x0122);
    let bench = Bench::new(&committing(&archive));
    bench.answer(1, false);
    bench.round("pacs").await;
    assert_eq!(bench.states(), [State::Dead; 2]);
    assert_eq!(bench.reason(0), "storage commitment: status 0122");
    archive.inside().manners.commits = Commits::OnThisAssociation;
    for row in bench.rows() {
        bench.outbox.retry(row.id).unwrap();
    }
    bench.round("pacs").await;
    assert_eq!(bench.states(), [State::Committed; 2]);
    assert_eq!(archive.uids(), ["2.25.11", "2.25.13"]);
}

#[tokio::test]
async fn an_archive_without_the_service_makes_dead_letters_not_promises() {
    let archive = Archive::start();
    archive.inside().manners.refused.push(archive::COMMITMENT.into());
    let bench = Bench::new(&committing(&archive));
    bench.answer(1, false);
    bench.round("pacs").await;
    assert_eq!(archive.uids().len(), 2);
    assert_eq!(bench.states(), [State::Dead; 2]);
    assert!(bench.reason(0).contains("1.2.840.10008.1.20.1"), "{}", bench.reason(0));
    assert!(!bench.outbox.is_settled(&bench.rows()[0].key));
}
