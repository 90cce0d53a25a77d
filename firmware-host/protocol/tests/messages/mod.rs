//! One of every message.

use protocol::exposure::*;
use protocol::*;

pub(crate) fn calls() -> Vec<Request> {
    let (sha256, payload) = (Digest([0xD1; 32]), || Bytes(b"a\0b".to_vec()));
    vec![
        Request::Hello {
            version: Version { major: 1, minor: 0 },
            oldest: Version { major: 1, minor: 0 },
        },
        Request::Info,
        Request::Slots,
        Request::Begin { sha256, total: 300 },
        Request::Write { offset: 300, chunk: payload() },
        Request::Finish { sha256 },
        Request::Verify { slot: SlotId::B },
        Request::Activate { sha256 },
        Request::Confirm { sha256 },
        Request::Rollback { reason: "wrong".into() },
        Request::Ping { payload: payload() },
        Request::Logs { from: 7, limit: 100 },
        Request::Telemetry,
        Request::Sink { payload: payload() },
        Request::Source { length: 1000 },
        Request::Trial,
        Request::Force { sha256, reason: "wanted".into() },
        Request::Exposure(exposure()),
        Request::Detector(detector()),
        Request::Interlock(interlock()),
        Request::Lamp,
        Request::Room,
        Request::Journal { journal: Journal::Evidence, from: 7, limit: 100 },
        Request::Find,
        Request::Enrol { proof: sha256, name: "shop".into() },
        Request::Keys,
        Request::Keyring { offset: 300, total: 400, chunk: payload() },
        Request::NextKey,
        Request::Profile,
        Request::Pack { offset: 300, total: 400, chunk: payload() },
        Request::Unpack { name: "heart".into() },
        Request::Packs,
    ]
}

pub(crate) fn exposure() -> Exposure {
    Exposure {
        controller: 1,
        epoch: 300,
        sequence: 7,
        outcome: Outcome::Complete,
        age: Some(300),
        clock: Some(1_800_000_000_000),
        technique: Technique {
            kilovolts: Some(1_250),
            charge: Some(2_500),
            duration: Some(83),
            distance: Some(1_800),
            grid: Some(true),
            automatic: Some(false),
            dose_area: None,
        },
        subject: Some(Subject::Accession([0xAC; 8])),
        repeats: Some(6),
    }
}

pub(crate) fn detector() -> Detector {
    Detector { controller: 1, readiness: Readiness::Fault(300), temperature: Some(-5) }
}

pub(crate) fn interlock() -> Interlock {
    Interlock { controller: 1, state: InterlockState::DoorOpen }
}

pub(crate) fn record() -> BootRecord {
    let release = Release { major: 1, minor: 4, patch: 0 };
    let bundle = Bundle { id: "chest".into(), release, digest: Digest([0xB1; 32]) };
    let slot = |state, sha256, bundle| Slot { state, sha256: Some(Digest([sha256; 32])), bundle };
    BootRecord {
        generation: 300,
        slots: [
            slot(SlotState::Confirmed, 0xA1, Some(bundle.clone())),
            slot(SlotState::Bad { reason: Cause::SelfTest }, 0xA2, None),
        ],
        active: Some(SlotId::A),
        floor: release,
        last_failure: Some(Failure {
            slot: SlotId::B,
            bundle: Some(bundle),
            cause: Cause::SelfTest,
            detail: "vector 0".into(),
            at: 1_800_000_000,
        }),
        notes: Notes::default(),
    }
}

pub(crate) fn forced() -> Forced {
    Forced { reason: "wanted".into(), lacked: "a daemon".into(), at: 1_800_000_000 }
}

/// With everything that builds after the first have added.
pub(crate) fn noted() -> BootRecord {
    let activation = Activation { generation: 299, boot: BootId([0xB0; 16]), millis: 70_000 };
    let notes = Notes { activation, forced: [Some(forced()), None], deaths: 0 };
    BootRecord { notes, ..record() }
}

pub(crate) fn states() -> Vec<SlotState> {
    let causes = [
        Cause::Damaged,
        Cause::Untrusted,
        Cause::SelfTest,
        Cause::NotConfirmed,
        Cause::Attempts,
        Cause::Operator,
        Cause::Health,
    ];
    let mut states = vec![
        SlotState::Empty,
        SlotState::Writing { received: 1, total: 300 },
        SlotState::Verified,
        SlotState::Trial { attempts_left: 3 },
        SlotState::Confirmed,
    ];
    states.extend(causes.map(|reason| SlotState::Bad { reason }));
    states
}

pub(crate) fn responses() -> Vec<Response> {
    let version = Version { major: 1, minor: 0 };
    let line = LogLine {
        number: 7,
        nanos: 300,
        level: Level::Warn,
        target: "agent".into(),
        message: "late".into(),
    };
    vec![
        Response::Hello(Hello {
            version,
            oldest: version,
            features: 7,
            max_frame: 70_000,
            device: "box".into(),
            boot: [9; 16],
        }),
        Response::Info(Info {
            device: "box".into(),
            agent: "firmware-host 0.1.0".into(),
            system: "Linux".into(),
            board: Some("Orin".into()),
            machine: "aarch64".into(),
            uptime: 5,
            disk_free: 300,
            disk_total: 400,
            frames_dropped: 1,
            signatures_required: true,
        }),
        Response::Slots(record()),
        Response::Begun { slot: SlotId::B, received: 300 },
        Response::Written { received: 300 },
        Response::Verified { slot: SlotId::B },
        Response::Changed(record()),
        Response::Pong { payload: Bytes(b"a\0b".to_vec()) },
        Response::Logs { lines: vec![line], next: 8, lost: 2 },
        Response::Telemetry(Telemetry {
            uptime: Some(1.5),
            load: Some([0.25, 0.5, 1.0]),
            memory_total: Some(300),
            memory_available: None,
            disk_free: Some(1),
            temperatures: vec![Temperature { sensor: "cpu".into(), celsius: 41.5 }],
        }),
        Response::Sunk { length: 3 },
        Response::Source { payload: Bytes(vec![1, 2]) },
        Response::Trial(Trial {
            on_trial: Some(OnTrial {
                slot: SlotId::B,
                sha256: Digest([0xD1; 32]),
                attempts_left: 2,
                seconds: 300,
                automatic: true,
                lacks: vec!["soak".into()],
            }),
            forced: [None, Some(forced())],
            running: Err("none".into()),
        }),
        Response::Lamp { lamp: Lamp::Urgent, missing: 2 },
        Response::Room(Room {
            lamp: Lamp::Idle,
            missing: 1,
            unexplained: 2,
            entries: 300,
            latest: Some(exposure()),
            detector: Some(detector()),
            interlock: Some(interlock()),
        }),
        Response::Found { version, device: "box".into(), key: Digest([0xC1; 32]) },
        Response::Enrolled { role: Role::Operate, proof: Digest([0xD1; 32]) },
        Response::Keys(Keys {
            keyring: Some("format = 1".into()),
            admitted: vec![AdmittedKey {
                key: Digest([0xC2; 32]),
                role: Role::Administer,
                name: "shop".into(),
            }],
        }),
        Response::Keyring { received: 300 },
        Response::NextKey { key: Digest([0xC3; 32]) },
        Response::Profile(Profile {
            name: "pi".into(),
            cores: vec![Core { number: 3, capacity: 1024, megahertz: Some(2400), shares: None }],
            chosen: vec![3],
            pinned: true,
            power: vec![Power {
                by: "governor".into(),
                mode: "slow".into(),
                advice: Some("more".into()),
            }],
            heat: Heat {
                derating: Derating::Pauses,
                sensor: Some("cpu".into()),
                celsius: Some(41.5),
                limit: Some(80.0),
            },
        }),
        Response::Composed { slot: SlotId::B, sha256: Digest([0xD1; 32]) },
        Response::Packs(SlotPacks {
            slots: [
                vec![PackName {
                    name: "heart".into(),
                    version: "1.0.0".into(),
                    digest: Digest([0xE1; 32]),
                }],
                vec![],
            ],
        }),
    ]
}

pub(crate) fn refusals() -> Vec<Refusal> {
    let version = Version { major: 1, minor: 0 };
    let release = |major| Release { major, minor: 0, patch: 0 };
    vec![
        Refusal::Unsupported,
        Refusal::Version { version, oldest: version },
        Refusal::Busy { doing: "activate".into() },
        Refusal::State { detail: "no".into() },
        Refusal::Offset { expected: 300 },
        Refusal::TooLarge { found: 300, limit: 200 },
        Refusal::Bad { slot: SlotId::A, cause: Cause::Damaged, detail: "no".into() },
        Refusal::Floor { found: release(1), floor: release(2) },
        Refusal::Disk { detail: "full".into() },
        Refusal::NoHello,
        Refusal::Unproven { detail: "soak".into() },
        Refusal::Value { detail: "no".into() },
        Refusal::Forbidden { role: Role::Look, request: "activate".into() },
        Refusal::Enrolment { detail: "no".into() },
        Refusal::Keyring { detail: "no".into() },
        Refusal::Pack { detail: "no".into() },
    ]
}

pub(crate) fn answers() -> Vec<Answer> {
    let ok = responses().into_iter().map(Ok);
    let outcomes = ok.chain(refusals().into_iter().map(Err));
    let mut answers: Vec<_> =
        outcomes.map(|outcome| Answer::Reply(Reply { number: 5, outcome })).collect();
    answers.push(Answer::Event(Event::Working { number: 5, seconds: 2 }));
    answers
}

pub(crate) fn call(request: Request) -> Call {
    Call { number: 300, id: RequestId([0x1D; 16]), request }
}
