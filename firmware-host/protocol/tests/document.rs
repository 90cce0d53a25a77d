//! `docs/protocol.md` says what the code does: every message with its bytes, in order, and frames.

#![expect(clippy::unwrap_used, reason = "a test")]

use protocol::{Decoder, encode_frame};

const RELEASED: &str = include_str!("released-1.0.txt");
const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// Lines of the fenced blocks of a kind.
fn blocks(kind: &str) -> Vec<&str> {
    let fences = DOCUMENT.split("```").skip(1).step_by(2);
    fences
        .filter_map(|fence| fence.strip_prefix(kind))
        .flat_map(str::lines)
        .skip_while(|l| l.is_empty())
        .filter(|l| !l.is_empty())
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_message_is_documented_with_the_bytes_it_has() {
    let released: Vec<_> = RELEASED.lines().take_while(|l| !l.starts_with("BootRecord")).collect();
    let documented = blocks("wire\n");
    for (at, line) in released.iter().enumerate() {
        assert_eq!(
            documented.get(at),
            Some(line),
            "docs/protocol.md, message {at}: found / released"
        );
    }
    assert_eq!(
        documented.len(),
        released.len(),
        "docs/protocol.md has messages that are not released"
    );
}

#[test]
fn the_documented_frames_are_frames_of_their_messages() {
    let frames = blocks("frame\n");
    assert!(frames.len() >= 2, "{frames:?}");
    for line in frames {
        let (message, frame) = line.split_once(' ').unwrap();
        assert_eq!(encode_frame(&bytes(message)), bytes(frame), "{line}");
        assert_eq!(Decoder::new(1024).next(&mut &bytes(frame)[..]), Some(bytes(message)));
    }
}
