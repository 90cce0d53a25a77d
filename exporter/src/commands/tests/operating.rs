//! Thresholds of a bundle: what the int8 network says of the validation split decides, for every head.

use super::run;
use crate::{
    checkpoint::Checkpoint,
    fixtures, fold,
    images::Input,
    interpreter::{Interpreter, Outputs},
    network::Network,
    verify,
};
use bundle::{Bundle, section};
use engine::decode;
use graph::{Backbone, Preprocess};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const IMAGES: usize = 24;
/// What the test's masks are drawn from.
const INSIDE: f32 = 0.7;

/// A network with all three heads, pictures, and thresholds nobody would fit.
struct Place {
    folder: TempDir,
    checkpoint: PathBuf,
    images: PathBuf,
}

impl Place {
    fn new() -> Self {
        let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
        // Logits of order one; random ones are in the hundreds, and all probabilities 0 or 1.
        let path = checkpoint.join("model.safetensors");
        let mut params = fixtures::read_weights(&path);
        let heads =
            params.iter_mut().filter(|(name, _)| name.starts_with("fc.") || name.contains(".out."));
        heads.for_each(|(_, array)| array.values.iter_mut().for_each(|w| *w *= 0.01));
        // Of regions around INSIDE, so that another threshold is another mask.
        params.get_mut("seg.out.weight").unwrap().values.iter_mut().for_each(|w| *w *= 0.2);
        params.get_mut("seg.out.bias").unwrap().values[0] = (INSIDE / (1.0 - INSIDE)).ln();
        fixtures::write_weights(&path, &params);
        let place = Self { folder, checkpoint, images };
        let graph = Checkpoint::open(&place.checkpoint).unwrap().graph;
        for at in 0..IMAGES {
            let pixels = fixtures::image(&graph, 100 + at as u32);
            let grey: Vec<u8> =
                pixels.iter().map(|x| (128.0 + 60.0 * x).clamp(0.0, 255.0) as u8).collect();
            fixtures::save_picture(&place.images.join(format!("{at}.png")), &grey);
        }
        let points: String = ["Pneumonia", "Lung", "Opacity"]
            .map(|name| format!("[[operating_points]]\nname = \"{name}\"\nthreshold = 0.123\n"))
            .concat();
        let config = place.checkpoint.join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}\n{points}")).unwrap();
        place
    }

    /// Writes an index of the validation split; `more` has further fields of each line.
    fn index(&self, more: impl Fn(usize) -> Value) -> PathBuf {
        let line = |at: usize| {
            let mut line = json!({
                "id": at.to_string(), "patient_id": (at / 2).to_string(), "split": "val",
                "image": format!("images/{at}.png"), "labels": { "Pneumonia": i32::from(positive(at)) },
            });
            let more = more(at);
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            format!("{line}\n")
        };
        let path = self.folder.path().join("index.jsonl");
        fs::write(&path, (0..IMAGES).map(line).collect::<String>()).unwrap();
        path
    }

    fn quantize(&self, index: &Path, name: &str, more: &[&str]) -> Result<Bundle, String> {
        let out = self.folder.path().join(name);
        let mut args: Vec<&dyn AsRef<Path>> = vec![&"quantize", &"--int8", &"--int8-detection"];
        args.extend([&"--checkpoint" as &dyn AsRef<Path>, &self.checkpoint, &"--calibration"]);
        args.extend([&index as &dyn AsRef<Path>, &"--out", &out]);
        args.extend(more.iter().map(|arg| arg as &dyn AsRef<Path>));
        run(&args)?;
        Ok(Bundle::open(&out).unwrap())
    }

    fn pixels(&self, at: usize) -> Vec<f32> {
        let preprocess = Preprocess { height: 64, width: 64, ..Preprocess::PRIOR };
        Input::read(&self.images.join(format!("{at}.png")), &preprocess, 1).unwrap().pixels
    }

    /// Of every picture.
    fn int8(&self, bundle: &Bundle) -> Vec<Outputs> {
        let onnx = bundle.require(section::MODEL).unwrap();
        let network = Network::open(&bundle.manifest, onnx).unwrap();
        (0..IMAGES).map(|at| network.infer(&self.pixels(at)).unwrap()).collect()
    }

    fn float(&self) -> Vec<Outputs> {
        let Checkpoint { graph, weights, .. } = Checkpoint::open(&self.checkpoint).unwrap();
        let (graph, weights) = fold::fold_batch_norms(&graph, &weights);
        let network = Interpreter::new(&graph, &weights).unwrap();
        (0..IMAGES).map(|at| network.outputs(&self.pixels(at)).unwrap()).collect()
    }
}

fn positive(at: usize) -> bool {
    at.is_multiple_of(3)
}

fn output<'a>(outputs: &'a Outputs, name: &str) -> &'a [f32] {
    &outputs.iter().find(|(own, _)| own == name).unwrap().1
}

fn point(bundle: &Bundle, name: &str) -> (f32, String) {
    let points = &bundle.manifest.operating_points;
    let point = points.iter().find(|point| point.name == name).unwrap();
    (point.threshold, point.chosen.clone())
}

/// Youden's J by trying the middle between every two neighbours, from the highest down.
fn best_j(scores: &[f32]) -> f32 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted.dedup();
    let share = |threshold: f32, of: bool| {
        let of: Vec<usize> = (0..IMAGES).filter(|&at| positive(at) == of).collect();
        let called = of.iter().filter(|&&at| scores[at] >= threshold).count();
        called as f64 / of.len() as f64
    };
    let middles = sorted.windows(2).map(|pair| pair[0] / 2.0 + pair[1] / 2.0);
    let j = |threshold: f32| share(threshold, true) - share(threshold, false);
    middles.fold((0.0, 1.0), |best, t| if j(t) > best.0 + 1e-9 { (j(t), t) } else { best }).1
}

fn probabilities(outputs: &[Outputs]) -> Vec<f32> {
    outputs.iter().map(|outputs| decode::sigmoid(output(outputs, "classification")[0])).collect()
}

/// Boxes of a picture, the surest first.
fn boxes(place: &Place, bundle: &Bundle, outputs: &Outputs) -> Vec<engine::Detection> {
    let graph = Checkpoint::open(&place.checkpoint).unwrap().graph;
    verify::decoded(&graph, &bundle.manifest, outputs, [64, 64]).unwrap().boxes.unwrap()
}

#[test]
fn every_threshold_is_fitted_on_what_the_int8_network_says() {
    let place = Place::new();
    let before = place.quantize(&place.index(|_| json!({})), "before.bundle", &[]).unwrap();
    let int8 = place.int8(&before);

    // Truth the int8 network meets exactly: its own regions at one threshold, and its surest box of every second picture.
    fs::create_dir(place.folder.path().join("masks")).unwrap();
    for (at, outputs) in int8.iter().enumerate() {
        let logits = output(outputs, "segmentation");
        let mask =
            decode::mask("", logits, [32, 32], &Preprocess::PRIOR.place([64, 64]), INSIDE).data;
        let grey: Vec<u8> = mask.iter().map(|inside| inside * 255).collect();
        fixtures::save_picture(&place.folder.path().join(format!("masks/{at}.png")), &grey);
    }
    let found: Vec<_> = int8.iter().map(|outputs| boxes(&place, &before, outputs)).collect();
    let drawn = |at: usize| at.is_multiple_of(2);
    let index = place.index(|at| {
        let sure = &found[at][0];
        let own = json!({ "label": "Opacity", "x": sure.x, "y": sure.y, "w": sure.width, "h": sure.height });
        json!({
            "masks": [{ "path": format!("masks/{at}.png"), "cls": "Lung" }],
            "boxes": if drawn(at) { vec![own] } else { vec![] }, "looked_for": ["Opacity"],
        })
    });
    let after = place.quantize(&index, "after.bundle", &[]).unwrap();
    let model = |bundle: &Bundle| bundle.require(section::MODEL).unwrap().to_vec();
    assert!(model(&before) == model(&after), "truth changes no weight");

    let (pneumonia, chosen) = point(&after, "Pneumonia");
    assert_eq!(pneumonia, best_j(&probabilities(&int8)));
    assert_eq!(chosen, "Youden's J on the val split (n = 24), int8");
    // Float would have it elsewhere.
    let float = best_j(&probabilities(&place.float()));
    assert!((pneumonia - float).abs() > 1e-5, "{pneumonia} {float}");

    // Only at the threshold the masks were drawn from is every Dice 1.
    let (lung, chosen) = point(&after, "Lung");
    assert_eq!(lung, INSIDE);
    assert_eq!(chosen, "highest mean Dice on the val split (n = 24), int8");

    // Every drawn box is its picture's surest call, so the F1 of a threshold is counting.
    let f1 = |threshold: f32| {
        let sure = |at: &usize| drawn(*at) && found[*at][0].score >= threshold;
        let hits = (0..IMAGES).filter(sure).count();
        let calls = found.iter().flatten().filter(|call| call.score >= threshold).count();
        2.0 * hits as f64 / (calls + IMAGES / 2) as f64
    };
    let (opacity, chosen) = point(&after, "Opacity");
    let best = found.iter().flatten().map(|call| f1(call.score)).fold(0.0, f64::max);
    assert!(best > 0.0 && f1(opacity) == best, "{opacity}: {} {best}", f1(opacity));
    assert_eq!(chosen, "highest F1 at IoU 0.5 on the val split (n = 24), int8");

    let metrics = &after.manifest.metrics;
    let of_int8: Vec<&str> =
        metrics.iter().filter(|m| m.arithmetic == "int8").map(|m| m.metric.as_str()).collect();
    assert_eq!(of_int8, ["AUROC Pneumonia", "Dice Lung", "mAP .40-.75"]);
    assert_eq!(metrics[metrics.len() - 2].value, 1.0);
}

#[test]
fn a_wished_sensitivity_is_wished_of_the_int8_network_too() {
    let place = Place::new();
    let config = place.checkpoint.join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let wish = "threshold = 0.123\nchosen = \"sensitivity 0.75 on the val split\"";
    fs::write(&config, text.replacen("threshold = 0.123", wish, 1)).unwrap();
    let bundle = place.quantize(&place.index(|_| json!({})), "a.bundle", &[]).unwrap();
    let (threshold, chosen) = point(&bundle, "Pneumonia");
    assert_eq!(chosen, "sensitivity 0.75 on the val split (n = 24), int8");
    let scores = probabilities(&place.int8(&bundle));
    let found =
        |threshold: f32| (0..IMAGES).filter(|&at| positive(at) && scores[at] >= threshold).count();
    // Six of eight, and no higher threshold finds as many.
    assert_eq!(found(threshold), 6);
    let next = scores.iter().copied().filter(|&s| s >= threshold).fold(1.0, f32::min);
    assert_eq!(found(next + 1e-7), 5);
}

#[test]
fn thresholds_stay_as_they_were_where_nothing_says_better() {
    let place = Place::new();
    let from_folder = place.quantize(&place.images.clone(), "folder.bundle", &[]).unwrap();
    // Two positives say nothing.
    let index = place.index(|at| json!({ "labels": { "Pneumonia": i32::from(at < 2) } }));
    let from_few = place.quantize(&index, "few.bundle", &[]).unwrap();
    for bundle in [&from_folder, &from_few] {
        for name in ["Pneumonia", "Lung", "Opacity"] {
            let (threshold, chosen) = point(bundle, name);
            assert_eq!(threshold, 0.123, "{name}");
            assert!(!chosen.contains("int8"), "{chosen}");
        }
        assert_eq!(point(bundle, "Effusion"), (0.5, "not fitted: even odds".into()));
    }
}

#[test]
fn the_same_index_and_passes_give_the_same_digest() {
    let place = Place::new();
    let index = place.index(|_| json!({}));
    let more = ["--observer", "auto", "--adaround", "--equalize"];
    let digest = |name: &str| place.quantize(&index, name, &more).unwrap().digest();
    let once = digest("a.bundle");
    assert_eq!(once, digest("b.bundle"));
    // Another picture is another bundle.
    fixtures::save_picture(&place.images.join("5.png"), &[[9, 200]; 32 * 64].concat());
    assert_ne!(once, digest("c.bundle"));
}

#[test]
fn masks_of_another_size_are_named_with_both_sizes() {
    let place = Place::new();
    let mask = place.folder.path().join("mask.png");
    image::save_buffer(&mask, &[255; 32 * 48], 32, 48, image::ColorType::L8).unwrap();
    let index = place.index(|_| json!({ "masks": [{ "path": "mask.png", "cls": "Lung" }] }));
    let error = place.quantize(&index, "a.bundle", &[]).err().unwrap();
    assert!(error.contains("mask.png: mask is 32x48, expected the image's 64x64"), "{error}");
}
