//! The same for bundles: as files, and as files whose digests are right although what they hold is not.

use crate::guard::Guard;
use crate::mutate::{self, Dice};
use crate::network;
use bundle::{
    Activation, BoxHead, Boxes, Bundle, Contract, Dense, DenseForm, Golden, GoldenOutput,
    GoldenVector, Manifest, Meaning, OperatingPoint, Scores, Yolo, section,
};
use engine::{Analyzer, Options, ZeroShot, interpret, selftest};
use graph::{Backbone, Fit, Head, ModelConfig, Pool, Preprocess, Side, Task};
use language::{Language, Space};
use prost::Message;
use std::path::PathBuf;

/// Reads, loads, proves itself and looks at one image, as far as it gets. Says whether it ran.
fn survives(bytes: &[u8]) -> bool {
    let Ok(bundle) = Bundle::read(bytes) else { return false };
    let options = Options { threads: 1, isa: None, fuse: true };
    let Ok(mut analyzer) = Analyzer::open(&bundle, &options) else { return false };
    if analyzer.engine().integer_share().integer_macs >= 1 << 28 {
        return false;
    }
    let _ = selftest(analyzer.engine(), &bundle);
    let count = analyzer.engine().input_shape().iter().product();
    if let Ok(outputs) = analyzer.engine().run(&vec![0.25; count]) {
        let _ = interpret(&outputs, analyzer.manifest(), [2000, 1500]);
        if let Ok(Some(mut zero_shot)) = ZeroShot::open(&bundle, analyzer.engine()) {
            zero_shot.derived(&outputs).unwrap();
            let placed = bundle.manifest.preprocess.place([2000, 1500]);
            zero_shot.tell(&outputs, &placed).unwrap();
        }
    }
    true
}

fn manifest(dice: &mut Dice, size: [usize; 2]) -> Manifest {
    let head = |task, labels: usize| Head {
        task,
        labels: (0..labels).map(|at| format!("finding {at}")).collect(),
    };
    let tasks = [Task::Classification, Task::Segmentation, Task::Detection];
    let heads = tasks.into_iter().filter(|_| dice.below(2) == 0).collect::<Vec<_>>();
    let threshold = dice.float();
    let model = ModelConfig {
        heads: heads.into_iter().map(|task| head(task, dice.below(4))).collect(),
        ..ModelConfig::encoder(Backbone::Resnet18, Pool::Mean)
    };
    let side = Side::new(1 + dice.below(300)).expect("below the most");
    let preprocess = Preprocess {
        height: size[0],
        width: size[1],
        fit: dice.pick(&[Fit::Stretch, Fit::Pad, Fit::CentreCrop, Fit::ResizeCrop(side)]),
        ..Preprocess::PRIOR
    };
    let contract = (dice.below(2) == 0).then(|| contract(dice));
    let model = contract.as_ref().map_or(model, Contract::model);
    Manifest {
        contract,
        operating_points: vec![OperatingPoint {
            name: "finding 0".into(),
            threshold,
            chosen: String::new(),
        }],
        float_nodes: vec!["conv".into()],
        ..Manifest::new("hostile", "1.0.0", model, preprocess)
    }
}

/// What another tool's outputs of these names might mean, sense or not.
fn contract(dice: &mut Dice) -> Contract {
    let labels = |dice: &mut Dice| {
        (0..1 + dice.below(4)).map(|at| (at != 1).then(|| format!("finding {at}"))).collect()
    };
    let scores = |dice: &mut Dice| Scores {
        output: "segmentation".into(),
        activation: dice.pick(&[Activation::Sigmoid, Activation::Softmax, Activation::None]),
        labels: labels(dice),
    };
    let first = match dice.below(3) {
        0 => Meaning::Findings(scores(dice)),
        1 => Meaning::Masks(scores(dice)),
        _ => Meaning::Boxes(Boxes {
            head: head(dice),
            labels: labels(dice),
            overlap: 0.5,
            keep: 1 + dice.below(100) as u32,
        }),
    };
    let second = Meaning::Embedding { output: "embedding".into() };
    Contract { architecture: "theirs".into(), came_quantized: true, outputs: vec![first, second] }
}

fn head(dice: &mut Dice) -> BoxHead {
    let output = || "segmentation".to_owned();
    let anchors = vec![vec![[1.0 + dice.below(60) as f32, 10.0]; 1 + dice.below(3)]];
    let version = dice.pick(&[Yolo::V3, Yolo::V5, Yolo::V8]);
    match dice.below(3) {
        0 => BoxHead::YoloRows { version, output: output() },
        1 => {
            let anchors = if version == Yolo::V8 { Vec::new() } else { anchors };
            BoxHead::YoloMaps { version, outputs: vec![output()], anchors }
        }
        _ => BoxHead::Dense(Dense {
            form: dice.pick(&[DenseForm::Ssd, DenseForm::Retinanet]),
            scores: vec![output()],
            boxes: vec!["embedding".into()],
            centreness: Vec::new(),
            strides: vec![1 + dice.below(64) as u32],
            anchors,
            variances: [0.1; 4],
            centre: 0.5,
            exponential: false,
        }),
    }
}

fn golden(dice: &mut Dice, size: [usize; 2]) -> Vec<u8> {
    let output = |name: &str| GoldenOutput { name: name.into(), bytes: vec![0; 12] };
    let pixels = if dice.below(4) == 0 { dice.below(2000) } else { size[0] * size[1] };
    let vector = GoldenVector {
        height: size[0] as u32,
        width: size[1] as u32,
        grey: vec![dice.next() as u8; pixels],
        outputs: vec![output("embedding"), output("classification")],
    };
    Golden { vectors: vec![vector; dice.below(3)] }.to_bytes().unwrap()
}

/// A bundle with right digests around a network whose outputs have the names the manifest's heads want.
fn sealed(dice: &mut Dice, change: bool) -> Bundle {
    let mut model = network(dice, 1);
    let graph = model.graph.as_mut().unwrap();
    let dims = &graph.input[0];
    let size = size_of(dims);
    let speaks = dice.below(3) == 0;
    let names = match speaks {
        true => ["language.places", "language.global"],
        false => ["segmentation", "embedding"],
    };
    for (output, name) in graph.output.iter_mut().zip(names) {
        let old = std::mem::replace(&mut output.name, name.into());
        for node in &mut graph.node {
            node.output
                .iter_mut()
                .chain(&mut node.input)
                .filter(|n| **n == old)
                .for_each(|n| *n = name.into());
        }
    }
    for _ in 0..if change { 1 + dice.below(3) } else { 0 } {
        mutate::model(&mut model, dice);
    }
    let mut golden = golden(dice, size);
    if change && dice.below(3) == 0 {
        mutate::bytes(&mut golden, dice);
    }
    let mut sections =
        vec![(section::MODEL.into(), model.encode_to_vec()), (section::GOLDEN.into(), golden)];
    let mut manifest = manifest(dice, size);
    // Of a network drawn at random it may or may not be the language. One that has neither output is not to get it.
    if change && speaks {
        // A network of another tool has no language.
        manifest.contract = None;
        manifest.model.heads.push(Head { task: Task::Language, labels: Vec::new() });
        let side = |dice: &mut Dice| 1 + dice.below(8) as u32;
        let space = Space { id: [0; 32], width: side(dice), grid: [side(dice), side(dice)] };
        let drawn = Language::drawn(space, 1 + dice.below(3), dice.below(4), dice.next());
        let mut bytes = drawn.to_bytes().unwrap();
        if dice.below(2) == 0 {
            mutate::bytes(&mut bytes, dice);
        }
        sections.push((section::LANGUAGE.into(), bytes));
    }
    if change && dice.below(3) == 0 {
        let side = dice.number() as usize;
        manifest.preprocess.height = side;
        manifest.preprocess.std = dice.float();
    }
    Bundle::seal(manifest, sections, None).unwrap()
}

fn size_of(input: &tract_onnx::pb::ValueInfoProto) -> [usize; 2] {
    use tract_onnx::pb::{tensor_shape_proto::dimension::Value, type_proto};
    let kind = input.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else { panic!("not a tensor") };
    let side = |at: usize| match tensor.shape.as_ref().unwrap().dim[at].value {
        Some(Value::DimValue(side)) => side as usize,
        _ => panic!("not a number"),
    };
    [side(2), side(3)]
}

#[test]
fn bundles_unchanged_are_loaded_and_run() {
    let _alone = crate::guard::alone();
    let mut loaded = 0;
    for seed in 0..40 {
        let bundle = sealed(&mut Dice::new(seed), false);
        // A contract drawn at random may mean nothing, and is refused then.
        let means = bundle.manifest.contract.as_ref().is_none_or(|it| it.check().is_ok());
        let read = Bundle::read(bundle.to_bytes().unwrap());
        assert_eq!(read.is_ok(), means, "{:?}", read.err());
        let Ok(bundle) = read else { continue };
        loaded += 1;
        let options = Options::threads(1);
        let analyzer = Analyzer::open(&bundle, &options);
        assert!(analyzer.is_ok(), "{:?}", analyzer.err());
    }
    assert!(loaded > 20, "{loaded} of 40");
}

#[test]
fn damaged_bundles_end_soon_in_bounded_memory() {
    let given =
        std::env::var_os("FUZZ_BUNDLE").map(|path| std::fs::read(PathBuf::from(path)).unwrap());
    let mut guard = Guard::new("damaged-bundle", 1500);
    while let Some(mut dice) = guard.next_seed() {
        let mut bytes = match &given {
            Some(bytes) if dice.below(2) == 0 => bytes.clone(),
            _ => sealed(&mut dice, false).to_bytes().unwrap(),
        };
        // Half of them in the head, where lengths are.
        let head = 10 + 600.min(bytes.len() - 10);
        for _ in 0..1 + dice.below(4) {
            if dice.below(2) == 0 && bytes.len() > head {
                let mut start: Vec<u8> = bytes.drain(..head).collect();
                mutate::bytes(&mut start, &mut dice);
                bytes.splice(0..0, start);
            } else {
                mutate::bytes(&mut bytes, &mut dice);
            }
        }
        guard.watch(&bytes, || survives(&bytes));
    }
    guard.finish();
}

#[test]
fn sealed_nonsense_ends_soon_in_bounded_memory() {
    let mut guard = Guard::new("sealed-bundle", 1500);
    while let Some(mut dice) = guard.next_seed() {
        let bytes = sealed(&mut dice, true).to_bytes().unwrap();
        guard.watch(&bytes, || survives(&bytes));
    }
    guard.finish();
}
