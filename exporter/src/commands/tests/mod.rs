//! The verbs from end to end, on a width-8 network with random weights.

mod drift;
mod fit;
mod foreign;
mod language;
mod observers;
mod operating;
mod oracles;
#[cfg(feature = "distill")]
mod parity;
mod place;
mod prior;
mod recipes;
mod shares;

use super::Cli;
use crate::{
    fixtures,
    passes::{fold, interpreter::Interpreter},
    read::checkpoint::Checkpoint,
    verify::Network,
};
use bundle::{Bundle, section};
use clap::{CommandFactory, Parser};
use graph::{Backbone, ModelConfig};
use std::{fs, path::Path};

/// Runs a command line; the error as the user would read it.
fn run(args: &[&dyn AsRef<Path>]) -> Result<(), String> {
    let args = args.iter().map(|arg| arg.as_ref().as_os_str().to_owned());
    let args = [std::ffi::OsString::from("exporter"), "-q".into()].into_iter().chain(args);
    let cli = Cli::try_parse_from(args).map_err(|error| error.to_string())?;
    cli.run().map_err(|error| format!("{error:#}"))
}

fn quantize(checkpoint: &Path, images: &Path, out: &Path) -> Result<(), String> {
    run(&[
        &"quantize",
        &"--int8",
        &"--checkpoint",
        &checkpoint,
        &"--calibration",
        &images,
        &"--out",
        &out,
    ])
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn int8_outputs_are_close_to_float() {
    let models = [
        fixtures::config(Backbone::Resnet18),
        fixtures::config(Backbone::Resnet50),
        fixtures::yolov3_config(Backbone::Resnet18),
        fixtures::attention_config(Backbone::Resnet18),
        fixtures::attention_config(Backbone::Resnet50),
    ];
    for model in models {
        let backbone = model.backbone;
        let (folder, checkpoint, images) = fixtures::workplace_of(model);
        let out = folder.path().join("out.bundle");
        quantize(&checkpoint, &images, &out).unwrap();

        let bundle = Bundle::open(&out).unwrap();
        let network =
            Network::open(&bundle.manifest.float_nodes, bundle.require(section::MODEL).unwrap())
                .unwrap();
        let checkpoint = Checkpoint::open(&checkpoint).unwrap();
        let (graph, weights) = fold::fold(&checkpoint.graph, &checkpoint.weights);
        let float = Interpreter::new(&graph, &weights).unwrap();
        let radiograph = radiograph::read_file(&images.join("3.png")).unwrap();
        let input = radiograph::network_input(&radiograph.image, &bundle.manifest.preprocess);
        for ((name, float), (_, int8)) in
            float.outputs(&input).unwrap().iter().zip(&network.infer(&input).unwrap())
        {
            let signal: f32 = float.iter().map(|x| x * x).sum();
            let noise: f32 = float.iter().zip(int8).map(|(x, y)| (x - y) * (x - y)).sum();
            let sqnr_db = 10.0 * (signal / noise).log10();
            assert!(sqnr_db > 18.0, "{backbone} {name}: {sqnr_db} dB");
        }
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes_signature_included() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let key = folder.path().join("key");
    run(&[&"keygen", &"--out", &key]).unwrap();
    let private = folder.path().join("key.key");
    let mut bytes = Vec::new();
    for name in ["a.bundle", "b.bundle"] {
        let out = folder.path().join(name);
        run(&[
            &"quantize",
            &"--int8",
            &"--checkpoint",
            &checkpoint,
            &"--calibration",
            &images,
            &"--out",
            &out,
            &"--sign",
            &private,
            &"--observer",
            &"percentile:99.9",
            &"--version",
            &"2.0.0",
        ])
        .unwrap();
        bytes.push(fs::read(&out).unwrap());
    }
    assert_eq!(bytes[0], bytes[1]);
    let public = folder.path().join("key.pub");
    run(&[&"check", &folder.path().join("a.bundle"), &"--key", &public]).unwrap();
}

#[test]
fn one_flipped_byte_is_refused() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let out = folder.path().join("out.bundle");
    quantize(&checkpoint, &images, &out).unwrap();
    run(&[&"check", &out]).unwrap();
    let mut bytes = fs::read(&out).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&out, &bytes).unwrap();
    let error = run(&[&"check", &out]).unwrap_err();
    assert!(error.contains("out.bundle") && error.contains("damaged"), "{error}");
}

#[test]
fn a_bundle_of_another_key_is_not_trusted() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let out = folder.path().join("out.bundle");
    quantize(&checkpoint, &images, &out).unwrap();
    for name in ["ours", "theirs"] {
        run(&[&"keygen", &"--out", &folder.path().join(name)]).unwrap();
    }
    let (ours, theirs) = (folder.path().join("ours.pub"), folder.path().join("theirs.key"));
    assert!(run(&[&"check", &out, &"--key", &ours]).unwrap_err().contains("not signed"));
    run(&[&"sign", &out, &"--key", &theirs]).unwrap();
    assert!(run(&[&"check", &out, &"--key", &ours]).unwrap_err().contains("not a trusted key"));
    let again = run(&[&"keygen", &"--out", &folder.path().join("ours")]).unwrap_err();
    assert!(again.contains("expected none to overwrite"), "{again}");
}

#[test]
fn a_checkpoint_of_another_architecture_names_file_parameter_and_shapes() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let path = checkpoint.join("config.toml");
    let text = fs::read_to_string(&path).unwrap().replace("resnet18", "resnet50");
    fs::write(&path, text).unwrap();
    let out = folder.path().join("out.bundle");
    let error = quantize(&checkpoint, &images, &out).unwrap_err();
    for part in ["model.safetensors", "`layer1.0.conv1.weight`", "[8, 8, 3, 3]", "[8, 8, 1, 1]"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!out.exists());
}

#[test]
fn nan_weights_are_refused_by_name() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let path = checkpoint.join("model.safetensors");
    let mut params = fixtures::read_weights(&path);
    params.get_mut("layer2.0.bn1.bias").unwrap().values[3] = f32::NAN;
    fixtures::write_weights(&path, &params);
    let error = quantize(&checkpoint, &images, &folder.path().join("out.bundle")).unwrap_err();
    assert!(error.contains("`layer2.0.bn1.bias` holds 1 values that are NaN"), "{error}");
}

#[test]
fn bad_calibration_pictures_are_named() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let out = folder.path().join("out.bundle");

    let constant = images.join("constant.png");
    fixtures::save_picture(&constant, &[7; 64 * 64]);
    let error = quantize(&checkpoint, &images, &out).unwrap_err();
    assert!(error.contains("constant.png: every pixel is"), "{error}");

    fs::write(&constant, b"\x89PNG\r\n\x1a\nnothing more").unwrap();
    let error = quantize(&checkpoint, &images, &out).unwrap_err();
    assert!(error.contains("constant.png"), "{error}");

    let error = quantize(&checkpoint, &folder.path().join("nowhere"), &out).unwrap_err();
    assert!(error.contains("nowhere"), "{error}");

    fs::remove_file(&constant).unwrap();
    fs::remove_file(images.join("0.png")).unwrap();
    let error = quantize(&checkpoint, &images, &out).unwrap_err();
    assert!(error.contains("found 7 images") && error.contains("at least 8"), "{error}");
    assert!(!out.exists());
}

/// Permissions do not stop root, so folders are unreadable in the ways that stop everyone.
#[test]
fn a_calibration_folder_that_cannot_be_read_is_named() {
    use std::os::unix::fs::symlink;
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let out = folder.path().join("out.bundle");
    let at = |name: &str| folder.path().join(name);
    let refused = |images: &Path| quantize(&checkpoint, images, &out).unwrap_err();

    symlink(at("gone"), at("dangling")).unwrap();
    let error = refused(&at("dangling"));
    assert!(error.contains("cannot read") && error.contains("dangling"), "{error}");
    symlink(at("circle"), at("circle")).unwrap();
    let error = refused(&at("circle"));
    assert!(error.contains("cannot read") && error.contains("circle"), "{error}");
    fs::write(at("notes"), "three pictures of Monday\n").unwrap();
    let error = refused(&at("notes"));
    assert!(error.contains("notes:1: not a record of an index"), "{error}");

    // A picture that is a link to nothing, and a folder called like a picture.
    symlink(at("gone"), images.join("lost.png")).unwrap();
    let error = refused(&images);
    assert!(error.contains("lost.png: a link to nothing"), "{error}");
    fs::remove_file(images.join("lost.png")).unwrap();
    fs::create_dir(images.join("folder.png")).unwrap();

    // A folder inside itself is read once.
    let digest = || {
        quantize(&checkpoint, &images, &out).unwrap();
        Bundle::open(&out).unwrap().digest()
    };
    let without = digest();
    symlink(&images, images.join("again")).unwrap();
    assert_eq!(digest(), without);
}

#[test]
fn an_input_no_network_takes_is_refused_with_its_size() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let path = checkpoint.join("config.toml");
    let text = fs::read_to_string(&path).unwrap().replace("height = 64", "height = 8");
    fs::write(&path, text).unwrap();
    let error = quantize(&checkpoint, &images, &folder.path().join("out.bundle")).unwrap_err();
    assert!(error.contains("config.toml") && error.contains("input is 8x64"), "{error}");
}

#[test]
fn an_attention_pool_goes_into_a_bundle_without_float() {
    let encoder =
        ModelConfig { heads: Vec::new(), ..fixtures::attention_config(Backbone::Resnet50) };
    for model in [encoder, fixtures::attention_config(Backbone::Resnet18)] {
        let heads = model.heads.len();
        let (folder, checkpoint, images) = fixtures::workplace_of(model);
        let out = folder.path().join("out.bundle");
        recipes::quantize(&checkpoint, &images, &out, &["--int8-detection"]).unwrap();
        let bundle = Bundle::open(&out).unwrap();
        assert!(bundle.manifest.float_nodes.is_empty());
        let onnx = bundle.require(section::MODEL).unwrap();
        let options = engine::Options { threads: 1, isa: Some("scalar".into()), fuse: true };
        let mut engine = engine::Engine::open(&bundle, &options).unwrap();
        let share = engine.integer_share();
        let layers = super::inspect::IntegerShare::of(onnx, share).unwrap();
        assert_eq!(layers.integer, layers.all, "{heads} heads");
        assert_eq!((share.float_macs, share.float_nodes.len()), (0, 0), "{heads} heads");
        assert!(engine.layers().iter().any(|layer| layer.kind.starts_with("matmul+softmax")));
        let tested = engine::selftest(&mut engine, &bundle).unwrap();
        assert_eq!(tested.mismatch, None, "{heads} heads");
        assert!(tested.outputs >= 3);
        // An embedding nobody reads leaves as accumulators, without a last rounding.
        let layers = engine.layers();
        let last = layers.iter().find(|layer| layer.name == "attnpool.c_proj").unwrap();
        assert_eq!(last.kind.ends_with("to float"), heads == 0, "{}", last.kind);
    }
}

/// What `yolov3` meant before leaky ReLU.
#[test]
fn a_yolov3_checkpoint_of_before_keeps_the_relus_it_was_trained_with() {
    let (_folder, checkpoint, _) =
        fixtures::workplace_of(fixtures::yolov3_config(Backbone::Resnet18));
    let rectifiers = || {
        let graph = Checkpoint::open(&checkpoint).unwrap().graph;
        let leaky = |node: &&graph::Node| matches!(node.op, graph::Op::LeakyRelu { .. });
        graph.nodes.iter().filter(leaky).count()
    };
    assert_eq!(rectifiers(), 20);
    let path = checkpoint.join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("yolov3-leaky", "yolov3")).unwrap();
    assert_eq!(rectifiers(), 0);
}

/// YOLOv3's boxes are verified as the anchor-free detector's are.
#[test]
fn verify_measures_a_yolov3_heads_boxes() {
    let (folder, checkpoint, images) =
        fixtures::workplace_of(fixtures::yolov3_config(Backbone::Resnet18));
    let (out, report) = (folder.path().join("out.bundle"), folder.path().join("report.html"));
    quantize(&checkpoint, &images, &out).unwrap();
    let index = folder.path().join("index.jsonl");
    let line = |at: usize| {
        format!(
            r#"{{"id":"{at}","split":"test","image":"images/{at}.png","looked_for":["Opacity"],
            "boxes":[{{"label":"Opacity","x":8,"y":8,"w":30,"h":30}}]}}"#
        )
        .replace('\n', "")
    };
    fs::write(&index, (0..8).map(|at| line(at) + "\n").collect::<String>()).unwrap();
    run(&[&"verify", &out, &"--data", &index, &"--checkpoint", &checkpoint, &"--report", &report])
        .unwrap();
    let page = fs::read_to_string(&report).unwrap();
    for part in ["map/.40-.75", "yolov3.p3", "yolov3.p5", "yolo.p4.2.relu"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn verify_reports_on_an_index_and_refuses_other_weights() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let out = folder.path().join("out.bundle");
    quantize(&checkpoint, &images, &out).unwrap();
    let index = folder.path().join("index.jsonl");
    let line = |at: usize| {
        format!(
            r#"{{"id":"{at}","split":"test","image":"images/{at}.png","labels":{{"Pneumonia":{}}}}}"#,
            at % 2
        )
    };
    fs::write(&index, (0..8).map(|at| line(at) + "\n").collect::<String>()).unwrap();
    let verify =
        || run(&[&"verify", &out, &"--data", &index, &"--checkpoint", &checkpoint, &"--json"]);
    verify().unwrap();
    // The checkpoint lies beside the bundle.
    let without = || run(&[&"verify", &out, &"--data", &index, &"--json"]);
    without().unwrap();
    let elsewhere = run(&[&"verify", &out, &"--data", &index, &"--source", &"mars"]).unwrap_err();
    assert!(elsewhere.contains("no image is from `mars`"), "{elsewhere}");

    let path = checkpoint.join("model.safetensors");
    let mut params = fixtures::read_weights(&path);
    params.get_mut("fc.bias").unwrap().values[0] += 1.0;
    fixtures::write_weights(&path, &params);
    let error = verify().unwrap_err();
    assert!(error.contains("was made of"), "{error}");
    let error = without().unwrap_err();
    assert!(error.contains("pass --checkpoint DIR"), "{error}");
}
