//! Real, derived and malformed DICOM files against an independent oracle (pydicom, DCMTK).
//!
//! The files are not part of this repository: without `../shared/data/dicom-samples` beside it
//! these tests say so and pass.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

use radiograph::{NotAnalysed, RadiographError, Source, gate, read_file, stored_values};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[test]
fn stored_values_equal_the_oracle_or_are_refused_for_a_known_reason() {
    let mut checked = 0;
    for sample in samples(&["real/", "derived/", "unclear-licence/"]) {
        let oracle = &sample.entry["stored_values"];
        let bytes = fs::read(&sample.path).unwrap();
        let found = stored_values(&bytes);
        let name = &sample.name;
        match (known_refusal(&sample), found) {
            (Some(reason), Err(error)) => {
                let line = line(&error);
                assert!(line.contains(reason), "{name}: {line}, expected {reason}");
            }
            (Some(reason), Ok(_)) => panic!("{name}: read, expected refusal: {reason}"),
            (None, Err(error)) => panic!("{name}: {}", line(&error)),
            (None, Ok(found)) => {
                assert_eq!(shape(&found), numbers(&oracle["shape"]), "{name}");
                let min = f64::from(*found.values.iter().min().unwrap());
                let max = f64::from(*found.values.iter().max().unwrap());
                let sum: f64 = found.values.iter().map(|v| f64::from(*v)).sum();
                let mean = sum / found.values.len() as f64;
                let is = |key: &str| oracle[key].as_f64().unwrap();
                if is_lossy(&sample) {
                    let step = (is("max") - is("min")) / 250.0; // one in 8 bits
                    assert!((min - is("min")).abs() <= 2.0 * step, "{name}: min {min}");
                    assert!((max - is("max")).abs() <= 2.0 * step, "{name}: max {max}");
                    assert!((mean - is("mean")).abs() <= 0.1 * step, "{name}: mean {mean}");
                } else {
                    let bytes: Vec<u8> =
                        found.values.iter().flat_map(|v| v.to_le_bytes()).collect();
                    let digest = hex::encode(Sha256::digest(&bytes));
                    let expected = oracle["sha256_i32le"].as_str().unwrap();
                    assert_eq!(digest, expected, "{name}: {min} … {max}, mean {mean}");
                }
                checked += 1;
            }
        }
    }
    println!("{checked} files equal to the oracle");
}

/// Why we do not read a file of the samples; `None`: we must.
fn known_refusal(sample: &Sample) -> Option<&'static str> {
    let is = |key: &str| sample.entry[key].as_str().unwrap_or_default();
    if sample.name.ends_with("zipMR.gz") {
        return Some("not a DICOM, PNG or JPEG file: begins with [1f, 8b");
    }
    match Path::new(&sample.name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default() {
        // Not part 10 files.
        "pydicom_no_meta" | "pydicom_ExplVR_LitEndNoMeta" => {
            return Some("not a DICOM, PNG or JPEG");
        }
        "pydicom_badVR" => return Some("NumberOfFrames is \"1A\", expected an integer"),
        "pydicom_meta_missing_tsyntax" => return Some("TransferSyntaxUID is missing"),
        "pydicom_rtplan_truncated" => return Some("are left"),
        // No pictures.
        "pydicom_nested_priv_SQ"
        | "pydicom_empty_charset_LEI"
        | "pydicom_reportsi"
        | "pydicom_UN_sequence" => return Some("is missing"),
        "pydicom_chrJapMulti" | "pydicom_chrJapMultiExplicitIR6" | "pydicom_chrKoreanMulti" => {
            return Some("PixelData is missing");
        }
        // A fragment of a stream, made to confuse parsers; the oracle's decoders refuse it too.
        "pydicom_JPEG2000-embedded-sequence-delimiter" => {
            return Some("14540801 tiles");
        }
        "pydicom_MR_truncated" => return Some("pixel data has 8130 bytes, expected 8192"),
        "pydicom_liver_1frame" => return Some("BitsAllocated is 1, expected 8, 16 or 32"),
        "pydicom_SC_ybr_full_422_uncompressed" => {
            return Some("PhotometricInterpretation is YBR_FULL_422");
        }
        _ => {}
    }
    match is("transfer_syntax").rsplit_once(".4.").map(|(_, last)| last) {
        Some("53" | "55") => Some("is not supported"),
        _ => None,
    }
}

/// The decoders that made the oracle need not round as ours does.
fn is_lossy(sample: &Sample) -> bool {
    let syntax = sample.entry["transfer_syntax"].as_str().unwrap_or_default();
    ["4.50", "4.51", "4.91", "4.203"].iter().any(|lossy| syntax.ends_with(lossy))
}

#[test]
fn one_picture_in_any_bit_depth_and_polarity_is_displayed_alike() {
    let group: Vec<_> = samples(&["derived/"])
        .into_iter()
        .filter(|sample| sample.entry["group"] == "rg1q-display")
        .collect();
    if group.is_empty() {
        return;
    }
    assert_eq!(group.len(), 10);
    let reference = "rg1q_16bit_MONOCHROME2.dcm";
    let reference = group.iter().find(|sample| sample.name.ends_with(reference)).unwrap();
    let reference = read_file(&reference.path).unwrap().image;
    for sample in &group {
        let bits = sample.entry["bits_stored"].as_u64().unwrap();
        let image = read_file(&sample.path).unwrap().image;
        let far = reference
            .pixels()
            .iter()
            .zip(&*image.pixels())
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        let step = 1.0 / ((1u64 << bits) as f32 * 0.9); // the picture fills 0.94 of the range
        assert!(far <= 2.0 * step, "{}: {far}, one step is {step}", sample.name);
    }
}

/// What the gate says about the samples that differ in what it looks at.
#[test]
fn the_gate_lets_frontal_chest_radiographs_through_and_names_what_it_refuses() {
    let cases: &[(&str, Option<NotAnalysed>)] = &[
        ("real/nih_google_DX_implicit.dcm", None),
        ("real/siim_CR_jpegbaseline.dcm", None),
        ("derived/display/view_AP.dcm", None),
        ("derived/display/view_empty.dcm", None),
        ("derived/display/view_code_sequence.dcm", None),
        ("derived/display/cr_storage.dcm", None),
        ("derived/display/no_optional_tags.dcm", None),
        ("derived/display/view_LL.dcm", Some(NotAnalysed::View("LL".into()))),
        ("derived/display/for_processing.dcm", Some(NotAnalysed::ForProcessing)),
        ("derived/display/two_frames.dcm", Some(NotAnalysed::Frames(2))),
        ("derived/display/mirrored.dcm", Some(NotAnalysed::Orientation("R\\F".into()))),
        ("derived/display/rotated_fov.dcm", Some(NotAnalysed::Orientation("F\\L".into()))),
        ("derived/display/secondary_capture_rgb.dcm", Some(NotAnalysed::Modality("OT".into()))),
        ("real/nema_RG2_JPLL.dcm", Some(NotAnalysed::BodyPart("HIP".into()))),
        ("real/nema_RG3_RLE.dcm", Some(NotAnalysed::BodyPart("EXTREMITY".into()))),
        ("real/cs_CT_1.2.840.10008.1.2.1.dcm", Some(NotAnalysed::Modality("CT".into()))),
    ];
    let Some(root) = root() else { return };
    for (name, expected) in cases {
        let radiograph = read_file(&root.join(name)).unwrap();
        assert_eq!(gate(&radiograph).err().as_ref(), expected.as_ref(), "{name}");
    }
}

#[test]
fn malformed_files_are_refused_in_time_and_memory_without_a_panic() {
    let mut slowest = (Duration::ZERO, String::new());
    for sample in samples(&["malformed/"]) {
        let start = Instant::now();
        let result = read_file(&sample.path);
        let took = start.elapsed();
        let name = &sample.name;
        match (&result, sample.entry["expect"].as_str().unwrap()) {
            (Ok(_), expect) if expect.starts_with("must be refused") => panic!("{name}: read"),
            // Its name's length is one too many: no reader finds the elements after it.
            (Err(_), _) if name.ends_with("invalid_utf8_name.dcm") => {}
            (Err(error), expect) if expect.starts_with("read") => {
                panic!("{name}: {}, expected: {expect}", line(error))
            }
            (Err(error), _) => {
                println!("{}", line(error));
                assert!(line(error).contains(sample.path.to_str().unwrap()));
            }
            (Ok(_), _) => println!("{name}: read"),
        }
        assert!(took < Duration::from_secs(2), "{name}: {took:?}");
        slowest = slowest.max((took, name.clone()));
    }
    println!("slowest: {slowest:?}, peak memory of this process: {:?} KiB", peak_memory_kib());
    assert!(peak_memory_kib().is_none_or(|kib| kib < 1 << 20));
}

#[test]
fn every_sample_is_shown_in_range_and_its_header_read() {
    for sample in samples(&["real/", "derived/", "unclear-licence/"]) {
        let start = Instant::now();
        match read_file(&sample.path) {
            Ok(radiograph) => {
                let Source::Dicom(header) = &radiograph.source else { panic!("{}", sample.name) };
                let image = &radiograph.image;
                let gate = gate(&radiograph);
                println!("{}: {:?}, gate {gate:?}", sample.name, start.elapsed());
                assert!(image.pixels().iter().all(|x| (0.0..=1.0).contains(x)), "{}", sample.name);
                assert_eq!(
                    (header.rows as usize, header.columns as usize),
                    (image.height, image.width)
                );
                if let Some(modality) = sample.entry["modality"].as_str() {
                    assert_eq!(header.modality, modality, "{}", sample.name);
                }
            }
            Err(error) => println!("{}", line(&error)),
        }
    }
}

struct Sample {
    /// Relative to the samples' folder.
    name: String,
    path: PathBuf,
    /// Of `manifest.json`.
    entry: Value,
}

fn root() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let root = workspace.join("../shared/data/dicom-samples");
    if !root.join("manifest.json").is_file() {
        skip::because("no ../shared/data/dicom-samples");
        return None;
    }
    Some(root)
}

fn samples(folders: &[&str]) -> Vec<Sample> {
    let Some(root) = root() else { return Vec::new() };
    let manifest = fs::read_to_string(root.join("manifest.json")).unwrap();
    let entries: Vec<Value> = serde_json::from_str(&manifest).unwrap();
    let sample = |entry: Value| {
        let name = entry["file"].as_str().unwrap().to_owned();
        Sample { path: root.join(&name), name, entry }
    };
    let samples = entries.into_iter().map(sample);
    samples.filter(|s| folders.iter().any(|folder| s.name.starts_with(folder))).collect()
}

fn shape(found: &radiograph::StoredValues) -> Vec<u64> {
    let mut shape = vec![found.rows as u64, found.columns as u64];
    if found.frames > 1 {
        shape.insert(0, found.frames as u64);
    }
    if found.samples > 1 {
        shape.push(found.samples as u64);
    }
    shape
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

/// As `main` prints it.
fn line(error: &RadiographError) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// The largest resident memory of this process so far, where the system tells.
fn peak_memory_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
