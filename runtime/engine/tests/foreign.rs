//! Outputs of other tools' networks, as their contract describes them. Oracle of the boxes: `tests/oracles/box_heads.py`,
//! numpy in double precision, itself held to torchvision.
#![expect(clippy::unwrap_used, reason = "a test may")]

use bundle::{
    Activation, BoxHead, Boxes, Contract, Dense, DenseForm, Manifest, Meaning, OperatingPoint,
    Scores, Yolo,
};
use engine::{Detection, Findings, Output, Outputs, interpret};
use graph::{Fit, Preprocess};
use serde_json::{Value, json};
use std::{path::Path, process::Command};

const INPUT: [usize; 2] = [96, 128];
const LEAST: f32 = 0.6;

/// Dimensions and numbers.
type Shaped = (Vec<usize>, Vec<f32>);

/// Numbers from −1 to 1, the same everywhere.
struct Noise(u32);

impl Noise {
    fn draw(&mut self, shape: &[usize], middle: f32, spread: f32) -> Shaped {
        let mut next = || {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.0 >> 8) as f32 / 8_388_608.0 - 1.0
        };
        let data = (0..shape.iter().product()).map(|_| middle + spread * next()).collect();
        (shape.to_vec(), data)
    }
}

fn outputs(all: &[(&str, Shaped)]) -> Outputs {
    let output = |(name, (shape, data)): &(&str, Shaped)| Output {
        name: (*name).into(),
        shape: shape.clone(),
        data: data.clone(),
    };
    Outputs { outputs: all.iter().map(output).collect() }
}

fn labels(names: &[Option<&str>]) -> Vec<Option<String>> {
    names.iter().map(|name| name.map(str::to_owned)).collect()
}

fn manifest(outputs: Vec<Meaning>, least: f32) -> Manifest {
    let contract = Contract { architecture: "theirs".into(), came_quantized: false, outputs };
    contract.check().unwrap();
    let preprocess = Preprocess { height: INPUT[0], width: INPUT[1], ..Preprocess::PRIOR };
    let names: Vec<String> = contract.model().heads.into_iter().flat_map(|it| it.labels).collect();
    let point = |name| OperatingPoint { name, threshold: least, chosen: String::new() };
    let operating_points = names.into_iter().map(point).collect();
    Manifest { operating_points, ..Manifest::foreign("theirs", "1", contract, preprocess) }
}

fn found(outputs: &Outputs, meanings: Vec<Meaning>, least: f32) -> Result<Findings, String> {
    let found = interpret(outputs, &manifest(meanings, least), INPUT);
    found.map_err(|error| error.to_string())
}

fn boxes(head: BoxHead) -> Boxes {
    let labels = labels(&[Some("a"), None, Some("c")]);
    Boxes { head, labels, overlap: 0.4, keep: 50 }
}

/// Anchors of two levels.
fn anchors() -> Vec<Vec<[f32; 2]>> {
    vec![vec![[10.0, 13.0], [16.0, 30.0]], vec![[33.0, 23.0], [30.0, 61.0]]]
}

fn dense(form: DenseForm) -> Dense {
    let is_fcos = form == DenseForm::Fcos;
    let ssd = form == DenseForm::Ssd;
    Dense {
        form,
        scores: vec!["scores".into()],
        boxes: vec!["boxes".into()],
        centreness: if is_fcos { vec!["centreness".into()] } else { Vec::new() },
        strides: vec![8, 16],
        anchors: if is_fcos { Vec::new() } else { anchors() },
        variances: if ssd { [0.1, 0.1, 0.2, 0.2] } else { [1.0; 4] },
        centre: if ssd { 0.5 } else { 0.0 },
        exponential: false,
    }
}

type Tensors = Vec<(&'static str, Shaped)>;

/// Every form and layout with numbers drawn for it.
fn cases() -> Vec<(String, Boxes, Tensors)> {
    let mut noise = Noise(7);
    let mut all = Vec::new();
    let two = || vec!["p3".to_owned(), "p4".to_owned()];
    for (version, channels) in [(Yolo::V3, 2 * 8), (Yolo::V5, 2 * 8), (Yolo::V8, 4 * 16 + 3)] {
        let anchors = if version == Yolo::V8 { Vec::new() } else { anchors() };
        let head = BoxHead::YoloMaps { version, outputs: two(), anchors };
        let maps = vec![
            ("p3", noise.draw(&[1, channels, 12, 16], 0.0, 2.5)),
            ("p4", noise.draw(&[1, channels, 6, 8], 0.0, 2.5)),
        ];
        all.push((version.name().to_owned(), boxes(head), maps));
        let shape = if version == Yolo::V8 { [1, 7, 60] } else { [1, 60, 8] };
        let (shape, mut rows) = noise.draw(&shape, 0.5, 0.5);
        // Places and sides are in pixels.
        for (at, x) in rows.iter_mut().enumerate() {
            let value = if version == Yolo::V8 { at / 60 } else { at % 8 };
            *x *= [128.0, 96.0, 40.0, 40.0, 1.0, 1.0, 1.0, 1.0][value];
        }
        let head = BoxHead::YoloRows { version, output: "rows".into() };
        all.push((format!("{} rows", version.name()), boxes(head), vec![("rows", (shape, rows))]));
    }
    for form in [DenseForm::Ssd, DenseForm::Retinanet, DenseForm::Fcos] {
        let of = dense(form);
        let (per_cell, scores) = (of.boxes_per_cell(0), of.scores_per_box(3));
        let total = (12 * 16 + 6 * 8) * per_cell;
        let is_fcos = form == DenseForm::Fcos;
        let distances = if is_fcos { 1.5 } else { 0.0 };
        let mut rows = vec![
            ("scores", noise.draw(&[1, total, scores], 0.5, 3.0)),
            ("boxes", noise.draw(&[1, total, 4], distances, 1.5)),
        ];
        let mut maps = Vec::new();
        for (names, [height, width]) in
            [(["s3", "b3", "c3"], [12, 16]), (["s4", "b4", "c4"], [6, 8])]
        {
            let cells = [height, width];
            let shape = |values: usize| [&[1, per_cell * values][..], &cells].concat();
            maps.push((names[0], noise.draw(&shape(scores), 0.5, 3.0)));
            maps.push((names[1], noise.draw(&shape(4), distances / 2.0, 1.0)));
            if is_fcos {
                maps.push((names[2], noise.draw(&shape(1), 0.5, 3.0)));
            }
        }
        if is_fcos {
            rows.push(("centreness", noise.draw(&[1, total, 1], 0.5, 3.0)));
        }
        all.push((form.name().to_owned(), boxes(BoxHead::Dense(of.clone())), rows));
        let two = |kind: &str| vec![format!("{kind}3"), format!("{kind}4")];
        let apart = Dense {
            scores: two("s"),
            boxes: two("b"),
            centreness: if is_fcos { two("c") } else { Vec::new() },
            exponential: is_fcos,
            ..of
        };
        all.push((format!("{} maps", form.name()), boxes(BoxHead::Dense(apart)), maps));
    }
    all
}

#[test]
fn every_form_finds_the_boxes_that_its_definition_finds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(".venv/bin/python");
    let cases = cases();
    let described = cases.iter().map(|(_, boxes, tensors)| {
        let tensor = |(name, (shape, data)): &(&str, Shaped)| {
            ((*name).to_owned(), json!({ "shape": shape, "data": data }))
        };
        let outputs: serde_json::Map<String, Value> = tensors.iter().map(tensor).collect();
        json!({ "input": INPUT, "least": LEAST, "boxes": boxes, "outputs": outputs })
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, &described.collect::<Vec<_>>()).unwrap();
    let script = root.join("tests/oracles/box_heads.py");
    let Ok(output) = Command::new(&python).arg(script).arg(file.path()).output() else {
        return skip::because(format_args!("{} is not there: make setup", python.display()));
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), cases.len());
    for ((name, boxes, tensors), line) in cases.into_iter().zip(text.lines()) {
        let expected: Vec<(String, f32, f32, f32, f32, f32)> = serde_json::from_str(line).unwrap();
        let found = found(&outputs(&tensors), vec![Meaning::Boxes(boxes)], LEAST).unwrap();
        let found = found.boxes.unwrap();
        assert!(expected.len() > 3, "{name}: {} boxes", expected.len());
        assert_eq!(found.len(), expected.len(), "{name}");
        for (Detection { name: label, score, x, y, width, height }, own) in
            found.into_iter().zip(expected)
        {
            let pairs = [(score, own.1), (x, own.2), (y, own.3), (width, own.4), (height, own.5)];
            let alike = pairs.iter().all(|(a, b)| (a - b).abs() < 1e-3);
            assert!(alike && label == own.0, "{name}: {label} {own:?} {pairs:?}");
        }
    }
}

#[test]
fn an_output_of_the_wrong_width_is_refused_by_its_name() {
    for (name, boxes, mut tensors) in cases() {
        let (output, (shape, data)) = tensors.last_mut().unwrap();
        let axis = if shape.len() == 4 || boxes.labels.len() + 4 == shape[1] { 1 } else { 2 };
        shape[axis] += 1;
        data.resize(shape.iter().product(), 0.0);
        let output = *output;
        let error = found(&outputs(&tensors), vec![Meaning::Boxes(boxes)], LEAST).unwrap_err();
        let known =
            error.contains(&format!("output `{output}` has shape")) && error.contains("expected");
        assert!(known, "{name}: {error}");
    }
}

fn scores(activation: Activation) -> Meaning {
    let labels = labels(&[Some("a"), None, Some("c")]);
    Meaning::Findings(Scores { output: "y".into(), activation, labels })
}

#[test]
fn numbers_become_probabilities_as_the_contract_says_and_nameless_labels_are_left_out() {
    let numbers = |data: [f32; 3]| outputs(&[("y", (vec![1, 3], data.to_vec()))]);
    let of = |activation, data| {
        let found = found(&numbers(data), vec![scores(activation)], 0.5).unwrap();
        assert_eq!((found.boxes, found.embedding_digest), (None, None));
        let named = found.findings.iter().map(|it| (it.name.clone(), it.positive));
        assert_eq!(named.map(|(name, _)| name).collect::<Vec<_>>(), ["a", "c"]);
        found.findings.iter().map(|it| it.probability).collect::<Vec<f32>>()
    };
    assert_eq!(of(Activation::Sigmoid, [0.0, 9.0, 200.0]), [0.5, 1.0]);
    assert_eq!(of(Activation::None, [0.25, 0.5, 1.0]), [0.25, 1.0]);
    let third = of(Activation::Softmax, [1.0, 1.0, 1.0]);
    assert!(third.iter().all(|x| (x - 1.0 / 3.0).abs() < 1e-6), "{third:?}");
    // Logits that were said to be probabilities, and no number at all.
    for bad in [2.5, f32::NAN] {
        let error = found(&numbers([0.5, bad, 0.5]), vec![scores(Activation::None)], 0.5);
        let error = error.unwrap_err();
        assert!(error.contains("output `y` holds") && error.contains("sigmoid"), "{error}");
    }
    let wide = outputs(&[("y", (vec![1, 4], vec![0.0; 4]))]);
    let error = found(&wide, vec![scores(Activation::Sigmoid)], 0.5).unwrap_err();
    assert!(error.contains("`y` has shape [1, 4], expected [1, 3]"), "{error}");
    let error = found(&outputs(&[]), vec![scores(Activation::Sigmoid)], 0.5).unwrap_err();
    assert!(error.contains("no output `y`"), "{error}");
}

#[test]
fn masks_of_a_softmax_share_each_pixel_and_lie_where_the_network_saw_them() {
    // Background, left half, right half of a cropped picture.
    let plane = |of: [f32; 4]| of.to_vec();
    let data = [plane([0.0; 4]), plane([5.0, 5.0, -5.0, -5.0]), plane([-5.0, -5.0, 5.0, 5.0])];
    let outputs = outputs(&[("m", (vec![1, 3, 1, 4], data.concat()))]);
    let labels = labels(&[None, Some("left"), Some("right")]);
    let activation = Activation::Softmax;
    let meaning = Meaning::Masks(Scores { output: "m".into(), activation, labels });
    let mut manifest = manifest(vec![meaning], 0.5);
    manifest.preprocess.fit = Fit::CentreCrop;
    let found = interpret(&outputs, &manifest, [96, 228]).unwrap(); // columns 50 to 178 are seen
    let [left, right] = &found.masks[..] else { panic!("{} masks", found.masks.len()) };
    let inside = |mask: &engine::Mask, x: usize| mask.data[x] == 1;
    assert!(inside(left, 50) && inside(left, 113) && !inside(left, 49) && !inside(left, 114));
    assert!(inside(right, 114) && inside(right, 177) && !inside(right, 178));
}
