//! Everything that can happen to a spool, in any order, beside a model that is too simple to be wrong; and after
//! each step, what the index says beside what is on disk.

use super::*;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
enum Step {
    Store {
        uid: u8,
        contents: u8,
    },
    Take,
    Answer,
    PutBack,
    Draw,
    Tidy,
    /// The daemon ends as it is and starts again.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8, 0..3_u8).prop_map(|(uid, contents)| Step::Store { uid, contents }),
        3 => Just(Step::Take),
        3 => Just(Step::Answer),
        1 => Just(Step::PutBack),
        1 => Just(Step::Draw),
        1 => Just(Step::Tidy),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// What was acknowledged and not purged: whether it is answered.
#[derive(Debug, Default)]
struct Model {
    answered: BTreeMap<Key, bool>,
    running: Vec<Entry>,
    /// Every number given out.
    numbers: Vec<u64>,
}

const KEEP: usize = 3;

impl Model {
    fn take(&mut self, spool: &Spool, step: Step) {
        match step {
            Step::Store { uid, contents } => {
                let uid = format!("1.2.{uid}");
                let same = |key: &&Key| key.uid.to_string() == uid;
                let accepted = store(spool, &uid, &[contents; 50]).unwrap();
                let known = self.answered.keys().any(|key| key == accepted.key());
                let others = self.answered.keys().any(|key| same(&key) && key != accepted.key());
                match &accepted {
                    Accepted::New(_) => assert!(!known && !others),
                    Accepted::Revision(_) => assert!(!known && others),
                    Accepted::Duplicate(_) => assert!(known),
                    Accepted::Again(_) => panic!("nothing is parked here"),
                }
                if !known {
                    let number = accepted.key().sequence;
                    assert!(self.numbers.iter().all(|given| *given < number), "{number} again");
                    self.numbers.push(number);
                    self.answered.insert(accepted.key().clone(), false);
                }
            }
            Step::Take => {
                let runs = |key: &&Key| self.running.iter().any(|entry| entry.key == **key);
                let waiting = self.answered.iter().filter(|(_, answered)| !**answered);
                let oldest = waiting.map(|(key, _)| key).find(|key| !runs(key)).cloned();
                let taken = spool.take(Instant::now());
                assert_eq!(taken.as_ref().map(|entry| &entry.key), oldest.as_ref());
                self.running.extend(taken);
            }
            Step::Answer => {
                if let Some(entry) = self.running.pop() {
                    answer(spool, &entry.key);
                    self.answered.insert(entry.key, true);
                }
            }
            Step::PutBack => {
                if let Some(entry) = self.running.pop() {
                    spool.put_back(entry, Instant::now());
                }
            }
            Step::Draw => {
                if let Some((key, _)) = self.answered.iter().find(|(_, answered)| **answered) {
                    spool.keep_overlay(key, &[7; 30]).unwrap();
                }
            }
            Step::Tidy => {
                for gone in spool.tidy(SystemTime::now(), Instant::now()) {
                    let key =
                        self.answered.keys().find(|key| key.sequence == gone).cloned().unwrap();
                    assert_eq!(self.answered.remove(&key), Some(true), "{gone} had no answer");
                }
                assert!(self.answered.values().filter(|answered| **answered).count() <= KEEP);
            }
            Step::Crash => self.running.clear(),
        }
    }

    fn agrees(&self, spool: &Spool) {
        let folder = |name: &str| {
            let files = fs::read_dir(spool.folder.join(name)).unwrap();
            files.map(|file| file.unwrap().metadata().unwrap().len()).collect::<Vec<u64>>()
        };
        let (images, results) = (folder("images"), folder("results"));
        let answered = self.answered.values().filter(|answered| **answered).count();
        assert_eq!((images.len(), results.len()), (self.answered.len(), answered));
        let counts = spool.counts();
        assert_eq!((counts.answered, counts.running), (answered, self.running.len()));
        assert_eq!(counts.waiting + counts.running + counts.answered, images.len());
        let on_disk: u64 = [images, results, folder("overlays")].concat().iter().sum();
        let index = spool.lock();
        assert_eq!(index.bytes + index.pictures.bytes(), on_disk);
        assert_eq!(index.reserved, 0);
        let newest: Vec<&Key> = index.newest().map(|entry| &entry.key).collect();
        assert_eq!(newest, self.answered.keys().rev().collect::<Vec<_>>());
        for key in self.answered.keys() {
            assert!(index.revisions(&key.uid).any(|entry| entry.key == *key));
        }
    }
}

#[test]
fn index_and_disk_agree_whatever_happens_in_whatever_order() {
    let config_of = |folder: &Path| SpoolConfig { keep_answered: KEEP, ..config(folder) };
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 24, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let run = |steps: Vec<Step>| {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(&config_of(folder.path())).unwrap();
        let mut model = Model::default();
        for step in steps {
            if let Step::Crash = step {
                drop(spool);
                spool = Spool::open(&config_of(folder.path())).unwrap();
            }
            model.take(&spool, step);
            model.agrees(&spool);
        }
        Ok(())
    };
    runner.run(&steps(), run).unwrap();
}
