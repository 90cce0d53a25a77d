//! Many exposures in no order, and what the lamp makes of answers.

use super::*;
use crate::exposures::lamp::{Seen, lamp};
use protocol::Lamp;

#[test]
fn a_thousand_exposures_without_order_lose_and_invent_nothing() {
    let mut scene = Scene::new();
    scene.learn(3);
    // Told in pairs the wrong way round; images in reverse within each ten.
    for ten in 1..100_i64 {
        for n in 0..10 {
            let n = n ^ 1;
            let age = ((10 - n) * 20 * 1000) as u32;
            scene.expose(ten * 1000, (ten * 10 + n) as u32, |e| e.age = Some(age));
        }
        for n in (0..10).rev() {
            let taken = ten * 1000 - (10 - n) * 20;
            scene.image(ten * 1000 + 5, (ten * 10 + n) as u64, Some(taken), bare);
        }
    }
    scene.look(101_000);
    assert_eq!((scene.news, scene.matching.counts.matched), (vec![], 3 + 990));
}

#[test]
fn the_lamp_shows_what_matters_most() {
    let table = [
        (false, true, Some(Answer::Urgent), Lamp::Trouble),
        (true, true, Some(Answer::Urgent), Lamp::Analysing),
        (true, false, Some(Answer::Urgent), Lamp::Urgent),
        (true, false, Some(Answer::NotAnalysed), Lamp::NotAnalysed),
        (true, false, Some(Answer::Ready), Lamp::Ready),
        (true, false, None, Lamp::Idle),
    ];
    for (healthy, at_work, latest, expected) in table {
        assert_eq!(lamp(&Seen { healthy, at_work, latest }), expected);
    }
}

#[test]
fn the_worst_answer_about_the_latest_study_counts_while_it_is_new() {
    let mut scene = Scene::new();
    for (sequence, study, answer) in
        [(1, 1, Answer::Urgent), (2, 2, Answer::NotAnalysed), (3, 2, Answer::Ready)]
    {
        scene.image(sequence as i64, sequence, None, |h| h.study = Some(study));
        scene.matching.unanswered().for_each(|image| image.answer = Some(answer));
    }
    let within = Duration::from_secs(900);
    let latest = |second| scene.matching.latest_answer(scene.at(second), within);
    assert_eq!((latest(100), latest(904)), (Some(Answer::NotAnalysed), None));
}
