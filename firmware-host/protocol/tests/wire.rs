//! The bytes of every message and record, as released; and that no bytes from outside can hurt.

mod messages;

use messages::{answers, call, calls, noted, record, states};
use proptest::prelude::*;
use protocol::*;
use std::fmt::{Debug, Write};

const RELEASED: &str = include_str!("released-1.0.txt");

#[test]
fn the_wire_format_never_changes() {
    let mut now = String::new();
    let mut line = |what: &dyn Debug, bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let what = format!("{what:?}");
        writeln!(now, "{} {hex}", what.split([' ', '{', '(']).next().unwrap()).unwrap();
    };
    for request in calls() {
        line(&request, &call(request.clone()).to_bytes());
    }
    for answer in answers() {
        let bytes = answer.to_bytes();
        match &answer {
            Answer::Reply(Reply { outcome: Ok(response), .. }) => line(response, &bytes),
            Answer::Reply(Reply { outcome: Err(refusal), .. }) => line(refusal, &bytes),
            Answer::Event(event) => line(event, &bytes),
        }
    }
    line(&record(), &record().to_bytes());
    for state in states() {
        let mut record = record();
        record.slots[1].state = state;
        line(&state, &record.to_bytes());
    }
    line(&"noted", &noted().to_bytes());
    assert_eq!(now.lines().count(), RELEASED.lines().count(), "all now:\n{now}");
    for (now, released) in now.lines().zip(RELEASED.lines()) {
        assert_eq!(now, released, "found / released");
    }
}

#[test]
fn every_message_survives_the_wire() {
    for request in calls() {
        let call = call(request);
        assert_eq!(Call::from_bytes(&call.to_bytes()), Ok(call));
    }
    for answer in answers() {
        assert_eq!(Answer::from_bytes(&answer.to_bytes()), Some(answer));
    }
    assert_eq!(BootRecord::from_bytes(&record().to_bytes()), Ok(record()));
}

#[test]
fn a_request_from_the_future_is_answered_not_dropped() {
    let mut bytes = call(Request::Info).to_bytes();
    *bytes.last_mut().unwrap() = 120;
    assert_eq!(Call::from_bytes(&bytes), Err(CallError::Unsupported { number: 300 }));
}

#[test]
fn peers_speak_the_older_version_if_both_understand_it() {
    let v = |major, minor| Version { major, minor };
    assert_eq!(negotiate((v(1, 2), v(1, 0)), (v(1, 0), v(1, 0))), Some(v(1, 0)));
    assert_eq!(negotiate((v(2, 0), v(1, 1)), (v(1, 3), v(1, 0))), Some(v(1, 3)));
    assert_eq!(negotiate((v(2, 0), v(2, 0)), (v(1, 3), v(1, 0))), None);
}

#[test]
fn the_newer_whole_copy_counts() {
    let old = record();
    let new = BootRecord { generation: 301, ..record() };
    let (old_bytes, new_bytes) = (old.to_bytes(), new.to_bytes());
    assert_eq!(newest([Some(&old_bytes), Some(&new_bytes)]), Ok(Some(new.clone())));
    assert_eq!(newest([Some(&new_bytes), Some(&old_bytes)]), Ok(Some(new)));
    assert_eq!(newest([Some(&old_bytes), Some(&new_bytes[1..])]), Ok(Some(old)));
    assert_eq!(newest([None, Some(b"")]), Ok(None));
}

#[test]
fn releases_are_three_numbers_and_sort_as_such() {
    let release = |text: &str| text.parse::<Release>();
    assert!(release("1.10").unwrap() > release("1.9.9").unwrap());
    assert_eq!(release("2").unwrap().to_string(), "2.0.0");
    for wrong in ["", "1.", "1.2.3.4", "v1", "+1", "1.x", "99999999999"] {
        assert!(release(wrong).unwrap_err().contains("MAJOR.MINOR.PATCH"), "{wrong}");
    }
}

proptest! {
    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Call::from_bytes(&bytes);
        let _ = Answer::from_bytes(&bytes);
        prop_assert!(BootRecord::from_bytes(&bytes).is_err());
    }

    #[test]
    fn one_flipped_bit_of_a_record_is_noticed(at in any::<usize>()) {
        let mut bytes = record().to_bytes();
        let bit = at % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(BootRecord::from_bytes(&bytes).is_err());
    }

    #[test]
    fn messages_spoiled_past_their_crc_never_panic(which in any::<usize>(), at in any::<usize>(), bits in 1_u8..) {
        let answers = answers();
        let mut bytes = answers[which % answers.len()].to_bytes();
        let at = at % bytes.len();
        bytes[at] ^= bits;
        let _ = Answer::from_bytes(&bytes);
        let _ = Call::from_bytes(&bytes);
    }
}

/// After a downgrade, slots must not look empty, nor the copy of before the upgrade count.
#[test]
fn a_record_of_a_newer_format_is_refused_by_name_and_a_damaged_one_is_not_newer() {
    let old = record().to_bytes();
    let mut newer = old.clone();
    newer[4..6].copy_from_slice(&2u16.to_le_bytes());
    newer.splice(10..10, *b"what a later build adds");
    let crc = newer.len() - 4;
    let sum = crc32fast::hash(&newer[..crc]).to_le_bytes();
    newer[crc..].copy_from_slice(&sum);
    let refused = Err(RecordError::TooNew { found: 2 });
    assert_eq!(newest([Some(&newer), None]), refused);
    assert_eq!(newest([Some(&old), Some(&newer)]), refused);
    assert_eq!(newest([Some(&newer), Some(&old)]), refused);
    let damaged = [&old[..4], &[2, 0], &old[6..]].concat();
    assert_eq!(newest([Some(&damaged), Some(&old)]), Ok(Some(record())));
}

/// A box is updated, and the update taken back: both builds read what the other wrote.
#[test]
fn records_of_the_first_builds_load_and_they_skip_what_was_added() {
    let released = |name: &str| {
        let line = RELEASED.lines().find(|line| line.starts_with(name)).unwrap();
        let hex = line.split(' ').nth(1).unwrap().as_bytes();
        let pairs = hex.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(BootRecord::from_bytes(&released("BootRecord ")), Ok(record()));
    assert_eq!(BootRecord::from_bytes(&released("\"noted\"")), Ok(noted()));
    // What the first builds did with the bytes between head and CRC.
    let bytes = noted().to_bytes();
    let body = &bytes[10..bytes.len() - 4];
    assert_eq!(postcard::from_bytes::<BootRecord>(body), Ok(record()));
    // And what a build after this one adds is skipped by this one.
    let mut later = noted();
    later.generation = 1;
    later.notes.deaths = 300;
    assert_eq!(BootRecord::from_bytes(&later.to_bytes()), Ok(later.clone()));
    let mut bytes = later.to_bytes();
    bytes.truncate(bytes.len() - 4);
    bytes.extend(b"more");
    let length = u32::try_from(bytes.len() - 10).unwrap();
    bytes[6..10].copy_from_slice(&length.to_le_bytes());
    let sum = crc32fast::hash(&bytes);
    bytes.extend(sum.to_le_bytes());
    assert_eq!(BootRecord::from_bytes(&bytes), Ok(later));
}

/// Who may ask for what, as a table: a change of it is a change of this test.
#[test]
fn a_role_may_ask_for_what_the_table_says() {
    let table = [
        (Role::Report, "hello ping exposure detector interlock lamp find enrol"),
        (
            Role::Look,
            "hello info slots ping logs telemetry trial lamp room journal find enrol keys profile packs",
        ),
        (
            Role::Operate,
            "hello info slots begin write finish verify activate confirm rollback ping logs telemetry sink source trial exposure detector interlock lamp room journal find enrol keys profile pack unpack packs",
        ),
    ];
    for (role, expected) in table {
        let may: Vec<_> =
            calls().iter().filter(|call| role.allows(call)).map(Request::name).collect();
        assert_eq!(may.join(" "), expected, "{role}");
    }
    assert!(calls().iter().all(|call| Role::Administer.allows(call)));
    let strangers = calls().into_iter().filter(Request::is_for_strangers);
    let strangers: Vec<_> = strangers.map(|call| call.name()).collect();
    assert_eq!(strangers, ["hello", "enrol"]);
    for role in Role::ALL {
        assert_eq!(role.to_string().parse(), Ok(role));
    }
}
