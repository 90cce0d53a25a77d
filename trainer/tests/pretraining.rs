//! What a pre-training run promises, on a tiny model and drawn pictures.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{
    collections::HashMap,
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tch::Device;
use trainer::{
    checkpoint, device,
    index::Record,
    pretrain::{Pairs, PretrainConfig, Run, Setup},
    prior::Trained,
    text::wordpiece::Words,
};

/// Two stages, so that there is a boundary: 24 pairs, batch 4, 6 steps an epoch.
const CONFIG: &str = r#"
seed = 11
batch = 4
weight-decay = 1e-4
clip-norm = 5.0
max-tokens = 24
rotation = 5.0
flip = true

[model]
backbone = "resnet18"
width = 4
pool = "attention"

[preprocess]
height = 32
width = 32
mean = 0.5
std = 0.25

[joint]
embed = 32
prototypes = 8
queries = 4
decoder-layers = 1
decoder-heads = 2
decoder-intermediate = 32
dropout = 0.1
image-dropout = 0.5
temperature = 0.07

[text]
vocabulary = 128
hidden = 32
layers = 1
heads = 2
intermediate = 32

[[stage]]
name = "first"
epochs = 1
learning-rate = { start = 1e-4, peak = 1e-3, end = 0.0, warm-up-epochs = 0 }
weights = { global = 1.0, local-image = 1.0, local-text = 1.0 }

[[stage]]
name = "second"
epochs = 1
learning-rate = { start = 1e-4, peak = 1e-3, end = 0.0, warm-up-epochs = 1 }
tau = { linear = 0.9 }

[stage.weights]
global = 1.0
local-image = 1.0
local-text = 1.0
prototype = 1.0
image = 1.0
sentence = 1.0
divergence = 1.0
report = 1.0
"#;

fn records(folder: &Path) -> Vec<Record> {
    (0..24_u32)
        .map(|n| {
            let image = folder.join(format!("{n}.png"));
            let pixel = |x: u32, y: u32| image::Luma([((x * (n + 1)) ^ (y * 3)) as u8]);
            image::GrayImage::from_fn(40, 36, pixel).save(&image).unwrap();
            let side = ["left", "right", "lower", "upper"][n as usize % 4];
            let text = format!("There is a {side} opacity. Heart size {}. No effusion.", n % 3);
            Record {
                id: format!("case-{n}"),
                patient_id: n.to_string(),
                image,
                findings_text: Some(text),
                ..Record::default()
            }
        })
        .collect()
}

fn config(changes: &[&str]) -> PretrainConfig {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, CONFIG).unwrap();
    let changes: Vec<String> = changes.iter().map(|&s| s.to_owned()).collect();
    PretrainConfig::read(&path, &changes).unwrap()
}

fn run(data: &Path, out: &Path, resume: bool, changes: &[&str]) -> Run {
    open(&records(data), out, resume, changes).unwrap()
}

fn open(records: &[Record], out: &Path, resume: bool, changes: &[&str]) -> anyhow::Result<Run> {
    let config = config(changes);
    let pairs = Pairs::of(records, 1, |_| true);
    let sentences: Vec<String> =
        pairs.all.iter().flat_map(|pair| pair.sentences.iter().cloned()).collect();
    let words = Words::build(sentences.iter().map(String::as_str), 128).unwrap();
    let setup = Setup {
        prior: config.prior(config.text_encoder(words.count())),
        config,
        pairs,
        words,
        start: HashMap::new(),
        cache: None,
        out: out.to_owned(),
        device: Device::Cpu,
        group: None,
    };
    Run::new(setup, resume)
}

/// Runs share libtorch's one generator, so they take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Losses of the next `steps` steps.
fn losses(run: &mut Run, steps: usize) -> Vec<f64> {
    let mut losses = Vec::new();
    run.train(|progress| {
        losses.push(progress.outcome.loss);
        Ok(losses.len() < steps)
    })
    .unwrap();
    losses
}

#[test]
fn the_first_ten_losses_of_a_seeded_run_never_change() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let all = losses(&mut run(folder.path(), &folder.path().join("out"), false, &[]), 10);
    assert_eq!(all.len(), 10);
    for (found, pinned) in all.iter().zip(PINNED) {
        // CPUs differ in the last bits of f32 sums.
        assert!((found - pinned).abs() <= 5e-3 * pinned.abs(), "{all:?} instead of {PINNED:?}");
    }
}

const PINNED: [f64; 10] =
    [3.26565, 3.05565, 2.88341, 2.95216, 2.97444, 2.69433, 16.5329, 21.48256, 15.28971, 15.29126];

#[test]
fn a_resumed_run_continues_to_the_same_bits_across_a_stage_boundary() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let whole = losses(&mut run(data, &data.join("whole"), false, &[]), usize::MAX);
    assert_eq!(whole.len(), 12);
    for stop in [2, 6, 9] {
        let out = data.join(format!("cut-{stop}"));
        let mut cut = losses(&mut run(data, &out, false, &[]), stop);
        cut.extend(losses(&mut run(data, &out, true, &[]), usize::MAX));
        assert!(cut == whole, "stopped after {stop}: {cut:?}\n{whole:?}");
        let (a, b) =
            (checkpoint::load(&out).unwrap(), checkpoint::load(&data.join("whole")).unwrap());
        assert!(a.weights.iter().all(|(name, weight)| weight.equal(&b.weights[name])));
        assert!(a.state.finished && a.state == b.state);
    }
}

#[test]
fn a_run_resumes_neither_with_another_configuration_nor_on_other_data() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path(), folder.path().join("out"));
    losses(&mut run(data, &out, false, &[]), 1);
    let mut records = records(data);
    let refused = |records: &[Record], changes: &[&str]| {
        format!("{:#}", open(records, &out, true, changes).unwrap_err())
    };
    assert!(refused(&records, &["batch=2"]).contains("another configuration"));
    records[3].id = "another".into();
    assert!(refused(&records, &[]).contains("other data"));
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_before_the_weights() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path(), folder.path().join("out"));
    let changes = ["joint.temperature=1e-39", "checkpoint-every=1"];
    let mut run = run(data, &out, false, &changes);
    let error = run.train(|_| Ok(true)).unwrap_err();
    let message = format!("{error:#}");
    assert!(message.contains("loss is") && message.contains("case-"), "{message}");
    assert!(!checkpoint::exists(&out), "the first step failed, so nothing is saved");
}

#[test]
fn a_finished_checkpoint_opens_and_embeds() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path(), folder.path().join("out"));
    losses(&mut run(data, &out, false, &[]), usize::MAX);
    let trained = Trained::open(&out, Device::Cpu).unwrap();
    let image = tch::Tensor::zeros([2, 1, 32, 32], (tch::Kind::Float, Device::Cpu));
    let (global, places) = trained.prior.embed_images(&image);
    assert_eq!((global.size(), places.size()), (vec![2, 32], vec![2, 1, 32]));
    let weights = checkpoint::encoder_weights(&checkpoint::load(&out).unwrap());
    let graph = config(&[]).checkpoint().graph().unwrap();
    for param in graph.params() {
        assert!(weights.contains_key(&param.name), "{}", param.name);
    }
}

#[test]
fn a_run_is_the_same_whatever_the_number_of_workers() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let one = losses(&mut run(data, &data.join("one"), false, &["workers=1"]), 8);
    let three = losses(&mut run(data, &data.join("three"), false, &["workers=3"]), 8);
    assert_eq!(one, three);
    // The number may change in the middle of a run.
    let mut cut = losses(&mut run(data, &data.join("cut"), false, &["workers=3"]), 5);
    cut.extend(losses(&mut run(data, &data.join("cut"), true, &["workers=2"]), 3));
    assert_eq!(one, cut);
}

#[test]
fn a_step_waits_for_the_device_only_to_match_sentences_and_at_its_end() {
    // Whatever makes the host look at numbers the device has computed.
    const WAITING: [&str; 12] = [
        "aten::_local_scalar_dense",
        "aten::item",
        "aten::is_nonzero",
        "aten::nonzero",
        "aten::nonzero_numpy",
        "aten::masked_select",
        "aten::equal",
        "aten::_unique2",
        "aten::unique_consecutive",
        "aten::bincount",
        "aten::repeat_interleave",
        "aten::_assert_async",
    ];
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    for (stage, changes, waits) in
        [("alignment", vec![], 1), ("reconstruction", vec!["stage.0.epochs=0"], 2)]
    {
        for precision in ["f32", "bf16"] {
            let precise = format!("precision={precision}");
            let changes = [&changes[..], &[precise.as_str()]].concat();
            let mut run = run(data, &data.join(format!("{stage}-{precision}")), false, &changes);
            losses(&mut run, 1); // what only the first step does
            let before = device::downloads();
            let (_, operations) = torch_ext::profile(|| losses(&mut run, 1)).unwrap();
            assert_eq!(device::downloads() - before, waits, "{stage}");
            let calls =
                |name: &str| operations.iter().find(|o| o.name == name).map_or(0, |o| o.calls);
            // The fused optimizer's CPU kernel reads its own step counters so, which lie beside it; a card's does not.
            let optimizer =
                checkpoint::load_optimizer(&data.join(format!("{stage}-{precision}"))).unwrap();
            let counters = optimizer
                .iter()
                .filter(|(name, n)| name.ends_with(".step") && n.double_value(&[]) > 0.0)
                .count() as u64;
            let waiting: Vec<_> = WAITING
                .into_iter()
                .map(|name| {
                    let reads = matches!(name, "aten::item" | "aten::_local_scalar_dense");
                    (name, calls(name), if reads { counters } else { 0 })
                })
                .filter(|(_, found, expected)| found != expected)
                .collect();
            assert!(waiting.is_empty(), "{stage}: {waiting:?}");
            assert!(calls("aten::convolution") >= 20, "the step was recorded");
        }
    }
}

#[test]
fn half_precision_trains_with_a_loss_scale_that_is_resumed() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let plain = losses(&mut run(data, &data.join("f32"), false, &[]), 12);
    let changes = ["precision=f16"];
    let whole = losses(&mut run(data, &data.join("whole"), false, &changes), usize::MAX);
    assert!((whole[0] - plain[0]).abs() < 0.03 * plain[0], "{whole:?} {plain:?}");
    assert!(whole.iter().all(|loss| loss.is_finite()));
    let mut cut = losses(&mut run(data, &data.join("cut"), false, &changes), 4);
    cut.extend(losses(&mut run(data, &data.join("cut"), true, &changes), usize::MAX));
    assert_eq!(cut, whole);
    let state = checkpoint::load_state(&data.join("cut")).unwrap();
    assert!(state.extra["loss_scale"][0].as_f64().unwrap() > 1.0, "{state:?}");
}

#[test]
fn accumulated_batches_count_as_their_mean() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    // Without luck and without learning, batches know nothing of each other.
    let still = [
        "joint.dropout=0.0",
        "stage.0.learning-rate.start=0.0",
        "stage.0.learning-rate.peak=0.0",
        "stage.1.epochs=0",
    ];
    let single = losses(&mut run(data, &data.join("single"), false, &still), usize::MAX);
    let changes = [&still[..], &["accumulate=2"]].concat();
    let double = losses(&mut run(data, &data.join("double"), false, &changes), usize::MAX);
    assert_eq!((single.len(), double.len()), (6, 3));
    for (pair, mean) in single.chunks_exact(2).zip(double) {
        assert!(((pair[0] + pair[1]) / 2.0 - mean).abs() < 1e-5, "{pair:?} {mean}");
    }
}

#[test]
fn a_run_begins_with_the_encoders_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trainer::index::write(&folder.join("index.jsonl"), &records(folder)).unwrap();
    let nothing = ["--set", "stage.0.epochs=0", "--set", "stage.1.epochs=0"];
    let (fine, _, error) = pretrain(folder, "true", &[&nothing[..], &["--set", "seed=5"]].concat());
    assert!(fine, "{error}");
    let donor = folder.join("donor");
    fs::rename(folder.join("out"), &donor).unwrap();
    let bert = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/bert");
    let encoders =
        ["--image-encoder", donor.to_str().unwrap(), "--text-encoder", bert.to_str().unwrap()];
    let (fine, _, error) = pretrain(folder, "true", &[&nothing[..], &encoders].concat());
    assert!(fine, "{error}");
    let ours = checkpoint::load(&folder.join("out")).unwrap().weights;
    let donor = checkpoint::load(&donor).unwrap().weights;
    let text = trainer::torch_file::read(&bert.join("pytorch_model.bin")).unwrap();
    let mut begun = 0;
    for (name, weight) in &ours {
        if let Some(rest) = name.strip_prefix("text_encoder.encoder.") {
            assert!(weight.equal(&text[&format!("bert.{rest}")]), "{name}");
        } else if name.starts_with("image_encoder.") {
            assert!(weight.equal(&donor[name]), "{name}");
        } else {
            continue;
        }
        begun += 1;
    }
    assert!(begun > 100, "{begun}");
    assert!(
        !ours["predictor.0.weight"].equal(&donor["predictor.0.weight"]),
        "the rest is the seed's"
    );
}

/// The binary on drawn pictures: its events and its last words.
fn pretrain(folder: &Path, limit: &str, more: &[&str]) -> (bool, Vec<serde_json::Value>, String) {
    let config = folder.join("c.toml");
    fs::write(&config, CONFIG).unwrap();
    let output = Command::new("bash")
        .args(["-c", &format!("trap '' XFSZ; {limit}; exec \"$@\""), "bash"])
        .arg(env!("CARGO_BIN_EXE_trainer"))
        .args(["pretrain", "--json", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(folder.join("index.jsonl"))
        .arg("--out")
        .arg(folder.join("out"))
        .args(more)
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    let events = String::from_utf8(output.stdout).unwrap();
    let events = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.success(), events, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn unreadable_images_stop_a_run_unless_a_few_are_allowed_and_then_listed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trainer::index::write(&folder.join("index.jsonl"), &records(folder)).unwrap();
    fs::write(folder.join("7.png"), b"not a picture").unwrap();
    let (fine, _, error) = pretrain(folder, "true", &[]);
    assert!(!fine && error.contains("case-7") && error.contains("7.png"), "{error}");
    fs::remove_dir_all(folder.join("out")).unwrap();

    // One pair fewer: five steps an epoch instead of six.
    let (fine, events, error) = pretrain(folder, "true", &["--skip-bad-images", "1"]);
    assert!(fine, "{error}");
    let end = events.last().unwrap();
    assert_eq!((&end["event"], end["step"].as_u64()), (&"end".into(), Some(10)));
    assert_eq!(end["skipped"][0]["id"], "case-7");

    let page = fs::read_to_string(folder.join("out/report.html")).unwrap();
    assert!(page.matches("<svg").count() >= 12, "a curve for each term, and more");
    assert!(page.contains("<h2>Prototypes</h2>") && page.contains("Heart size"));
    assert!(page.matches("data:image/png;base64,").count() == 12, "six images and what was drawn");
    assert!(page.contains("7.png") && !page.contains("http://localhost"));
    assert_eq!(fs::read_to_string(folder.join("out/history.jsonl")).unwrap().lines().count(), 10);
}

#[test]
fn a_disk_without_room_is_a_clear_error_and_leaves_no_half_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trainer::index::write(&folder.join("index.jsonl"), &records(folder)).unwrap();
    // Files may grow to 64 kB: enough for pictures, words and events, not for a model.
    let (fine, _, error) = pretrain(folder, "ulimit -f 64", &[]);
    assert!(!fine, "{error}");
    assert!(error.contains("cannot write") && error.contains("model.safetensors"), "{error}");
    let left: Vec<_> = fs::read_dir(folder.join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".new") || name.starts_with("state"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Runs the binary on one or two processes and returns the first step's `(loss, gradient)` of rank 0.
fn first_step(data: &Path, config: &Path, out: &Path, world: usize, batch: usize) -> (f64, f64) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let children: Vec<_> = (0..world)
        .map(|rank| {
            Command::new(env!("CARGO_BIN_EXE_trainer"))
                .args(["pretrain", "--json", "--config"])
                .arg(config)
                .arg("--data")
                .arg(data)
                .arg("--out")
                .arg(out)
                .args(["--set", &format!("batch={batch}")])
                .env("MASTER_ADDR", "127.0.0.1")
                .env("MASTER_PORT", port.to_string())
                .env("WORLD_SIZE", world.to_string())
                .env("RANK", rank.to_string())
                .env("OMP_NUM_THREADS", "1")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let outputs: Vec<_> = children.into_iter().map(|c| c.wait_with_output().unwrap()).collect();
    for output in &outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let line = String::from_utf8(outputs[0].stdout.clone()).unwrap();
    let step: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    (step["loss"].as_f64().unwrap(), step["gradient"].as_f64().unwrap())
}

#[test]
fn two_processes_make_the_gradient_of_one_with_the_joined_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("index.jsonl"), folder.path().join("c.toml"));
    trainer::index::write(&data, &records(folder.path())).unwrap();
    // Without dropout the processes have no luck of their own.
    let text = CONFIG.replace("dropout = 0.1", "dropout = 0.0");
    let end = text.find("[[stage]]\nname = \"second\"").unwrap();
    fs::write(&config, &text[..end]).unwrap();
    let one = first_step(&data, &config, &folder.path().join("one"), 1, 8);
    let two = first_step(&data, &config, &folder.path().join("two"), 2, 4);
    assert!((one.1 - two.1).abs() < 1e-5 * one.1, "{one:?} {two:?}");
    let (a, b) = (folder.path().join("one"), folder.path().join("two"));
    let (a, b) = (checkpoint::load(&a).unwrap(), checkpoint::load(&b).unwrap());
    assert_eq!(a.state.step, b.state.step);
    let mean = |c: &checkpoint::Checkpoint| {
        c.weights["image_encoder.encoder.bn1.running_mean"].shallow_clone()
    };
    let difference = (mean(&a) - mean(&b)).abs().max().double_value(&[]);
    assert!(difference < 1e-3, "statistics of both processes are those of the joined batch");
}
