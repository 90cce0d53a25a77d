//! A database that is broken, missing or somebody else's is set aside and made again from the spool.

use super::*;
use std::fs;

/// What is sent, however often the database is lost: never less than everything, never another UID.
async fn survives(spoil: impl Fn(&Path)) {
    let archive = Archive::start();
    let toml = pacs(&archive, SR_ONLY);
    let bench = Bench::new(&toml);
    for n in 1..=3 {
        bench.answer(n, false);
    }
    let Bench { folder, source, outbox, .. } = bench;
    drop(outbox);
    spoil(&path_in(folder.path()));
    let bench = Bench::again(folder, source, &toml);
    bench.outbox.route_new(&*bench.source).unwrap();
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.11", "2.25.21", "2.25.31"]);
    assert_eq!(bench.states(), [State::Sent; 3]);
}

#[tokio::test]
async fn a_missing_or_empty_database_is_made_again() {
    survives(|path| fs::remove_file(path).unwrap()).await;
    survives(|path| fs::write(path, b"").unwrap()).await;
}

#[tokio::test]
async fn a_database_cut_off_anywhere_is_made_again() {
    for cut in [1, 50, 100, 512, 4095, 4096, 5000, 8192, 12_288, 20_000] {
        survives(|path| {
            let bytes = fs::read(path).unwrap();
            assert!(bytes.len() > cut, "{}", bytes.len());
            fs::write(path, &bytes[..cut]).unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn garbage_is_set_aside_and_kept() {
    survives(|path| fs::write(path, vec![0xa5; 30_000]).unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = path_in(folder.path());
    fs::write(&path, b"garbage".repeat(1000)).unwrap();
    let (_, is_new) = Database::open(&path, 1).unwrap();
    assert!(is_new);
    let aside = fs::read(folder.path().join("box.sqlite.broken")).unwrap();
    assert!(aside.starts_with(b"garbagegarbage"));
}

#[tokio::test]
async fn pages_of_garbage_in_the_middle_are_found() {
    survives(|path| {
        let mut bytes = fs::read(path).unwrap();
        for page in bytes.chunks_mut(4096).skip(1) {
            page.fill(0x5a);
        }
        fs::write(path, bytes).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_database_that_breaks_while_it_is_used_is_made_again() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    bench.answer(1, false);
    let other = rusqlite::Connection::open(path_in(bench.folder.path())).unwrap();
    other.execute("update delivery set state = 'nonsense'", []).unwrap();
    drop(other);
    assert!(bench.outbox.summary().unwrap_err().is_broken());
    bench.outbox.route_new(&*bench.source).unwrap();
    bench.round("pacs").await;
    assert_eq!(archive.uids(), ["2.25.11"]);
}

#[test]
fn somebody_elses_database_and_a_newer_one_are_not_touched_but_set_aside() {
    for (application, version, expected) in
        [(7, 1, "none of ours"), (0x4358_524f, 99, "version 99")]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(folder.path());
        let other = rusqlite::Connection::open(&path).unwrap();
        other
            .execute_batch(&format!(
                "create table t(x); pragma application_id = {application}; pragma user_version = {version}"
            ))
            .unwrap();
        drop(other);
        let (_, is_new) = Database::open(&path, 1).unwrap();
        assert!(is_new, "{expected}");
        let aside = rusqlite::Connection::open(folder.path().join("box.sqlite.broken")).unwrap();
        aside.query_row("select count(*) from t", [], |row| row.get::<_, i64>(0)).unwrap();
    }
}

#[tokio::test]
async fn deliveries_to_a_destination_that_is_gone_are_dead_letters_not_lost() {
    let archive = Archive::start();
    let bench = Bench::new(&pacs(&archive, SR_ONLY));
    bench.answer(1, false);
    let renamed = pacs(&archive, SR_ONLY).replace("\"pacs\"", "\"archive\"");
    bench.outbox.replace(destinations_of(&renamed).unwrap());
    bench.outbox.route_new(&*bench.source).unwrap();
    assert_eq!(bench.states(), [State::Dead]);
    assert_eq!(bench.reason(0), "destination \"pacs\" is not configured any more");
}

#[test]
fn answers_from_before_a_destination_existed_are_not_sent_to_it() {
    let bench = Bench::new("destinations = []");
    bench.answer(1, false);
    assert!(bench.outbox.is_settled(&bench.source.answered()[0]));
    let archive = Archive::start();
    bench.outbox.replace(destinations_of(&pacs(&archive, SR_ONLY)).unwrap());
    bench.answer(2, false);
    assert_eq!(bench.rows().len(), 1);
}
