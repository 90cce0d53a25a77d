//! A save against power cuts, and readers against a save.

use super::*;
use crate::{Checkpoint, Stage, Tensor, exists, read_optimizer, read_state};
use graph::{Backbone, ModelConfig, Pool, Preprocess};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

fn tables() -> toml::Table {
    let model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
    let config = CheckpointConfig { model, preprocess: Preprocess::PRIOR };
    toml::Table::try_from(config).unwrap()
}

fn tensors(value: f32) -> Vec<(String, Tensor)> {
    vec![("w".into(), Tensor::of_f32(vec![2], &[value; 2]))]
}

fn state(step: u64) -> State {
    State { step, seed: Some(3), stage: Stage::Number(1), ..State::default() }
}

fn save_step(folder: &Path, step: u64) {
    save(folder, tensors(step as f32), &tables(), &state(step), Some(tensors(step as f32)))
        .unwrap();
}

fn plan_step(folder: &Path, step: u64) -> Vec<Operation<Tensor>> {
    plan(folder, tensors(step as f32), &tables(), &state(step), Some(tensors(step as f32))).unwrap()
}

fn value(tensors: &crate::Tensors) -> f32 {
    tensors["w"].to_f32().unwrap()[0]
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_checkpoint_survives_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("deep/er");
    assert!(!exists(&folder));
    save_step(&folder, 7);
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(checkpoint.state, state(7));
    assert_eq!(checkpoint.config.model.backbone, Backbone::Resnet18);
    assert_eq!(value(&checkpoint.weights), 7.0);
    assert_eq!(value(&read_optimizer(&folder).unwrap()), 7.0);
    assert!(!checkpoint.is_prior());
}

#[test]
fn a_cut_after_any_operation_leaves_one_whole_checkpoint() {
    for cut in 0..=6 {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        save_step(folder, 1);
        let next = plan_step(folder, 2);
        assert_eq!(next.len(), 6);
        next.into_iter().take(cut).for_each(|operation| operation.run(folder).unwrap());
        let step = if cut < 5 { 1 } else { 2 };
        assert_eq!(read_state(folder).unwrap().step, step, "cut after {cut}");
        assert_eq!(value(&Checkpoint::open(folder).unwrap().weights), step as f32);
        assert_eq!(value(&read_optimizer(folder).unwrap()), step as f32);
        save_step(folder, 3);
        assert_eq!(value(&Checkpoint::open(folder).unwrap().weights), 3.0);
        assert_eq!(files(folder).len(), 4, "the next writer leaves nothing aside");
    }
}

#[test]
fn a_cut_between_the_last_renames_mixes_no_old_file_with_a_new_one() {
    for renamed in [&[][..], &[MODEL][..], &[MODEL, OPTIMIZER][..], &[MODEL, OPTIMIZER, CONFIG][..]]
    {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        save_step(folder, 1);
        plan_step(folder, 2)
            .into_iter()
            .take(5)
            .for_each(|operation| operation.run(folder).unwrap());
        for name in renamed {
            rename(folder, &aside(name), name).unwrap(); // died after these
        }
        let checkpoint = Checkpoint::open(folder).unwrap();
        assert_eq!((checkpoint.state.step, value(&checkpoint.weights)), (2, 2.0), "{renamed:?}");
        assert_eq!(value(&read_optimizer(folder).unwrap()), 2.0);
    }
}

/// A reader used to remove what another process was writing, which broke that process's save.
#[test]
fn reading_changes_no_file_however_far_a_save_is() {
    for done in 0..=6 {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        save_step(folder, 1);
        plan_step(folder, 2).into_iter().take(done).for_each(|op| op.run(folder).unwrap());
        let before = files(folder);
        Checkpoint::open(folder).unwrap();
        read_optimizer(folder).unwrap();
        read_state(folder).unwrap();
        assert_eq!(before, files(folder), "after {done} operations");
    }
}

#[test]
fn a_reader_beside_a_writer_sees_whole_saves_only() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    save_step(folder, 0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            (1..200).for_each(|step| save_step(folder, step));
            done.store(true, Ordering::Release);
        });
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            match Checkpoint::open(folder) {
                Ok(seen) => {
                    assert_eq!(value(&seen.weights), seen.state.step as f32);
                    assert!(seen.state.step >= last, "never back in time");
                    last = seen.state.step;
                }
                // This writer does nothing but save; giving up is honest.
                Err(error) => assert!(matches!(error, CheckpointError::Busy { .. }), "{error}"),
            }
        }
    });
    assert_eq!(read_state(folder).unwrap().step, 199);
}

#[test]
fn damage_is_told_with_the_name_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let message = |folder: &Path| Checkpoint::open(folder).unwrap_err().to_string();
    assert!(message(&folder.join("absent")).contains("absent: found nothing"));
    save_step(folder, 1);
    for name in [MODEL, CONFIG, STATE] {
        let path = folder.join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let message = message(folder);
        assert!(message.contains(name) && !message.contains('\n'), "{message}");
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn a_state_that_cannot_be_read_is_an_error_and_not_a_checkpoint_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    save_step(folder, 1);
    fs::remove_file(folder.join(STATE)).unwrap();
    assert!(Checkpoint::open(folder).unwrap_err().to_string().contains(STATE));
    fs::create_dir(folder.join(STATE)).unwrap();
    assert!(Checkpoint::open(folder).unwrap_err().to_string().contains(STATE));
}

#[test]
fn a_prior_checkpoint_gives_an_encoder_with_torchvisions_names() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "image_encoder.encoder.conv1.weight",
        "image_encoder.atten_pool.c_proj.bias",
        "logit_scale",
    ];
    let weights = names.map(|name| (name.to_owned(), Tensor::of_f32(vec![], &[1.0]))).to_vec();
    save(folder.path(), weights, &tables(), &state(1), None).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert!(checkpoint.is_prior());
    let names: Vec<_> = checkpoint.encoder_weights().into_keys().collect();
    assert_eq!(names, ["attnpool.c_proj.bias", "conv1.weight"]);
}
