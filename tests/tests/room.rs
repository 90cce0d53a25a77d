//! An X-ray room as a whole: a controller that tells of exposures over TLS, dcmtk's `storescu` that sends their images, the
//! agent, the daemon. Images that are kept back are said to be missing, by number, and nothing else is.

use anyhow::{Context, Result, ensure};
use e2e::edge::{Edge, More};
use e2e::http;
use e2e::radiographs;
use e2e::service::until;
use e2e::tool::{firmware_host, root};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const EXPOSURES: usize = 12;

/// By which an image is told from the next one: nobody sends the number of an exposure.
fn kilovolts(number: usize) -> f64 {
    60.0 + 3.0 * number as f64
}

/// What the controller is to do, with the command that sends an image.
fn scene(edge: &Edge, device: &str, images: &Path) -> Result<String> {
    let dicom = edge.dicom()?;
    let (host, port) = (dicom.ip().to_string(), dicom.port().to_string());
    let file = images.join("{sequence}.dcm").display().to_string();
    let send = ["storescu", "-aec", "CXR-EDGE", "-x=", &host, &port, &file];
    let technique =
        |number| format!("[[controller.technique]]\nkilovolts = {:.1}\n", kilovolts(number));
    let techniques: String = (1..=EXPOSURES).map(technique).collect();
    Ok(format!(
        "seed = 4\n[controller]\ndevice = {device:?}\nexposures = {EXPOSURES}\nevery = \"0s\"\nimage = {send:?}\n\
         {techniques}[controller.faults]\nimage_missing = 0.3\naborted = 0.25\n"
    ))
}

#[test]
fn images_that_a_room_keeps_back_are_missing_by_number_and_no_other_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let public = root().join("runtime/examples/chest-lungs.pub");
    let more = More {
        daemon: "[exposures]\nfolder = \"room\"\nimage_seconds = 3\nexposure_seconds = 60\n",
        agent: "[exposures]\nfolder = \"room\"\n",
        ..More::default()
    };
    let edge = Edge::start_with(&folder.path().join("box"), &[&public], more)?;
    edge.deploy(&root().join("runtime/examples/chest-lungs.bundle"))?;
    let chest = fs::read(radiographs::small_chest(folder.path())?)?;
    for number in 1..=EXPOSURES {
        let file = folder.path().join(format!("{number}.dcm"));
        let chest = radiographs::at_kilovolts(&chest, kilovolts(number));
        fs::write(file, radiographs::study(&chest, number))?;
    }
    let path = folder.path().join("controller.toml");
    fs::write(&path, scene(&edge, &edge.device()?, folder.path())?)?;
    let play = firmware_host().args(["simulate", "--config"]).arg(&path).arg("--key");
    let play = play.arg(edge.folder().join("link.key")).arg("--known-boxes");
    let played = play.arg(edge.folder().join("known_boxes")).json()?.remove(0);
    let count = |name: &str| played["played"][name].as_u64().context(name.to_owned());
    let (kept, sent, aborted) =
        (count("images_kept_back")?, count("images_sent")?, count("aborted")?);
    ensure!(kept > 0 && sent > 0 && aborted > 0, "{played}");
    ensure!(kept + sent + aborted == EXPOSURES as u64, "{played}");

    let exposures = until("the missing images are told", || {
        let health = http::get_json(edge.http()?, "/health")?;
        Ok((health["exposures"]["missing"] == kept).then(|| health["exposures"].clone()))
    })?;
    ensure!(exposures["counts"]["matched"] == sent, "{exposures}");
    ensure!(exposures["unexplained"] == 0, "{exposures}");
    let listed = exposures["missing_exposures"].as_array().context("no list")?;
    let listed: BTreeSet<u64> = listed.iter().filter_map(|one| one["sequence"].as_u64()).collect();
    let arrived = http::get_json(edge.http()?, "/images?limit=100")?;
    let arrived: BTreeSet<String> = arrived["images"]
        .as_array()
        .context("no images")?
        .iter()
        .filter_map(|image| image["sop_instance_uid"].as_str().map(str::to_owned))
        .collect();
    ensure!(arrived.len() as u64 == sent && listed.len() as u64 == kept, "{exposures} {arrived:?}");
    let is_there = |number: &u64| arrived.contains(&radiographs::study_uid(*number as usize));
    ensure!(!listed.iter().any(is_there), "{listed:?} are missing, and here: {arrived:?}");
    let room: Value = edge.verb("room")?.json()?.remove(0);
    ensure!(room["missing"] == kept, "{room}");
    Ok(())
}
