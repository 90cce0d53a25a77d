//! Serial lines, and pseudo-terminals in their place.

use super::Link;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A terminal in raw mode: bytes go through unchanged.
#[derive(Debug)]
pub struct Tty {
    file: File,
    /// Our own hold on a pseudo-terminal's other end, so that peers may come and go.
    other_end: Option<OwnedFd>,
}

impl Tty {
    /// Opens a serial line at `baud` bits a second; none leaves its speed alone.
    pub fn open(path: &Path, baud: Option<u32>) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let tty = rustix::fs::open(path, flags, Mode::empty())?;
        make_raw(&tty, baud)?;
        Ok(Self { file: tty.into(), other_end: None })
    }

    /// Makes a pseudo-terminal; returns this end, and the path of the other.
    pub fn pair() -> io::Result<(Self, PathBuf)> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let path = ptsname(&ours, Vec::new())?;
        let path = PathBuf::from(path.into_string().map_err(io::Error::other)?);
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let other = rustix::fs::open(&path, flags, Mode::empty())?;
        make_raw(&other, None)?;
        let status = rustix::fs::fcntl_getfl(&ours)?;
        rustix::fs::fcntl_setfl(&ours, status | OFlags::NONBLOCK)?;
        Ok((Self { file: ours.into(), other_end: Some(other) }, path))
    }

    /// The same terminal once more, for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        let other_end = self.other_end.as_ref().map(OwnedFd::try_clone).transpose()?;
        Ok(Self { file: self.file.try_clone()?, other_end })
    }

    /// [`Tty::pair`], and a link to the path of the other end at `path`, in place of a link left there before.
    pub fn pair_at(path: &Path) -> io::Result<Self> {
        let (tty, other) = Self::pair()?;
        if path.is_symlink() {
            fs::remove_file(path)?;
        }
        symlink(other, path)?;
        Ok(tty)
    }

    fn wait(&self, wanted: PollFlags, time: Duration) -> io::Result<()> {
        let time = Timespec::try_from(time).map_err(|_| ErrorKind::InvalidInput)?;
        let mut ends = [PollFd::new(&self.file, wanted)];
        if poll(&mut ends, Some(&time))? == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Link for Tty {
    fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize> {
        self.wait(PollFlags::IN, time)?;
        self.file.read(bytes)
    }

    fn send(&mut self, mut bytes: &[u8], time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        while !bytes.is_empty() {
            self.wait(PollFlags::OUT, end.saturating_duration_since(Instant::now()))?;
            match self.file.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn make_raw(tty: &OwnedFd, baud: Option<u32>) -> io::Result<()> {
    let mut attributes = tcgetattr(tty)?;
    attributes.make_raw();
    if let Some(baud) = baud {
        attributes.set_speed(baud)?;
    }
    Ok(tcsetattr(tty, OptionalActions::Flush, &attributes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    fn receive(tty: &mut Tty, length: usize) -> Vec<u8> {
        let mut received = Vec::new();
        while received.len() < length {
            let mut bytes = [0; 4096];
            let read = tty.receive(&mut bytes, TIME).unwrap();
            received.extend_from_slice(&bytes[..read]);
        }
        received
    }

    #[test]
    fn every_byte_goes_through_unchanged_both_ways() {
        let (mut box_end, path) = Tty::pair().unwrap();
        let mut host_end = Tty::open(&path, None).unwrap();
        let all: Vec<u8> = (0..=255).collect();
        host_end.send(&all, TIME).unwrap();
        assert_eq!(receive(&mut box_end, 256), all);
        box_end.send(&all, TIME).unwrap();
        assert_eq!(receive(&mut host_end, 256), all);
    }

    #[test]
    fn silence_ends_in_time_and_peers_may_come_and_go() {
        let (mut box_end, path) = Tty::pair().unwrap();
        for _ in 0..2 {
            let error = box_end.receive(&mut [0; 8], Duration::from_millis(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            Tty::open(&path, None).unwrap().send(b"here", TIME).unwrap();
            assert_eq!(receive(&mut box_end, 4), b"here");
        }
    }
}
