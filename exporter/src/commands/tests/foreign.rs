//! Networks of other tools, from an ONNX file to findings.

use super::run;
use crate::{
    fixtures,
    passes::interpreter::Interpreter,
    verify::Network,
    write::onnx::{Batch, float_model},
};
use bundle::{Bundle, section};
use engine::{Analyzer, Findings, Options, interpret};
use graph::Backbone;
use prost::Message;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// What our own outputs mean, in another tool's words; `boxes` of ours have no such form.
const OURS: &str = r#"
name = "theirs"
version = "3.1.4"
licence = "MIT"
intended-use = "Tests."
architecture = "a network of theirs"

[input]
mean = 0.4755
deviation = 0.3011

[[outputs]]
name = "embedding"
kind = "embedding"

[[outputs]]
name = "classification"
kind = "findings"
activation = "sigmoid"
labels = ["Pneumonia", "Effusion"]

[[outputs]]
name = "segmentation"
kind = "masks"
activation = "sigmoid"
labels = ["Lung"]

[[outputs]]
name = "detection.p3"
kind = "unused"

[[outputs]]
name = "detection.p4"
kind = "unused"

[[outputs]]
name = "detection.p5"
kind = "unused"

[operating-points.thresholds]
Effusion = 0.25
"#;

struct Place {
    folder: TempDir,
    checkpoint: PathBuf,
    images: PathBuf,
}

impl Place {
    /// A checkpoint, its float ONNX file, and a description of that.
    fn new() -> Self {
        let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
        let place = Self { folder, checkpoint, images };
        let float = place.at("float.onnx");
        run(&[&"onnx", &"--checkpoint", &place.checkpoint, &"--out", &float]).unwrap();
        fs::write(place.at("model.toml"), OURS).unwrap();
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn quantize(&self, model: &str, out: &str, more: &[&str]) -> Result<(), String> {
        let (model, out, manifest) = (self.at(model), self.at(out), self.at("model.toml"));
        let mut args: Vec<&dyn AsRef<Path>> = vec![&"quantize", &"--int8", &"--model", &model];
        args.extend([&"--manifest" as &dyn AsRef<Path>, &manifest, &"--calibration", &self.images]);
        args.extend([&"--out" as &dyn AsRef<Path>, &out]);
        args.extend(more.iter().map(|arg| arg as &dyn AsRef<Path>));
        run(&args)
    }

    fn bundle(&self, name: &str) -> Bundle {
        Bundle::open(&self.at(name)).unwrap()
    }
}

/// What the box says of a picture.
fn findings(bundle: &Bundle, picture: &Path) -> Findings {
    let radiograph = radiograph::read_file(picture).unwrap();
    let mut analyzer = Analyzer::open(bundle, &Options::threads(1)).unwrap();
    let input = radiograph::network_input(&radiograph.image, &bundle.manifest.preprocess);
    let outputs = analyzer.engine().run(&input).unwrap();
    interpret(&outputs, &bundle.manifest, [64, 64]).unwrap()
}

/// The checkpoint's own bundle is the oracle: the same network under the same images.
#[test]
fn a_described_file_finds_what_the_checkpoint_it_was_exported_from_finds() {
    let place = Place::new();
    let own = place.at("own.bundle");
    let args = ["--int8-detection"];
    super::recipes::quantize(&place.checkpoint, &place.images, &own, &args).unwrap();
    place.quantize("float.onnx", "theirs.bundle", &[]).unwrap();
    run(&[&"check", &place.at("theirs.bundle")]).unwrap();
    let (own, theirs) = (place.bundle("own.bundle"), place.bundle("theirs.bundle"));

    let manifest = &theirs.manifest;
    assert_eq!((manifest.id.as_str(), manifest.version.as_str()), ("theirs", "3.1.4"));
    assert_eq!((manifest.licence.as_str(), manifest.intended_use.as_str()), ("MIT", "Tests."));
    assert_eq!(manifest.preprocess, own.manifest.preprocess);
    assert_eq!((manifest.threshold("Effusion"), manifest.threshold("Pneumonia")), (0.25, 0.5));
    assert!(!manifest.calibration.tensors.is_empty());
    assert!(manifest.calibration.tensors.iter().all(|it| it.histogram.counts.len() == 64));
    assert_eq!(theirs.golden().unwrap().vectors.len(), 3);
    assert_eq!(theirs.codes().unwrap().len(), 3);
    let card = String::from_utf8(theirs.require(section::MODEL_CARD).unwrap().to_vec()).unwrap();
    for part in ["a network of theirs", "float.onnx", "given by hand", "Effusion | 0.2500"] {
        assert!(card.contains(part), "{part}: {card}");
    }
    for at in 0..8 {
        let picture = place.images.join(format!("{at}.png"));
        let (own, theirs) = (findings(&own, &picture), findings(&theirs, &picture));
        for (a, b) in own.findings.iter().zip(&theirs.findings) {
            assert_eq!((&a.name, a.probability), (&b.name, b.probability), "picture {at}");
        }
        assert_eq!((own.masks, own.embedding), (theirs.masks, theirs.embedding), "picture {at}");
        assert_eq!(theirs.boxes, None);
    }
}

#[test]
fn flags_win_over_the_file_and_the_same_inputs_give_the_same_bytes() {
    let place = Place::new();
    run(&[&"keygen", &"--out", &place.at("key")]).unwrap();
    let key = place.at("key.key");
    let more = ["--id", "mine", "--sign", key.to_str().unwrap()];
    place.quantize("float.onnx", "a.bundle", &more).unwrap();
    place.quantize("float.onnx", "b.bundle", &more).unwrap();
    assert_eq!(fs::read(place.at("a.bundle")).unwrap(), fs::read(place.at("b.bundle")).unwrap());
    let manifest = place.bundle("a.bundle").manifest;
    assert_eq!((manifest.id.as_str(), manifest.version.as_str()), ("mine", "3.1.4"));
    run(&[&"check", &place.at("a.bundle"), &"--key", &place.at("key.pub")]).unwrap();
}

#[test]
fn a_network_that_came_quantized_enters_as_it_is() {
    let place = Place::new();
    place.quantize("float.onnx", "float.bundle", &["--observer", "mse"]).unwrap();
    let float = place.bundle("float.bundle");
    let onnx = float.require(section::MODEL).unwrap();
    fs::write(place.at("qdq.onnx"), onnx).unwrap();
    place.quantize("qdq.onnx", "qdq.bundle", &[]).unwrap();
    run(&[&"check", &place.at("qdq.bundle")]).unwrap();
    let qdq = place.bundle("qdq.bundle");
    assert_eq!(qdq.require(section::MODEL).unwrap(), onnx);
    assert!(qdq.manifest.contract.as_ref().unwrap().came_quantized);
    let picture = place.images.join("3.png");
    assert_eq!(findings(&qdq, &picture), findings(&float, &picture));
    // The file's scales, and what the images did: where both are known they agree.
    let mut compared = 0;
    for own in &qdq.manifest.calibration.tensors {
        let other = float.manifest.calibration.tensors.iter().find(|it| it.name == own.name);
        if let Some(other) = other {
            assert_eq!((own.scale, own.zero), (other.scale, other.zero), "{}", own.name);
            compared += 1;
        }
        assert!(own.histogram.counts.iter().sum::<u64>() > 0, "{}", own.name);
    }
    assert!(compared > 20, "{compared}");
    let card = String::from_utf8_lossy(qdq.require(section::MODEL_CARD).unwrap()).into_owned();
    assert!(card.contains("came quantized"), "{card}");

    let error = place.quantize("qdq.onnx", "x.bundle", &["--adaround"]).unwrap_err();
    assert!(error.contains("qdq.onnx") && error.contains("expected no --adaround"), "{error}");
    assert!(!place.at("x.bundle").exists());
}

#[test]
fn three_channels_each_with_its_mean_come_through_in_int8() {
    let place = Place::new();
    let graph = fixtures::config(Backbone::Resnet18).graph([3, 64, 64]).unwrap();
    let weights = fixtures::random(&graph, 5);
    let model = float_model(&graph, &weights, Batch::One).unwrap();
    fs::write(place.at("rgb.onnx"), model.encode_to_vec()).unwrap();
    let text = OURS.replace("mean = 0.4755\ndeviation = 0.3011\n", "");
    fs::write(place.at("model.toml"), text).unwrap();
    place.quantize("rgb.onnx", "rgb.bundle", &["--preset", "imagenet"]).unwrap();
    run(&[&"check", &place.at("rgb.bundle")]).unwrap();
    let bundle = place.bundle("rgb.bundle");
    assert_eq!(bundle.manifest.preprocess.channels(), 3);
    let radiograph = radiograph::read_file(&place.images.join("2.png")).unwrap();
    let input = radiograph::network_input(&radiograph.image, &bundle.manifest.preprocess);
    // One grey value, told three times.
    let grey = |channel: usize, (mean, std): (f32, f32)| input[channel * 64 * 64 + 7] * std + mean;
    let first = grey(0, (0.485, 0.229));
    assert!((0.0..=1.0).contains(&first), "{first}");
    for (channel, told) in [(1, (0.456, 0.224)), (2, (0.406, 0.225))] {
        let off = grey(channel, told) - first;
        assert!(off.abs() < 1e-6, "channel {channel}: {off}");
    }
    let onnx = bundle.require(section::MODEL).unwrap();
    let int8 = Network::open(&bundle.manifest.float_nodes, onnx).unwrap().infer(&input).unwrap();
    let float = Interpreter::new(&graph, &weights).unwrap().outputs(&input).unwrap();
    for ((name, a), (_, b)) in float.iter().zip(&int8).take(3) {
        let (signal, noise) = a.iter().zip(b).fold((0.0, 0.0), |(signal, noise), (a, b)| {
            (signal + a * a, noise + (a - b) * (a - b))
        });
        assert!(10.0 * (signal / noise).log10() > 15.0, "{name}: {signal} {noise}");
    }
}

#[test]
fn what_the_outputs_cannot_mean_is_refused_before_anything_is_calibrated() {
    let place = Place::new();
    let refused = |change: &dyn Fn(&str) -> String| {
        fs::write(place.at("model.toml"), change(OURS)).unwrap();
        let error = place.quantize("float.onnx", "out.bundle", &[]).unwrap_err();
        assert!(!place.at("out.bundle").exists());
        error
    };
    let error = refused(&|text| text.replace("\"Effusion\"]", "\"Effusion\", \"Mass\"]"));
    assert!(error.contains("`classification` has shape [1, 2], expected [1, 3]"), "{error}");
    let error = refused(&|text| text.replace("[\"Lung\"]", "[\"Lung\", \"Heart\"]"));
    assert!(error.contains("`segmentation` has shape") && error.contains("[1, 2, rows"), "{error}");
    let error = refused(&|text| text.replace("name = \"detection.p5\"", "name = \"detection.p6\""));
    assert!(error.contains("`detection.p6`, the network's outputs are"), "{error}");
    // Logits that are said to be probabilities show when the golden vectors are drawn.
    let error = refused(&|text| {
        text.replace(
            "activation = \"sigmoid\"\nlabels = [\"P",
            "activation = \"none\"\nlabels = [\"P",
        )
    });
    assert!(error.contains("output `classification` holds"), "{error}");
}

#[test]
fn thresholds_are_fitted_on_the_files_index_except_those_that_were_given() {
    let place = Place::new();
    let line = |at: usize| {
        let labels = format!(r#"{{"Pneumonia":{},"Effusion":{}}}"#, at % 2, at % 3 % 2);
        format!(
            r#"{{"id":"{at}","patient":"{at}","split":"val","image":"images/{}.png","labels":{labels}}}"#,
            at % 8
        )
    };
    let lines: String = (0..40).map(|at| line(at) + "\n").collect();
    fs::write(place.at("val.jsonl"), lines).unwrap();
    let text = OURS.replace(
        "[operating-points.thresholds]",
        "[operating-points]\nindex = \"val.jsonl\"\n[operating-points.thresholds]",
    );
    fs::write(place.at("model.toml"), text).unwrap();
    place.quantize("float.onnx", "fitted.bundle", &[]).unwrap();
    let bundle = place.bundle("fitted.bundle");
    let given = super::place::refit(&bundle, "Effusion");
    assert_eq!((given.old, given.new), (0.25, 0.25));
    assert_eq!(given.kept.as_deref(), Some("nobody says by what it was chosen"));
    let fitted = super::place::refit(&bundle, "Pneumonia");
    assert_eq!((fitted.n, fitted.old), (40, 0.5));
    assert!(fitted.interval.is_some(), "{fitted:?}");
    let metric = bundle.manifest.metrics.iter().find(|it| it.metric == "auroc/Pneumonia");
    assert_eq!(metric.unwrap().arithmetic, "int8");
}

/// Eight pictures of the test split, half of them with pneumonia.
fn index(place: &Place) -> PathBuf {
    let line = |at: usize| {
        let positive = at % 2;
        format!(
            r#"{{"id":"{at}","split":"test","image":"images/{at}.png","labels":{{"Pneumonia":{positive}}}}}"#
        )
    };
    let path = place.at("index.jsonl");
    fs::write(&path, (0..8).map(|at| line(at) + "\n").collect::<String>()).unwrap();
    path
}

#[test]
fn verify_finds_the_float_file_by_its_digest_and_refuses_another() {
    let place = Place::new();
    place.quantize("float.onnx", "out.bundle", &[]).unwrap();
    let (index, out, report) = (index(&place), place.at("out.bundle"), place.at("report.html"));
    run(&[&"verify", &out, &"--data", &index, &"--report", &report, &"--layers"]).unwrap();
    let page = fs::read_to_string(&report).unwrap();
    for part in [
        "a network of theirs",
        "auroc/Pneumonia",
        "agreement/Effusion",
        "cosine-with-float/segmentation",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let moved = place.at("moved.onnx");
    fs::rename(place.at("float.onnx"), &moved).unwrap();
    run(&[&"verify", &out, &"--data", &index, &"--model", &moved]).unwrap();
    let mut bytes = fs::read(&moved).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&moved, bytes).unwrap();
    let error = run(&[&"verify", &out, &"--data", &index, &"--model", &moved]).unwrap_err();
    assert!(error.contains("moved.onnx: SHA-256 is") && error.contains("was made of"), "{error}");
    let error = run(&[&"verify", &out, &"--data", &index]).unwrap_err();
    assert!(error.contains("made of an ONNX file") && error.contains("--model ONNX"), "{error}");
    let error = run(&[&"verify", &out, &"--data", &index, &"--checkpoint", &place.checkpoint]);
    assert!(error.unwrap_err().contains("expected no --checkpoint"));
}

#[test]
fn verify_of_a_network_that_came_quantized_measures_it_alone() {
    let place = Place::new();
    place.quantize("float.onnx", "float.bundle", &[]).unwrap();
    let onnx = place.bundle("float.bundle").require(section::MODEL).unwrap().to_vec();
    fs::write(place.at("qdq.onnx"), onnx).unwrap();
    place.quantize("qdq.onnx", "qdq.bundle", &[]).unwrap();
    let (index, out, report) = (index(&place), place.at("qdq.bundle"), place.at("report.html"));
    run(&[&"verify", &out, &"--data", &index, &"--report", &report]).unwrap();
    let page = fs::read_to_string(&report).unwrap();
    assert!(page.contains("auroc/Pneumonia<td class=\"n\">-<td"), "{page}");
    assert!(!page.contains("agreement") && !page.contains("with-float"), "{page}");
    let error = run(&[&"verify", &out, &"--data", &index, &"--model", &place.at("float.onnx")]);
    assert!(error.unwrap_err().contains("came quantized, so no file is known"));
}
