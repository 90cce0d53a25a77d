//! The ways to round, each held to what it promises.

use super::super::inspect::IntegerShare;
use super::{Cli, Parser, run};
use crate::{
    calibrate::{self, Outcome, RoundingOptions, Source},
    fixtures,
    passes::{
        fold,
        interpreter::{Interpreter, Outputs},
        simulate::distortion,
    },
    read::{checkpoint::Checkpoint, images::Input},
    verify::Network,
    write::onnx::{Batch, quantized_model},
};
use bundle::{Bundle, Manifest, section};
use graph::Backbone;
use prost::Message;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tract_onnx::pb::ModelProto;

#[derive(Debug, clap::Parser)]
struct Only {
    #[command(flatten)]
    rounding: RoundingOptions,
}

pub(super) fn outcome(checkpoint: &Path, images: &Path, args: &[&str]) -> Result<Outcome, String> {
    let rounding = Only::try_parse_from([&["only"], args].concat()).unwrap().rounding;
    let terminal = Cli::try_parse_from(["exporter", "-q", "check", "x"]).unwrap().terminal;
    let opened = Checkpoint::open(checkpoint).unwrap();
    calibrate::quantize(&rounding, &Source::of(&opened, checkpoint), images, terminal)
        .map_err(|error| format!("{error:#}"))
}

/// Noise over signal of the box's outputs, averaged over the pictures.
pub(super) fn noise(checkpoint: &Path, images: &Path, outcome: &Outcome) -> f64 {
    let Checkpoint { config, graph, weights, .. } = Checkpoint::open(checkpoint).unwrap();
    let (graph, weights) = fold::fold_batch_norms(&graph, &weights);
    let float = Interpreter::new(&graph, &weights).unwrap();
    let mut manifest = Manifest::new("", "", config.model.clone(), config.preprocess);
    manifest.float_nodes = outcome.model.plan.float().iter().cloned().collect();
    let onnx = quantized_model(&outcome.model, Batch::One).unwrap().encode_to_vec();
    let network = Network::open(&manifest.float_nodes, &onnx).unwrap();
    let mut sum = 0.0;
    for at in 0..8 {
        let picture = images.join(format!("{at}.png"));
        let pixels = Input::read(&picture, &config.preprocess).unwrap().pixels;
        let expected: Outputs = float.outputs(&pixels).unwrap();
        sum += distortion(&expected, &network.infer(&pixels).unwrap());
    }
    sum / 8.0
}

#[test]
fn adaround_comes_closer_to_float_than_nearest() {
    let (_folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let of =
        |args: &[&str]| noise(&checkpoint, &images, &outcome(&checkpoint, &images, args).unwrap());
    let (nearest, adaround) = (of(&["--int8-detection"]), of(&["--int8-detection", "--adaround"]));
    assert!(adaround < nearest, "{adaround} {nearest}");
}

#[test]
fn symmetric_activations_are_signed_around_zero_and_close_to_float() {
    let (_folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let outcome = outcome(&checkpoint, &images, &["--symmetric", "--int8-detection"]).unwrap();
    let noise = noise(&checkpoint, &images, &outcome);
    assert!(noise < 0.02, "{noise}");
    let graph = quantized_model(&outcome.model, Batch::One).unwrap().graph.unwrap();
    for node in graph.node.iter().filter(|node| node.op_type == "QuantizeLinear") {
        let zero = graph.initializer.iter().find(|tensor| tensor.name == node.input[2]).unwrap();
        // ONNX's number for INT8.
        assert_eq!((zero.data_type, zero.int32_data.iter().sum::<i32>()), (3, 0), "{}", zero.name);
        assert!(zero.raw_data.iter().all(|&byte| byte == 0), "{}", zero.name);
    }
}

/// What its parser refuses: any zero point but 0, and dequantized i32.
#[test]
fn a_file_for_tensorrt_has_nothing_its_parser_refuses() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let out = folder.path().join("trt.onnx");
    run(&[
        &"onnx",
        &"--int8",
        &"--tensorrt",
        &"--checkpoint",
        &checkpoint,
        &"--calibration",
        &images,
        &"--out",
        &out,
    ])
    .unwrap();
    let model = ModelProto::decode(&fs::read(&out).unwrap()[..]).unwrap();
    let graph = model.graph.unwrap();
    let constant = |name: &str| graph.initializer.iter().find(|tensor| tensor.name == name);
    let is_scale_node = |kind: &str| kind == "QuantizeLinear" || kind == "DequantizeLinear";
    let nodes: Vec<_> = graph.node.iter().filter(|node| is_scale_node(&node.op_type)).collect();
    assert!(nodes.len() > 80, "{}", nodes.len());
    for node in nodes {
        let zero = constant(&node.input[2]).unwrap();
        // ONNX's number for INT8.
        assert_eq!(zero.data_type, 3, "{}", node.name);
        assert!(zero.raw_data.iter().all(|&byte| byte == 0), "{}", node.name);
        assert!(zero.int32_data.iter().all(|&code| code == 0), "{}", node.name);
    }
}

#[test]
fn layers_are_ranked_by_the_noise_each_brings_alone() {
    let (_folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    // One weight a hundred times the others leaves those of its row about one step each.
    let path = checkpoint.join("model.safetensors");
    let mut params = fixtures::read_weights(&path);
    let kernel = &mut params.get_mut("layer2.0.conv2.weight").unwrap().values;
    kernel.chunks_mut(16 * 9).for_each(|row| row[4] *= 100.0);
    fixtures::write_weights(&path, &params);

    let outcome = outcome(&checkpoint, &images, &["--sensitivity", "--int8-detection"]).unwrap();
    let layers = outcome.sensitivities;
    assert_eq!(layers.len(), outcome.model.layers.len());
    assert!(layers.is_sorted_by(|a, b| a.sqnr_db <= b.sqnr_db));
    assert!(layers[..3].iter().any(|l| l.node == "layer2.0.conv2"), "{:?}", &layers[..3]);
}

#[test]
fn layers_left_in_float_are_declared_and_the_box_takes_them() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let out = folder.path().join("out.bundle");
    let args = ["--float", "fc", "--float", "layer1.0.conv1", "--int8-detection"];
    quantize(&checkpoint, &images, &out, &args).unwrap();
    let bundle = Bundle::open(&out).unwrap();
    assert_eq!(bundle.manifest.float_nodes, ["fc", "layer1.0.conv1"]);
    let onnx = bundle.require(section::MODEL).unwrap();
    let network = Network::open(&bundle.manifest.float_nodes, onnx).unwrap();
    let share = IntegerShare::of(onnx, &network.integer_share()).unwrap();
    assert_eq!(share.all - share.integer, 2);
    assert!(share.float_macs > 0 && !share.to_string().contains(" 100 %"), "{share}");

    // Undeclared, the box refuses them by name.
    let mut manifest = bundle.manifest.clone();
    manifest.float_nodes.clear();
    let error = format!("{:#}", Network::open(&manifest.float_nodes, onnx).err().unwrap());
    assert!(error.contains("fc") || error.contains("layer1.0.conv1"), "{error}");

    let error = quantize(&checkpoint, &images, &out, &["--float", "layer9"]).unwrap_err();
    assert!(error.contains("`layer9`") && error.contains("layer1.0.conv1"), "{error}");
}

#[test]
fn detections_last_convolutions_stay_in_float_where_int8_costs_more_than_a_percent() {
    let (_folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let path = checkpoint.join("model.safetensors");
    let mut params = fixtures::read_weights(&path);
    let coarsest = ["det.p5.conv", "det.p5.out", "det.p5.reduce"];
    let last = ["det.p3.out", "det.p4.out"];
    let modest = outcome(&checkpoint, &images, &[]).unwrap();
    assert!(modest.model.plan.float().iter().eq(coarsest), "{}", modest.chosen);
    // No activation between them is rounded either.
    for tensor in ["det.p5.relu1", "det.p5.relu2"] {
        assert!(modest.model.plan.is_float_tensor(tensor), "{tensor}");
    }

    // A channel that is never on, with a huge weight: no output moves, but its row has no steps left.
    for level in 3..=5 {
        params.get_mut(&format!("det.p{level}.bn2.weight")).unwrap().values[0] = 0.0;
        params.get_mut(&format!("det.p{level}.bn2.bias")).unwrap().values[0] = -1.0;
        let kernel = &mut params.get_mut(&format!("det.p{level}.out.weight")).unwrap().values;
        kernel.chunks_mut(16).for_each(|row| row[0] = 300.0);
    }
    fixtures::write_weights(&path, &params);
    let float = |args: &[&str]| -> Vec<String> {
        let outcome = outcome(&checkpoint, &images, args).unwrap();
        outcome.model.plan.float().iter().cloned().collect()
    };
    let found = float(&[]);
    assert!(
        last.iter().chain(&coarsest).all(|name| found.contains(&(*name).to_owned())),
        "{found:?}"
    );
    assert!(float(&["--int8-detection"]).is_empty());
}

#[test]
fn so_do_yolov3s() {
    let (_folder, checkpoint, images) =
        fixtures::workplace_of(fixtures::yolov3_config(Backbone::Resnet18));
    let path = checkpoint.join("model.safetensors");
    let mut params = fixtures::read_weights(&path);
    // As above; a leaky ReLU leaves a thousandth of the channel's -0.01, which the huge weight makes 0.3.
    for level in 3..=5 {
        params.get_mut(&format!("yolo.p{level}.5.bn.weight")).unwrap().values[0] = 0.0;
        params.get_mut(&format!("yolo.p{level}.5.bn.bias")).unwrap().values[0] = -0.01;
        let kernel = params.get_mut(&format!("yolo.p{level}.out.weight")).unwrap();
        let row = kernel.shape[1];
        kernel.values.chunks_mut(row).for_each(|row| row[0] = 300.0);
    }
    fixtures::write_weights(&path, &params);
    let outcome = outcome(&checkpoint, &images, &[]).unwrap();
    let float: Vec<&str> = outcome.model.plan.float().iter().map(String::as_str).collect();
    assert_eq!(float, ["yolo.p3.out", "yolo.p4.out", "yolo.p5.out"]);
}

#[test]
fn a_budget_puts_just_the_costly_layer_into_float() {
    let (_folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let path = checkpoint.join("model.safetensors");
    let mut params = fixtures::read_weights(&path);
    // The same trick on the embedding's last layer: `layer4.1.conv2` reads a channel that is never on.
    params.get_mut("layer4.1.bn1.weight").unwrap().values[0] = 0.0;
    params.get_mut("layer4.1.bn1.bias").unwrap().values[0] = -1.0;
    let kernel = &mut params.get_mut("layer4.1.conv2.weight").unwrap().values;
    kernel.chunks_mut(64 * 9).for_each(|row| row[..9].fill(30.0));
    fixtures::write_weights(&path, &params);

    let all = outcome(&checkpoint, &images, &["--int8-detection"]).unwrap();
    let some = outcome(&checkpoint, &images, &["--max-drop", "0.02", "--int8-detection"]).unwrap();
    let float: Vec<&String> = some.model.plan.float().iter().collect();
    assert!(float.contains(&&"layer4.1.conv2".to_owned()) && float.len() < 4, "{float:?}");
    assert!(noise(&checkpoint, &images, &some) < 0.5 * noise(&checkpoint, &images, &all));

    let error = outcome(&checkpoint, &images, &["--max-drop", "1.5"]).err().unwrap();
    assert!(error.contains("--max-drop is 1.5"), "{error}");
}

#[test]
fn a_foreign_file_becomes_an_onnx_file_the_box_would_run() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Mobilenetv2);
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    run(&[&"onnx", &"--checkpoint", &checkpoint, &"--out", &at("float.onnx")]).unwrap();
    let (float, int8, wrong) = (at("float.onnx"), at("int8.onnx"), at("int8.bundle"));
    let foreign = |out: &Path, more: &[&str]| {
        let mut args: Vec<&dyn AsRef<Path>> = vec![&"quantize", &"--int8", &"--model"];
        args.extend([&float as &dyn AsRef<Path>, &"--calibration", &images, &"--out", &out]);
        args.extend(more.iter().map(|arg| arg as &dyn AsRef<Path>));
        run(&args)
    };
    foreign(&int8, &[]).unwrap();
    let onnx = fs::read(&int8).unwrap();
    let network = Network::open(&[], &onnx).unwrap();
    let share = IntegerShare::of(&onnx, &network.integer_share()).unwrap();
    assert_eq!(share.integer, share.all);
    assert!(share.all > 50, "{}", share.all);

    let error = foreign(&wrong, &[]).unwrap_err();
    assert!(error.contains("int8.bundle") && error.contains(".onnx"), "{error}");
    assert!(!wrong.exists());

    let normalised = |numbers: &str| {
        foreign(&at("other.onnx"), &["--normalise", numbers]).unwrap();
        fs::read(at("other.onnx")).unwrap()
    };
    assert_eq!(normalised("0.4755,0.3011"), fs::read(&int8).unwrap());
    assert_ne!(normalised("-0.5, 0.3"), fs::read(&int8).unwrap());
    let error = foreign(&int8, &["--normalise", "0.5,0"]).unwrap_err();
    assert!(error.contains("expected a mean and a positive deviation"), "{error}");
    for more in [["--normalise", "0.5,0.2"], ["--fit", "pad"]] {
        let error = quantize(&checkpoint, &images, &wrong, &more).unwrap_err();
        assert!(error.contains("'--checkpoint <DIR>' cannot be used with"), "{error}");
    }
}

pub(super) fn quantize(
    checkpoint: &Path,
    images: &Path,
    out: &Path,
    more: &[&str],
) -> Result<(), String> {
    let mut args: Vec<&dyn AsRef<Path>> = vec![&"quantize", &"--int8", &"--checkpoint"];
    args.extend([&checkpoint as &dyn AsRef<Path>, &"--calibration", &images, &"--out", &out]);
    args.extend(more.iter().map(|arg| arg as &dyn AsRef<Path>));
    run(&args)
}
