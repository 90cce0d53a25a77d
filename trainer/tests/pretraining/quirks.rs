//! How a run differs when it does as the released code.

use super::{losses, run, taus, turn};
use std::path::Path;
use tch::Device;
use trainer::{checkpoint, pretrain::Run, prior::Trained};

/// Both stages mix prototypes at a τ that falls.
const FALLING: [&str; 2] = ["stage.0.weights.prototype=1.0", "stage.0.tau={linear=0.9}"];

fn with(folder: &Path, name: &str, quirks: &str, changes: &[&str]) -> Run {
    let quirks = format!("model.released_quirks={quirks}");
    run(folder, &folder.join(name), false, &[changes, &[quirks.as_str()]].concat())
}

#[test]
fn tau_falls_in_each_stage_and_in_the_released_code_once_over_all_with_prototypes() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let tau = |name, quirks, changes: &[&str]| {
        taus(&mut with(folder.path(), name, quirks, changes), usize::MAX)
    };
    let linear = |step: f64, steps: f64| 0.9 * (1.0 - 0.9 * step / steps);
    let close = |found: &[f64], expected: Vec<f64>| {
        assert_eq!(found.len(), expected.len());
        let off = found.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-12);
        assert!(!off, "{found:?} instead of {expected:?}");
    };
    let ours = tau("ours", "false", &FALLING);
    close(&ours, (0..12).map(|step| linear(f64::from(step % 6), 6.0)).collect());
    let released = tau("released", "{tau=true}", &FALLING);
    close(&released, (0..12).map(|step| linear(f64::from(step), 12.0)).collect());
    // A stage without prototypes takes no part.
    let second = tau("second", "{tau=true}", &[]);
    close(&second[6..], (0..6).map(|step| linear(f64::from(step), 6.0)).collect());
}

#[test]
fn the_released_code_peaks_a_step_early_and_trains_on_the_rest_of_an_epoch() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let steps = |name, quirks| {
        let mut steps = Vec::new();
        with(folder.path(), name, quirks, &["batch=5"])
            .train(|progress| {
                steps.push((progress.stage.name.clone(), progress.rate, progress.pairs));
                Ok(true)
            })
            .unwrap();
        steps
    };
    let sizes = |steps: &[(String, f64, usize)]| steps.iter().map(|s| s.2).collect::<Vec<_>>();
    // 24 pairs; the second stage warms up over its whole epoch.
    let ours = steps("ours", "false");
    assert_eq!(sizes(&ours), [5; 8]);
    let released = steps("released", "{warm_up=true, last_batch=true}");
    assert_eq!(sizes(&released), [5, 5, 5, 5, 4, 5, 5, 5, 5, 4]);
    let rates = |steps: &[(String, f64, usize)], first: usize, n: usize| -> Vec<f64> {
        steps[first..first + n].iter().map(|step| step.1).collect()
    };
    let close = |found: Vec<f64>, expected: [f64; 4]| {
        let off = found.iter().zip(expected).any(|(a, b)| (a - b).abs() > 1e-12);
        assert!(!off, "{found:?} instead of {expected:?}");
    };
    close(rates(&ours, 4, 4), [1e-4, 3.25e-4, 5.5e-4, 7.75e-4]);
    close(rates(&released, 5, 4), [1e-4, 4e-4, 7e-4, 1e-3]);
}

#[test]
fn the_released_zero_shot_reads_the_end_mark_and_scales_and_normalises_otherwise() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let of = |name, quirks| {
        losses(&mut with(folder.path(), name, quirks, &[]), 1);
        Trained::open(&folder.path().join(name), Device::Cpu).unwrap()
    };
    let quirks = "{scale=true, prompt=true, normalisation=true}";
    let (ours, released) = (of("ours", "false"), of("released", quirks));
    let (asked, with_end) =
        (ours.prompt("Effusion").unwrap(), released.prompt("Effusion").unwrap());
    assert_eq!(asked.ids, with_end.ids);
    assert_eq!((asked.sentence.first(), asked.sentence.last()), (Some(&0), Some(&0)));
    assert_eq!((with_end.sentence.first(), with_end.sentence.last()), (Some(&0), Some(&1)));
    let scale = |trained: &Trained| trained.prior.zero_shot_scale().double_value(&[]);
    assert!((scale(&released).exp() - scale(&ours)).abs() < 1e-3 && scale(&ours) > 10.0);
    let shade = |trained: &Trained| {
        let preprocess = trained.zero_shot_preprocess();
        (preprocess.mean, preprocess.std)
    };
    assert_eq!((shade(&ours), shade(&released)), ((0.5, 0.25), (0.506_273, 0.289_468)));
    assert_eq!(released.preprocess, ours.preprocess);
}

#[test]
fn only_the_released_logit_scales_pass_a_hundred() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    for (name, quirks, expected) in
        [("ours", "false", 100.0), ("released", "{unclamped=true}", 125.0)]
    {
        losses(&mut with(folder.path(), name, quirks, &["joint.temperature=0.008"]), 1);
        let weights = checkpoint::load(&folder.path().join(name)).unwrap().weights;
        let scale = weights["logit_scale"].exp().double_value(&[]);
        assert!((scale - expected).abs() < 0.5, "{name}: {scale}");
    }
}
