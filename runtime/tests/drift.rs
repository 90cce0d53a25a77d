//! Images that change are told from those of the calibration: by `/health`, `/drift`, the metrics and `runtime drift`.
//! No answer changes and the box stays healthy.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use bundle::Bundle;
use common::{Daemon, Settings, fixtures, model, reference, scu::Scu};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use drift::{Gathered, Seen};
use engine::{Analysis, Analyzer, Options};
use std::{fs, path::Path, process::Command};

const IMAGES: u32 = 110;

/// Sends a drawn chest from a station, inverted or not.
fn send(scu: &mut Scu, seed: u32, station: &str, inverted: bool) {
    let uid = format!("1.2.{seed}");
    let mut object = fixtures::chest(&uid, 160, seed);
    let name = PrimitiveValue::from(station);
    object.put(DataElement::new(Tag(0x0008, 0x1010), VR::SH, name));
    if inverted {
        let pixels = object.element(Tag(0x7fe0, 0x0010)).unwrap().to_multi_int::<u16>().unwrap();
        let pixels: Vec<u16> = pixels.into_iter().map(|grey| 4095 - grey).collect();
        let pixels = PrimitiveValue::U16(pixels.into());
        object.put(DataElement::new(Tag(0x7fe0, 0x0010), VR::OW, pixels));
    }
    assert_eq!(scu.store_bytes(&uid, &fixtures::encode(&object, fixtures::IMPLICIT)), 0);
}

fn answered(daemon: &Daemon, images: u64) {
    daemon.wait("the answers", |daemon| {
        let answered = daemon.json("/health").1["answered_since_start"].as_u64();
        (answered >= Some(images)).then_some(())
    });
}

/// The test's bundle with a reference of the images in a spool.
fn with_reference(bundle: &Bundle, spool: &Path) -> Bundle {
    let mut analyzer = Analyzer::open(bundle, &Options::threads(1)).unwrap();
    let frame = reference::frame(bundle);
    let mut files: Vec<_> =
        fs::read_dir(spool.join("images")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut gathered = |file| {
        let bytes = fs::read(file).unwrap();
        let radiograph = radiograph::read(&bytes).unwrap();
        let (analysis, input) = analyzer.analyze_with_input(&radiograph, |_| {}).unwrap();
        let Analysis::Analysed(found) = analysis else { panic!("{analysis:?}") };
        let scores = found.figures();
        Gathered::of(Seen { input, embedding: found.embedding, scores }, &frame).unwrap()
    };
    let images: Vec<Gathered> = files.iter().map(&mut gathered).collect();
    reference::put(bundle, &images)
}

#[test]
fn another_detector_is_told_and_changes_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let first = model::trusted(&model::write(folder.path(), 1));
    let daemon = Daemon::start_in(folder, Settings { bundle: &first, ..Settings::default() });
    let mut scu = Scu::associate(daemon.dicom);
    (0..IMAGES).for_each(|seed| send(&mut scu, seed, "ROOM 1", false));
    answered(&daemon, IMAGES.into());
    let why = daemon.wait("why nothing is compared", |daemon| {
        let (code, without) = daemon.json("/drift");
        assert_eq!((code, &without["summary"]), (200, &serde_json::Value::Null));
        without["status"]["reason"].as_str().map(str::to_owned)
    });
    assert!(why.contains("no reference for drift"), "{why}");
    let before = daemon.findings("1.2.7");
    let folder = daemon.kill();

    let sealed = with_reference(&model::seal(1, true), &folder.path().join("spool"));
    let path = folder.path().join("with.bundle");
    fs::write(&path, sealed.to_bytes().unwrap()).unwrap();
    let second = model::trusted(&path);
    let daemon = Daemon::start_in(folder, Settings { bundle: &second, ..Settings::default() });
    let mut scu = Scu::associate(daemon.dicom);
    (1000..1040).for_each(|seed| send(&mut scu, seed, "ROOM 1", false));
    answered(&daemon, 40);
    daemon.wait("the images", |daemon| (daemon.metric("cxr_drift_observed") == 40).then_some(()));
    assert_eq!(daemon.json("/drift").1["status"]["alarms"], serde_json::json!([]));
    (2000..2040).for_each(|seed| send(&mut scu, seed, "ROOM 2", true));
    answered(&daemon, 80);
    let observed = |daemon: &Daemon| {
        let left_out = daemon.metric("cxr_drift_left_out");
        (daemon.metric("cxr_drift_observed") + left_out == 80).then_some(left_out)
    };
    assert_eq!(daemon.wait("the images", observed), 0, "{}", daemon.log());

    let (_, health) = daemon.json("/health");
    assert_eq!(health["status"], "ok");
    let warnings = health["warnings"].to_string();
    assert!(warnings.contains("drift, ROOM 2: ") && !warnings.contains("ROOM 1"), "{warnings}");
    assert!(daemon.metric("cxr_drift_alarms") > 0);
    let (_, told) = daemon.json("/drift");
    let streams = told["summary"]["streams"].as_array().unwrap();
    let sources: Vec<&str> = streams.iter().map(|s| s["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["all sources", "ROOM 1", "ROOM 2"]);
    let spool = daemon.folder.path().join("spool");
    // Told a moment after it is counted.
    daemon.wait("the alarm in the audit log", |_| {
        let audit = fs::read_to_string(spool.join("audit.log")).unwrap();
        audit.contains("\"what\":\"drift\"").then_some(())
    });
    let log = fs::read_to_string(spool.join("drift.log")).unwrap();
    assert!(!log.contains("1.2.2000") && !log.contains("Phantom") && !log.contains("P-1"));
    let after = daemon.findings("1.2.7");
    assert_eq!(after["findings"], before["findings"]);

    let config = daemon.folder.path().join("runtime.toml");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
        let output = command.args(arguments).arg("--config").arg(&config).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&["drift"]);
    assert!(text.contains("\nROOM 2: 40 images\n  ALARM since "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&run(&["drift", "--json"])).unwrap();
    for (at, stream) in streams.iter().enumerate() {
        for name in ["source", "images", "alarms"] {
            assert_eq!(json["streams"][at][name], stream[name], "{name}");
        }
    }
}
