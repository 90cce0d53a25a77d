//! The outbox against an archive that misbehaves, with a clock that the tests set.

#[path = "../../../tests/common/archive.rs"]
#[expect(dead_code, reason = "shared with the tests of the whole daemon, which use other parts")]
mod archive;
mod broken;
mod commitment;
#[path = "../../../tests/common/elements.rs"]
mod elements;
mod history;
mod web;

use super::{rows::Link, *};
use crate::config::destinations_of;
use anyhow::Result;
use archive::{Act, Archive, Welcome};
use results::Kind;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};

const SR: &str = "1.2.840.10008.5.1.4.1.1.88.34";
const SEG: &str = "1.2.840.10008.5.1.4.1.1.66.4";
const SC: &str = "1.2.840.10008.5.1.4.1.1.7";
const DAY: Millis = 24 * 3600 * 1000;

/// Answers that were never computed.
#[derive(Default)]
struct Invented(Mutex<BTreeMap<String, Answer>>);

impl Source for Invented {
    fn answered(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn holds(&self, key: &str) -> bool {
        self.0.lock().unwrap().contains_key(key)
    }

    fn answer(&self, key: &str) -> Result<Answer> {
        Ok(self.0.lock().unwrap()[key].clone())
    }

    fn make(&self, row: &Row) -> Result<Option<Vec<u8>>> {
        if row.source.ends_with(".404") {
            anyhow::bail!("the image is gone");
        }
        if row.source.ends_with(".0") && row.kind == Kind::Seg {
            return Ok(None);
        }
        let syntax = "1.2.840.10008.1.2.1";
        let mut file = results::file_header(&row.class, &row.object, syntax, Some("BOX"))?;
        let text = format!("contents of {}", row.object);
        file.extend(text.bytes().cycle().take(40_000)); // several PDUs
        Ok(Some(file))
    }
}

/// An outbox in a temporary folder.
struct Bench {
    folder: tempfile::TempDir,
    outbox: Arc<Outbox>,
    source: Arc<Invented>,
    now: Arc<AtomicI64>,
}

impl Bench {
    fn new(destinations: &str) -> Self {
        Self::again(tempfile::tempdir().unwrap(), Arc::default(), destinations)
    }

    /// With a folder and answers that an earlier one left behind.
    fn again(folder: tempfile::TempDir, source: Arc<Invented>, destinations: &str) -> Self {
        let now = Arc::new(AtomicI64::new(1_800_000_000_000));
        let clock: Clock = {
            let now = now.clone();
            Arc::new(move || now.load(Relaxed))
        };
        let destinations = destinations_of(destinations).unwrap();
        let outbox = Arc::new(Outbox::new(path_in(folder.path()), destinations, clock));
        Self { folder, outbox, source, now }
    }

    /// The worker has answered image number `n`.
    fn answer(&self, n: u32, positive: bool) {
        let key = format!("{n:012}_1.2.{n}_{n:016x}");
        self.answer_as(&key, n, positive);
    }

    fn answer_as(&self, key: &str, n: u32, positive: bool) {
        self.source.0.lock().unwrap().insert(key.to_owned(), invented(n, positive));
        self.outbox.answered(key.to_owned());
        self.outbox.route_new(&*self.source).unwrap();
    }

    /// Everything that is due for one destination, now.
    async fn round(&self, destination: &str) {
        let destinations = self.outbox.destinations();
        let courier = Courier {
            outbox: self.outbox.clone(),
            destination: destinations.iter().find(|d| d.name == destination).unwrap().clone(),
            calling: "CXR-EDGE".into(),
            source: self.source.clone(),
        };
        let (_trigger, shutdown) = crate::shutdown::channel();
        courier.round(&shutdown).await.unwrap();
    }

    fn pass(&self, milliseconds: Millis) {
        self.now.fetch_add(milliseconds, Relaxed);
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = self.outbox.list(&Filter { limit: 1000, ..Filter::default() }).unwrap();
        rows.reverse();
        rows
    }

    fn states(&self) -> Vec<State> {
        self.rows().iter().map(|row| row.progress.state).collect()
    }

    fn reason(&self, at: usize) -> String {
        self.rows()[at].progress.reason.clone().unwrap()
    }
}

fn invented(n: u32, positive: bool) -> Answer {
    let object = |kind, class: &str, at: u32| (kind, class.to_owned(), format!("2.25.{n}{at}"));
    Answer {
        source: format!("1.2.{n}"),
        digest: format!("{n:016x}"),
        positive,
        parked: false,
        objects: vec![object(Kind::Sr, SR, 1), object(Kind::Seg, SEG, 2), object(Kind::Sc, SC, 3)],
        past: None,
    }
}

/// One archive as the destination `pacs`, with more keys.
fn pacs(archive: &Archive, more: &str) -> String {
    format!(
        "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{}\"\n{more}\n",
        archive.address
    )
}

const SR_ONLY: &str = "objects = [\"sr\"]";

#[tokio::test]
async fn every_object_of_an_answer_reaches_the_archive_once_and_unchanged() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, ""));
    bench.answer(7, false);
    bench.round("pacs").await;
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.71", "2.25.72", "2.25.73"]);
    assert_eq!(archive.inside().associations, 1);
    for (kept, row) in archive.inside().kept.iter().zip(bench.rows()) {
        let made = bench.source.make(&row).unwrap().unwrap();
        assert_eq!((&kept.class, &kept.uid), (&row.class, &row.object));
        assert!(kept.bytes == results::data_set(&made).unwrap());
    }
    assert_eq!(bench.states(), [State::Sent; 3]);
    assert!(bench.outbox.is_settled(&bench.rows()[0].key));
}

#[tokio::test]
async fn positive_findings_go_first() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    for (n, positive) in [(1, false), (2, true), (3, false), (4, true)] {
        bench.answer(n, positive);
    }
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.21", "2.25.41", "2.25.11", "2.25.31"]);
}

#[tokio::test]
async fn a_mask_without_a_pixel_is_no_delivery() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, ""));
    bench.answer(0, false);
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.01", "2.25.03"]);
    assert!(bench.outbox.is_settled(&bench.rows()[0].key));
}

#[tokio::test]
async fn an_archive_that_is_full_is_left_alone_and_gets_everything_later() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    bench.answer(1, false);
    bench.answer(2, false);
    archive.inside().manners.acts.push_back(Act::Status(0xa700));
    bench.round("pacs").await;
    assert_eq!(archive.uids(), [""; 0], "one refusal is enough");
    assert_eq!(bench.reason(0), "status A700");
    bench.round("pacs").await;
    assert_eq!(archive.inside().associations, 1, "it is left alone");
    bench.pass(2_000);
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.11", "2.25.21"]);
    assert_eq!(bench.outbox.links().unwrap()[0].1, Link::default());
}

#[tokio::test]
async fn what_is_refused_for_good_is_a_dead_letter_and_holds_up_nothing() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    for n in 1..=4 {
        bench.answer(n, false);
    }
    bench.answer(404, false);
    let acts = [Act::Status(0xc000), Act::Status(0xa900), Act::Status(0xb007), Act::Status(0x0111)];
    archive.inside().manners.acts.extend(acts);
    bench.round("pacs").await;
    use State::{Dead, Sent};
    assert_eq!(bench.states(), [Dead, Dead, Sent, Sent, Dead]);
    assert_eq!([bench.reason(0), bench.reason(1)], ["status C000", "status A900"]);
    assert_eq!(bench.reason(4), "the image is gone");
    assert!(!bench.outbox.is_settled(&bench.rows()[0].key));

    bench.pass(DAY);
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.31"], "a dead letter stays one");
    let first = bench.rows()[0].id;
    bench.outbox.retry(first).unwrap();
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.31", "2.25.11"]);
    let second = bench.rows()[1].clone();
    bench.outbox.drop_row(second.id, "somebody looked").unwrap();
    assert!(bench.outbox.is_settled(&second.key));
}

#[tokio::test]
async fn a_class_without_a_context_is_a_dead_letter_and_the_others_are_delivered() {
    let archive = Archive::start();
    archive.inside().manners.refused.push(SEG.into());
    let bench = Bench::new(&pacs(&archive, ""));
    bench.answer(1, false);
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.11", "2.25.13"]);
    assert_eq!(bench.states(), [State::Sent, State::Dead, State::Sent]);
    assert!(bench.reason(1).contains(SEG));
}

#[tokio::test]
async fn a_rejected_association_means_what_it_says() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    bench.answer(1, false);
    archive.inside().manners.welcome = Welcome::RejectForNow;
    bench.round("pacs").await;
    assert_eq!(bench.states(), [State::Waiting]);
    archive.inside().manners.welcome = Welcome::RejectForGood;
    bench.pass(2_000);
    bench.round("pacs").await;
    assert_eq!(bench.states(), [State::Dead]);
    assert_eq!(bench.reason(0), "association rejected: no reason given");
    archive.inside().manners.welcome = Welcome::Accept;
    bench.outbox.retry(bench.rows()[0].id).unwrap();
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.11"]);
}

#[tokio::test]
async fn whatever_cuts_an_object_off_it_is_sent_again_under_the_same_uid() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, &format!("timeout_seconds = 0.3\n{SR_ONLY}")));
    bench.answer(1, false);
    archive.inside().manners.welcome = Welcome::Hang;
    bench.round("pacs").await;
    assert!(bench.reason(0).contains("took longer than 0.3 s"), "{}", bench.reason(0));
    archive.inside().manners.welcome = Welcome::Accept;
    for act in [Act::Hang, Act::CloseInObject, Act::Abort, Act::CloseAfter] {
        bench.pass(600_000);
        archive.inside().manners.acts.push_back(act);
        bench.round("pacs").await;
        assert_eq!(bench.states(), [State::Waiting], "{act:?}");
    }
    bench.pass(600_000);
    bench.round("pacs").await;
    assert_eq!(bench.states(), [State::Sent]);
    // Once by `CloseAfter`, whose answer never came; an archive that knows the UID has one object.
    assert_eq!(archive.uids(), ["2.25.11", "2.25.11"]);
    let inside = archive.inside();
    assert_eq!(inside.kept[0], inside.kept[1]);
}

#[tokio::test]
async fn an_archive_that_comes_back_after_a_day_gets_everything_within_minutes() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let toml = format!(
        "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{address}\"\n{SR_ONLY}\n"
    );
    let bench = Bench::new(&toml);
    for n in 1..=20 {
        bench.answer(n, n == 20);
    }
    let began = bench.now.load(Relaxed);
    let mut calls = 0;
    while bench.now.load(Relaxed) < began + DAY {
        bench.round("pacs").await;
        let link = bench.outbox.links().unwrap().remove(0).1;
        assert_eq!(link.down_since, Some(began));
        let pause = link.next - bench.now.load(Relaxed);
        assert!((750..=750_000).contains(&pause), "{pause}");
        bench.pass(pause);
        calls += 1;
    }
    assert!((100..250).contains(&calls), "{calls} calls in a day");
    let archive = Archive::start_at(&address.to_string());
    // The box was restarted meanwhile: nothing of this lives in memory.
    let now = bench.now.load(Relaxed);
    let bench = Bench::again(bench.folder, bench.source, &toml);
    bench.now.store(now, Relaxed);
    for _ in 0..2 {
        bench.pass(750_000);
        bench.round("pacs").await;
    }
    let uids = archive.uids();
    assert_eq!((uids.len(), uids[0].as_str()), (20, "2.25.201"), "urgent first");
    assert!(bench.states().iter().all(|state| *state == State::Sent));
}

#[tokio::test]
async fn who_stands_in_gets_what_the_first_does_not_take_and_never_both() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let spare = Archive::start();
    let toml = format!(
        "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{gone}\"\n{SR_ONLY}\n\
         fallback = \"spare\"\nfallback_seconds = 600\n\
         [[destinations]]\nname = \"spare\"\nae_title = \"SPARE\"\naddress = \"{}\"\n",
        spare.address
    );
    let bench = Bench::new(&toml);
    bench.answer(1, false);
    bench.round("pacs").await;
    bench.round("spare").await;
    assert_eq!(spare.uids(), [""; 0], "not yet");
    bench.pass(700_000);
    bench.round("pacs").await;
    bench.round("spare").await;
    assert_eq!(spare.uids(), ["2.25.11"]);
    let row = bench.rows().remove(0);
    assert_eq!((row.destination.as_str(), row.via.as_str()), ("pacs", "spare"));

    // While it is down, new ones go over at once; it is called again from time to time.
    bench.answer(2, true);
    bench.round("pacs").await;
    bench.round("spare").await;
    assert_eq!(spare.uids(), ["2.25.11", "2.25.21"]);
    let first = Archive::start_at(&gone.to_string());
    bench.pass(700_000);
    bench.answer(3, false);
    bench.round("pacs").await;
    bench.round("spare").await;
    assert_eq!(first.uids(), ["2.25.31"]);
    assert_eq!(spare.uids().len(), 2);
}

#[tokio::test]
async fn a_held_delivery_waits_until_it_is_released() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    bench.answer(1, false);
    let id = bench.rows()[0].id;
    assert!(bench.outbox.hold(id).unwrap().held);
    bench.round("pacs").await;
    assert_eq!(archive.uids(), [""; 0]);
    assert_eq!(bench.outbox.summary().unwrap().held, 1);
    bench.outbox.release(id).unwrap();
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.11"]);
    assert!(matches!(bench.outbox.hold(99), Err(DatabaseError::NoRow { id: 99 })));
}

#[tokio::test]
async fn a_purged_image_that_is_sent_again_is_no_second_result() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    bench.answer(1, false);
    bench.round("pacs").await;
    // The spool has forgotten it and gives the same bytes another key; another bundle makes other UIDs.
    bench.source.0.lock().unwrap().clear();
    bench.answer_as("000000000009_1.2.1_0000000000000001", 1, true);
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.11"]);
    assert!(bench.outbox.is_settled("000000000009_1.2.1_0000000000000001"));
}

#[tokio::test]
async fn an_image_that_was_given_up_and_is_analysed_after_all_has_both_results() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    let key = "000000000001_1.2.1_0000000000000001";
    let of = |object: &str, parked| Answer {
        source: "1.2.1".into(),
        digest: "0000000000000001".into(),
        positive: false,
        parked,
        objects: vec![(Kind::Sr, SR.into(), object.into())],
        past: None,
    };
    let source = bench.source.clone();
    let answer = |answer| source.0.lock().unwrap().insert(key.into(), answer);
    answer(of("2.25.8", true));
    bench.outbox.route_new(&*bench.source).unwrap();
    bench.round("pacs").await;
    // Sent again, analysed, and the daemon was killed before it could note that.
    answer(of("2.25.9", false));
    let bench = Bench::again(bench.folder, bench.source, &pacs(&archive, SR_ONLY));
    for _ in 0..2 {
        bench.outbox.route_new(&*bench.source).unwrap();
        bench.round("pacs").await;
        assert_eq!(archive.uids(), ["2.25.8", "2.25.9"]);
    }
}

#[tokio::test]
async fn the_running_outbox_delivers_what_is_answered_and_stops_when_told() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, ""));
    let (trigger, shutdown) = crate::shutdown::channel();
    let running =
        tokio::spawn(bench.outbox.clone().run("CXR-EDGE".into(), bench.source.clone(), shutdown));
    let (outbox, source) = (bench.outbox.clone(), bench.source.clone());
    spawn_blocking(move || {
        Bench { folder: tempfile::tempdir().unwrap(), outbox, source, now: bench.now }
            .answer(3, true)
    })
    .await
    .unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while archive.uids().len() < 3 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Other destinations: nothing goes to the old ones any more, and nothing is lost silently.
    bench.outbox.replace(destinations_of(&pacs(&archive, "when = \"positive\"")).unwrap());
    trigger.stop();
    tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
}
