//! Says again to a box what was once said, and compares what it answers.
//!
//! What differs from one moment to the next is not compared: names, times, loads, free space, log lines, the lamp, how
//! a trial stands, how hot a box is.

use crate::DeviceError;
use crate::link::{Direction, Link, Tape};
use protocol::{
    Answer, BootRecord, Call, Decoder, Hello, Info, Refusal, Reply, Response, encode_frame,
};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Longest frame either side sends.
const MAX_FRAME: usize = 1 << 20;

/// A call, and what was answered, if anything was.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub call: Call,
    pub answer: Option<Result<Response, Refusal>>,
}

/// An answer that is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which call, counted from 1.
    pub call: usize,
    pub request: &'static str,
    pub recorded: String,
    pub now: String,
}

/// The calls of a recording in order, and how many frames are none.
pub fn calls(tape: &[Tape]) -> (Vec<Said>, u64) {
    let (mut to_box, mut from_box) = (Decoder::new(MAX_FRAME), Decoder::new(MAX_FRAME));
    let (mut said, mut strange) = (Vec::<Said>::new(), 0);
    for piece in tape {
        let mut bytes = &piece.bytes[..];
        match piece.direction {
            Direction::ToBox => {
                while let Some(payload) = to_box.next(&mut bytes) {
                    match Call::from_bytes(&payload) {
                        Ok(call) => said.push(Said { call, answer: None }),
                        Err(_) => strange += 1,
                    }
                }
            }
            Direction::FromBox => {
                while let Some(payload) = from_box.next(&mut bytes) {
                    let Some(answer) = Answer::from_bytes(&payload) else {
                        strange += 1;
                        continue;
                    };
                    let Answer::Reply(Reply { number, outcome }) = answer else { continue };
                    let open =
                        |said: &&mut Said| said.call.number == number && said.answer.is_none();
                    if let Some(said) = said.iter_mut().rev().find(open) {
                        said.answer = Some(outcome);
                    }
                }
            }
        }
    }
    (said, strange + to_box.dropped() + from_box.dropped())
}

/// Says all of it, each call once its predecessor was answered; what is answered otherwise.
pub fn replay(
    link: &mut dyn Link,
    said: &[Said],
    silence: Duration,
) -> Result<Vec<Difference>, DeviceError> {
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut differences = Vec::new();
    link.send(&[0], silence)?;
    for (at, Said { call, answer }) in said.iter().enumerate() {
        link.send(&encode_frame(&call.to_bytes()), silence)?;
        let now = reply(link, &mut decoder, call.number, silence)?;
        let Some(recorded) = answer else { continue };
        let (recorded, now) = (steady(recorded.clone()), steady(now));
        if recorded != now {
            let (recorded, now) = (shortened(&recorded), shortened(&now));
            let request = call.request.name();
            differences.push(Difference { call: at + 1, request, recorded, now });
        }
    }
    Ok(differences)
}

fn reply(
    link: &mut dyn Link,
    decoder: &mut Decoder,
    number: u32,
    silence: Duration,
) -> Result<Result<Response, Refusal>, DeviceError> {
    let mut bytes = [0; 16 << 10];
    let mut heard = Instant::now();
    loop {
        let left = silence.saturating_sub(heard.elapsed());
        if left.is_zero() {
            return Err(DeviceError::Silent { what: "replay", silence });
        }
        let mut rest = match link.receive(&mut bytes, left) {
            Ok(0) => return Err(DeviceError::Closed),
            Ok(length) => &bytes[..length],
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        while let Some(payload) = decoder.next(&mut rest) {
            heard = Instant::now();
            if let Some(Answer::Reply(reply)) = Answer::from_bytes(&payload)
                && reply.number == number
            {
                return Ok(reply.outcome);
            }
        }
    }
}

/// What is the same whenever it is asked.
fn steady(outcome: Result<Response, Refusal>) -> Result<Response, Refusal> {
    let record = |record: BootRecord| {
        let last_failure =
            record.last_failure.map(|failure| protocol::Failure { at: 0, ..failure });
        BootRecord { last_failure, ..record }
    };
    Ok(match outcome? {
        Response::Hello(hello) => {
            Response::Hello(Hello { device: String::new(), boot: [0; 16], ..hello })
        }
        Response::Info(info) => Response::Info(Info {
            device: String::new(),
            system: String::new(),
            board: None,
            uptime: 0,
            disk_free: 0,
            disk_total: 0,
            frames_dropped: 0,
            ..info
        }),
        Response::Slots(found) => Response::Slots(record(found)),
        Response::Changed(found) => Response::Changed(record(found)),
        Response::Logs { .. } => Response::Logs { lines: Vec::new(), next: 0, lost: 0 },
        Response::Telemetry(_) | Response::Trial(_) | Response::Profile(_) => {
            Response::Sunk { length: u32::MAX }
        }
        Response::Lamp { .. } | Response::Room(_) => {
            Response::Lamp { lamp: protocol::Lamp::Idle, missing: 0 }
        }
        other => other,
    })
}

fn shortened(outcome: &Result<Response, Refusal>) -> String {
    format!("{outcome:?}").chars().take(300).collect()
}
