//! `room`.

use crate::Target;
use crate::output::Output;
use anyhow::Result;
use protocol::Exposure;
use protocol::exposure::Outcome;
use serde_json::json;

pub(crate) fn room(target: &Target, output: Output) -> Result<()> {
    let room = target.with(|device| Ok(device.room()?))?;
    let detector = room.detector.map(|detector| {
        let celsius = detector.temperature.map(|tenths| f64::from(tenths) / 10.0);
        json!({ "readiness": detector.readiness.to_string(), "celsius": celsius })
    });
    let latest = room.latest.as_ref().map(|exposure| {
        let technique = exposure.technique;
        json!({
            "controller": exposure.controller, "epoch": exposure.epoch, "sequence": exposure.sequence,
            "aborted": exposure.outcome == Outcome::Aborted,
            "kilovolts": technique.kilovolts.map(|tenths| f64::from(tenths) / 10.0),
            "milliampere_seconds": technique.charge.map(|thousandths| f64::from(thousandths) / 1e3),
            "milliseconds": technique.duration.map(|tenths| f64::from(tenths) / 10.0),
        })
    });
    let document = json!({
        "lamp": room.lamp.to_string(), "missing": room.missing, "unexplained": room.unexplained,
        "entries": room.entries, "latest": latest,
        "detector": detector, "interlock": room.interlock.map(|interlock| interlock.state.to_string()),
    });
    let mut lines = vec![
        format!("lamp {}", room.lamp),
        format!("{} images never arrived, {} have no exposure", room.missing, room.unexplained),
        format!("{} journal entries", room.entries),
    ];
    if let Some(exposure) = &room.latest {
        lines.push(format!("latest exposure {}", exposure_text(exposure)));
    }
    if let Some(detector) = &room.detector {
        lines.push(format!("detector {}", detector.readiness));
    }
    if let Some(interlock) = &room.interlock {
        lines.push(format!("interlock {}", interlock.state));
    }
    output.say(&lines.join("\n"), &document)
}

fn exposure_text(exposure: &Exposure) -> String {
    let technique = exposure.technique;
    let aborted = if exposure.outcome == Outcome::Aborted { ", aborted" } else { "" };
    let value =
        |value: Option<f64>, unit| value.map_or_else(String::new, |v| format!(", {v} {unit}"));
    let kilovolts = value(technique.kilovolts.map(|tenths| f64::from(tenths) / 10.0), "kV");
    let charge = value(technique.charge.map(|thousandths| f64::from(thousandths) / 1e3), "mAs");
    format!("{}{aborted}{kilovolts}{charge}", exposure.sequence)
}
