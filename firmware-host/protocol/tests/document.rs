//! `docs/protocol.md`, and `docs/prompt-packs.md` for packs, say what the code does: every message with its bytes, in
//! order, and frames.

#![expect(clippy::unwrap_used, reason = "a test")]

use protocol::{Decoder, encode_frame};

const RELEASED: &str = include_str!("released-1.0.txt");
const DOCUMENT: &str = include_str!("../../docs/protocol.md");
const OF_PACKS: &str = include_str!("../../docs/prompt-packs.md");

/// Lines of the fenced blocks of a kind.
fn blocks(document: &'static str, kind: &str) -> Vec<&'static str> {
    let fences = document.split("```").skip(1).step_by(2);
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
    let of_packs = blocks(OF_PACKS, "wire\n");
    let (packs, others): (Vec<&str>, Vec<&str>) =
        released.iter().partition(|line| of_packs.contains(line));
    for (name, documented, released) in
        [("protocol.md", blocks(DOCUMENT, "wire\n"), others), ("prompt-packs.md", of_packs, packs)]
    {
        for (at, line) in released.iter().enumerate() {
            let found = documented.get(at);
            assert_eq!(found, Some(line), "docs/{name}, message {at}: found / released");
        }
        let most = released.len();
        assert_eq!(documented.len(), most, "docs/{name} has messages that are not released");
    }
}

#[test]
fn the_documented_frames_are_frames_of_their_messages() {
    let frames = blocks(DOCUMENT, "frame\n");
    assert!(frames.len() >= 2, "{frames:?}");
    for line in frames {
        let (message, frame) = line.split_once(' ').unwrap();
        assert_eq!(encode_frame(&bytes(message)), bytes(frame), "{line}");
        assert_eq!(Decoder::new(1024).next(&mut &bytes(frame)[..]), Some(bytes(message)));
    }
}
