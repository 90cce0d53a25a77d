//! Tells of exposures by a schedule, and has an image sent after each.

use super::{duration, share};
use crate::address::Address;
use crate::keys::Keys;
use crate::output::Output;
use anyhow::{Context, Result, ensure};
use firmware_host::link::{Dice, Faults, Thrown};
use firmware_host::{Device, DeviceError, Patience};
use protocol::exposure::{Exposure, KILOVOLTS, Lamp, Outcome, Technique};
use protocol::{Refusal, Version};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A handshake that takes longer is given up.
const CONNECT: Duration = Duration::from_secs(10);
/// Between two tries to tell of an exposure.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Controller {
    #[serde(deserialize_with = "address")]
    device: Address,
    #[serde(default)]
    controller: u16,
    #[serde(default)]
    epoch: u32,
    #[serde(default = "one")]
    first_sequence: u32,
    /// How many.
    exposures: u32,
    #[serde(default = "second", deserialize_with = "duration")]
    every: Duration,
    /// A box that says nothing for so long is asked again.
    #[serde(default = "second", deserialize_with = "duration")]
    silence: Duration,
    /// An exposure that cannot be told for so long is given up.
    #[serde(default = "minute", deserialize_with = "duration")]
    patience: Duration,
    /// Sends the image of an exposure: a command; `{sequence}` in its words is replaced.
    #[serde(default)]
    image: Vec<String>,
    /// One after the other; without any, nothing is known of the technique.
    #[serde(default)]
    technique: Vec<Factors>,
    #[serde(default)]
    faults: Wishes,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Factors {
    kilovolts: Option<f64>,
    milliampere_seconds: Option<f64>,
    milliseconds: Option<f64>,
    distance: Option<u16>,
}

/// What is to go wrong; shares from 0 to 1.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wishes {
    #[serde(deserialize_with = "share")]
    drop: f64,
    #[serde(deserialize_with = "share")]
    duplicate: f64,
    #[serde(deserialize_with = "share")]
    flip: f64,
    #[serde(deserialize_with = "share")]
    delay: f64,
    #[serde(deserialize_with = "duration")]
    delay_for: Duration,
    half_open_after: Option<u64>,
    /// A voltage that there is not.
    #[serde(deserialize_with = "share")]
    out_of_range: f64,
    #[serde(deserialize_with = "share")]
    aborted: f64,
    /// The image of a complete exposure is never sent.
    #[serde(deserialize_with = "share")]
    image_missing: f64,
    /// Speaks a version that no box of today understands.
    wrong_version: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
struct Played {
    told: u32,
    aborted: u32,
    /// By the box, with what it said.
    refused: u32,
    why: Vec<String>,
    given_up: u32,
    images_sent: u32,
    images_kept_back: u32,
    images_failed: u32,
    connections: u32,
    lamps: BTreeMap<String, u32>,
}

impl Controller {
    pub(super) fn play(&self, seed: u64, keys: &Keys, output: Output) -> Result<()> {
        let dice = Dice::new(seed);
        let (mut played, mut device) = (Played::default(), None);
        for n in 0..self.exposures {
            let start = Instant::now();
            let exposure = self.exposure(n, &dice);
            played.aborted += u32::from(exposure.outcome == Outcome::Aborted);
            match self.tell(exposure, keys, &mut device, &dice, &mut played) {
                Ok((lamp, _)) => {
                    played.told += 1;
                    *played.lamps.entry(lamp.to_string()).or_default() += 1;
                }
                Err(DeviceError::Refused(refusal)) => played.refuse(&refusal),
                Err(error @ DeviceError::Version { .. }) => played.refuse(&error),
                Err(error) => {
                    log::error!("exposure {}: {error}", exposure.sequence);
                    played.given_up += 1;
                }
            }
            if exposure.outcome == Outcome::Complete && !self.image.is_empty() {
                self.send_image(exposure.sequence, &dice, &mut played)?;
            }
            if n + 1 < self.exposures {
                thread::sleep(self.every.saturating_sub(start.elapsed()));
            }
        }
        let wrongs = locked(&dice).wrongs;
        let document = json!({ "exposures": self.exposures, "played": played, "link": wrongs });
        let Played { told, refused, given_up, images_sent, .. } = &played;
        let text = format!(
            "{} exposures: {told} told, {refused} refused, {given_up} given up; {images_sent} images sent; {wrongs:?}",
            self.exposures
        );
        output.say(&text, &document)?;
        ensure!(*given_up == 0, "{given_up} exposures could not be told");
        ensure!(played.images_failed == 0, "{} images could not be sent", played.images_failed);
        Ok(())
    }

    fn exposure(&self, n: u32, dice: &Mutex<Dice>) -> Exposure {
        let happens = |share| locked(dice).chance.happens(share);
        let factors = match self.technique.len() {
            0 => Factors::default(),
            count => self.technique[n as usize % count],
        };
        let mut technique = factors.technique();
        if happens(self.faults.out_of_range) {
            technique.kilovolts = Some(KILOVOLTS.1 as u16 + 1);
        }
        let aborted = happens(self.faults.aborted);
        Exposure {
            controller: self.controller,
            epoch: self.epoch,
            sequence: self.first_sequence.wrapping_add(n),
            outcome: if aborted { Outcome::Aborted } else { Outcome::Complete },
            age: Some(0),
            clock: None,
            technique,
            subject: None,
            repeats: None,
        }
    }

    /// Until the box has it, over as many connections as it takes.
    fn tell(
        &self,
        exposure: Exposure,
        keys: &Keys,
        device: &mut Option<Device>,
        dice: &Arc<Mutex<Dice>>,
        played: &mut Played,
    ) -> Result<(Lamp, u32), DeviceError> {
        let start = Instant::now();
        // What only a spoiled or lost frame explains: asked again it may be well.
        let is_of_a_bad_line = |error: &DeviceError| {
            let greeting_lost = matches!(error, DeviceError::Refused(Refusal::NoHello));
            greeting_lost
                || matches!(error, DeviceError::Unexpected { .. } | DeviceError::Late { .. })
        };
        loop {
            let age = u32::try_from(start.elapsed().as_millis()).unwrap_or(u32::MAX);
            let told = self
                .connected(keys, device, dice, played)
                .and_then(|device| device.expose(Exposure { age: Some(age), ..exposure }));
            match told {
                Err(error) if error.is_passing() || is_of_a_bad_line(&error) => {
                    *device = None;
                    if start.elapsed() >= self.patience {
                        return Err(error);
                    }
                    log::warn!("exposure {}: {error}; trying again", exposure.sequence);
                    thread::sleep(PAUSE);
                }
                told => return told,
            }
        }
    }

    fn connected<'a>(
        &self,
        keys: &Keys,
        device: &'a mut Option<Device>,
        dice: &Arc<Mutex<Dice>>,
        played: &mut Played,
    ) -> Result<&'a mut Device, DeviceError> {
        if let Some(device) = device {
            return Ok(device);
        }
        let link = keys.connect(&self.device, self.patience.min(CONNECT));
        let link = link.map_err(std::io::Error::other)?;
        let Wishes { drop, duplicate, flip, delay, delay_for, half_open_after, .. } = self.faults;
        let faults = Faults { drop, duplicate, flip, delay, delay_for, half_open_after };
        let link = Box::new(Thrown { faults, dice: dice.clone() }.over(link));
        let patience = Patience { silence: self.silence, call: self.patience };
        let version = match self.faults.wrong_version {
            true => (Version { major: 9, minor: 0 }, Version { major: 9, minor: 0 }),
            false => (Version::CURRENT, Version::OLDEST),
        };
        played.connections += 1;
        Ok(device.insert(Device::open_speaking(link, patience, version)?))
    }

    fn send_image(&self, sequence: u32, dice: &Mutex<Dice>, played: &mut Played) -> Result<()> {
        if locked(dice).chance.happens(self.faults.image_missing) {
            log::info!("exposure {sequence}: its image is kept back");
            played.images_kept_back += 1;
            return Ok(());
        }
        let words: Vec<_> = self
            .image
            .iter()
            .map(|word| word.replace("{sequence}", &sequence.to_string()))
            .collect();
        let status = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot start {}", words[0]))?;
        if status.success() {
            played.images_sent += 1;
        } else {
            log::error!("exposure {sequence}: {} ended with {status}", words[0]);
            played.images_failed += 1;
        }
        Ok(())
    }
}

impl Played {
    fn refuse(&mut self, why: &dyn std::fmt::Display) {
        self.refused += 1;
        let why = why.to_string();
        log::warn!("refused: {why}");
        if !self.why.contains(&why) {
            self.why.push(why);
        }
    }
}

impl Factors {
    fn technique(self) -> Technique {
        let scaled =
            |value: Option<f64>, scale: f64| value.map(|value| (value * scale).round() as u32);
        Technique {
            kilovolts: scaled(self.kilovolts, 10.0).map(|tenths| tenths as u16),
            charge: scaled(self.milliampere_seconds, 1e3),
            duration: scaled(self.milliseconds, 10.0),
            distance: self.distance,
            ..Technique::default()
        }
    }
}

fn locked(dice: &Mutex<Dice>) -> std::sync::MutexGuard<'_, Dice> {
    dice.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

const fn one() -> u32 {
    1
}

const fn second() -> Duration {
    Duration::from_secs(1)
}

const fn minute() -> Duration {
    Duration::from_secs(60)
}
