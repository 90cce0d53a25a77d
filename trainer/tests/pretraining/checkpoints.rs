//! What a run leaves, and how it goes on from there.

use super::{config, losses, open, records, run, taus, turn};
use std::fs;
use tch::Device;
use trainer::{checkpoint, index::Record, prior::Trained};

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
fn a_checkpoint_reads_sentences_at_the_tau_of_its_last_step() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    for (number, tau) in ["{fixed=0.2}", "{linear=0.9}", "{exponential=0.9}"].iter().enumerate() {
        let change = format!("stage.1.tau={tau}");
        for steps in [9, usize::MAX] {
            let out = data.join(format!("{number}-{steps}"));
            let all = taus(&mut run(data, &out, false, &[&change]), steps);
            let read = || Trained::open(&out, Device::Cpu).unwrap().objective().unwrap().tau;
            assert_eq!(read(), *all.last().unwrap(), "{tau} after {} steps", all.len());
            // As checkpoints of before, which did not say: where the schedule stood when the epoch began, or its end.
            let path = out.join("state.json");
            let mut state: serde_json::Value =
                serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            state["extra"].as_object_mut().unwrap().remove("tau").unwrap();
            fs::write(&path, state.to_string()).unwrap();
            let expected = match (number, steps) {
                (0, _) => 0.2,
                (_, 9) => 0.9,
                _ => 0.09,
            };
            assert!((read() - expected).abs() < 1e-12, "{tau} after {} steps", all.len());
        }
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
        format!("{:#}", open(records, &out, true, changes, Device::Cpu).unwrap_err())
    };
    assert!(refused(&records, &["batch=2"]).contains("another configuration"));
    records[3].id = "another".into();
    assert!(refused(&records, &[]).contains("other data"));
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
