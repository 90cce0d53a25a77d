//! What a run computes.

use super::{losses, run, turn};
use trainer::checkpoint;

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
    [3.02193, 2.95081, 2.84043, 3.3721, 2.59875, 2.77766, 18.92858, 18.07189, 18.28252, 16.91791];

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
fn a_run_is_the_same_whatever_the_number_of_workers_with_every_augmentation() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let all = ["light=0.3", "erase=0.5", "crop={from=48,least-area=0.4,aspect=1.3}"];
    let plain = losses(&mut run(data, &data.join("plain"), false, &[]), 1);
    let with = |workers| [&all[..], &[workers]].concat();
    let one = losses(&mut run(data, &data.join("one"), false, &with("workers=1")), 8);
    let mut cut = losses(&mut run(data, &data.join("cut"), false, &with("workers=3")), 5);
    cut.extend(losses(&mut run(data, &data.join("cut"), true, &with("workers=2")), 3));
    assert_eq!(one, cut);
    assert_ne!(one[0], plain[0]);
}

#[test]
fn a_narrow_network_learns_the_same_on_channels_last_memory() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    // Maps large enough for oneDNN's strided 1x1 gradient to leave its memory with fewer than 16 channels.
    let large = ["model.width=8", "preprocess.height=224", "preprocess.width=224"];
    for (precision, tolerance) in [("precision=f32", 1e-3), ("precision=bf16", 2e-2)] {
        let of = |layout| {
            let changes = [&large[..], &[precision, layout]].concat();
            let out = data.join(format!("{precision} {layout}"));
            losses(&mut run(data, &out, false, &changes), 2)
        };
        let (plain, last) = (of("channels-last=false"), of("channels-last=true"));
        for (plain, last) in plain.iter().zip(&last) {
            assert!((plain - last).abs() < tolerance * plain, "{precision}: {plain} {last}");
        }
    }
}

#[test]
fn a_frozen_text_encoder_keeps_its_weights_while_the_rest_learns() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path(), folder.path().join("out"));
    let mut run = run(data, &out, false, &["freeze-text=true", "checkpoint-every=1"]);
    losses(&mut run, 1);
    let before = checkpoint::load(&out).unwrap().weights;
    losses(&mut run, 7);
    let after = checkpoint::load(&out).unwrap().weights;
    for (name, weight) in &before {
        let same = weight.equal(&after[name]);
        if name.starts_with("text_encoder.") {
            assert!(same, "{name}");
        }
    }
    for learned in ["local_text_projection.weight", "image_encoder.encoder.conv1.weight"] {
        assert!(!before[learned].equal(&after[learned]), "{learned}");
    }
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
