//! Every parameter of an untrained network is drawn as PyTorch, torchvision, Hugging Face and segmentation-models-pytorch
//! draw it. `parity/initial.py` makes the table.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "parity/small.rs"]
mod small;

use graph::{Backbone, Head, ModelConfig, Pool, Task};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};
use tch::{Device, Kind, Tensor, nn};
use trainer::{network::Network, prior::Prior};

/// Of the released model, what no loss ever reads.
const UNUSED: [&str; 3] = [
    "global_text_projection.",
    "sentence_decoder.embeddings.word_embeddings.",
    "text_encoder.encoder.pooler.",
];

#[test]
fn every_parameter_of_an_untrained_prior_is_drawn_as_the_reference_draws_it() {
    let (graph, config) = small::prior();
    compare("prior", 200, |p| {
        Prior::new(p, &graph, config.clone(), None).unwrap();
    });
}

#[test]
fn every_parameter_of_an_untrained_encoder_is_drawn_as_torchvision_draws_it() {
    for (table, backbone, seeds) in [
        ("resnet18", Backbone::Resnet18, 2),
        ("mobilenetv2", Backbone::Mobilenetv2, 2),
        ("densenet121", Backbone::Densenet121, 2),
        ("efficientnet_b0", Backbone::EfficientnetB0, 8),
    ] {
        let graph = ModelConfig::encoder(backbone, Pool::Mean).graph([1, 64, 64]).unwrap();
        compare(table, seeds, |p| {
            Network::new(p, &graph).unwrap();
        });
    }
}

#[test]
fn every_parameter_of_an_untrained_head_is_drawn_as_its_library_draws_it() {
    let labels = || ["a", "b", "c"].map(str::to_owned).to_vec();
    let graph = |tasks: &[Task]| {
        let heads = tasks.iter().map(|&task| Head { task, labels: labels() }).collect();
        let encoder = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
        ModelConfig { width: 16, heads, ..encoder }.graph([1, 64, 64]).unwrap()
    };
    let plain = graph(&[Task::Classification, Task::Segmentation, Task::Detection]);
    let boxes = graph(&[Task::Yolov3]);
    compare("heads", 200, |p| {
        for graph in [&plain, &boxes] {
            // Both have the same encoder, which is not looked at here.
            Network::with_names(p, graph, None, |node| match node.split('.').next() {
                Some("fc" | "seg" | "det" | "yolo") => node.to_owned(),
                _ => format!("encoder.{}.{node}", graph.nodes.len()),
            })
            .unwrap();
        }
    });
}

/// Draws the network of `build` from up to `seeds` seeds and compares every parameter with the table's.
fn compare(table: &str, seeds: i64, build: impl Fn(&nn::Path<'_>)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/initial.json");
    let tables: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let expected: BTreeMap<String, Value> = serde_json::from_value(tables[table].clone()).unwrap();
    let mut drawn: BTreeMap<String, Drawn> = BTreeMap::new();
    for seed in 0..seeds {
        tch::manual_seed(seed);
        let store = nn::VarStore::new(Device::Cpu);
        build(&store.root());
        for (name, tensor) in store.variables() {
            let zero_rows = expected.get(&name).and_then(|found| found.get("zero rows"));
            drawn.entry(name).or_default().add(&tensor, zero_rows);
        }
    }
    drawn.retain(|name, _| !name.starts_with("encoder."));
    let mut off = Vec::new();
    for name in expected.keys().filter(|name| !drawn.contains_key(*name)) {
        if !UNUSED.iter().any(|unused| name.starts_with(unused)) {
            off.push(format!("{name} is missing"));
        }
    }
    for (name, found) in &drawn {
        match expected.get(name) {
            None => off.push(format!("{name} is unknown to the reference")),
            Some(expected) => off.extend(found.off(expected).map(|why| format!("{name}: {why}"))),
        }
    }
    assert!(drawn.len() >= 100, "only {} parameters compared", drawn.len());
    assert!(off.is_empty(), "{} tensors off:\n{}", off.len(), off.join("\n"));
}

/// Moments of what was drawn for one parameter.
#[derive(Default)]
struct Drawn {
    n: f64,
    sum: f64,
    squares: f64,
    fourth: f64,
    lowest: f64,
    highest: f64,
    full_rows: Option<String>,
}

impl Drawn {
    /// Another draw, unless there are enough numbers. Rows that shall be zero are checked and left out.
    fn add(&mut self, tensor: &Tensor, zero_rows: Option<&Value>) {
        const ENOUGH: f64 = 20_000.0;
        if self.n >= ENOUGH {
            return;
        }
        let mut x = tensor.detach().to_kind(Kind::Double);
        for row in zero_rows.iter().flat_map(|rows| rows.as_array().unwrap()) {
            let row = row.as_i64().unwrap();
            if x.get(row).abs().max().double_value(&[]) != 0.0 {
                self.full_rows = Some(format!("row {row} is not zero"));
            }
            let rest = [x.narrow(0, 0, row), x.narrow(0, row + 1, x.size()[0] - row - 1)];
            x = Tensor::cat(&rest, 0);
        }
        let number = |t: Tensor| t.double_value(&[]);
        let square = x.square();
        (self.lowest, self.highest) = match self.n {
            0.0 => (number(x.min()), number(x.max())),
            _ => (self.lowest.min(number(x.min())), self.highest.max(number(x.max()))),
        };
        self.n += x.numel() as f64;
        self.sum += number(x.sum(Kind::Double));
        self.squares += number(square.sum(Kind::Double));
        self.fourth += number(square.square().sum(Kind::Double));
    }

    /// Why this is not what the table says, beyond five standard errors and the table's own.
    fn off(&self, expected: &Value) -> Option<String> {
        if let Some(why) = &self.full_rows {
            return Some(why.clone());
        }
        let number = |name: &str| expected.get(name).and_then(Value::as_f64);
        let constant = self.lowest == self.highest;
        if let Some(value) = number("constant") {
            let same = constant && (self.lowest - value).abs() < 1e-6;
            return (!same)
                .then(|| format!("{} to {}, expected {value}", self.lowest, self.highest));
        }
        let (deviation, kurtosis) = match (number("uniform"), number("normal")) {
            (Some(bound), None) => (bound / 3_f64.sqrt(), 1.8),
            (None, Some(deviation)) => (deviation, 3.0),
            _ => panic!("the table says {expected}"),
        };
        let found = (self.squares / self.n).sqrt();
        // Of a sample's deviation, mean and kurtosis.
        let error = ((kurtosis - 1.0) / (4.0 * self.n)).sqrt();
        if (found / deviation - 1.0).abs() > 5.0 * error + 0.01 {
            let ratio = found / deviation;
            return Some(format!("deviation {found:.4}, expected {deviation:.4} (x{ratio:.2})"));
        }
        if (self.sum / self.n).abs() > 5.0 * found / self.n.sqrt() {
            return Some(format!("mean {:.4}, expected 0", self.sum / self.n));
        }
        let found = self.fourth / self.n / (self.squares / self.n).powi(2);
        if (found - kurtosis).abs() > 5.0 * (24.0 / self.n).sqrt() + 0.02 {
            return Some(format!("kurtosis {found:.2}, expected {kurtosis:.1}"));
        }
        let bound = number("uniform").unwrap_or(f64::INFINITY) * 1.001;
        (self.highest.max(-self.lowest) > bound)
            .then(|| format!("{} to {}, expected within {bound}", self.lowest, self.highest))
    }
}
