//! What the outbox remembers: days, tallies, and what may be forgotten.

use super::*;
use crate::outbox::rows::Past;
use proptest::prelude::*;

/// An answer for the history: when it arrived, how long it waited, what came of it, one finding.
fn past(received: Millis, waited: Millis, outcome: &str, bundle: &str, found: f32) -> Past {
    let findings = vec![("Edema".to_owned(), found, found >= 0.5)];
    let findings = if outcome == "analysed" { findings } else { Vec::new() };
    Past { received, waited, outcome: outcome.into(), bundle: bundle.into(), findings }
}

impl Bench {
    fn answer_with(&self, n: u32, past: Past) {
        let key = format!("{n:012}_1.2.{n}_{n:016x}");
        let parked = past.outcome == "parked";
        let answer = Answer { past: Some(past), parked, ..invented(n, false) };
        self.source.0.lock().unwrap().insert(key.clone(), answer);
        self.outbox.answered(key);
        self.outbox.route_new(&*self.source).unwrap();
    }

    fn now(&self) -> Millis {
        self.now.load(Relaxed)
    }
}

#[test]
fn a_day_says_what_arrived_what_was_found_and_how_long_it_took() {
    let bench = Bench::new("destinations = []");
    let (now, day) = (bench.now(), |ago: i64| bench.now() - ago * DAY);
    for (n, found) in (1..=4).zip([0.9, 0.2, 0.6, 0.1]) {
        bench.answer_with(n, past(day(1), i64::from(n) * 1000, "analysed", "a", found));
    }
    bench.answer_with(5, past(day(1), 9000, "view", "a", 0.0));
    bench.answer_with(6, past(day(0), 500, "analysed", "b", 0.5));
    bench.answer_with(7, past(now + 5 * DAY, 500, "analysed", "c", 0.5));
    let days = bench.outbox.history(3).unwrap();
    assert_eq!(days.len(), 3);
    let [before, yesterday, today] = &days[..] else { panic!("{days:?}") };
    assert_eq!((before.images, before.waited_p95_seconds), (0, None));
    assert_eq!((yesterday.images, yesterday.analysed), (5, 4));
    assert_eq!(yesterday.not_analysed, BTreeMap::from([("view".to_owned(), 1)]));
    assert_eq!(yesterday.waited_p95_seconds, Some(9.0));
    let edema = &yesterday.findings[0];
    assert_eq!((edema.name.as_str(), edema.images, edema.positive), ("Edema", 4, 2));
    assert!((edema.mean_probability - 0.45).abs() < 1e-6, "{edema:?}");
    assert_eq!(edema.bundles, ["a"]);
    // One that arrived tomorrow by a clock that was wrong counts as today's.
    assert_eq!((today.images, &today.findings[0].bundles), (2, &vec!["b".into(), "c".into()]));
    assert!(today.day > yesterday.day && today.day.len() == 10, "{}", today.day);
}

/// Whatever is lost or repeated on the way, an answer counts once; one that was given up counts as what it became.
#[test]
fn an_answer_counts_once_however_often_it_is_noted() {
    let bench = Bench::new("destinations = []");
    let now = bench.now();
    bench.answer_with(1, past(now, 100, "analysed", "a", 0.9));
    bench.answer_with(1, past(now, 100, "analysed", "a", 0.9));
    bench.answer_with(2, past(now, 100, "parked", "a", 0.0));
    bench.answer_with(2, past(now, 700, "analysed", "a", 0.9));
    let Bench { folder, source, .. } = bench;
    let again = Bench::again(folder, source, "destinations = []");
    again.outbox.route_new(&*again.source).unwrap();
    let today = &again.outbox.history(1).unwrap()[0];
    assert_eq!((today.images, today.analysed, today.findings[0].images), (2, 2, 2));
    assert!(today.not_analysed.is_empty(), "{today:?}");
}

#[tokio::test]
async fn a_day_says_what_was_delivered() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, ""));
    bench.answer(1, false);
    archive.inside().manners.acts.extend([Act::Status(0), Act::Status(0xc000), Act::Status(0)]);
    bench.pass(2_000);
    bench.round("pacs").await;
    bench.answer(2, false);
    let delivery = bench.outbox.history(1).unwrap()[0].delivery;
    assert_eq!((delivery.objects, delivery.delivered, delivery.dead), (6, 2, 1));
    assert_eq!(delivery.p95_seconds, Some(2.0));
}

/// The daemon of before knew no history. It is read again; nothing is delivered again for it.
#[tokio::test]
async fn an_outbox_of_version_1_is_taken_over_with_its_deliveries() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    bench.answer_with(1, past(bench.now(), 100, "analysed", "a", 0.9));
    bench.round("pacs").await;
    bench.answer(2, false);
    let Bench { folder, source, .. } = bench;
    // Back to what version 1 had.
    let path = path_in(folder.path());
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(
        "drop trigger delivery_comes; drop trigger delivery_goes; drop trigger delivery_changes;
         drop table tally; drop table seen; drop index delivery_open; drop index delivery_by_age;
         drop index image_by_arrival; alter table image drop column received;
         alter table image drop column waited; alter table image drop column outcome;
         pragma user_version = 1;",
    )
    .unwrap();
    drop(old);
    let spare = Archive::start();
    let both = pacs(&archive, SR_ONLY) + &pacs(&spare, SR_ONLY).replace("\"pacs\"", "\"spare\"");
    let bench = Bench::again(folder, source, &both);
    bench.outbox.route_new(&*bench.source).unwrap();
    assert_eq!(bench.states(), [State::Sent, State::Waiting], "none to the new destination");
    let summary = bench.outbox.summary().unwrap();
    assert_eq!((summary.sent, summary.waiting, summary.open), (1, 1, 1));
    assert_eq!(bench.outbox.history(1).unwrap()[0].findings[0].images, 1);
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.11", "2.25.21"]);
}

#[tokio::test]
async fn deliveries_are_forgotten_when_they_are_old_done_and_their_image_is_gone() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    for n in 1..=3 {
        bench.answer(n, false);
    }
    archive.inside().manners.acts.extend([Act::Status(0), Act::Status(0), Act::Status(0xc000)]);
    bench.round("pacs").await;
    bench.answer(4, false);
    let forget = || {
        bench.outbox.prune(&*bench.source).unwrap();
        bench.rows().iter().map(|row| row.source.clone()).collect::<Vec<_>>()
    };
    // Of image 2, 3 and 4 nothing is left but the outbox's own knowledge.
    bench.source.0.lock().unwrap().retain(|key, _| key.starts_with("000000000001"));
    assert_eq!(forget().len(), 4, "they are young");
    bench.pass(91 * DAY);
    assert_eq!(forget(), ["1.2.1", "1.2.3", "1.2.4"], "one is there, one is dead, one waits");

    // Sent again, it is known, and nothing is delivered a second time.
    bench.answer_as("000000000009_1.2.2_0000000000000002", 2, false);
    bench.round("pacs").await;
    assert_eq!(archive.uids().iter().filter(|uid| *uid == "2.25.21").count(), 1);
}

#[test]
fn who_gives_a_delivery_up_says_why() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    bench.answer(1, false);
    let id = bench.rows()[0].id;
    for why in ["", "   ", &"x".repeat(201)] {
        let error = bench.outbox.drop_row(id, why).unwrap_err().to_string();
        assert_eq!(error, "say why, in 1 to 200 characters");
    }
    assert_eq!(bench.states(), [State::Waiting]);
    let row = bench.outbox.drop_row(id, " the archive is gone ").unwrap();
    assert_eq!(row.progress.state, State::Dropped);
    assert_eq!(bench.reason(0), "the archive is gone");
    assert!(bench.outbox.is_settled(&row.key));
    let error = bench.outbox.drop_row(id, "again").unwrap_err().to_string();
    assert_eq!(error, format!("delivery {id} is dropped: there is nothing to give up"));
}

/// What happens to deliveries, in any order.
#[derive(Clone, Debug)]
enum Step {
    Answer,
    Round,
    Refuse,
    Hold(usize),
    Release(usize),
    Retry(usize),
    Drop(usize),
    Pass(i64),
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Answer),
        Just(Step::Round),
        Just(Step::Refuse),
        (0..9_usize).prop_map(Step::Hold),
        (0..9_usize).prop_map(Step::Release),
        (0..9_usize).prop_map(Step::Retry),
        (0..9_usize).prop_map(Step::Drop),
        (1..100 * DAY).prop_map(Step::Pass),
        Just(Step::Prune),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// The tallies that health and page read are what counting every row gives.
    #[test]
    fn nobody_has_to_count_the_deliveries(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let archive = Archive::start();
        let bench = Bench::new(&pacs(&archive, SR_ONLY));
        let mut answers = 0;
        for step in steps {
            let at = |n: usize| bench.rows().get(n).map(|row| row.id);
            match step {
                Step::Answer => {
                    answers += 1;
                    bench.answer(answers, answers % 2 == 0);
                }
                Step::Refuse => archive.inside().manners.acts.push_back(Act::Status(0xc000)),
                Step::Round => runtime.block_on(bench.round("pacs")),
                Step::Hold(n) => drop(at(n).map(|id| bench.outbox.hold(id))),
                Step::Release(n) => drop(at(n).map(|id| bench.outbox.release(id))),
                Step::Retry(n) => drop(at(n).map(|id| bench.outbox.retry(id))),
                Step::Drop(n) => drop(at(n).map(|id| bench.outbox.drop_row(id, "why"))),
                Step::Pass(time) => bench.pass(time),
                Step::Prune => {
                    bench.source.0.lock().unwrap().clear();
                    bench.outbox.prune(&*bench.source).unwrap();
                }
            }
            let rows = bench.rows();
            let count = |state| rows.iter().filter(|row| row.progress.state == state).count() as i64;
            let open: Vec<&Row> = rows
                .iter()
                .filter(|row| !matches!(row.progress.state, State::Sent | State::Dropped))
                .collect();
            let summary = bench.outbox.summary().unwrap();
            prop_assert_eq!(summary.waiting, count(State::Waiting));
            prop_assert_eq!(summary.sent, count(State::Sent));
            prop_assert_eq!(summary.dead, count(State::Dead));
            prop_assert_eq!(summary.dropped, count(State::Dropped));
            prop_assert_eq!(summary.open, open.len() as i64);
            prop_assert_eq!(summary.held, open.iter().filter(|row| row.held).count() as i64);
            prop_assert_eq!(summary.oldest_open, open.iter().map(|row| row.created).min());
            let backlog = bench.outbox.backlog().unwrap().unwrap();
            prop_assert_eq!((backlog.open, backlog.dead as i64), (open.len(), count(State::Dead)));
        }
    }
}
