//! Frames: `COBS(payload · CRC-32) · 0x00`.
//!
//! COBS leaves no zero inside a frame, so a receiver that lost its place finds it again at the next zero.
//! The CRC is the reflected one of Ethernet and zip (polynomial 0x04C11DB7), little endian.

use alloc::vec::Vec;
use thiserror::Error;

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    #[error("longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("not COBS")]
    Stuffing,
    #[error("the CRC-32 does not fit")]
    Crc,
}

/// Length on the wire of a payload of `length` bytes, at most.
pub const fn encoded_length(length: usize) -> usize {
    let stuffed = length + 4;
    stuffed + stuffed.div_ceil(254) + 1 + 1
}

/// Turns a payload into a frame.
pub fn encode_frame(payload: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(payload).to_le_bytes();
    let mut out = Vec::with_capacity(encoded_length(payload.len()));
    out.push(0);
    let mut frame = Stuffing { out, block: 0, after_full: false };
    frame.push(payload);
    frame.push(&crc);
    frame.end()
}

/// COBS, a run at a time: `cobs` goes byte by byte, which was a sixth of what a push cost the workstation.
struct Stuffing {
    out: Vec<u8>,
    /// Where the open block begins: with its code, which is its length.
    block: usize,
    /// The block before it was a full one, which stands for no zero.
    after_full: bool,
}

impl Stuffing {
    /// Longest block, its code included.
    const FULL: usize = 255;

    fn push(&mut self, mut bytes: &[u8]) {
        while let [first, ..] = bytes {
            let room = Self::FULL - (self.out.len() - self.block);
            let window = &bytes[..room.min(bytes.len())];
            let run = window.iter().position(|&byte| byte == 0).unwrap_or(window.len());
            self.after_full &= *first == 0;
            self.out.extend_from_slice(&bytes[..run]);
            bytes = &bytes[run..];
            if run == room {
                self.close();
                self.after_full = true;
            } else if let [0, rest @ ..] = bytes {
                self.close();
                self.after_full = false;
                bytes = rest;
            }
        }
    }

    fn close(&mut self) {
        self.out[self.block] = (self.out.len() - self.block) as u8;
        self.block = self.out.len();
        self.out.push(0);
    }

    fn end(mut self) -> Vec<u8> {
        let length = self.out.len() - self.block;
        if length == 1 && self.after_full {
            // Nothing comes behind a full block, not even a zero.
            self.out.pop();
        } else {
            self.out[self.block] = length as u8;
        }
        self.out.push(0);
        self.out
    }
}

/// Finds frames in a stream of bytes, in pieces as they come.
///
/// Holds at most `limit` bytes. A bad frame is counted and skipped up to the next zero; empty frames
/// (a sender may begin with a zero to close whatever the line made of noise) are not counted.
#[derive(Debug)]
pub struct Decoder {
    held: Vec<u8>,
    limit: usize,
    skipping: bool,
    dropped: u64,
    last_error: Option<FrameError>,
}

impl Decoder {
    /// `limit`: longest frame on the wire, its zero included.
    pub fn new(limit: usize) -> Self {
        Self { held: Vec::new(), limit, skipping: false, dropped: 0, last_error: None }
    }

    /// Takes bytes from the front of `input` until a whole good frame is there, and returns its payload.
    /// `None`: all of `input` was taken and no frame is complete.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Vec<u8>> {
        while !input.is_empty() {
            let Some(end) = input.iter().position(|&byte| byte == 0) else {
                self.hold(input);
                *input = &[];
                return None;
            };
            self.hold(&input[..end]);
            *input = &input[end + 1..];
            if let Some(payload) = self.finish() {
                return Some(payload);
            }
        }
        None
    }

    /// Frames dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Why the latest of them was.
    pub fn last_error(&self) -> Option<FrameError> {
        self.last_error
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.held.len() + bytes.len() >= self.limit {
            self.skipping = true;
            self.held = Vec::new();
            return;
        }
        self.held.extend_from_slice(bytes);
    }

    /// A zero came: what is held is a frame, or was one.
    fn finish(&mut self) -> Option<Vec<u8>> {
        if core::mem::take(&mut self.skipping) {
            self.drop_frame(FrameError::TooLong { limit: self.limit });
            return None;
        }
        if self.held.is_empty() {
            return None;
        }
        match open(core::mem::take(&mut self.held)) {
            Ok(payload) => Some(payload),
            Err(error) => {
                self.drop_frame(error);
                None
            }
        }
    }

    fn drop_frame(&mut self, error: FrameError) {
        self.dropped += 1;
        self.last_error = Some(error);
    }
}

fn open(mut frame: Vec<u8>) -> Result<Vec<u8>, FrameError> {
    let length = cobs::decode_in_place(&mut frame).map_err(|_| FrameError::Stuffing)?;
    frame.truncate(length);
    let (payload, crc) = frame.split_last_chunk::<4>().ok_or(FrameError::Crc)?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*crc) {
        return Err(FrameError::Crc);
    }
    frame.truncate(length - 4);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1024;

    fn all(decoder: &mut Decoder, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| decoder.next(&mut bytes)).collect()
    }

    #[test]
    fn the_frame_format_never_changes() {
        assert_eq!(encode_frame(b"123456789"), b"\x0e123456789\x26\x39\xf4\xcb\x00");
        assert_eq!(encode_frame(b"a\0b"), b"\x02a\x06b\x71\x78\xe8\x15\x00");
    }

    #[test]
    fn a_frame_over_the_limit_is_dropped_and_the_next_one_found() {
        let mut decoder = Decoder::new(LIMIT);
        let mut stream = encode_frame(&[7; LIMIT]);
        stream.extend(encode_frame(b"good"));
        assert_eq!(all(&mut decoder, &stream), [b"good"]);
        assert_eq!(decoder.last_error(), Some(FrameError::TooLong { limit: LIMIT }));
    }

    #[test]
    fn an_endless_frame_takes_no_memory() {
        let mut decoder = Decoder::new(LIMIT);
        for _ in 0..1000 {
            assert!(all(&mut decoder, &[1; 1000]).is_empty());
            assert!(decoder.held.capacity() <= 2 * LIMIT);
        }
    }

    /// Runs that are about as long as a block, and zeros.
    fn runs() -> impl Strategy<Value = Vec<u8>> {
        let run = (prop_oneof![0..3_usize, 250..260_usize, 505..512_usize], any::<bool>());
        proptest::collection::vec(run, 0..6).prop_map(|runs| {
            let run = |(length, zero)| [alloc::vec![7; length], alloc::vec![0; usize::from(zero)]];
            runs.into_iter().flat_map(run).flatten().collect()
        })
    }

    proptest! {
        #[test]
        fn frames_are_stuffed_as_the_crate_of_that_name_does(
            payload in prop_oneof![runs(), proptest::collection::vec(any::<u8>(), 0..900)],
        ) {
            let crc = crc32fast::hash(&payload).to_le_bytes();
            let mut expected = cobs::encode_vec(&[&payload[..], &crc].concat());
            expected.push(0);
            prop_assert_eq!(encode_frame(&payload), expected);
        }

        #[test]
        fn payloads_survive_the_wire_in_any_pieces(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 1..5),
            piece in 1_usize..40,
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| encode_frame(payload)).collect();
            let mut decoder = Decoder::new(LIMIT);
            let found: Vec<_> = stream.chunks(piece).flat_map(|bytes| all(&mut decoder, bytes)).collect();
            prop_assert_eq!(found, payloads);
            prop_assert_eq!(decoder.dropped(), 0);
        }

        #[test]
        fn a_flipped_bit_is_noticed_and_costs_no_other_frame(
            payload in proptest::collection::vec(any::<u8>(), 0..600), at in any::<usize>(),
        ) {
            let mut stream = encode_frame(&payload);
            let bit = at % (stream.len() * 8);
            stream[bit / 8] ^= 1 << (bit % 8);
            stream.extend([0]);
            stream.extend(encode_frame(b"next"));
            let mut decoder = Decoder::new(LIMIT);
            let found = all(&mut decoder, &stream);
            if found.len() == 2 {
                // An end behind a full block that became an empty block: other bytes, the same payload.
                prop_assert_eq!(&found[0], &payload);
            } else {
                prop_assert!(decoder.dropped() > 0);
            }
            prop_assert_eq!(found.last().map(Vec::as_slice), Some(&b"next"[..]));
        }

        #[test]
        fn an_empty_block_behind_a_full_one_says_nothing_else(zeros in 0_usize..20) {
            let fitting = |payload: &Vec<u8>| encode_frame(payload)[zeros] == 255;
            let payload = (0_u8..=255).map(|last| {
                let mut payload = alloc::vec![0; zeros];
                payload.extend([1; 249]);
                payload.push(last);
                payload
            });
            for payload in payload.filter(fitting) {
                let mut stream = encode_frame(&payload);
                *stream.last_mut().expect("an end") = 1;
                stream.push(0);
                prop_assert_eq!(all(&mut Decoder::new(LIMIT), &stream), [payload]);
            }
        }

        #[test]
        fn the_length_is_never_underestimated(payload in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(encode_frame(&payload).len() <= encoded_length(payload.len()));
        }

        #[test]
        fn noise_never_panics_and_hides_no_frame(noise in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let mut decoder = Decoder::new(LIMIT);
            all(&mut decoder, &noise);
            let mut stream = alloc::vec![0];
            stream.extend(encode_frame(b"after"));
            let found = all(&mut decoder, &stream);
            prop_assert_eq!(found.last().map(Vec::as_slice), Some(&b"after"[..]));
        }
    }
}
