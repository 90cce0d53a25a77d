//! A width-8 teacher on 64x64 pictures teaches a width-8 student.

use super::*;
use crate::{
    calibrate, fixtures,
    passes::{
        fold,
        interpreter::Interpreter,
        quantized::{Plan, Quantized},
    },
    read::{checkpoint::Checkpoint, images::ImageSet},
    verify::Network,
    write::onnx::{Batch, quantized_model},
};
use bundle::Manifest;
use calibration::Method;
use prost::Message;
use std::{cell::RefCell, fs};
use tch::Tensor;
use tempfile::TempDir;

/// A teacher, an index over eight pictures of each split, and a place for the student.
fn workplace(teacher: Backbone) -> (TempDir, Recipe) {
    workplace_of(fixtures::config(teacher))
}

fn workplace_of(teacher: ModelConfig) -> (TempDir, Recipe) {
    let (folder, checkpoint, _) = fixtures::workplace_of(teacher);
    let line = |at: usize, split: &str| {
        format!(
            "{{\"id\":\"{split}{at}\",\"patient_id\":\"{split}{at}\",\"split\":\"{split}\",\
             \"image\":\"images/{at}.png\",\"labels\":{{\"Pneumonia\":{}}}}}\n",
            at % 2
        )
    };
    let lines = (0..8).map(|at| line(at, "train")).chain((0..8).map(|at| line(at, "val")));
    let index = folder.path().join("index.jsonl");
    fs::write(&index, lines.collect::<String>()).unwrap();
    // Logits of order one, as a trained teacher's; random ones are in the hundreds.
    let path = checkpoint.join("model.safetensors");
    let mut params = fixtures::read_weights(&path);
    let heads =
        params.iter_mut().filter(|(name, _)| name.starts_with("fc.") || name.contains(".out."));
    heads.for_each(|(_, array)| array.values.iter_mut().for_each(|w| *w *= 0.01));
    fixtures::write_weights(&path, &params);
    let recipe = Recipe {
        teacher: checkpoint,
        student: Backbone::Resnet18,
        pool: Pool::Mean,
        width: None,
        init: None,
        data: index,
        out: folder.path().join("student"),
        limit: usize::MAX,
        epochs: 6,
        qat: 0,
        batch: 8,
        rate: 3e-3,
        seed: 1,
        device: Device::Cpu,
        precision: None,
    };
    (folder, recipe)
}

fn run(recipe: &Recipe) -> Result<(Outcome, Vec<Epoch>)> {
    let epochs = RefCell::new(Vec::new());
    let note = |epoch: &Epoch| {
        epochs.borrow_mut().push(epoch.clone());
        Ok(())
    };
    let outcome = distill(recipe, |_| ProgressBar::hidden(), note)?;
    Ok((outcome, epochs.into_inner()))
}

#[test]
fn a_student_comes_closer_to_its_teacher_and_can_be_opened() {
    let (_folder, recipe) = workplace(Backbone::Resnet34);
    let (outcome, epochs) = run(&recipe).unwrap();
    let (first, last) = (&epochs[0], &epochs[5]);
    assert!(last.train < 0.9 * first.train, "{} {}", first.train, last.train);
    assert!(outcome.multiplications < outcome.teacher_multiplications);
    let student = Checkpoint::open(&recipe.out).unwrap();
    assert_eq!(student.config.model.heads.len(), 3);
    assert_eq!(student.operating_points[0].name, "Pneumonia");
}

#[test]
fn the_same_recipe_gives_the_same_student() {
    let (folder, mut recipe) = workplace(Backbone::Resnet18);
    (recipe.epochs, recipe.student) = (1, Backbone::Mobilenetv2);
    run(&recipe).unwrap();
    let first = fs::read(recipe.out.join("model.safetensors")).unwrap();
    let error = run(&recipe).unwrap_err().to_string();
    assert!(error.contains("holds a checkpoint already"), "{error}");
    recipe.out = folder.path().join("again");
    run(&recipe).unwrap();
    assert!(first == fs::read(recipe.out.join("model.safetensors")).unwrap());
}

#[test]
fn rounded_training_lowers_the_loss_of_the_rounded_student() {
    let (_folder, mut recipe) = workplace(Backbone::Resnet18);
    (recipe.epochs, recipe.qat) = (3, 4);
    let (outcome, epochs) = run(&recipe).unwrap();
    let qat: Vec<f64> =
        epochs.iter().filter(|e| e.phase == "qat").map(|e| e.validation.unwrap()).collect();
    assert_eq!(qat.len(), 4);
    assert!(qat[3] < qat[0] && outcome.best_epoch > 3, "{qat:?}");
    Checkpoint::open(&recipe.out).unwrap();
}

/// The engine is the box; what it loads is the file that ships.
#[test]
fn training_on_integers_makes_every_code_the_box_makes() {
    let models = [
        fixtures::config(Backbone::Resnet18),
        fixtures::config(Backbone::Mobilenetv2),
        fixtures::yolov3_config(Backbone::Resnet18),
        fixtures::attention_config(Backbone::Resnet18),
        ModelConfig { heads: Vec::new(), ..fixtures::attention_config(Backbone::Resnet50) },
    ];
    for model in models {
        let (_folder, checkpoint, images) = fixtures::workplace_of(model);
        let Checkpoint { config, weights, .. } = Checkpoint::open(&checkpoint).unwrap();
        let original = config.graph().unwrap();
        let (folded, weights) = fold::fold(&original, &weights);
        let plan = Plan::new(&folded).unwrap();
        let images = ImageSet::find(&images, 8).unwrap();
        let (preprocess, bar) = (&config.preprocess, ProgressBar::hidden());
        let seen = calibrate::observe(&folded, &weights, &plan, &images, preprocess, &bar).unwrap();
        let table = seen.table(&folded, Method::USUAL, preprocess, false).unwrap();
        let params = table.params();
        let model = Quantized::new(folded.clone(), plan.clone(), &weights, &params);
        let onnx = quantized_model(&model, Batch::One).unwrap().encode_to_vec();
        let manifest = Manifest::new("", "", config.model.clone(), config.preprocess);
        let network = Network::open(&manifest.float_nodes, &onnx).unwrap();
        let rounded = Rounded::new(original, folded.clone(), &weights, plan, &params, Device::Cpu);

        let image = fixtures::image(&folded, 5);
        let (outputs, activations) = network.infer_all(&image).unwrap();
        let picture = Tensor::from_slice(&image).view([1, 1, 64, 64]);
        let codes = rounded.codes(&picture);
        let list = |tensor: &Tensor| Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap();
        let mut compared = 0;
        // `.map` is a mean before it is flattened.
        for seen in activations.iter().filter(|seen| !seen.tensor.ends_with(".map")) {
            let zero = model.activations[&seen.tensor].zero as i16;
            let expected: Vec<f32> =
                seen.codes.iter().map(|&code| f32::from(code - zero)).collect();
            assert_eq!(list(&codes[seen.tensor.as_str()]), expected, "{}", seen.tensor);
            compared += 1;
        }
        assert!(compared > 30, "{compared}");
        let found = rounded.forward(&picture, false);
        for (name, expected) in &outputs {
            assert_eq!(&list(&found[name]), expected, "{name}");
        }
    }
}

#[test]
fn a_student_learns_the_boxes_of_a_yolov3_teacher() {
    let (_folder, mut recipe) = workplace_of(fixtures::yolov3_config(Backbone::Resnet18));
    recipe.qat = 2;
    let (_, epochs) = run(&recipe).unwrap();
    assert!(epochs[5].train < 0.9 * epochs[0].train, "{} {}", epochs[0].train, epochs[5].train);
    let phases: Vec<&str> = epochs.iter().map(|epoch| epoch.phase).collect();
    assert_eq!(phases[5..], ["distill", "qat", "qat"]);
    let student = Checkpoint::open(&recipe.out).unwrap();
    assert_eq!(student.config.model.heads[2].task, graph::Task::Yolov3);
}

#[test]
fn an_attention_pool_teaches_and_is_taught_in_float_and_on_integers() {
    let (_folder, mut recipe) = workplace_of(fixtures::attention_config(Backbone::Resnet34));
    (recipe.pool, recipe.epochs, recipe.qat) = (Pool::Attention, 6, 4);
    let (_, epochs) = run(&recipe).unwrap();
    assert!(epochs[5].train < 0.95 * epochs[0].train, "{} {}", epochs[0].train, epochs[5].train);
    let qat: Vec<f64> =
        epochs.iter().filter(|e| e.phase == "qat").map(|e| e.validation.unwrap()).collect();
    assert!(qat.len() == 4 && qat[3] < qat[0], "{qat:?}");
    let student = Checkpoint::open(&recipe.out).unwrap();
    assert_eq!(student.config.model.pool, Pool::Attention);
    assert_eq!(student.weights["attnpool.positional_embedding"].shape, [5, 64]);
}

#[test]
fn a_pools_multiplications_are_those_of_what_the_box_runs() {
    let graph = fixtures::attention_config(Backbone::Resnet50).graph([1, 96, 96]).unwrap();
    let (written, _) = fold::fold(&graph, &fixtures::random(&graph, 1));
    // Convolutions and linear layers; then scores and answers of 10 tokens, 8 heads, 256 channels.
    let layers = multiplications(&written).unwrap();
    assert_eq!(multiplications(&graph).unwrap(), layers + 2 * 10 * 8 * 256);
}

#[test]
fn a_student_may_not_replace_its_teacher_nor_learn_from_nothing() {
    let (_folder, mut recipe) = workplace(Backbone::Resnet18);
    let teacher = fs::read(recipe.teacher.join("model.safetensors")).unwrap();
    recipe.out.clone_from(&recipe.teacher);
    let error = run(&recipe).unwrap_err().to_string();
    assert!(error.contains("replace its teacher"), "{error}");
    assert!(teacher == fs::read(recipe.teacher.join("model.safetensors")).unwrap());

    recipe.out = recipe.out.with_extension("student");
    recipe.limit = 3;
    let error = run(&recipe).unwrap_err().to_string();
    assert!(error.contains("found 3 images in the train split"), "{error}");
    assert!(!checkpoint::exists(&recipe.out));
}

#[test]
fn tch_gets_what_the_interpreter_gets_from_every_operator() {
    for (graph, weights) in fixtures::sketches::all() {
        let store = tch::nn::VarStore::new(Device::Cpu);
        let network = trainer::network::Network::new(&store.root(), &graph).unwrap();
        tch::no_grad(|| {
            for (name, mut variable) in store.variables() {
                let array = &weights[&name];
                variable.copy_(&Tensor::from_slice(&array.values).view_as(&variable));
            }
        });
        let image = fixtures::image(&graph, 2);
        let [c, h, w] = graph.input_shape.map(|side| side as i64);
        let input = Tensor::from_slice(&image).view([1, c, h, w]);
        let theirs = tch::no_grad(|| network.forward(&input, false));
        for (name, ours) in Interpreter::new(&graph, &weights).unwrap().outputs(&image).unwrap() {
            let theirs: Vec<f32> = theirs[&name].flatten(0, -1).try_into().unwrap();
            let difference = fixtures::relative_difference(&ours, &theirs);
            assert!(difference < 1e-5, "{} {name}: {difference}", graph.name);
        }
    }
}
