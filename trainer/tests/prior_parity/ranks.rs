//! Two processes against one.

use crate::reference::{Reference, STAGES, Vectors};
use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    rc::Rc,
};
use tch::{Device, Kind, Tensor};
use torch_ext::{Group, Ranks, Reduce};
use trainer::{
    checkpoint,
    device::DeviceArg,
    prior::{Batch, Noise},
};

const OUT: &str = "PARITY_TEST_RANK_WRITES";

/// Gradients of every stage by the names of the parameters, this process's share of the joined batch.
fn gradients(reference: &Reference, stage: usize, group: Option<&Group>) -> Vec<(String, Tensor)> {
    reference.reset();
    let parameters = reference.trained();
    parameters.iter().for_each(|(_, tensor)| torch_ext::clear_grad(tensor));
    reference.losses(stage).total(&STAGES[stage]).backward();
    parameters
        .into_iter()
        .filter(|(_, tensor)| tensor.grad().defined())
        .map(|(name, tensor)| {
            let gradient = tensor.grad();
            if let Some(group) = group {
                group.all_reduce(&gradient, Reduce::Sum).unwrap();
            }
            (format!("{stage}.{name}"), gradient / group.map_or(1.0, |group| group.world as f64))
        })
        .collect()
}

/// Keeps the reports and the noise of one rank: two of the four reports.
fn share(reference: &mut Reference, rank: i64) {
    let (batch, noise) = (&mut reference.batch, &mut reference.noise);
    let sentences = |counts: &[i64]| counts.iter().sum::<i64>();
    let before = sentences(&batch.counts[..2 * rank as usize]);
    let own = batch.counts[2 * rank as usize..][..2].to_vec();
    let rows = |tensor: &Tensor| tensor.narrow(0, 2 * rank, 2);
    let (image, ids) = (rows(&batch.image), rows(&batch.ids));
    let (mask, sentence) = (rows(&batch.mask), rows(&batch.sentence));
    let luck =
        |tensor: &Option<Tensor>| Some(tensor.as_ref().unwrap().narrow(0, before, sentences(&own)));
    *noise = Noise {
        prototypes: luck(&noise.prototypes),
        foretold: luck(&noise.foretold),
        channels: noise.channels.as_ref().map(rows),
    };
    *batch = Batch { image, ids, mask, sentence, counts: own };
}

/// One of the two processes: the same test, told by its environment.
fn be_a_rank(out: &Path, device: DeviceArg) {
    let ranks = Ranks::from_env().unwrap().unwrap();
    let device = device.open(ranks.local_rank).unwrap();
    let group = Rc::new(Group::join(&ranks, device).unwrap());
    let vectors = Vectors::committed();
    let mut reference = Reference::open(&vectors, Kind::Double, false, device, Some(group.clone()));
    share(&mut reference, group.rank);
    let all: Vec<_> = (0..3).flat_map(|stage| gradients(&reference, stage, Some(&group))).collect();
    if group.rank == 0 {
        let all: Vec<_> = all.iter().map(|(name, g)| (name, g.to_device(Device::Cpu))).collect();
        Tensor::write_safetensors(&all, out).unwrap();
    }
    group.barrier().unwrap();
}

/// `test` is the name of the test that calls this: its processes are that test again.
fn two_ranks_make_every_gradient_of_one(test: &str, device: DeviceArg) {
    if let Some(out) = env::var_os(OUT).map(PathBuf::from) {
        return be_a_rank(&out, device);
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("gradients.safetensors");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ranks: Vec<_> = (0..2)
        .map(|rank: i32| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", test])
                .env(OUT, &out)
                .env("MASTER_ADDR", "127.0.0.1")
                .env("MASTER_PORT", port.to_string())
                .env("WORLD_SIZE", "2")
                .env("RANK", rank.to_string())
                .env("OMP_NUM_THREADS", "1")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for rank in ranks {
        let output = rank.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let both = checkpoint::read_tensors(&out).unwrap();
    let reference = Reference::open(&Vectors::committed(), Kind::Double, false, Device::Cpu, None);
    let mut compared = 0;
    for stage in 0..3 {
        let all = gradients(&reference, stage, None);
        let most = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
        let largest = all.iter().map(|(_, gradient)| most(gradient)).fold(0.0, f64::max);
        for (name, gradient) in all {
            let difference = most(&(&both[&name] - gradient));
            assert!(difference <= 1e-5 * largest, "{name} is off by {difference:e} of {largest:e}");
            compared += 1;
        }
    }
    assert_eq!(compared, both.len());
}

#[test]
fn two_ranks_make_every_gradient_of_one_with_the_joined_batch() {
    let test = "ranks::two_ranks_make_every_gradient_of_one_with_the_joined_batch";
    two_ranks_make_every_gradient_of_one(test, DeviceArg::Cpu);
}

#[test]
fn gpu_two_ranks_over_nccl_make_every_gradient_of_one_with_the_joined_batch() {
    let test = "ranks::gpu_two_ranks_over_nccl_make_every_gradient_of_one_with_the_joined_batch";
    DeviceArg::Cuda(None).open(0).unwrap();
    let cards = tch::Cuda::device_count();
    if cards < 2 {
        return println!("not run: {cards} card, two ranks need two");
    }
    two_ranks_make_every_gradient_of_one(test, DeviceArg::Cuda(None));
}
