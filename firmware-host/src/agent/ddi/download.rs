//! A server's file into a slot, by the rules of a push: begin, write, finish.
//!
//! The slot knows how much of the bundle is there. So a download goes on where it broke off, also after a restart:
//! the description is fetched again, what the slot has is read from the disk, the rest comes from the server.

use super::client::{Client, HttpError};
use super::messages::Artifact;
use crate::agent::Agent;
use crate::swu::{self, Swu, SwuError};
use protocol::{Digest, Refusal, Request, Response, SlotId, Standing};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use thiserror::Error;
use ureq::BodyReader;
use ureq::http::StatusCode;

/// Bytes taken from the server and written at a time.
const PIECE: usize = 64 << 10;

/// Why a download did not reach its end.
#[derive(Debug, Error)]
pub(super) enum DownloadError {
    /// The line, the server, or another change under way: later it may work.
    #[error("{0}")]
    Passing(String),
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The box takes nothing now.
    #[error("{0}")]
    Waits(String),
    /// This file will never do.
    #[error("{0}")]
    Unfit(String),
}

/// Downloads what of `artifact` is missing. `note` hears which bundle it is before anything is written, `progress`
/// how many percent are there.
pub(super) fn download(
    agent: &Agent,
    client: &Client,
    artifact: &Artifact,
    note: impl FnOnce(Digest) -> io::Result<()>,
    mut progress: impl FnMut(u64),
) -> Result<(), DownloadError> {
    let mut source = Source::open(Remote::new(client, artifact), artifact)?;
    let (sha256, total) = (source.sha256, source.size());
    note(sha256).map_err(|error| passing(&error))?;
    let standing = agent.slots().record().standing(sha256);
    if !matches!(standing, Standing::Absent | Standing::Bad(_)) {
        return Ok(());
    }
    let begun = agent.ask(Request::Begin { sha256, total }).map_err(refused)?;
    let Response::Begun { slot, mut received } = begun else {
        return Err(DownloadError::Passing(format!("the slots answered {begun:?}")));
    };
    if received > 0 {
        known_part(agent, slot, received, &mut source)?;
    }
    let mut buffer = vec![0; PIECE];
    while let length @ 1.. = source.read(&mut buffer)? {
        received = agent.write_patiently(sha256, received, &buffer[..length]).map_err(refused)?;
        progress(received * 100 / total.max(1));
    }
    // If it is not the bundle announced, the slots will say so, and keep it as the reason.
    if Digest(source.hasher.clone().finalize().into()) == sha256 {
        source.finish(artifact)?;
    }
    agent.ask(Request::Finish { sha256 }).map(drop).map_err(refused)
}

/// Takes what the slot has already.
fn known_part(
    agent: &Agent,
    slot: SlotId,
    received: u64,
    source: &mut Source<'_>,
) -> Result<(), DownloadError> {
    let path = agent.config.slots.join(slot.partial_name());
    let file = File::open(&path).map_err(|error| passing(&error))?;
    let (mut file, mut buffer) = (file.take(received), vec![0; PIECE]);
    let mut taken = 0;
    while taken < received {
        match file.read(&mut buffer).map_err(|error| passing(&error))? {
            0 => return Err(DownloadError::Passing(format!("{} was cut short", path.display()))),
            length => {
                source.known(&buffer[..length]);
                taken += length as u64;
            }
        }
    }
    source.jump(received);
    Ok(())
}

/// The server's file: an SWU image, or a bundle as it is.
struct Source<'a> {
    image: Image<'a>,
    sha256: Digest,
    /// Of the bundle.
    hasher: Sha256,
}

enum Image<'a> {
    Swu(Box<Swu<Hashing<'a>>>),
    Bundle { whole: Box<Hashing<'a>>, size: u64 },
}

impl<'a> Source<'a> {
    fn open(remote: Remote<'a>, artifact: &Artifact) -> Result<Self, DownloadError> {
        let whole = Hashing { remote, sha1: Sha1::new(), sha256: Sha256::new() };
        let name = &artifact.name;
        let (image, sha256) = if name.ends_with(".swu") {
            let swu = Swu::open(whole).map_err(unfit)?;
            if swu.description().file == swu::PACK {
                let detail = format!(
                    "{name} holds a pack, which is not installed on an update server's order: push it, or use a stick"
                );
                return Err(DownloadError::Unfit(detail));
            }
            let sha256 = swu.description().sha256;
            (Image::Swu(Box::new(swu)), sha256)
        } else if name.ends_with(".bundle") {
            let missing = || {
                DownloadError::Unfit(format!(
                    "the server gives no SHA-256 of {name}: send it as .swu"
                ))
            };
            let sha256 = artifact.sha256.ok_or_else(missing)?;
            (Image::Bundle { whole: Box::new(whole), size: artifact.size }, sha256)
        } else {
            let detail = format!("found file {name:?}, expected one named .swu or .bundle");
            return Err(DownloadError::Unfit(detail));
        };
        Ok(Self { image, sha256, hasher: Sha256::new() })
    }

    fn size(&self) -> u64 {
        match &self.image {
            Image::Swu(swu) => swu.size(),
            Image::Bundle { size, .. } => *size,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DownloadError> {
        let length = match &mut self.image {
            Image::Swu(swu) => swu.read(buffer).map_err(unfit)?,
            Image::Bundle { whole, .. } => whole.read(buffer).map_err(|error| passing(&error))?,
        };
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }

    fn known(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        match &mut self.image {
            Image::Swu(swu) => {
                swu.reader().update(bytes);
                swu.known(bytes);
            }
            Image::Bundle { whole, .. } => whole.update(bytes),
        }
    }

    /// Goes on behind the first `received` bytes of the bundle.
    fn jump(&mut self, received: u64) {
        match &mut self.image {
            Image::Swu(swu) => {
                let at = swu.offset() + received;
                swu.reader().remote.jump(at);
            }
            Image::Bundle { whole, .. } => whole.remote.jump(received),
        }
    }

    /// Checks the rest of the file, and the whole of it against what the server says.
    fn finish(self, artifact: &Artifact) -> Result<(), DownloadError> {
        let whole = match self.image {
            Image::Swu(swu) => swu.finish().map_err(unfit)?,
            Image::Bundle { whole, .. } => *whole,
        };
        if whole.remote.at != artifact.size {
            let (found, expected) = (whole.remote.at, artifact.size);
            let detail = format!("{} ends at byte {found}, expected {expected}", artifact.name);
            return Err(DownloadError::Unfit(detail));
        }
        let sha1: [u8; 20] = whole.sha1.finalize().into();
        let sha256: [u8; 32] = whole.sha256.finalize().into();
        same("SHA-1", &artifact.name, &sha1, artifact.sha1.as_ref())?;
        same("SHA-256", &artifact.name, &sha256, artifact.sha256.as_ref().map(|digest| &digest.0))
    }
}

fn same<const N: usize>(
    kind: &str,
    file: &str,
    found: &[u8; N],
    expected: Option<&[u8; N]>,
) -> Result<(), DownloadError> {
    let Some(expected) = expected.filter(|&expected| expected != found) else { return Ok(()) };
    let (found, expected) = (hex::encode(found), hex::encode(expected));
    Err(DownloadError::Unfit(format!("{kind} of {file} is {found}, the server says {expected}")))
}

/// Digests of everything that was read.
struct Hashing<'a> {
    remote: Remote<'a>,
    sha1: Sha1,
    sha256: Sha256,
}

impl Hashing<'_> {
    fn update(&mut self, bytes: &[u8]) {
        self.sha1.update(bytes);
        self.sha256.update(bytes);
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.remote.read(buffer)?;
        self.update(&buffer[..length]);
        Ok(length)
    }
}

/// A file of the server, asked for when it is read.
struct Remote<'a> {
    client: &'a Client,
    href: &'a str,
    size: u64,
    at: u64,
    body: Option<BodyReader<'static>>,
}

impl<'a> Remote<'a> {
    fn new(client: &'a Client, artifact: &'a Artifact) -> Self {
        Self { client, href: &artifact.href, size: artifact.size, at: 0, body: None }
    }

    fn jump(&mut self, to: u64) {
        if to != self.at {
            self.body = None;
        }
        self.at = to;
    }

    fn ask(&self) -> io::Result<BodyReader<'static>> {
        let response = self.client.file(self.href, self.at).map_err(io::Error::other)?;
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
        let range = response.headers().get("Content-Range").and_then(|range| range.to_str().ok());
        let expected = format!("bytes {}-{}/{}", self.at, self.size.saturating_sub(1), self.size);
        if is_part && range != Some(expected.as_str()) {
            let found = range.unwrap_or("none");
            return Err(io::Error::other(format!("Content-Range is {found}, expected {expected}")));
        }
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        if !is_part && self.at > 0 {
            // This server begins at the beginning, whatever it is asked for.
            let skipped = io::copy(&mut (&mut body).take(self.at), &mut io::sink())?;
            if skipped != self.at {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(body)
    }
}

impl Read for Remote<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        if most == 0 {
            return Ok(0);
        }
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let body = self.ask()?;
                self.body.insert(body)
            }
        };
        let length = body.read(&mut buffer[..most])?;
        if length == 0 {
            let detail = format!("broke off at byte {} of {}", self.at, self.size);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, detail));
        }
        self.at += length as u64;
        Ok(length)
    }
}

fn unfit(error: SwuError) -> DownloadError {
    match error {
        SwuError::Io(error) => match error.downcast::<HttpError>() {
            Ok(error) => DownloadError::Http(error),
            Err(error) => passing(&error),
        },
        error => DownloadError::Unfit(error.to_string()),
    }
}

fn passing(error: &io::Error) -> DownloadError {
    DownloadError::Passing(error.to_string())
}

fn refused(refusal: Refusal) -> DownloadError {
    match refusal {
        Refusal::Busy { .. } | Refusal::Offset { .. } => {
            DownloadError::Passing(refusal.to_string())
        }
        Refusal::State { .. } => DownloadError::Waits(refusal.to_string()),
        refusal => DownloadError::Unfit(refusal.to_string()),
    }
}
