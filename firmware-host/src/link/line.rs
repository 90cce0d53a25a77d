//! Sessions over a line that has no connections: serial, or a pseudo-terminal.
//!
//! ```text
//! frame of `protocol` around   kind u8 · session [8] · sequence u32 LE · bytes
//!
//! workstation   Open  0 ─▶ ToBox 1 ─▶ ToBox 2 …  End          session: drawn anew every time
//! box           ◀─ FromBox 0 ◀─ FromBox 1 …      Broken       "start anew": noise, or no such session
//! ```
//!
//! A session carries a stream of bytes whole and in order, or it breaks; then either end begins anew, and a
//! push goes on where it was. So TLS may run on a line that flips bits, and neither a restart of one end nor
//! what an earlier session left in the line confuses the next.

use super::Link;
use crate::random::random;
use protocol::{Decoder, encode_frame, encoded_length};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// Bytes of a stream in one frame: a TLS record of 4 KiB fits one.
const PIECE: usize = (4 << 10) + 64;
const HEAD: usize = 1 + 8 + 4;
/// What a leaving end waits to say so.
const FAREWELL: Duration = Duration::from_millis(200);

type SessionId = [u8; 8];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Open,
    ToBox,
    FromBox,
    Broken,
    End,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Open, Self::ToBox, Self::FromBox, Self::Broken, Self::End];
}

/// A frame's payload, taken apart.
#[derive(Debug)]
struct Piece {
    kind: Kind,
    session: SessionId,
    sequence: u32,
    bytes: Vec<u8>,
}

impl Piece {
    fn from_bytes(payload: &[u8]) -> Option<Self> {
        let (&kind, rest) = payload.split_first()?;
        let (&session, rest) = rest.split_first_chunk()?;
        let (&sequence, bytes) = rest.split_first_chunk()?;
        Some(Self {
            kind: *Kind::ALL.get(usize::from(kind))?,
            session,
            sequence: u32::from_le_bytes(sequence),
            bytes: bytes.to_vec(),
        })
    }
}

/// The wire, in pieces.
#[derive(Debug)]
struct Pieces<T> {
    wire: T,
    decoder: Decoder,
    waiting: VecDeque<Vec<u8>>,
}

impl<T: Link> Pieces<T> {
    fn new(wire: T) -> Self {
        let decoder = Decoder::new(encoded_length(HEAD + PIECE));
        Self { wire, decoder, waiting: VecDeque::new() }
    }

    fn send(
        &mut self,
        kind: Kind,
        session: SessionId,
        sequence: u32,
        bytes: &[u8],
        time: Duration,
    ) -> io::Result<()> {
        let head = [&[kind as u8][..], &session, &sequence.to_le_bytes()].concat();
        self.wire.send(&encode_frame(&[&head, bytes].concat()), time)
    }

    /// The next piece; `None`: a frame was lost to noise.
    fn next(&mut self, end: Instant) -> io::Result<Option<Piece>> {
        let mut bytes = [0; 8 << 10];
        loop {
            while let Some(payload) = self.waiting.pop_front() {
                if let Some(piece) = Piece::from_bytes(&payload) {
                    return Ok(Some(piece));
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            let length = self.wire.receive(&mut bytes, left)?;
            if length == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the line has ended"));
            }
            let dropped = self.decoder.dropped();
            let mut rest = &bytes[..length];
            self.waiting.extend(std::iter::from_fn(|| self.decoder.next(&mut rest)));
            if self.decoder.dropped() > dropped {
                return Ok(None);
            }
        }
    }
}

/// What of a stream has come and gone.
#[derive(Debug, Default)]
struct Stream {
    sent: u32,
    received: u32,
    /// Received and not yet read.
    ready: VecDeque<u8>,
}

impl Stream {
    fn take(&mut self, bytes: &mut [u8]) -> Option<usize> {
        if self.ready.is_empty() {
            return None;
        }
        let length = bytes.len().min(self.ready.len());
        for (to, from) in bytes.iter_mut().zip(self.ready.drain(..length)) {
            *to = from;
        }
        Some(length)
    }

    /// Whether the piece is the next one, or one seen before.
    fn receive(&mut self, sequence: u32, bytes: Vec<u8>) -> bool {
        if sequence == self.received {
            self.received = self.received.wrapping_add(1);
            self.ready.extend(bytes);
            return true;
        }
        sequence < self.received
    }
}

/// The workstation's end of one session.
#[derive(Debug)]
pub struct Caller<T: Link> {
    pieces: Pieces<T>,
    session: SessionId,
    stream: Stream,
}

impl<T: Link> Caller<T> {
    pub fn new(wire: T) -> io::Result<Self> {
        let [a, b, c, d, e, f, g, h, ..] = random()?;
        let session = [a, b, c, d, e, f, g, h];
        Ok(Self { pieces: Pieces::new(wire), session, stream: Stream::default() })
    }
}

impl<T: Link> Link for Caller<T> {
    fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize> {
        let end = Instant::now() + time;
        loop {
            if let Some(length) = self.stream.take(bytes) {
                return Ok(length);
            }
            let Some(piece) = self.pieces.next(end)? else {
                // Before the first piece of ours it may be the end of an earlier session's.
                if self.stream.received == 0 {
                    continue;
                }
                return Err(broken("a frame was lost to noise"));
            };
            match piece.kind {
                _ if piece.session != self.session => {}
                Kind::FromBox if !self.stream.receive(piece.sequence, piece.bytes) => {
                    return Err(broken("bytes were lost"));
                }
                Kind::Broken => return Err(broken("the box wants a new session")),
                Kind::FromBox | Kind::Open | Kind::ToBox | Kind::End => {}
            }
        }
    }

    fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        for bytes in bytes.chunks(PIECE) {
            let first = self.stream.sent == 0;
            if first {
                // Whatever the line made of noise before ends here.
                self.pieces.wire.send(&[0], time)?;
            }
            let kind = if first { Kind::Open } else { Kind::ToBox };
            let left = end.saturating_duration_since(Instant::now());
            self.pieces.send(kind, self.session, self.stream.sent, bytes, left)?;
            self.stream.sent = self.stream.sent.wrapping_add(1);
        }
        Ok(())
    }
}

impl<T: Link> Drop for Caller<T> {
    fn drop(&mut self) {
        if self.stream.sent > 0 {
            let _ = self.pieces.send(Kind::End, self.session, self.stream.sent, &[], FAREWELL);
        }
    }
}

/// The box's end: one session after the other, a new one in place of the one before.
#[derive(Debug)]
pub struct Answerer<T> {
    pieces: Pieces<T>,
    session: Option<SessionId>,
    stream: Stream,
    /// The piece that opened the next session while this one was on.
    next: Option<Piece>,
}

impl<T: Link> Answerer<T> {
    pub fn new(wire: T) -> Self {
        Self { pieces: Pieces::new(wire), session: None, stream: Stream::default(), next: None }
    }

    /// Waits for a session to begin.
    pub fn accept(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        loop {
            let piece = match self.next.take() {
                Some(piece) => Some(piece),
                None => self.pieces.next(end)?,
            };
            match piece {
                Some(piece) if piece.kind == Kind::Open && piece.sequence == 0 => {
                    self.session = Some(piece.session);
                    self.stream = Stream::default();
                    self.stream.receive(0, piece.bytes);
                    return Ok(());
                }
                // Of a session from before our start, or one that broke.
                Some(piece) if piece.kind == Kind::ToBox => self.refuse(piece.session),
                _ => {}
            }
        }
    }

    /// Ends the session, should it be on: the other end is told.
    pub fn hang_up(&mut self) {
        if let Some(session) = self.session.take() {
            self.refuse(session);
        }
    }

    /// Frames lost to noise since the start.
    pub fn dropped(&self) -> u64 {
        self.pieces.decoder.dropped()
    }

    fn refuse(&mut self, session: SessionId) {
        // Who does not hear it waits for an answer in vain, and begins anew then.
        let _ = self.pieces.send(Kind::Broken, session, 0, &[], FAREWELL);
    }
}

impl<T: Link> Link for Answerer<T> {
    fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize> {
        let end = Instant::now() + time;
        let session = self.session.ok_or_else(|| broken("no session is on"))?;
        loop {
            if let Some(length) = self.stream.take(bytes) {
                return Ok(length);
            }
            let Some(piece) = self.pieces.next(end)? else {
                return Err(broken("a frame was lost to noise"));
            };
            match piece.kind {
                Kind::Open if piece.session != session => {
                    self.next = Some(piece);
                    self.session = None;
                    return Ok(0);
                }
                Kind::Open | Kind::ToBox if piece.session == session => {
                    if !self.stream.receive(piece.sequence, piece.bytes) {
                        return Err(broken("bytes were lost"));
                    }
                }
                Kind::ToBox => self.refuse(piece.session),
                Kind::End if piece.session == session => return Ok(0),
                Kind::Open | Kind::FromBox | Kind::Broken | Kind::End => {}
            }
        }
    }

    fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        let session = self.session.ok_or_else(|| broken("no session is on"))?;
        for bytes in bytes.chunks(PIECE) {
            let left = end.saturating_duration_since(Instant::now());
            self.pieces.send(Kind::FromBox, session, self.stream.sent, bytes, left)?;
            self.stream.sent = self.stream.sent.wrapping_add(1);
        }
        Ok(())
    }
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, why)
}
