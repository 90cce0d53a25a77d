//! Scenes of an X-ray room: what is told of exposures and images, one table row each.

mod files;
mod many;

use super::matching::*;
use exposures::Moment;
use protocol::exposure::{Exposure, Outcome, Subject, Technique};
use std::time::Duration;

const LIMITS: Limits = Limits {
    image: Duration::from_secs(600),
    exposure: Duration::from_secs(120),
    keep: Duration::from_secs(24 * 3600),
};
/// The box's clock at second 0 of a scene.
const START: u64 = 1_800_000_000_000;
/// A station an hour and eleven seconds ahead.
const AHEAD: i64 = 3_611_000;

/// Seconds since the scene began are the box's; everything else follows.
struct Scene {
    matching: Matching,
    news: Vec<News>,
    boot: u8,
    /// Milliseconds the box's calendar is off.
    wall_off: i64,
}

impl Scene {
    fn new() -> Self {
        Self { matching: Matching::default(), news: Vec::new(), boot: 1, wall_off: 0 }
    }

    fn at(&self, second: i64) -> Moment {
        let since_boot = (second * 1000 + 50_000).cast_unsigned();
        let wall = START.wrapping_add_signed(second * 1000 + self.wall_off);
        Moment { boot: [self.boot; 16], since_boot, wall }
    }

    fn expose(&mut self, second: i64, sequence: u32, change: impl FnOnce(&mut Exposure)) {
        let mut exposure = Exposure {
            controller: 0,
            epoch: 0,
            sequence,
            outcome: Outcome::Complete,
            age: None,
            clock: None,
            technique: Technique::default(),
            subject: None,
            repeats: None,
        };
        change(&mut exposure);
        self.matching.expose(sequence.into(), self.at(second), exposure);
        self.look(second);
    }

    /// An image that arrives at `second`, taken at `taken` by the box's clock, if its header says.
    fn image(
        &mut self,
        second: i64,
        sequence: u64,
        taken: Option<i64>,
        change: impl FnOnce(&mut Header),
    ) {
        let taken = taken.map(|taken| START.cast_signed() + taken * 1000 + AHEAD);
        let mut header = Header {
            station: "ROOM".into(),
            study: Some(sequence),
            taken,
            is_acquisition: true,
            ..Header::default()
        };
        change(&mut header);
        self.matching.picture(sequence, self.at(second), header);
        self.look(second);
    }

    fn look(&mut self, second: i64) {
        let news = self.matching.settle(self.at(second), &LIMITS);
        self.news.extend(news);
    }

    /// Pairs 1 to `count`, taken at 0, 60, 120 …: from the second one on, the clock is known.
    fn learn(&mut self, count: u32) {
        for n in 1..=count {
            let second = i64::from(n - 1) * 60;
            self.expose(second, n, |_| {});
            self.image(second + 10, n.into(), Some(second), |_| {});
        }
    }

    /// Missing entries, unexplained images.
    fn state(&self) -> (Vec<u64>, Vec<u64>) {
        let missing = self.matching.missing().map(|(number, ..)| number).collect();
        (missing, self.matching.unexplained().collect())
    }
}

fn kilovolts(tenths: u16) -> impl Fn(&mut Exposure) {
    move |exposure| exposure.technique.kilovolts = Some(tenths)
}

fn plain(_: &mut Exposure) {}

fn bare(_: &mut Header) {}

#[test]
fn scenes_of_a_room_are_told_as_they_are() {
    use News::{Explained, Found, Missing, Unexplained};
    type Play = fn(&mut Scene);
    type Row = (&'static str, Play, &'static [News], &'static [u64], &'static [u64]);
    let table: &[Row] = &[
        ("an exposure and its image are nothing to tell", |s| s.learn(1), &[], &[], &[]),
        (
            "an image that never comes is missing, once",
            |s| {
                s.expose(0, 1, plain);
                s.look(600);
                s.look(601);
                s.look(900);
            },
            &[Missing(1)],
            &[1],
            &[],
        ),
        (
            "an aborted exposure expects none",
            |s| {
                s.expose(0, 1, |e| e.outcome = Outcome::Aborted);
                s.look(5000);
            },
            &[],
            &[],
            &[],
        ),
        (
            "an aborted exposure explains none",
            |s| {
                s.expose(0, 1, |e| e.outcome = Outcome::Aborted);
                s.image(9, 1, None, bare);
                s.look(200);
            },
            &[Unexplained(1)],
            &[],
            &[1],
        ),
        (
            "a late image clears the report",
            |s| {
                s.expose(0, 1, plain);
                s.look(700);
                s.image(5000, 1, None, bare);
            },
            &[Missing(1), Found(1)],
            &[],
            &[],
        ),
        (
            "an image nobody exposed is told after its limit",
            |s| {
                s.image(0, 1, None, bare);
                s.look(120);
                s.look(121);
            },
            &[Unexplained(1)],
            &[],
            &[1],
        ),
        (
            "an exposure told late explains its image",
            |s| {
                s.image(10, 1, None, bare);
                s.look(200);
                s.expose(300, 1, |e| e.age = Some(299_000));
            },
            &[Unexplained(1), Explained(1)],
            &[],
            &[],
        ),
        (
            "an exposure after an image does not explain it",
            |s| {
                s.image(10, 1, None, bare);
                s.expose(60, 1, plain);
                s.look(200);
            },
            &[Unexplained(1)],
            &[],
            &[1],
        ),
        (
            "two exposures, two images, in order",
            |s| {
                s.expose(0, 1, plain);
                s.expose(30, 2, plain);
                s.image(40, 1, None, bare);
                s.image(41, 2, None, bare);
                s.look(2000);
            },
            &[],
            &[],
            &[],
        ),
        (
            "the voltage says which of two images is missing",
            |s| {
                s.expose(0, 1, kilovolts(1_250));
                s.expose(30, 2, kilovolts(700));
                s.image(40, 1, None, |h| h.kilovolts = Some(70.0));
                s.look(700);
            },
            &[Missing(1)],
            &[1],
            &[],
        ),
        (
            "a charge rounded by the header still agrees, another does not",
            |s| {
                s.expose(0, 1, |e| e.technique.charge = Some(2_500));
                s.image(9, 1, None, |h| h.charge = Some((2.0, 1.0)));
                s.expose(20, 2, |e| e.technique.charge = Some(2_500));
                s.image(29, 2, None, |h| h.charge = Some((20.0, 1.0)));
                s.look(700);
            },
            &[Missing(2), Unexplained(2)],
            &[2],
            &[2],
        ),
        (
            "the known clock says which of two images is missing",
            |s| {
                s.learn(3);
                s.expose(1000, 8, plain);
                s.expose(1060, 9, plain);
                s.image(1070, 9, Some(1060), bare);
                s.look(1700);
            },
            &[Missing(8)],
            &[8],
            &[],
        ),
        (
            "an old image sent again takes no exposure's place",
            |s| {
                s.learn(3);
                s.expose(1000, 9, plain);
                s.image(1010, 7, Some(-80_005), bare);
                s.image(1020, 9, Some(1000), bare);
                s.look(1700);
            },
            &[Unexplained(7)],
            &[],
            &[7],
        ),
        (
            "summer time is an hour, and nothing to tell",
            |s| {
                s.learn(3);
                for n in 10..13 {
                    s.expose(n * 100, n as u32, plain);
                    s.image(n * 100 + 5, n as u64, Some(n * 100 + 3600), bare);
                }
                s.look(3000);
            },
            &[],
            &[],
            &[],
        ),
        (
            "a station's clock that was set is learnt again from two images",
            |s| {
                s.learn(3);
                for n in 10..14 {
                    s.expose(n * 100, n as u32, plain);
                    s.image(n * 100 + 5, n as u64, Some(n * 100 + 411), bare);
                }
                s.look(3000);
            },
            &[],
            &[],
            &[],
        ),
        (
            "the controller's own clock is what a station's is compared with",
            |s| {
                for n in 1..4 {
                    let clock = (n * 60_000) as u64 + 1_000_000_000_000;
                    s.expose(n * 60, n as u32, |e| e.clock = Some(clock));
                    s.image(n * 60 + 5, n as u64, Some(n * 60), bare);
                }
                s.wall_off = 40_000_000;
                s.expose(1000, 8, |e| e.clock = Some(1_000_001_000_000));
                s.expose(1060, 9, |e| e.clock = Some(1_000_001_060_000));
                s.image(1070, 9, Some(1060), bare);
                s.look(1700);
            },
            &[Missing(8)],
            &[8],
            &[],
        ),
        (
            "the box's calendar set far ahead makes nothing late",
            |s| {
                s.expose(0, 1, plain);
                s.wall_off = 400 * 86_400_000;
                s.look(60);
                s.image(70, 1, None, bare);
            },
            &[],
            &[],
            &[],
        ),
        (
            "the box's calendar set back makes nothing wait for ever",
            |s| {
                s.expose(0, 1, plain);
                s.wall_off = -400 * 86_400_000;
                s.look(601);
            },
            &[Missing(1)],
            &[1],
            &[],
        ),
        (
            "a reboot in between changes nothing",
            |s| {
                s.expose(0, 1, plain);
                s.expose(10, 2, plain);
                s.boot = 2;
                s.image(200, 1, None, bare);
                s.look(620);
            },
            &[Missing(2)],
            &[2],
            &[],
        ),
        (
            "two images of one acquisition are one exposure's",
            |s| {
                s.learn(2);
                s.expose(500, 3, plain);
                s.image(510, 30, Some(500), |h| h.study = Some(3));
                s.image(511, 31, Some(500), |h| h.study = Some(3));
                s.look(2000);
            },
            &[],
            &[],
            &[],
        ),
        (
            "another acquisition of the same study needs another exposure",
            |s| {
                s.learn(2);
                s.expose(500, 3, plain);
                s.image(510, 30, Some(500), |h| h.study = Some(3));
                s.image(545, 31, Some(540), |h| h.study = Some(3));
                s.look(2000);
            },
            &[Unexplained(31)],
            &[],
            &[31],
        ),
        (
            "a repeated exposure need not have an image",
            |s| {
                s.expose(0, 1, plain);
                s.expose(30, 2, |e| e.repeats = Some(1));
                s.image(40, 1, None, bare);
                s.look(2000);
            },
            &[],
            &[],
            &[],
        ),
        (
            "a repeated exposure may have one",
            |s| {
                s.expose(0, 1, plain);
                s.expose(30, 2, |e| e.repeats = Some(1));
                s.image(40, 1, None, bare);
                s.image(41, 2, None, bare);
                s.look(2000);
            },
            &[],
            &[],
            &[],
        ),
        (
            "a named study is matched whatever the order",
            |s| {
                s.expose(0, 1, |e| e.subject = Some(Subject::Study(71u64.to_be_bytes())));
                s.expose(5, 2, |e| e.subject = Some(Subject::Accession(72u64.to_be_bytes())));
                s.image(20, 1, None, |h| (h.study, h.accession) = (Some(5), Some(72)));
                s.look(700);
            },
            &[Missing(1)],
            &[1],
            &[],
        ),
        (
            "an image of another named study is not the exposure's",
            |s| {
                s.expose(0, 1, |e| e.subject = Some(Subject::Study(71u64.to_be_bytes())));
                s.image(20, 1, None, |h| h.study = Some(5));
                s.look(700);
            },
            &[Missing(1), Unexplained(1)],
            &[1],
            &[1],
        ),
        (
            "everything is forgotten after a day",
            |s| {
                s.expose(0, 1, plain);
                s.image(20, 1, None, |h| h.kilovolts = Some(1.0));
                s.expose(30, 2, kilovolts(1_000));
                s.look(700);
                s.look(90_000);
            },
            &[Missing(2)],
            &[],
            &[],
        ),
    ];
    for (name, play, news, missing, unexplained) in table {
        let mut scene = Scene::new();
        play(&mut scene);
        assert_eq!(scene.news, *news, "{name}");
        assert_eq!(scene.state(), (missing.to_vec(), unexplained.to_vec()), "{name}");
        // What a restart reads is what was known.
        let json = serde_json::to_vec(&scene.matching).unwrap();
        let read: Matching = serde_json::from_slice(&json).unwrap();
        assert_eq!(read, scene.matching, "{name}");
    }
}
