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
    let mut lines = vec![
        format!("lamp {}", room.lamp),
        format!("{} images never arrived, {} have no exposure", room.missing, room.unexplained),
        format!("{} journal entries", room.entries),
    ];
    let latest = room.latest.as_ref().map(|exposure| {
        let Exposure { sequence, outcome, technique, .. } = exposure;
        let kilovolts = technique.kilovolts.map(|tenths| f64::from(tenths) / 10.0);
        let charge = technique.charge.map(|thousandths| f64::from(thousandths) / 1e3);
        let aborted = *outcome == Outcome::Aborted;
        let told = [
            aborted.then(|| ", aborted".to_owned()),
            kilovolts.map(|kilovolts| format!(", {kilovolts} kV")),
            charge.map(|charge| format!(", {charge} mAs")),
        ];
        let told: String = told.into_iter().flatten().collect();
        lines.push(format!("latest exposure {sequence}{told}"));
        json!({
            "controller": exposure.controller, "epoch": exposure.epoch, "sequence": sequence,
            "aborted": aborted, "kilovolts": kilovolts, "milliampere_seconds": charge,
            "milliseconds": technique.duration.map(|tenths| f64::from(tenths) / 10.0),
        })
    });
    let document = json!({
        "lamp": room.lamp.to_string(), "missing": room.missing, "unexplained": room.unexplained,
        "entries": room.entries, "latest": latest,
        "detector": detector, "interlock": room.interlock.map(|interlock| interlock.state.to_string()),
    });
    if let Some(detector) = &room.detector {
        lines.push(format!("detector {}", detector.readiness));
    }
    if let Some(interlock) = &room.interlock {
        lines.push(format!("interlock {}", interlock.state));
    }
    output.say(&lines.join("\n"), &document)
}
