//! How far a rollout is, for people at a terminal; elsewhere the log says when a box is done.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Boxes whose step is shown at a time.
const SHOWN: usize = 4;

pub(super) struct Progress {
    /// Hidden where nobody looks.
    bar: ProgressBar,
    /// What the boxes under way are at.
    steps: Mutex<BTreeMap<String, String>>,
}

impl Progress {
    /// Of a rollout to so many boxes.
    pub(super) fn new(boxes: usize, output: Output) -> Self {
        let bar = if output.has_progress() {
            let style = "{prefix} {bar:30} {pos} of {len} boxes, {elapsed}  {wide_msg}";
            let style = ProgressStyle::with_template(style).expect("a constant template");
            let bar = ProgressBar::new(boxes as u64).with_style(style);
            bar.enable_steady_tick(Duration::from_secs(1));
            bar
        } else {
            ProgressBar::hidden()
        };
        Self { bar, steps: Mutex::default() }
    }

    pub(super) fn wave(&self, number: usize, of: usize, open: usize) {
        self.bar.set_prefix(format!("wave {number} of {of}"));
        self.say(&format!("wave {number} of {of}: {open} boxes to serve"));
    }

    /// A box is at something.
    pub(super) fn step(&self, name: &str, what: &str) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.get(name).is_some_and(|before| before == what) {
            return;
        }
        steps.insert(name.to_owned(), what.to_owned());
        self.show(&steps);
    }

    /// A box is done, or was before.
    pub(super) fn done(&self, name: &str, outcome: Option<&str>) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.remove(name);
        self.bar.inc(1);
        self.show(&steps);
        drop(steps);
        if let Some(outcome) = outcome {
            self.say(&format!("{name}: {outcome}"));
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, steps: &BTreeMap<String, String>) {
        self.bar.set_message(under_way(steps));
    }

    /// Above the bar, or in the log.
    fn say(&self, line: &str) {
        if self.bar.is_hidden() { log::info!("{line}") } else { self.bar.println(line) }
    }
}

fn under_way(steps: &BTreeMap<String, String>) -> String {
    let shown = steps.iter().take(SHOWN).map(|(name, what)| format!("{name}: {what}"));
    let mut shown: Vec<_> = shown.collect();
    if steps.len() > SHOWN {
        shown.push(format!("{} more", steps.len() - SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_named_and_fits_a_line() {
        let progress = Progress::new(9, Output { json: true, quiet: false });
        for n in 1..=6 {
            progress.step(&format!("room-{n}"), "10 % sent");
        }
        progress.step("room-2", "on trial");
        progress.done("room-1", None);
        let steps = progress.steps.lock().unwrap();
        let expected =
            "room-2: on trial, room-3: 10 % sent, room-4: 10 % sent, room-5: 10 % sent, 1 more";
        assert_eq!(under_way(&steps), expected);
        assert_eq!(progress.bar.position(), 1);
    }
}
