//! A network with all three heads, pictures, and an index that says of them what a test wants.

use super::run;
use crate::{
    fixtures,
    passes::{
        fold,
        interpreter::{Interpreter, Outputs},
    },
    read::{checkpoint::Checkpoint, images::Input},
    verify::{Network, Shapes, Side},
    write::{operating_points::Refit, provenance::Quantized},
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

pub(super) const IMAGES: usize = 36;
/// What the test's masks are drawn from.
pub(super) const INSIDE: f32 = 0.7;

/// A network with all three heads, pictures, and thresholds nobody would fit.
pub(super) struct Place {
    pub(super) folder: TempDir,
    pub(super) checkpoint: PathBuf,
    pub(super) images: PathBuf,
}

impl Place {
    pub(super) fn new() -> Self {
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
        for (name, criterion) in [("Pneumonia", "youden"), ("Lung", "dice"), ("Opacity", "f1")] {
            place.configure(&format!(
                "[[operating_points]]\nname = \"{name}\"\nthreshold = 0.123\ncriterion = \"{criterion}\"\n"
            ));
        }
        place
    }

    /// Adds to the checkpoint's `config.toml`.
    pub(super) fn configure(&self, more: &str) {
        let config = self.checkpoint.join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}\n{more}")).unwrap();
    }

    /// What the int8 network says of every picture, whatever the index says.
    pub(super) fn before(&self) -> (Bundle, Vec<Outputs>) {
        let bundle = self.quantize(&self.index(|_| json!({})), "before.bundle", &[]).unwrap();
        let outputs = self.int8(&bundle);
        (bundle, outputs)
    }

    /// Writes an index of the validation split; `more` has further fields of each line.
    pub(super) fn index(&self, more: impl Fn(usize) -> Value) -> PathBuf {
        let line = |at: usize| {
            let mut line = json!({
                "id": at.to_string(), "patient_id": at.to_string(), "split": "val",
                "image": format!("images/{at}.png"), "labels": { "Pneumonia": i32::from(positive(at)) },
            });
            let more = more(at);
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            format!("{line}\n")
        };
        self.write((0..IMAGES).map(line).collect())
    }

    pub(super) fn write(&self, lines: String) -> PathBuf {
        let path = self.folder.path().join("index.jsonl");
        fs::write(&path, lines).unwrap();
        path
    }

    pub(super) fn quantize(
        &self,
        index: &Path,
        name: &str,
        more: &[&str],
    ) -> Result<Bundle, String> {
        let out = self.folder.path().join(name);
        let mut args: Vec<&dyn AsRef<Path>> = vec![&"quantize", &"--int8", &"--int8-detection"];
        args.extend([&"--checkpoint" as &dyn AsRef<Path>, &self.checkpoint, &"--calibration"]);
        args.extend([&index as &dyn AsRef<Path>, &"--out", &out]);
        args.extend(more.iter().map(|arg| arg as &dyn AsRef<Path>));
        run(&args)?;
        Ok(Bundle::open(&out).unwrap())
    }

    pub(super) fn pixels(&self, at: usize) -> Vec<f32> {
        let preprocess = Preprocess { height: 64, width: 64, ..Preprocess::PRIOR };
        Input::read(&self.images.join(format!("{at}.png")), &preprocess).unwrap().pixels
    }

    /// Of every picture.
    pub(super) fn int8(&self, bundle: &Bundle) -> Vec<Outputs> {
        let onnx = bundle.require(section::MODEL).unwrap();
        let network = Network::open(&bundle.manifest.float_nodes, onnx).unwrap();
        (0..IMAGES).map(|at| network.infer(&self.pixels(at)).unwrap()).collect()
    }

    pub(super) fn float(&self) -> Vec<Outputs> {
        let Checkpoint { graph, weights, .. } = Checkpoint::open(&self.checkpoint).unwrap();
        let (graph, weights) = fold::fold_batch_norms(&graph, &weights);
        let network = Interpreter::new(&graph, &weights).unwrap();
        (0..IMAGES).map(|at| network.outputs(&self.pixels(at)).unwrap()).collect()
    }
}

/// What no network can know.
pub(super) fn positive(at: usize) -> bool {
    at.is_multiple_of(3)
}

/// The third with the highest scores, but for two that are mistaken for each other: a finding the network knows.
pub(super) fn known(scores: &[f32]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.swap(IMAGES / 3 - 1, IMAGES / 3);
    (0..scores.len()).map(|at| order[..IMAGES / 3].contains(&at)).collect()
}

pub(super) fn labelled(truth: bool) -> Value {
    json!({ "labels": { "Pneumonia": i32::from(truth) } })
}

pub(super) fn output<'a>(outputs: &'a Outputs, name: &str) -> &'a [f32] {
    &outputs.iter().find(|(own, _)| own == name).unwrap().1
}

pub(super) fn point(bundle: &Bundle, name: &str) -> (f32, String) {
    let points = &bundle.manifest.operating_points;
    let point = points.iter().find(|point| point.name == name).unwrap();
    (point.threshold, point.chosen.clone())
}

/// Youden's J by trying the middle between every two neighbours, from the highest down.
pub(super) fn best_j(scores: &[f32], truth: &[bool]) -> f32 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted.dedup();
    let share = |threshold: f32, of: bool| {
        let of: Vec<usize> = (0..scores.len()).filter(|&at| truth[at] == of).collect();
        let called = of.iter().filter(|&&at| scores[at] >= threshold).count();
        called as f64 / of.len() as f64
    };
    let middles = sorted.windows(2).map(|pair| pair[0] / 2.0 + pair[1] / 2.0);
    let j = |threshold: f32| share(threshold, true) - share(threshold, false);
    middles.fold((0.0, 1.0), |best, t| if j(t) > best.0 + 1e-9 { (j(t), t) } else { best }).1
}

pub(super) fn probabilities(outputs: &[Outputs]) -> Vec<f32> {
    outputs.iter().map(|outputs| decode::sigmoid(output(outputs, "classification")[0])).collect()
}

/// Boxes of a picture, the surest first.
pub(super) fn boxes(place: &Place, bundle: &Bundle, outputs: &Outputs) -> Vec<engine::Detection> {
    let graph = Checkpoint::open(&place.checkpoint).unwrap().graph;
    let side = Side::new(&bundle.manifest, Vec::new());
    let outputs = Shapes::of(&graph).unwrap().shaped(outputs).unwrap();
    side.every_box(&outputs, [64, 64]).unwrap()
}

/// What the manifest says became of a threshold.
pub(super) fn refit(bundle: &Bundle, name: &str) -> Refit {
    let quantized = Quantized::of(&bundle.manifest).unwrap().unwrap();
    quantized.operating_points.into_iter().find(|refit| refit.name == name).unwrap()
}

pub(super) fn card(bundle: &Bundle) -> String {
    String::from_utf8_lossy(bundle.require(section::MODEL_CARD).unwrap()).into_owned()
}
