//! The main job with its real peers: what was trained, quantized, signed and pushed answers dcmtk.

use anyhow::Result;
use e2e::edge::Edge;
use e2e::http;
use e2e::pipeline::Work;
use e2e::radiographs::{self, Syntax};
use e2e::tool::runtime;
use serde_json::Value;
use std::path::Path;

fn deployed(folder: &Path) -> Result<(Work, Edge)> {
    let work = Work::for_tests()?;
    let edge = Edge::start(&folder.join("box"), &[&work.public_key()], "")?;
    edge.deploy(&work.bundle())?;
    Ok((work, edge))
}

/// What the library says of a file, through the command line.
fn analyze(bundle: &Path, file: &Path) -> Result<Value> {
    let mut answers = runtime().arg("analyze").arg(file).arg("--bundle").arg(bundle).json()?;
    Ok(answers.remove(0))
}

fn same_findings(service: &Value, library: &Value) {
    for field in ["status", "findings", "embedding_digest", "bundle"] {
        assert_eq!(service[field], library[field], "{field}");
    }
}

#[test]
fn a_real_radiograph_sent_by_dcmtk_gets_the_findings_the_library_gives() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (work, edge) = deployed(folder.path())?;
    radiographs::echo(edge.dicom()?)?;

    let chest = radiographs::nema("RG1_UNCR.dcm")?;
    let (rle, jpeg) = (folder.path().join("rle.dcm"), folder.path().join("jpeg.dcm"));
    radiographs::transcode("dcmcrle", &chest, &rle)?;
    radiographs::transcode("dcmcjpeg", &chest, &jpeg)?;
    let mut digests = Vec::new();
    for (file, syntax) in
        [(&chest, Syntax::Uncompressed), (&rle, Syntax::Rle), (&jpeg, Syntax::JpegLossless)]
    {
        edge.send(file, syntax)?;
        let uid = radiographs::sop_instance_uid(file)?;
        let answer = edge.findings(&uid)?;
        assert_eq!(answer["status"], "analysed", "{answer}");
        same_findings(&answer, &analyze(&work.bundle(), file)?);
        let overlay = http::get(edge.http()?, &format!("/images/{uid}/overlay.png"))?;
        assert!(overlay.starts_with(b"\x89PNG"), "the overlay is a PNG");
        digests.push(answer["embedding_digest"].clone());
    }
    assert!(
        digests.iter().all(|digest| *digest == digests[0]),
        "lossless encodings of one picture"
    );
    Ok(())
}

#[test]
fn an_ankle_is_not_analysed_and_the_reason_is_given() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_, edge) = deployed(folder.path())?;
    let ankle = radiographs::nema("RG3_UNCR.dcm")?;
    edge.send(&ankle, Syntax::Uncompressed)?;
    let answer = edge.findings(&radiographs::sop_instance_uid(&ankle)?)?;
    assert_eq!(answer["status"], "not-analysed");
    assert!(
        answer["reason"].as_str().is_some_and(|reason| reason.contains("EXTREMITY")),
        "{answer}"
    );
    assert!(answer["findings"].as_array().is_none_or(Vec::is_empty), "no guess: {answer}");
    Ok(())
}

/// C-STORE promises durability: once it succeeds, the answer comes even if the daemon dies.
#[test]
fn a_stored_image_is_answered_after_a_crash() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (work, edge) = deployed(folder.path())?;
    let chest = radiographs::nema("RG1_UNCR.dcm")?;
    edge.send(&chest, Syntax::Uncompressed)?;
    let edge = edge.kill_and_restart_daemon()?;
    let answer = edge.findings(&radiographs::sop_instance_uid(&chest)?)?;
    same_findings(&answer, &analyze(&work.bundle(), &chest)?);
    Ok(())
}

#[test]
fn after_a_rollback_the_old_bundle_answers_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (work, edge) = deployed(folder.path())?;
    let update = folder.path().join("update.bundle");
    work.quantize_as("0.2.0", &update)?;
    let chest = radiographs::nema("RG1_UNCR.dcm")?;
    let old = analyze(&work.bundle(), &chest)?["bundle"]["digest"].clone();
    assert_ne!(old, analyze(&update, &chest)?["bundle"]["digest"]);

    edge.deploy(&update)?;
    edge.verb("rollback")?.run()?;
    edge.wait_for(&old)?;
    edge.send(&chest, Syntax::Uncompressed)?;
    let answer = edge.findings(&radiographs::sop_instance_uid(&chest)?)?;
    assert_eq!(answer["bundle"]["digest"], old);
    Ok(())
}
