//! In which images the daemon ended.
//!
//! `attempts/KEY` exists while a worker is at an image. If it is there at start-up, the process died with this
//! image in its hands: it may be the reason, or somebody killed the process at that moment. Nothing on disk
//! tells the two apart, so nobody is parked for it. Such an image goes behind the others and is left alone for
//! a while, longer each time: a harmless one is answered a little later, and one that does end the daemon costs
//! a restart an hour and holds nobody up.
//!
//! The file is not fsynced. It must outlast the process, not the machine: a power cut is no image's fault.

use super::{Key, Spool};
use std::{fs, io, path::Path, time::Duration};

/// How long an image is left alone that the daemon did not survive so often; none if it always did.
pub(super) fn pause(deaths: u32) -> Option<Duration> {
    let seconds = match deaths {
        0 => return None,
        1 => 1,
        2 => 5,
        3 => 30,
        4 => 300,
        _ => 3600,
    };
    Some(Duration::from_secs(seconds))
}

impl Spool {
    /// Notes that a worker is at this image, `deaths` times after the daemon ended there. Repeating it is harmless.
    pub(crate) fn begin_attempt(&self, key: &Key, deaths: u32) -> io::Result<()> {
        write(&self.path("attempts", key, ""), deaths.saturating_add(1))
    }

    /// Notes that the daemon survived an attempt that ended without an answer. If the disk refuses and the
    /// daemon ends, the image waits longer than it had to.
    pub(crate) fn survive_attempt(&self, key: &Key, deaths: u32) {
        let path = self.path("attempts", key, "");
        let noted = match deaths {
            0 => fs::remove_file(&path),
            deaths => fs::write(&path, format!("{deaths}\n")),
        };
        if let Err(error) = noted
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: cannot note a survived attempt: {error}", key.label());
        }
    }

    pub(super) fn end_attempts(&self, key: &Key) {
        self.unlink("attempts", key, "");
    }
}

pub(super) fn write(path: &Path, attempts: u32) -> io::Result<()> {
    fs::write(path, format!("{attempts}\n")).inspect_err(|_| {
        // A full disk may have made the file and refused its contents.
        let _ = fs::remove_file(path);
    })
}

/// How many attempts the daemon did not survive; half a file counts as one.
pub(super) fn read(path: &Path) -> io::Result<u32> {
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    Ok(text.trim().parse().unwrap_or(1))
}
