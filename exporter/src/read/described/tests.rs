//! What a description means, and what is refused by name.

use super::*;
use bundle::{Activation, BoxHead, DenseForm, Meaning};
use graph::{Normalisation, PictureFilter};
use std::fs;

const GUIDE: &str = include_str!("../../../docs/foreign.md");

fn facts(channels: usize, outputs: &[&str]) -> Facts {
    Facts {
        name: "main_graph".into(),
        input: [channels, 64, 48],
        outputs: outputs.iter().map(|&name| name.to_owned()).collect(),
        quantized: false,
    }
}

fn described(text: &str, preset: Option<Preset>, facts: &Facts) -> Result<Described, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.toml");
    fs::write(&path, text).unwrap();
    Described::of(Some(&path), preset, facts).map_err(|error| {
        let error = format!("{error:#}");
        assert!(error.contains("model.toml"), "{error}");
        error
    })
}

const FINDINGS: &str =
    "[[outputs]]\nkind = \"findings\"\nactivation = \"sigmoid\"\nlabels = [\"a\", \"\", \"b\"]\n";

#[test]
fn the_guides_examples_are_understood() {
    let blocks: Vec<&str> = GUIDE.split("```toml\n").skip(1).collect();
    let blocks: Vec<&str> = blocks.iter().map(|text| text.split("```").next().unwrap()).collect();
    let outputs: [&[&str]; 5] = [
        &["scores"],
        &["logits", "features", "auxiliary"],
        &["p3", "p4", "p5"],
        &["cls_logits", "bbox_regression"],
        &["y"],
    ];
    assert_eq!(blocks.len(), outputs.len());
    for (block, outputs) in blocks.iter().zip(outputs) {
        let operating =
            "[[outputs]]\nkind = \"findings\"\nactivation = \"none\"\nlabels = [\"Opacity\"]\n";
        let text = if block.contains("[[outputs]]") {
            (*block).to_owned()
        } else {
            format!("{operating}{block}")
        };
        let found = described(&text, None, &facts(1, outputs)).unwrap();
        assert_eq!(found.contract.names().len(), outputs.len(), "{block}");
    }
    // Every key of the tables is one that the file knows: another is refused.
    let first = described(blocks[0], None, &facts(1, &["scores"])).unwrap();
    assert_eq!(first.contract.architecture, "DenseNet-121");
    assert_eq!(first.name.as_deref(), Some("chest-densenet"));
    assert_eq!(first.operating_points[0].threshold, 0.42);
}

#[test]
fn a_range_mean_and_deviation_become_those_of_pixels_from_0_to_1() {
    let of = |input: &str, channels| {
        let text = format!("[input]\n{input}\n{FINDINGS}");
        described(&text, None, &facts(channels, &["y"])).unwrap().preprocess
    };
    let plain = of("", 1);
    assert_eq!((plain.mean, plain.std, plain.others), (0.0, 1.0, None));
    assert_eq!((plain.height, plain.width), (64, 48));
    let theirs = of("range = [-1024, 1024]\nfit = \"centre-crop\"\nfilter = \"gaussian\"", 1);
    assert_eq!((theirs.mean, theirs.std), (0.5, 1.0 / 2048.0));
    assert_eq!((theirs.fit, theirs.filter), (Fit::CentreCrop, PictureFilter::Gaussian));
    let bytes = of("range = [0, 255]\nmean = 51\ndeviation = [25.5]", 1);
    assert_eq!(bytes.normalised(vec![0.2, 0.3]), [0.0, (0.3 - 0.2) / 0.1]);
    let inverted = of("inverted = true\nmean = 0.25\ndeviation = 0.5", 1);
    assert_eq!(inverted.normalised(vec![0.0, 1.0]), [1.5, -0.5]);
    let rgb = of("mean = [0.5, 0.25, 0.125]\ndeviation = 0.5", 3);
    let others = [0.25, 0.125].map(|mean| Normalisation { mean, std: 0.5 });
    assert_eq!((rgb.mean, rgb.others), (0.5, Some(others)));
}

#[test]
fn presets_fill_in_what_the_file_does_not_say() {
    let of = |preset, file: Option<&str>, facts: &Facts| match file {
        Some(text) => described(text, Some(preset), facts),
        None => Described::of(None, Some(preset), facts).map_err(|error| format!("{error:#}")),
    };
    let one = facts(1, &["y"]);
    let xrv = of(Preset::Torchxrayvision, None, &one).unwrap();
    assert_eq!((xrv.preprocess.mean, xrv.preprocess.std), (0.5, 1.0 / 2048.0));
    let Meaning::Findings(scores) = &xrv.contract.outputs[0] else { panic!("findings") };
    assert_eq!((scores.labels.len(), scores.activation), (18, Activation::Sigmoid));
    assert_eq!(xrv.contract.architecture, "main_graph");
    let text = format!("[input]\nfit = \"pad\"\n{FINDINGS}");
    let ours = of(Preset::Torchxrayvision, Some(&text), &one).unwrap();
    assert_eq!((ours.preprocess.fit, ours.preprocess.std), (Fit::Pad, 1.0 / 2048.0));
    assert_eq!(ours.contract.model().heads[0].labels, ["a", "b"]);
    let chexpert = of(Preset::Chexpert, None, &facts(3, &["y"])).unwrap();
    assert_eq!(chexpert.contract.model().heads[0].labels.len(), 14);
    assert_eq!(chexpert.preprocess.others.unwrap()[1].std, 0.225);
    assert_eq!(chexpert.preprocess.fit, Fit::Stretch);
    let findings = |fit: &str, input| {
        let text = format!("[input]\n{fit}\n{FINDINGS}");
        let facts = Facts { input, ..facts(3, &["y"]) };
        of(Preset::Imagenet, Some(&text), &facts).unwrap().preprocess.fit.to_string()
    };
    assert_eq!(findings("", [3, 224, 224]), "resize-crop:256");
    assert_eq!(findings("", [3, 299, 299]), "resize-crop:342");
    assert_eq!(findings("fit = \"resize-crop:232\"", [3, 224, 224]), "resize-crop:232");
    assert_eq!(findings("fit = \"stretch\"", [3, 224, 224]), "stretch");
    let error = of(Preset::Imagenet, None, &facts(3, &["y"])).unwrap_err();
    assert!(error.contains("preset imagenet") && error.contains("nothing says"), "{error}");
    let error = of(Preset::Chexpert, None, &one).unwrap_err();
    assert!(error.contains("mean has 3 numbers, expected 1"), "{error}");
}

#[test]
fn what_the_network_does_not_have_is_refused_by_name() {
    let grey = facts(1, &["y"]);
    for (text, expected) in [
        ("colour = 1".to_owned(), "unknown field `colour`"),
        (format!("[input]\nsiz = 3\n{FINDINGS}"), "unknown field `siz`"),
        (
            format!("[input]\nsize = [64, 64]\n{FINDINGS}"),
            "[64, 64] (rows, columns), the network's is [64, 48]",
        ),
        (format!("[input]\nchannels = 3\n{FINDINGS}"), "channels is 3, the network has 1"),
        (format!("[input]\nmean = [1, 2, 3]\n{FINDINGS}"), "mean has 3 numbers, expected 1"),
        (format!("[input]\nmean = \"x\"\n{FINDINGS}"), "a number, or a list"),
        (
            format!("[input]\ndeviation = 0\n{FINDINGS}"),
            "deviation 0, expected numbers, the deviation positive",
        ),
        (format!("[input]\nrange = [1, 0]\n{FINDINGS}"), "range is [1, 0]"),
        (
            format!("[input]\nfit = \"crop\"\n{FINDINGS}"),
            "found `crop`, expected stretch, pad, centre-crop or resize-crop:N",
        ),
        (
            FINDINGS.replace("kind", "name = \"z\"\nkind"),
            "name `z`, the network's outputs are [\"y\"]",
        ),
        (FINDINGS.replace("findings", "finding"), "unknown variant `finding`"),
        (FINDINGS.replace("sigmoid", "tanh"), "unknown variant `tanh`"),
        (FINDINGS.replace("kind", "lables = []\nkind"), "unknown field `lables`"),
        (FINDINGS.repeat(2), "output `y` twice"),
        (FINDINGS.replace("\"b\"", "\"a\""), "label \"a\" twice"),
        (FINDINGS.replace("\"a\", \"\", \"b\"", "\"\""), "1 labels of which 0 have a name"),
        (
            format!("{FINDINGS}[operating-points.thresholds]\nc = 0.5"),
            "threshold of `c`, expected one of the labels [\"a\", \"b\"]",
        ),
        (format!("{FINDINGS}[operating-points.thresholds]\na = 1.5"), "threshold of `a` is 1.5"),
        (String::new(), "nothing says what the outputs"),
    ] {
        let error = described(&text, None, &grey).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = described(FINDINGS, None, &facts(1, &["y", "z"])).unwrap_err();
    assert!(error.contains("kind findings has no name"), "{error}");
    let named = FINDINGS.replace("kind", "name = \"y\"\nkind");
    let error = described(&named, None, &facts(1, &["y", "z"])).unwrap_err();
    assert!(error.contains("output `z` stands in no [[outputs]]"), "{error}");
    let error = described(FINDINGS, None, &facts(4, &["y"])).unwrap_err();
    assert!(error.contains("4 channels, expected 1 (grey) or 3"), "{error}");
}

#[test]
fn a_form_of_boxes_has_its_own_keys_and_no_others() {
    let table = |keys: &str| format!("[[outputs]]\nkind = \"boxes\"\nlabels = [\"a\"]\n{keys}\n");
    let of = |keys: &str, outputs: &[&str]| described(&table(keys), None, &facts(1, outputs));
    let ssd = "form = \"ssd\"\nscores = \"s\"\nboxes = \"b\"\nstrides = [8]\nanchors = [[[4, 8]]]";
    let found = of(ssd, &["s", "b"]).unwrap();
    let Meaning::Boxes(boxes) = &found.contract.outputs[0] else { panic!("boxes") };
    let BoxHead::Dense(dense) = &boxes.head else { panic!("{boxes:?}") };
    assert_eq!((dense.form, dense.centre), (DenseForm::Ssd, 0.5));
    assert_eq!((dense.variances, boxes.overlap, boxes.keep), ([0.1, 0.1, 0.2, 0.2], 0.5, 100));
    let decoded = of("form = \"yolov8\"", &["y"]).unwrap();
    assert_eq!(decoded.contract.names(), ["y"]);
    for (keys, expected) in [
        (format!("{ssd}\ndistances = \"linear\""), "ssd has no `distances`"),
        (ssd.replace("strides = [8]\n", ""), "ssd: no `strides`"),
        (ssd.replace("scores = \"s\"\n", ""), "ssd: no `scores`"),
        (ssd.replace("[[[4, 8]]]", "[]"), "anchors of 0 levels, expected of 1"),
        (ssd.replace("[[[4, 8]]]", "[[[4, -8]]]"), "-8 long"),
        (format!("{ssd}\nkeep = 0"), "keep is 0"),
        (format!("{ssd}\noverlap = 1.5"), "overlap is 1.5"),
        (format!("{ssd}\nanchor = 3"), "unknown field `anchor`"),
        ("form = \"yolov5\"\nmaps = [\"s\"]\nstrides = [8]".into(), "yolov5 has no `strides`"),
        ("form = \"yolov5\"\nmaps = [\"s\", \"b\"]".into(), "anchors of 0 levels, expected of 2"),
        (
            "form = \"yolov8\"\nmaps = [\"s\", \"b\"]\nanchors = [[[1, 1]], [[2, 2]]]".into(),
            "yolov8 has no anchors",
        ),
        (
            "form = \"fcos\"\nscores = \"s\"\nboxes = \"b\"\nstrides = [8]".into(),
            "fcos: no `centreness`",
        ),
        ("form = \"ssdlite\"".into(), "unknown variant `ssdlite`"),
    ] {
        let error = of(&keys, &["s", "b"]).unwrap_err();
        assert!(error.contains(expected), "{keys}: {error}");
    }
}
