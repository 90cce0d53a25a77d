//! Who is logged in, and how often somebody failed to. In memory: after a restart everybody logs in again.

use crate::users::{digest, secret};
use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Sessions by the digest of their cookie: whoever reads our memory's index has no cookie yet.
#[derive(Debug)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, Session>>,
    /// Against forged requests of those who are not logged in.
    pub(super) anonymous_csrf: String,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) name: String,
    /// Of the user when the session began.
    pub(super) stamp: String,
    pub(super) csrf: String,
    born: Instant,
    seen: Instant,
}

/// However busy somebody is.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
const MOST: usize = 256;

impl Sessions {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { open: Mutex::default(), anonymous_csrf: secret()? })
    }

    /// Begins a session; the cookie's value.
    pub(super) fn begin(&self, name: &str, stamp: String, now: Instant) -> io::Result<String> {
        let cookie = secret()?;
        let session = Session { name: name.into(), stamp, csrf: secret()?, born: now, seen: now };
        let mut open = self.lock();
        if open.len() >= MOST {
            let oldest = open.iter().min_by_key(|(_, session)| session.seen);
            if let Some(oldest) = oldest.map(|(cookie, _)| cookie.clone()) {
                open.remove(&oldest);
            }
        }
        open.insert(digest(&cookie), session);
        Ok(cookie)
    }

    /// The session of a cookie, if it is not over. Asking keeps it alive.
    pub(super) fn find(&self, cookie: &str, idle: Duration, now: Instant) -> Option<Session> {
        let mut open = self.lock();
        open.retain(|_, session| {
            now.duration_since(session.seen) < idle && now.duration_since(session.born) < LONGEST
        });
        let session = open.get_mut(&digest(cookie))?;
        session.seen = now;
        Some(session.clone())
    }

    pub(super) fn end(&self, cookie: &str) {
        self.lock().remove(&digest(cookie));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who failed to log in, by address: after three times each one waits twice as long.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, Failed>>);

#[derive(Clone, Copy, Debug)]
struct Failed {
    times: u32,
    last: Instant,
}

const FREE: u32 = 3;
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const FORGOTTEN: Duration = Duration::from_secs(3600);
const MOST_ADDRESSES: usize = 4096;

impl Failures {
    /// How long this address must wait before the next try; `None`: it need not.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failed = *self.lock().get(&network(address))?;
        let doublings = failed.times.checked_sub(FREE)?;
        let wait = Duration::from_secs(1 << doublings.min(16)).min(LONGEST_WAIT);
        let left = wait.saturating_sub(now.duration_since(failed.last));
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        let mut all = self.lock();
        all.retain(|_, failed| now.duration_since(failed.last) < FORGOTTEN);
        if all.len() >= MOST_ADDRESSES {
            let oldest = all.iter().min_by_key(|(_, failed)| failed.last);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                all.remove(&oldest);
            }
        }
        let failed = all.entry(network(address)).or_insert(Failed { times: 0, last: now });
        *failed = Failed { times: failed.times.saturating_add(1), last: now };
    }

    pub(super) fn succeeded(&self, address: IpAddr) {
        self.lock().remove(&network(address));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Failed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One person has as many IPv6 addresses as he likes, all in one /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_idle_too_old_or_told_to() {
        let sessions = Sessions::new().unwrap();
        let (start, idle) = (Instant::now(), Duration::from_secs(60));
        let at = |seconds| start + Duration::from_secs(seconds);
        let cookie = sessions.begin("ada", "s".into(), start).unwrap();
        assert_eq!(sessions.find(&cookie, idle, at(50)).unwrap().name, "ada");
        assert!(sessions.find(&cookie, idle, at(100)).is_some(), "asking keeps it alive");
        assert!(sessions.find(&cookie[1..], idle, at(100)).is_none());
        assert!(sessions.find(&cookie, idle, at(161)).is_none());
        assert!(sessions.find(&cookie, idle, at(100)).is_none(), "it does not come back");

        let cookie = sessions.begin("ada", "s".into(), start).unwrap();
        let long = Duration::from_secs(1 << 20);
        assert!(sessions.find(&cookie, long, at(12 * 3600 - 1)).is_some());
        assert!(sessions.find(&cookie, long, at(12 * 3600)).is_none());

        let cookie = sessions.begin("ada", "s".into(), start).unwrap();
        sessions.end(&cookie);
        assert!(sessions.find(&cookie, idle, start).is_none());
    }

    #[test]
    fn sessions_do_not_pile_up() {
        let sessions = Sessions::new().unwrap();
        let start = Instant::now();
        let first = sessions.begin("ada", "s".into(), start).unwrap();
        for i in 1..=MOST as u64 {
            sessions.begin("ada", "s".into(), start + Duration::from_secs(i)).unwrap();
        }
        assert_eq!(sessions.lock().len(), MOST);
        assert!(sessions.find(&first, LONGEST, start + LONGEST / 2).is_none());
    }

    #[test]
    fn whoever_fails_waits_longer_and_longer_and_others_do_not() {
        let failures = Failures::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (guesser, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        for _ in 0..3 {
            assert_eq!(failures.wait(guesser, start), None);
            failures.failed(guesser, start);
        }
        assert_eq!(failures.wait(guesser, start), Some(Duration::from_secs(1)));
        assert_eq!(failures.wait(guesser, at(1)), None);
        failures.failed(guesser, at(1));
        assert_eq!(failures.wait(guesser, at(1)), Some(Duration::from_secs(2)));
        assert_eq!(failures.wait(other, at(1)), None);
        (0..40).for_each(|_| failures.failed(guesser, at(2)));
        assert_eq!(failures.wait(guesser, at(2)), Some(LONGEST_WAIT));
        failures.succeeded(guesser);
        assert_eq!(failures.wait(guesser, at(2)), None);

        let same = ["2001:db8::1", "2001:db8::2", "2001:db8::3"];
        same.iter().for_each(|address| failures.failed(address.parse().unwrap(), start));
        assert!(failures.wait("2001:db8::4".parse().unwrap(), start).is_some());
    }
}
