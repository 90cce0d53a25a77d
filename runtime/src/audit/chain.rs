//! The chain: each line holds its number and the SHA-256 of the line before, so none can be changed, dropped or
//! moved without the next one saying so. The last line has nobody after it: the *head*, kept beside the log, vouches
//! for that.
//!
//! Pure: bytes in, verdicts out.

use super::Event;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Where a chain stands: the number of its last line and the SHA-256 of that line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u64,
    pub(crate) sha256: [u8; 32],
}

/// Why a line does not belong where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Broken {
    #[error("is no line of an audit log: {0}")]
    Nonsense(String),
    #[error("is number {found}, expected {expected}")]
    Number { found: u64, expected: u64 },
    #[error(
        "says that the line before has SHA-256 {said}, it has {found}: one of the two was changed"
    )]
    Before { said: String, found: String },
    #[error("is an alarm raised by the daemon: {0}")]
    Alarm(String),
}

#[derive(Serialize)]
struct Written<'a> {
    n: u64,
    at: &'a str,
    #[serde(flatten)]
    event: &'a Event,
    before: String,
}

#[derive(Deserialize)]
struct Read {
    n: u64,
    what: String,
    why: Option<String>,
    before: String,
}

impl Head {
    /// Of a chain without lines.
    pub(crate) const START: Self = Self { number: 0, sha256: [0; 32] };

    /// The next line, with its end, and where the chain stands then.
    pub(crate) fn line(self, at: &str, event: &Event) -> serde_json::Result<(Vec<u8>, Self)> {
        let n = self.number + 1;
        let written = Written { n, at, event, before: hex::encode(self.sha256) };
        let mut line = serde_json::to_vec(&written)?;
        let sha256 = Sha256::digest(&line).into();
        line.push(b'\n');
        Ok((line, Self { number: n, sha256 }))
    }

    /// Where the chain stands after `line`, without its end, if that is the next one.
    pub(crate) fn follow(self, line: &[u8]) -> Result<Self, Broken> {
        let (read, next) = parse(line)?;
        if read.n != self.number + 1 {
            return Err(Broken::Number { found: read.n, expected: self.number + 1 });
        }
        let found = hex::encode(self.sha256);
        if read.before != found {
            return Err(Broken::Before { said: read.before, found });
        }
        if read.what == "alarm" {
            return Err(Broken::Alarm(read.why.unwrap_or_default()));
        }
        Ok(next)
    }

    /// Where the chain stands after `line`, whatever comes before it.
    pub(crate) fn after(line: &[u8]) -> Result<Self, Broken> {
        parse(line).map(|(_, head)| head)
    }

    /// 86 bytes, whatever the number, so that a file of it is overwritten in place.
    pub(crate) fn to_text(self) -> String {
        format!("{:020} {}\n", self.number, hex::encode(self.sha256))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, sha256) = text.strip_suffix('\n')?.split_once(' ')?;
        let sha256 = hex::decode(sha256).ok()?.try_into().ok()?;
        let head = Self { number: number.parse().ok()?, sha256 };
        (head.to_text() == text).then_some(head)
    }
}

fn parse(line: &[u8]) -> Result<(Read, Head), Broken> {
    let read: Read = serde_json::from_slice(line).map_err(|e| Broken::Nonsense(e.to_string()))?;
    let head = Head { number: read.n, sha256: Sha256::digest(line).into() };
    Ok((read, head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_the_way_to_disk_and_back() {
        for number in [0, 7, u64::MAX] {
            let head = Head { number, sha256: [0xab; 32] };
            let text = head.to_text();
            assert_eq!((text.len(), Head::parse(&text)), (86, Some(head)));
            for cut in 0..text.len() {
                assert_eq!(Head::parse(&text[..cut]), None);
            }
        }
        assert_eq!(Head::parse("+7 00\n"), None);
    }

    #[test]
    fn lines_follow_each_other_and_nothing_else() {
        let (first, one) = Head::START.line("t", &Event::Stop).unwrap();
        let (second, two) = one.line("t", &Event::Stop).unwrap();
        let first = first.strip_suffix(b"\n").unwrap();
        let second = second.strip_suffix(b"\n").unwrap();
        assert_eq!(Head::START.follow(first), Ok(one));
        assert_eq!(one.follow(second), Ok(two));
        assert_eq!(one.follow(first), Err(Broken::Number { found: 1, expected: 2 }));
        assert!(matches!(Head::START.follow(b"{}"), Err(Broken::Nonsense(_))));
        let other = Head { number: 1, sha256: [1; 32] };
        assert!(matches!(other.follow(second), Err(Broken::Before { .. })));
    }
}
