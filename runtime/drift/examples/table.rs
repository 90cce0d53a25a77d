//! How soon changes are noticed, and how often nothing is called a change: the table of `runtime/docs/drift.md`.
//!
//! usage: table FILE [SPLITS]
//!
//! FILE has an object a line: `change` (`none` for images as they are), `group` (of patients) and `gathered` (what
//! `exporter drift --dump` writes). In each split two thirds of the groups are the reference, at random. The others
//! are the stream: first as they are, then changed.

use drift::{Effort, Frame, Gathered, Looks, Monitor, Reference};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    io::{Write, stdout},
};

#[derive(Deserialize)]
struct Line {
    change: String,
    group: String,
    gathered: Gathered,
}

const PLAIN: &str = "none";
/// Streams of each change in each split.
const STREAMS: usize = 10;
/// Images as they should be before the change, so that the sums are under way.
const BEFORE: usize = 50;
/// A change that is not noticed within so many images is not noticed.
const PATIENCE: usize = 1000;
const DAY: u64 = 86_400;
const IMAGES_A_DAY: u64 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let file = arguments.get(1).ok_or("usage: table FILE [SPLITS]")?;
    let splits: u64 = arguments.get(2).map_or(Ok(20), |text| text.parse())?;
    let lines: Vec<Line> =
        fs::read_to_string(file)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut found = Found::default();
    for seed in 0..splits {
        found.split(&lines, seed)?;
    }
    found.print(splits)?;
    Ok(())
}

#[derive(Default)]
struct Found {
    /// For each change, images until an alarm; [`PATIENCE`] if none.
    delays: BTreeMap<String, Vec<usize>>,
    /// How often each feature was the first.
    first: BTreeMap<String, BTreeMap<String, usize>>,
    once: Rate,
    again: Rate,
    references: Vec<usize>,
}

/// False alarms and images.
#[derive(Default)]
struct Rate {
    alarms: usize,
    images: usize,
}

impl Found {
    fn split(&mut self, lines: &[Line], seed: u64) -> Result<(), Box<dyn Error>> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let groups: BTreeSet<&str> =
            lines.iter().filter(|l| l.change == PLAIN).map(|l| l.group.as_str()).collect();
        let mut groups: Vec<&str> = groups.into_iter().collect();
        shuffle(&mut groups, &mut random);
        let known: BTreeSet<&str> = groups[..groups.len() * 2 / 3].iter().copied().collect();
        let of = |change: &str| -> Vec<&Gathered> {
            let fits = |line: &&Line| line.change == change && !known.contains(line.group.as_str());
            lines.iter().filter(fits).map(|line| &line.gathered).collect()
        };
        let is_reference = |l: &&Line| l.change == PLAIN && known.contains(l.group.as_str());
        let images: Vec<Gathered> =
            lines.iter().filter(is_reference).map(|line| line.gathered.clone()).collect();
        // Frames only matter to pictures, which are measured already.
        let frame = Frame { height: 1, width: 1, black: 0.0, white: 1.0 };
        let reference = Reference::build(frame, &images, Effort::FULL)?;
        self.references.push(reference.images());
        let looks = |all: Vec<&Gathered>| -> Result<Vec<Looks>, Box<dyn Error>> {
            all.into_iter().map(|one| Ok(reference.looks_of(one)?)).collect()
        };
        let plain = looks(of(PLAIN))?;
        let mut order: Vec<&Looks> = plain.iter().collect();
        for _ in 0..STREAMS {
            shuffle(&mut order, &mut random);
            self.once.add(&reference, order.iter().copied())?;
        }
        let drawn = (0..5000).map(|_| &plain[below(&mut random, plain.len())]);
        self.again.add(&reference, drawn.collect::<Vec<_>>().into_iter())?;
        let changes: BTreeSet<&str> = lines.iter().map(|line| line.change.as_str()).collect();
        for change in changes.into_iter().filter(|change| *change != PLAIN) {
            let changed = looks(of(change))?;
            for _ in 0..STREAMS {
                self.follow(change, &reference, [&plain, &changed], &mut random)?;
            }
        }
        Ok(())
    }

    /// Images until the change is noticed.
    fn follow(
        &mut self,
        change: &str,
        reference: &Reference,
        [plain, changed]: [&Vec<Looks>; 2],
        random: &mut ChaCha8Rng,
    ) -> Result<(), Box<dyn Error>> {
        let mut monitor = Monitor::new(reference);
        for _ in 0..BEFORE {
            let looks = &plain[below(random, plain.len())];
            monitor.observe(reference, 0, "ROOM 1", looks)?;
        }
        if !monitor.alarms(reference).is_empty() {
            return Ok(()); // a false alarm, counted elsewhere
        }
        for study in 1..=PATIENCE {
            let looks = &changed[below(random, changed.len())];
            let at = DAY * (study as u64 / IMAGES_A_DAY);
            monitor.observe(reference, at, "ROOM 1", looks)?;
            if let Some((_, alarm)) = monitor.alarms(reference).into_iter().next() {
                let first = self.first.entry(change.into()).or_default();
                *first.entry(alarm.feature).or_default() += 1;
                self.delays.entry(change.into()).or_default().push(study);
                return Ok(());
            }
        }
        self.delays.entry(change.into()).or_default().push(PATIENCE);
        Ok(())
    }

    fn print(&mut self, splits: u64) -> Result<(), Box<dyn Error>> {
        let mut out = stdout().lock();
        let (least, most) = (self.references.iter().min(), self.references.iter().max());
        writeln!(out, "{splits} splits, references of {least:?} to {most:?} images\n")?;
        writeln!(out, "| change | median | 90 % | within 100 | streams | noticed first by |")?;
        writeln!(out, "|---|---|---|---|---|---|")?;
        for (change, delays) in &mut self.delays {
            delays.sort_unstable();
            let within = delays.iter().filter(|delay| **delay <= 100).count();
            let at = |share: usize| delays[(delays.len() - 1) * share / 100];
            let first = self.first.get(change).into_iter().flatten().max_by_key(|(_, n)| **n);
            let first = first.map_or("nothing", |(name, _)| name);
            let share = 100.0 * within as f64 / delays.len() as f64;
            let shown = |delay: usize| match delay {
                PATIENCE => format!("over {PATIENCE}"),
                _ => delay.to_string(),
            };
            let (median, late) = (shown(at(50)), shown(at(90)));
            writeln!(
                out,
                "| {change} | {median} | {late} | {share:.1} % | {} | {first} |",
                delays.len()
            )?;
        }
        for (what, rate) in [("each image once", &self.once), ("drawn again", &self.again)] {
            let Rate { alarms, images } = rate;
            let rate = 1e4 * *alarms as f64 / *images as f64;
            writeln!(out, "\nno change, {what}: {alarms} in {images}, {rate:.2} in 10,000")?;
        }
        Ok(())
    }
}

impl Rate {
    fn add<'a>(
        &mut self,
        reference: &Reference,
        stream: impl Iterator<Item = &'a Looks>,
    ) -> Result<(), Box<dyn Error>> {
        let mut monitor = Monitor::new(reference);
        for (study, looks) in stream.enumerate() {
            let at = DAY * (study as u64 / IMAGES_A_DAY);
            let notices = monitor.observe(reference, at, "ROOM 1", looks)?;
            self.alarms += notices.iter().filter(|notice| notice.began).count();
            self.images += 1;
        }
        Ok(())
    }
}

fn shuffle<T>(all: &mut [T], random: &mut ChaCha8Rng) {
    for at in (1..all.len()).rev() {
        all.swap(at, below(random, at + 1));
    }
}

fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(random.next_u32()) * n as u64) >> 32) as usize
}
