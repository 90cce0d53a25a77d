//! Bad input gets one line that names the file, what was found and what was expected; exit 1; nothing half-written.

use anyhow::Result;
use e2e::pipeline::Work;
use e2e::radiographs;
use e2e::tool::{binaries, exporter, firmware_host, runtime, trainer};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// `runtime analyze` of a file that cannot be analysed.
fn analyze_refuses(work: &Work, file: &Path) -> Result<String> {
    let error = runtime().arg("analyze").arg(file).arg("--bundle").arg(work.bundle()).refusal()?;
    let name = file.file_name().expect("a file").to_string_lossy().into_owned();
    assert!(error.contains(&name), "{error:?} does not name {name}");
    Ok(error)
}

#[track_caller]
fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
}

#[test]
fn pictures_that_are_none_are_refused() -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);

    says(&analyze_refuses(&work, &at("missing.dcm"))?, &["No such file"]);

    fs::write(at("empty.dcm"), "")?;
    says(&analyze_refuses(&work, &at("empty.dcm"))?, &["empty"]);

    let phantoms = work.folder.join("phantoms/masks/lung");
    let png = fs::read_dir(phantoms)?.next().expect("phantoms have lung masks")?.path();
    fs::copy(png, at("renamed.dcm"))?;
    says(&analyze_refuses(&work, &at("renamed.dcm"))?, &["PNG", "DICOM"]);

    let whole = fs::read(radiographs::nema("RG1_UNCR.dcm")?)?;
    fs::write(at("truncated.dcm"), &whole[..whole.len() / 2])?;
    says(&analyze_refuses(&work, &at("truncated.dcm"))?, &["bytes", "expected"]);
    Ok(())
}

#[test]
fn a_bundle_with_one_flipped_byte_is_refused_by_everybody() -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let mut bytes = fs::read(work.bundle())?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let flipped = folder.path().join("flipped.bundle");
    fs::write(&flipped, bytes)?;

    let picture = radiographs::nema("RG1_UNCR.dcm")?;
    for tool in [
        runtime().arg("analyze").arg(picture).arg("--bundle").arg(&flipped),
        runtime().arg("selftest").arg("--bundle").arg(&flipped),
        exporter().arg("check").arg(&flipped),
        exporter().arg("inspect").arg(&flipped),
        // Checked before the box is even looked for.
        firmware_host().arg("push").arg(&flipped).args(["--device", "tcp://127.0.0.1:1"]),
    ] {
        says(&tool.refusal()?, &["flipped.bundle", "SHA-256", "manifest says"]);
    }
    Ok(())
}

#[test]
fn a_checkpoint_of_another_architecture_is_refused_and_nothing_is_written() -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let other = folder.path().join("other");
    fs::create_dir(&other)?;
    for name in ["model.safetensors", "state.json"] {
        fs::copy(work.checkpoint().join(name), other.join(name))?;
    }
    let config = fs::read_to_string(work.checkpoint().join("config.toml"))?;
    fs::write(other.join("config.toml"), config.replace("resnet18", "resnet34"))?;

    let out = folder.path().join("out.bundle");
    let error = exporter()
        .args(["quantize", "--int8", "--checkpoint"])
        .arg(&other)
        .arg("--calibration")
        .arg(work.index())
        .arg("--out")
        .arg(&out)
        .refusal()?;
    says(&error, &["model.safetensors", "layer1.2.conv1.weight"]);
    let left: Vec<_> = fs::read_dir(folder.path())?
        .map(|entry| entry.map(|e| e.file_name()))
        .collect::<Result<_, _>>()?;
    assert_eq!(left, ["other"]);
    Ok(())
}

#[test]
fn an_index_that_names_a_missing_image_is_refused_before_anything_is_learned() -> Result<()> {
    let work = Work::for_tests()?;
    let folder = tempfile::tempdir()?;
    let index = folder.path().join("index.jsonl");
    let text = fs::read_to_string(work.index())?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut record: serde_json::Value = serde_json::from_str(&lines[4])?;
    record["image"] = "gone.png".into();
    lines[4] = record.to_string();
    fs::write(&index, lines.join("\n"))?;

    let out = folder.path().join("out");
    let error = trainer()
        .args(["finetune", "--task", "classification", "--encoder", "none", "--data"])
        .arg(&index)
        .arg("--out")
        .arg(&out)
        .refusal()?;
    says(&error, &["index.jsonl", "jsonl:5:", "gone.png"]);
    assert!(!out.exists(), "nothing may be written");
    Ok(())
}

/// As `exporter inspect … | head -1` does it.
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (tool, args) in
        [("exporter", &["keygen", "--out"]), ("firmware-host", &["keygen", "--out"])]
    {
        let mut child = Command::new(binaries().join(tool))
            .args(args)
            .arg(folder.path().join(tool))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        drop(child.stdout.take());
        let ended = child.wait_with_output()?;
        let error = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && error.is_empty(), "{tool}: {} {error}", ended.status);
    }
    Ok(())
}
