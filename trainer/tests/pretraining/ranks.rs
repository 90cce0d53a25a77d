//! Several processes.

use super::{CONFIG, records};
use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use trainer::{checkpoint, device::DeviceArg};

/// Pictures, and the first stage without dropout: processes have no luck of their own.
struct Job {
    folder: tempfile::TempDir,
}

impl Job {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (data, config) = (folder.path().join("index.jsonl"), folder.path().join("c.toml"));
        trainer::index::write(&data, &records(folder.path())).unwrap();
        let text = CONFIG.replace("dropout = 0.1", "dropout = 0.0");
        let end = text.find("[[stage]]\nname = \"second\"").unwrap();
        fs::write(&config, &text[..end]).unwrap();
        Self { folder }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `trainer pretrain` with all that does not depend on the process.
    fn arguments(&self, name: &str, batch: usize, device: &str) -> Vec<String> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let (config, data, out) = (path("c.toml"), path("index.jsonl"), path(name));
        let batch = format!("batch={batch}");
        [
            "pretrain", "--json", "--config", &config, "--data", &data, "--out", &out, "--set",
            &batch, "--device", device,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Starts `world` processes by the environment variables torchrun sets.
    fn by_hand(&self, name: &str, world: usize, batch: usize, device: &str) -> Vec<Output> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let children: Vec<_> = (0..world)
            .map(|rank| {
                Command::new(env!("CARGO_BIN_EXE_trainer"))
                    .args(self.arguments(name, batch, device))
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
        children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
    }
}

/// `(loss, gradient)` of every step that the first process tells of.
fn steps(outputs: &[Output]) -> Vec<(f64, f64)> {
    for output in outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(outputs[0].stdout.clone()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let number = |event: &serde_json::Value, name: &str| event[name].as_f64().unwrap();
    events
        .filter(|event| event["event"] == "step")
        .map(|event| (number(&event, "loss"), number(&event, "gradient")))
        .collect()
}

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs()
}

/// How far the statistics of the first batch norm are apart.
fn difference_of_means(a: &Path, b: &Path) -> f64 {
    let [a, b] = [a, b].map(|out| {
        let weights = checkpoint::load(out).unwrap().weights;
        weights["image_encoder.encoder.bn1.running_mean"].shallow_clone()
    });
    (a - b).abs().max().double_value(&[])
}

#[test]
fn two_processes_make_the_loss_and_gradient_of_one_with_the_joined_batch() {
    let job = Job::new();
    let one = steps(&job.by_hand("one", 1, 8, "cpu"));
    let two = steps(&job.by_hand("two", 2, 4, "cpu"));
    assert_eq!((one.len(), two.len()), (3, 3));
    // Later steps begin from weights that rounding has moved apart.
    let (one, two) = (one[0], two[0]);
    assert!(near(one.0, two.0, 1e-5) && near(one.1, two.1, 1e-5), "{one:?} {two:?}");
    let difference = difference_of_means(&job.out("one"), &job.out("two"));
    assert!(difference < 1e-3, "statistics of both processes are those of the joined batch");
}

/// PyTorch's own launcher is too large for the tests' environment.
#[test]
#[ignore = "needs PyTorch's torchrun: name it in TORCHRUN"]
fn torchrun_starts_the_processes_that_its_variables_start() {
    let torchrun = env::var_os("TORCHRUN").expect("TORCHRUN names PyTorch's torchrun");
    let job = Job::new();
    let output = Command::new(torchrun)
        .args(["--standalone", "--no-python", "--nproc-per-node", "2"])
        .arg(env!("CARGO_BIN_EXE_trainer"))
        .args(job.arguments("torchrun", 4, "cpu"))
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    assert_eq!(steps(&[output]), steps(&job.by_hand("hand", 2, 4, "cpu")));
}

#[test]
fn ranks_on_cards_are_refused_where_libtorch_has_no_cuda() {
    if torch_ext::need_nccl().is_ok() {
        return; // built against a libtorch with CUDA
    }
    for output in Job::new().by_hand("refused", 2, 4, "cuda") {
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains("built without NCCL"), "{error}");
    }
}

#[test]
fn gpu_two_processes_over_nccl_make_the_loss_and_gradient_of_one_with_the_joined_batch() {
    DeviceArg::Cuda(None).open(0).unwrap();
    let cards = tch::Cuda::device_count();
    if cards < 2 {
        println!("not run: {cards} card, two ranks need two");
        return;
    }
    let job = Job::new();
    let one = steps(&job.by_hand("one", 1, 8, "cuda"));
    let two = steps(&job.by_hand("two", 2, 4, "cuda"));
    // Convolutions on cards round to TF32.
    let (one, two) = (one[0], two[0]);
    assert!(near(one.0, two.0, 1e-3) && near(one.1, two.1, 1e-2), "{one:?} {two:?}");
}

/// Both ask for the same card: the second is told so, instead of waiting for the first for ever.
#[test]
fn gpu_two_ranks_on_one_card_are_a_clear_error() {
    let outputs = Job::new().by_hand("one-card", 2, 4, "cuda:0");
    let errors: String =
        outputs.iter().map(|output| String::from_utf8_lossy(&output.stderr)).collect();
    assert!(errors.contains("which another rank has"), "{errors}");
}
