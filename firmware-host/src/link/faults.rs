//! A line that is worse than it looks: loses, repeats, spoils and delays what is sent, by a seed.

use super::Link;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What goes wrong with one frame; shares from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    pub drop: f64,
    pub duplicate: f64,
    /// One bit of it.
    pub flip: f64,
    pub delay: f64,
    pub delay_for: Duration,
    /// After so many frames the other end is gone, and nobody says so.
    pub half_open_after: Option<u64>,
}

/// The same numbers for the same seed, on every machine (splitmix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Whether something of this share happens.
    pub fn happens(&mut self, share: f64) -> bool {
        let number = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        number < share
    }
}

/// How often what went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Wrongs {
    pub frames: u64,
    pub dropped: u64,
    pub duplicated: u64,
    pub flipped: u64,
    pub delayed: u64,
}

/// A link with faults; every [`Link::send`] is taken for a frame.
pub struct Faulty<L> {
    link: L,
    faults: Faults,
    /// Goes on from one connection to the next.
    dice: Arc<Mutex<Dice>>,
    sent: u64,
}

/// What is thrown, and what came of it.
#[derive(Clone, Debug)]
pub struct Dice {
    pub chance: Chance,
    pub wrongs: Wrongs,
}

impl Dice {
    pub fn new(seed: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { chance: Chance::new(seed), wrongs: Wrongs::default() }))
    }
}

/// What goes wrong with the frames of one end, over all of its connections.
#[derive(Clone, Debug)]
pub struct Thrown {
    pub faults: Faults,
    pub dice: Arc<Mutex<Dice>>,
}

impl Thrown {
    pub fn over<L: Link>(&self, link: L) -> Faulty<L> {
        Faulty { link, faults: self.faults, dice: Arc::clone(&self.dice), sent: 0 }
    }
}

impl<L> Faulty<L> {
    fn is_gone(&self) -> bool {
        self.faults.half_open_after.is_some_and(|most| self.sent > most)
    }
}

impl<L: Link> Link for Faulty<L> {
    fn receive(&mut self, bytes: &mut [u8], time: Duration) -> io::Result<usize> {
        if self.is_gone() {
            thread::sleep(time);
            return Err(ErrorKind::TimedOut.into());
        }
        self.link.receive(bytes, time)
    }

    fn send(&mut self, bytes: &[u8], time: Duration) -> io::Result<()> {
        self.sent += 1;
        if self.is_gone() {
            return Ok(());
        }
        let (frames, delayed) = {
            let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
            let Dice { chance, wrongs } = &mut *dice;
            let mut happens = |share, count: &mut u64| {
                let happens = chance.happens(share);
                *count += u64::from(happens);
                happens
            };
            wrongs.frames += 1;
            let dropped = happens(self.faults.drop, &mut wrongs.dropped);
            let twice = happens(self.faults.duplicate, &mut wrongs.duplicated);
            let flipped = happens(self.faults.flip, &mut wrongs.flipped);
            let delayed = happens(self.faults.delay, &mut wrongs.delayed);
            let mut frame = bytes.to_vec();
            if flipped && !frame.is_empty() {
                let bit = (chance.number() % (8 * frame.len() as u64)) as usize;
                frame[bit / 8] ^= 1 << (bit % 8);
            }
            let frames = if dropped { vec![] } else { vec![frame; 1 + usize::from(twice)] };
            (frames, delayed)
        };
        if delayed {
            thread::sleep(self.faults.delay_for);
        }
        frames.iter().try_for_each(|frame| self.link.send(frame, time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what was sent.
    struct Kept(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Link for Kept {
        fn receive(&mut self, _: &mut [u8], _: Duration) -> io::Result<usize> {
            Ok(0)
        }

        fn send(&mut self, bytes: &[u8], _: Duration) -> io::Result<()> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(())
        }
    }

    fn sent(faults: Faults, seed: u64) -> (Vec<Vec<u8>>, Wrongs) {
        let (kept, dice) = (Arc::<Mutex<Vec<_>>>::default(), Dice::new(seed));
        let mut link = Thrown { faults, dice: dice.clone() }.over(Kept(kept.clone()));
        (0..1000_u32).for_each(|n| link.send(&n.to_le_bytes(), Duration::ZERO).unwrap());
        let wrongs = dice.lock().unwrap().wrongs;
        let kept = kept.lock().unwrap().clone();
        (kept, wrongs)
    }

    #[test]
    fn without_faults_every_frame_goes_through_once() {
        let (frames, wrongs) = sent(Faults::default(), 1);
        assert_eq!(frames.len(), 1000);
        assert_eq!(wrongs, Wrongs { frames: 1000, ..Wrongs::default() });
    }

    #[test]
    fn what_goes_wrong_is_what_was_asked_for_and_the_same_for_the_same_seed() {
        let faults = Faults { drop: 0.1, duplicate: 0.2, flip: 0.05, ..Faults::default() };
        let (frames, wrongs) = sent(faults, 1);
        assert!((70..130).contains(&wrongs.dropped), "{wrongs:?}");
        assert!((150..250).contains(&wrongs.duplicated) && wrongs.flipped > 20, "{wrongs:?}");
        assert!(frames.len() > 1000);
        assert_eq!(sent(faults, 1), (frames.clone(), wrongs));
        assert_ne!(sent(faults, 2).0, frames);
    }

    #[test]
    fn a_peer_that_is_gone_takes_everything_and_says_nothing() {
        let (frames, _) = sent(Faults { half_open_after: Some(10), ..Faults::default() }, 1);
        assert_eq!(frames.len(), 10);
    }
}
