//! What an X-ray controller tells a real agent, over TCP and over a line.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use exposures::{Event, LampFile, Reader, Shown};
use firmware_host::link::line::Caller;
use firmware_host::link::tls::{Client, Identity, Records};
use firmware_host::link::{Link, Tty};
use firmware_host::{Device, DeviceError, Patience};
use protocol::exposure::{InterlockState, Outcome, Readiness, Technique};
use protocol::{Detector, Exposure, Feature, Interlock, Lamp, Refusal};
use std::path::Path;
use std::time::Duration;
use support::{Agent, connect, of_the_box, ours};

const PATIENCE: Patience =
    Patience { silence: Duration::from_secs(20), call: Duration::from_secs(60) };
const ROOM: &str = "[exposures]\nfolder = \"exposures\"\n";

fn device(agent: &Agent) -> Device {
    let link: Box<dyn Link> = match agent.address.split_once("://").unwrap() {
        ("tcp", address) => Box::new(connect(address)),
        (_, path) => {
            let identity = Identity::new(&ours());
            let client = Client::new(&identity, Some(of_the_box().verifying_key()), Records::Short);
            let line = Caller::new(Tty::open(Path::new(path), None).unwrap()).unwrap();
            Box::new(client.connect(line, PATIENCE.silence).unwrap())
        }
    };
    Device::open(link, PATIENCE).unwrap()
}

fn exposure(sequence: u32) -> Exposure {
    let technique =
        Technique { kilovolts: Some(1_250), charge: Some(2_500), ..Technique::default() };
    Exposure {
        controller: 0,
        epoch: 1,
        sequence,
        outcome: Outcome::Complete,
        age: Some(40),
        clock: None,
        technique,
        subject: None,
        repeats: None,
    }
}

fn refused(error: DeviceError) -> Refusal {
    match error {
        DeviceError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[test]
fn an_exposure_is_on_the_disk_when_the_answer_comes_and_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &format!("[listen]\npty = \"link\"\n{ROOM}"));
    let mut controller = device(&agent);
    assert!(controller.hello().has(Feature::Exposures));
    controller.expose(exposure(1)).unwrap();
    agent.kill();
    let agent = Agent::start(folder.path(), "");
    let mut controller = device(&agent);
    // The answer may have been lost: it is told again.
    controller.expose(Exposure { age: Some(900), ..exposure(1) }).unwrap();
    controller.expose(exposure(2)).unwrap();
    let read = Reader::new(&folder.path().join("exposures"), 1).read().unwrap();
    let told: Vec<_> = read.entries.iter().map(|entry| entry.event).collect();
    assert_eq!(told, [Event::Exposure(exposure(1)), Event::Exposure(exposure(2))]);
    assert_eq!(agent.ok(&["room"])["latest"]["milliampere_seconds"], 2.5);
}

#[test]
fn what_no_controller_can_mean_is_refused_by_name_and_not_noted() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), ROOM);
    let mut controller = device(&agent);
    let technique = Technique { kilovolts: Some(9_000), ..Technique::default() };
    let wild = controller.expose(Exposure { technique, ..exposure(1) }).unwrap_err();
    let expected = "tube voltage is 9000 x 0.1 kV, expected 200 to 1500";
    assert_eq!(refused(wild), Refusal::Value { detail: expected.into() });
    let hot = Detector { controller: 0, readiness: Readiness::Ready, temperature: Some(9_999) };
    let hot = refused(controller.detector(hot).unwrap_err());
    assert!(hot.to_string().starts_with("detector temperature is 9999 "), "{hot}");
    controller.expose(exposure(1)).unwrap();
    let other = Exposure { outcome: Outcome::Aborted, ..exposure(1) };
    let contradiction = refused(controller.expose(other).unwrap_err()).to_string();
    assert!(contradiction.contains("was told before, otherwise"), "{contradiction}");
    assert_eq!(controller.room().unwrap().entries, 1);
}

#[test]
fn the_lamp_shows_what_the_daemon_says_while_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), ROOM);
    let mut controller = device(&agent);
    assert_eq!(controller.lamp().unwrap(), (Lamp::Trouble, 0));
    let mut daemon = LampFile::open(&folder.path().join("exposures")).unwrap();
    daemon.show(Shown { lamp: Lamp::Urgent, missing: 2, unexplained: 1 }).unwrap();
    assert_eq!(controller.lamp().unwrap(), (Lamp::Urgent, 2));
    let room = agent.ok(&["room"]);
    assert_eq!((&room["lamp"], &room["unexplained"]), (&"urgent".into(), &1.into()));
    drop(daemon);
    assert_eq!(controller.lamp().unwrap(), (Lamp::Trouble, 0));
}

#[test]
fn a_state_is_noted_when_it_changes_however_often_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), ROOM);
    let mut controller = device(&agent);
    for tenths in 0..10 {
        let readiness = if tenths < 5 { Readiness::Starting } else { Readiness::Ready };
        controller
            .detector(Detector { controller: 0, readiness, temperature: Some(tenths) })
            .unwrap();
        let state = InterlockState::DoorOpen;
        controller.interlock(Interlock { controller: 0, state }).unwrap();
    }
    let room = controller.room().unwrap();
    assert_eq!((room.entries, room.detector.unwrap().temperature), (3, Some(9)));
}

#[test]
fn a_box_without_an_x_ray_room_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "");
    let mut controller = device(&agent);
    assert!(!controller.hello().has(Feature::Exposures));
    let refusal = refused(controller.expose(exposure(1)).unwrap_err()).to_string();
    assert!(refusal.contains("[exposures] is not configured"), "{refusal}");
    assert!(agent.refused(&["room"])["error"].as_str().unwrap().contains("[exposures]"));
}
