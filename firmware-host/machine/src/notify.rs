//! What systemd is told: ready, alive, stopping. Nothing is told where `NOTIFY_SOCKET` is not set.
//!
//! With `WatchdogSec=` in the unit, systemd kills and restarts a daemon that no longer says it is alive. It is said
//! only while the worker moves: a restart helps a stuck worker, but neither a full disk nor a missing bundle. The
//! agent says it while its watch over the trial moves.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    time::Duration,
};

/// The way to systemd.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often to say that all is well.
    pub watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says. Fails if there is a socket that cannot be used.
    pub fn from_env() -> io::Result<Self> {
        let variable = |name| env::var(name).ok();
        let socket = match env::var_os("NOTIFY_SOCKET") {
            Some(path) => {
                let bytes = path.as_encoded_bytes();
                let address = match bytes.strip_prefix(b"@") {
                    Some(name) => SocketAddr::from_abstract_name(name)?,
                    None => SocketAddr::from_pathname(&path)?,
                };
                Some((UnixDatagram::unbound()?, address))
            }
            None => None,
        };
        let watchdog = watchdog(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), process::id());
        Ok(Self { watchdog: watchdog.filter(|_| socket.is_some()), socket })
    }

    pub fn ready(&self) {
        self.send("READY=1");
    }

    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            log::warn!("cannot tell systemd {message}: {error}");
        }
    }
}

/// Half of what systemd allows, if it means this process.
fn watchdog(micros: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    let for_us = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let micros: u64 = micros?.parse().ok()?;
    (for_us && micros > 0).then(|| Duration::from_micros(micros / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_asks() {
        let some = |text: &str| Some(text.to_owned());
        let half = Some(Duration::from_secs(15));
        assert_eq!(watchdog(some("30000000"), None, 7), half);
        assert_eq!(watchdog(some("30000000"), some("7"), 7), half);
        assert_eq!(watchdog(some("30000000"), some("8"), 7), None, "another process is meant");
        assert_eq!(watchdog(some("0"), None, 7), None);
        assert_eq!(watchdog(some("often"), None, 7), None);
        assert_eq!(watchdog(None, None, 7), None);
    }

    #[test]
    fn a_message_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_pathname(&path).unwrap();
        let socket = Some((UnixDatagram::unbound().unwrap(), address));
        Notifier { socket, watchdog: None }.ready();
        let mut message = [0; 99];
        let length = systemd.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1");
        Notifier { socket: None, watchdog: None }.ready();
    }
}
